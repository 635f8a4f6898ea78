package testkit_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"realms/internal/testkit"
)

func TestMain(m *testing.M) {
	// net/http prints to the standard logger what an upstream sends unasked.
	log.SetOutput(io.Discard)
	goleak.VerifyTestMain(m)
}

// client trusts the upstream and speaks what it is offered.
func client(t *testing.T, roots *x509.CertPool) *http.Client {
	t.Helper()
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

func post(t *testing.T, c *http.Client, url, body string) (*http.Response, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer test-key")
	req.Header.Set("Content-Type", "application/json")
	return c.Do(req)
}

// fetch is a request that must go well; it returns the whole body.
func fetch(t *testing.T, c *http.Client, url, body string) (*http.Response, string) {
	t.Helper()
	res, err := post(t, c, url, body)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, string(b)
}

func TestGoodAnswers(t *testing.T) {
	for _, protocol := range []testkit.Protocol{testkit.HTTP1, testkit.TLS, testkit.H2} {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol})
		c := client(t, u.RootCAs)
		for _, tc := range []struct{ path, body, want string }{
			{"/chat/completions", `{"model":"m"}`, `"content":"Hello from the fake upstream."`},
			{"/chat/completions", `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`, `"choices":[],"usage":{"prompt_tokens":11`},
			{"/completions", `{"model":"m"}`, `"text":"Hello`},
			{"/completions", `{"model":"m","stream":true}`, "data: [DONE]"},
			{"/responses", `{"model":"m"}`, `"status":"completed"`},
			{"/responses", `{"model":"m","stream":true}`, "event: response.completed"},
			{"/responses/input_tokens", `{"model":"m"}`, `"input_tokens":11`},
			{"/responses/compact", `{"model":"m"}`, `"type":"compaction"`},
			{"/responses/resp_1/cancel", ``, `"id":"resp_1"`},
			{"/embeddings", `{"model":"m"}`, `[0.5,0.25]`},
			{"/embeddings", `{"model":"m","encoding_format":"base64"}`, `"embedding":"AAAAPwAAgD4="`},
			{"/moderations", `{"model":"m"}`, `"flagged":false`},
			{"/rerank", `{"model":"m"}`, `"relevance_score"`},
			{"/images/generations", `{"model":"m"}`, `"b64_json"`},
			{"/audio/speech", `{"model":"m"}`, "\x00\x07\x0e"},
			{"/audio/transcriptions", ``, `"text":"Hello`},
		} {
			res, body := fetch(t, c, u.BaseURL+tc.path, tc.body)
			if res.StatusCode != http.StatusOK || !strings.Contains(body, tc.want) {
				t.Errorf("%v %s %s = %d %.200q, want it to hold %q", protocol, tc.path, tc.body, res.StatusCode, body, tc.want)
			}
			if strings.HasPrefix(res.Header.Get("Content-Type"), "application/json") && !json.Valid([]byte(body)) {
				t.Errorf("%s: body is no JSON: %s", tc.path, body)
			}
			checkEvents(t, res, body)
		}
		if want := map[testkit.Protocol]string{testkit.H2: "HTTP/2.0"}[protocol]; want != "" && u.Requests()[0].Proto != want {
			t.Errorf("spoke %s, want %s", u.Requests()[0].Proto, want)
		}
	}
}

// checkEvents holds every data line of a stream to be JSON.
func checkEvents(t *testing.T, res *http.Response, body string) {
	t.Helper()
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		return
	}
	for line := range strings.Lines(body) {
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if ok && data != "[DONE]" && !json.Valid([]byte(data)) {
			t.Errorf("event is no JSON: %s", data)
		}
	}
}

func TestRequestIsRecorded(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{})
	c := client(t, nil)
	fetch(t, c, u.BaseURL+"/chat/completions?a=b", `{"model":"m","stream":true}`)
	fetch(t, c, u.BaseURL+"/chat/completions", `{"model":"n"}`)
	got := u.WaitRequests(t, 2)
	first := got[0]
	if first.Number != 1 || first.Method != http.MethodPost || first.Path != "/v1/chat/completions" || first.Query != "a=b" ||
		first.Key != "test-key" || first.Model != "m" || !first.Stream || first.Reused || first.Cancelled() ||
		first.Header.Get("Content-Type") != "application/json" || string(first.Body) != `{"model":"m","stream":true}` {
		t.Errorf("recorded %+v", first)
	}
	if !got[1].Reused || u.Connections() != 1 {
		t.Errorf("second request: reused = %v over %d connections", got[1].Reused, u.Connections())
	}
}

