package upstream_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

// readError expects reading to end with a *ReadError of a cause.
func readError(t *testing.T, err error, want realm.Cause) *upstream.ReadError {
	t.Helper()
	var re *upstream.ReadError
	if !errors.As(err, &re) {
		t.Fatalf("err = %v, want a *ReadError", err)
	}
	if re.Cause != want {
		t.Fatalf("cause = %s (%v), want %s", re.Cause, re.Err, want)
	}
	return re
}

func TestCutBodies(t *testing.T) {
	for name, tc := range map[string]struct {
		fault    testkit.Fault
		http1    bool // cannot be played over HTTP/2
		clean    bool
		contains string
	}{
		"FIN after 3 events":   {fault: testkit.Cut(3, testkit.EndFIN), contains: "Hello"},
		"RST after 3 events":   {fault: testkit.Cut(3, testkit.EndReset)},
		"FIN after 10 bytes":   {fault: testkit.CutBytes(10, testkit.EndFIN), contains: "data:"},
		"short content length": {fault: testkit.ShortBody(), http1: true, contains: "[DONE]"},
		"clean end, no [DONE]": {fault: testkit.NoDone(), clean: true, contains: `"finish_reason":"stop"`},
		"clean end in between": {fault: testkit.Cut(3, testkit.EndClean), clean: true, contains: "Hello"},
		"trailer flood":        {fault: testkit.TrailerFlood(1 << 20), http1: true, contains: "[DONE]"},
	} {
		for protocolName, protocol := range protocols {
			if tc.http1 && protocol == testkit.H2 {
				continue
			}
			t.Run(name+" "+protocolName, func(t *testing.T) {
				u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(tc.fault)})
				e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
				res, failure := e.Do(t.Context(), chat(u.BaseURL, true))
				if failure != nil {
					t.Fatalf("failed: %+v", failure.Outcome)
				}
				got, err := readAll(res)
				if !strings.Contains(got, tc.contains) {
					t.Errorf("body = %q", got)
				}
				if tc.clean {
					if err != nil {
						t.Errorf("err = %v", err)
					}
					return
				}
				o := readError(t, err, realm.CauseUpstreamCut).Outcome(200)
				if verdictOf(o) != badAnswer || !o.Passing {
					t.Errorf("outcome = %+v", o)
				}
			})
		}
	}
}

func TestStallMidStream(t *testing.T) {
	const limit = 400 * time.Millisecond
	for name, protocol := range protocols {
		for _, started := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.StallAfter(2))})
				e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
				x := chat(u.BaseURL, true)
				if started {
					x.Timeouts.Idle = limit
				} else {
					x.Timeouts.FirstEvent = limit
				}
				res := mustDo(t, e, x)
				start := time.Now()
				if started {
					res.Started()
				}
				got, err := readAll(res)
				took := time.Since(start)
				re := readError(t, err, realm.CauseTimeout)
				if took < limit*8/10 || took > limit+300*time.Millisecond || !strings.Contains(got, "Hello") {
					t.Errorf("ended after %v with %q", took, got)
				}
				if o := re.Outcome(200); o.Scope != realm.ScopeEndpointModel || o.Next != realm.NextOther || o.Cause != realm.CauseTimeout {
					t.Errorf("outcome = %+v", o)
				}
				u.WaitRequests(t, 1)[0].WaitCancelled(t)
			})
		}
	}
}

// TestDripIsNotIdle: what comes slowly, and comments, keep a stream alive; the
// limit on the first event is not put off by them.
func TestDripIsNotIdle(t *testing.T) {
	fault := testkit.All(testkit.Comments(), testkit.Pace(60*time.Millisecond))
	u := testkit.NewUpstream(t, script(fault))
	e := newExecutor(t, upstream.Options{})
	x := chat(u.BaseURL, true)
	x.Timeouts.Idle = 300 * time.Millisecond
	res := mustDo(t, e, x)
	res.Started()
	if got, err := readAll(res); err != nil || !strings.Contains(got, "[DONE]") {
		t.Errorf("body = %q, %v", got, err)
	}
	x = chat(u.BaseURL, true)
	x.Timeouts.FirstEvent = 300 * time.Millisecond
	_, err := readAll(mustDo(t, e, x))
	readError(t, err, realm.CauseTimeout)
}

// TestSlowReaderIsNotIdle: the limit is the upstream's, and does not run while
// nobody reads.
func TestSlowReaderIsNotIdle(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{})
	e := newExecutor(t, upstream.Options{})
	x := chat(u.BaseURL, true)
	x.Timeouts.Idle = 50 * time.Millisecond
	res := mustDo(t, e, x)
	res.Started()
	buf := make([]byte, 16)
	if _, err := res.Body.Read(buf); err != nil {
		t.Fatal(err)
	}
	<-time.After(200 * time.Millisecond)
	if got, err := readAll(res); err != nil || !strings.Contains(got, "[DONE]") {
		t.Errorf("body = %q, %v", got, err)
	}
}

func TestClientGoesMidStream(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.StallAfter(2))})
			e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			res, failure := e.Do(ctx, chat(u.BaseURL, true))
			if failure != nil {
				t.Fatalf("failed: %+v", failure.Outcome)
			}
			if _, err := bufio.NewReader(res.Body).ReadString('\n'); err != nil {
				t.Fatal(err)
			}
			gone := time.Now()
			cancel()
			_, err := readAll(res)
			if o := readError(t, err, realm.CauseClientGone).Outcome(200); o.Scope != realm.ScopeNone || o.Next != realm.NextStop {
				t.Errorf("outcome = %+v", o)
			}
			if d := u.WaitRequests(t, 1)[0].WaitCancelled(t).Sub(gone); d > 250*time.Millisecond {
				t.Errorf("the upstream heard of it after %v", d)
			}
		})
	}
}

