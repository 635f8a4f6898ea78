package convert

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// toolKind is what a function of the upstream's stands for.
type toolKind uint8

const (
	toolFunction toolKind = iota
	toolCustom            // text in, not JSON
	toolSearch            // the client's own search among its tools
)

// toolName is a tool as the client knows it.
type toolName struct {
	kind            toolKind
	namespace, name string
}

// offer is one tool of the request.
type offer struct {
	tool     toolName
	object   object
	about    []byte // what the namespace is for, told by its first tool: the inside of a string
	wire     string // what it is called in Chat
	excluded bool   // tool_choice leaves it out
}

// maxToolName is the longest name that Chat allows for a function.
const maxToolName = 64

// readTools reads all the tools that the request offers, wherever, and then gives
// them their names.
func (w *chatWriter) readTools() error {
	if err := w.addTools("tools", w.tools, toolName{}, nil); err != nil {
		return err
	}
	if err := w.readItems(); err != nil {
		return err
	}
	w.client.names = make(map[string]toolName, len(w.offers))
	// Those that keep their names come first, so that none of them has to give way.
	for _, namespaced := range [...]bool{false, true} {
		for i := range w.offers {
			if o := &w.offers[i]; (o.tool.namespace != "") == namespaced {
				o.wire = w.newName(o.tool)
			}
		}
	}
	return nil
}

// addTools takes in a list of tools, those of a namespace or of the request.
func (w *chatWriter) addTools(field string, raw []byte, in toolName, about []byte) error {
	if len(raw) != 0 && !rawjson.IsArray(raw) {
		return realm.Invalid(field, "The field `"+field+"` must be an array of tools.")
	}
	for i, tool := range w.objects(raw) {
		if err := w.addTool(place{list: field, i: i}, tool, in, about); err != nil {
			return err
		}
		about = nil
	}
	return nil
}

func (w *chatWriter) addTool(p place, tool object, in toolName, about []byte) error {
	if !tool.is() {
		return wrongType(p.field(""), anObject)
	}
	for _, f := range functionTypes {
		if raw := tool.get(f.key); raw != nil && !f.is(raw) {
			return wrongType(p.field("."+f.key), f.jsonType)
		}
	}
	kind := plain(tool.get("type"))
	in.name, _ = rawjson.String(tool.get("name"))
	switch {
	case string(kind) == "function":
		in.kind = toolFunction
	case string(kind) == "custom":
		in.kind = toolCustom
		if err := w.checkFormat(p, tool.get("format")); err != nil {
			return err
		}
	case string(kind) == "namespace" && in.namespace == "" && in.name != "":
		return w.addTools(p.field(".tools"), tool.get("tools"), toolName{namespace: in.name}, inside(tool.get("description")))
	case string(kind) == "tool_search":
		if !rawjson.Equal(tool.get("execution"), "client") {
			return nil // every tool is offered at once: there is none to be found
		}
		in.kind, in.name = toolSearch, "tool_search"
	case bytes.HasPrefix(kind, webSearch) && tool.get("external_web_access") != nil:
		return nil // Codex CLI's standing offer, which a model may always decline
	default:
		return notInChat(p.field(".type"))
	}
	if in.name == "" {
		return realm.Invalid(p.field(".name"), "The field `"+p.field(".name")+"` must be the tool's name.")
	}
	if i, ok := w.offered[in]; ok {
		w.offers[i].object = tool // offered anew
		return nil
	}
	w.offered[in] = len(w.offers)
	w.offers = append(w.offers, offer{tool: in, object: tool, about: about})
	return nil
}

var webSearch = []byte("web_search")

// checkFormat refuses a custom tool whose input is not what a string can hold.
func (w *chatWriter) checkFormat(p place, raw []byte) error {
	format := w.object(raw)
	kind := plain(format.get("type"))
	if raw != nil && string(kind) != "text" && string(kind) != "grammar" {
		return notInChat(p.field(".format.type"))
	}
	return nil
}

// wire is what a tool is called in Chat, be it offered or only called in the past.
func (w *chatWriter) wire(tool toolName) string {
	if i, ok := w.offered[tool]; ok {
		return w.offers[i].wire
	}
	name, ok := w.past[tool]
	if !ok {
		if w.past == nil {
			w.past = map[toolName]string{}
		}
		name = w.newName(tool)
		w.past[tool] = name
	}
	return name
}

// newName gives a tool its name: its own where that is allowed and free, else one that
// is made of it, always the same for the same tools.
func (w *chatWriter) newName(tool toolName) string {
	full := tool.name
	if tool.namespace != "" {
		full = strings.TrimSuffix(tool.namespace, "__") + "__" + tool.name
	}
	name := strings.Map(func(r rune) rune {
		if r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' {
			return r
		}
		return '_'
	}, full)
	for i := 0; ; i++ {
		_, taken := w.client.names[name]
		if !taken && len(name) <= maxToolName && (name == full || i > 0) {
			break
		}
		h := fnv.New32a()
		_, _ = fmt.Fprintf(h, "%d %q %q %d", tool.kind, tool.namespace, tool.name, i)
		name = name[:min(len(name), maxToolName-9)] + fmt.Sprintf("_%08x", h.Sum32())
	}
	w.client.names[name] = tool
	return name
}

