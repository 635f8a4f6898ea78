package relay

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

const (
	page  = "https://chat.example.com"
	asked = "authorization, content-type, x-stainless-lang"
)

// preflight is what a browser asks before it asks.
func preflight(t *testing.T, app *testapp.App, path, origin string) *testapp.Answer {
	t.Helper()
	req := app.Request(t, http.MethodOptions, path, "", "Origin", origin, "Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", asked)
	req.Header.Del("Authorization")
	return app.Ask(t, req)
}

// Web pages may call the relay: their preflight is answered before anybody is
// recognised, never with credentials, and what they need is exposed to them.
func TestWebPagesMayCall(t *testing.T) {
	open, _ := one(t, nil)
	narrow, _ := oneWith(t, nil, func(c *config.Config) { c.Server.CORSOrigins = []string{page, "http://localhost:3000"} })
	paths := []string{
		"/v1/chat/completions", "/v1/responses", "/v1/responses/resp_x", "/v1/responses/resp_x/cancel", "/v1/models", "/v1/models/a/b", "/v1/embeddings",
		"/v1/audio/transcriptions", "/v1/images/edits", "/responses", "/chat/completions", "/models", "/embeddings", "/v1/v1/responses",
	}
	for name, tt := range map[string]struct {
		app           *testapp.App
		origin, allow string
	}{
		"any origin":       {open, page, "*"},
		"a file":           {open, "null", "*"},
		"a listed origin":  {narrow, page, page},
		"another listed":   {narrow, "http://localhost:3000", "http://localhost:3000"},
		"a stranger":       {narrow, "https://evil.example.com", ""},
		"a suffix":         {narrow, page + ".evil.test", ""},
		"another scheme":   {narrow, "http://chat.example.com", ""},
		"null when narrow": {narrow, "null", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range paths {
				a := preflight(t, tt.app, path, tt.origin)
				if a.StatusCode != http.StatusNoContent || a.Body != "" || a.Header.Get("X-Request-Id") == "" {
					t.Errorf("OPTIONS %s: %d %q %v", path, a.StatusCode, a.Body, a.Header)
				}
				isAllowed(t, a, tt.allow)
				methods, headers := a.Header.Get("Access-Control-Allow-Methods"), a.Header.Get("Access-Control-Allow-Headers")
				if !strings.Contains(methods, "POST") || !strings.Contains(methods, "GET") || !strings.Contains(methods, "DELETE") || headers != asked {
					t.Errorf("OPTIONS %s allows the methods %q and the headers %q", path, methods, headers)
				}
			}
			for path, body := range map[string]string{"/v1/chat/completions": chatBody, "/v1/responses": responsesStream, "/v1/embeddings": `{`} {
				isAllowed(t, tt.app.Post(t, path, body, "Origin", tt.origin), tt.allow)
			}
			isAllowed(t, tt.app.Post(t, "/v1/nowhere", "{}", "Origin", tt.origin), tt.allow)
			isAllowed(t, tt.app.Post(t, "/v1/chat/completions", chatBody, "Origin", tt.origin, "Authorization", "Bearer wrong-token-of-a-page"), tt.allow)
		})
	}
	if a := open.Post(t, "/v1/chat/completions", chatBody); a.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("an answer to no page is marked for pages")
	}
	for _, path := range []string{"/healthz", "/", "/api/channels", "/ui/"} {
		if a := preflight(t, open, path, page); a.StatusCode == http.StatusNoContent {
			t.Errorf("OPTIONS %s is answered like the relay's", path)
		}
	}
}

func isAllowed(t *testing.T, a *testapp.Answer, origin string) {
	t.Helper()
	if got := a.Header.Get("Access-Control-Allow-Origin"); got != origin || a.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("%s %s: allowed is %q, want %q; credentials %q", a.Request.Method, a.Request.URL.Path, got, origin, a.Header.Get("Access-Control-Allow-Credentials"))
	}
	if origin != "" && origin != "*" && !slices.Contains(a.Header.Values("Vary"), "Origin") {
		t.Errorf("%s %s: an origin of many, and no Vary", a.Request.Method, a.Request.URL.Path)
	}
	exposed := strings.ToLower(a.Header.Get("Access-Control-Expose-Headers"))
	for _, h := range []string{"x-request-id", "retry-after", "x-ratelimit-limit-requests", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests"} {
		if (origin != "") != strings.Contains(exposed, h) {
			t.Errorf("%s %s: exposed is %q, allowed %q", a.Request.Method, a.Request.URL.Path, exposed, origin)
			break
		}
	}
}

