package upstream_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/upstream"
)

var (
	testToken   = strings.Repeat("hdr", 8) + "." + strings.Repeat("Payl0ad", 40) + "." + strings.Repeat("s1G", 20)
	testAccount = "7f3c" + strings.Repeat("-4b1d", 5)
)

// backend is a Codex backend of a test's: it notes what it is asked.
type backend struct {
	*httptest.Server
	mu   sync.Mutex
	asks []ask
}

type ask struct {
	Method, URI, Body string
	Header            http.Header
}

func (b *backend) asked() []ask {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.asks)
}

func newBackend(t *testing.T, answer http.HandlerFunc) *backend {
	t.Helper()
	b := &backend{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		b.mu.Lock()
		b.asks = append(b.asks, ask{r.Method, r.RequestURI, string(body), r.Header.Clone()})
		b.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(b.Close)
	return b
}

func streams(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: {\"type\":\"response.completed\",\"response\":{\"id\":\"r\"}}\n\n")
}

// codex is a request for responses through an account.
func codex(path string) *upstream.Exchange {
	const text = `{"model":"gpt-5.5","input":[],"stream":true,"store":false}`
	x := &upstream.Exchange{
		Attempt: realm.Attempt{
			Number: 1, Model: "gpt-5.5",
			Channel:    &realm.Channel{Name: "codex", Type: realm.CodexOAuth},
			Endpoint:   &realm.Endpoint{},
			Credential: &realm.Credential{ID: 7, Name: "mine"},
		},
		API: realm.APIResponses, Method: http.MethodPost, Path: path,
		Header: http.Header{}, ContentType: "application/json", Body: newPayload(text), Length: int64(len(text)), Stream: true, Hops: 2,
		Identity: &realm.CodexIdentity{AccessToken: realm.Secret(testToken), AccountID: testAccount},
		Timeouts: upstream.Timeouts{Connect: 3 * time.Second, FirstByte: 10 * time.Second, FirstEvent: 10 * time.Second, Idle: 10 * time.Second},
	}
	if path == "/responses/compact" {
		x.API, x.Stream = realm.APICompact, false
	}
	return x
}

func codexExecutor(t *testing.T, b *backend) *upstream.Executor {
	return newExecutor(t, upstream.Options{CodexBackend: b.URL + "/backend-api", Version: "1.2.3"})
}

// cliHeader is what Codex CLI 0.169 sends to a provider.
func cliHeader() http.Header {
	const thread = "019b-thread"
	return http.Header{
		"Authorization": {"Bearer client's"}, "Chatgpt-Account-Id": {"client's"}, "Cookie": {"a=b"}, "X-Oai-Attestation": {"device"}, "X-Realms-Hops": {"2"},
		"Originator": {"codex_exec"}, "User-Agent": {"codex_exec/0.169.0 (Debian 12.0.0; x86_64) dumb (codex_exec; 0.169.0)"}, "Version": {"0.169.0"},
		"Session-Id": {thread}, "Thread-Id": {thread}, "X-Client-Request-Id": {thread}, "Openai-Beta": {"x"}, "Accept": {"text/event-stream"},
		"X-Codex-Window-Id": {thread + ":0"}, "X-Codex-Turn-Metadata": {`{"a":1}`}, "X-Codex-Beta-Features": {"remote_compaction_v2"},
		"X-Codex-Routing-Hint": {"model=gpt-5.5"}, "X-Codex-Turn-State": {"turn"}, "X-Openai-Internal-Codex-Responses-Lite": {"true"},
		"X-Openai-Account-Routing-Override": {"us"}, "X-Stainless-Lang": {"rust"}, "Content-Encoding": {"zstd"},
	}
}

// TestCodexWire: every header that goes to the backend, and no other.
func TestCodexWire(t *testing.T) {
	const length = "58"
	ours := func(more ...string) http.Header {
		h := http.Header{
			"Authorization": {"Bearer " + testToken}, "Chatgpt-Account-Id": {testAccount}, "Accept": {"text/event-stream"}, "Accept-Encoding": {"identity"},
			"Content-Type": {"application/json"}, "Content-Length": {length}, "Originator": {"realms"}, "User-Agent": {"realms/1.2.3"},
		}
		for i := 0; i < len(more); i += 2 {
			if h[more[i]] = []string{more[i+1]}; more[i+1] == "" {
				delete(h, more[i])
			}
		}
		return h
	}
	kept := func(h http.Header, drop ...string) http.Header {
		for _, name := range slices.Concat(drop, []string{"Cookie", "X-Oai-Attestation", "X-Realms-Hops", "X-Openai-Account-Routing-Override", "X-Stainless-Lang", "Content-Encoding"}) {
			delete(h, name)
		}
		for name, v := range ours("Originator", "", "User-Agent", "") {
			h[name] = v
		}
		return h
	}
	for name, tc := range map[string]struct {
		edit func(*upstream.Exchange)
		want http.Header
	}{
		"an sdk": {func(x *upstream.Exchange) {
			x.Header, x.Session = clientHeader(), "cache-key"
			for _, name := range []string{"Session-Id", "Session_id"} {
				delete(x.Header, name)
			}
		}, ours("Session-Id", "cache-key", "X-Codex-Turn-State", "turn")},
		"an sdk with a session":      {func(x *upstream.Exchange) { x.Header.Set("Session-Id", "mine"); x.Session = "cache-key" }, ours("Session-Id", "mine")},
		"an old cli's session":       {func(x *upstream.Exchange) { x.Header.Set("Session_id", "old") }, ours("Session-Id", "old")},
		"a session of control":       {func(x *upstream.Exchange) { x.Session = "a\r\nB: c" }, ours()},
		"a session without an end":   {func(x *upstream.Exchange) { x.Session = strings.Repeat("x", 257) }, ours()},
		"codex cli":                  {func(x *upstream.Exchange) { x.Header = cliHeader() }, kept(cliHeader())},
		"codex cli, another account": {func(x *upstream.Exchange) { x.Header, x.Attempt.Leaves = cliHeader(), true }, kept(cliHeader(), "X-Codex-Turn-State")},
		"codex cli, another model":   {func(x *upstream.Exchange) { x.Header, x.Attempt.Model = cliHeader(), "gpt-6" }, kept(cliHeader(), "X-Codex-Routing-Hint")},
		"codex by its user agent": {func(x *upstream.Exchange) {
			x.Header = http.Header{"User-Agent": {"Codex-TUI/1"}, "Version": {"1"}}
		}, ours("User-Agent", "Codex-TUI/1", "Version", "1")},
		"fedramp": {func(x *upstream.Exchange) { x.Identity.FedRAMP = true }, ours("X-Openai-Fedramp", "true")},
		"the channel's own headers": {func(x *upstream.Exchange) {
			x.Header = http.Header{"Session-Id": {"s"}, "X-Codex-Turn-State": {"turn"}}
			x.Attempt.Channel.Settings.DeleteHeaders = []string{"User-Agent", "session-id", "Authorization", "Accept"}
			x.Attempt.Channel.Settings.SetHeaders = map[string]realm.Secret{
				"Originator": "operators", "Version": "9", "Authorization": "Bearer other", "Chatgpt-Account-Id": "other", "Cookie": "a=b", "X-Openai-Fedramp": "true",
				"X-Oai-Attestation": "fake", "X-Realms-Hops": "0", "Accept": "text/plain", "Content-Type": "text/plain", "Accept-Encoding": "br", "X-Codex-Beta-Features": "b",
			}
		}, ours("Originator", "operators", "Version", "9", "X-Codex-Turn-State", "turn", "X-Codex-Beta-Features", "b")},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, streams)
			x := codex("/responses")
			tc.edit(x)
			before := x.Header.Clone()
			if _, err := readAll(mustDo(t, codexExecutor(t, b), x)); err != nil {
				t.Fatal(err)
			}
			got := b.asked()[0]
			if diff := cmp.Diff(tc.want, got.Header); diff != "" {
				t.Errorf("header at the backend (-want +got):\n%s", diff)
			}
			if got.Method != "POST" || got.URI != "/backend-api/codex/responses" {
				t.Errorf("%s %s", got.Method, got.URI)
			}
			if diff := cmp.Diff(before, x.Header); diff != "" {
				t.Errorf("the client's header was changed:\n%s", diff)
			}
		})
	}
	t.Run("compact", func(t *testing.T) {
		b := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"output":[]}`)
		})
		x := codex("/responses/compact")
		x.RawQuery = "access_token=x&client_version=1"
		if got, err := readAll(mustDo(t, codexExecutor(t, b), x)); err != nil || got != `{"output":[]}` {
			t.Fatal(got, err)
		}
		got := b.asked()[0]
		if diff := cmp.Diff(ours("Accept", "application/json"), got.Header); diff != "" || got.URI != "/backend-api/codex/responses/compact?client_version=1" {
			t.Errorf("%s, header at the backend (-want +got):\n%s", got.URI, diff)
		}
	})
}

func TestIsCodexClient(t *testing.T) {
	for value, want := range map[string]bool{"codex_cli_rs": true, "codex-tui": true, "Codex Desktop": true, "codex": true, "code": false, "": false, "my codex": false} {
		for _, name := range []string{"Originator", "User-Agent"} {
			if got := upstream.IsCodexClient(http.Header{name: {value}}); got != want {
				t.Errorf("%s %q: %v", name, value, got)
			}
		}
	}
	if upstream.IsCodexClient(nil) {
		t.Error("nobody is a Codex client")
	}
}

// TestCodexWithoutIdentity: no connection is made for what cannot be shown.
func TestCodexWithoutIdentity(t *testing.T) {
	for name, id := range map[string]*realm.CodexIdentity{
		"none": nil, "no token": {AccountID: "a"}, "no account": {AccessToken: "t"}, "broken token": {AccessToken: "a\nb", AccountID: "a"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, streams)
			b.Close() // dialling it would fail otherwise
			x := codex("/responses")
			x.Identity = id
			f := mustFail(t, codexExecutor(t, b), x)
			want := verdict{realm.CauseAuth, realm.ScopeCredential, realm.NextOther}
			if verdictOf(f.Outcome) != want || f.Outcome.Err == nil || f.Outcome.Final {
				t.Errorf("outcome %+v", f.Outcome)
			}
			if p, _ := x.Body.(*payload); p.closed.Load() == 0 {
				t.Error("the body was not closed")
			}
		})
	}
}

// TestCodexBackendAddress: tokens go to the provider, or to a test on this machine.
func TestCodexBackendAddress(t *testing.T) {
	for address, ok := range map[string]bool{
		"": true, upstream.DefaultCodexBackend: true, "http://127.0.0.1:8080/backend-api": true, "http://[::1]:1/x/": true, "https://127.0.0.9": true,
		"https://chatgpt.com.evil.test/backend-api": false, "https://chatgpt.com/other": false, "http://localhost:1": false, "http://10.0.0.1": false,
		"http://127.0.0.1@evil.test": false, "http://127.0.0.1?x": false, "127.0.0.1:80": false, "https://0.0.0.0": false,
	} {
		if err := upstream.CheckCodexBackend(address); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
	e := newExecutor(t, upstream.Options{CodexBackend: "http://192.0.2.1/backend-api"})
	f := mustFail(t, e, codex("/responses"))
	if f.Outcome.Cause != realm.CauseConnect || !strings.Contains(f.Outcome.Err.Error(), "loopback") {
		t.Errorf("outcome = %+v", f.Outcome)
	}
}

// TestCodexPath: a client's path leads nowhere else.
func TestCodexPath(t *testing.T) {
	b := newBackend(t, streams)
	e := codexExecutor(t, b)
	for _, path := range []string{"/../wham/usage", "/responses/%2e%2e/x", "responses", "//evil.test/x", "/responses?x"} {
		if f := mustFail(t, e, codex(path)); f.Status != http.StatusNotFound {
			t.Errorf("%s: %+v", path, f)
		}
	}
	if n := len(b.asked()); n != 0 {
		t.Errorf("%d requests came through", n)
	}
}

// TestCodexHeadersDown: what Codex reads comes down; what tells of the account, or
// would make Codex warn its user, does not. Elsewhere none of it does.
func TestCodexHeadersDown(t *testing.T) {
	resets := time.Now().Add(time.Hour).Truncate(time.Second)
	limits := map[string]string{
		"X-Codex-Primary-Used-Percent": "12.5", "X-Codex-Primary-Window-Minutes": "300", "X-Codex-Primary-Reset-At": fmt.Sprint(resets.Unix()),
		"X-Codex-Plan-Type": "plus", "X-Codex-Turn-State": "turn", "X-Models-Etag": `"e"`, "Etag": `W/"f"`, "X-Reasoning-Included": "true",
	}
	var status int
	b := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for name, value := range limits {
			h.Set(name, value)
		}
		for name, value := range map[string]string{
			"Openai-Model": "gpt-4", "Openai-Organization": "org", "Set-Cookie": "__cf_bm=1", "Cf-Ray": "ray", "X-Request-Id": "r", "X-Codex-Account": "is " + testAccount,
			"X-Codex-Echo": testToken, "X-Other": "x", "Content-Type": "application/json",
		} {
			h.Set(name, value)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"detail":"Bad."}`)
	})
	e := codexExecutor(t, b)
	want := http.Header{"Content-Type": {"application/json"}}
	for name, value := range limits {
		want[name] = []string{value}
	}
	windows := []realm.CodexWindow{{Length: 5 * time.Hour, UsedPercent: 12.5, ResetsAt: resets}}
	status = 200
	res := mustDo(t, e, codex("/responses"))
	if _, err := readAll(res); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, res.Header); diff != "" {
		t.Errorf("header of an answer (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(windows, res.Limits.Windows); diff != "" || res.Limits.Plan != "plus" || res.Limits.At.IsZero() {
		t.Errorf("limits %+v (-want +got):\n%s", res.Limits, diff)
	}
	status = 400
	f := mustFail(t, e, codex("/responses"))
	if diff := cmp.Diff(want, f.Header); diff != "" {
		t.Errorf("header of a failure (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(windows, f.Limits.Windows); diff != "" {
		t.Errorf("limits of a failure (-want +got):\n%s", diff)
	}
	x := codex("/responses")
	x.Attempt.Channel.Type, x.Attempt.Endpoint.BaseURL, status = realm.OpenAICompatible, b.URL, 200
	res = mustDo(t, e, x)
	if _, err := readAll(res); err != nil {
		t.Fatal(err)
	}
	want = http.Header{"Content-Type": {"application/json"}, "X-Codex-Turn-State": {"turn"}}
	if diff := cmp.Diff(want, res.Header); diff != "" || res.Limits.Windows != nil {
		t.Errorf("limits %+v, header elsewhere (-want +got):\n%s", res.Limits, diff)
	}
	if got := b.asked()[2].Header; got.Get("Chatgpt-Account-Id") != "" || got.Get("Authorization") != "" {
		t.Errorf("an account was shown elsewhere: %v", got)
	}
}

// TestCodexCookies: the firewall's cookies come back for the same credential alone,
// and are forgotten with it.
func TestCodexCookies(t *testing.T) {
	var set []string
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) {
		for _, c := range set {
			w.Header().Add("Set-Cookie", c)
		}
		streams(w, r)
	})
	e := codexExecutor(t, b)
	send := func(credential realm.ID) string {
		x := codex("/responses")
		x.Attempt.Credential.ID = credential
		if _, err := readAll(mustDo(t, e, x)); err != nil {
			t.Fatal(err)
		}
		all := b.asked()
		cookies := strings.Split(all[len(all)-1].Header.Get("Cookie"), "; ")
		slices.Sort(cookies)
		return strings.Join(cookies, "; ")
	}
	set = []string{
		"__cf_bm=one; path=/; HttpOnly", "_cfuvid=two; Path=/other", "__cflb=" + strings.Repeat("x", 5000), "session=secret; path=/", "__Secure-next-auth=x",
		"__cflb=away; Domain=evil.test", "cf_clearance=solved",
	}
	if got := send(1); got != "" {
		t.Errorf("first: %q", got)
	}
	set = nil
	if got := send(1); got != "__cf_bm=one; _cfuvid=two" {
		t.Errorf("second: %q", got)
	}
	if got := send(2); got != "" {
		t.Errorf("another credential: %q", got)
	}
	set = []string{"__cf_bm=three; path=/", "_cfuvid=; Max-Age=0"}
	send(1)
	set = nil
	if got := send(1); got != "__cf_bm=three" {
		t.Errorf("renewed: %q", got)
	}
	e.Retain(snapshotWith(1, 2))
	if got := send(1); got != "__cf_bm=three" {
		t.Errorf("still in use: %q", got)
	}
	e.Retain(snapshotWith(2))
	if got := send(1); got != "" {
		t.Errorf("after its credential was gone: %q", got)
	}
}

