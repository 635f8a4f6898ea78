package relay

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// L-10: where a request goes is the channel's to say. Nothing in its body, its
// headers, its host or its path chooses another place, and what it says of places
// travels as data.
func TestClientCannotSteerARequest(t *testing.T) {
	trap := testkit.NewUpstream(t, testkit.Options{})
	main := testkit.NewUpstream(t, testkit.Options{})
	first, other := testapp.Channel("main", main.BaseURL+"/prefix/v1", "key-a"), testapp.Channel("other", trap.BaseURL, "key-b")
	first.Priority = 10 // the other is never needed
	app := testapp.Start(t, testapp.Options{Role: realm.RoleUser, Channels: []catalog.ChannelSpec{first, other}})
	evil := strings.TrimPrefix(trap.URL, "http://")
	post := func(path, body string, lines ...string) string {
		return rawRequest(app, http.MethodPost, path, body, lines...)
	}
	model := func(name string) string {
		quoted, err := json.Marshal(name)
		if err != nil {
			t.Fatal(err)
		}
		return `{"model":` + string(quoted) + `,"messages":[]}`
	}
	const chat = "/v1/chat/completions"
	tests := map[string]string{
		"api_base":                post(chat, `{"model":"gpt-5.5","api_base":"`+trap.BaseURL+`","messages":[]}`),
		"base_url":                post(chat, `{"model":"gpt-5.5","base_url":"`+trap.BaseURL+`","messages":[]}`),
		"all of them, nested":     post(chat, `{"model":"gpt-5.5","messages":[],"litellm_params":{"api_base":"`+trap.URL+`","api_key":"x"},"config":{"endpoint":"`+trap.URL+`"},"extra_body":{"base_url":"`+trap.URL+`"},"api_version":"../","custom_llm_provider":"openai","organization":"x","headers":{"Host":"`+evil+`"},"proxy":"`+trap.URL+`","channel":"other","user_config":{"model_list":[{"api_base":"`+trap.URL+`"}]}}`),
		"a model that is a URL":   post(chat, model(trap.BaseURL)),
		"a model with a provider": post(chat, model("openai/"+trap.URL+"/gpt-5.5")),
		"a model that climbs":     post(chat, model("../../admin")),
		"a model in a path":       post(chat, model("gpt-5.5/../../x?y=z#w")),
		"a model with breaks":     post(chat, model("gpt\r\nHost: "+evil+"\r\n\r\n")),
		"a model with a NUL":      post(chat, model("gpt\x00"+trap.URL)),
		"the name of a channel":   post(chat, model("other")),
		"model and channel":       post(chat, model("other/gpt-5.5")),
		"host":                    strings.Replace(post(chat, chatBody), "Host: relay.test", "Host: "+evil, 1),
		"absolute form":           strings.Replace(post(chat, chatBody), "POST /v1", "POST "+trap.URL+"/v1", 1),
		"absolute form of https":  strings.Replace(post(chat, chatBody), "POST /v1", "POST https://"+evil+"/v1", 1),
		"forwarded hosts":         post(chat, chatBody, "X-Forwarded-Host: "+evil, "X-Forwarded-Server: "+evil, "Forwarded: host="+evil, "X-Host: "+evil, "X-Forwarded-Proto: https"),
		"original URLs":           post(chat, chatBody, "X-Original-URL: "+trap.URL, "X-Rewrite-URL: /v1/models", "X-HTTP-Method-Override: DELETE", "X-Method-Override: GET"),
		"vendors' headers":        post(chat, chatBody, "X-Portkey-Custom-Host: "+trap.URL, "X-Api-Base: "+trap.URL, "X-Base-Url: "+trap.URL, "X-Target-Url: "+trap.URL, "Helicone-OpenAI-Api-Base: "+trap.URL, "Cf-Aig-Custom-Host: "+trap.URL, "Destination: "+trap.URL, "X-Upstream: "+trap.URL),
		"a proxy":                 post(chat, chatBody, "Proxy: "+trap.URL, "Http-Proxy: "+trap.URL, "Proxy-Connection: keep-alive"),
		"an organisation":         post(chat, chatBody, "OpenAI-Organization: other", "OpenAI-Project: other"),
		"a query":                 post(chat+"?api_base="+trap.URL+"&base_url="+trap.URL+"&channel=other&x=/../..", chatBody),
		"a query with a fragment": post(chat+"?a=b%23c&d=%2e%2e%2f", chatBody),
	}
	for name, request := range tests {
		t.Run(name, func(t *testing.T) {
			before := main.Count()
			w := dialWire(t, app)
			w.send(request)
			if a := w.answer(http.MethodPost); a.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", a.StatusCode, a.Body)
			}
			got := main.Requests()[before]
			if got.Host != strings.TrimPrefix(main.URL, "http://") || got.Path != "/v1/prefix/v1/chat/completions" || got.Method != http.MethodPost || got.Key != "key-a" {
				t.Errorf("it went to %s %s %s with %s", got.Method, got.Host, got.Path, got.Key)
			}
			if _, body, _ := strings.Cut(request, "\r\n\r\n"); string(got.Body) != body {
				t.Errorf("the upstream got %q, want %q", got.Body, body)
			}
		})
	}
	if trap.Count() != 0 || trap.Connections() != 0 {
		t.Errorf("%d requests went where a client wanted them", trap.Count())
	}
}

