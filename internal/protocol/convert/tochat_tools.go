package convert

import (
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
	raw      []byte
	about    string // what the namespace is for, told by its first tool
	excluded bool   // tool_choice leaves it out
}

// maxToolName is the longest name that Chat allows for a function.
const maxToolName = 64

// readTools reads all the tools that the request offers, wherever, and then gives
// them their names.
func (w *chatWriter) readTools() error {
	if err := w.addTools("tools", w.tools, toolName{}, ""); err != nil {
		return err
	}
	if err := w.readItems(); err != nil {
		return err
	}
	// Those that keep their names come first, so that none of them has to give way.
	for i := range w.offers {
		if w.offers[i].tool.namespace == "" {
			w.wire(w.offers[i].tool)
		}
	}
	for i := range w.offers {
		w.wire(w.offers[i].tool)
	}
	return nil
}

// addTools takes in a list of tools, those of a namespace or of the request.
func (w *chatWriter) addTools(field string, raw []byte, in toolName, about string) error {
	if len(raw) != 0 && !rawjson.IsArray(raw) {
		return realm.Invalid(field, "The field `"+field+"` must be an array of tools.")
	}
	i := 0
	for _, tool := range rawjson.Elements(raw) {
		if err := w.addTool(field+"["+strconv.Itoa(i)+"]", tool, in, about); err != nil {
			return err
		}
		about = ""
		i++
	}
	return nil
}

func (w *chatWriter) addTool(field string, raw []byte, in toolName, about string) error {
	get := reader(raw)
	kind, _ := rawjson.String(get("type"))
	in.name, _ = rawjson.String(get("name"))
	switch {
	case kind == "function":
		in.kind = toolFunction
	case kind == "custom":
		in.kind = toolCustom
		if format := get("format"); !textFormat(format) {
			return notInChat(field + ".format.type")
		}
	case kind == "namespace" && in.namespace == "" && in.name != "":
		about, _ := rawjson.String(get("description"))
		return w.addTools(field+".tools", get("tools"), toolName{namespace: in.name}, about)
	case kind == "tool_search":
		if !rawjson.Equal(get("execution"), "client") {
			return nil // every tool is offered at once: there is none to be found
		}
		in.kind, in.name = toolSearch, kind
	case strings.HasPrefix(kind, "web_search") && get("external_web_access") != nil:
		return nil // Codex CLI's standing offer, which a model may always decline
	default:
		return notInChat(field + ".type")
	}
	if in.name == "" {
		return realm.Invalid(field+".name", "The field `"+field+".name` must be the tool's name.")
	}
	if i, ok := w.offered[in]; ok {
		w.offers[i].raw = raw // offered anew
		return nil
	}
	w.offered[in] = len(w.offers)
	w.offers = append(w.offers, offer{tool: in, raw: raw, about: about})
	return nil
}

// textFormat tells whether a custom tool's input is what a string can hold.
func textFormat(format []byte) bool {
	kind := at(format, "type")
	return format == nil || rawjson.Equal(kind, "text") || rawjson.Equal(kind, "grammar")
}

// wire is what a tool is called in Chat: its own name where that is allowed and free,
// else one that is made of it, always the same for the same tools.
func (w *chatWriter) wire(tool toolName) string {
	if name, ok := w.wires[tool]; ok {
		return name
	}
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
	w.client.names[name], w.wires[tool] = tool, name
	return name
}

// finishTools writes the tools, and which of them may be called.
func (w *chatWriter) finishTools() error {
	choice, err := w.readChoice()
	if err != nil {
		return err
	}
	var tools []byte
	for i := range w.offers {
		if !w.offers[i].excluded {
			tools = append(w.appendTool(tools, &w.offers[i]), ',')
		}
	}
	if len(tools) == 0 {
		if rawjson.Equal(choice, "required") {
			return realm.Invalid("tool_choice", "The field `tool_choice` requires a call, but no tool is left that the model's upstream can offer.")
		}
		return nil
	}
	w.put("tools", list(tools))
	w.put("tool_choice", choice)
	w.put("parallel_tool_calls", w.parallel)
	return nil
}

