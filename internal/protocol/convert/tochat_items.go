package convert

import (
	"slices"
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// outputItems are the items that hold what a call gave, and the field that names the
// call.
var outputItems = map[string]string{
	"function_call_output":    "call_id",
	"custom_tool_call_output": "call_id",
	"tool_search_output":      "call_id",
	"shell_call_output":       "call_id",
	"apply_patch_call_output": "call_id",
	"local_shell_call_output": "id",
}

// pastCalls are the calls of tools that a client runs but Chat has no form for: as a
// part of the past they become calls of a function, with the named field as its
// arguments.
var pastCalls = map[string]struct{ name, field string }{
	"local_shell_call": {"local_shell", "action"},
	"shell_call":       {"shell", "action"},
	"apply_patch_call": {"apply_patch", "operation"},
}

func inputField(i int) string { return "input[" + strconv.Itoa(i) + "]" }

// readItems notes the input's items, the outputs of calls among them, and takes in
// the tools that some bring along.
func (w *chatWriter) readItems() error {
	if !rawjson.IsArray(w.input) {
		return nil
	}
	w.outputs = map[string][]int{}
	for _, item := range rawjson.Elements(w.input) {
		i := len(w.items)
		w.items = append(w.items, item)
		kind, _ := rawjson.String(at(item, "type"))
		if kind == "additional_tools" || kind == "tool_search_output" {
			if err := w.addTools(inputField(i)+".tools", at(item, "tools"), toolName{}, ""); err != nil {
				return err
			}
		}
		if key := outputItems[kind]; key != "" {
			id, _ := rawjson.String(at(item, key))
			w.outputs[id] = append(w.outputs[id], i)
		}
	}
	return nil
}

// readInput writes the conversation.
func (w *chatWriter) readInput() error {
	switch {
	case rawjson.IsString(w.input):
		w.message("user", w.input)
	case rawjson.IsArray(w.input):
		for i, item := range w.items {
			if err := w.item(i, item); err != nil {
				return err
			}
		}
	default:
		return realm.Invalid("input", "The field `input` must be a text or an array of items.")
	}
	if err := w.flush(); err != nil {
		return err
	}
	w.begin()
	if len(w.messages) == 0 {
		return realm.Invalid("input", "The field `input` holds no message.")
	}
	return nil
}

// item takes in one item of the input.
func (w *chatWriter) item(i int, item []byte) error {
	field, get := inputField(i), reader(item)
	kind, _ := rawjson.String(get("type"))
	if kind == "" && get("role") != nil {
		kind = "message"
	}
	if key := outputItems[kind]; key != "" {
		return w.output(i, key, get)
	}
	if past, ok := pastCalls[kind]; ok {
		if get(past.field) == nil {
			return realm.Invalid(field+"."+past.field, "The field `"+field+"."+past.field+"` is missing.")
		}
		arguments := rawjson.AppendString(nil, string(get(past.field)))
		return w.call(field, get, toolName{name: past.name}, arguments)
	}
	switch kind {
	case "message":
		return w.readMessage(field, get)
	case "function_call":
		return w.functionCall(field, get)
	case "custom_tool_call":
		return w.customCall(field, get)
	case "tool_search_call":
		return w.searchCall(field, get)
	case "reasoning":
		return w.readReasoning(get)
	case "web_search_call", "additional_tools", "mcp_list_tools":
		return nil // the message after a search tells what was found
	case "item_reference", "":
		return realm.Invalid(field+".id", "The field `"+field+".id` refers to an item that an upstream keeps. The model is served by one that keeps nothing: send the item itself.")
	case "compaction", "compaction_summary", "context_compaction", "compaction_trigger":
		return realm.Invalid(field+".type", "The field `"+field+".type` names a compaction, which only the upstream that made it can read. The model is served by one that speaks the Chat Completions API and makes none.")
	default:
		return notInChat(field + ".type")
	}
}

// turn is what the assistant did at one go: one message of Chat.
type turn struct {
	reasoning []byte // the insides of strings, as they are written
	content   []byte
	refusal   []byte
	spoke     bool // there was a message, if an empty one
	calls     []byte
	ids       []string
}

// flush writes the assistant's turn and, because Chat wants them right behind it,
// what its calls gave. Reasoning alone is no turn.
func (w *chatWriter) flush() error {
	t := w.turn
	w.turn = turn{}
	if !t.spoke && len(t.calls) == 0 {
		return nil
	}
	content := []byte("null")
	if len(t.content) != 0 || len(t.refusal) == 0 && len(t.calls) == 0 {
		content = quoted(t.content)
	}
	message := appendField([]byte(`,"role":"assistant"`), "content", content)
	if len(t.refusal) != 0 {
		message = appendField(message, "refusal", quoted(t.refusal))
	}
	if len(t.reasoning) != 0 {
		message = appendField(message, "reasoning_content", quoted(t.reasoning))
	}
	if len(t.calls) != 0 {
		message = appendField(message, "tool_calls", list(t.calls))
	}
	w.begin()
	w.messages = append(append(w.messages, fields(message)...), ',')
	for _, id := range t.ids {
		if rest := w.outputs[id]; len(rest) != 0 {
			w.outputs[id] = rest[1:]
			if err := w.toolMessage(rest[0], id); err != nil {
				return err
			}
		}
	}
	if len(w.shown) != 0 {
		w.message("user", list(w.shown))
		w.shown = nil
	}
	return nil
}

// quoted is a string of its inside.
func quoted(inside []byte) []byte {
	return append(append([]byte{'"'}, inside...), '"')
}

// call adds a call to the turn.
func (w *chatWriter) call(field string, get func(string) []byte, tool toolName, arguments []byte) error {
	id := get("call_id")
	text, _ := rawjson.String(id)
	if text == "" {
		return realm.Invalid(field+".call_id", "The field `"+field+".call_id` must be the call's id.")
	}
	if tool.name == "" {
		return realm.Invalid(field+".name", "The field `"+field+".name` must be the tool's name.")
	}
	name := rawjson.AppendString(nil, w.wire(tool))
	call := appendField(nil, "id", id)
	call = append(call, `,"type":"function"`...)
	call = appendField(call, "function", fields(appendField(appendField(nil, "name", name), "arguments", arguments)))
	w.turn.calls = append(append(w.turn.calls, fields(call)...), ',')
	w.turn.ids = append(w.turn.ids, text)
	return nil
}

// named is the tool that a call names.
func named(kind toolKind, get func(string) []byte) toolName {
	tool := toolName{kind: kind}
	tool.name, _ = rawjson.String(get("name"))
	tool.namespace, _ = rawjson.String(get("namespace"))
	return tool
}

func (w *chatWriter) functionCall(field string, get func(string) []byte) error {
	arguments := get("arguments")
	if !rawjson.IsString(arguments) {
		return realm.Invalid(field+".arguments", "The field `"+field+".arguments` must be JSON in a string.")
	}
	return w.call(field, get, named(toolFunction, get), arguments)
}

// customCall wraps a custom tool's input in the arguments of the function that
// stands for it.
func (w *chatWriter) customCall(field string, get func(string) []byte) error {
	input := get("input")
	if !rawjson.IsString(input) {
		return realm.Invalid(field+".input", "The field `"+field+".input` must be a text.")
	}
	arguments := rawjson.AppendString(nil, `{"input":`+string(input)+`}`)
	return w.call(field, get, named(toolCustom, get), arguments)
}

func (w *chatWriter) searchCall(field string, get func(string) []byte) error {
	if !rawjson.Equal(get("execution"), "client") {
		return nil // the upstream's own search, whose tools are offered anyway
	}
	arguments := get("arguments")
	if !rawjson.IsString(arguments) {
		arguments = rawjson.AppendString(nil, string(arguments))
	}
	return w.call(field, get, toolName{kind: toolSearch, name: "tool_search"}, arguments)
}

// readReasoning keeps the words of reasoning for the turn that it led to. What is
// encrypted another upstream could not read.
func (w *chatWriter) readReasoning(get func(string) []byte) error {
	if w.turn.spoke || len(w.turn.calls) != 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	for _, key := range [...]string{"content", "summary"} {
		found := false
		for _, part := range rawjson.Elements(get(key)) {
			if text := inside(at(part, "text")); len(text) != 0 {
				w.turn.reasoning = joined(w.turn.reasoning, text)
				found = true
			}
		}
		if found {
			break
		}
	}
	return nil
}

// joined puts two insides of strings together as paragraphs.
func joined(text, more []byte) []byte {
	if len(text) != 0 {
		text = append(text, paragraph...)
	}
	return append(text, more...)
}

// output takes in what a call gave. It stands behind its call already, unless there
// was none.
func (w *chatWriter) output(i int, key string, get func(string) []byte) error {
	if err := w.flush(); err != nil {
		return err
	}
	id, _ := rawjson.String(get(key))
	if !slices.Contains(w.outputs[id], i) || id == "" && key == "call_id" && rawjson.Equal(get("type"), "tool_search_output") {
		return nil
	}
	field := inputField(i) + "." + key
	return realm.Invalid(field, "The field `"+field+"` names no call that stands before it in `input`.")
}