// L-10: no spelling of a path reaches another one, here or at the upstream.
func TestPathTricksLeadNowhere(t *testing.T) {
	app, up := one(t, nil)
	if a := app.Post(t, "/v1/responses", responsesBody); a.StatusCode != http.StatusOK { // so that resp_fake is known
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	for _, path := range []string{
		"/v1/responses/..", "/v1/responses/%2e%2e", "/v1/responses/..%2fmodels", "/v1/responses/resp_fake%2f..%2f..%2fmodels", "/v1/responses/resp_fake/..",
		"/v1/responses/resp_fake%3fx=y", "/v1/responses/resp_fake%23", "/v1/responses/resp_fake%00", "/v1/responses/resp_fake%0d%0aX-A:%20b", "/v1/responses/resp_fake%20",
		"/v1/responses/resp_fake;x=y", "/v1/responses/resp_fake%252f", "/v1/responses/resp_fake%5c..", "/v1/responses/.%2e/admin", "/v1/responses/%ff",
		"/v1/responses/RESP_FAKE", "/v1/responses/resp_fake/", "/v1/responses//resp_fake", "/v1/responses/./resp_fake", "/v1/responses/resp_fake/input_items/",
		"/v1/responses/resp_fake/content", "/v1//responses/resp_fake", "//v1/responses/resp_fake", "/v1/../v1/responses/resp_fake", "/V1/responses/resp_fake",
		"/v1/v1/v1/responses/resp_fake", "/v1/responses/" + strings.Repeat("a", 10_000),
	} {
		w := dialWire(t, app)
		w.send(rawRequest(app, http.MethodGet, path, ""))
		a := w.answer(http.MethodGet)
		if a.StatusCode != http.StatusNotFound {
			t.Errorf("GET %.60s: %d %s", path, a.StatusCode, a.Body)
			continue
		}
		isFault(t, a, fault{404, "invalid_request_error", codeOf(t, a), ""})
		if len(a.Body) > 1<<10 {
			t.Errorf("GET %.60s: an answer of %d bytes", path, len(a.Body))
		}
	}
	if up.Count() != 1 {
		for _, r := range up.Requests()[1:] {
			t.Errorf("the upstream was asked for %s", r.Path)
		}
	}
	if a := app.Ask(t, app.Request(t, http.MethodGet, "/v1/responses/resp%5ffake?include%5B%5D=x", "")); a.StatusCode != http.StatusOK || up.Requests()[1].Path != "/v1/responses/resp_fake" || up.Requests()[1].Query != "include%5B%5D=x" {
		t.Errorf("an innocent spelling: %d, the upstream saw %s", a.StatusCode, up.Requests()[up.Count()-1].Path)
	}
}

func codeOf(t *testing.T, a *testapp.Answer) string {
	t.Helper()
	var got struct{ Error struct{ Code string } }
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil || (got.Error.Code != "not_found" && got.Error.Code != "unknown_url") {
		t.Errorf("%v: %s", err, a.Body)
	}
	return got.Error.Code
}

// L-10: X-Realms-Channel is for administrators alone, and names a channel or
// nothing; a groups' channels are out of reach for who is not in it.
func TestChannelIsChosenByAdministratorsAlone(t *testing.T) {
	main, second := testkit.NewUpstream(t, testkit.Options{}), testkit.NewUpstream(t, testkit.Options{})
	first, other := testapp.Channel("main", main.BaseURL, "key-a"), testapp.Channel("other", second.BaseURL, "key-b")
	first.Priority = 10
	app := testapp.Start(t, testapp.Options{Channels: []catalog.ChannelSpec{first, other}})
	if _, err := app.Accounts.UpsertUser(t.Context(), "test", account.UserSpec{Name: "guest", Role: realm.RoleUser, Groups: []string{realm.DefaultGroup}, Enabled: true}); err != nil {
		t.Fatal(err)
	}
	guest := app.NewToken(t, account.TokenSpec{User: "guest", Name: "test"})
	isFault(t, app.Post(t, "/v1/chat/completions", chatBody, "Authorization", "Bearer "+guest, "X-Realms-Channel", "other"), fault{403, "permission_error", "forbidden", ""})
	isFault(t, app.Post(t, "/v1/chat/completions", chatBody, "X-Realms-Channel", "none"), fault{400, "invalid_request_error", "", ""})
	isFault(t, app.Post(t, "/v1/chat/completions", chatBody, "X-Realms-Channel", second.BaseURL), fault{400, "invalid_request_error", "", ""})
	if main.Count()+second.Count() != 0 {
		t.Errorf("%d requests reached an upstream", main.Count()+second.Count())
	}
	if a := app.Post(t, "/v1/chat/completions", chatBody, "X-Realms-Channel", "other"); a.StatusCode != http.StatusOK || second.Count() != 1 {
		t.Errorf("an administrator's choice: %d, %d requests", a.StatusCode, second.Count())
	}
	if second.Count() == 1 && second.Requests()[0].Header.Get("X-Realms-Channel") != "" {
		t.Error("the upstream hears of the choice")
	}
}
