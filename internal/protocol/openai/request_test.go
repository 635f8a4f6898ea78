package openai

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"realms/internal/realm"
)

func TestReadJSON(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		name, op, body string
		want           Request
	}{
		{"least", "chat.completions", `{"model":"m"}`, Request{Model: "m", Choices: 1}},
		{"model as it is", "chat.completions", `{"model":" M/x:free@1 "}`, Request{Model: " M/x:free@1 ", Choices: 1}},
		{
			"chat stream", "chat.completions", `{"stream":true,"model":"m","stream_options":{"include_usage":true},"n":3,"max_completion_tokens":7,"max_tokens":5,"store":false}`,
			Request{Model: "m", Stream: true, IncludeUsage: true, Choices: 3, MaxTokens: 7, Store: &no},
		},
		{
			"nulls are absent", "chat.completions", `{"model":"m","stream":null,"stream_options":null,"n":null,"max_tokens":null,"store":null,"background":null,"prompt_cache_key":null}`,
			Request{Model: "m", Choices: 1},
		},
		{"usage not wanted", "chat.completions", `{"model":"m","stream_options":{"include_usage":false}}`, Request{Model: "m", Choices: 1}},
		{
			"responses", "responses", `{"model":"m","prompt_cache_key":"k","store":true,"background":false,"max_output_tokens":9007199254740993}`,
			Request{Model: "m", Choices: 1, Store: &yes, RouteKey: "k", MaxTokens: 9007199254740993},
		},
		{"no stream of embeddings", "embeddings", `{"model":"m","stream":true}`, Request{Model: "m", Choices: 1}},
		{"speech events", "audio.speech", `{"model":"m","stream_format":"sse"}`, Request{Model: "m", Choices: 1, Stream: true}},
		{"speech bytes", "audio.speech", `{"model":"m","stream_format":"audio"}`, Request{Model: "m", Choices: 1}},
		{"moderation of a default model", "moderations", `{"input":"x"}`, Request{Model: "omni-moderation-latest", Choices: 1}},
		{"moderation of a null model", "moderations", `{"model":null,"input":"x"}`, Request{Model: "omni-moderation-latest", Choices: 1}},
		{"escaped key", "chat.completions", `{"mod\u0065l":"m"}`, Request{Model: "m", Choices: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := ReadJSON(operation(t, tt.op), []byte(tt.body), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&tt.want, got, cmpopts.IgnoreFields(Request{}, "Op", "Doc", "Form")); diff != "" {
				t.Errorf("request (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadJSONRefuses(t *testing.T) {
	tests := []struct{ name, op, body, field, message string }{
		{"no JSON", "responses", `{"model":`, "", "valid JSON"},
		{"array", "responses", `[]`, "", "object is expected"},
		{"byte order mark", "responses", "\xef\xbb\xbf{}", "", "byte order mark"},
		{"deep", "responses", strings.Repeat("[", 8<<20), "", "JSON object"},
		{"deep inside", "responses", `{"a":` + strings.Repeat("[", 8<<20), "", "too deep"},
		{"model twice", "responses", `{"model":"a","model":"b"}`, "", "twice"},
		{"no model", "responses", `{}`, "model", "missing"},
		{"null model", "responses", `{"model":null}`, "model", "name of a model"},
		{"empty model", "responses", `{"model":""}`, "model", "name of a model"},
		{"numeric model", "moderations", `{"model":5}`, "model", "name of a model"},
		{"long model", "responses", `{"model":"` + strings.Repeat("x", 257) + `"}`, "model", "too long"},
		{"stream as text", "responses", `{"model":"m","stream":"true"}`, "stream", "true or false"},
		{"stream_options", "chat.completions", `{"model":"m","stream_options":true}`, "stream_options", "object"},
		{"stream_options repeat", "chat.completions", `{"model":"m","stream_options":{"include_usage":false,"include_usage":true}}`, "stream_options", "repeated"},
		{"include_usage", "chat.completions", `{"model":"m","stream_options":{"include_usage":1}}`, "stream_options.include_usage", "true or false"},
		{"background", "responses", `{"model":"m","background":true}`, "background", "not supported"},
		{"n of 0", "chat.completions", `{"model":"m","n":0}`, "n", "1 to 128"},
		{"n negative", "chat.completions", `{"model":"m","n":-1}`, "n", "1 to 128"},
		{"n of 1000", "chat.completions", `{"model":"m","n":1000}`, "n", "1 to 128"},
		{"n wraps", "chat.completions", `{"model":"m","n":18446744073686646784}`, "n", "1 to 128"},
		{"n as a float", "chat.completions", `{"model":"m","n":1.5}`, "n", "1 to 128"},
		{"n as text", "images.generations", `{"model":"m","n":"1"}`, "n", "1 to 128"},
		{"best_of", "completions", `{"model":"m","best_of":129}`, "best_of", "1 to 128"},
		{"max tokens past int64", "chat.completions", `{"model":"m","max_tokens":9223372036854775808}`, "max_tokens", "whole number"},
		{"max tokens of 1e400", "responses", `{"model":"m","max_output_tokens":1e400}`, "max_output_tokens", "whole number"},
		{"previous response as a number", "responses", `{"model":"m","previous_response_id":5}`, "previous_response_id", "an id"},
		{"conversation repeats its id", "responses", `{"model":"m","conversation":{"id":"a","id":"b"}}`, "conversation", "repeated"},
		{"conversation as a list", "responses", `{"model":"m","conversation":[]}`, "conversation", "an id"},
		{"prompt repeats its id", "responses", `{"model":"m","prompt":{"id":"a","\u0069d":"b"}}`, "prompt", "repeated"},
		{"too many ids", "responses", `{"model":"m","tools":[{"vector_store_ids":[` + strings.Repeat(`"v",`, 256) + `"v"]}]}`, "tools[0].vector_store_ids[256]", "256"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := ReadJSON(operation(t, tt.op), []byte(tt.body), nil)
			var fe *FieldError
			if !errors.As(err, &fe) {
				t.Fatalf("error = %v, want a *FieldError", err)
			}
			if fe.Code != realm.CodeInvalid || fe.Field != tt.field || !strings.Contains(fe.Message, tt.message) {
				t.Errorf("%s %q: %s; want %q: …%s…", fe.Code, fe.Field, fe.Message, tt.field, tt.message)
			}
		})
	}
}

func TestObjectRefs(t *testing.T) {
	tests := []struct {
		name, op, body string
		want           []ObjectRef
	}{
		{"previous response", "responses", `{"model":"m","previous_response_id":"resp_1"}`, []ObjectRef{{"previous_response_id", "resp_1"}}},
		{"conversation", "responses", `{"model":"m","conversation":"conv_1"}`, []ObjectRef{{"conversation", "conv_1"}}},
		{"conversation object", "responses", `{"model":"m","conversation":{"id":"conv_1"}}`, []ObjectRef{{"conversation.id", "conv_1"}}},
		{"nulls", "responses", `{"model":"m","conversation":null,"previous_response_id":null,"prompt":null,"input":null,"tools":null}`, nil},
		{
			"prompt", "responses", `{"model":"m","prompt":{"id":"pmpt_1","variables":{"doc":{"type":"input_file","file_id":"file-1"}}}}`,
			[]ObjectRef{{"prompt.id", "pmpt_1"}, {"prompt.variables.doc.file_id", "file-1"}},
		},
		{"a text prompt", "completions", `{"model":"m","prompt":"file_id"}`, nil},
		{
			"item reference", "responses", `{"model":"m","input":[{"type":"message","role":"user","content":"x","id":"msg_own"},{"type":"item_reference","id":"msg_1"}]}`,
			[]ObjectRef{{"input[1].id", "msg_1"}},
		},
		{
			"item reference without a type", "responses", `{"model":"m","input":[{"id":"msg_1"},{"role":"user","id":"msg_own","content":""},{"type":null,"id":"msg_2"}]}`,
			[]ObjectRef{{"input[0].id", "msg_1"}, {"input[2].id", "msg_2"}},
		},
		{
			"item reference in disguise", "responses", `{"model":"m","input":[{"type":"message","t\u0079pe":"item\u005freference","\u0069d":"msg_1","id":"msg_2"}]}`,
			[]ObjectRef{{"input[0].id", "msg_1"}, {"input[0].id", "msg_2"}},
		},
		{"ids of other items", "responses", `{"model":"m","input":[{"type":"reasoning","id":"rs_1","encrypted_content":"x"},{"type":"function_call","id":"fc_1","call_id":"call_1","arguments":"{\"file_id\":\"x\"}"}]}`, nil},
		{
			"files in the input", "responses", `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"},{"type":"input_image","file_id":"file-2"}]}]}`,
			[]ObjectRef{{"input[0].content[0].file_id", "file-1"}, {"input[0].content[1].file_id", "file-2"}},
		},
		{"annotations only quote", "responses", `{"model":"m","input":[{"role":"assistant","content":[{"type":"output_text","text":"x","annotations":[{"type":"file_citation","file_id":"file-1"}]}]}]}`, nil},
		{"past code calls", "responses", `{"model":"m","input":[{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1","code":"x"}]}`, nil},
		{
			"files in messages", "chat.completions", `{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`,
			[]ObjectRef{{"messages[0].content[0].file.file_id", "file-1"}},
		},
		{"in a text", "chat.completions", `{"model":"m","messages":[{"role":"user","content":"{\"file_id\":\"file-1\"} file_id"}]}`, nil},
		{
			"escaped key", "chat.completions", `{"model":"m","messages":[{"role":"user","content":[{"type":"file","file":{"file\u005fid":"file-1"}}]}]}`,
			[]ObjectRef{{"messages[0].content[0].file.file_id", "file-1"}},
		},
		{
			"tools", "responses", `{"model":"m","tools":[{"type":"file_search","vector_store_ids":["vs_1","vs_2"]},{"type":"code_interpreter","container":"cntr_1"},{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-1"]}},{"type":"shell","environment":{"type":"container_reference","container_id":"cntr_2"}},{"type":"image_generation","input_image_mask":{"file_id":"file-2"}}]}`,
			[]ObjectRef{
				{"tools[0].vector_store_ids[0]", "vs_1"},
				{"tools[0].vector_store_ids[1]", "vs_2"},
				{"tools[1].container", "cntr_1"},
				{"tools[2].container.file_ids[0]", "file-1"},
				{"tools[3].environment.container_id", "cntr_2"},
				{"tools[4].input_image_mask.file_id", "file-2"},
			},
		},
		{"a tool's schema", "responses", `{"model":"m","tools":[{"type":"function","name":"f","parameters":{"properties":{"file_id":{"type":"string","default":"x"}},"examples":[{"file_id":"y"}]}}]}`, nil},
		{
			"additional tools", "responses", `{"model":"m","input":[{"type":"additional_tools","role":"developer","tools":[{"type":"code_interpreter","container":"cntr_1"}]}]}`,
			[]ObjectRef{{"input[0].tools[0].container", "cntr_1"}},
		},
		{
			"image edits", "images.edits", `{"model":"m","images":[{"file_id":"file-1"}],"mask":{"file_id":"file-2"}}`,
			[]ObjectRef{{"images[0].file_id", "file-1"}, {"mask.file_id", "file-2"}},
		},
		{"a text input", "responses", `{"model":"m","input":"\"id\" file_id"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ReadJSON(operation(t, tt.op), []byte(tt.body), nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, r.Objects); diff != "" {
				t.Errorf("objects (-want +got):\n%s", diff)
			}
		})
	}
}
