package convert

import (
	"bytes"
	"unicode/utf8"

	"realms/internal/protocol/rawjson"
)

// replacement stands for half of a character, inside a JSON string.
const replacement = `\ufffd`

// quoted is a string of its inside.
func quoted(inside []byte) []byte {
	return append(append([]byte{'"'}, inside...), '"')
}

// half keeps the first half of a character that was written as a pair of escapes of
// which the second has not come yet. Strict readers, Codex CLI among them, refuse an
// event that holds but one.
type half struct{ held [6]byte }

// join returns the inside of a string in which every pair is whole, the half that
// was kept put before it. Nearly always it is the text itself.
func (h *half) join(text []byte) []byte {
	if h.held[0] == 0 && !bytes.Contains(text, []byte(`\ud`)) && !bytes.Contains(text, []byte(`\uD`)) {
		return text
	}
	if h.held[0] != 0 {
		if len(text) == 0 {
			return text
		}
		text = append(h.held[:], text...)
		h.held[0] = 0
	}
	out := make([]byte, 0, len(text)+6)
	for i := 0; i < len(text); {
		n, bad := 1, false
		if text[i] == '\\' {
			n, bad = escapeLength(text[i:])
		}
		switch {
		case bad && i+6 == len(text) && isHigh(text[i:]):
			copy(h.held[:], text[i:])
		case bad:
			out = append(out, replacement...)
		default:
			out = append(out, text[i:i+n]...)
		}
		i += n
	}
	return out
}

// rest is what stands for a half whose other half never came; nil if there is none.
func (h *half) rest() []byte {
	if h.held[0] == 0 {
		return nil
	}
	h.held[0] = 0
	return []byte(replacement)
}

// escapeLength is how long the escape at the beginning of text is, a pair as one, and
// whether it is half a pair.
func escapeLength(text []byte) (n int, bad bool) {
	switch {
	case len(text) < 6 || text[1] != 'u':
		return min(2, len(text)), false
	case isHigh(text):
		if len(text) >= 12 && text[6] == '\\' && isLow(text[6:]) {
			return 12, false
		}
		return 6, true
	default:
		return 6, isLow(text)
	}
}

func isHigh(escape []byte) bool {
	return escape[1] == 'u' && escape[2]|0x20 == 'd' && (escape[3] == '8' || escape[3] == '9' || escape[3]|0x20 == 'a' || escape[3]|0x20 == 'b')
}

func isLow(escape []byte) bool {
	return escape[1] == 'u' && escape[2]|0x20 == 'd' && escape[3]|0x20 >= 'c' && escape[3]|0x20 <= 'f'
}

// splitsPair tells whether a character lies across two insides of strings: its first
// half is the end of one, the second begins the other.
func splitsPair(text, next []byte) bool {
	end := len(text) - len(`\ud83d`)
	if end < 0 || text[end] != '\\' || !isHigh(text[end:]) || len(next) < len(`\ude00`) || next[0] != '\\' || !isLow(next) {
		return false
	}
	before := bytes.TrimRight(text[:end], `\`)
	return (end-len(before))%2 == 0 // else the backslash is itself escaped
}

// unwrapper takes a custom tool's input out of the arguments of the function that
// stands for it, {"input":"…"}, while they stream. The arguments are JSON in a JSON
// string: what is inside the inner string is, as it is written there, just what the
// client's event needs.
type unwrapper struct {
	outer half
	inner half
	state unwrapState
	all   []byte // the insides of the arguments so far, until the input begins
	text  []byte // the arguments, unescaped, until the input begins
	tail  []byte // the beginning of an escape whose end has not come
}

type unwrapState uint8

const (
	unwrapHead  unwrapState = iota // before the input
	unwrapInput                    // in its string
	unwrapDone                     // behind it
	unwrapRaw                      // there is none: everything waits for the end
)

// add takes in the inside of a string with more arguments, and returns the inside of
// one with the input that they bring.
func (u *unwrapper) add(arguments []byte) []byte {
	arguments = u.outer.join(arguments)
	u.all = append(u.all, arguments...)
	text, _ := rawjson.String(quoted(arguments))
	switch u.state {
	case unwrapDone:
		return nil
	case unwrapInput:
		return u.inner.join(u.input([]byte(text)))
	default:
		u.text = append(u.text, text...)
	}
	if u.state == unwrapRaw {
		return nil
	}
	n, ok := inputHead(u.text)
	switch {
	case !ok:
		u.state = unwrapRaw
	case n > 0:
		u.state = unwrapInput
		return u.inner.join(u.input(u.text[n:]))
	}
	return nil
}

// inputHead matches {"input":" at the beginning of text, white space anywhere: where
// it ends, 0 if more must come, or not ok.
func inputHead(text []byte) (n int, ok bool) {
	i := 0
	for _, want := range [...]string{"{", `"input"`, ":", `"`} {
		for i < len(text) && (text[i] == ' ' || text[i] == '\n' || text[i] == '\t' || text[i] == '\r') {
			i++
		}
		rest := text[i:]
		if len(rest) < len(want) {
			return 0, string(rest) == want[:len(rest)]
		}
		if string(rest[:len(want)]) != want {
			return 0, false
		}
		i += len(want)
	}
	return i, true
}

