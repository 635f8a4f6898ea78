package convert

import (
	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// chatClient is the conversion for a Chat client over a Responses upstream.
//
// Refused, because nothing corresponds and leaving it out would change the answer:
//
//	stop, unless empty; n above 1; presence_penalty and frequency_penalty other
//	than 0; logit_bias, unless empty; audio, and modalities other than text;
//	top_logprobs without logprobs; response_format, tool_choice, tools, roles and
//	parts of messages of a type that Chat does not have; a message's audio;
//	fields of Responses' own that we write ourselves, or that name state upstream
//	(responsesOnly); values of a wrong type that no upstream would see, or would call
//	by another name (chatTypes)
//
// Dropped, because it is advice: seed (a best effort even on Chat), prediction (it
// makes an answer faster, not another), a message's name, what a client sends back of
// an answer beside its text, refusal and calls (annotations, images,
// reasoning_content), stream_options but include_usage and include_obfuscation, and what is null.
//
// Everything else is carried under the same name: temperature, metadata, user, and
// what neither dialect knows, which is the upstream's to understand or refuse.
type chatClient struct {
	body     []byte
	added    []string
	model    string // as the client named it
	usage    bool   // a usage chunk was asked for
	logprobs bool
	// legacy: the client offered functions, not tools, and knows function_call alone.
	legacy bool

	// What the client calls the fields of the body: each item of the input, each tool,
	// and the others.
	items, tools []place
	names        []renamed
}

// responsesOnly are the fields of a Responses request that a Chat request must not
// bring along: we write them, or they name what an upstream keeps.
var responsesOnly = [...]string{
	"input", "instructions", "previous_response_id", "conversation", "prompt", "background", "include", "text", "max_output_tokens",
}

// What room is made for: usualRest is how long a request usually is at most without its
// items and tools, usualElement how long one of its messages or tools is.
const (
	usualRest    = 512
	usualElement = 1 << 10
)

// grown is how long a list is when it is converted, more hardly ever.
func grown(raw []byte) int { return len(raw) + len(raw)/8 + 128 }

// ToResponses converts a request of Chat Completions for an upstream that speaks
// Responses. What cannot be carried is a realm.Error of CodeInvalid that names the
// field.
func ToResponses(r *openai.Request) (Conversion, error) {
	w := responsesWriter{
		client: &chatClient{model: r.Model, usage: r.IncludeUsage},
		out:    append(make([]byte, 0, usualRest), '{'),
	}
	for i := range r.Doc.Fields {
		f := &r.Doc.Fields[i]
		raw := r.Doc.Body[f.ValStart:f.ValEnd]
		if rawjson.IsNull(raw) {
			continue
		}
		if err := w.field(string(f.Key), raw); err != nil {
			return nil, err
		}
	}
	if err := w.finish(); err != nil {
		return nil, err
	}
	w.client.body = w.out
	return w.client, nil
}

func (c *chatClient) Body() []byte { return c.body }

func (c *chatClient) Added() []string { return c.added }

// responsesWriter writes a Responses request while the Chat request is read field
// by field. What several fields make together is collected and written last.
//
// Conversations are long, and so are the tools of an agent: every object is read once,
// and what is carried as it is goes from the client's body straight to where it stands
// among the items or the tools.
type responsesWriter struct {
	objectReader
	client *chatClient
	out    []byte

	input        []byte // items, each followed by a comma
	markAt       int    // where a breakpoint can be put into them; 0: nowhere
	messages     bool
	customCalls  map[string]bool // the calls of custom tools so far, by their ids
	functionCall string          // the id made for the last call of the deprecated kind
	made         int             // how many of those there were

	tools                 []byte // each followed by a comma
	choice                []byte
	format, verbosity     []byte
	reasoning, effort     []byte
	maxTokens, maxAnswer  []byte // max_tokens, max_completion_tokens
	topLogprobs           []byte
	store, parallel       bool // the field was there
	modern                bool // tools were offered
	encrypted, streamsOut bool // encrypted reasoning was sent back; a stream is asked for
	obfuscation           []byte
}

// put writes a field of the body.
func (w *responsesWriter) put(key string, raw []byte) {
	w.putName(key)
	w.out = append(w.out, raw...)
}

// putList writes a field that is an array of elements, each of them followed by a comma.
func (w *responsesWriter) putList(key string, elements []byte) {
	w.putName(key)
	w.out = appendList(w.out, elements)
}

func (w *responsesWriter) putName(key string) {
	if len(w.out) > 1 {
		w.out = append(w.out, ',')
	}
	w.out = append(rawjson.AppendString(w.out, key), ':')
}

// field takes in one top-level field that is not null.
func (w *responsesWriter) field(key string, raw []byte) error {
	if t, ok := chatTypes[key]; ok && !t.is(raw) {
		return wrongType(key, t)
	}
	switch key {
	case "messages":
		return w.readMessages(raw)
	case "tools":
		return w.readTools(raw)
	case "functions":
		return w.readFunctions(raw)
	case "tool_choice":
		return w.readChoice(raw)
	case "function_call":
		return w.readFunctionChoice(raw)
	case "web_search_options":
		return w.webSearch(raw)
	case "response_format":
		return w.readFormat(raw)
	case "verbosity":
		w.verbosity = raw
	case "reasoning_effort":
		w.effort = raw
	case "reasoning":
		w.reasoning = raw
	case "max_tokens":
		w.maxTokens = raw
	case "max_completion_tokens":
		w.maxAnswer = raw
	case "logprobs":
		w.client.logprobs, _ = rawjson.Bool(raw)
	case "top_logprobs":
		w.topLogprobs = raw
	case "stream_options":
		get := reader(raw)
		w.obfuscation = get("include_obfuscation")
		return mustHave(key, get, streamTypes)
	case "seed", "prediction": // advice
	default:
		return w.sameOrNone(key, raw)
	}
	return nil
}

// sameOrNone takes in a field that has the same name in both dialects, or that
// nothing corresponds to.
func (w *responsesWriter) sameOrNone(key string, raw []byte) error {
	none := false
	switch key {
	case "n":
		none = !isOne(raw)
	case "stop", "logit_bias":
		none = !rawjson.IsEmpty(raw)
	case "presence_penalty", "frequency_penalty":
		none = !isZero(raw)
	case "audio":
		none = true
	case "modalities":
		none = !onlyText(raw)
	case "store":
		w.store = true
		w.put(key, raw)
	case "parallel_tool_calls":
		w.parallel = true
		w.put(key, raw)
	case "stream":
		w.streamsOut, _ = rawjson.Bool(raw)
		w.put(key, raw)
	default:
		for _, own := range responsesOnly {
			none = none || key == own
		}
		if !none {
			w.put(key, raw)
		}
	}
	if none {
		return realm.Invalid(key, "The field `"+key+"` cannot be carried: the model is served by an upstream that speaks the Responses API, which has nothing like it in a chat request. Leave it out.")
	}
	return nil
}

// onlyText tells whether a list of modalities asks for nothing but text.
func onlyText(raw []byte) bool {
	for _, kind := range rawjson.Elements(raw) {
		if !rawjson.Equal(kind, "text") {
			return false
		}
	}
	return rawjson.IsArray(raw)
}
