package upstream_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/netguard"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

var protocols = map[string]testkit.Protocol{"http1": testkit.HTTP1, "tls": testkit.TLS, "h2": testkit.H2}

func TestDoAnswers(t *testing.T) {
	for name, protocol := range protocols {
		for _, stream := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol})
				e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
				for i := range 3 {
					x := chat(u.BaseURL, stream)
					res := mustDo(t, e, x)
					if res.Status != http.StatusOK || res.EventStream() != stream || res.FirstByte <= 0 || res.Reused != (i > 0) {
						t.Errorf("answer %d = %+v", i, res)
					}
					got, err := readAll(res)
					if err != nil || !strings.Contains(got, " upstream.") {
						t.Errorf("body = %q, %v", got, err)
					}
					testkit.Poll(t, "the request body to be closed", func() bool { return x.Body.(*payload).closed.Load() > 0 })
				}
				for _, r := range u.WaitRequests(t, 3) {
					if r.Key != testKey || r.Stream != stream || r.Cancelled() {
						t.Errorf("request = %+v", r)
					}
				}
				if u.Connections() != 1 {
					t.Errorf("%d connections for 3 requests", u.Connections())
				}
			})
		}
	}
}

// TestDoSizes sends bodies around every border of the write path.
func TestDoSizes(t *testing.T) {
	for name, protocol := range protocols {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol})
		e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
		for _, size := range []int{0, 1, 2, 100, 3500, 4096, 4097, 8191, 8192, 8193, 40_000, 1 << 20} {
			for _, plain := range []bool{false, true} {
				text := strings.Repeat("\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", size/42+1)[:size]
				x := chat(u.BaseURL, false)
				x.Body, x.Length = newPayload(text), int64(size)
				if plain {
					x.Body = onlyReader{x.Body}
				}
				if _, err := readAll(mustDo(t, e, x)); err != nil {
					t.Fatalf("%s, %d bytes: %v", name, size, err)
				}
				all := u.Requests()
				if got := string(all[len(all)-1].Body); got != text {
					t.Errorf("%s, %d bytes: %d arrived, or others", name, size, len(got))
				}
			}
		}
	}
}

// onlyReader hides every other method of a body.
type onlyReader struct {
	body interface {
		Read([]byte) (int, error)
		Close() error
	}
}

func (r onlyReader) Read(p []byte) (int, error) { return r.body.Read(p) }
func (r onlyReader) Close() error               { return r.body.Close() }

func TestDoWithoutBody(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{})
	e := newExecutor(t, upstream.Options{})
	for _, tc := range []struct{ method, path string }{
		{http.MethodGet, "/responses/resp_1"}, {http.MethodDelete, "/responses/resp_1"}, {http.MethodPost, "/responses/resp_1/cancel"},
	} {
		x := chat(u.BaseURL, false)
		x.Method, x.Path, x.Object, x.Body, x.Length, x.ContentType = tc.method, tc.path, true, nil, 0, ""
		if got, err := readAll(mustDo(t, e, x)); err != nil || !strings.Contains(got, "resp_1") {
			t.Errorf("%s %s = %q, %v", tc.method, tc.path, got, err)
		}
	}
}

func TestConnectFailures(t *testing.T) {
	const limit = 300 * time.Millisecond
	dead := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	refusedAt := testkit.Refused(t)
	cases := map[string]func(t *testing.T) (string, upstream.Options){
		"refused": func(*testing.T) (string, upstream.Options) { return refusedAt, upstream.Options{} },
		"no name": func(*testing.T) (string, upstream.Options) {
			return "http://nowhere.invalid/v1", upstream.Options{Guard: netguard.New(netguard.Options{Resolver: dead})}
		},
		"SYN lost":  func(t *testing.T) (string, upstream.Options) { return testkit.Blackhole(t), upstream.Options{} },
		"forbidden": func(*testing.T) (string, upstream.Options) { return "http://169.254.169.254/v1", upstream.Options{} },
		"reset": func(t *testing.T) (string, upstream.Options) {
			return testkit.NewUpstream(t, script(testkit.Reset())).BaseURL, upstream.Options{}
		},
		"hang up": func(t *testing.T) (string, upstream.Options) {
			return testkit.NewUpstream(t, script(testkit.Hangup())).BaseURL, upstream.Options{}
		},
		"plain text where TLS is due": func(t *testing.T) (string, upstream.Options) {
			return strings.Replace(testkit.NewUpstream(t, testkit.Options{}).BaseURL, "http:", "https:", 1), upstream.Options{}
		},
	}
	for name, fault := range map[string]testkit.TLSFault{
		"expired": testkit.TLSExpired, "wrong host": testkit.TLSWrongHost, "self-signed": testkit.TLSSelfSigned,
		"TLS 1.0": testkit.TLSOld, "handshake hangs": testkit.TLSHang, "handshake reset": testkit.TLSReset,
	} {
		for _, protocol := range []testkit.Protocol{testkit.TLS, testkit.H2} {
			cases[name+" "+map[testkit.Protocol]string{testkit.TLS: "http1", testkit.H2: "h2"}[protocol]] = func(t *testing.T) (string, upstream.Options) {
				u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, TLSFault: fault})
				return u.BaseURL, upstream.Options{RootCAs: u.RootCAs}
			}
		}
	}
	for name, setUp := range cases {
		t.Run(name, func(t *testing.T) {
			base, o := setUp(t)
			e := newExecutor(t, o)
			x := chat(base, false)
			x.Timeouts.Connect = limit
			start := time.Now()
			failure := mustFail(t, e, x)
			if took := time.Since(start); took > 3*limit {
				t.Errorf("took %v with a limit of %v", took, limit)
			}
			if diff := cmp.Diff(connectFailed, verdictOf(failure.Outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s%v", diff, failure.Outcome.Err)
			}
			if failure.Outcome.Passing == (name == "forbidden") || failure.Outcome.Status != 0 || failure.Outcome.Err == nil {
				t.Errorf("outcome = %+v", failure.Outcome)
			}
			testkit.Poll(t, "the body to be closed", func() bool { return x.Body.(*payload).closed.Load() == 1 })
		})
	}
}

