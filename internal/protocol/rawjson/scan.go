package rawjson

// scanner walks JSON without recursion: which containers are open is a stack of
// bits, so that the input's nesting costs neither goroutine stack nor heap.
//
// Its methods return where they got to, or failed after they noted why in err.
type scanner struct {
	b       []byte
	high    uint64 // all bytes of strings or-ed together, eight lanes: says whether UTF-8 must be checked
	escape  bool   // the last string had an escape
	escaped bool   // some key had one
	sift    bool   // note keys and short strings in words
	words   wordSet
	keyEnd  int // after the last key's closing quote
	depth   int
	object  [MaxDepth / 64]uint64 // bit n: the container at depth n is an object
	err     *SyntaxError
}

const failed = -1

func (s *scanner) fail(at int, message string) int {
	if s.err == nil {
		if at >= len(s.b) {
			message = "the JSON ends too early"
		}
		s.err = &SyntaxError{Offset: min(at, len(s.b)), Message: message}
	}
	return failed
}

func (s *scanner) push(at int, object bool) bool {
	if s.depth == MaxDepth {
		s.fail(at, "arrays and objects nest too deep (512 at most)")
		return false
	}
	word, bit := s.depth/64, uint64(1)<<(s.depth%64)
	if object {
		s.object[word] |= bit
	} else {
		s.object[word] &^= bit
	}
	s.depth++
	return true
}

func (s *scanner) inObject() bool {
	d := s.depth - 1
	return s.object[d/64]>>(d%64)&1 != 0
}

// space skips white space.
func (s *scanner) space(i int) int {
	for i < len(s.b) {
		if c := s.b[i]; c > ' ' || c != ' ' && c != '\n' && c != '\t' && c != '\r' {
			break
		}
		i++
	}
	return i
}

// value skips the value at i, white space before it included, and returns the
// offset after it.
func (s *scanner) value(i int) int {
	floor := s.depth
	for {
		var opened bool
		if i, opened = s.begin(i); i == failed {
			return failed
		}
		if opened {
			continue
		}
		if s.depth == floor {
			return i
		}
		var more bool
		if i, more = s.finish(i, floor); !more {
			return i
		}
	}
}

// begin reads a scalar whole, or the head of a container; opened says that a value
// inside it comes next.
func (s *scanner) begin(i int) (next int, opened bool) {
	if i = s.space(i); i >= len(s.b) {
		return s.fail(i, ""), false
	}
	switch c := s.b[i]; c {
	case '"':
		end := s.text(i + 1)
		if s.sift && end-i <= longestWord+2 && end != failed {
			s.words.add(s.b[i+1 : end-1])
		}
		return end, false
	case '{':
		return s.beginObject(i)
	case '[':
		if !s.push(i, false) {
			return failed, false
		}
		if i = s.space(i + 1); i < len(s.b) && s.b[i] == ']' {
			s.depth--
			return i + 1, false
		}
		return i, true
	case 't':
		return s.literal(i, "true"), false
	case 'f':
		return s.literal(i, "false"), false
	case 'n':
		return s.literal(i, "null"), false
	default:
		return s.number(i), false
	}
}

func (s *scanner) beginObject(i int) (next int, opened bool) {
	if !s.push(i, true) {
		return failed, false
	}
	if i = s.space(i + 1); i < len(s.b) && s.b[i] == '}' {
		s.depth--
		return i + 1, false
	}
	return s.key(i), true
}

// key reads a key and its colon; the value comes next.
func (s *scanner) key(i int) int {
	if i >= len(s.b) || s.b[i] != '"' {
		return s.fail(i, "a key in double quotes is expected")
	}
	start := i + 1
	if i = s.text(start); i == failed {
		return failed
	}
	s.keyEnd = i
	if s.escape {
		s.escaped = true
	} else if s.sift && i-start <= longestWord+1 {
		s.words.add(s.b[start : i-1])
	}
	if i = s.space(i); i >= len(s.b) || s.b[i] != ':' {
		return s.fail(i, "a colon is expected after a key")
	}
	return i + 1
}

// finish goes on after a value: over closing brackets down to floor, or over a
// comma to where the next value begins (more).
func (s *scanner) finish(i, floor int) (next int, more bool) {
	for s.depth > floor {
		if i = s.space(i); i >= len(s.b) {
			return s.fail(i, ""), false
		}
		object := s.inObject()
		switch c := s.b[i]; {
		case c == ',' && object:
			i = s.key(s.space(i + 1))
			return i, i != failed
		case c == ',':
			return i + 1, true
		case c == '}' && object, c == ']' && !object:
			s.depth--
			i++
		case object:
			return s.fail(i, "a comma or a closing brace is expected"), false
		default:
			return s.fail(i, "a comma or a closing bracket is expected"), false
		}
	}
	return i, false
}

func (s *scanner) literal(i int, word string) int {
	if len(s.b)-i < len(word) {
		return s.fail(len(s.b), "")
	}
	if string(s.b[i:i+len(word)]) != word {
		return s.fail(i, "a value is expected")
	}
	return i + len(word)
}

// number is -?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?
func (s *scanner) number(i int) int {
	start := i
	if s.b[i] == '-' {
		i++
	}
	digits := i
	if i = s.digits(i); i == digits {
		if digits == start {
			return s.fail(start, "a value is expected")
		}
		return s.fail(i, "a digit is expected")
	}
	if s.b[digits] == '0' && i > digits+1 {
		return s.fail(digits, "a number must not begin with 0")
	}
	if i < len(s.b) && s.b[i] == '.' {
		frac := i + 1
		if i = s.digits(frac); i == frac {
			return s.fail(i, "a digit is expected")
		}
	}
	if i < len(s.b) && s.b[i]|0x20 == 'e' {
		i++
		if i < len(s.b) && (s.b[i] == '+' || s.b[i] == '-') {
			i++
		}
		exp := i
		if i = s.digits(exp); i == exp {
			return s.fail(i, "a digit is expected")
		}
	}
	return i
}

func (s *scanner) digits(i int) int {
	for i < len(s.b) && s.b[i]-'0' <= 9 {
		i++
	}
	return i
}
