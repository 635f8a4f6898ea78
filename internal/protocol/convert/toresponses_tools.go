package convert

import (
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// noParameters is the schema of a function that names none.
const noParameters = `{"type":"object","properties":{}}`

func (w *responsesWriter) readTools(raw []byte) error {
	i := 0
	for _, tool := range rawjson.Elements(raw) {
		field := "tools[" + strconv.Itoa(i) + "]"
		kind := at(tool, "type")
		var err error
		switch {
		case kind == nil && at(tool, "function") != nil, rawjson.Equal(kind, "function"):
			err = w.addFunction(field+".function", at(tool, "function"))
		case rawjson.Equal(kind, "custom"):
			err = w.addCustom(field+".custom", at(tool, "custom"))
		default:
			err = realm.Invalid(field+".type", "The field `"+field+".type` must be function or custom, the tools that chat has.")
		}
		if err != nil {
			return err
		}
		i++
	}
	w.modern = i > 0
	return nil
}

// readFunctions takes in the deprecated form of tools.
func (w *responsesWriter) readFunctions(raw []byte) error {
	i := 0
	for _, function := range rawjson.Elements(raw) {
		if err := w.addFunction("functions["+strconv.Itoa(i)+"]", function); err != nil {
			return err
		}
		i++
	}
	w.client.legacy = i > 0
	return nil
}

// addFunction adds a function tool. Chat is lenient with arguments unless strict is
// set, Responses are strict unless it is not: it is always written.
func (w *responsesWriter) addFunction(field string, function []byte) error {
	if !rawjson.IsString(at(function, "name")) {
		return realm.Invalid(field+".name", "The field `"+field+".name` must be the function's name.")
	}
	get := reader(function)
	if err := mustHave(field, get, functionTypes); err != nil {
		return err
	}
	tool := copyFields([]byte(`{"type":"function"`), function, "name", "description")
	parameters, strict := get("parameters"), get("strict")
	if parameters == nil {
		parameters = []byte(noParameters)
	}
	if strict == nil {
		strict = []byte("false")
	}
	w.addTool(field, appendField(appendField(tool, "parameters", parameters), "strict", strict))
	return nil
}

func (w *responsesWriter) addCustom(field string, custom []byte) error {
	if !rawjson.IsString(at(custom, "name")) {
		return realm.Invalid(field+".name", "The field `"+field+".name` must be the tool's name.")
	}
	tool := copyFields([]byte(`{"type":"custom"`), custom, "name", "description")
	format := at(custom, "format")
	kind := at(format, "type")
	switch {
	case format == nil:
	case rawjson.Equal(kind, "text"):
		tool = append(tool, `,"format":{"type":"text"}`...)
	case rawjson.Equal(kind, "grammar"):
		inner := copyFields([]byte(`{"type":"grammar"`), at(format, "grammar"), "definition", "syntax")
		tool = appendField(tool, "format", append(inner, '}'))
	default:
		return realm.Invalid(field+".format.type", "The field `"+field+".format.type` must be text or grammar.")
	}
	w.addTool(field, tool)
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
