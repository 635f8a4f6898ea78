package upstream_test

import (
	"net/http"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

var stale = verdict{realm.CauseStaleConn, realm.ScopeNone, realm.NextSameCredential}

// TestStaleConnection: cut before any byte on a connection that had served is
// nobody's fault; the same on a new one is the endpoint's.
func TestStaleConnection(t *testing.T) {
	for name, fault := range map[string]testkit.Fault{"FIN": testkit.Hangup(), "RST": testkit.Reset()} {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Script: testkit.OnReused(fault)})
			e := newExecutor(t, upstream.Options{})
			if _, err := readAll(mustDo(t, e, chat(u.BaseURL, false))); err != nil {
				t.Fatal(err)
			}
			if o := mustFail(t, e, chat(u.BaseURL, false)).Outcome; verdictOf(o) != stale {
				t.Fatalf("outcome = %+v", o)
			}
			again := chat(u.BaseURL, false)
			again.FreshConn = true
			res := mustDo(t, e, again)
			if _, err := readAll(res); err != nil || res.Reused {
				t.Errorf("on a new connection: reused = %v, %v", res.Reused, err)
			}
			if u.Count() != 3 || u.Connections() != 2 {
				t.Errorf("%d requests over %d connections", u.Count(), u.Connections())
			}
		})
	}
}

// TestStaleWhileIdle: the upstream closes the connection while nobody uses it.
func TestStaleWhileIdle(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{})
	e := newExecutor(t, upstream.Options{})
	for range 50 {
		if _, err := readAll(mustDo(t, e, chat(u.BaseURL, false))); err != nil {
			t.Fatal(err)
		}
		u.CloseIdle()
		res, failure := e.Do(t.Context(), chat(u.BaseURL, false))
		if failure != nil && verdictOf(failure.Outcome) != stale {
			t.Fatalf("outcome = %+v", failure.Outcome)
		}
		if res != nil {
			_, _ = readAll(res)
		}
	}
}

// TestOneRequestPerAttempt: net/http sends a request again by itself when it has
// an Idempotency-Key; ours never has.
func TestOneRequestPerAttempt(t *testing.T) {
	attempts := 1000
	if testing.Short() {
		attempts = 50
	}
	u := testkit.NewUpstream(t, testkit.Options{Script: testkit.OnReused(testkit.Hangup())})
	e := newExecutor(t, upstream.Options{})
	staleOnes := 0
	for i := range attempts {
		x := chat(u.BaseURL, false)
		x.Header = http.Header{"Idempotency-Key": {"one"}, "X-Idempotency-Key": {"two"}}
		res, failure := e.Do(t.Context(), x)
		switch {
		case res != nil:
			_, _ = readAll(res)
		case verdictOf(failure.Outcome) == stale:
			staleOnes++
		default:
			t.Fatalf("outcome = %+v", failure.Outcome)
		}
		if got := u.Count(); got != i+1 {
			t.Fatalf("%d requests after %d attempts", got, i+1)
		}
	}
	if staleOnes < attempts/3 {
		t.Errorf("only %d of %d attempts met a stale connection", staleOnes, attempts)
	}
	for _, r := range u.Requests() {
		if r.Header.Get("Idempotency-Key") != "" || r.Header.Get("X-Idempotency-Key") != "" {
			t.Fatal("an idempotency key went up")
		}
	}
}

// TestStreamResetOnLiveConnection: over HTTP/2 a reset stream says nothing of the
// connection, reused or not.
func TestStreamResetOnLiveConnection(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{Protocol: testkit.H2, Script: testkit.OnReused(testkit.Reset())})
	e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
	if _, err := readAll(mustDo(t, e, chat(u.BaseURL, false))); err != nil {
		t.Fatal(err)
	}
	if o := mustFail(t, e, chat(u.BaseURL, false)).Outcome; verdictOf(o) != connectFailed {
		t.Errorf("outcome = %+v", o)
	}
}

// TestStaleHTTP2: the connection itself dies under a request.
func TestStaleHTTP2(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{Protocol: testkit.H2, Script: testkit.OnReused(testkit.Hang())})
	e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
	if _, err := readAll(mustDo(t, e, chat(u.BaseURL, false))); err != nil {
		t.Fatal(err)
	}
	done := make(chan *upstream.Failure)
	go func() {
		_, failure := e.Do(t.Context(), chat(u.BaseURL, false))
		done <- failure
	}()
	u.WaitRequests(t, 2)
	u.CloseIdle()
	if failure := <-done; failure == nil || verdictOf(failure.Outcome) != stale {
		t.Errorf("failure = %+v", failure)
	}
}
