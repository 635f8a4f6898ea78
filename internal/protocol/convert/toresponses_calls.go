package convert

import (
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// addCall converts one of an answer's tool calls.
func (w *responsesWriter) addCall(field string, call []byte) error {
	id := at(call, "id")
	text, _ := rawjson.String(id)
	if text == "" {
		return realm.Invalid(field+".id", "The field `"+field+".id` must be the call's id.")
	}
	kind := at(call, "type")
	custom := rawjson.Equal(kind, "custom")
	if kind != nil && !custom && !rawjson.Equal(kind, "function") {
		return realm.Invalid(field+".type", "The field `"+field+".type` must be function or custom.")
	}
	if w.calls == nil {
		w.calls = make(map[string]bool)
	}
	w.calls[text] = custom
	if !custom {
		return w.addFunctionCall(field+".function", id, at(call, "function"))
	}
	inner := at(call, "custom")
	name, input := at(inner, "name"), at(inner, "input")
	if !rawjson.IsString(name) || !rawjson.IsString(input) {
		return realm.Invalid(field+".custom", "The field `"+field+".custom` must have the tool's name and its input, both strings.")
	}
	item := appendField([]byte(`{"type":"custom_tool_call"`), "call_id", id)
	item = appendField(appendField(item, "name", name), "input", input)
	w.input = append(w.input, item...)
	w.endItem(field)
	return nil
}

func (w *responsesWriter) addFunctionCall(field string, id, function []byte) error {
	name, arguments := at(function, "name"), at(function, "arguments")
	if !rawjson.IsString(name) {
		return realm.Invalid(field+".name", "The field `"+field+".name` must be the function's name.")
	}
	switch {
	case arguments == nil:
		arguments = []byte(`""`)
	case !rawjson.IsString(arguments): // some clients send the object itself
		arguments = rawjson.AppendString(nil, string(arguments))
	}
	item := appendField([]byte(`{"type":"function_call"`), "call_id", id)
	item = appendField(appendField(item, "name", name), "arguments", arguments)
	w.input = append(w.input, item...)
	w.endItem(field)
	return nil
}

// readOutput converts a tool's message: the output of the call it names.
func (w *responsesWriter) readOutput(field string, get func(string) []byte) error {
	id := get("tool_call_id")
	text, _ := rawjson.String(id)
	if text == "" {
		return realm.Invalid(field+".tool_call_id", "The field `"+field+".tool_call_id` must be the id of the call that this is the output of.")
	}
	kind := "function_call_output"
	if w.calls[text] {
		kind = "custom_tool_call_output"
	}
	return w.addOutput(field, kind, id, get("content"))
}

// readFunctionOutput converts the deprecated form: the output of the last call.
func (w *responsesWriter) readFunctionOutput(field string, get func(string) []byte) error {
	if w.functionCall == "" {
		return realm.Invalid(field+".role", "The field `"+field+".role` is function, but no message before it has a function_call without its output.")
	}
	id := rawjson.AppendString(nil, w.functionCall)
	w.functionCall = ""
	return w.addOutput(field, "function_call_output", id, get("content"))
}

// addOutput adds the output of a call. Text stays a string, which every upstream
// takes; parts beyond one plain text become parts.
func (w *responsesWriter) addOutput(field, kind string, id, content []byte) error {
	output := content
	switch {
	case content == nil:
		output = []byte(`""`)
	case rawjson.IsArray(content):
		if text, ok := onlyPart(content); ok {
			output = text
			break
		}
		parts, err := inputParts(field+".content", content)
		if err != nil {
			return err
		}
		output = list(parts)
	case !rawjson.IsString(content):
		return realm.Invalid(field+".content", "The field `"+field+".content` must be a text or an array of parts.")
	}
	item := appendField([]byte(`{"type":"`+kind+`"`), "call_id", id)
	item = appendField(item, "output", output)
	w.input = append(w.input, item...)
	w.endItem(field)
	if rawjson.IsArray(output) {
		w.noteBreakpoint(content)
	}
	return nil
}

// onlyPart is the text of a content that has no other part, and of which nothing else
// is said; an empty one of none.
func onlyPart(content []byte) (text []byte, ok bool) {
	text = []byte(`""`)
	n := 0
	for _, part := range rawjson.Elements(content) {
		get := reader(part)
		text = get("text")
		if n++; n > 1 || !rawjson.Equal(get("type"), "text") || !rawjson.IsString(text) || get(breakpoint) != nil {
			return nil, false
		}
	}
	return text, true
}
