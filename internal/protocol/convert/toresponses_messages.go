package convert

import (
	"slices"
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// readMessages turns messages into items, one after another: an assistant's message
// with calls becomes several.
func (w *responsesWriter) readMessages(raw []byte) error {
	if !rawjson.IsArray(raw) || rawjson.IsEmpty(raw) {
		return realm.Invalid("messages", "The field `messages` must be an array with at least one message.")
	}
	w.messages = true
	i := 0
	for _, message := range rawjson.Elements(raw) {
		if err := w.readMessage("messages["+strconv.Itoa(i)+"]", message); err != nil {
			return err
		}
		i++
	}
	return nil
}

func (w *responsesWriter) readMessage(field string, raw []byte) error {
	if !rawjson.IsObject(raw) {
		return realm.Invalid(field, "The field `"+field+"` must be a message: an object with a role and content.")
	}
	get := reader(raw)
	role, _ := rawjson.String(get("role"))
	switch role {
	case "system", "developer", "user":
		parts, err := inputParts(field+".content", get("content"))
		if err != nil {
			return err
		}
		w.addMessage(field, role, parts)
		w.noteBreakpoint(get("content"))
		return nil
	case "assistant":
		return w.readAssistant(field, get)
	case "tool":
		return w.readOutput(field, get)
	case "function":
		return w.readFunctionOutput(field, get)
	default:
		return realm.Invalid(field+".role", "The field `"+field+".role` must be system, developer, user, assistant, tool or function.")
	}
}

func (w *responsesWriter) addMessage(field, role string, parts []byte) {
	w.input = append(w.input, `{"type":"message","role":"`+role+`","content":[`...)
	w.input = append(w.input, parts[:len(parts)-1]...) // each part has a comma behind it
	w.input = append(w.input, ']')
	w.endItem(field)
}

// endItem closes an item, and remembers which of the client's fields it was.
func (w *responsesWriter) endItem(field string) {
	w.input = append(w.input, '}', ',')
	w.client.items = append(w.client.items, field)
}

// breakpoint marks the end of a part as one of a prefix that is worth keeping. In
// Responses what a client says may be marked, what a model has said may not: OpenAI
// refuses it.
const breakpoint = "prompt_cache_breakpoint"

// partEnd is what stands behind the last part of an item: the ends of the part, of the
// list, and of the item.
const partEnd = "}]},"

// noteBreakpoint remembers where a breakpoint can be put: behind the content that was
// written last, unless it has one.
func (w *responsesWriter) noteBreakpoint(content []byte) {
	var last []byte
	for _, part := range rawjson.Elements(content) {
		last = part
	}
	w.markAt = 0
	if at(last, breakpoint) == nil {
		w.markAt = len(w.input) - len(partEnd)
	}
}

// moveBreakpoint puts the breakpoint of an answer's part where the nearest can be that
// is ahead of it: of the prefix that the client wants kept, it keeps the most.
func (w *responsesWriter) moveBreakpoint(content []byte) {
	for _, part := range rawjson.Elements(content) {
		raw := at(part, breakpoint)
		if raw == nil || w.markAt == 0 {
			continue
		}
		w.input = slices.Insert(w.input, w.markAt, appendField(nil, breakpoint, raw)...)
		w.markAt = 0
	}
}

// inputParts converts the content of what is no answer: a string, or parts.
func inputParts(field string, content []byte) ([]byte, error) {
	if rawjson.IsString(content) {
		return append(appendField([]byte(`{"type":"input_text"`), "text", content), '}', ','), nil
	}
	if !rawjson.IsArray(content) || rawjson.IsEmpty(content) {
		return nil, realm.Invalid(field, "The field `"+field+"` must be a text or an array of parts.")
	}
	var parts []byte
	i := 0
	for _, part := range rawjson.Elements(content) {
		converted, err := inputPart(field+"["+strconv.Itoa(i)+"]", part)
		if err != nil {
			return nil, err
		}
		parts = append(append(parts, converted...), '}', ',')
		i++
	}
	return parts, nil
}

// inputPart is one part of a content, but for its closing brace.
func inputPart(field string, part []byte) ([]byte, error) {
	get := reader(part)
	kind, _ := rawjson.String(get("type"))
	var dst, need []byte
	name := kind
	switch kind {
	case "text":
		need = get("text")
		dst = appendField([]byte(`{"type":"input_text"`), "text", need)
	case "image_url":
		image := reader(get("image_url"))
		detail := image("detail")
		if need = get("image_url"); rawjson.IsObject(need) { // some clients send the URL itself
			need, name = image("url"), "image_url.url"
		}
		if detail == nil {
			detail = []byte(`"auto"`)
		}
		dst = appendField(appendField([]byte(`{"type":"input_image"`), "image_url", need), "detail", detail)
	case "input_audio":
		need, name = at(get("input_audio"), "data"), "input_audio.data"
		dst = appendField([]byte(`{"type":"input_audio"`), "input_audio", get("input_audio"))
	case "file":
		name = "file.file_data"
		if need = at(get("file"), "file_id"); need == nil {
			need = at(get("file"), "file_data")
		}
		dst = copyFields([]byte(`{"type":"input_file"`), get("file"), "file_id", "file_data", "filename")
	default:
		return nil, realm.Invalid(field+".type", "The field `"+field+".type` must be text, image_url, input_audio or file: the model's upstream knows no others.")
	}
	if !rawjson.IsString(need) {
		return nil, realm.Invalid(field+"."+name, "The field `"+field+"."+name+"` must be a string.")
	}
	return appendField(dst, breakpoint, get(breakpoint)), nil
}

// readAssistant converts an earlier answer: its reasoning, its text, its calls.
func (w *responsesWriter) readAssistant(field string, get func(string) []byte) error {
	if err := mustHave(field, get, answerTypes); err != nil {
		return err
	}
	if get("audio") != nil {
		return realm.Invalid(field+".audio", "The field `"+field+".audio` cannot be carried: the model's upstream keeps no spoken answers. Send the text instead.")
	}
	w.addReasoning(field, get("reasoning_details"))
	parts, err := outputParts(field+".content", get("content"))
	if err != nil {
		return err
	}
	if refusal := get("refusal"); rawjson.IsString(refusal) {
		parts = append(appendField(append(parts, `{"type":"refusal"`...), "refusal", refusal), '}', ',')
	}
	calls, function := get("tool_calls"), get("function_call")
	if content := get("content"); rawjson.IsEmpty(content) && len(inside(get("refusal"))) == 0 && (!rawjson.IsEmpty(calls) || function != nil) {
		parts = nil // "" beside calls says nothing
	}
	if len(parts) != 0 {
		w.moveBreakpoint(get("content"))
		w.addMessage(field, "assistant", parts)
	}
	i := 0
	for _, call := range rawjson.Elements(calls) {
		if err := w.addCall(field+".tool_calls["+strconv.Itoa(i)+"]", call); err != nil {
			return err
		}
		i++
	}
	if function == nil {
		return nil
	}
	w.made++
	w.functionCall = "call_function_" + strconv.Itoa(w.made)
	return w.addFunctionCall(field+".function_call", rawjson.AppendString(nil, w.functionCall), function)
}

// outputParts converts the content of an answer: a string, parts, or nothing.
func outputParts(field string, content []byte) ([]byte, error) {
	switch {
	case rawjson.IsString(content):
		return append(appendField([]byte(`{"type":"output_text"`), "text", content), '}', ','), nil
	case content == nil:
		return nil, nil
	case !rawjson.IsArray(content):
		return nil, realm.Invalid(field, "The field `"+field+"` must be a text or an array of parts.")
	}
	var parts []byte
	i := 0
	for _, part := range rawjson.Elements(content) {
		place := field + "[" + strconv.Itoa(i) + "]"
		kind, _ := rawjson.String(at(part, "type"))
		value := at(part, kind)
		switch {
		case kind != "text" && kind != "refusal":
			return nil, realm.Invalid(place+".type", "The field `"+place+".type` must be text or refusal: an answer has no other parts.")
		case !rawjson.IsString(value):
			return nil, realm.Invalid(place+"."+kind, "The field `"+place+"."+kind+"` must be a string.")
		case kind == "text":
			parts = appendField(append(parts, `{"type":"output_text"`...), "text", value)
		default:
			parts = appendField(append(parts, `{"type":"refusal"`...), "refusal", value)
		}
		parts = append(parts, '}', ',')
		i++
	}
	return parts, nil
}

// addReasoning sends encrypted reasoning back that an answer of ours brought: one
// item each. Other details are what the client was shown, which no upstream takes.
func (w *responsesWriter) addReasoning(field string, details []byte) {
	for _, detail := range rawjson.Elements(details) {
		get := reader(detail)
		data := get("data")
		if !rawjson.Equal(get("type"), reasoningEncrypted) || !rawjson.Equal(get("format"), reasoningFormat) || len(inside(data)) == 0 {
			continue
		}
		w.encrypted = true
		item := appendField([]byte(`{"type":"reasoning"`), "id", get("id"))
		item = appendField(append(item, `,"summary":[]`...), "encrypted_content", data)
		w.input = append(w.input, item...)
		w.endItem(field)
	}
}
