package rawjson

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// Eight bytes at once: a prompt is one long string, and looking at its bytes one
// by one is most of what reading a request costs.
const (
	lanes01 = 0x0101010101010101
	lanes80 = 0x8080808080808080
	lanes02 = 0x0202020202020202
	lanes21 = 0x2121212121212121
	lanes5c = 0x5c5c5c5c5c5c5c5c
)

// special marks, in the high bit of each lane, the bytes that end plain text in a
// string: the quote, the backslash and control characters. Only the lowest mark is
// exact (a borrow may spoil the ones above it), and only that one is used.
func special(w uint64) uint64 {
	// XOR with 2 swaps '"' (0x22) with the blank (0x20), which puts quote and
	// control characters, and nothing else, below 0x21.
	low := (w ^ lanes02) - lanes21
	slash := (w ^ lanes5c) - lanes01
	return (low | slash) &^ w & lanes80
}

// text skips a string's inside from after its opening quote, and returns the
// offset after the closing one.
func (s *scanner) text(i int) int {
	b := s.b
	s.escape = false
	for {
		i = s.plain(i)
		// Code and tables come with several escapes a line, often one after another.
		for i < len(b) && b[i] == '\\' {
			s.escape = true
			if i+1 < len(b) && simpleEscape[b[i+1]] {
				i += 2
			} else if i = s.longEscape(i); i == failed {
				return failed
			}
		}
		switch {
		case i >= len(b):
			return s.fail(i, "")
		case b[i] == '"':
			return i + 1
		case b[i] < ' ':
			return s.fail(i, "a control character must be escaped in a string")
		}
	}
}

// plain skips to the next special byte, or to the end.
func (s *scanner) plain(i int) int {
	b, high := s.b, s.high
	for len(b)-i >= 8 {
		w := binary.LittleEndian.Uint64(b[i:])
		m := special(w)
		if m == 0 && len(b)-i >= 16 { // most of the time: the next eight at once
			high |= w
			i += 8
			w = binary.LittleEndian.Uint64(b[i:])
			m = special(w)
		}
		if m != 0 {
			n := bits.TrailingZeros64(m) / 8
			s.high = high | w&(1<<(8*n)-1)
			return i + n
		}
		high |= w
		i += 8
	}
	for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
		high |= uint64(b[i])
		i++
	}
	s.high = high
	return i
}

var simpleEscape = [256]bool{'"': true, '\\': true, '/': true, 'b': true, 'f': true, 'n': true, 'r': true, 't': true}

// longEscape skips the escape whose backslash is at i, if it is \uXXXX.
func (s *scanner) longEscape(i int) int {
	i++
	if i < len(s.b) && s.b[i] != 'u' {
		return s.fail(i, "unknown escape in a string")
	}
	for k := 1; k <= 4; k++ {
		if i+k >= len(s.b) {
			return s.fail(len(s.b), "")
		}
		if unhex(s.b[i+k]) < 0 {
			return s.fail(i+k, "four hexadecimal digits are expected after \\u")
		}
	}
	return i + 5
}

func unhex(c byte) rune {
	switch {
	case c-'0' <= 9:
		return rune(c - '0')
	case c|0x20-'a' <= 5:
		return rune(c|0x20-'a') + 10
	default:
		return -1
	}
}

// checkUTF8 is for the end: all bytes that could be anything but ASCII without
// being a syntax error stood in strings.
func (s *scanner) checkUTF8() bool {
	if s.high&lanes80 == 0 {
		return true
	}
	i := invalidUTF8(s.b)
	if i < len(s.b) {
		s.fail(i, "the text is not valid UTF-8")
		return false
	}
	return true
}

// invalidUTF8 is the offset of the first byte that is not UTF-8; len(b) if all is.
// It is utf8.Valid with a short cut for Chinese, Japanese and Korean text: two
// three-byte letters at once.
func invalidUTF8(b []byte) int {
	const (
		mask    = 0xc0c0f0c0c0f0
		letters = 0x8080e08080e0
	)
	i := 0
	for i < len(b) {
		for len(b)-i >= 8 {
			w := binary.LittleEndian.Uint64(b[i:])
			if w&lanes80 == 0 {
				i += 8
				continue
			}
			// A first byte E0 could be too long a form, ED a surrogate: not here.
			if w&mask != letters || b[i] == 0xe0 || b[i] == 0xed || b[i+3] == 0xe0 || b[i+3] == 0xed {
				break
			}
			i += 6
		}
		if i < len(b) && b[i] < utf8.RuneSelf {
			i++
			continue
		}
		r, n := utf8.DecodeRune(b[i:])
		if r == utf8.RuneError && n <= 1 {
			return i
		}
		i += n
	}
	return i
}