func TestCancelIsSeen(t *testing.T) {
	for _, protocol := range []testkit.Protocol{testkit.HTTP1, testkit.TLS, testkit.H2} {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Sequence(testkit.StallAfter(2), testkit.Hang())})
		c := client(t, u.RootCAs)
		res, err := post(t, c, u.BaseURL+"/chat/completions", `{"model":"m","stream":true}`)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_ = res.Body.Close()
		if at := u.WaitRequests(t, 1)[0].WaitCancelled(t); at.Before(start) {
			t.Errorf("%v: cancelled %v before the client went", protocol, start.Sub(at))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		req, _ := http.NewRequestWithContext(ctx, http.MethodPost, u.BaseURL+"/chat/completions", strings.NewReader("{}"))
		if _, err := c.Do(req); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a hanging upstream: err = %v", err)
		}
		cancel()
		u.WaitRequests(t, 2)[1].WaitCancelled(t)
	}
}

func TestFaults(t *testing.T) {
	stream := `{"model":"m","stream":true,"stream_options":{"include_usage":true}}`
	for name, tc := range map[string]struct {
		fault testkit.Fault
		want  func(res *http.Response, body []byte, err error) bool
	}{
		"reset":  {testkit.Reset(), failed},
		"hangup": {testkit.Hangup(), failed},
		"status": {testkit.RateLimited("7"), func(r *http.Response, b []byte, _ error) bool {
			return r.StatusCode == 429 && r.Header.Get("Retry-After") == "7"
		}},
		"page": {testkit.Cloudflare(), func(r *http.Response, b []byte, _ error) bool {
			return r.StatusCode == 403 && bytes.Contains(b, []byte("<html"))
		}},
		"echo":       {testkit.EchoKey(401), has("test-key")},
		"redirect":   {testkit.Redirect(307, "http://127.0.0.1:1/"), func(r *http.Response, _ []byte, _ error) bool { return r.StatusCode == 307 }},
		"cut FIN":    {testkit.Cut(2, testkit.EndFIN), broken},
		"cut reset":  {testkit.Cut(2, testkit.EndReset), broken},
		"cut clean":  {testkit.Cut(2, testkit.EndClean), hasNot("[DONE]")},
		"cut bytes":  {testkit.CutBytes(10, testkit.EndFIN), broken},
		"no done":    {testkit.NoDone(), hasNot("[DONE]")},
		"drip":       {testkit.Drip(time.Nanosecond), has("[DONE]")},
		"comments":   {testkit.Comments(), has(": still here\n\ndata: [DONE]")},
		"malformed":  {testkit.Malformed(2), has(`{"choices":[{"delta":{`)},
		"giant":      {testkit.GiantEvent(1 << 20), has(strings.Repeat("a", 1<<20))},
		"endless":    {testkit.EndlessLine(1 << 20), broken},
		"gzip":       {testkit.Gzip(), has("\x1f\x8b")},
		"bomb":       {testkit.GzipBomb(1 << 20), func(_ *http.Response, b []byte, err error) bool { return err == nil && len(b) < 4096 }},
		"empty":      {testkit.EmptyBody(), func(_ *http.Response, b []byte, err error) bool { return err == nil && len(b) == 0 }},
		"interim":    {testkit.Interim(103, 3), has("[DONE]")},
		"101":        {testkit.SwitchingProtocols(), func(r *http.Response, _ []byte, _ error) bool { return r.StatusCode == 101 }},
		"999":        {testkit.StrangeStatus(999), func(r *http.Response, _ []byte, _ error) bool { return r.StatusCode == 999 }},
		"1xx flood":  {testkit.InterimFlood(), failed},
		"headers":    {testkit.HeaderFlood(), failed},
		"trailers":   {testkit.TrailerFlood(1 << 20), broken},
		"short":      {testkit.ShortBody(), broken},
		"lengths":    {testkit.TwoLengths(), failed},
		"http09":     {testkit.HTTP09(), failed},
		"204":        {testkit.NoContentWithBody(), func(r *http.Response, _ []byte, _ error) bool { return r.StatusCode == 204 }},
		"no usage":   {testkit.Usage(testkit.UsageNone), hasNot(`"usage":{`)},
		"with last":  {testkit.Usage(testkit.UsageWithFinish), has(`"finish_reason":"stop"}],"usage":{"prompt_tokens":11`)},
		"twice":      {testkit.Usage(testkit.UsageTwice), has(`"completion_tokens":3,"total_tokens":14`)},
		"after done": {testkit.Usage(testkit.UsageAfterDone), has("[DONE]\n\ndata: ")},
		"tool":       {testkit.RunCommand("true"), has(`"name":"shell"`)},
	} {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(tc.fault)})
			res, err := post(t, client(t, nil), u.BaseURL+"/chat/completions", stream)
			var body []byte
			if err == nil {
				body, err = io.ReadAll(res.Body)
				_ = res.Body.Close()
			} else {
				res = nil
			}
			if !tc.want(res, body, err) {
				t.Errorf("answer = %+v, %d bytes %.300q, err = %v", res, len(body), body, err)
			}
		})
	}
}

