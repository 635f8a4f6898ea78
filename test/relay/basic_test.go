package relay

import (
	"net/http"
	"strings"
	"testing"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

const (
	chatBody        = `{"model":"gpt-5.5","messages":[{"role":"user","content":"hello"}]}`
	chatStream      = `{"model":"gpt-5.5","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	responsesBody   = `{"model":"gpt-5.5","input":"hello"}`
	responsesStream = `{"model":"gpt-5.5","stream":true,"input":"hello"}`
)

// one starts an app with one channel of the given keys in front of an upstream.
func one(t testing.TB, script testkit.Script, keys ...string) (*testapp.App, *testkit.Upstream) {
	t.Helper()
	up := testkit.NewUpstream(t, testkit.Options{Script: script})
	if len(keys) == 0 {
		keys = []string{"key-a"}
	}
	app := testapp.Start(t, testapp.Options{Channels: []catalog.ChannelSpec{testapp.Channel("main", up.BaseURL, keys...)}})
	return app, up
}

func TestAnswersAreRelayed(t *testing.T) {
	app, up := one(t, nil)
	tests := []struct {
		name, path, body string
		stream           bool
		has              []string
	}{
		{"chat", "/v1/chat/completions", chatBody, false, []string{`"chat.completion"`}},
		{"chat stream", "/v1/chat/completions", chatStream, true, []string{`"chat.completion.chunk"`, "data: [DONE]\n\n"}},
		{"responses", "/v1/responses", responsesBody, false, []string{`"object":"response"`}},
		{"responses stream", "/v1/responses", responsesStream, true, []string{"response.output_text.delta", "response.completed"}},
		{"alias without /v1", "/responses", responsesBody, false, []string{`"object":"response"`}},
		{"alias with /v1 twice", "/v1/v1/chat/completions", chatBody, false, []string{`"chat.completion"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := up.Count()
			a := app.Post(t, tt.path, tt.body)
			if a.StatusCode != http.StatusOK || a.Err != nil {
				t.Fatalf("status %d, %v: %s", a.StatusCode, a.Err, a.Body)
			}
			for _, part := range tt.has {
				if !strings.Contains(a.Body, part) {
					t.Errorf("the answer lacks %q:\n%s", part, a.Body)
				}
			}
			if tt.stream != strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
				t.Errorf("content type %q", a.Header.Get("Content-Type"))
			}
			if n := up.Count() - before; n != 1 {
				t.Errorf("%d requests reached the upstream, want 1", n)
			}
			rec := app.Record(t, a.Response)
			if rec.Ended != realm.EndedCompleted || rec.Cause != realm.CauseOK || rec.Status != http.StatusOK || rec.Usage.Source != realm.UsageUpstream ||
				rec.Usage.Input <= 0 || rec.Usage.Output <= 0 || rec.Attempts != 1 || rec.Model != "gpt-5.5" || rec.Stream != tt.stream {
				t.Errorf("row: %+v", rec)
			}
		})
	}
}