func snapshotWith(credentials ...realm.ID) *realm.Snapshot {
	ep := &realm.Endpoint{}
	for _, id := range credentials {
		ep.Credentials = append(ep.Credentials, &realm.Credential{ID: id})
	}
	return realm.NewSnapshot(1, nil, nil, []*realm.Channel{{Name: "codex", Type: realm.CodexOAuth, Endpoints: []*realm.Endpoint{ep}}})
}

// TestCodexScrubbed: the backend's words show nothing of the account.
func TestCodexScrubbed(t *testing.T) {
	said := fmt.Sprintf("Bearer %s of %s, account %s, mail me@example.test (or me%%40example.test)", testToken, strings.ToUpper(testToken[30:60]), testAccount)
	for name, body := range map[string]string{
		"detail":  fmt.Sprintf(`{"detail":%q}`, said),
		"code":    fmt.Sprintf(`{"detail":{"code":%q,"message":%q}}`, testAccount, said),
		"error":   fmt.Sprintf(`{"error":{"message":%q,"type":"invalid_request_error"},"status":400}`, said),
		"text":    said,
		"escaped": `{"error":{"message":"\u0040 me\u0040example.test"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(400)
				_, _ = io.WriteString(w, body)
			})
			f := mustFail(t, codexExecutor(t, b), codex("/responses"))
			shown := strings.ToLower(fmt.Sprint(f.Error, string(f.Body), f.Outcome.Err, f.Header))
			for _, secret := range []string{testToken, testAccount} {
				for i := 0; i+12 <= len(secret); i++ {
					if strings.Contains(shown, strings.ToLower(secret[i:i+12])) {
						t.Fatalf("%q is shown: %s", secret[i:i+12], shown)
					}
				}
			}
			if strings.Contains(shown, "me@") || strings.Contains(shown, "example.test") {
				t.Errorf("an address is shown: %s", shown)
			}
		})
	}
	x := codex("/responses")
	for _, text := range []string{testToken, "x " + testAccount, "me@example.test"} {
		if !upstream.Shows(x, []byte(text)) {
			t.Errorf("%q counts as nothing", text)
		}
	}
	if upstream.Shows(x, []byte(`{"npm":"@types/node","n":"a @ b"}`)) {
		t.Error("an at sign alone counts as an address")
	}
}

// TestClient: the client for the sign-in goes the way that the channel's exchanges do,
// and follows nobody.
func TestClient(t *testing.T) {
	b := newBackend(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/elsewhere", http.StatusFound) })
	e := newExecutor(t, upstream.Options{})
	c := e.Client(&realm.ChannelSettings{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.URL+"/oauth/token", strings.NewReader("body"))
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if asked := b.asked(); res.StatusCode != http.StatusFound || len(asked) != 1 || asked[0].Body != "body" || c.Timeout != 30*time.Second || c.Jar != nil {
		t.Errorf("status %d, %v", res.StatusCode, asked)
	}
	for name, set := range map[string]*realm.ChannelSettings{
		"no proxy":        {Proxy: realm.Secret("ftp://user:" + strings.Repeat("pw", 6) + "@127.0.0.1:1")},
		"a proxy is away": {Proxy: realm.Secret("http://user:" + strings.Repeat("pw", 6) + "@127.0.0.1:1")},
		"no such file":    {CAFile: "/nowhere/ca.pem"},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := e.Client(set).Do(req)
			if err == nil {
				_ = res.Body.Close()
				t.Fatal("it went another way")
			}
			if strings.Contains(err.Error(), "pwpw") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
	if n := len(b.asked()); n != 1 {
		t.Errorf("%d requests came through", n)
	}
}
