package relay

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit/testapp"
)

// stitch is one of the requests that follow each other on a connection.
type stitch struct {
	method, path, body string
	header             []string
	status             int
	has                string // in the answer; MODEL is the request's own
	upstream           bool
}

const (
	modelBody   = `{"model":"MODEL","messages":[],"input":"x"}`
	modelStream = `{"model":"MODEL","stream":true,"messages":[],"input":"x"}`
)

var stitches = []stitch{
	{http.MethodPost, "/v1/chat/completions", modelBody, nil, 200, `"model":"MODEL"`, true},
	{http.MethodGet, "/v1/models", "", nil, 200, `"object":"list"`, false},
	{http.MethodPost, "/v1/chat/completions", modelStream, nil, 200, `"model":"MODEL"`, true},
	{http.MethodPost, "/v1/nowhere", modelBody, nil, 404, "/v1/nowhere", false},
	{http.MethodPost, "/responses", modelBody, []string{"Expect: 100-continue"}, 200, `"model":"MODEL"`, true},
	{http.MethodPut, "/v1/chat/completions", modelBody, nil, 405, "PUT", false},
	{http.MethodHead, "/v1/models", "", nil, 200, "", false},
	{http.MethodPost, "/v1/responses", modelStream, []string{"X-Long: " + strings.Repeat("x", 5000)}, 200, "response.completed", true},
	{http.MethodPost, "/v1/responses", `{"model":`, nil, 400, "JSON", false},
	{http.MethodOptions, "/v1/responses", "", []string{"Origin: https://a.test"}, 204, "", false},
	{http.MethodPost, "/v1/embeddings", modelBody, []string{"X-Api-Key: wrong"}, 401, "different tokens", false},
	{http.MethodDelete, "/v1/responses/resp_unknown", "", nil, 404, "resp_unknown", false},
	{http.MethodPost, "/v1/embeddings", modelBody, nil, 200, `"model":"MODEL"`, true},
	{http.MethodGet, "/healthz", "", nil, 200, "ok", false},
	{http.MethodGet, "/v1/responses", "", []string{"Connection: Upgrade", "Upgrade: websocket"}, 426, "websocket", false},
}

// E-10: thousands of requests of every kind, written without waiting, are answered
// one by one in their order, each with its own answer.
func TestPipelinedRequestsKeepTheirOrder(t *testing.T) {
	const requests, atOnce = 10_000, 40
	app, up := one(t, nil)
	w := dialWire(t, app)
	var models []string
	for n := 0; n < requests; n += atOnce {
		var text strings.Builder
		for i := n; i < n+atOnce; i++ {
			s, model := stitches[i%len(stitches)], "m-"+strconv.Itoa(i)
			text.WriteString(rawRequest(app, s.method, s.path, strings.ReplaceAll(s.body, "MODEL", model), s.header...))
			if s.upstream {
				models = append(models, model)
			}
		}
		w.send(text.String())
		for i := n; i < n+atOnce; i++ {
			s, model := stitches[i%len(stitches)], "m-"+strconv.Itoa(i)
			a := w.answer(s.method)
			if a.StatusCode == http.StatusContinue {
				a = w.answer(s.method)
			}
			if has := strings.ReplaceAll(s.has, "MODEL", model); a.StatusCode != s.status || a.Err != nil || !strings.Contains(a.Body, has) {
				t.Fatalf("answer %d to %s %s: %d, %v, want %d with %q: %s", i, s.method, s.path, a.StatusCode, a.Err, s.status, has, a.Body)
			}
		}
	}
	got := up.Requests()
	for i, model := range models {
		if i >= len(got) || got[i].Model != model {
			t.Fatalf("upstream request %d of %d is not for %s", i, len(got), model)
		}
	}
	if len(got) != len(models) {
		t.Errorf("%d requests reached the upstream, want %d", len(got), len(models))
	}
}