// A wrong method is told the right ones, a wrong path is named; both in OpenAI's
// shape, without asking who asks or whom to ask.
func TestWrongMethodsAndPaths(t *testing.T) {
	app, up := one(t, nil)
	for request, allow := range map[string]string{
		"GET /v1/chat/completions": "POST, OPTIONS", "HEAD /v1/chat/completions": "POST, OPTIONS", "PUT /v1/responses": "POST, GET, OPTIONS",
		"GET /v1/responses": "POST, OPTIONS", "GET /responses": "POST, OPTIONS", "POST /v1/models": "GET, OPTIONS", "DELETE /v1/models/gpt-5.5": "GET, OPTIONS",
		"PATCH /embeddings": "POST, OPTIONS", "TRACE /v1/responses": "POST, GET, OPTIONS", "PROPFIND /v1/chat/completions": "POST, OPTIONS", "post /v1/chat/completions": "POST, OPTIONS",
		"POST /v1/responses/resp_x": "GET, DELETE, OPTIONS", "GET /v1/responses/compact": "POST, OPTIONS", "GET /v1/responses/resp_x/cancel": "POST, OPTIONS",
		"QUERY /v1/responses/resp_x/input_items": "GET, OPTIONS", "GET /v1/v1/images/generations": "POST, OPTIONS", "BREW /chat/completions": "POST, OPTIONS",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := asIs(t, app, method, path)
		if got := strings.Split(a.Header.Get("Allow"), ", "); a.StatusCode != 405 || !sameSet(got, strings.Split(allow, ", ")) {
			t.Errorf("%s: %d, allowed are %q, want %q", request, a.StatusCode, got, allow)
		}
		if method != http.MethodHead {
			isFault(t, a, fault{405, "invalid_request_error", "method_not_allowed", ""})
		}
	}
	for _, request := range []string{
		"GET /v1", "GET /v1/", "POST /v1/nowhere", "GET /v1/files", "POST /v1/threads", "GET /v1/models/a/b/", "POST /v1/chat/completions/", "POST /v1/chat", "POST /V1/chat/completions",
		"GET /responses/resp_x", "POST /completions", "POST /v1/v1/v1/chat/completions", "GET /admin", "GET /nowhere", "DELETE /", "GET /favicon.ico", "BREW /v1/coffee",
		"POST /v1//chat/completions", "POST //v1/chat/completions", "POST /v1/./chat/completions", "POST /v1/x/../chat/completions", "POST /v1/chat%2fcompletions",
		"GET /v1/" + strings.Repeat("n", 2000), "GET /v1/%3Cscript%3E%0aX-A:b",
	} {
		method, path, _ := strings.Cut(request, " ")
		a := asIs(t, app, method, path)
		if strings.HasPrefix(path, "/v1/models/") {
			isFault(t, a, fault{404, "invalid_request_error", "model_not_found", "model"})
			continue
		}
		isFault(t, a, fault{404, "invalid_request_error", "unknown_url", ""})
		if len(path) < 40 && !strings.Contains(path, "%") && !strings.Contains(a.Body, method+" "+path) || len(a.Body) > 1<<10 {
			t.Errorf("%s: the answer does not name it well: %.300s", request, a.Body)
		}
	}
	if up.Count() != 0 {
		t.Errorf("%d requests reached the upstream", up.Count())
	}
}

// asIs asks with a method and a path as they are.
func asIs(t *testing.T, app *testapp.App, method, path string) *testapp.Answer {
	t.Helper()
	w := dialWire(t, app)
	w.send(rawRequest(app, method, path, ""))
	return w.answer(method)
}