// TestDeadlineMidStream: the client's own deadline is a time-out that blames nobody.
func TestDeadlineMidStream(t *testing.T) {
	u := testkit.NewUpstream(t, script(testkit.StallAfter(2)))
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	res, failure := newExecutor(t, upstream.Options{}).Do(ctx, chat(u.BaseURL, true))
	if failure != nil {
		t.Fatalf("failed: %+v", failure.Outcome)
	}
	_, err := readAll(res)
	if o := readError(t, err, realm.CauseTimeout).Outcome(200); o.Scope != realm.ScopeNone || o.Next != realm.NextStop {
		t.Errorf("outcome = %+v", o)
	}
}

// TestLargeAnswers come through whole, whatever windows and buffers lie between.
func TestLargeAnswers(t *testing.T) {
	for name, protocol := range protocols {
		const size = 6 << 20
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.GiantEvent(size))})
		e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
		for _, stream := range []bool{false, true} {
			if got, err := readAll(mustDo(t, e, chat(u.BaseURL, stream))); err != nil || strings.Count(got, "a") < size {
				t.Errorf("%s: %d bytes, %v", name, len(got), err)
			}
		}
	}
}

// TestCloseCancels: closing an answer that is not read to its end lets the
// upstream go.
func TestCloseCancels(t *testing.T) {
	for name, protocol := range protocols {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.StallAfter(1))})
		e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
		res := mustDo(t, e, chat(u.BaseURL, true))
		if err := res.Body.Close(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		u.WaitRequests(t, 1)[0].WaitCancelled(t)
		if _, err := res.Body.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("%s: read after close: %v", name, err)
		}
	}
}

func TestGzip(t *testing.T) {
	for name, protocol := range protocols {
		for _, stream := range []bool{false, true} {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.Gzip())})
			res := mustDo(t, newExecutor(t, upstream.Options{RootCAs: u.RootCAs}), chat(u.BaseURL, stream))
			if got, err := readAll(res); err != nil || !strings.Contains(got, " upstream.") || res.Length != -1 {
				t.Errorf("%s: %q, %v, length %d", name, got, err, res.Length)
			}
			if got := u.Requests()[0].Header["Accept-Encoding"]; len(got) != 1 || got[0] != "identity" {
				t.Errorf("%s: asked for %v", name, got)
			}
		}
	}
}

// TestGzipStreams: what the upstream flushed is there at once.
func TestGzipStreams(t *testing.T) {
	u := testkit.NewUpstream(t, script(testkit.All(testkit.Gzip(), testkit.StallAfter(2))))
	res := mustDo(t, newExecutor(t, upstream.Options{}), chat(u.BaseURL, true))
	defer func() { _ = res.Body.Close() }()
	r := bufio.NewReader(res.Body)
	for range 4 { // two events and the empty lines after them
		if _, err := r.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
	}
}

func TestGzipBomb(t *testing.T) {
	const size, limit = 64 << 20, 1 << 20
	bomb := testkit.GzipBomb(size)
	u := testkit.NewUpstream(t, script(bomb))
	e := newExecutor(t, upstream.Options{DecodedLimit: limit})
	var before, after runtime.MemStats
	res := mustDo(t, e, chat(u.BaseURL, false))
	runtime.ReadMemStats(&before)
	n, err := io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	runtime.ReadMemStats(&after)
	readError(t, err, realm.CauseBadAnswer)
	if n > limit {
		t.Errorf("%d bytes came out, limit %d", n, limit)
	}
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
	// In an error's body too.
	u.SetScript(testkit.Always(testkit.All(bomb, func(_ *testkit.Request, a *testkit.Answer) { a.Status = 500 })))
	runtime.ReadMemStats(&before)
	if o := mustFail(t, e, chat(u.BaseURL, false)).Outcome; o.Cause != realm.CauseServerError {
		t.Errorf("outcome = %+v", o)
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d bytes were allocated", grown)
	}
}

func TestEncodings(t *testing.T) {
	for encoding, want := range map[string]realm.Cause{
		"br": realm.CauseBadAnswer, "zstd": realm.CauseBadAnswer, "deflate": realm.CauseBadAnswer, "gzip, gzip": realm.CauseBadAnswer,
		"compress": realm.CauseBadAnswer, "nonsense": realm.CauseBadAnswer, "identity": realm.CauseOK,
	} {
		u := testkit.NewUpstream(t, script(testkit.Encoded(encoding)))
		res, failure := newExecutor(t, upstream.Options{}).Do(t.Context(), chat(u.BaseURL, false))
		switch {
		case res != nil:
			_, _ = readAll(res)
			if want != realm.CauseOK {
				t.Errorf("%s: answered", encoding)
			}
		case verdictOf(failure.Outcome) != badAnswer || want == realm.CauseOK:
			t.Errorf("%s: %+v", encoding, failure.Outcome)
		}
	}
	// Says gzip and is not.
	u := testkit.NewUpstream(t, script(testkit.Encoded("gzip")))
	_, err := readAll(mustDo(t, newExecutor(t, upstream.Options{}), chat(u.BaseURL, false)))
	readError(t, err, realm.CauseBadAnswer)
	// Encoded twice, said once: what comes out is no JSON, and the gateway's to see.
	u.SetScript(testkit.Always(testkit.All(testkit.Gzip(), testkit.Gzip())))
	got, err := readAll(mustDo(t, newExecutor(t, upstream.Options{}), chat(u.BaseURL, false)))
	if err != nil || !bytes.HasPrefix([]byte(got), []byte("\x1f\x8b")) {
		t.Errorf("body = %.20q, %v", got, err)
	}
}