// E-10: a client that asks first hears of a refusal before it sends its body.
func TestExpectationIsMetOnlyIfTheBodyIsWanted(t *testing.T) {
	app, up := one(t, nil)
	unknown := &testapp.App{Token: "unknown-token-of-a-test"}
	for _, tt := range []struct {
		name   string
		as     *testapp.App
		path   string
		header []string
		want   fault
	}{
		{"unknown token", unknown, "/v1/chat/completions", nil, fault{401, "invalid_request_error", "invalid_api_key", ""}},
		{"unknown path", app, "/v1/nowhere", nil, fault{404, "invalid_request_error", "unknown_url", ""}},
		{"too large", app, "/v1/chat/completions", []string{"Content-Length: 99999999999"}, fault{413, "invalid_request_error", "request_too_large", ""}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := dialWire(t, app)
			header := append([]string{"Expect: 100-continue"}, tt.header...)
			if tt.header == nil {
				header = append(header, "Content-Length: 100")
			}
			w.send(rawRequest(tt.as, http.MethodPost, tt.path, "", header...))
			a := w.answer(http.MethodPost)
			isFault(t, a, tt.want)
			_ = w.CloseWrite()
			if !a.Close || !w.ended() {
				t.Error("the connection lives on, though its next bytes may be a body")
			}
		})
	}
	t.Run("wanted", func(t *testing.T) {
		w := dialWire(t, app)
		w.send(rawRequest(app, http.MethodPost, "/v1/chat/completions", "", "Expect: 100-Continue", "Content-Length: "+strconv.Itoa(len(chatBody)), "X-Request-Id: expected"))
		if res := w.head(http.MethodPost); res.StatusCode != http.StatusContinue {
			t.Fatalf("status %d, want 100", res.StatusCode)
		}
		w.send(chatBody)
		if a := w.answer(http.MethodPost); a.StatusCode != http.StatusOK {
			t.Errorf("%d %s", a.StatusCode, a.Body)
		}
		if row := rowsOf(t, app, "expected")["expected"]; row.Ended != realm.EndedCompleted {
			t.Errorf("row: %+v", endingOf(row))
		}
	})
	t.Run("something else", func(t *testing.T) {
		w := dialWire(t, app)
		w.send(rawRequest(app, http.MethodPost, "/v1/chat/completions", chatBody, "Expect: tea"))
		if a := w.answer(http.MethodPost); a.StatusCode != http.StatusExpectationFailed {
			t.Errorf("status %d, want 417", a.StatusCode)
		}
	})
	if up.Count() != 1 {
		t.Errorf("%d requests reached the upstream, want 1", up.Count())
	}
}

// E-10: a WebSocket on Responses is answered so that Codex falls back to POST at
// once, and nothing else is ever switched to another protocol.
func TestUpgradeIsDeclined(t *testing.T) {
	app, up := one(t, nil)
	socket := []string{"Connection: keep-alive, Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "OpenAI-Beta: responses_websockets=2026-02-06"}
	for name, tt := range map[string]struct {
		method, path, body string
		header             []string
		status             int
	}{
		"responses":        {http.MethodGet, "/v1/responses", "", socket, 426},
		"its aliases":      {http.MethodGet, "/responses", "", socket, 426},
		"another alias":    {http.MethodGet, "/v1/v1/responses", "", socket, 426},
		"in other letters": {http.MethodGet, "/v1/responses", "", []string{"Connection: upgrade", "Upgrade: WebSocket"}, 426},
		"a POST":           {http.MethodPost, "/v1/responses", responsesBody, socket, 200},
		"to h2c":           {http.MethodPost, "/v1/responses", responsesBody, []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"}, 200},
		"to h2c by GET":    {http.MethodGet, "/v1/models", "", []string{"Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"}, 200},
		"chat":             {http.MethodGet, "/v1/chat/completions", "", socket, 405},
		"realtime":         {http.MethodGet, "/v1/realtime?model=gpt-5.5", "", socket, 404},
	} {
		t.Run(name, func(t *testing.T) {
			w := dialWire(t, app)
			w.send(rawRequest(app, tt.method, tt.path, tt.body, tt.header...))
			a := w.answer(tt.method)
			if a.StatusCode != tt.status {
				t.Fatalf("%d %s, want %d", a.StatusCode, a.Body, tt.status)
			}
			if tt.status == 426 {
				isFault(t, a, fault{426, "invalid_request_error", "websocket_not_supported", ""})
			}
			w.send(rawRequest(app, http.MethodGet, "/v1/models", ""))
			if a := w.answer(http.MethodGet); a.StatusCode != 200 {
				t.Errorf("the next request on the connection: %d", a.StatusCode)
			}
		})
	}
	if up.Count() != 2 {
		t.Errorf("%d requests reached the upstream, want 2", up.Count())
	}
}
