package convert

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/openai/openai-go/v3"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// TestWrongTypes: a value that we move, read or leave out, and that is of a wrong
// type, is refused by the name that the client knows.
func TestWrongTypes(t *testing.T) {
	tests := map[string]string{ // field: the request's part that is wrong
		"logprobs":                               `"logprobs":"yes"`,
		"top_logprobs":                           `"logprobs":true,"top_logprobs":"2"`,
		"reasoning_effort":                       `"reasoning_effort":3`,
		"reasoning":                              `"reasoning":"high"`,
		"verbosity":                              `"verbosity":["low"]`,
		"parallel_tool_calls":                    `"parallel_tool_calls":"no"`,
		"response_format":                        `"response_format":"json_object"`,
		"web_search_options":                     `"web_search_options":true`,
		"web_search_options.search_context_size": `"web_search_options":{"search_context_size":3}`,
		"web_search_options.user_location":       `"web_search_options":{"user_location":"Bern"}`,
		"stream_options.include_obfuscation":     `"stream":true,"stream_options":{"include_obfuscation":"no"}`,
		"seed":                                   `"seed":"7"`,
		"prediction":                             `"prediction":"x"`,
		"tools":                                  `"tools":{"type":"function"}`,
		"tools[0].function.description":          `"tools":[{"type":"function","function":{"name":"f","description":1}}]`,
		"tools[1].function.parameters":           `"tools":[{"type":"function","function":{"name":"f"}},{"type":"function","function":{"name":"g","parameters":"{}"}}]`,
		"tools[0].function.strict":               `"tools":[{"type":"function","function":{"name":"f","strict":"true"}}]`,
		"functions":                              `"functions":"f"`,
		"functions[0].parameters":                `"functions":[{"name":"f","parameters":[]}]`,
		"tool_choice.allowed_tools.tools":        `"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":{}}}`,
		"messages[1].tool_calls":                 `"messages":[{"role":"user","content":"x"},{"role":"assistant","tool_calls":{"id":"call_1"}}]`,
		"messages[1].function_call":              `"messages":[{"role":"user","content":"x"},{"role":"assistant","function_call":"f"}]`,
		"messages[1].refusal":                    `"messages":[{"role":"user","content":"x"},{"role":"assistant","refusal":true}]`,
		"messages[1].content":                    `"messages":[{"role":"user","content":"x"},{"role":"assistant","content":5}]`,
		"n":                                      `"n":"1"`,
		"store":                                  `"store":"no"`,
		"stream":                                 `"stream":"no"`,
		"max_tokens":                             `"max_tokens":"100"`,
		"max_completion_tokens":                  `"max_completion_tokens":100.5`,
		"response_format.type":                   `"response_format":{"type":1}`,
		"tools[0].custom.name":                   `"tools":[{"type":"custom","custom":{"name":1}}]`,
	}
	for field, part := range tests {
		t.Run(field, func(t *testing.T) {
			body := `{"model":"m",` + part
			if !strings.Contains(part, `"messages"`) {
				body += `,"messages":[{"role":"user","content":"x"}]`
			}
			_, err := toResponses(body + "}")
			var refused *realm.Error
			if !errors.As(err, &refused) || refused.Code != realm.CodeInvalid || refused.Field != field || !strings.Contains(refused.Message, "`"+field+"` must be ") {
				t.Errorf("%s: %v", body, err)
			}
		})
	}
}

// fate is what becomes of a field: it is to be found at a place of the upstream's
// request, it is refused, or it is left out for a reason.
type fate struct {
	value string // what the client sends
	at    string // where it arrives, a path of keys
	as    string // what arrives there, if not the value
	// refused: the value cannot be carried; harmless is one that can, since it says
	// nothing.
	refused  bool
	harmless string
	dropped  string // why nothing arrives
	with     string // what the client sends beside it
}