// failed: there was no answer; broken: there was a beginning of one.
func failed(r *http.Response, _ []byte, err error) bool { return r == nil && err != nil }

func broken(r *http.Response, b []byte, err error) bool { return r != nil && len(b) > 0 && err != nil }

func has(s string) func(*http.Response, []byte, error) bool {
	return func(_ *http.Response, b []byte, err error) bool { return err == nil && bytes.Contains(b, []byte(s)) }
}

func hasNot(s string) func(*http.Response, []byte, error) bool {
	return func(_ *http.Response, b []byte, err error) bool {
		return err == nil && len(b) > 0 && !bytes.Contains(b, []byte(s))
	}
}

func TestUnreachable(t *testing.T) {
	host := func(base string) string { return strings.TrimSuffix(strings.TrimPrefix(base, "http://"), "/v1") }
	if _, err := net.DialTimeout("tcp", host(testkit.Refused(t)), time.Second); err == nil || isTimeout(err) {
		t.Errorf("refused: err = %v", err)
	}
	if _, err := net.DialTimeout("tcp", host(testkit.Blackhole(t)), 200*time.Millisecond); !isTimeout(err) {
		t.Errorf("black hole: err = %v, want a timeout", err)
	}
}

func isTimeout(err error) bool {
	var n net.Error
	return errors.As(err, &n) && n.Timeout()
}

func TestTLSFaults(t *testing.T) {
	for _, fault := range []testkit.TLSFault{
		testkit.TLSExpired, testkit.TLSWrongHost, testkit.TLSSelfSigned, testkit.TLSOld, testkit.TLSHang, testkit.TLSReset,
	} {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: testkit.TLS, TLSFault: fault})
		c := client(t, u.RootCAs)
		c.Timeout = 300 * time.Millisecond
		if _, err := post(t, c, u.BaseURL+"/chat/completions", "{}"); err == nil {
			t.Errorf("TLS fault %d: answered", fault)
		}
		if u.Count() != 0 {
			t.Errorf("TLS fault %d: the request was read", fault)
		}
	}
}

func TestEarlyAnswer(t *testing.T) {
	for _, protocol := range []testkit.Protocol{testkit.HTTP1, testkit.TLS, testkit.H2} {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Early: testkit.Always(testkit.RateLimited("1"))})
		res, body := fetch(t, client(t, u.RootCAs), u.BaseURL+"/chat/completions", strings.Repeat("x", 1<<20))
		if res.StatusCode != http.StatusTooManyRequests || !strings.Contains(body, "rate_limit_exceeded") {
			t.Errorf("%v: answer = %d %s", protocol, res.StatusCode, body)
		}
		if r := u.WaitRequests(t, 1)[0]; r.Body != nil {
			t.Errorf("%v: body of %d bytes was read before the answer", protocol, len(r.Body))
		}
	}
}