func sameSet(a, b []string) bool {
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// Paths without /v1 and with it twice are the same endpoints.
func TestAliasesAreTheSameEndpoints(t *testing.T) {
	app, up := one(t, nil)
	for path, body := range map[string]string{
		"/responses": responsesBody, "/v1/v1/responses": responsesBody, "/chat/completions": chatBody, "/v1/v1/chat/completions": chatBody,
		"/embeddings": `{"model":"gpt-5.5","input":"x"}`, "/v1/v1/embeddings": `{"model":"gpt-5.5","input":"x"}`, "/v1/v1/completions": `{"model":"gpt-5.5","prompt":"x"}`,
		"/v1/v1/moderations": `{"input":"x"}`, "/v1/v1/responses/input_tokens": responsesBody, "/v1/v1/audio/speech": `{"model":"tts","input":"x","voice":"y"}`,
	} {
		before := up.Count()
		a := app.Post(t, path, body)
		want := "/v1/" + strings.TrimPrefix(strings.ReplaceAll(path, "/v1", ""), "/")
		if a.StatusCode != http.StatusOK || up.Count() != before+1 || up.Requests()[before].Path != want {
			t.Errorf("POST %s: %d %s", path, a.StatusCode, a.Body)
		}
	}
	for _, path := range []string{"/v1/models", "/models", "/v1/v1/models"} {
		if a := app.Ask(t, app.Request(t, http.MethodGet, path, "")); a.StatusCode != http.StatusOK || !strings.Contains(a.Body, `"object":"list"`) {
			t.Errorf("GET %s: %d %s", path, a.StatusCode, a.Body)
		}
	}
}

// /v1/models is what a token can really use now.
func TestModelsAreThoseTheTokenCanUse(t *testing.T) {
	up := testkit.NewUpstream(t, testkit.Options{})
	bind := func(name string, models ...string) catalog.ChannelSpec {
		ch := testapp.Channel(name, up.BaseURL, "key-"+name)
		ch.Bindings = nil
		for _, m := range models {
			ch.Bindings = append(ch.Bindings, realm.Binding{Model: m})
		}
		return ch
	}
	off := bind("off", "of-a-disabled-channel")
	off.Enabled = false
	app := testapp.Start(t, testapp.Options{
		Role: realm.RoleUser,
		Models: []realm.Model{
			{Name: "plain", Enabled: true, OwnedBy: "openai"},
			{Name: "meta/llama-3/8b", Enabled: true},
			{Name: "unbound", Enabled: true},
			{Name: "disabled", Enabled: false},
			{Name: "of-a-disabled-channel", Enabled: true},
			{Name: "of-another-group", Enabled: true},
			{Name: "späße %2f", Enabled: true},
		},
		Channels: []catalog.ChannelSpec{bind("main", "plain", "meta/llama-3/8b", "disabled", "späße %2f"), off},
	})
	if _, err := app.Catalog.UpsertGroup(t.Context(), "test", realm.Group{Name: "vip", Multiplier: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	vip := bind("vip", "of-another-group")
	vip.Groups = []string{"vip"}
	app.Declare(t, vip)
	narrow := app.NewToken(t, account.TokenSpec{User: "owner", Name: "narrow", Models: []string{"plain", "unbound"}})
	for token, want := range map[string][]string{app.Token: {"meta/llama-3/8b", "plain", "späße %2f"}, narrow: {"plain"}} {
		a := app.Ask(t, app.Request(t, http.MethodGet, "/v1/models", "", "Authorization", "Bearer "+token))
		var list struct {
			Object string
			Data   []struct {
				ID, Object string
				Created    int64
				OwnedBy    string `json:"owned_by"`
			}
		}
		if err := json.Unmarshal([]byte(a.Body), &list); err != nil || a.StatusCode != 200 || list.Object != "list" || a.Header.Get("Content-Type") != "application/json" {
			t.Fatalf("%d %v %s", a.StatusCode, err, a.Body)
		}
		var got []string
		for _, m := range list.Data {
			if got = append(got, m.ID); m.Object != "model" || m.Created < 1_700_000_000 || m.OwnedBy == "" {
				t.Errorf("model %+v", m)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("models are %q, want %q", got, want)
		}
	}
	show := func(path, token string) *testapp.Answer {
		return app.Ask(t, app.Request(t, http.MethodGet, path, "", "Authorization", "Bearer "+token))
	}
	for path, id := range map[string]string{
		"/v1/models/plain": "plain", "/v1/models/meta/llama-3/8b": "meta/llama-3/8b", "/v1/models/meta%2Fllama-3%2F8b": "meta/llama-3/8b", "/v1/v1/models/meta/llama-3/8b": "meta/llama-3/8b",
		"/v1/models/sp%C3%A4%C3%9Fe%20%252f": "späße %2f",
	} {
		if a := show(path, app.Token); a.StatusCode != 200 || !strings.Contains(a.Body, `"id":"`+id+`"`) || !strings.Contains(a.Body, `"object":"model"`) {
			t.Errorf("GET %s: %d %s", path, a.StatusCode, a.Body)
		}
	}
	for path, token := range map[string]string{
		"/v1/models/none": app.Token, "/v1/models/unbound": app.Token, "/v1/models/disabled": app.Token, "/v1/models/of-a-disabled-channel": app.Token,
		"/v1/models/of-another-group": app.Token, "/v1/models/Plain": app.Token, "/v1/models/meta": app.Token, "/v1/models/": app.Token, "/v1/models/meta/llama-3/8b": narrow,
	} {
		a := show(path, token)
		isFault(t, a, fault{404, "invalid_request_error", "model_not_found", "model"})
	}
	// What is not listed cannot be used either.
	for _, m := range []string{"none", "unbound", "disabled", "of-a-disabled-channel", "of-another-group"} {
		isFault(t, app.Post(t, "/v1/chat/completions", `{"model":"`+m+`","messages":[]}`), fault{404, "invalid_request_error", "model_not_found", "model"})
	}
	isFault(t, app.Post(t, "/v1/chat/completions", `{"model":"meta/llama-3/8b","messages":[]}`, "Authorization", "Bearer "+narrow), fault{404, "invalid_request_error", "model_not_found", "model"})
	isRefused(t, show("/v1/models", "unknown-token-of-a-list"), "")
	isRefused(t, show("/v1/models/plain", "unknown-token-of-a-model"), "")
	if up.Count() != 0 {
		t.Errorf("%d requests reached the upstream", up.Count())
	}
}

// Clients probe before they ask: codex doctor's HEAD, a monitor's health check.
func TestProbesAreAnswered(t *testing.T) {
	app, up := one(t, nil)
	for request, want := range map[string]int{
		"HEAD /v1/responses": 200, "HEAD /responses": 200, "GET /v1/models": 200, "HEAD /v1/models": 200, "GET /healthz": 200, "HEAD /healthz": 200, "GET /": 200, "HEAD /": 200,
	} {
		method, path, _ := strings.Cut(request, " ")
		a := asIs(t, app, method, path)
		if a.StatusCode != want || (method == http.MethodHead && a.Body != "") || (strings.Contains(path, "v1") && a.Header.Get("X-Request-Id") == "") {
			t.Errorf("%s: %d %s %v", request, a.StatusCode, a.Body, a.Header)
		}
	}
	stranger := *app
	stranger.Token = "unknown-token-of-a-probe"
	if a := asIs(t, &stranger, http.MethodHead, "/v1/responses"); a.StatusCode != 200 {
		t.Errorf("a probe without a token: %d", a.StatusCode)
	}
	if a := asIs(t, &stranger, http.MethodHead, "/v1/models"); a.StatusCode != 401 {
		t.Errorf("a HEAD of the models without a token: %d", a.StatusCode)
	}
	if up.Count() != 0 {
		t.Errorf("%d requests reached the upstream", up.Count())
	}
}

// HTTP/2 in the clear, by prior knowledge, is the same relay.
func TestHTTP2ByPriorKnowledge(t *testing.T) {
	app, up := one(t, nil)
	app.Client = http2Client(t)
	inParallel(40, 40, func(i int) {
		path, body, has := "/v1/chat/completions", chatStream, "data: [DONE]\n\n"
		if i%2 == 1 {
			path, body, has = "/v1/responses", responsesBody, `"status":"completed"`
		}
		res, err := app.Client.Do(app.Request(t, http.MethodPost, path, body))
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = res.Body.Close() }()
		var b strings.Builder
		if _, err := io.Copy(&b, res.Body); err != nil || res.ProtoMajor != 2 || res.StatusCode != 200 || !strings.Contains(b.String(), has) {
			t.Errorf("%s %d, %v: %s", res.Proto, res.StatusCode, err, b.String())
		}
	})
	if up.Count() != 40 {
		t.Errorf("%d requests reached the upstream, want 40", up.Count())
	}
	isFault(t, app.Post(t, "/v1/chat/completions", "{"), fault{400, "invalid_request_error", "", ""})
	if row := app.Record(t, app.Post(t, "/v1/chat/completions", chatBody).Response); row.Ended != realm.EndedCompleted {
		t.Errorf("row: %+v", endingOf(row))
	}
}
