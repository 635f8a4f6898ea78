package rawjson

import (
	"bytes"
	"strconv"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects may nest.
const MaxDepth = 512

// MaxFields is how many top-level fields an object may have.
const MaxFields = 1024

// SyntaxError says where and why bytes are not the JSON that is expected.
// Message is safe to show: it holds none of the input.
type SyntaxError struct {
	Offset  int // in bytes, from the start of what was parsed
	Message string
}

func (e *SyntaxError) Error() string {
	return e.Message + " (byte " + strconv.Itoa(e.Offset) + ")"
}

// Field is one top-level field of an object, as offsets into Doc.Body.
type Field struct {
	Key              []byte // unescaped; aliases the body unless it had escapes
	KeyStart, KeyEnd int    // with the quotes
	ValStart, ValEnd int
}

// Doc is a parsed object.
type Doc struct {
	Body   []byte
	Fields []Field

	open    int // offset of the opening brace
	sifted  bool
	escaped bool // some key, at any depth, was written with an escape
	words   wordSet
}

var bom = []byte("\xef\xbb\xbf")

// Parse reads one JSON object in one iterative pass: the whole grammar, depth at
// most MaxDepth, valid UTF-8, no top-level key twice (after unescaping), nothing
// but white space after the end. fields is reused; with enough capacity nothing
// is allocated. Errors are *SyntaxError.
func Parse(body []byte, fields []Field) (Doc, error) {
	return parse(body, fields, false)
}

// Scan is Parse that lets a top-level key repeat: the last one counts, as it does
// for most readers. It is for what upstreams send.
func Scan(body []byte, fields []Field) (Doc, error) {
	return parse(body, fields, true)
}

// Head reads the top-level fields of an object of which only the beginning is
// there: those that are complete. What follows may be anything.
func Head(b []byte, fields []Field) Doc {
	s := scanner{b: b}
	d := Doc{Body: b, Fields: fields[:0]}
	if i := s.space(0); i < len(b) && b[i] == '{' {
		s.push(i, true)
		d.parseFields(&s, s.space(i+1), true)
	}
	return d
}

func parse(body []byte, fields []Field, repeat bool) (Doc, error) {
	s := scanner{b: body, sift: !repeat}
	d := Doc{Body: body, Fields: fields[:0]}
	i := s.space(0)
	if i >= len(body) || body[i] != '{' {
		return Doc{}, s.notObject(i)
	}
	d.open = i
	s.push(i, true)
	if i = s.space(i + 1); i < len(body) && body[i] == '}' {
		i++
	} else {
		i = d.parseFields(&s, i, repeat)
	}
	if err := s.end(i); err != nil {
		return Doc{}, err
	}
	d.sifted, d.escaped, d.words = s.sift, s.escaped, s.words
	return d, nil
}

// parseFields reads the fields from the first key on, and the closing brace.
func (d *Doc) parseFields(s *scanner, i int, repeat bool) int {
	for {
		f := Field{KeyStart: i}
		colon := s.key(i)
		if colon == failed {
			return failed
		}
		f.KeyEnd = s.keyEnd
		f.Key = s.b[i+1 : f.KeyEnd-1]
		if s.escape {
			f.Key = unescape(f.Key)
		}
		if !repeat && d.has(f.Key) {
			return s.fail(i, "a key is there twice")
		}
		if len(d.Fields) == MaxFields {
			return s.fail(i, "the object has too many fields (1024 at most)")
		}
		f.ValStart = s.space(colon)
		if f.ValEnd = s.value(f.ValStart); f.ValEnd == failed {
			return failed
		}
		d.Fields = append(d.Fields, f)
		if i = s.space(f.ValEnd); i >= len(s.b) {
			return s.fail(i, "")
		}
		switch s.b[i] {
		case ',':
			i = s.space(i + 1)
		case '}':
			return i + 1
		default:
			return s.fail(i, "a comma or a closing brace is expected")
		}
	}
}

// end checks that nothing but white space comes after i.
func (s *scanner) end(i int) error {
	if i == failed {
		return s.err
	}
	if i = s.space(i); i < len(s.b) {
		s.fail(i, "there is something after the end of the JSON")
		return s.err
	}
	if !s.checkUTF8() {
		return s.err
	}
	return nil
}

func (s *scanner) notObject(i int) error {
	switch {
	case len(s.b) == 0:
		s.fail(0, "")
		s.err.Message = "the JSON is empty"
	case bytes.HasPrefix(s.b, bom):
		s.fail(0, "the JSON begins with a byte order mark, which must not be there")
	default:
		s.fail(i, "a JSON object is expected")
	}
	return s.err
}

// Valid tells whether b is one JSON value within the same bounds. It allocates
// nothing but the error.
func Valid(b []byte) error {
	s := scanner{b: b}
	if bytes.HasPrefix(b, bom) {
		return s.notObject(0)
	}
	return s.end(s.value(0))
}

// TextEnd is the offset of the quote that closes the string whose inside begins at
// b[i]; -1 if the inside is not valid.
func TextEnd(b []byte, i int) int {
	s := scanner{b: b}
	end := s.text(i) - 1
	if end < i || s.high&lanes80 != 0 && !utf8.Valid(b[i:end]) {
		return -1
	}
	return end
}

// Prefix is the one JSON value that b begins with, whatever follows it; nil if it
// begins with none.
func Prefix(b []byte) []byte {
	s := scanner{b: b}
	if end := s.value(0); s.err == nil && end > 0 && end <= len(b) {
		return b[:end]
	}
	return nil
}

// Field finds a field by its key, the last of several; nil if there is none.
func (d *Doc) Field(key string) *Field {
	for i := len(d.Fields) - 1; i >= 0; i-- {
		if string(d.Fields[i].Key) == key {
			return &d.Fields[i]
		}
	}
	return nil
}

func (d *Doc) has(key []byte) bool {
	for i := range d.Fields {
		if bytes.Equal(d.Fields[i].Key, key) {
			return true
		}
	}
	return false
}

// Get is the raw value of a top-level field.
func (d *Doc) Get(key string) (raw []byte, ok bool) {
	f := d.Field(key)
	if f == nil {
		return nil, false
	}
	return d.Body[f.ValStart:f.ValEnd], true
}
