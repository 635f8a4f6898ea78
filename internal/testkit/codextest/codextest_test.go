package codextest_test

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// got is an answer.
type got struct {
	status int
	header http.Header
	body   string
}

// call is the method and path of a request.
type call struct{ method, path string }

var (
	responses = call{http.MethodPost, codextest.PathResponses}
	usage     = call{http.MethodGet, codextest.PathUsage}
)

// ask sends a request as the default account would; header is name, value, …, and
// an empty value takes the name away.
func ask(t *testing.T, f *codextest.Fake, c call, token, body string, header ...string) got {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), c.method, f.Server.URL+c.path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"Authorization": {"Bearer " + token}, "Chatgpt-Account-Id": {codextest.AccountID}, "Originator": {"realms"},
		"Accept": {"text/event-stream"}, "Content-Type": {"application/json"},
	}
	for i := 0; i < len(header); i += 2 {
		if req.Header.Del(header[i]); header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return got{res.StatusCode, res.Header, string(text)}
}

// good is a body that breaks no rule.
const good = `{"model":"gpt-5.5","stream":true,"store":false,"instructions":"","input":[{"role":"user","content":[{"type":"input_text","text":"hi"}]}]}`

func signedIn(t *testing.T, o codextest.Options) (*codextest.Fake, string) {
	t.Helper()
	f := codextest.Start(t, o)
	return f, f.SignIn(t, codextest.AccountID).Access.Reveal()
}

func TestBodyRules(t *testing.T) {
	f, token := signedIn(t, codextest.Options{})
	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Models = []string{"gpt-5.5"} })
	with := func(field string) string { return strings.Replace(good, `"store":false`, `"store":false,`+field, 1) }
	for _, tc := range []struct{ name, body, says string }{
		{"good", good, ""},
		{"priority", with(`"service_tier":"priority"`), ""},
		{"store left out", strings.Replace(good, `"store":false,`, "", 1), `{"detail":"Store must be set to false"}`},
		{"stored", strings.Replace(good, `"store":false`, `"store":true`, 1), `{"detail":"Store must be set to false"}`},
		{"whole", strings.Replace(good, `"stream":true,`, "", 1), `{"detail":"Stream must be set to true"}`},
		{"no instructions", strings.Replace(good, `"instructions":"",`, "", 1), `{"detail":"Instructions are required"}`},
		{"null instructions", strings.Replace(good, `"instructions":""`, `"instructions":null`, 1), `{"detail":"Instructions are required"}`},
		{"temperature", with(`"temperature":1`), `{"detail":"Unsupported parameter: temperature"}`},
		{"max_output_tokens", with(`"max_output_tokens":1`), `{"detail":"Unsupported parameter: max_output_tokens"}`},
		{"metadata", with(`"metadata":{}`), `{"detail":"Unsupported parameter: metadata"}`},
		{"tier", with(`"service_tier":"flex"`), `{"detail":"Unsupported service_tier: flex"}`},
		{"previous", with(`"previous_response_id":"resp_1"`), `"code":"previous_response_not_found"},"status":400}`},
		{"input text", `{"model":"gpt-5.5","stream":true,"store":false,"instructions":"","input":"hi"}`, `{"detail":"Input must be a list"}`},
		{"system item", strings.Replace(good, `"role":"user"`, `"role":"system"`, 1), `{"detail":"System messages are not allowed"}`},
		{"reference", strings.Replace(good, `"role":"user"`, `"type":"item_reference","id":"rs_1"`, 1), `Item with id 'rs_1' not found`},
		{"long id", strings.Replace(good, `"role":"user"`, `"role":"user","id":"`+strings.Repeat("a", 65)+`"`, 1), `"code":"string_above_max_length"},"status":400}`},
		{"model", strings.Replace(good, "gpt-5.5", "gpt-9", 1), `{"type":"error","status":400,"error":{"type":"invalid_request_error","message":"The 'gpt-9' model is not supported when using Codex with a ChatGPT account."}}`},
		{"no JSON", "hello", `{"detail":"Invalid JSON"}`},
	} {
		a := ask(t, f, responses, token, tc.body)
		switch {
		case tc.says == "" && (a.status != 200 || !strings.Contains(a.body, "event: response.completed")):
			t.Errorf("%s: %d %s", tc.name, a.status, a.body)
		case tc.says != "" && (a.status != 400 || !strings.Contains(a.body, tc.says) || !json.Valid([]byte(a.body))):
			t.Errorf("%s: %d %s", tc.name, a.status, a.body)
		}
	}
	// The CLI sends no instructions.
	if a := ask(t, f, responses, token, strings.Replace(good, `"instructions":"",`, "", 1), "Originator", "codex_exec"); a.status != 200 {
		t.Errorf("the CLI's body: %d %s", a.status, a.body)
	}
}

