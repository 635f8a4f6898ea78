package openai

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func TestInspectAnswer(t *testing.T) {
	up := func(input, output int64) realm.Usage {
		return realm.Usage{Input: input, Output: output, Source: realm.UsageUpstream}
	}
	tests := []struct {
		name, op, body string
		want           Answer
	}{
		{
			"chat", "chat.completions", `{"id":"c1","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x","refusal":null,"annotations":[]},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`,
			Answer{ID: "c1", Model: "m", Usage: up(3, 2)},
		},
		{"chat tool call", "chat.completions", `{"id":"c1","choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"x"}]},"finish_reason":"tool_calls"}]}`, Answer{ID: "c1", Usage: unknownUsage}},
		{"chat empty", "chat.completions", `{"choices":[{"message":{"role":"assistant","content":"","tool_calls":[],"refusal":null},"finish_reason":"stop"}]}`, Answer{Usage: unknownUsage, Empty: true}},
		{"chat without choices in the list", "chat.completions", `{"choices":[]}`, Answer{Usage: unknownUsage, Empty: true}},
		{"chat cut by its limit", "chat.completions", `{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"length"}]}`, Answer{Usage: unknownUsage}},
		{"chat filtered", "chat.completions", `{"choices":[{"message":{"role":"assistant","content":null},"finish_reason":"content_filter"}]}`, Answer{Usage: unknownUsage}},
		{"chat that broke off", "chat.completions", `{"choices":[{"message":{"role":"assistant","content":"Hel"},"finish_reason":"error"}]}`, Answer{Usage: unknownUsage, Error: FailedFinish("error")}},
		{"chat with an error in a choice", "chat.completions", `{"choices":[{"message":{"role":"assistant","content":""},"finish_reason":"error","error":{"code":502,"message":"gone"}}]}`, Answer{Usage: unknownUsage, Error: &UpstreamError{Enveloped: true, Message: "gone", Code: "502", Status: 502}}},
		{"chat suspect", "chat.completions", `{"choices":[{"message":{"content":"x"}}],"usage":{"prompt_tokens":-3,"completion_tokens":2}}`, Answer{Usage: unknownUsage, SuspectUsage: true}},
		{"completion", "completions", `{"choices":[{"text":"x","finish_reason":"stop"}]}`, Answer{Usage: unknownUsage}},
		{"completion empty", "completions", `{"choices":[{"text":"","finish_reason":"stop"}]}`, Answer{Usage: unknownUsage, Empty: true}},
		{"an error inside", "chat.completions", `{"error":{"message":"no","code":"rate_limit_exceeded"}}`, Answer{Usage: unknownUsage, Error: &UpstreamError{Enveloped: true, Message: "no", Code: "rate_limit_exceeded"}}},
		{"a null error", "chat.completions", `{"error":null,"choices":[{"message":{"content":"x"}}]}`, Answer{Usage: unknownUsage}},
		{"detail", "chat.completions", `{"detail":"nope"}`, Answer{Usage: unknownUsage, Error: &UpstreamError{Message: "nope"}}},
		{"a bare message", "embeddings", `{"message":"nope","code":503}`, Answer{Usage: unknownUsage, Error: &UpstreamError{Message: "nope", Code: "503", Status: 503}}},
		{
			"response", "responses", `{"id":"resp_1","object":"response","status":"completed","error":null,"model":"m","output":[{"id":"rs_1","type":"reasoning"},{"id":"msg_1","type":"message","content":[{"type":"output_text","text":"x"}]}],"usage":{"input_tokens":1,"output_tokens":2}}`,
			Answer{ID: "resp_1", Model: "m", Usage: up(1, 2), OutputIDs: []string{"rs_1", "msg_1"}},
		},
		{"response empty", "responses", `{"id":"resp_1","status":"completed","output":[{"id":"msg_1","type":"message","content":[]}]}`, Answer{ID: "resp_1", Usage: unknownUsage, Empty: true, OutputIDs: []string{"msg_1"}}},
		{"response incomplete", "responses", `{"id":"resp_1","status":"incomplete","output":[]}`, Answer{ID: "resp_1", Usage: unknownUsage}},
		{
			"response failed", "responses", `{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_error","message":"x"},"output":[]}`,
			Answer{ID: "resp_1", Usage: unknownUsage, Error: &UpstreamError{Code: "server_error", Message: "x"}},
		},
		{"a failed response, fetched", "responses.get", `{"id":"resp_1","object":"response","status":"failed","error":{"code":"server_error","message":"x"},"output":[]}`, Answer{ID: "resp_1", Usage: unknownUsage}},
		{"an error, fetching", "responses.get", `{"error":{"message":"x"}}`, Answer{Usage: unknownUsage, Error: &UpstreamError{Enveloped: true, Message: "x"}}},
		{"deleted", "responses.delete", `{"id":"resp_1","object":"response","deleted":true}`, Answer{ID: "resp_1", Usage: unknownUsage}},
		{"input items", "responses.input_items", `{"object":"list","data":[]}`, Answer{Usage: unknownUsage}},
		{"input tokens", "responses.input_tokens", `{"object":"response.input_tokens","input_tokens":11}`, Answer{Usage: unknownUsage}},
		{"compact", "responses.compact", `{"output":[{"type":"compaction","encrypted_content":"x"}]}`, Answer{Usage: unknownUsage}},
		{"embeddings", "embeddings", `{"object":"list","data":[{"embedding":[0.1]}],"model":"m","usage":{"prompt_tokens":8,"total_tokens":8}}`, Answer{Model: "m", Usage: up(8, 0)}},
		{"rerank", "rerank", `{"results":[],"meta":{"tokens":{"input_tokens":4}}}`, Answer{Usage: up(4, 0)}},
		{"rerank of Jina", "rerank", `{"results":[],"usage":{"total_tokens":15}}`, Answer{Usage: up(15, 0)}},
		{"transcription", "audio.transcriptions", `{"text":"hi","usage":{"type":"duration","seconds":3}}`, Answer{Usage: unknownUsage}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := InspectAnswer(operation(t, tt.op), []byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestInspectAnswerRefuses(t *testing.T) {
	for _, body := range []string{"", " ", "<html></html>", "[]", `"x"`, `{"choices":[`, `{}`, `{"ok":true}`, "data: {}\n\n"} {
		for _, op := range []string{"chat.completions", "responses"} {
			if a, err := InspectAnswer(operation(t, op), []byte(body)); err == nil {
				t.Errorf("%s: %q was taken for an answer: %+v", op, body, a)
			}
		}
	}
}

func FuzzInspectAnswer(f *testing.F) {
	f.Add([]byte(`{"id":"resp_1","status":"completed","output":[{"id":"msg_1","type":"message","content":[{"text":"x"}]}],"usage":{"input_tokens":1,"output_tokens":2}}`))
	f.Add([]byte(`{"choices":[{"message":{"content":""},"text":null,"finish_reason":"stop"}],"error":{},"detail":[]}`))
	f.Add([]byte(`{"meta":{"tokens":{"input_tokens":4}},"message":"x"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, op := range Operations() {
			a, err := InspectAnswer(op, body)
			if err != nil {
				continue
			}
			if u := a.Usage; u != unknownUsage && (u.Input < 0 || u.Output < 0 || u.Source != realm.UsageUpstream) {
				t.Fatalf("%s: %q: usage %+v", op.Name, body, u)
			}
		}
	})
}
