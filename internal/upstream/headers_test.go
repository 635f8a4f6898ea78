package upstream_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/testkit"
	"realms/internal/upstream"
)

// clientHeader is what a client, or somebody in front of it, may send. Canary
// values must never be seen at the upstream.
func clientHeader() http.Header {
	const canary = "canary"
	h := http.Header{
		"Accept":             {"application/json"},
		"User-Agent":         {"OpenAI/Go 3.0"},
		"Openai-Beta":        {"responses=experimental"},
		"X-Codex-Turn-State": {"turn"},
	}
	for _, name := range []string{
		"Authorization", "X-Api-Key", "Api-Key", "Cookie", "Proxy-Authorization", "X-Forwarded-For", "X-Forwarded-Host",
		"X-Forwarded-Proto", "Forwarded", "X-Real-Ip", "Cf-Connecting-Ip", "Idempotency-Key", "X-Idempotency-Key", "Traceparent",
		"Tracestate", "Baggage", "X-Request-Id", "X-Client-Request-Id", "Openai-Organization", "Openai-Project", "Host",
		"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Content-Length", "Content-Encoding",
		"Content-Type", "Accept-Encoding", "X-Realms-Hops", "X-Realms-Channel", "Session_id", "session_id", "Session-Id",
		"conversation_id", "X_Forwarded_For", "X-Stainless-Lang", "Originator", "Version", "Origin", "Referer", "X-Codex-Window-Id",
		"Chatgpt-Account-Id", "Expect", "Range", "X-Http-Method-Override",
	} {
		h[name] = []string{canary}
	}
	return h
}

func TestHeadersUp(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol})
			e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
			x := chat(u.BaseURL, false)
			x.Header, x.Hops = clientHeader(), 2
			before := x.Header.Clone()
			if _, err := readAll(mustDo(t, e, x)); err != nil {
				t.Fatal(err)
			}
			r := u.WaitRequests(t, 1)[0]
			want := http.Header{
				"Accept":             {"application/json"},
				"User-Agent":         {"OpenAI/Go 3.0"},
				"Openai-Beta":        {"responses=experimental"},
				"X-Codex-Turn-State": {"turn"},
				"Content-Type":       {"application/json"},
				"Content-Length":     {fmt.Sprint(x.Length)},
				"Accept-Encoding":    {"identity"},
				"X-Realms-Hops":      {"3"},
				"Authorization":      {"Bearer " + testKey},
			}
			if diff := cmp.Diff(want, r.Header); diff != "" {
				t.Errorf("header at the upstream (-want +got):\n%s", diff)
			}
			if !strings.HasSuffix(u.URL, r.Host) {
				t.Errorf("host = %q", r.Host)
			}
			if diff := cmp.Diff(before, x.Header); diff != "" {
				t.Errorf("the client's header was changed:\n%s", diff)
			}
		})
	}
}

func TestHeadersUpDefaults(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{})
	e := newExecutor(t, upstream.Options{})
	x := chat(u.BaseURL, false)
	x.Attempt.Credential.APIKey, x.Header = "", nil
	if _, err := readAll(mustDo(t, e, x)); err != nil {
		t.Fatal(err)
	}
	h := u.WaitRequests(t, 1)[0].Header
	if _, ok := h["Authorization"]; ok {
		t.Error("an empty key was sent")
	}
	if diff := cmp.Diff([]string{"realms"}, h["User-Agent"]); diff != "" {
		t.Error(diff)
	}
}

func TestHeadersDown(t *testing.T) {
	u := testkit.NewUpstream(t, script(testkit.Header("Retry-After", "1", "X-Codex-Turn-State", "turn", "Connection", "X-Mine", "X-Mine", "a",
		"X-Codex-Primary-Used-Percent", "50", "Strict-Transport-Security", "x", "Alt-Svc", "h3", "Content-Length", "")))
	e := newExecutor(t, upstream.Options{})
	for _, limits := range []bool{false, true} {
		x := chat(u.BaseURL, true)
		x.LimitHeaders = limits
		res := mustDo(t, e, x)
		_, _ = readAll(res)
		want := []string{"Content-Type", "Openai-Processing-Ms", "Retry-After", "X-Codex-Turn-State"}
		if limits {
			want = append(want, "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests")
		}
		var got []string
		for name := range res.Header {
			got = append(got, name)
		}
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("limits %v: headers down (-want +got):\n%s", limits, diff)
		}
		if res.MediaType != "text/event-stream" {
			t.Errorf("media type = %q", res.MediaType)
		}
	}
	// A client's fault brings its header along.
	u.SetScript(testkit.Always(testkit.Error(400, "invalid_request_error", "bad", "Bad.", "Retry-After", "3")))
	failure := mustFail(t, e, chat(u.BaseURL, false))
	if diff := cmp.Diff(http.Header{"Content-Type": {"application/json"}, "Retry-After": {"3"}, "Openai-Processing-Ms": {"42"}}, failure.Header); diff != "" {
		t.Errorf("headers of a failure (-want +got):\n%s", diff)
	}
}

// TestUpstreamIsTheChannels: nothing that a client writes chooses where its
// request goes.
func TestUpstreamIsTheChannels(t *testing.T) {
	trap := testkit.NewUpstream(t, testkit.Options{})
	u := testkit.NewUpstream(t, testkit.Options{})
	e := newExecutor(t, upstream.Options{})
	host := strings.TrimPrefix(trap.URL, "http://")
	text := fmt.Sprintf(`{"model":%q,"api_base":%[1]q,"base_url":%[1]q,"custom_host":%[1]q,"litellm_params":{"api_base":%[1]q}}`, trap.URL+"/v1/../../x")
	x := chat(u.BaseURL, false)
	x.Body, x.Length = newPayload(text), int64(len(text))
	x.RawQuery = "base_url=" + trap.URL + "&host=" + host
	x.Header = http.Header{"Host": {host}, "X-Forwarded-Host": {host}, "X-Original-Url": {trap.URL}, "Api-Base": {trap.URL}}
	if _, err := readAll(mustDo(t, e, x)); err != nil {
		t.Fatal(err)
	}
	r := u.WaitRequests(t, 1)[0]
	if trap.Connections() != 0 || r.Path != "/v1/chat/completions" || r.Host == host || string(r.Body) != text {
		t.Errorf("trap met %d connections, upstream %s %s", trap.Connections(), r.Host, r.Path)
	}
}
