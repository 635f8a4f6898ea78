package upstream_test

import (
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

// TestBrokenAnswers: what is no HTTP answer, or one that this protocol has no use
// for, is the upstream's fault and ends soon.
func TestBrokenAnswers(t *testing.T) {
	for name, tc := range map[string]struct {
		fault  testkit.Fault
		status int
		flood  bool // the fake sends without end and composes nothing first
	}{
		"101":                  {testkit.SwitchingProtocols(), 101, false},
		"endless 103":          {testkit.InterimFlood(), 0, true},
		"1 MiB header":         {testkit.HeaderBytes(1 << 20), 0, false},
		"10,000 headers":       {testkit.HeaderLines(10_000), 0, false},
		"endless headers":      {testkit.HeaderFlood(), 0, true},
		"endless header":       {testkit.Flood("HTTP/1.1 200 OK\r\nX-Padding: ", "p"), 0, true},
		"999":                  {testkit.StrangeStatus(999), 999, false},
		"600":                  {testkit.StrangeStatus(600), 600, false},
		"299":                  {testkit.StrangeStatus(299), 299, false},
		"206":                  {testkit.StrangeStatus(206), 206, false},
		"204":                  {testkit.Status(204, ""), 204, false},
		"204 with body":        {testkit.NoContentWithBody(), 204, false},
		"two content lengths":  {testkit.TwoLengths(), 0, false},
		"HTTP/0.9":             {testkit.HTTP09(), 0, false},
		"nonsense status line": {testkit.Raw("HTTP/1.1 abc\r\n\r\n"), 0, false},
		"header cut":           {testkit.Raw("HTTP/1.1 200 OK\r\nContent-Ty"), 0, false},
		"304":                  {testkit.Status(304, ""), 304, false},
		"page":                 {testkit.Page(200), 200, false},
	} {
		for _, stream := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				u := testkit.NewUpstream(t, script(tc.fault))
				e := newExecutor(t, upstream.Options{})
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				start := time.Now()
				failure := mustFail(t, e, chat(u.BaseURL, stream))
				if took := time.Since(start); took > time.Second {
					t.Errorf("took %v", took)
				}
				runtime.ReadMemStats(&after)
				if o := failure.Outcome; verdictOf(o) != badAnswer || o.Status != tc.status || o.Err == nil || len(o.Err.Error()) > 1<<10 {
					t.Errorf("outcome = %+v", o)
				}
				if grown := after.TotalAlloc - before.TotalAlloc; tc.flood && grown > 2<<20 {
					t.Errorf("%d bytes were allocated", grown)
				}
				// Nothing of it may serve the next request.
				u.SetScript(nil)
				goodAnswer(t, e, u.BaseURL)
			})
		}
	}
}

// TestHarmlessOddities do not keep a good answer from coming through, and nothing
// of them from the next one.
func TestHarmlessOddities(t *testing.T) {
	for name, fault := range map[string]testkit.Fault{
		"100 x3":      testkit.Interim(100, 3),
		"103 x20":     testkit.Interim(103, 20),
		"extra bytes": testkit.ExtraBytes(),
		"500 headers": testkit.HeaderLines(500),
	} {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, script(fault))
			e := newExecutor(t, upstream.Options{})
			for range 200 {
				goodAnswer(t, e, u.BaseURL)
			}
		})
	}
}

// goodAnswer expects the fake's own answer, at once or after a connection turned
// out to be dead.
func goodAnswer(t *testing.T, e *upstream.Executor, base string) {
	t.Helper()
	res, failure := e.Do(t.Context(), chat(base, false))
	if failure != nil {
		if verdictOf(failure.Outcome) != stale {
			t.Fatalf("outcome = %+v", failure.Outcome)
		}
		x := chat(base, false)
		x.FreshConn = true
		res = mustDo(t, e, x)
	}
	if got, err := readAll(res); err != nil || !strings.Contains(got, `"chat.completion"`) {
		t.Errorf("answer = %q, %v", got, err)
	}
}

// TestExtraBytesAreNobodysAnswer: what follows an answer's end is never taken for
// the next one, however busy the connection is.
func TestExtraBytesAreNobodysAnswer(t *testing.T) {
	for name, protocol := range map[string]testkit.Protocol{"http1": testkit.HTTP1, "tls": testkit.TLS} {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.ExtraBytes())})
			e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for range 100 {
						res, failure := e.Do(t.Context(), chat(u.BaseURL, false))
						switch {
						case failure != nil && verdictOf(failure.Outcome) != stale:
							t.Errorf("outcome = %+v", failure.Outcome)
						case res != nil:
							if got, err := readAll(res); err != nil || !strings.Contains(got, `"chat.completion"`) {
								t.Errorf("answer = %q, %v", got, err)
							}
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

func TestControlCharactersStayHere(t *testing.T) {
	u := testkit.NewUpstream(t, script(testkit.HeaderCR()))
	res, failure := newExecutor(t, upstream.Options{}).Do(t.Context(), chat(u.BaseURL, false))
	if failure != nil {
		if verdictOf(failure.Outcome) != badAnswer {
			t.Errorf("outcome = %+v", failure.Outcome)
		}
		return
	}
	_, _ = readAll(res)
	if v, ok := res.Header["Content-Type"]; ok {
		t.Errorf("content type %q came through", v)
	}
}

// TestDeleteWithoutContent: the one place where a 204 is an answer.
func TestDeleteWithoutContent(t *testing.T) {
	u := testkit.NewUpstream(t, script(testkit.Status(http.StatusNoContent, "")))
	x := chat(u.BaseURL, false)
	x.Method, x.Path, x.Object, x.Body, x.Length = http.MethodDelete, "/responses/resp_1", true, nil, 0
	if got, err := readAll(mustDo(t, newExecutor(t, upstream.Options{}), x)); err != nil || got != "" {
		t.Errorf("answer = %q, %v", got, err)
	}
}

// TestErrorBodyIsBounded: neither a long nor an endless error body holds up the
// next attempt.
func TestErrorBodyIsBounded(t *testing.T) {
	e := newExecutor(t, upstream.Options{})
	for name, fault := range map[string]testkit.Fault{
		"long":  testkit.Status(503, strings.Repeat("x", 32<<20)),
		"short": testkit.Error(503, "server_error", "", "Sorry."),
	} {
		u := testkit.NewUpstream(t, script(fault))
		start := time.Now()
		failure := mustFail(t, e, chat(u.BaseURL, false))
		if failure.Outcome.Cause != realm.CauseServerError || len(failure.Error.Message) > 1<<10 || len(failure.Body) > 64<<10 || time.Since(start) > time.Second {
			t.Errorf("%s: %+v after %v", name, failure.Outcome, time.Since(start))
		}
	}
	// One that stalls is given up; what was read of it still counts.
	u := testkit.NewUpstream(t, script(testkit.All(
		testkit.Error(429, "x", "insufficient_quota", "No more."),
		func(_ *testkit.Request, a *testkit.Answer) { a.Framing, a.End = testkit.FrameChunked, testkit.EndStall },
	)))
	x := chat(u.BaseURL, false)
	x.Timeouts.Idle = 200 * time.Millisecond
	start := time.Now()
	failure := mustFail(t, e, x)
	if failure.Outcome.Cause != realm.CauseQuota || time.Since(start) > 2*time.Second {
		t.Errorf("stalled: %+v after %v", failure.Outcome, time.Since(start))
	}
}