// documented are all fields of a Chat request that OpenAI documents.
var documented = map[string]fate{
	"audio":                  {value: `{"voice":"alloy","format":"wav"}`, refused: true, harmless: "null"},
	"frequency_penalty":      {value: "0.5", refused: true, harmless: "0"},
	"function_call":          {value: `{"name":"f"}`, at: "tool_choice", as: `{"type":"function","name":"f"}`},
	"functions":              {value: `[{"name":"f"}]`, at: "tools", as: `[{"type":"function","name":"f","parameters":{"type":"object","properties":{}},"strict":false}]`},
	"logit_bias":             {value: `{"50256":-100}`, refused: true, harmless: "{}"},
	"logprobs":               {value: "true", at: "include", as: `["message.output_text.logprobs"]`},
	"max_completion_tokens":  {value: "100", at: "max_output_tokens"},
	"max_tokens":             {value: "100", at: "max_output_tokens"},
	"messages":               {value: `[{"role":"user","content":"x"}]`, at: "input", as: `[{"type":"message","role":"user","content":[{"type":"input_text","text":"x"}]}]`},
	"metadata":               {value: `{"a":"b"}`, at: "metadata"},
	"modalities":             {value: `["text","audio"]`, refused: true, harmless: `["text"]`},
	"model":                  {value: `"m"`, at: "model"},
	"moderation":             {value: `{"model":"omni-moderation-latest"}`, at: "moderation"},
	"n":                      {value: "2", refused: true, harmless: "1"},
	"parallel_tool_calls":    {value: "false", at: "parallel_tool_calls"},
	"prediction":             {value: `{"type":"content","content":"x"}`, dropped: "it makes an answer faster, not another"},
	"presence_penalty":       {value: "-1", refused: true, harmless: "0.0"},
	"prompt_cache_key":       {value: `"k"`, at: "prompt_cache_key"},
	"prompt_cache_options":   {value: `{"mode":"explicit"}`, at: "prompt_cache_options"},
	"prompt_cache_retention": {value: `"24h"`, at: "prompt_cache_retention"},
	"reasoning_effort":       {value: `"low"`, at: "reasoning.effort"},
	"response_format":        {value: `{"type":"json_object"}`, at: "text.format"},
	"safety_identifier":      {value: `"s"`, at: "safety_identifier"},
	"seed":                   {value: "7", dropped: "a best effort even on Chat"},
	"service_tier":           {value: `"flex"`, at: "service_tier"},
	"stop":                   {value: `["\n"]`, refused: true, harmless: "[]"},
	"store":                  {value: "true", at: "store"},
	"stream":                 {value: "true", at: "stream"},
	"stream_options":         {value: `{"include_obfuscation":false,"include_usage":true}`, at: "stream_options", as: `{"include_obfuscation":false}`, with: `"stream":true`},
	"temperature":            {value: "0.5", at: "temperature"},
	"tool_choice":            {value: `"required"`, at: "tool_choice"},
	"tools":                  {value: `[{"type":"custom","custom":{"name":"c"}}]`, at: "tools", as: `[{"type":"custom","name":"c"}]`},
	"top_logprobs":           {value: "2", at: "top_logprobs", with: `"logprobs":true`},
	"top_p":                  {value: "0.9", at: "top_p"},
	"user":                   {value: `"u"`, at: "user"},
	"verbosity":              {value: `"low"`, at: "text.verbosity"},
	"web_search_options":     {value: `{"search_context_size":"low"}`, at: "tools", as: `[{"type":"web_search","search_context_size":"low"}]`},
}

// TestDocumentedFields: none of the documented fields is silently unknown.
func TestDocumentedFields(t *testing.T) {
	var want, have []string
	params := reflect.TypeFor[sdk.ChatCompletionNewParams]()
	for i := range params.NumField() {
		if key, _, _ := strings.Cut(params.Field(i).Tag.Get("json"), ","); key != "" && key != "-" {
			want = append(want, key)
		}
	}
	want = append(want, "stream") // which the SDK has as a method
	for key := range documented {
		have = append(have, key)
	}
	slices.Sort(want)
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("-documented +known:\n%s", diff)
	}
	for key, f := range documented {
		t.Run(key, func(t *testing.T) { f.check(t, key) })
	}
}

func (f *fate) check(t *testing.T, key string) {
	convert := func(value string) (Conversion, error) {
		fields := []string{`"` + key + `":` + value}
		for _, field := range []string{`"model":"m"`, `"messages":[{"role":"user","content":"x"}]`, f.with} {
			if field != "" && !strings.HasPrefix(field, `"`+key+`"`) {
				fields = append(fields, field)
			}
		}
		return toResponses("{" + strings.Join(fields, ",") + "}")
	}
	c, err := convert(f.value)
	if f.refused {
		var refused *realm.Error
		if !errors.As(err, &refused) || refused.Field != key {
			t.Errorf("%s is not refused: %v", f.value, err)
		}
		if _, err := convert(f.harmless); err != nil {
			t.Errorf("%s is refused: %v", f.harmless, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if f.dropped != "" {
		if strings.Contains(string(c.Body()), `"`+key+`"`) {
			t.Errorf("it arrives, although %s: %s", f.dropped, c.Body())
		}
		return
	}
	want := f.as
	if want == "" {
		want = f.value
	}
	if got := at(c.Body(), strings.Split(f.at, ".")...); string(got) != want {
		t.Errorf("at %s stands %s, want %s in %s", f.at, got, want, c.Body())
	}
	if key != f.at && at(c.Body(), key) != nil && !rawjson.IsNull(at(c.Body(), key)) {
		t.Errorf("it is there under its own name too: %s", c.Body())
	}
}
