package convert

import (
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

// chatTypes are the types of the fields that are moved, read or left out here, and
// that nobody else checks: an upstream would call them by another name, or would never
// see them. Of the fields that go on as they are each upstream knows itself what it
// takes.
var chatTypes = map[string]jsonType{
	"functions":           aList,
	"logprobs":            aBool,
	"parallel_tool_calls": aBool,
	"prediction":          anObject,
	"reasoning":           anObject,
	"reasoning_effort":    aString,
	"response_format":     anObject,
	"seed":                aNumber,
	"tools":               aList,
	"top_logprobs":        aNumber,
	"verbosity":           aString,
	"web_search_options":  anObject,
}

// What of objects inside is read here.
var (
	functionTypes = []typedField{{"description", aString}, {"parameters", anObject}, {"strict", aBool}}
	answerTypes   = []typedField{{"refusal", aString}, {"tool_calls", aList}, {"function_call", anObject}}
	searchTypes   = []typedField{{"search_context_size", aString}, {"user_location", anObject}}
	streamTypes   = []typedField{{"include_obfuscation", aBool}}
)

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