// appendTool appends a tool as a function.
func (w *chatWriter) appendTool(dst []byte, o *offer) []byte {
	get := reader(o.raw)
	about, _ := rawjson.String(get("description"))
	parameters := get("parameters")
	if parameters == nil {
		parameters = []byte(noParameters)
	}
	if o.tool.kind == toolCustom {
		about = strings.TrimPrefix(about+"\n\n"+customAbout(get("format")), "\n\n")
		parameters = []byte(customParameters)
	}
	if o.about != "" {
		about = strings.TrimSuffix("About "+o.tool.namespace+": "+o.about+"\n\n"+about, "\n\n")
	}
	function := appendField(nil, "name", rawjson.AppendString(nil, w.wire(o.tool)))
	if about != "" {
		function = appendField(function, "description", rawjson.AppendString(nil, about))
	}
	function = appendField(function, "parameters", parameters)
	if strict := get("strict"); rawjson.Equal(get("type"), "function") && string(strict) == "true" {
		function = appendField(function, "strict", strict) // Chat's own default is false
	}
	return append(appendField(append(dst, `{"type":"function"`...), "function", fields(function)), '}')
}

// customParameters is the schema of a custom tool: one string that holds its input.
const customParameters = `{"type":"object","properties":{"input":{"type":"string","description":"The input of the tool, as plain text."}},"required":["input"],"additionalProperties":false}`

// customAbout tells the model how to write a custom tool's input.
func customAbout(format []byte) string {
	const plain = "Give the whole input as the string `input`. It is plain text: nothing in it is to be wrapped in JSON but the string itself."
	definition, _ := rawjson.String(at(format, "definition"))
	syntax, _ := rawjson.String(at(format, "syntax"))
	if definition == "" {
		return plain
	}
	return plain + " It must match this grammar (" + syntax + "):\n\n" + definition
}

// readChoice reads tool_choice. A list of allowed tools becomes the list of those
// that are offered: hardly an upstream knows the other form.
func (w *chatWriter) readChoice() ([]byte, error) {
	if len(w.choice) == 0 || rawjson.IsString(w.choice) {
		return w.choice, nil
	}
	if !rawjson.Equal(at(w.choice, "type"), "allowed_tools") {
		tool, err := w.chosen("tool_choice", w.choice)
		if err != nil {
			return nil, err
		}
		name := rawjson.AppendString(nil, w.wire(tool))
		return fields(appendField([]byte(`,"type":"function"`), "function", fields(appendField(nil, "name", name)))), nil
	}
	for i := range w.offers {
		w.offers[i].excluded = true
	}
	i := 0
	for _, raw := range rawjson.Elements(at(w.choice, "tools")) {
		field := "tool_choice.tools[" + strconv.Itoa(i) + "]"
		i++
		if kind, _ := rawjson.String(at(raw, "type")); strings.HasPrefix(kind, "web_search") {
			continue // was let go as a tool
		}
		tool, err := w.chosen(field, raw)
		if err != nil {
			return nil, err
		}
		w.offers[w.offered[tool]].excluded = false
	}
	return at(w.choice, "mode"), nil
}

// chosen is the tool that an object names, which must be offered.
func (w *chatWriter) chosen(field string, raw []byte) (toolName, error) {
	get := reader(raw)
	var tool toolName
	tool.name, _ = rawjson.String(get("name"))
	tool.namespace, _ = rawjson.String(get("namespace"))
	kind, _ := rawjson.String(get("type"))
	switch kind {
	case "function":
	case "custom":
		tool.kind = toolCustom
	case "tool_search":
		tool.kind, tool.name = toolSearch, kind
	default:
		return tool, notInChat(field + ".type")
	}
	if _, ok := w.offered[tool]; !ok {
		return tool, realm.Invalid(field+".name", "The field `"+field+".name` names no tool of the request.")
	}
	return tool, nil
}
