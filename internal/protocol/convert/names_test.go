package convert

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/protocol/openai"
)

// TestClientField: a Chat client reads of fields that it has sent.
func TestClientField(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"custom","custom":{"name":"c","input":"z"}}]},{"role":"tool","tool_call_id":"a","content":"o"},{"role":"assistant","content":"e","reasoning_details":[{"type":"reasoning.encrypted","format":"openai-responses-v1","data":"d"}]}]`
	const schema = `"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`
	tests := []struct{ rest, theirs, want string }{
		{"", "input", "messages"},
		{"", "input[0].content[0].text", "messages[0]"},
		{"", "input[1]", "messages[1]"},
		{"", "input[2].arguments", "messages[1].tool_calls[0].function"},
		{"", "input[3].input", "messages[1].tool_calls[1]"},
		{"", "input[4].output", "messages[2]"},
		{"", "input[5].encrypted_content", "messages[3]"},
		{"", "input[6].content", "messages[3]"},
		{"", "input[7]", "messages"},
		{"", "input[x]", "messages"},
		{"", "inputs", "inputs"},
		{`"max_tokens":5`, "max_output_tokens", "max_tokens"},
		{`"max_completion_tokens":5`, "max_output_tokens", "max_completion_tokens"},
		{`"max_tokens":5,"max_completion_tokens":5`, "max_output_tokens", "max_completion_tokens"},
		{schema, "text.format", "response_format.json_schema"},
		{schema, "text.format.type", "response_format.type"},
		{schema, "text.format.schema.properties[0]", "response_format.json_schema.schema.properties[0]"},
		{schema, "text", "response_format"},
		{`"response_format":{"type":"json_object"}`, "text.format.type", "response_format.type"},
		{`"verbosity":"low"`, "text.verbosity", "verbosity"},
		{`"reasoning_effort":"low"`, "reasoning.effort", "reasoning_effort"},
		{`"reasoning_effort":"low"`, "reasoning", "reasoning_effort"},
		{`"reasoning_effort":"low","reasoning":{"summary":"auto"}`, "reasoning.effort", "reasoning_effort"},
		{`"reasoning_effort":"low","reasoning":{"summary":"auto"}`, "reasoning.summary", "reasoning.summary"},
		{`"reasoning":{"effort":"low"}`, "reasoning.effort", "reasoning.effort"},
		{`"logprobs":true`, "include[0]", "logprobs"},
		{`"functions":[{"name":"f"},{"name":"g"}],"function_call":{"name":"f"}`, "tools[1].parameters", "functions[1]"},
		{`"functions":[{"name":"f"}],"function_call":{"name":"f"}`, "tool_choice.name", "function_call"},
		{`"functions":[{"name":"f"}]`, "parallel_tool_calls", "functions"},
		{`"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}],"web_search_options":{}`, "tools[0].parameters", "tools[0].function"},
		{`"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}],"web_search_options":{}`, "tools[1].format", "tools[1].custom"},
		{`"tools":[{"type":"function","function":{"name":"f"}},{"type":"custom","custom":{"name":"c"}}],"web_search_options":{}`, "tools[2].user_location", "web_search_options"},
		{`"temperature":9`, "temperature", "temperature"},
		{"", "", ""},
	}
	for _, tt := range tests {
		body := `{"model":"m",` + messages
		if tt.rest != "" {
			body += "," + tt.rest
		}
		c, err := toResponses(body + "}")
		if err != nil {
			t.Fatal(err)
		}
		if got := ClientField(c, tt.theirs); got != tt.want {
			t.Errorf("%s is %q, want %q, beside %s", tt.theirs, got, tt.want, tt.rest)
		}
	}
}

// TestResponsesClientField: a client of Responses likewise.
func TestResponsesClientField(t *testing.T) {
	r, err := openai.ReadJSON(operation("responses"), []byte(`{"model":"m","input":"x"}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := ToChat(r)
	if err != nil {
		t.Fatal(err)
	}
	for theirs, want := range map[string]string{
		"messages[0].content": "input", "max_completion_tokens": "max_output_tokens", "reasoning_effort": "reasoning.effort",
		"response_format.json_schema.schema": "text.format.schema", "response_format.type": "text.format.type", "response_format": "text.format",
		"verbosity": "text.verbosity", "tools[3].function.name": "tools", "tool_choice.function": "tool_choice", "logprobs": "include",
		"stream_options.include_usage": "stream", "temperature": "temperature", "model": "model",
	} {
		if got := ClientField(c, theirs); got != want {
			t.Errorf("%s is %q, want %q", theirs, got, want)
		}
	}
}

// TestClientError: so does the message, where it names the field.
func TestClientError(t *testing.T) {
	c, err := toResponses(`{"model":"m","max_tokens":5,"verbosity":"low","messages":[{"role":"user","content":"x"},{"role":"user","content":"y"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct{ param, message, wantParam, want string }{
		{
			"max_output_tokens", "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16, but got 3 instead.",
			"max_tokens", "Invalid 'max_tokens': integer below minimum value. Expected a value >= 16, but got 3 instead.",
		},
		{"", "Unsupported parameter: max_output_tokens", "", "Unsupported parameter: max_tokens"},
		{"input", "Invalid type for 'input': your input is too long.", "messages", "Invalid type for 'messages': your input is too long."},
		{"input[1].content[0].text", "Missing required parameter: 'input[1].content[0].text'.", "messages[1]", "Missing required parameter: 'messages[1]'."},
		{"text.verbosity", "Unsupported value: \"text.verbosity\" does not support 'low' with gpt-5.6.", "verbosity", "Unsupported value: \"verbosity\" does not support 'low' with gpt-5.6."},
		{"temperature", "You can't use temperature here. It's not 'input'.", "temperature", "You can't use temperature here. It's not 'input'."},
		{"", "", "", ""},
	}
	for _, tt := range tests {
		got := ClientError(c, openai.UpstreamError{Param: tt.param, Message: tt.message, Code: "x"})
		if diff := cmp.Diff(openai.UpstreamError{Param: tt.wantParam, Message: tt.want, Code: "x"}, got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
	}
}
