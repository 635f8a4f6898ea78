package relay

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"realms/internal/catalog"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// aviary hands out canaries: texts that exist nowhere else, to be looked for where
// they must not be.
type aviary struct{ birds map[string]string }

// bird is a canary; what says where it was put.
func (a *aviary) bird(what string) string {
	if a.birds == nil {
		a.birds = map[string]string{}
	}
	b := "canary" + rand.Text()
	a.birds[b] = what
	return b
}

// found fails if a text holds a canary, as it is or encoded.
func (a *aviary) found(t *testing.T, where, text string) {
	t.Helper()
	for b, what := range a.birds {
		for _, form := range []string{b, hex.EncodeToString([]byte(b)), base64.StdEncoding.EncodeToString([]byte(b))[:30], b[4:20]} {
			if strings.Contains(text, form) {
				t.Errorf("%s holds %s", where, what)
				break
			}
		}
	}
}

// clientHeaders is what clients, proxies and attackers send.
var clientHeaders = []string{
	"Cookie", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix", "Forwarded", "Via",
	"X-Real-Ip", "True-Client-Ip", "Cf-Connecting-Ip", "Cf-Ray", "X-Client-Ip", "X-Amzn-Trace-Id", "Idempotency-Key", "X-Idempotency-Key",
	"Openai-Organization", "Openai-Project", "Openai-Safety-Identifier", "Api-Key", "X-Goog-Api-Key", "X-Auth-Token", "X-Csrf-Token",
	"Traceparent", "Tracestate", "Baggage", "X-B3-Traceid", "Sentry-Trace", "Referer", "Origin", "Accept-Language", "Accept-Charset",
	"If-None-Match", "Range", "Te", "Trailer", "Keep-Alive", "Pragma", "Cache-Control", "Priority", "Dnt", "Sec-Fetch-Site", "Sec-Ch-Ua",
	"X-Original-Url", "X-Rewrite-Url", "X-Http-Method-Override", "X-Stainless-Os", "X-Stainless-Retry-Count", "Session-Id", "Session_id",
	"Conversation_id", "X-Session-Affinity", "X_forwarded_for", "X_api_key", "Openai_beta", "User_agent", "X-Custom", "Content-Md5",
	"Content-Language", "Content-Disposition", "Digest", "Signature", "Warning", "From", "Max-Forwards", "Chatgpt-Account-Id", "Originator",
}

// upHeaders is all that an upstream may get.
var upHeaders = []string{"Accept", "Accept-Encoding", "Authorization", "Content-Length", "Content-Type", "Openai-Beta", "User-Agent", "X-Codex-Turn-State", "X-Realms-Hops"}

// upstreamHeaders is what providers, and what stands before them, answer.
var upstreamHeaders = []string{
	"Set-Cookie", "Server", "Via", "Cf-Ray", "Cf-Cache-Status", "Cf-Mitigated", "Openai-Organization", "Openai-Model", "Openai-Project", "Openai-Version",
	"X-Request-Id", "X-Powered-By", "Alt-Svc", "Strict-Transport-Security", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials",
	"Access-Control-Expose-Headers", "Location", "Content-Location", "Www-Authenticate", "Proxy-Authenticate", "X-Codex-Primary-Used-Percent",
	"X-Codex-Plan-Type", "Chatgpt-Account-Id", "Content-Security-Policy", "Link", "Refresh", "Report-To", "Nel", "Server-Timing", "X-Accel-Redirect",
	"X-Accel-Buffering", "X-Sendfile", "Etag", "Warning", "Keep-Alive", "Proxy-Connection", "X-Should-Retry", "X-Realms-Attempts", "X-Realms-Hops",
}

// downHeaders is all that a client may get: the upstream's few, and ours.
var downHeaders = []string{
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Cache-Control", "Content-Length", "Content-Type", "Date", "Openai-Processing-Ms",
	"Retry-After", "X-Accel-Buffering", "X-Codex-Turn-State", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", "X-Realms-Attempts",
	"X-Request-Id", "X-Should-Retry", "Vary",
}

// transcription is a multipart body.
func transcription(t *testing.T) (contentType, body string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	_ = w.WriteField("model", "gpt-5.5")
	file, err := w.CreateFormFile("file", "speech.mp3")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(file, "sound")
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w.FormDataContentType(), b.String()
}