func TestWhoMayAsk(t *testing.T) {
	now := time.Now()
	f, token := signedIn(t, codextest.Options{AccessLife: time.Hour, Now: func() time.Time { return now }})
	for _, tc := range []struct {
		name, token string
		status      int
		says        string
		header      []string
	}{
		{"nobody", "", 401, `{"detail":"Unauthorized"}`, []string{"Authorization", ""}},
		{"a stranger", "abc", 401, "token_invalidated", nil},
		{"another account", token, 403, "account_mismatch", []string{"Chatgpt-Account-Id", "other"}},
		{"no originator", token, 400, "Missing originator", []string{"Originator", ""}},
		{"no stream wanted", token, 406, "Not acceptable", []string{"Accept", "application/json"}},
		{"no type", token, 415, "media type", []string{"Content-Type", ""}},
	} {
		if a := ask(t, f, responses, tc.token, good, tc.header...); a.status != tc.status || !strings.Contains(a.body, tc.says) {
			t.Errorf("%s: %d %s", tc.name, a.status, a.body)
		}
	}
	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Deactivated = true })
	if a := ask(t, f, responses, token, good); a.status != 402 || a.body != `{"detail":{"code":"deactivated_workspace"}}` {
		t.Errorf("deactivated: %d %s", a.status, a.body)
	}
	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Deactivated, a.NotIncluded = false, true })
	if a := ask(t, f, responses, token, good); a.status != 429 || !strings.Contains(a.body, "usage_not_included") {
		t.Errorf("a plan without Codex: %d %s", a.status, a.body)
	}
	f.Invalidate(codextest.AccountID)
	if a := ask(t, f, usage, token, ""); a.status != 401 || !strings.Contains(a.body, "token_invalidated") {
		t.Errorf("taken back: %d %s", a.status, a.body)
	}
	later := f.SignIn(t, codextest.AccountID).Access.Reveal()
	now = now.Add(time.Hour)
	if a := ask(t, f, usage, later, ""); a.status != 401 || !strings.Contains(a.body, "token_expired") {
		t.Errorf("expired: %d %s", a.status, a.body)
	}
}

func TestLimits(t *testing.T) {
	f, token := signedIn(t, codextest.Options{})
	a := ask(t, f, responses, token, good)
	for name, want := range map[string]string{
		"X-Codex-Primary-Used-Percent": "12.5", "X-Codex-Primary-Window-Minutes": "300", "X-Codex-Secondary-Window-Minutes": "10080",
		"X-Codex-Plan-Type": "plus", "X-Codex-Credits-Has-Credits": "False", "X-Codex-Turn-State": codextest.TurnState,
	} {
		if a.header.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, a.header.Get(name), want)
		}
	}
	resets := time.Now().Add(time.Hour).Truncate(time.Second)
	f.Change(codextest.AccountID, func(a *codextest.Account) {
		a.Windows = append(a.Windows, realm.CodexWindow{Limit: "bengalfox", Length: time.Hour, UsedPercent: 100, ResetsAt: resets})
	})
	a = ask(t, f, responses, token, good)
	if a.status != 200 || a.header.Get("X-Codex-Bengalfox-Primary-Used-Percent") != "100" || a.header.Get("X-Codex-Bengalfox-Limit-Name") != "bengalfox" {
		t.Errorf("another family: %d %v", a.status, a.header)
	}
	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows[1].UsedPercent, a.Windows[1].ResetsAt = 100, resets })
	a = ask(t, f, responses, token, good)
	var body struct {
		Error struct {
			Type     string
			ResetsAt int64 `json:"resets_at"`
		}
	}
	if err := json.Unmarshal([]byte(a.body), &body); err != nil || a.status != 429 || body.Error.Type != "usage_limit_reached" || body.Error.ResetsAt != resets.Unix() {
		t.Errorf("used up: %d %s", a.status, a.body)
	}
	if a.header.Get("X-Codex-Secondary-Used-Percent") != "100" || a.header.Get("Retry-After") != "" {
		t.Errorf("the headers of a plan that is used up: %v", a.header)
	}
}

