package convert

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3/responses"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// chatFate is what becomes of a field, an item or a tool on its way to Chat: it is there
// under a name (of an item: as messages of these roles), it is left out for a reason,
// or it is refused by name.
type chatFate struct {
	value   string // what is sent
	as      string
	dropped string
	refused string
}

// refusedField is the field that an error names.
func refusedField(t *testing.T, err error) string {
	t.Helper()
	var e *realm.Error
	if !errors.As(err, &e) || e.Code != realm.CodeInvalid || !strings.Contains(e.Message, "`"+e.Field+"`") {
		t.Fatalf("%v names no field", err)
	}
	return e.Field
}

// documentedNames are the JSON names of what the SDK's type has.
func documentedNames(of reflect.Type, name func(reflect.StructField) string) []string {
	var names []string
	for i := range of.NumField() {
		if n := name(of.Field(i)); n != "" {
			names = append(names, n)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// ofUnion is the type by which a variant of a union is told from the others.
func ofUnion(f reflect.StructField) string {
	if f.Type.Kind() != reflect.Pointer {
		return ""
	}
	if kind, ok := f.Type.Elem().FieldByName("Type"); ok && kind.Tag.Get("default") != "" {
		return kind.Tag.Get("default")
	}
	return "a choice" // several types in one; the table names them
}

func checkDocumented(t *testing.T, known []string, fates map[string]chatFate) {
	t.Helper()
	for _, name := range known {
		if _, ok := fates[name]; !ok && name != "a choice" {
			t.Errorf("nothing is said of %q", name)
		}
	}
}

// Every field that is documented for a Responses request has its fate.
func TestToChatFields(t *testing.T) {
	const sent = `{"role":"user","content":"hi"}`
	fates := map[string]chatFate{
		"access_programs":        {value: `{"cyber":"standard"}`, refused: "access_programs"},
		"background":             {value: `false`, dropped: "that is what Chat does"},
		"context_management":     {value: `[{"type":"compaction"}]`, dropped: "advice to an upstream that can compact"},
		"conversation":           {value: `"conv_1"`, refused: "conversation"},
		"include":                {value: `["message.output_text.logprobs"]`, as: "logprobs"},
		"input":                  {value: `[` + sent + `]`, as: "messages"},
		"instructions":           {value: `"be brief"`, as: "messages"},
		"max_output_tokens":      {value: `5`, as: "max_completion_tokens"},
		"max_tool_calls":         {value: `5`, dropped: "it bounds the tools that OpenAI runs"},
		"metadata":               {value: `{"a":"b"}`, as: "metadata"},
		"model":                  {value: `"m"`, as: "model"},
		"moderation":             {value: `{"model":"omni"}`, as: "moderation"},
		"parallel_tool_calls":    {value: `true`, dropped: "without tools there is nothing to call"},
		"previous_response_id":   {value: `"resp_1"`, refused: "previous_response_id"},
		"prompt":                 {value: `{"id":"pmpt_1"}`, refused: "prompt"},
		"prompt_cache_key":       {value: `"k"`, as: "prompt_cache_key"},
		"prompt_cache_options":   {value: `{"mode":"explicit"}`, as: "prompt_cache_options"},
		"prompt_cache_retention": {value: `"24h"`, as: "prompt_cache_retention"},
		"reasoning":              {value: `{"effort":"low"}`, as: "reasoning_effort"},
		"safety_identifier":      {value: `"s"`, as: "safety_identifier"},
		"service_tier":           {value: `"flex"`, as: "service_tier"},
		"store":                  {value: `false`, dropped: "that is what Chat does"},
		"stream":                 {value: `true`, as: "stream"},
		"stream_options":         {value: `{"include_obfuscation":false}`, dropped: "the stream is written here"},
		"temperature":            {value: `0.5`, as: "temperature"},
		"text":                   {value: `{"verbosity":"low"}`, as: "verbosity"},
		"tool_choice":            {value: `"auto"`, dropped: "without tools there is no choice"},
		"tools":                  {value: `[{"type":"function","name":"f"}]`, as: "tools"},
		"top_logprobs":           {value: `2`, as: "top_logprobs"},
		"top_p":                  {value: `0.5`, as: "top_p"},
		"truncation":             {value: `"auto"`, dropped: "advice to an upstream that can truncate"},
		"user":                   {value: `"u"`, as: "user"},
	}
	checkDocumented(t, documentedNames(reflect.TypeFor[responses.ResponseNewParams](), func(f reflect.StructField) string {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		return strings.Trim(name, "-")
	}), fates)
	for _, key := range slices.Sorted(maps.Keys(fates)) {
		want := fates[key]
		request := map[string]string{"model": `"m"`, "input": `"hi"`}
		request[key] = want.value
		c, err := toChat(asObject(request))
		switch {
		case want.refused != "":
			if err == nil || refusedField(t, err) != want.refused {
				t.Errorf("%s: %v", key, err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", key, err)
			continue
		}
		doc, err := rawjson.Parse(c.Body(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if want.as != "" && doc.Field(want.as) == nil {
			t.Errorf("%s is no %s in %s", key, want.as, c.Body())
		}
		if want.dropped != "" && string(c.Body()) != `{"model":"m","messages":[{"role":"user","content":"hi"}]}` {
			t.Errorf("%s: %s, yet it became %s", key, want.dropped, c.Body())
		}
	}
}

func asObject(fields map[string]string) string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		fmt.Fprintf(&b, ",%q:%s", key, fields[key])
	}
	return "{" + strings.TrimPrefix(b.String(), ",") + "}"
}

// Every item that is documented for the input has its fate, and those that Codex CLI
// sends beside them.
func TestToChatItems(t *testing.T) {
	const ran = `{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},`
	fates := map[string]chatFate{
		"additional_tools":        {value: `{"type":"additional_tools","role":"developer","tools":[]}`, dropped: "its tools are offered"},
		"agent_message":           {value: `{"type":"agent_message","content":[]}`, refused: "input[1].type"},
		"apply_patch_call":        {value: `{"type":"apply_patch_call","call_id":"c","operation":{"type":"delete_file","path":"a"}}`, as: "assistant"},
		"apply_patch_call_output": {value: ran + `{"type":"apply_patch_call_output","call_id":"c","status":"completed"}`, as: "assistant tool"},
		"code_interpreter_call":   {value: `{"type":"code_interpreter_call","id":"ci_1"}`, refused: "input[1].type"},
		"compaction":              {value: `{"type":"compaction","encrypted_content":"x"}`, refused: "input[1].type"},
		"compaction_summary":      {value: `{"type":"compaction_summary","encrypted_content":"x"}`, refused: "input[1].type"},
		"compaction_trigger":      {value: `{"type":"compaction_trigger"}`, refused: "input[1].type"},
		"computer_call":           {value: `{"type":"computer_call","call_id":"c"}`, refused: "input[1].type"},
		"computer_call_output":    {value: `{"type":"computer_call_output","call_id":"c","output":{}}`, refused: "input[1].type"},
		"configuration_update":    {value: `{"type":"configuration_update","reasoning":{"effort":"low"}}`, refused: "input[1].type"},
		"context_compaction":      {value: `{"type":"context_compaction","encrypted_content":"x"}`, refused: "input[1].type"},
		"custom_tool_call":        {value: `{"type":"custom_tool_call","call_id":"c","name":"f","input":"x"}`, as: "assistant"},
		"custom_tool_call_output": {value: ran + `{"type":"custom_tool_call_output","call_id":"c","output":"x"}`, as: "assistant tool"},
		"file_search_call":        {value: `{"type":"file_search_call","id":"fs_1","queries":[]}`, refused: "input[1].type"},
		"function_call":           {value: strings.TrimSuffix(ran, ","), as: "assistant"},
		"function_call_output":    {value: ran + `{"type":"function_call_output","call_id":"c","output":"x"}`, as: "assistant tool"},
		"image_generation_call":   {value: `{"type":"image_generation_call","id":"ig_1","result":"x"}`, as: "user"},
		"item_reference":          {value: `{"type":"item_reference","id":"msg_1"}`, refused: "input[1].id"},
		"local_shell_call":        {value: `{"type":"local_shell_call","id":"l","call_id":"c","action":{}}`, as: "assistant"},
		"local_shell_call_output": {value: ran + `{"type":"local_shell_call_output","id":"c","output":"x"}`, as: "assistant tool"},
		"mcp_approval_request":    {value: `{"type":"mcp_approval_request","id":"mcpr_1","name":"f"}`, refused: "input[1].type"},
		"mcp_approval_response":   {value: `{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}`, refused: "input[1].type"},
		"mcp_call":                {value: `{"type":"mcp_call","id":"mcp_1","name":"f"}`, refused: "input[1].type"},
		"mcp_list_tools":          {value: `{"type":"mcp_list_tools","id":"mcpl_1","tools":[]}`, dropped: "nobody can call them"},
		"message":                 {value: `{"type":"message","role":"developer","phase":"commentary","content":"x"}`, as: "system"},
		"program":                 {value: `{"type":"program","id":"p","call_id":"c"}`, refused: "input[1].type"},
		"program_output":          {value: `{"type":"program_output","id":"p","call_id":"c"}`, refused: "input[1].type"},
		"reasoning":               {value: `{"type":"reasoning","summary":[],"encrypted_content":"x"}`, dropped: "no other upstream can read it"},
		"shell_call":              {value: `{"type":"shell_call","call_id":"c","action":{"commands":["ls"]}}`, as: "assistant"},
		"shell_call_output":       {value: ran + `{"type":"shell_call_output","call_id":"c","output":[]}`, as: "assistant tool"},
		"tool_search_call":        {value: `{"type":"tool_search_call","call_id":"c","execution":"client","arguments":{}}`, as: "assistant"},
		"tool_search_output":      {value: ran + `{"type":"tool_search_output","call_id":"c","tools":[]}`, as: "assistant tool"},
		"web_search_call":         {value: `{"type":"web_search_call","id":"ws_1"}`, dropped: "the message after it tells what was found"},
	}
	checkDocumented(t, documentedNames(reflect.TypeFor[responses.ResponseInputItemUnionParam](), ofUnion), fates)
	for _, kind := range slices.Sorted(maps.Keys(fates)) {
		want := fates[kind]
		c, err := toChat(`{"model":"m","input":[{"role":"user","content":"hi"},` + want.value + `]}`)
		switch {
		case want.refused != "":
			if err == nil || refusedField(t, err) != want.refused {
				t.Errorf("%s: %v", kind, err)
			}
			continue
		case err != nil:
			t.Errorf("%s: %v", kind, err)
			continue
		}
		var body struct{ Messages []struct{ Role string } }
		if err := json.Unmarshal(c.Body(), &body); err != nil {
			t.Fatal(err)
		}
		var roles []string
		for _, m := range body.Messages[1:] {
			roles = append(roles, m.Role)
		}
		if got := strings.Join(roles, " "); got != want.as {
			t.Errorf("%s became messages of %q, not %q (%s)", kind, got, want.as, want.dropped)
		}
	}
}

// Every tool that is documented has its fate.
func TestToChatTools(t *testing.T) {
	hosted := func(kind, more string) chatFate {
		return chatFate{value: `{"type":"` + kind + `"` + more + `}`, refused: "tools[0].type"}
	}
	fates := map[string]chatFate{
		"apply_patch":               hosted("apply_patch", ""),
		"code_interpreter":          hosted("code_interpreter", `,"container":{"type":"auto"}`),
		"computer":                  hosted("computer", ""),
		"computer_use_preview":      hosted("computer_use_preview", ""),
		"custom":                    {value: `{"type":"custom","name":"f"}`, as: "f"},
		"file_search":               hosted("file_search", `,"vector_store_ids":["vs_1"]`),
		"function":                  {value: `{"type":"function","name":"f"}`, as: "f"},
		"image_generation":          hosted("image_generation", ""),
		"local_shell":               hosted("local_shell", ""),
		"mcp":                       hosted("mcp", `,"server_label":"s"`),
		"namespace":                 {value: `{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}`, as: "n__f"},
		"programmatic_tool_calling": hosted("programmatic_tool_calling", ""),
		"shell":                     hosted("shell", ""),
		"tool_search":               {value: `{"type":"tool_search","execution":"client"}`, as: "tool_search"},
		"web_search":                hosted("web_search", ""),
		"web_search_preview":        hosted("web_search_preview", ""),
	}
	checkDocumented(t, documentedNames(reflect.TypeFor[responses.ToolUnionParam](), ofUnion), fates)
	for _, kind := range slices.Sorted(maps.Keys(fates)) {
		want := fates[kind]
		c, err := toChat(`{"model":"m","input":"hi","tools":[` + want.value + `]}`)
		switch {
		case want.refused != "":
			if err == nil || refusedField(t, err) != want.refused {
				t.Errorf("%s: %v", kind, err)
			}
		case err != nil:
			t.Errorf("%s: %v", kind, err)
		case !strings.Contains(string(c.Body()), `{"name":"`+want.as+`"`):
			t.Errorf("%s is no %s in %s", kind, want.as, c.Body())
		}
	}
}

// What is of the wrong type is refused by its name, where nobody else would tell.
func TestToChatWrongTypes(t *testing.T) {
	for field, value := range map[string]string{
		"background":                    `1`,
		"client_metadata":               `"a"`,
		"context_management":            `{}`,
		"include":                       `"message.output_text.logprobs"`,
		"include[0]":                    `[1]`,
		"input":                         `{}`,
		"input[0]":                      `["hi"]`,
		"input[0].action":               `[{"type":"shell_call","call_id":"c","action":null}]`,
		"input[0].arguments":            `[{"type":"function_call","call_id":"c","name":"f","arguments":{}}]`,
		"input[0].call_id":              `[{"type":"function_call","call_id":1,"name":"f","arguments":""}]`,
		"input[0].content":              `[{"role":"user","content":{}}]`,
		"input[0].content[0]":           `[{"role":"user","content":["hi"]}]`,
		"input[0].content[1].text":      `[{"role":"user","content":[{"type":"input_text","text":""},{"type":"input_text"}]}]`,
		"input[0].content[0].refusal":   `[{"role":"assistant","content":[{"type":"refusal","refusal":1}]}]`,
		"input[0].content[0].type":      `[{"role":"user","content":[{"text":"hi"}]}]`,
		"input[0].content[0].filename":  `[{"role":"user","content":[{"type":"input_file","file_id":"file-1","filename":1}]}]`,
		"input[0].name":                 `[{"type":"function_call","call_id":"c","name":1,"arguments":""}]`,
		"input[0].role":                 `[{"type":"message","role":1,"content":"hi"}]`,
		"input[0].summary":              `[{"type":"reasoning","summary":"I think"}]`,
		"input[0].tools":                `[{"type":"additional_tools","tools":{}}]`,
		"input[0].type":                 `[{"type":7,"role":"user","content":"hi"}]`,
		"input[1].output":               `[{"type":"shell_call","call_id":"c","action":{}},{"type":"shell_call_output","call_id":"c","output":"a"}]`,
		"input[0].content[0].image_url": `[{"role":"user","content":[{"type":"input_image","image_url":{"url":"http://x/"}}]}]`,
		"instructions":                  `["be brief"]`,
		"max_output_tokens":             `"5"`,
		"max_tool_calls":                `"5"`,
		"n":                             `"1"`,
		"parallel_tool_calls":           `"no"`,
		"reasoning":                     `"high"`,
		"reasoning.effort":              `{"effort":1}`,
		"reasoning.summary":             `{"summary":true}`,
		"store":                         `"no"`,
		"stream":                        `"yes"`,
		"stream_options":                `true`,
		"text":                          `"low"`,
		"text.format":                   `{"format":"json_object"}`,
		"text.verbosity":                `{"verbosity":1}`,
		"tool_choice":                   `7`,
		"tool_choice.mode":              `{"type":"allowed_tools","tools":[]}`,
		"tool_choice.tools":             `{"type":"allowed_tools","mode":"auto","tools":"f"}`,
		"tools":                         `{}`,
		"tools[0]":                      `["f"]`,
		"tools[0].description":          `[{"type":"function","name":"f","description":1}]`,
		"tools[0].name":                 `[{"type":"function","name":1}]`,
		"tools[0].parameters":           `[{"type":"function","name":"f","parameters":"{}"}]`,
		"tools[0].strict":               `[{"type":"function","name":"f","strict":"yes"}]`,
		"tools[0].tools":                `[{"type":"namespace","name":"n","tools":"f"}]`,
		"tools[0].tools[1].name":        `[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"},{"type":"function"}]}]`,
		"top_logprobs":                  `"2"`,
		"truncation":                    `true`,
	} {
		key, _, _ := strings.Cut(field, "[")
		key, _, _ = strings.Cut(key, ".")
		request := map[string]string{"model": `"m"`, "input": `"hi"`}
		request[key] = value
		if _, err := toChat(asObject(request)); err == nil || refusedField(t, err) != field {
			t.Errorf("%s: %s: %v", field, value, err)
		}
	}
}

// Long instructions and many tools are repeated once, at the end; what comes before
// has all that the SDK's type demands.
func TestToChatRepeatsLongOnce(t *testing.T) {
	long := strings.Repeat("Be brief. ", longEcho/9)
	tools := `[{"type":"function","name":"f","description":"` + long + `","strict":null,"parameters":null}]`
	c, err := toChat(`{"model":"m","input":"hi","stream":true,"temperature":0.5,"instructions":"` + long + `","tools":` + tools + `}`)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Stream(mostKept)
	begin, err := s.Event(nil, nil, []byte(`{"id":"chatcmpl-1","created":5,"model":"m","choices":[{"index":0,"delta":{"content":"a"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	end, err := s.End(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		event, kind, instructions, tools string
	}{
		{string(begin), "response.created", "null", "[]"},
		{string(begin), "response.in_progress", "null", "[]"},
		{string(end), "response.completed", `"` + long + `"`, tools},
	} {
		_, data, _ := strings.Cut(tt.event, "event: "+tt.kind+"\ndata: ")
		data, _, _ = strings.Cut(data, "\n")
		response := at([]byte(data), "response")
		if got := string(at(response, "tools")); got != tt.tools {
			t.Errorf("%s repeats the tools %.60s", tt.kind, got)
		}
		if got := at(response, "instructions"); string(got) != tt.instructions && (got != nil || tt.instructions != "null") {
			t.Errorf("%s repeats the instructions %.60s", tt.kind, got)
		}
		var typed responses.Response
		if err := json.Unmarshal(response, &typed); err != nil {
			t.Errorf("%s: %v", tt.kind, err)
		}
		for name, valid := range map[string]bool{
			"id": typed.JSON.ID.Valid(), "model": typed.JSON.Model.Valid(), "metadata": typed.JSON.Metadata.Valid(), "output": typed.JSON.Output.Valid(),
			"parallel_tool_calls": typed.JSON.ParallelToolCalls.Valid(), "temperature": typed.JSON.Temperature.Valid(), "tool_choice": typed.JSON.ToolChoice.Valid(), "tools": typed.JSON.Tools.Valid(),
		} {
			if !valid {
				t.Errorf("%s lacks %s", tt.kind, name)
			}
		}
		if typed.Temperature != 0.5 {
			t.Errorf("%s repeats a temperature of %v", tt.kind, typed.Temperature)
		}
	}
	// What is short is repeated from the beginning on.
	c, err = toChat(`{"model":"m","input":"hi","instructions":"Be brief."}`)
	if err != nil {
		t.Fatal(err)
	}
	if begin, err = c.Stream(mostKept).Event(nil, nil, []byte(`{"choices":[{"delta":{"content":"a"}}]}`)); err != nil || strings.Count(string(begin), `"instructions":"Be brief."`) != 2 {
		t.Errorf("%v: %s", err, begin)
	}
}