// K-09: of a client's headers and of an upstream's, only those that are listed
// pass, whatever becomes of the request; none of the others, no token and no
// prompt is ever logged, kept in a row or counted in a metric.
func TestHeadersPassByListOnly(t *testing.T) {
	var client, upstream, kept aviary
	log := new(journal)
	up := testkit.NewUpstream(t, testkit.Options{})
	key := "key-of-the-account-" + rand.Text()
	app := testapp.Start(t, testapp.Options{Log: log, Channels: []catalog.ChannelSpec{testapp.Channel("main", up.BaseURL, key)}})
	prompt := kept.bird("the prompt")
	kept.birds[app.Token] = "the client's token"
	multi, sound := transcription(t)
	chat := fmt.Sprintf(`{"model":"gpt-5.5","user":%q,"input":"x","messages":[{"role":"user","content":%q}]}`, kept.bird("the user"), prompt)
	requests := []struct{ method, path, contentType, body string }{
		{http.MethodPost, "/v1/chat/completions", "application/json", chat},
		{http.MethodPost, "/v1/chat/completions", "application/json", `{"stream":true,` + chat[1:]},
		{http.MethodPost, "/v1/responses", "application/json", chat},
		{http.MethodPost, "/v1/responses", "application/json", `{"stream":true,` + chat[1:]},
		{http.MethodGet, "/v1/responses/resp_fake", "", ""},
		{http.MethodPost, "/v1/embeddings", "application/json", chat},
		{http.MethodPost, "/v1/audio/speech", "application/json", chat},
		{http.MethodPost, "/v1/audio/transcriptions", multi, sound},
	}
	header := func(a *aviary, names []string) http.Header {
		h := http.Header{}
		for _, name := range names {
			h[name] = []string{a.bird(name)}
		}
		return h
	}
	faults := map[string]testkit.Fault{
		"well": nil, "400": testkit.Error(400, "invalid_request_error", "context_length_exceeded", "Too long."), "500": testkit.ServerError(),
		"page": testkit.Page(502), "cut": testkit.Cut(3, testkit.EndReset), "limited": testkit.RateLimited("3600"),
	}
	// The good ones come first: the object of the GET must be known.
	for _, name := range append([]string{"well"}, slices.DeleteFunc(sorted(faults), func(s string) bool { return s == "well" })...) {
		up.SetScript(func(*testkit.Request) testkit.Fault {
			return testkit.All(faults[name], func(_ *testkit.Request, a *testkit.Answer) {
				for name, values := range header(&upstream, upstreamHeaders) {
					a.Header[name] = values
				}
				a.Header.Set("Connection", "X-Custom")
				a.Header.Set("X-Custom", upstream.bird("a header of the connection's"))
			})
		})
		for _, r := range requests {
			query := url.Values{}
			for _, q := range []string{"key", "token", "access_token", "KEY", "Token"} {
				query.Set(q, client.bird("query "+q))
			}
			req := app.Request(t, r.method, r.path+"?beta=true&%6bey="+client.bird("query %6bey")+"&"+query.Encode(), r.body)
			for name, values := range header(&client, clientHeaders) {
				req.Header[name] = values
			}
			req.Header["Connection"] = []string{"keep-alive, X-Custom"}
			req.Header.Set("X-Api-Key", app.Token)
			req.Header.Set("User-Agent", "agent/1.0")
			if r.contentType != "" {
				req.Header.Set("Content-Type", r.contentType)
			}
			req.Host = client.bird("Host") + ".test"
			app.Mend(t, "main")
			before := up.Count()
			a := app.Ask(t, req)
			for _, got := range up.Requests()[before:] {
				sees := got.Path + " " + got.Query + " " + got.Host + fmt.Sprint(got.Header)
				client.found(t, "the upstream's "+r.path, sees)
				kept.found(t, "the upstream's "+r.path, sees)
				for h, values := range got.Header {
					if !slices.Contains(upHeaders, h) && (h != "Connection" || values[0] != "close") { // on a new connection for one more try
						t.Errorf("%s: the upstream got %s", r.path, h)
					}
				}
				if got.Key != key || got.Query != "beta=true" || got.Header.Get("User-Agent") != "agent/1.0" {
					t.Errorf("%s: key %q, query %q, agent %q", r.path, got.Key, got.Query, got.Header.Get("User-Agent"))
				}
			}
			if up.Count() == before {
				t.Errorf("%s %s: the upstream was not asked: %d %s", name, r.path, a.StatusCode, a.Body)
			}
			upstream.found(t, name+": the answer of "+r.path, fmt.Sprint(a.Header, a.Trailer))
			for h := range a.Header {
				if !slices.Contains(downHeaders, h) {
					t.Errorf("%s: the client got %s of %s", name, h, r.path)
				}
			}
		}
	}
	for _, wrong := range []string{kept.bird("an unknown token"), "rlm_" + kept.bird("a mistyped token")} {
		asToken(t, app, wrong)
	}
	app.Post(t, "/v1/"+kept.bird("an unknown path"), "{}")
	app.Post(t, "/v1/responses", `{"model":"gpt-5.5","input":"`+kept.bird("broken JSON"))
	app.Record(t, app.Post(t, "/v1/responses", responsesBody).Response) // all rows before it are written
	metrics := metricsOf(t, app)
	if err := app.Stop(); err != nil {
		t.Fatal(err)
	}
	if log.String() == "" {
		t.Error("nothing was logged at all")
	}
	for _, a := range []*aviary{&client, &upstream, &kept} {
		a.found(t, "the log", log.String())
		a.found(t, "a metric", metrics)
		a.found(t, "the store", files(t, app.Config.DataDir))
	}
	kept.birds = map[string]string{key: "the credential"}
	kept.found(t, "the log", log.String())
	kept.found(t, "a metric", metrics)
}

func sorted[V any](m map[string]V) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// metricsOf is what an operator reads on the control socket.
func metricsOf(t *testing.T, app *testapp.App) string {
	t.Helper()
	p := process{control: controlOf(app.Config.ControlSocket())}
	text := p.asked(t, "/metrics")
	if !strings.Contains(text, "realms_requests_total") {
		t.Fatalf("no metrics: %q", text)
	}
	return text
}

// files is every byte of the files in a folder.
func files(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(name)
		all.Write(text)
		return err
	})
	if err != nil || !strings.Contains(all.String(), "SQLite format") {
		t.Fatalf("read the store: %v", err)
	}
	return all.String()
}
