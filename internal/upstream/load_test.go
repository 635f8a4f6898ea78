package upstream_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

// pooledBody is a body whose buffer is written over as soon as it is closed, as a
// pool's next user would: the race detector sees a transport that still reads it.
type pooledBody struct {
	mu     sync.Mutex
	buf    []byte
	rest   []byte
	closed chan struct{}
	once   sync.Once
}

func newPooledBody(size int) *pooledBody {
	b := &pooledBody{buf: []byte(strings.Repeat("x", size)), closed: make(chan struct{})}
	b.rest = b.buf
	return b
}

func (b *pooledBody) Len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.rest)
}

func (b *pooledBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *pooledBody) WriteTo(w io.Writer) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, err := w.Write(b.rest)
	b.rest = b.rest[n:]
	return int64(n), err
}

func (b *pooledBody) Close() error {
	b.once.Do(func() {
		b.mu.Lock()
		b.rest = nil
		b.mu.Unlock()
		clear(b.buf)
		close(b.closed)
	})
	return nil
}

// TestEarlyAnswerToPooledBody: an upstream that answers before it has read the
// request; the body is let go all the same, and not before.
func TestEarlyAnswerToPooledBody(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Early: testkit.Always(testkit.RateLimited("1"))})
			e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
			for range 20 {
				const size = 2 << 20
				body := newPooledBody(size)
				x := chat(u.BaseURL, false)
				x.Body, x.Length = body, size
				res, failure := e.Do(t.Context(), x)
				if res != nil {
					t.Fatalf("answered with %d", res.Status)
				}
				// Over HTTP/1 the cut connection may be seen before the answer is.
				if c := failure.Outcome.Cause; c != realm.CauseRateLimited && c != realm.CauseConnect && c != realm.CauseStaleConn && c != realm.CauseBadAnswer {
					t.Fatalf("outcome = %+v", failure.Outcome)
				}
				select {
				case <-body.closed:
				case <-time.After(5 * time.Second):
					t.Fatal("the body was never closed")
				}
			}
		})
	}
}

// TestManyAtOnce mixes faults, clients that leave and healthy answers on shared
// connections: none may touch another.
func TestManyAtOnce(t *testing.T) {
	faults := []testkit.Fault{
		nil, nil, testkit.Hangup(), testkit.Reset(), testkit.RateLimited("1"), testkit.Cut(3, testkit.EndFIN), testkit.StallAfter(2),
		testkit.Gzip(), testkit.ServerError(), testkit.Page(200), testkit.NoDone(),
	}
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: func(r *testkit.Request) testkit.Fault {
				return faults[r.Number%len(faults)]
			}})
			e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
			var wg sync.WaitGroup
			for worker := range 16 {
				wg.Go(func() {
					for i := range 30 {
						one(t, e, u.BaseURL, (worker+i)%5 == 0)
					}
				})
			}
			wg.Wait()
		})
	}
}

func one(t *testing.T, e *upstream.Executor, base string, leave bool) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	x := chat(base, true)
	x.Timeouts.Idle = 200 * time.Millisecond
	res, failure := e.Do(ctx, x)
	if failure != nil {
		if failure.Outcome.Cause == realm.CauseInternal || failure.Outcome.Cause == realm.CauseOK {
			t.Errorf("outcome = %+v", failure.Outcome)
		}
		return
	}
	res.Started()
	if leave {
		cancel()
	}
	got, err := readAll(res)
	var re *upstream.ReadError
	if err != nil && !errors.As(err, &re) {
		t.Errorf("err = %v", err)
	}
	if res.Status != http.StatusOK || !strings.HasPrefix(got, "data: ") && !leave {
		t.Errorf("answer = %d %.80q", res.Status, got)
	}
}
