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
	high := s.high
	for {
		for len(b)-i >= 16 {
			w0, w1 := binary.LittleEndian.Uint64(b[i:]), binary.LittleEndian.Uint64(b[i+8:])
			m0, m1 := special(w0), special(w1)
			if m0|m1 != 0 {
				if m0 == 0 {
					high |= w0
					i, w0, m0 = i+8, w1, m1
				}
				n := bits.TrailingZeros64(m0) / 8
				high |= w0 & (1<<(8*n) - 1)
				i += n
				goto stop
			}
			high |= w0 | w1
			i += 16
		}
		for i < len(b) && b[i] >= ' ' && b[i] != '"' && b[i] != '\\' {
			high |= uint64(b[i])
			i++
		}
		if i >= len(b) {
			return s.fail(i, "")
		}
	stop:
		// Code and tables come with several escapes a line, often one after another.
		for b[i] == '\\' {
			s.escape = true
			if i+1 < len(b) && simpleEscape[b[i+1]] {
				i += 2
			} else if i = s.longEscape(i); i == failed {
				return failed
			}
			if i >= len(b) {
				return s.fail(i, "")
			}
		}
		if b[i] == '"' {
			s.high = high
			return i + 1
		}
		if b[i] < ' ' {
			return s.fail(i, "a control character must be escaped in a string")
		}
	}
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
