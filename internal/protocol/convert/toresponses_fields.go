package convert

import (
	"slices"
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// leastTokens is the smallest max_output_tokens that OpenAI's Responses take. Chat
// takes 1, and clients that only test a connection ask for few: they get more room
// rather than a refusal.
const leastTokens = 16

const (
	encryptedReasoning = `"reasoning.encrypted_content"`
	outputLogprobs     = `"message.output_text.logprobs"`
)

// finish writes the fields that several others make together, and closes the body.
func (w *responsesWriter) finish() error {
	if !w.messages {
		return realm.Invalid("messages", "The field `messages` is missing: it holds the conversation.")
	}
	if len(w.topLogprobs) != 0 && !w.client.logprobs && !isZero(w.topLogprobs) {
		return realm.Invalid("top_logprobs", "The field `top_logprobs` needs `logprobs` set to true.")
	}
	w.out = slices.Grow(w.out, len(w.input)+len(w.tools)+len(w.format)+usualRest)
	w.putList("input", w.input)
	if !w.store { // Chat keeps nothing unless it is asked to, Responses keep everything
		w.client.added = append(w.client.added, "store")
		w.put("store", []byte("false"))
	}
	w.finishTools()
	w.finishText()
	w.finishReasoning()
	w.finishOutput()
	w.out = append(w.out, '}')
	return nil
}

func (w *responsesWriter) finishTools() {
	if len(w.tools) != 0 {
		w.putList("tools", w.tools)
	}
	if len(w.choice) != 0 {
		w.put("tool_choice", w.choice)
	}
	w.client.legacy = w.client.legacy && !w.modern
	if w.client.legacy && !w.parallel { // function_call has room for one
		w.rename("parallel_tool_calls", "functions")
		w.put("parallel_tool_calls", []byte("false"))
	}
}

func (w *responsesWriter) finishText() {
	if len(w.format) == 0 && len(w.verbosity) == 0 {
		return
	}
	if len(w.verbosity) != 0 {
		w.rename("text.verbosity", "verbosity")
	}
	w.rename("text", "response_format")
	w.put("text", fields(appendField(appendField(nil, "format", w.format), "verbosity", w.verbosity)))
}

// finishReasoning writes reasoning. An object of that name is no field of Chat's, but
// what several clients send: it reaches the upstream, and keeps its own effort.
func (w *responsesWriter) finishReasoning() {
	reasoning := w.reasoning
	switch own := at(reasoning, "effort"); {
	case own != nil:
		w.effort = own
	case len(w.effort) == 0:
	case len(reasoning) == 0:
		w.rename("reasoning", "reasoning_effort")
		reasoning = fields(appendField(nil, "effort", w.effort))
	default:
		w.rename("reasoning.effort", "reasoning_effort")
		if doc, err := rawjson.Scan(reasoning, nil); err == nil {
			edits := rawjson.Edits{Doc: &doc}
			_ = edits.Set("effort", w.effort)
			reasoning = edits.Apply(nil)
		}
	}
	if len(reasoning) != 0 {
		w.put("reasoning", reasoning)
	}
}

// finishOutput writes what the answer is to hold.
func (w *responsesWriter) finishOutput() {
	if raw := w.tokens(); len(raw) != 0 {
		w.put("max_output_tokens", raw)
	}
	var include []byte
	if w.encrypted || w.reasons() {
		include = append(append(include, encryptedReasoning...), ',')
	}
	if w.client.logprobs {
		w.rename("include", "logprobs")
		include = append(append(include, outputLogprobs...), ',')
		if len(w.topLogprobs) != 0 {
			w.put("top_logprobs", w.topLogprobs)
		}
	}
	if len(include) != 0 {
		w.putList("include", include)
		if !w.client.logprobs {
			w.client.added = append(w.client.added, "include")
		}
	}
	if w.streamsOut && len(w.obfuscation) != 0 {
		w.put("stream_options", fields(appendField(nil, "include_obfuscation", w.obfuscation)))
	}
}

// reasons tells whether a model is sure to reason. Encrypted reasoning is how it goes
// on thinking where nothing is kept, and is asked for only then: other models refuse
// the wish. A bound of reasoning, and that it is enabled, are OpenRouter's ways to ask
// for it without an effort.
func (w *responsesWriter) reasons() bool {
	if len(w.effort) != 0 {
		return !rawjson.Equal(w.effort, "none")
	}
	get := reader(w.reasoning)
	enabled, _ := rawjson.Bool(get("enabled"))
	return enabled || get("max_tokens") != nil
}

// tokens is the bound of the answer's length. max_tokens is the older name.
func (w *responsesWriter) tokens() []byte {
	raw, name := w.maxAnswer, "max_completion_tokens"
	if len(raw) == 0 {
		raw, name = w.maxTokens, "max_tokens"
	}
	w.rename("max_output_tokens", name)
	if n, ok := rawjson.Int(raw); ok && n > 0 && n < leastTokens {
		return strconv.AppendInt(nil, leastTokens, 10)
	}
	return raw
}

func (w *responsesWriter) readFormat(raw []byte) error {
	format := w.object(raw)
	kind := format.get("type")
	switch {
	case rawjson.Equal(kind, "text"), rawjson.Equal(kind, "json_object"):
		w.renameAll("text.format", "response_format")
		w.format = fields(appendField(nil, "type", kind))
	case rawjson.Equal(kind, "json_schema"):
		inner := w.object(format.get("json_schema"))
		if !inner.is() {
			return realm.Invalid("response_format.json_schema", "The field `response_format.json_schema` must be an object with a name and a schema.")
		}
		w.renameAll("text.format.type", "response_format.type")
		w.renameAll("text.format", "response_format.json_schema")
		w.format = fields(inner.appendFields(appendField(nil, "type", kind), "name", "description", "schema", "strict"))
	default:
		return realm.Invalid("response_format.type", "The field `response_format.type` must be text, json_object or json_schema: the model's upstream knows no others.")
	}
	return nil
}

// webSearch makes the tool that searches the web of the options that ask for it.
func (w *responsesWriter) webSearch(raw []byte) error {
	p := place{last: "web_search_options"}
	options := w.object(raw)
	if err := options.mustHave(p, searchTypes); err != nil {
		return err
	}
	w.tools = options.appendFields(append(w.tools, `{"type":"web_search"`...), "search_context_size")
	if location := w.object(at(options.get("user_location"), "approximate")); location.is() {
		w.tools = append(w.tools, `,"user_location":{"type":"approximate"`...)
		w.tools = append(location.appendFields(w.tools, "city", "country", "region", "timezone"), '}')
	}
	w.endTool(p)
	return nil
}

// endTool closes a tool, and remembers which of the client's fields it was.
func (w *responsesWriter) endTool(p place) {
	w.tools = append(w.tools, '}', ',')
	w.client.tools = append(w.client.tools, p)
}
