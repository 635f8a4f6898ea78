package clients

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/openai/openai-go/v3"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
	"realms/internal/testkit/testapp"
)

// accountGateway is a Realms whose only channel is the operator's own ChatGPT
// account, with something in front of it that sees what the clients send.
type accountGateway struct {
	*gateway
	app  *testapp.App
	fake *codextest.Fake

	mu   sync.Mutex
	sent []sent
}

// sent is a request as the client sent it, and the header of what it got.
type sent struct {
	method, path string
	header       http.Header
	body         []byte
	status       int
	answered     http.Header
}

// The fake's account says what testkit's upstreams do.
const (
	saidAccount = "Hello from the fake upstream."
	modelLite   = "gpt-6.1-sol" // Codex CLI sends it no tools of the ordinary kind
)

// startAccountGateway runs Realms with an account until the test ends. Its URL leads
// through the recorder.
func startAccountGateway(t *testing.T, o codextest.Options) *accountGateway {
	t.Helper()
	fake := codextest.Start(t, o)
	channel := testapp.CodexChannel("mine", "main")
	var models []realm.Model
	channel.Bindings = nil
	for _, name := range []string{modelGood, modelLite} {
		models = append(models, realm.Model{Name: name, OwnedBy: "test", Enabled: true})
		channel.Bindings = append(channel.Bindings, realm.Binding{Model: name, Upstream: name})
	}
	var log bytes.Buffer
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the log of Realms:\n%s", log.Bytes())
		}
	})
	app := testapp.Start(t, testapp.Options{Models: models, Channels: []catalog.ChannelSpec{channel}, Codex: fake, Log: &log})
	g := &accountGateway{app: app, fake: fake}
	g.gateway = &gateway{URL: g.recorder(t) + "/v1", Token: app.Token, upstream: fake.Server}
	return g
}

// recorder stands between the clients and Realms, and changes nothing.
func (g *accountGateway) recorder(t *testing.T) string {
	t.Helper()
	target, err := url.Parse(g.app.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target); r.Out.Host = r.In.Host },
		FlushInterval: -1, Transport: transport,
		ModifyResponse: func(res *http.Response) error {
			g.mu.Lock()
			defer g.mu.Unlock()
			at := res.Request.Context().Value(sentKey{}).(int)
			g.sent[at].status, g.sent[at].answered = res.StatusCode, res.Header.Clone()
			return nil
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client is gone
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		g.mu.Lock()
		g.sent = append(g.sent, sent{method: r.Method, path: r.URL.RequestURI(), header: r.Header.Clone(), body: body})
		at := len(g.sent) - 1
		g.mu.Unlock()
		proxy.ServeHTTP(w, r.WithContext(withSent(r.Context(), at)))
	}))
	t.Cleanup(func() {
		server.Close()
		transport.CloseIdleConnections()
	})
	return server.URL
}

// turns are the client's POST requests to /responses, and what the backend got of
// each.
func (g *accountGateway) turns(t *testing.T) (client []sent, backend []*testkit.Request) {
	t.Helper()
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.sent {
		if s.method == http.MethodPost && strings.HasSuffix(s.path, "/responses") {
			client = append(client, s)
		}
	}
	backend = g.fake.Requests(codextest.PathResponses)
	if len(client) != len(backend) || len(client) == 0 {
		t.Fatalf("the client sent %d requests, the backend got %d", len(client), len(backend))
	}
	return client, backend
}

// requestPage is all rows that a test here makes.
var requestPage = store.RequestPage{Limit: 1000}

// asError is what the SDK for Go says of a refusal.
func asError(t *testing.T, err error) *openai.Error {
	t.Helper()
	var e *openai.Error
	if !errors.As(err, &e) {
		t.Fatalf("the error is %v", err)
	}
	return e
}
