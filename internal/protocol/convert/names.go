package convert

import (
	"slices"
	"strconv"
	"strings"

	"realms/internal/protocol/openai"
)

// An upstream that refuses a request names the field by its own dialect. The client
// never sent one of that name, and looks for its own.

// renamed is a field that the client calls otherwise than the upstream.
type renamed struct {
	theirs, ours string
	inner        bool // what is inside has the same names in both
}

// rename remembers what the client calls a field of the body, and whatever is inside.
// What is remembered first counts.
func (w *responsesWriter) rename(theirs, ours string) {
	w.client.names = append(w.client.names, renamed{theirs: theirs, ours: ours})
}

// renameAll is rename for a field inside which the names are the same.
func (w *responsesWriter) renameAll(theirs, ours string) {
	w.client.names = append(w.client.names, renamed{theirs: theirs, ours: ours, inner: true})
}

// chatNames are what a Responses client calls the fields of the Chat request that is
// made for it. Its messages and tools do not stay as many as its items and tools are.
var chatNames = []renamed{
	{theirs: "messages", ours: "input"},
	{theirs: "max_completion_tokens", ours: "max_output_tokens"},
	{theirs: "max_tokens", ours: "max_output_tokens"},
	{theirs: "response_format.json_schema", ours: "text.format", inner: true},
	{theirs: "response_format", ours: "text.format", inner: true},
	{theirs: "reasoning_effort", ours: "reasoning.effort"},
	{theirs: "verbosity", ours: "text.verbosity"},
	{theirs: "logprobs", ours: "include"},
	{theirs: "stream_options", ours: "stream"},
	{theirs: "tools", ours: "tools"},
	{theirs: "tool_choice", ours: "tool_choice"},
}

// ClientField is the name by which the client of a conversion knows a field of the
// converted request: "text.format.schema" is "response_format.json_schema.schema" to a
// Chat client, "input[3].output" the message that the item was. A field that has the
// same name in both keeps it.
func ClientField(c Conversion, field string) string {
	switch c := c.(type) {
	case *chatClient:
		for name, origins := range map[string][]place{"input": c.items, "tools": c.tools} {
			if origin, ok := element(field, name, origins); ok {
				return origin
			}
		}
		return translate(field, append(slices.Clip(c.names), renamed{theirs: "input", ours: "messages"}))
	case *responsesClient:
		return translate(field, chatNames)
	default:
		return field
	}
}

// element is what an element of an array was, given "input[3].content" and the like.
func element(field, array string, origins []place) (string, bool) {
	rest, ok := strings.CutPrefix(field, array+"[")
	if !ok {
		return "", false
	}
	number, _, _ := strings.Cut(rest, "]")
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n >= len(origins) {
		return "", false
	}
	return origins[n].field(""), true
}

func translate(field string, names []renamed) string {
	for i := range names {
		n := &names[i]
		rest, ok := strings.CutPrefix(field, n.theirs)
		switch {
		case !ok || rest != "" && rest[0] != '.' && rest[0] != '[':
		case n.inner:
			return n.ours + rest
		default:
			return n.ours
		}
	}
	return field
}

// ClientError is what an upstream says went wrong with a converted request, as the
// client of the conversion may read it: the field has the name that the client knows,
// also where the message names it.
func ClientError(c Conversion, e openai.UpstreamError) openai.UpstreamError {
	said := e.Param
	e.Param = ClientField(c, said)
	words := strings.Split(e.Message, " ")
	for i, word := range words {
		if name := strings.Trim(word, around); isField(word, name, said) {
			words[i] = strings.Replace(word, name, ClientField(c, name), 1)
		}
	}
	e.Message = strings.Join(words, " ")
	return e
}

// around is what may stand around a field's name in a sentence.
const around = "'\"`.,:;!?()"

// isField tells whether a word of a message can only be a field's name: it has a path,
// or is of words joined, or is the one that is to blame and stands in quotes. The input
// of a sentence need not be the field of that name.
func isField(word, name, said string) bool {
	quoted := strings.ContainsAny(word[:strings.Index(word, name)], "'\"`")
	return strings.ContainsAny(name, "._[") || quoted && name == said
}
