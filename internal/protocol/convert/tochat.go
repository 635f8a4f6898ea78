package convert

import (
	"slices"
	"strings"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// responsesClient is a client of Responses whose upstream speaks Chat Completions.
// What corresponds to what stands in docs/conversions.md.
//
// Refused, because an answer without it would be another: previous_response_id,
// conversation, prompt and store: true (what an upstream keeps), background, a
// file_id of an image, a file_url, item references, compactions, calls of tools
// that only OpenAI runs, such tools themselves, a format of text that is no JSON,
// fields of Chat that we write ourselves, n other than 1.
//
// Dropped, because it is advice or says nothing here: encrypted reasoning (another
// upstream cannot read it), reasoning.summary beyond where the reasoning is shown,
// include but for logprobs, truncation, max_tool_calls, context_management,
// client_metadata, stream_options, a web_search tool that Codex CLI always offers,
// past web searches, tool_choice and parallel_tool_calls without tools, and what is
// null.
//
// Everything else that Chat has no other name for goes on under its own.
type responsesClient struct {
	body    []byte
	model   string
	echo    []byte // what every response object repeats of the request, a comma before each field
	names   map[string]toolName
	summary bool // the client shows summaries: reasoning goes where it looks
}

// keeps are the fields that need an upstream which remembers.
var keeps = [...]string{"previous_response_id", "conversation", "prompt"}

// chatOnly are the fields of a Chat request that a Responses request must not bring
// along: we write them.
var chatOnly = [...]string{
	"messages", "functions", "function_call", "response_format", "max_tokens", "max_completion_tokens",
	"reasoning_effort", "verbosity", "logprobs", "modalities", "audio", "web_search_options",
}

// responsesAdvice are the fields that are left out.
var responsesAdvice = [...]string{"truncation", "max_tool_calls", "context_management", "client_metadata", "stream_options"}

// echoed are the fields that a response object repeats, in its usual order, and what
// it says where the request says nothing.
var echoed = [...]struct{ key, otherwise string }{
	{"instructions", "null"},
	{"max_output_tokens", "null"},
	{"max_tool_calls", "null"},
	{"parallel_tool_calls", "true"},
	{"prompt_cache_key", ""},
	{"reasoning", `{"effort":null,"summary":null}`},
	{"safety_identifier", ""},
	{"temperature", "null"},
	{"text", `{"format":{"type":"text"}}`},
	{"tool_choice", `"auto"`},
	{"tools", "[]"},
	{"top_logprobs", ""},
	{"top_p", "null"},
	{"truncation", `"disabled"`},
	{"user", "null"},
	{"metadata", "{}"},
}

// ToChat converts a request of Responses for an upstream that speaks Chat
// Completions. What cannot be carried is a realm.Error of CodeInvalid that names
// the field.
func ToChat(r *openai.Request) (Conversion, error) {
	w := chatWriter{
		client: &responsesClient{model: r.Model, names: map[string]toolName{}},
		out:    make([]byte, 0, len(r.Doc.Body)+len(r.Doc.Body)/4+256),
		wires:  map[toolName]string{}, offered: map[toolName]int{},
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
	w.client.body = fields(w.out)
	w.client.remember(&r.Doc)
	return w.client, nil
}

// Body is the Chat request.
func (c *responsesClient) Body() []byte { return c.body }

// remember keeps what response objects repeat of the request. It is copied: the
// request's body may be gone when the answer comes.
func (c *responsesClient) remember(doc *rawjson.Doc) {
	for _, e := range echoed {
		raw, _ := doc.Get(e.key)
		if rawjson.IsNull(raw) {
			raw = []byte(e.otherwise)
		}
		if e.key == "text" && at(raw, "format") == nil {
			raw = fields(appendField(appendField(nil, "format", []byte(`{"type":"text"}`)), "verbosity", at(raw, "verbosity")))
		}
		c.echo = appendField(c.echo, e.key, raw)
	}
}

// chatWriter writes a Chat request while the Responses request is read field by
// field. What several fields make together is collected and written last.
type chatWriter struct {
	client *responsesClient
	out    []byte // fields, a comma before each

	input, instructions []byte
	tools, choice       []byte
	parallel            []byte
	topLogprobs         []byte
	logprobs            bool

	offers []offer             // the tools, in order
	wires  map[toolName]string // what each is called in Chat
	// offered is where in offers each is: a request may have very many.
	offered map[toolName]int

	messages []byte // each followed by a comma
	system   []byte // the inside of the first message's text, as long as nothing else came
	opened   bool   // a message was written
	turn     turn
	outputs  map[string][]int // by call: the items with outputs that were not taken yet
	items    [][]byte
	shown    []byte // parts of tool outputs that only a user's message can show
}

func (w *chatWriter) put(key string, raw []byte) { w.out = appendField(w.out, key, raw) }

// field takes in one top-level field.
func (w *chatWriter) field(key string, raw []byte) error {
	switch key {
	case "input":
		w.input = raw
	case "instructions":
		w.instructions = raw
	case "tools":
		w.tools = raw
	case "tool_choice":
		w.choice = raw
	case "parallel_tool_calls":
		w.parallel = raw
	case "text":
		return w.readText(raw)
	case "reasoning":
		w.client.summary = at(raw, "summary") != nil || at(raw, "generate_summary") != nil
		w.put("reasoning_effort", at(raw, "effort"))
	case "max_output_tokens":
		w.put("max_completion_tokens", raw)
	case "top_logprobs":
		w.topLogprobs = raw
	case "include":
		w.readInclude(raw)
	case "stream":
		w.put("stream", raw)
		if on, _ := rawjson.Bool(raw); on {
			w.put("stream_options", []byte(`{"include_usage":true}`))
		}
	case "store", "background":
		if on, ok := rawjson.Bool(raw); !ok || on {
			return notInChat(key)
		}
	case "n":
		if !isOne(raw) {
			return notInChat(key)
		}
	default:
		return w.sameOrNone(key, raw)
	}
	return nil
}

// sameOrNone takes in a field that has the same name in both dialects, or that
// nothing corresponds to.
func (w *chatWriter) sameOrNone(key string, raw []byte) error {
	if slices.Contains(keeps[:], key) || slices.Contains(chatOnly[:], key) {
		return notInChat(key)
	}
	if !slices.Contains(responsesAdvice[:], key) {
		name := rawjson.AppendString(nil, key)
		w.put(string(name[1:len(name)-1]), raw)
	}
	return nil
}

// notInChat refuses a field.
func notInChat(field string) error {
	name, reason := field, "which has nothing like it. Leave it out."
	if i := strings.IndexByte(field, '['); i > 0 {
		name = field[:i]
	}
	switch name {
	case "previous_response_id", "conversation", "store", "prompt":
		reason = "which keeps nothing. Send the whole conversation with each request, and `store: false`."
	}
	return realm.Invalid(field, "The field `"+field+"` cannot be carried: the model is served by an upstream that speaks the Chat Completions API, "+reason)
}

// finish writes what several fields make together.
func (w *chatWriter) finish() error {
	if err := w.readInstructions(); err != nil {
		return err
	}
	if err := w.readTools(); err != nil {
		return err
	}
	if err := w.readInput(); err != nil {
		return err
	}
	w.put("messages", list(w.messages))
	if err := w.finishTools(); err != nil {
		return err
	}
	if w.logprobs || len(w.topLogprobs) != 0 && !isZero(w.topLogprobs) {
		w.put("logprobs", []byte("true"))
		w.put("top_logprobs", w.topLogprobs)
	}
	return nil
}

// readText takes in the form of the answer's text.
func (w *chatWriter) readText(raw []byte) error {
	w.put("verbosity", at(raw, "verbosity"))
	format := at(raw, "format")
	kind := at(format, "type")
	switch {
	case format == nil, rawjson.Equal(kind, "text"):
	case rawjson.Equal(kind, "json_object"):
		w.put("response_format", []byte(`{"type":"json_object"}`))
	case rawjson.Equal(kind, "json_schema"):
		inner := copyFields(nil, format, "name", "description", "schema", "strict")
		if len(inner) == 0 {
			return realm.Invalid("text.format", "The field `text.format` must have a name and a schema.")
		}
		w.put("response_format", fields(appendField([]byte(`,"type":"json_schema"`), "json_schema", fields(inner))))
	default:
		return notInChat("text.format.type")
	}
	return nil
}

// readInclude looks for what Chat can add to an answer; the rest is advice.
func (w *chatWriter) readInclude(raw []byte) {
	for _, what := range rawjson.Elements(raw) {
		w.logprobs = w.logprobs || rawjson.Equal(what, "message.output_text.logprobs")
	}
}