// finishTools writes the tools, and which of them may be called.
func (w *chatWriter) finishTools() error {
	choice, err := w.readChoice()
	if err != nil {
		return err
	}
	left := len(w.offers)
	for i := range w.offers {
		if w.offers[i].excluded {
			left--
		}
	}
	if left == 0 {
		if rawjson.Equal(choice, "required") {
			return realm.Invalid("tool_choice", "The field `tool_choice` requires a call, but no tool is left that the model's upstream can offer.")
		}
		return nil
	}
	w.out = append(w.out, `,"tools":[`...)
	for i := range w.offers {
		if !w.offers[i].excluded {
			w.out = append(w.offers[i].appendFunction(w.out), ',')
		}
	}
	w.out[len(w.out)-1] = ']' // was the last comma
	w.put("tool_choice", choice)
	w.put("parallel_tool_calls", w.parallel)
	return nil
}

// appendFunction appends a tool as a function. Strict is written only where the client
// asks for it. A Responses request without it means: as strict as the schema allows,
// which OpenAI finds out and then mends the schema accordingly. Chat has no word for
// that, but refuses a schema that is not made for strict mode.
func (o *offer) appendFunction(dst []byte) []byte {
	dst = append(rawjson.AppendString(append(dst, `{"type":"function","function":{"name":`...), o.wire), `,"description":"`...)
	text := len(dst)
	if dst = o.appendAbout(dst); len(dst) > text {
		dst = append(dst, '"')
	} else {
		dst = dst[:text-len(`,"description":"`)]
	}
	parameters := o.object.get("parameters")
	switch {
	case o.tool.kind == toolCustom:
		dst = append(dst, `,"parameters":`+customParameters...)
	case parameters == nil:
		dst = append(dst, `,"parameters":`+noParameters...)
	default:
		dst = appendField(dst, "parameters", parameters)
	}
	if o.tool.kind == toolFunction && string(o.object.get("strict")) == "true" {
		dst = append(dst, `,"strict":true`...)
	}
	return append(dst, '}', '}')
}

// appendAbout appends what the model is told of a tool, the inside of a string: what
// its namespace is for, its own description as it is written, how a custom tool's input
// is written.
func (o *offer) appendAbout(dst []byte) []byte {
	empty := len(dst)
	if len(o.about) != 0 {
		dst = appendEscaped(append(dst, "About "...), o.tool.namespace)
		dst = append(append(dst, ": "...), o.about...)
	}
	if about := inside(o.object.get("description")); len(about) != 0 {
		if len(dst) > empty {
			dst = append(dst, paragraph...)
		}
		dst = append(dst, about...)
	}
	if o.tool.kind != toolCustom {
		return dst
	}
	if len(dst) > empty {
		dst = append(dst, paragraph...)
	}
	dst = append(dst, customAbout...)
	format := reader(o.object.get("format"))
	if grammar := inside(format("definition")); len(grammar) != 0 {
		dst = append(append(dst, " It must match this grammar ("...), inside(format("syntax"))...)
		dst = append(append(dst, `):`+paragraph...), grammar...)
	}
	return dst
}

// customParameters is the schema of a custom tool: one string that holds its input.
const customParameters = `{"type":"object","properties":{"input":{"type":"string","description":"The input of the tool, as plain text."}},"required":["input"],"additionalProperties":false}`

// customAbout tells the model how to write a custom tool's input.
const customAbout = "Give the whole input as the string `input`. It is plain text: nothing in it is to be wrapped in JSON but the string itself."

// readChoice reads tool_choice. A list of allowed tools becomes the list of those
// that are offered: hardly an upstream knows the other form.
func (w *chatWriter) readChoice() ([]byte, error) {
	switch {
	case len(w.choice) == 0, rawjson.IsString(w.choice):
		return w.choice, nil
	case !rawjson.IsObject(w.choice):
		return nil, realm.Invalid("tool_choice", "The field `tool_choice` must be a string or an object.")
	}
	choice := w.object(w.choice)
	if !rawjson.Equal(choice.get("type"), "allowed_tools") {
		tool, err := w.chosen("tool_choice", choice)
		if err != nil {
			return nil, err
		}
		name := rawjson.AppendString(nil, w.wire(tool))
		return fields(appendField([]byte(`,"type":"function"`), "function", fields(appendField(nil, "name", name)))), nil
	}
	mode := choice.get("mode")
	if !aString.is(mode) {
		return nil, wrongType("tool_choice.mode", aString)
	}
	return mode, w.allow(choice.get("tools"))
}

// allow leaves out all tools but those of a list.
func (w *chatWriter) allow(tools []byte) error {
	if !rawjson.IsArray(tools) {
		return realm.Invalid("tool_choice.tools", "The field `tool_choice.tools` must be an array of tools.")
	}
	for i := range w.offers {
		w.offers[i].excluded = true
	}
	for i, allowed := range w.objects(tools) {
		if bytes.HasPrefix(plain(allowed.get("type")), webSearch) {
			continue // was let go as a tool
		}
		tool, err := w.chosen("tool_choice.tools["+strconv.Itoa(i)+"]", allowed)
		if err != nil {
			return err
		}
		w.offers[w.offered[tool]].excluded = false
	}
	return nil
}

// chosen is the tool that an object names, which must be offered.
func (w *chatWriter) chosen(field string, choice object) (toolName, error) {
	tool := named(toolFunction, choice)
	switch kind := plain(choice.get("type")); string(kind) {
	case "function":
	case "custom":
		tool.kind = toolCustom
	case "tool_search":
		tool.kind, tool.name = toolSearch, "tool_search"
	default:
		return tool, notInChat(field + ".type")
	}
	if _, ok := w.offered[tool]; !ok {
		return tool, realm.Invalid(field+".name", "The field `"+field+".name` names no tool of the request.")
	}
	return tool, nil
}