func TestWhatAModelSays(t *testing.T) {
	f, token := signedIn(t, codextest.Options{EmptyOutput: true, Script: testkit.Sequence(
		testkit.Say("one ", "two"), testkit.FailedEvent("server_is_overloaded", "no room"), testkit.RateLimited("3"),
		testkit.Insert(1, codextest.RateLimitsEvent(codextest.DefaultAccount())),
	)})
	a := ask(t, f, responses, token, good)
	_, last, _ := strings.Cut(a.body, "event: response.completed\ndata: ")
	var completed struct {
		Response struct {
			Output []any
			Usage  struct {
				InputTokens int `json:"input_tokens"`
			}
		}
	}
	if err := json.Unmarshal([]byte(last), &completed); err != nil || completed.Response.Output == nil || len(completed.Response.Output) != 0 || completed.Response.Usage.InputTokens != testkit.DefaultTokens.Input {
		t.Errorf("the last event is %s (%v)", last, err)
	}
	if !strings.Contains(a.body, `"text":"one two"`) || a.header.Get("Content-Type") != "text/event-stream; charset=utf-8" {
		t.Errorf("the stream is %s", a.body)
	}
	if a := ask(t, f, responses, token, "{}"); a.status != 400 {
		t.Errorf("a bad one: %d", a.status) // and it does not count
	}
	if a := ask(t, f, responses, token, good); !strings.Contains(a.body, "event: response.failed") {
		t.Errorf("the second: %s", a.body)
	}
	if a := ask(t, f, responses, token, good); a.status != 429 || a.header.Get("Retry-After") != "3" || a.header.Get("X-Codex-Primary-Used-Percent") == "" {
		t.Errorf("the third: %d %v", a.status, a.header)
	}
	if a := ask(t, f, responses, token, good); !strings.Contains(a.body, "event: codex.rate_limits\ndata: {") {
		t.Errorf("the fourth: %s", a.body)
	}
}

func TestToolTurn(t *testing.T) {
	f, token := signedIn(t, codextest.Options{Script: testkit.Always(codextest.ToolTurn("done"))})
	asks := strings.Replace(good, `"hi"`, `"`+codextest.AskForTool+`touch x"`, 1)
	asks = strings.Replace(asks, `"store"`, `"tools":[{"type":"function","name":"exec_command"}],"store"`, 1)
	if a := ask(t, f, responses, token, asks); !strings.Contains(a.body, `"name":"exec_command"`) || !strings.Contains(a.body, `touch x`) {
		t.Errorf("the call: %s", a.body)
	}
	result := strings.Replace(asks, `"input":[`, `"input":[{"type":"function_call_output","call_id":"call_fake","output":""},`, 1)
	if a := ask(t, f, responses, token, result); !strings.Contains(a.body, `"text":"done"`) {
		t.Errorf("after the call: %s", a.body)
	}
	if a := ask(t, f, responses, token, good); !strings.Contains(a.body, `"text":"Hello from the fake upstream."`) {
		t.Errorf("no call asked for: %s", a.body)
	}
}

func TestCompaction(t *testing.T) {
	f, token := signedIn(t, codextest.Options{})
	a := ask(t, f, call{"POST", codextest.PathCompact}, token, `{"model":"gpt-5.5","input":[],"instructions":""}`, "Accept", "application/json")
	if a.status != 200 || strings.Count(a.body, `"type":"compaction"`) != 1 {
		t.Errorf("compact: %d %s", a.status, a.body)
	}
	a = ask(t, f, responses, token, strings.Replace(good, `"input":[`, `"input":[{"type":"compaction_trigger"},`, 1))
	if strings.Contains(a.body, "compaction") {
		t.Errorf("a trigger that is not the last item: %s", a.body)
	}
	a = ask(t, f, responses, token, strings.Replace(good, `}]}]}`, `}]},{"type":"compaction_trigger"}]}`, 1))
	if strings.Count(a.body, "event: response.output_item.done") != 1 || !strings.Contains(a.body, `"item":{"type":"compaction"`) {
		t.Errorf("a trigger: %s", a.body)
	}
}

