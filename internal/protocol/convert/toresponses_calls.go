package convert

import "realms/internal/protocol/rawjson"

// addCall converts one of an answer's tool calls.
func (w *responsesWriter) addCall(p place, call object) error {
	id := call.get("id")
	if len(plain(id)) == 0 {
		return p.refused(".id", "must be the call's id.")
	}
	kind := call.get("type")
	custom := rawjson.Equal(kind, "custom")
	if kind != nil && !custom && !rawjson.Equal(kind, "function") {
		return p.refused(".type", "must be function or custom.")
	}
	w.noteCall(plain(id), custom)
	if !custom {
		return w.addFunctionCall(p.to(".function"), id, w.object(call.get("function")))
	}
	inner := w.object(call.get("custom"))
	if !rawjson.IsString(inner.get("name")) || !rawjson.IsString(inner.get("input")) {
		return p.refused(".custom", "must have the tool's name and its input, both strings.")
	}
	w.input = appendField(append(w.input, `{"type":"custom_tool_call"`...), "call_id", id)
	w.input = inner.appendFields(w.input, "name", "input")
	w.endItem(p)
	return nil
}

// noteCall remembers the kind of a call for its output. Of calls with the same id the
// last counts.
func (w *responsesWriter) noteCall(id []byte, custom bool) {
	switch {
	case custom == w.customCalls[string(id)]:
	case !custom:
		delete(w.customCalls, string(id))
	default:
		if w.customCalls == nil {
			w.customCalls = make(map[string]bool)
		}
		w.customCalls[string(id)] = true
	}
}

func (w *responsesWriter) addFunctionCall(p place, id []byte, function object) error {
	if !rawjson.IsString(function.get("name")) {
		return p.refused(".name", "must be the function's name.")
	}
	w.input = appendField(append(w.input, `{"type":"function_call"`...), "call_id", id)
	w.input = append(function.appendFields(w.input, "name"), `,"arguments":`...)
	switch arguments := function.get("arguments"); {
	case arguments == nil:
		w.input = append(w.input, `""`...)
	case rawjson.IsString(arguments):
		w.input = append(w.input, arguments...)
	default: // some clients send the object itself
		w.input = rawjson.AppendString(w.input, string(arguments))
	}
	w.endItem(p)
	return nil
}

// readOutput converts a tool's message: the output of the call it names.
func (w *responsesWriter) readOutput(p place, message object) error {
	id := message.get("tool_call_id")
	key := plain(id)
	if len(key) == 0 {
		return p.refused(".tool_call_id", "must be the id of the call that this is the output of.")
	}
	kind := "function_call_output"
	if w.customCalls[string(key)] {
		kind = "custom_tool_call_output"
	}
	return w.addOutput(p, kind, id, message.get("content"))
}

// readFunctionOutput converts the deprecated form: the output of the last call.
func (w *responsesWriter) readFunctionOutput(p place, message object) error {
	if w.functionCall == "" {
		return p.refused(".role", "is function, but no message before it has a function_call without its output.")
	}
	id := rawjson.AppendString(nil, w.functionCall)
	w.functionCall = ""
	return w.addOutput(p, "function_call_output", id, message.get("content"))
}

// addOutput adds the output of a call. Text stays a string, which every upstream
// takes; parts beyond one plain text become parts.
func (w *responsesWriter) addOutput(p place, kind string, id, content []byte) error {
	w.input = append(append(append(w.input, `{"type":"`...), kind...), '"')
	w.input = append(appendField(w.input, "call_id", id), `,"output":`...)
	switch {
	case content == nil, rawjson.IsArray(content) && rawjson.IsEmpty(content):
		w.input = append(w.input, `""`...)
	case rawjson.IsString(content):
		w.input = append(w.input, content...)
	case rawjson.IsArray(content):
		return w.addOutputParts(p, content)
	default:
		return p.refused(".content", "must be a text or an array of parts.")
	}
	w.endItem(p)
	return nil
}

// addOutputParts adds an output of parts, and ends its item. One text of which nothing
// else is said is no list.
func (w *responsesWriter) addOutputParts(p place, content []byte) error {
	begun := len(w.input)
	w.input = append(w.input, '[')
	n, last, err := w.addParts(p, content)
	if err != nil {
		return err
	}
	if n == 1 && rawjson.Equal(last.get("type"), "text") && last.get(breakpoint) == nil {
		w.input = append(w.input[:begun], last.get("text")...)
		w.endItem(p)
		return nil
	}
	w.closeParts()
	w.endItem(p)
	w.noteBreakpoint(last)
	return nil
}
