package convert

import (
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// sentText is what of a text went out: enough to know it again as the beginning of the
// whole, which may be escaped in another way. It counts units of UTF-16, because
// pieces may part the halves of a letter.
type sentText struct {
	units int
	sum   uint64 // of them, after FNV-1a; the number of units tells leading zeros apart
}

// add takes over the next piece, the inside of a string.
func (t *sentText) add(inside []byte) {
	for i := 0; i < len(inside); {
		r, size := firstLetter(inside[i:])
		t.letter(r)
		i += size
	}
}

func (t *sentText) letter(r rune) {
	if r > 0xffff {
		var high rune
		high, r = utf16.EncodeRune(r)
		t.unit(high)
	}
	t.unit(r)
}

func (t *sentText) unit(u rune) {
	const prime = 1099511628211
	t.sum = (t.sum ^ uint64(u)) * prime
	t.units++
}

// rest is what of a whole text comes behind what was sent: all of it if nothing was,
// nothing if it begins otherwise.
func (t *sentText) rest(inside []byte) []byte {
	if len(inside) <= t.units {
		return nil // a unit takes a byte at least, so there is no more of it
	}
	var begin sentText
	i := 0
	for i < len(inside) && begin.units < t.units {
		r, size := firstLetter(inside[i:])
		begin.letter(r)
		i += size
	}
	if begin != *t {
		return nil
	}
	return inside[i:]
}

// longestEscape is how many bytes a letter of one byte may be written in.
const longestEscape = len(`\u0000`)

// firstLetter is the letter that the inside of a string begins with, and how many bytes
// it is written in. An escape is one unit of UTF-16.
func firstLetter(inside []byte) (r rune, size int) {
	switch c := inside[0]; {
	case c >= utf8.RuneSelf:
		return utf8.DecodeRune(inside)
	case c != '\\':
		return rune(c), 1
	case inside[1] == 'u':
		u, _ := strconv.ParseUint(string(inside[2:6]), 16, 16)
		return rune(u), 6
	default:
		return escaped(inside[1]), 2
	}
}

// escaped is the letter that a letter behind a backslash stands for.
func escaped(c byte) rune {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return rune(c)
	}
}

// utterance is the text that went out last. Only it can be continued: what belongs to
// an earlier one would stand at the wrong place.
type utterance struct {
	item  int    // its place among the items
	parts uint64 // which of its parts it is
	field string // of the chunks: content, refusal, reasoning_content
	torn  bool   // some of it went out ahead of another text
	sent  sentText
}

// is tells whether a part of an item is the one that went out last.
func (u *utterance) is(it *streamItem, bit uint64, field string) bool {
	return u.item == it.place && u.parts&bit != 0 && u.field == field
}

// utter notes that a piece of a part goes out. It comes ahead of the part's mark in
// it.parts.
func (s *chatStream) utter(it *streamItem, bit uint64, field string, text []byte) {
	if !s.latest.is(it, bit, field) {
		s.latest = utterance{item: it.place, parts: bit, field: field, torn: it.parts&bit != 0}
	}
	s.sending = &s.latest.sent
	s.sending.add(text)
}

// tail is what of a whole text is still to go out, if its beginning went out last.
func (s *chatStream) tail(it *streamItem, bit uint64, field string, text []byte) []byte {
	if s.latest.torn || !s.latest.is(it, bit, field) {
		return nil
	}
	return s.latest.sent.rest(text)
}