// input reads on in the inner string. Models that write JSON freely leave line breaks
// in it, and backslashes that escape nothing: they are put right.
func (u *unwrapper) input(text []byte) []byte {
	text = append(u.tail, text...)
	u.tail = nil
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '"':
			u.state = unwrapDone
			return out
		case c == '\\':
			n, ok := innerEscape(text[i:])
			if n == 0 {
				u.tail = bytes.Clone(text[i:])
				return out
			}
			if !ok {
				out = append(out, '\\')
			}
			out = append(out, text[i:i+n]...)
			i += n
		case c < ' ':
			escaped := rawjson.AppendString(nil, string(rune(c)))
			out = append(out, escaped[1:len(escaped)-1]...)
			i++
		default:
			out = append(out, c)
			i++
		}
	}
	return out
}

// innerEscape is how long the escape at the beginning of text is: 0 if more must come.
// It is not ok where the backslash escapes nothing; then the length is its own.
func innerEscape(text []byte) (n int, ok bool) {
	if len(text) < 2 {
		return 0, true
	}
	switch text[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, true
	case 'u':
		for i := 2; i < 6; i++ {
			if i == len(text) {
				return 0, true
			}
			if c := text[i]; (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
				return 1, false
			}
		}
		return 6, true
	default:
		return 1, false
	}
}

// rest is what is left of the input when no more arguments come. Where they are not
// of the form that was asked for, the input is the one text that they hold, or else
// the arguments themselves.
func (u *unwrapper) rest() []byte {
	defer func() { *u = unwrapper{state: unwrapDone} }()
	switch u.state {
	case unwrapDone:
		return nil
	case unwrapInput:
		var out []byte
		if len(u.tail) != 0 { // an escape that was cut off: only what it says is lost
			out = u.inner.join([]byte(replacement))
		}
		return append(out, u.inner.rest()...)
	default:
		if more := u.outer.rest(); more != nil {
			u.text = utf8.AppendRune(u.text, utf8.RuneError)
		}
		return looseInput(u.text)
	}
}

// looseInput finds the input in arguments of another form.
func looseInput(arguments []byte) []byte {
	text := string(arguments)
	if doc, err := rawjson.Scan(arguments, nil); err == nil {
		raw, ok := doc.Get("input")
		if !ok && len(doc.Fields) == 1 {
			raw = doc.Body[doc.Fields[0].ValStart:doc.Fields[0].ValEnd]
		}
		if found, ok := rawjson.String(raw); ok {
			text = found
		}
	} else if rawjson.IsString(arguments) && rawjson.Valid(arguments) == nil {
		text, _ = rawjson.String(arguments)
	}
	return inside(rawjson.AppendString(nil, text))
}

// appendEscaped appends text as the inside of a string.
func appendEscaped(dst []byte, text string) []byte {
	begun := len(dst)
	dst = rawjson.AppendString(dst, text)
	return append(dst[:begun], dst[begun+1:len(dst)-1]...)
}

// brackets finds where the first bracket of JSON is closed that comes in pieces, inside a
// JSON string. It reads each piece once, because some upstreams make us ask at each.
type brackets struct {
	read            int // so much of the text
	depth           int
	inText, escaped bool // within a string, behind a backslash there
	closed          bool
}

// close tells whether the bracket is closed in a text, which is the one of the last time
// or a longer one.
func (b *brackets) close(text []byte) bool {
	more, _ := rawjson.String(quoted(text[b.read:]))
	b.read = len(text)
	for i := range len(more) {
		b.next(more[i])
	}
	return b.closed
}

func (b *brackets) next(c byte) {
	switch {
	case b.escaped:
		b.escaped = false
	case b.inText:
		b.escaped, b.inText = c == '\\', c != '"'
	case c == '"':
		b.inText = true
	case c == '{' || c == '[':
		b.depth++
	case c == '}' || c == ']':
		b.depth--
		b.closed = b.closed || b.depth == 0
	}
}
