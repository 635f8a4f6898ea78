package convert

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
