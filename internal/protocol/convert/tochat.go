package convert

import (
	"slices"
	"strconv"
	"strings"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// responsesClient is a client of Responses whose upstream speaks Chat Completions.
// What corresponds to what stands in docs/conversions.md.
//
// Refused, because an answer without it would be another: previous_response_id,
// conversation, prompt and store: true (what an upstream keeps), access_programs,
// background, a file_id of an image, a file_url and a detail of a file, item
// references, compactions, calls of tools that only OpenAI runs, such tools themselves,
// a format of text that is no JSON, fields of Chat that we write ourselves, n other
// than 1, and values of the wrong type where the upstream would not see them.
//
// Dropped, because it is advice or says nothing here: encrypted reasoning (another
// upstream cannot read it), reasoning.summary beyond where the reasoning is shown,
// include but for logprobs, truncation, max_tool_calls, context_management,
// client_metadata, stream_options, a web_search tool that Codex CLI always offers,
// past web searches, the phase of a message, tool_choice and parallel_tool_calls
// without tools, and what is null.
//
// Everything else that Chat has no other name for goes on under its own.
type responsesClient struct {
	body    []byte
	model   string
	echo    []byte // what the response object of the end repeats of the request, a comma before each field
	early   []byte // what those before any output repeat
	names   map[string]toolName
	summary bool // the client shows summaries: reasoning goes where it looks
}

// notCarried are the fields that need an upstream which remembers, and the permission
// under which OpenAI is to answer, which no Chat request can ask for.
var notCarried = [...]string{"previous_response_id", "conversation", "prompt", "access_programs"}

// chatOnly are the fields of a Chat request that a Responses request must not bring
// along: we write them.
var chatOnly = [...]string{
	"messages", "functions", "function_call", "response_format", "max_tokens", "max_completion_tokens",
	"reasoning_effort", "verbosity", "logprobs", "modalities", "audio", "web_search_options",
}

// responsesAdvice are the fields that are left out.
var responsesAdvice = [...]string{"truncation", "max_tool_calls", "context_management", "client_metadata", "stream_options"}

// responsesTypes are the types of the fields that do not go on as they are: of what is
// wrong with them the upstream would never hear, or would name another field. What
// openai.ReadJSON has looked at is not among them.
var responsesTypes = map[string]jsonType{
	"client_metadata":     anObject,
	"context_management":  aList,
	"include":             aList,
	"instructions":        aString,
	"max_tool_calls":      aNumber,
	"parallel_tool_calls": aBool,
	"reasoning":           anObject,
	"text":                anObject,
	"top_logprobs":        aNumber,
	"truncation":          aString,
}

// What of objects inside is moved.
var (
	textTypes      = []typedField{{"format", anObject}, {"verbosity", aString}}
	reasoningTypes = []typedField{{"effort", aString}, {"summary", aString}, {"generate_summary", aString}}
	fileTypes      = []typedField{{"file_data", aString}, {"file_id", aString}, {"filename", aString}}
)

// echoed are the fields that a response object repeats, in its usual order, and what
// it says where the request says nothing. Those that may be long are repeated early
// only while they are short.
var echoed = [...]struct {
	key, otherwise string
	mayBeLong      bool
}{
	{"instructions", "null", true},
	{"max_output_tokens", "null", false},
	{"max_tool_calls", "null", false},
	{"parallel_tool_calls", "true", false},
	{"prompt_cache_key", "", false},
	{"reasoning", `{"effort":null,"summary":null}`, false},
	{"safety_identifier", "", false},
	{"temperature", "null", false},
	{"text", `{"format":{"type":"text"}}`, false},
	{"tool_choice", `"auto"`, false},
	{"tools", "[]", true},
	{"top_logprobs", "", false},
	{"top_p", "null", false},
	{"truncation", `"disabled"`, false},
	{"user", "null", false},
	{"metadata", "{}", false},
}

// longEcho is the longest value that is repeated before there is output. OpenAI
// repeats instructions and tools of any length in response.created, in
// response.in_progress and at the end; with those of a coding agent, 100 KB in all,
// that is most of what a short stream costs. Nobody needs them thrice: Codex CLI looks
// at none of it, the SDKs hand the object of the end to their callers. So that one is
// always whole, and the two before it stay what the SDKs' types demand: instructions
// may be null there, tools an empty list.
const longEcho = 4 << 10

// ToChat converts a request of Responses for an upstream that speaks Chat
// Completions. What cannot be carried is a realm.Error of CodeInvalid that names
// the field.
func ToChat(r *openai.Request) (Conversion, error) {
	body := r.Doc.Body
	w := chatWriter{
		client:  &responsesClient{model: r.Model},
		out:     make([]byte, 0, len(body)+len(body)/8+1024), // a custom tool is longer as a function
		offered: map[toolName]int{},
	}
	for i := range r.Doc.Fields {
		f := &r.Doc.Fields[i]
		raw := body[f.ValStart:f.ValEnd]
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
	w.out[0] = '{' // was the first comma
	w.client.body = append(w.out, '}')
	w.client.remember(&r.Doc)
	return w.client, nil
}

// Body is the Chat request.
func (c *responsesClient) Body() []byte { return c.body }

// Added is the wish for a stream's usage, which Responses give without one.
func (c *responsesClient) Added() []string { return []string{"stream_options"} }

// remember keeps what response objects repeat of the request. It is copied: the
// request's body may be gone when the answer comes.
func (c *responsesClient) remember(doc *rawjson.Doc) {
	size, long := 0, false
	for _, e := range echoed {
		raw, _ := doc.Get(e.key)
		size += len(e.key) + max(len(raw), len(e.otherwise)) + len(`,"":`)
		long = long || e.mayBeLong && len(raw) > longEcho
	}
	c.echo = unbroken(appendEcho(make([]byte, 0, size), doc, size))
	c.early = c.echo
	if long {
		c.early = unbroken(appendEcho(nil, doc, longEcho))
	}
}

// appendEcho appends what a response object repeats, but for what may be long and is
// longer than the longest.
func appendEcho(dst []byte, doc *rawjson.Doc, longest int) []byte {
	for _, e := range echoed {
		raw, _ := doc.Get(e.key)
		switch {
		case rawjson.IsNull(raw) || e.mayBeLong && len(raw) > longest:
			if e.otherwise != "" {
				dst = append(append(append(append(dst, `,"`...), e.key...), `":`...), e.otherwise...)
			}
		case e.key == "text" && at(raw, "format") == nil:
			raw = fields(appendField([]byte(`,"format":{"type":"text"}`), "verbosity", at(raw, "verbosity")))
			dst = appendField(dst, e.key, raw)
		default:
			dst = appendField(dst, e.key, raw)
		}
	}
	return dst
}

// chatWriter writes a Chat request while the Responses request is read field by
// field. What several fields make together is collected and written last.
//
// A coding agent's requests are long, and each goes through here: every object is read
// once, and what is carried as it is goes from the client's body straight to where it
// stands in the new one.
type chatWriter struct {
	objectReader
	client *responsesClient
	out    []byte // fields, a comma before each

	input, instructions []byte
	tools, choice       []byte
	parallel            []byte
	topLogprobs         []byte
	logprobs            bool

	offers []offer // the tools, in order
	// offered is where in offers each is: a request may have very many.
	offered map[toolName]int
	past    map[toolName]string // the names of those that were only called

	system  []piece // of the first message, as long as nothing else came
	opened  bool    // a message was written
	turn    turn
	items   []inputItem
	outputs map[string]int // by call: the first item with an output that was not taken yet
	shown   []byte         // images and the like, of tool outputs and of answers, that only a user's message can show

	parts []piece // of the content that is being read
}

func (w *chatWriter) put(key string, raw []byte) { w.out = appendField(w.out, key, raw) }

// field takes in one top-level field.
func (w *chatWriter) field(key string, raw []byte) error {
	if want, ok := responsesTypes[key]; ok && !want.is(raw) {
		return wrongType(key, want)
	}
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
		return w.readEffort(raw)
	case "max_output_tokens":
		w.put("max_completion_tokens", raw)
	case "top_logprobs":
		w.topLogprobs = raw
	case "include":
		return w.readInclude(raw)
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
	if slices.Contains(notCarried[:], key) || slices.Contains(chatOnly[:], key) {
		return notInChat(key)
	}
	if !slices.Contains(responsesAdvice[:], key) {
		w.out = append(rawjson.AppendString(append(w.out, ','), key), ':')
		w.out = append(w.out, raw...)
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
	if rawjson.IsString(w.instructions) {
		w.say(piece{text: inside(w.instructions)})
	}
	if err := w.readTools(); err != nil {
		return err
	}
	w.out = append(w.out, `,"messages":[`...)
	if err := w.readInput(); err != nil {
		return err
	}
	w.out = append(w.out, ']')
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
	text := w.object(raw)
	if err := text.mustHave(place{last: "text"}, textTypes); err != nil {
		return err
	}
	w.put("verbosity", text.get("verbosity"))
	form := text.get("format")
	format := w.object(form)
	kind := format.get("type")
	switch {
	case form == nil, rawjson.Equal(kind, "text"):
	case rawjson.Equal(kind, "json_object"):
		w.put("response_format", []byte(`{"type":"json_object"}`))
	case rawjson.Equal(kind, "json_schema"):
		var inner []byte
		for _, key := range [...]string{"name", "description", "schema", "strict"} {
			inner = appendField(inner, key, format.get(key))
		}
		if len(inner) == 0 {
			return realm.Invalid("text.format", "The field `text.format` must have a name and a schema.")
		}
		w.put("response_format", fields(appendField([]byte(`,"type":"json_schema"`), "json_schema", fields(inner))))
	default:
		return notInChat("text.format.type")
	}
	return nil
}

// readEffort takes in how the model is to reason, and where the client looks for it.
func (w *chatWriter) readEffort(raw []byte) error {
	reasoning := w.object(raw)
	if err := reasoning.mustHave(place{last: "reasoning"}, reasoningTypes); err != nil {
		return err
	}
	w.client.summary = reasoning.get("summary") != nil || reasoning.get("generate_summary") != nil
	w.put("reasoning_effort", reasoning.get("effort"))
	return nil
}

// readInclude looks for what Chat can add to an answer; the rest is advice.
func (w *chatWriter) readInclude(raw []byte) error {
	i := 0
	for _, what := range rawjson.Elements(raw) {
		if !aString.is(what) {
			return wrongType("include["+strconv.Itoa(i)+"]", aString)
		}
		w.logprobs = w.logprobs || rawjson.Equal(what, "message.output_text.logprobs")
		i++
	}
	return nil
}