func TestModels(t *testing.T) {
	f, token := signedIn(t, codextest.Options{})
	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Models = []string{"one", "two"} })
	a := ask(t, f, call{"GET", codextest.PathModels + "?client_version=0.0.0"}, token, "")
	etag := a.header.Get("Etag")
	if a.status != 200 || etag == "" || !strings.Contains(a.body, `"slug":"two"`) || !strings.Contains(a.body, "9007199254740993") {
		t.Errorf("%d %v %s", a.status, a.header, a.body)
	}
	if a := ask(t, f, call{"GET", codextest.PathModels + "?client_version=0.0.0"}, token, "", "If-None-Match", etag); a.status != 304 || a.body != "" {
		t.Errorf("the same again: %d %s", a.status, a.body)
	}
	if a := ask(t, f, call{"GET", codextest.PathModels}, token, ""); a.status != 400 {
		t.Errorf("without a version: %d", a.status)
	}
	if a := ask(t, f, responses, token, strings.Replace(good, "gpt-5.5", "one", 1)); a.header.Get("X-Models-Etag") != etag {
		t.Errorf("a turn names the catalogue %q, not %q", a.header.Get("X-Models-Etag"), etag)
	}
}

func TestKnobs(t *testing.T) {
	f, token := signedIn(t, codextest.Options{})
	f.Instead(codextest.PathResponses, codextest.Overloaded(), nil, codextest.Challenge())
	for i, want := range []int{503, 200, 403, 200} {
		if a := ask(t, f, responses, token, good); a.status != want {
			t.Errorf("request %d: %d, want %d", i, a.status, want)
		}
	}
	f.Always(codextest.PathUsage, codextest.TokenInvalidated())
	for range 2 {
		if a := ask(t, f, usage, token, ""); a.status != 401 {
			t.Errorf("always: %d", a.status)
		}
	}
	f.Always(codextest.PathUsage, nil)

	var seen atomic.Int32
	f.Hook(codextest.PathUsage, func(*testkit.Request) { seen.Add(1) })
	release := f.Block(codextest.PathUsage)
	answers := make(chan got, 2)
	for range 2 {
		go func() { answers <- ask(t, f, usage, token, "") }()
	}
	f.Waiting(t, codextest.PathUsage, 2)
	if seen.Load() != 0 || len(answers) != 0 {
		t.Error("a request went on while its path was blocked")
	}
	release()
	release()
	for range 2 {
		if a := <-answers; a.status != 200 {
			t.Errorf("released: %d %s", a.status, a.body)
		}
	}
	if seen.Load() != 2 || f.Calls(codextest.PathUsage) != 4 || f.Calls(codextest.PathResponses) != 4 {
		t.Errorf("%d hooks, %d and %d calls", seen.Load(), f.Calls(codextest.PathUsage), f.Calls(codextest.PathResponses))
	}
}

// A code that comes a second time ends the sign-in that it gave.
func TestACodeServesOnce(t *testing.T) {
	f, _ := signedIn(t, codextest.Options{})
	const verifier = "a-verifier-of-more-than-forty-three-characters"
	sum := sha256.Sum256([]byte(verifier))
	challenge := base64.RawURLEncoding.EncodeToString(sum[:])
	callback := f.Authorize(t, f.Issuer()+codextest.PathAuthorize+"?response_type=code&client_id="+codextest.ClientID+
		"&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback&scope=openid+offline_access&code_challenge="+challenge+
		"&code_challenge_method=S256&state="+strings.Repeat("s", 32))
	_, rest, _ := strings.Cut(callback, "code=")
	code, _, _ := strings.Cut(rest, "&")
	form := "grant_type=authorization_code&client_id=" + codextest.ClientID + "&code=" + code +
		"&redirect_uri=http%3A%2F%2Flocalhost%3A1455%2Fauth%2Fcallback&code_verifier=" + verifier
	first := ask(t, f, call{"POST", codextest.PathToken}, "", form, "Content-Type", "application/x-www-form-urlencoded")
	var tokens struct {
		Refresh string `json:"refresh_token"`
	}
	if err := json.Unmarshal([]byte(first.body), &tokens); err != nil || !f.Serves(realm.Secret(tokens.Refresh)) {
		t.Fatalf("%d (%v)", first.status, err)
	}
	again := ask(t, f, call{"POST", codextest.PathToken}, "", form, "Content-Type", "application/x-www-form-urlencoded")
	if again.status != 400 || !strings.Contains(again.body, "invalid_grant") || f.Serves(realm.Secret(tokens.Refresh)) {
		t.Errorf("the second time: %d %s", again.status, again.body)
	}
}