func TestRefusedTargets(t *testing.T) {
	e := newExecutor(t, upstream.Options{})
	for _, base := range []string{"", "127.0.0.1:80", "ftp://127.0.0.1/", "file:///etc/passwd", "unix:///run/x", "http://", "http://user@127.0.0.1/", "http://%zz/"} {
		x := chat(base, false)
		failure := mustFail(t, e, x)
		if verdictOf(failure.Outcome) != connectFailed || x.Body.(*payload).closed.Load() != 1 {
			t.Errorf("%q: %+v", base, failure.Outcome)
		}
	}
	for _, path := range []string{"", "responses", "/../admin", "/responses/..", "/responses/%2e%2e/x", "/a%2fb", "/a//b", "/a b", "/a?b", "/a\r\nHost: x", "/a%0d%0a", "/%zz"} {
		x := chat("http://127.0.0.1:1/v1", false)
		x.Path = path
		failure := mustFail(t, e, x)
		if failure.Outcome.Cause != realm.CauseClientError || failure.Outcome.Next != realm.NextStop || failure.Outcome.Status != http.StatusNotFound {
			t.Errorf("%q: %+v", path, failure.Outcome)
		}
	}
	x := chat("http://127.0.0.1:1/v1", false)
	x.Attempt.Credential.APIKey = "two\r\nlines"
	if o := mustFail(t, e, x).Outcome; o.Cause != realm.CauseAuth || o.Scope != realm.ScopeCredential || strings.Contains(o.Err.Error(), "lines") {
		t.Errorf("a key with a line break: %+v", o)
	}
}

func TestHangBeforeHeader(t *testing.T) {
	const limit = 400 * time.Millisecond
	for name, protocol := range protocols {
		for _, stream := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.Hang())})
				e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
				x := chat(u.BaseURL, stream)
				x.Timeouts.FirstByte = limit
				start := time.Now()
				o := mustFail(t, e, x).Outcome
				took := time.Since(start)
				if took < limit*9/10 || took > limit*11/10+100*time.Millisecond {
					t.Errorf("took %v, want %v ± 10 %%", took, limit)
				}
				if want := (verdict{realm.CauseTimeout, realm.ScopeEndpoint, realm.NextOther}); verdictOf(o) != want || o.Passing {
					t.Errorf("outcome = %+v", o)
				}
				u.WaitRequests(t, 1)[0].WaitCancelled(t)
			})
		}
	}
}

func TestClientGoesBeforeHeader(t *testing.T) {
	for name, protocol := range protocols {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.Hang())})
		e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var gone time.Time
		wg.Go(func() {
			u.WaitRequests(t, 1)
			gone = time.Now()
			cancel()
		})
		o := mustFailIn(ctx, t, e, chat(u.BaseURL, true)).Outcome
		wg.Wait()
		if want := (verdict{realm.CauseClientGone, realm.ScopeNone, realm.NextStop}); verdictOf(o) != want {
			t.Errorf("%s: outcome = %+v", name, o)
		}
		if d := u.WaitRequests(t, 1)[0].WaitCancelled(t).Sub(gone); d > 250*time.Millisecond {
			t.Errorf("%s: the upstream heard of it after %v", name, d)
		}
	}
	// A deadline of the client's own is a time-out that blames nobody.
	u := testkit.NewUpstream(t, script(testkit.Hang()))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	o := mustFailIn(ctx, t, newExecutor(t, upstream.Options{}), chat(u.BaseURL, true)).Outcome
	if want := (verdict{realm.CauseTimeout, realm.ScopeNone, realm.NextStop}); verdictOf(o) != want {
		t.Errorf("deadline: outcome = %+v", o)
	}
}

// TestRedirects: nothing but the upstream that was asked hears of the request.
func TestRedirects(t *testing.T) {
	trap := testkit.NewUpstream(t, testkit.Options{})
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, location := range []string{trap.BaseURL + "/chat/completions", "http://169.254.169.254/latest", "file:///etc/passwd", "/v1/other", "//elsewhere.invalid/x"} {
			u := testkit.NewUpstream(t, script(testkit.Redirect(status, location)))
			o := mustFail(t, newExecutor(t, upstream.Options{}), chat(u.BaseURL, false)).Outcome
			if verdictOf(o) != badAnswer || o.Status != status {
				t.Errorf("%d to %s: %+v", status, location, o)
			}
			if u.Count() != 1 {
				t.Errorf("%d to %s: the upstream was asked %d times", status, location, u.Count())
			}
		}
	}
	if trap.Connections() != 0 {
		t.Errorf("%d connections at the trap", trap.Connections())
	}
}
