package convert

import (
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// outputItems are the items that hold what a call gave.
var outputItems = map[string]bool{
	"function_call_output": true, "custom_tool_call_output": true, "tool_search_output": true,
	"shell_call_output": true, "apply_patch_call_output": true, "local_shell_call_output": true,
}

// pastCalls are the calls of tools that a client runs but Chat has no form for: as a
// part of the past they become calls of a function, with the named field as its
// arguments.
var pastCalls = map[string]struct{ name, field string }{
	"local_shell_call": {"local_shell", "action"},
	"shell_call":       {"shell", "action"},
	"apply_patch_call": {"apply_patch", "operation"},
}

// inputItem is an item of the input.
type inputItem struct {
	object
	kind  []byte
	taken bool // its output stands behind its call
	next  int  // the next item with an output of the same call; none if negative
}

func inputField(i int) string { return "input[" + strconv.Itoa(i) + "]" }

// readItems notes the input's items, the outputs of calls among them, and takes in
// the tools that some bring along.
func (w *chatWriter) readItems() error {
	for i, item := range w.objects(w.input) {
		kind := item.get("type")
		switch {
		case !item.is():
			return realm.Invalid(inputField(i), "The field `"+inputField(i)+"` must be an item, which is an object.")
		case kind != nil && !rawjson.IsString(kind):
			return wrongType(inputField(i)+".type", aString)
		case kind == nil && item.get("role") != nil:
			kind = []byte(`"message"`)
		case kind == nil: // refused before the next is kept: there may be millions
			return keptUpstream(place{list: "input", i: i})
		}
		w.items = append(w.items, inputItem{object: item, kind: plain(kind)})
		switch string(plain(kind)) {
		case "additional_tools", "tool_search_output":
			if err := w.addTools(inputField(i)+".tools", item.get("tools"), toolName{}, nil); err != nil {
				return err
			}
		}
	}
	w.linkOutputs()
	return nil
}

// linkOutputs finds the outputs of each call: of the same id there may be several, each
// of which belongs to one call. It goes backwards, so that each leads to the next.
func (w *chatWriter) linkOutputs() {
	w.outputs = map[string]int{}
	for i := len(w.items) - 1; i >= 0; i-- {
		item := &w.items[i]
		if !outputItems[string(item.kind)] {
			continue
		}
		id := plain(item.get(item.callKey()))
		next, ok := w.outputs[string(id)]
		if item.next = next; !ok {
			item.next = -1
		}
		w.outputs[string(id)] = i
	}
}

// callKey is the field in which an output names its call. That of a local shell does
// so in its id, says the API's description, or as all others do, says its guide.
func (item *inputItem) callKey() string {
	if string(item.kind) == "local_shell_call_output" && item.get("call_id") == nil {
		return "id"
	}
	return "call_id"
}

// takeOutput is the item with the next output of a call; negative if there is none.
func (w *chatWriter) takeOutput(id string) int {
	i, ok := w.outputs[id]
	if !ok || i < 0 {
		return -1
	}
	w.outputs[id] = w.items[i].next
	w.items[i].taken = true
	return i
}

// readInput writes the conversation.
func (w *chatWriter) readInput() error {
	switch {
	case rawjson.IsString(w.input):
		w.begin()
		w.open("user")
		w.out = append(appendField(w.out, "content", w.input), '}')
	case rawjson.IsArray(w.input):
		for i := range w.items {
			if err := w.item(i); err != nil {
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
	if !w.wrote() {
		return realm.Invalid("input", "The field `input` holds no message.")
	}
	return nil
}

// item takes in one item of the input.
func (w *chatWriter) item(i int) error {
	item, p := &w.items[i], place{list: "input", i: i}
	if outputItems[string(item.kind)] {
		return w.output(i)
	}
	if past, ok := pastCalls[string(item.kind)]; ok {
		arguments := item.get(past.field)
		if arguments == nil {
			return realm.Invalid(p.field("."+past.field), "The field `"+p.field("."+past.field)+"` is missing.")
		}
		c := call{arguments: arguments, form: argumentsObject}
		if string(item.kind) == "local_shell_call" {
			c.alias, _ = rawjson.String(item.get("id"))
		}
		return w.call(p, item.object, toolName{name: past.name}, c)
	}
	switch string(item.kind) {
	case "message":
		return w.readMessage(p, item.object)
	case "function_call":
		return w.functionCall(p, item.object)
	case "custom_tool_call":
		return w.customCall(p, item.object)
	case "tool_search_call":
		return w.searchCall(p, item.object)
	case "reasoning":
		return w.readReasoning(p, item.object)
	case "image_generation_call":
		w.showMade(item.object)
		return nil
	case "web_search_call", "additional_tools", "mcp_list_tools":
		return nil // the message after a search tells what was found
	case "item_reference", "":
		return keptUpstream(p)
	case "compaction", "compaction_summary", "context_compaction", "compaction_trigger":
		return realm.Invalid(p.field(".type"), "The field `"+p.field(".type")+"` names a compaction, which only the upstream that made it can read. The model is served by one that speaks the Chat Completions API and makes none.")
	default:
		return notInChat(p.field(".type"))
	}
}

// keptUpstream refuses a reference to an item, which is what one without a type is.
func keptUpstream(p place) error {
	return p.refused(".id", "refers to an item that an upstream keeps. The model is served by one that keeps nothing: send the item itself.")
}

// turn is what the assistant did at one go: one message of Chat.
type turn struct {
	reasoning, content, refusal []piece
	spoke                       bool // there was a message, if an empty one
	calls                       []call
}

// call is a call of the past.
type call struct {
	id        []byte // as it is written
	key       string // the same, as text
	alias     string // by which an output may name it too
	wire      string
	arguments []byte
	form      argumentForm
}

// argumentForm is how a call's arguments are written.
type argumentForm uint8

const (
	argumentsText   argumentForm = iota // as they are, a string
	argumentsObject                     // an object, put into a string
	argumentsInput                      // a custom tool's input, wrapped in an object
)

// flush writes the assistant's turn and, because Chat wants them right behind it,
// what its calls gave. Reasoning alone is no turn, and images alone are only shown.
func (w *chatWriter) flush() error {
	t := &w.turn
	defer t.reset()
	if !t.spoke && len(t.calls) == 0 {
		w.writeShown()
		return nil
	}
	w.begin()
	w.open("assistant")
	if len(t.content) != 0 || len(t.refusal) == 0 && len(t.calls) == 0 {
		w.out = appendTexts(append(w.out, `,"content":`...), t.content, "")
	} else {
		w.out = append(w.out, `,"content":null`...)
	}
	if len(t.refusal) != 0 {
		w.out = appendJoined(append(w.out, `,"refusal":`...), t.refusal, "")
	}
	if len(t.reasoning) != 0 {
		w.out = appendJoined(append(w.out, `,"reasoning_content":`...), t.reasoning, paragraph)
	}
	for i := range t.calls {
		lead := ","
		if i == 0 {
			lead = `,"tool_calls":[`
		}
		w.out = t.calls[i].append(append(w.out, lead...))
	}
	if len(t.calls) != 0 {
		w.out = append(w.out, ']')
	}
	w.out = append(w.out, '}')
	return w.writeOutputs()
}

// reset makes room for the next turn.
func (t *turn) reset() {
	*t = turn{reasoning: t.reasoning[:0], content: t.content[:0], refusal: t.refusal[:0], calls: t.calls[:0]}
}

// append appends a call as Chat has it.
func (c *call) append(dst []byte) []byte {
	dst = append(append(dst, `{"id":`...), c.id...)
	dst = rawjson.AppendString(append(dst, `,"type":"function","function":{"name":`...), c.wire)
	dst = append(dst, `,"arguments":`...)
	switch c.form {
	case argumentsText:
		dst = append(dst, c.arguments...)
	case argumentsObject:
		dst = rawjson.AppendString(dst, string(c.arguments))
	case argumentsInput:
		dst = append(appendEscaped(append(dst, `"{\"input\":`...), string(c.arguments)), `}"`...)
	}
	return append(dst, '}', '}')
}

// writeOutputs writes what the turn's calls gave.
func (w *chatWriter) writeOutputs() error {
	for _, c := range w.turn.calls {
		i := w.takeOutput(c.key)
		if i < 0 && c.alias != "" {
			i = w.takeOutput(c.alias)
		}
		if i < 0 {
			continue
		}
		if err := w.toolMessage(i, c.key); err != nil {
			return err
		}
	}
	w.writeShown()
	return nil
}

// writeShown writes what only a message of the user's can show.
func (w *chatWriter) writeShown() {
	if len(w.shown) == 0 {
		return
	}
	w.begin()
	w.open("user")
	w.out = append(append(append(w.out, `,"content":[`...), w.shown[1:]...), ']', '}')
	w.shown = nil
}

// showMade shows an image that the assistant has made; one that was not made is nothing.
func (w *chatWriter) showMade(item object) {
	if image := appendImage(nil, item.get); len(image) != 0 {
		w.shown = append(w.shown, `,{"type":"text","text":"The assistant made this image:"},`...)
		w.shown = append(w.shown, image[:len(image)-1]...) // a comma is behind it
	}
}

// call adds a call to the turn.
func (w *chatWriter) call(p place, item object, tool toolName, c call) error {
	c.id = item.get("call_id")
	c.key, _ = rawjson.String(c.id)
	if c.key == "" {
		return realm.Invalid(p.field(".call_id"), "The field `"+p.field(".call_id")+"` must be the call's id.")
	}
	if tool.name == "" {
		return realm.Invalid(p.field(".name"), "The field `"+p.field(".name")+"` must be the tool's name.")
	}
	c.wire = w.wire(tool)
	w.turn.calls = append(w.turn.calls, c)
	return nil
}

// named is the tool that a call or a choice names.
func named(kind toolKind, o object) toolName {
	tool := toolName{kind: kind}
	tool.name, _ = rawjson.String(o.get("name"))
	tool.namespace, _ = rawjson.String(o.get("namespace"))
	return tool
}

func (w *chatWriter) functionCall(p place, item object) error {
	arguments := item.get("arguments")
	if !rawjson.IsString(arguments) {
		return realm.Invalid(p.field(".arguments"), "The field `"+p.field(".arguments")+"` must be JSON in a string.")
	}
	return w.call(p, item, named(toolFunction, item), call{arguments: arguments})
}

// customCall wraps a custom tool's input in the arguments of the function that
// stands for it.
func (w *chatWriter) customCall(p place, item object) error {
	input := item.get("input")
	if !rawjson.IsString(input) {
		return wrongType(p.field(".input"), aString)
	}
	return w.call(p, item, named(toolCustom, item), call{arguments: input, form: argumentsInput})
}

func (w *chatWriter) searchCall(p place, item object) error {
	if !rawjson.Equal(item.get("execution"), "client") {
		return nil // the upstream's own search, whose tools are offered anyway
	}
	c := call{arguments: item.get("arguments")}
	if !rawjson.IsString(c.arguments) {
		c.form = argumentsObject
	}
	return w.call(p, item, toolName{kind: toolSearch, name: "tool_search"}, c)
}

// readReasoning keeps the words of reasoning for the turn that it led to. What is
// encrypted another upstream could not read.
func (w *chatWriter) readReasoning(p place, item object) error {
	if w.turn.spoke || len(w.turn.calls) != 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	for _, key := range [...]string{"content", "summary"} {
		parts, found := item.get(key), false
		if parts != nil && !aList.is(parts) {
			return wrongType(p.field("."+key), aList)
		}
		for _, part := range w.objects(parts) {
			if text := inside(part.get("text")); len(text) != 0 {
				w.turn.reasoning = append(w.turn.reasoning, piece{text: text})
				found = true
			}
		}
		if found {
			break
		}
	}
	return nil
}

// output takes in what a call gave. It stands behind its call already, unless there
// was none.
func (w *chatWriter) output(i int) error {
	if err := w.flush(); err != nil {
		return err
	}
	item := &w.items[i]
	key := item.callKey()
	if item.taken || string(item.kind) == "tool_search_output" && len(inside(item.get(key))) == 0 {
		return nil
	}
	field := inputField(i) + "." + key
	return realm.Invalid(field, "The field `"+field+"` names no call that stands before it in `input`.")
}
