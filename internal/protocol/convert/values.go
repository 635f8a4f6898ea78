package convert

import (
	"bytes"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// jsonType is a type of values, with the words by which an error names it.
type jsonType struct {
	is    func(raw []byte) bool
	words string
}

var (
	aBool    = jsonType{func(raw []byte) bool { _, ok := rawjson.Bool(raw); return ok }, "true or false"}
	aNumber  = jsonType{isNumber, "a number"}
	aString  = jsonType{rawjson.IsString, "a string"}
	aList    = jsonType{rawjson.IsArray, "an array"}
	anObject = jsonType{rawjson.IsObject, "an object"}
)

func isNumber(raw []byte) bool {
	return len(raw) != 0 && (raw[0] == '-' || raw[0]-'0' <= 9)
}

type typedField struct {
	key string
	jsonType
}

// mustHave refuses an object of which a field is there and of another type.
func mustHave(field string, get func(string) []byte, fields []typedField) error {
	if wrong := wrongField(get, fields); wrong != nil {
		return wrongType(field+"."+wrong.key, wrong.jsonType)
	}
	return nil
}

// wrongField is the first field that is there and of another type; nil if there is none.
func wrongField(get func(string) []byte, fields []typedField) *typedField {
	for i := range fields {
		if raw := get(fields[i].key); raw != nil && !fields[i].is(raw) {
			return &fields[i]
		}
	}
	return nil
}

func wrongType(field string, t jsonType) error {
	return realm.Invalid(field, "The field `"+field+"` must be "+t.words+".")
}

// isOne and isZero tell what a number is, however it is written.
func isOne(raw []byte) bool {
	n, ok := rawjson.Int(raw)
	return ok && n == 1
}

func isZero(raw []byte) bool {
	for i, c := range raw {
		switch {
		case c == 'e' || c == 'E':
			return i > 0
		case c != '0' && c != '.' && c != '-':
			return false
		}
	}
	return len(raw) != 0
}

// inside is the text of a raw string as it is written, without the quotes; nil if
// raw is no string.
func inside(raw []byte) []byte {
	if !rawjson.IsString(raw) {
		return nil
	}
	return raw[1 : len(raw)-1]
}

// plain is the text of a raw string, which is not copied unless it has escapes; nil if
// raw is no string.
func plain(raw []byte) []byte {
	text := inside(raw)
	if bytes.IndexByte(text, '\\') < 0 {
		return text
	}
	unescaped, _ := rawjson.String(raw)
	return []byte(unescaped)
}

// isBroken tells whether JSON has line breaks.
func isBroken(json []byte) bool {
	return bytes.IndexByte(json, '\n') >= 0 || bytes.IndexByte(json, '\r') >= 0
}

// unbroken makes blanks of the line breaks in JSON, which stand only between its tokens:
// the data of an event has one line.
func unbroken(json []byte) []byte {
	if !isBroken(json) {
		return json
	}
	for i, c := range json {
		if c == '\n' || c == '\r' {
			json[i] = ' '
		}
	}
	return json
}
