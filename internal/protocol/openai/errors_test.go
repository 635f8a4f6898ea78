package openai

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseError(t *testing.T) {
	tests := []struct {
		name, body string
		want       UpstreamError
	}{
		{
			"OpenAI", `{"error":{"message":"Bad.","type":"invalid_request_error","param":"n","code":"too_big"}}`,
			UpstreamError{Enveloped: true, Message: "Bad.", Type: "invalid_request_error", Param: "n", Code: "too_big"},
		},
		{"nulls", `{"error":{"message":"Bad.","type":"x","param":null,"code":null}}`, UpstreamError{Enveloped: true, Message: "Bad.", Type: "x"}},
		{
			"with its status", `{"type":"error","status":400,"error":{"type":"invalid_request_error","message":"The 'x' model is not supported."}}`,
			UpstreamError{Enveloped: true, Status: 400, Type: "invalid_request_error", Message: "The 'x' model is not supported."},
		},
		{"invalidated", `{"error":{"message":"Gone.","code":"token_invalidated","param":null},"status":401}`, UpstreamError{Enveloped: true, Status: 401, Message: "Gone.", Code: "token_invalidated"}},
		{"detail", `{"detail":"Store must be set to false"}`, UpstreamError{Message: "Store must be set to false"}},
		{"detail with a code", `{"detail":{"code":"deactivated_workspace"}}`, UpstreamError{Code: "deactivated_workspace"}},
		{"detail with a code and words", `{"detail":{"code":"x","message":"No."},"status_code":403}`, UpstreamError{Status: 403, Code: "x", Message: "No."}},
		{"in a WebSocket frame", `{"type":"error","status_code":429,"error":{"code":"x","message":"No."},"headers":{"a":"b"}}`, UpstreamError{Enveloped: true, Status: 429, Code: "x", Message: "No."}},
		{"a status of success", `{"status":200,"status_code":500,"detail":"No."}`, UpstreamError{Status: 500, Message: "No."}},
		{"a list of details", `{"detail":[{"loc":["body","n"],"msg":"Input should be valid","type":"int_parsing"}]}`, UpstreamError{Message: "Input should be valid", Type: "int_parsing"}},
		{
			"usage limit", `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_at":1777936568,"resets_in_seconds":13872}}`,
			UpstreamError{Enveloped: true, Type: "usage_limit_reached", Message: "The usage limit has been reached", PlanType: "plus", ResetsAt: time.Unix(1777936568, 0), ResetsIn: 13872 * time.Second},
		},
		{"resets as floats", `{"error":{"message":"x","resets_in_seconds":1.5}}`, UpstreamError{Enveloped: true, Message: "x", ResetsIn: 1500 * time.Millisecond}},
		{"hostile resets", `{"error":{"message":"x","resets_at":1e300,"resets_in_seconds":-5}}`, UpstreamError{Enveloped: true, Message: "x"}},
		{"resets far away", `{"error":{"message":"x","resets_in_seconds":4000000000}}`, UpstreamError{Enveloped: true, Message: "x", ResetsIn: maxReset}},
		{"a text", `{"error":"model not found"}`, UpstreamError{Message: "model not found"}},
		{"numeric code", `{"error":{"code":429,"message":"Slow down"}}`, UpstreamError{Enveloped: true, Status: 429, Code: "429", Message: "Slow down"}},
		{"Gemini", `[{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT"}}]`, UpstreamError{Enveloped: true, Status: 400, Code: "400", Message: "Bad", Type: "INVALID_ARGUMENT"}},
		{"bare", `{"object":"error","message":"Bad","type":"BadRequestError","param":null,"code":400}`, UpstreamError{Status: 400, Message: "Bad", Type: "BadRequestError", Code: "400"}},
		{"error event", `{"type":"error","code":"rate_limit_exceeded","message":"Slow","param":null,"sequence_number":3}`, UpstreamError{Type: "error", Code: "rate_limit_exceeded", Message: "Slow"}},
		{"HTML", " <!DOCTYPE html><html><title>Just a moment...</title>", UpstreamError{HTML: true, Bare: true}},
		{"text", "upstream connect\r\nerror\x00", UpstreamError{Bare: true, Message: "upstream connect error"}},
		{"nothing", "", UpstreamError{Bare: true}},
		{"another object", `{"ok":true}`, UpstreamError{Bare: true}},
		{"empty list", `[]`, UpstreamError{Bare: true, Message: "[]"}},
		{"broken", `{"error":{"message":"x"`, UpstreamError{Bare: true, Message: `{"error":{"message":"x"`}},
		{"byte order mark", "\xef\xbb\xbf{\"detail\":\"x\"}", UpstreamError{Message: "x"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := ParseError([]byte(tt.body))
			if diff := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b time.Time) bool { return a.Equal(b) })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParseError(f *testing.F) {
	f.Add([]byte(`{"error":{"message":"` + strings.Repeat("é", 2000) + `","resets_at":1777936568.25}}`))
	f.Add([]byte(`[{"detail":[["x"]]}]`))
	f.Add([]byte("\xff\xfe plain \x1b[31m text"))
	f.Fuzz(func(t *testing.T, body []byte) {
		e := ParseError(body)
		for _, s := range []string{e.Message, e.Type, e.Param, e.Code, e.PlanType} {
			if len(s) > maxMessage || !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00\x1b") {
				t.Fatalf("%q gives %q", body, s)
			}
		}
		if e.ResetsIn < 0 || e.ResetsIn > maxReset || e.Status != 0 && (e.Status < 400 || e.Status > 599) {
			t.Fatalf("%q gives %+v", body, e)
		}
	})
}
