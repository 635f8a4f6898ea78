package convert

import (
	"slices"
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// noParameters is the schema of a function that names none.
const noParameters = `{"type":"object","properties":{}}`

func (w *responsesWriter) readTools(raw []byte) error {
	w.expectTools(raw)
	for i, tool := range w.objects(raw) {
		if err := w.readTool(place{list: "tools", i: i}, tool); err != nil {
			return err
		}
		w.modern = true
		w.forget()
	}
	return nil
}

func (w *responsesWriter) readTool(p place, tool object) error {
	kind, function := tool.get("type"), tool.get("function")
	switch {
	case kind == nil && function != nil, rawjson.Equal(kind, "function"):
		return w.addFunction(p.to(".function"), w.object(function))
	case rawjson.Equal(kind, "custom"):
		return w.addCustom(p.to(".custom"), w.object(tool.get("custom")))
	default:
		return p.refused(".type", "must be function or custom, the tools that chat has.")
	}
}

// readFunctions takes in the deprecated form of tools.
func (w *responsesWriter) readFunctions(raw []byte) error {
	w.expectTools(raw)
	for i, function := range w.objects(raw) {
		if err := w.addFunction(place{list: "functions", i: i}, function); err != nil {
			return err
		}
		w.client.legacy = true
		w.forget()
	}
	return nil
}

// expectTools makes room for the tools that a list holds.
func (w *responsesWriter) expectTools(raw []byte) {
	w.tools = slices.Grow(w.tools, grown(raw))
	w.client.tools = slices.Grow(w.client.tools, len(raw)/usualElement+2)
}

// addFunction adds a function tool. Chat is lenient with arguments unless strict is
// set, Responses are strict unless it is not: it is always written.
func (w *responsesWriter) addFunction(p place, function object) error {
	if !rawjson.IsString(function.get("name")) {
		return p.refused(".name", "must be the function's name.")
	}
	if err := function.mustHave(p, functionTypes); err != nil {
		return err
	}
	w.tools = function.appendFields(append(w.tools, `{"type":"function"`...), "name", "description", "parameters")
	if function.get("parameters") == nil {
		w.tools = append(w.tools, `,"parameters":`+noParameters...)
	}
	w.tools = function.appendFields(w.tools, "strict")
	if function.get("strict") == nil {
		w.tools = append(w.tools, `,"strict":false`...)
	}
	w.endTool(p)
	return nil
}

func (w *responsesWriter) addCustom(p place, custom object) error {
	if !rawjson.IsString(custom.get("name")) {
		return p.refused(".name", "must be the tool's name.")
	}
	w.tools = custom.appendFields(append(w.tools, `{"type":"custom"`...), "name", "description")
	if raw := custom.get("format"); raw != nil {
		format := w.object(raw)
		switch kind := format.get("type"); {
		case rawjson.Equal(kind, "text"):
			w.tools = append(w.tools, `,"format":{"type":"text"}`...)
		case rawjson.Equal(kind, "grammar"):
			grammar := w.object(format.get("grammar"))
			w.tools = append(w.tools, `,"format":{"type":"grammar"`...)
			w.tools = append(grammar.appendFields(w.tools, "definition", "syntax"), '}')
		default:
			return p.refused(".format.type", "must be text or grammar.")
		}
	}
	w.endTool(p)
	return nil
}

func (w *responsesWriter) readChoice(raw []byte) error {
	if rawjson.IsString(raw) {
		w.choice = raw
		return nil
	}
	if kind := at(raw, "type"); !rawjson.Equal(kind, "allowed_tools") {
		choice, err := namedTool("tool_choice", raw)
		w.choice = choice
		return err
	}
	allowed := at(raw, "allowed_tools")
	if !rawjson.IsArray(at(allowed, "tools")) {
		return realm.Invalid("tool_choice.allowed_tools.tools", "The field `tool_choice.allowed_tools.tools` must be an array.")
	}
	var tools []byte
	i := 0
	for _, tool := range rawjson.Elements(at(allowed, "tools")) {
		named, err := namedTool("tool_choice.allowed_tools.tools["+strconv.Itoa(i)+"]", tool)
		if err != nil {
			return err
		}
		tools = append(append(tools, named...), ',')
		i++
	}
	choice := copyFields([]byte(`{"type":"allowed_tools"`), allowed, "mode")
	w.choice = append(appendField(choice, "tools", list(tools)), '}')
	return nil
}

// namedTool takes the name out of {"type":"function","function":{"name":…}}, or the
// same of a custom tool.
func namedTool(field string, raw []byte) ([]byte, error) {
	kind, _ := rawjson.String(at(raw, "type"))
	if kind != "function" && kind != "custom" {
		return nil, realm.Invalid(field+".type", "The field `"+field+".type` must name a kind of tool that chat has.")
	}
	name := at(raw, kind, "name")
	if !rawjson.IsString(name) {
		return nil, realm.Invalid(field+"."+kind+".name", "The field `"+field+"."+kind+".name` must be the tool's name.")
	}
	return append(appendField([]byte(`{"type":"`+kind+`"`), "name", name), '}'), nil
}

// readFunctionChoice takes in the deprecated form of tool_choice.
func (w *responsesWriter) readFunctionChoice(raw []byte) error {
	w.rename("tool_choice", "function_call")
	if rawjson.IsString(raw) {
		w.choice = raw
		return nil
	}
	name := at(raw, "name")
	if !rawjson.IsString(name) {
		return realm.Invalid("function_call", "The field `function_call` must be none, auto, or an object with the function's name.")
	}
	w.choice = append(appendField([]byte(`{"type":"function"`), "name", name), '}')
	return nil
}
