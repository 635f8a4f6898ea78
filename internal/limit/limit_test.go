package limit

import (
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
)

func TestBytesNeverExceedTheBudget(t *testing.T) {
	b := NewBytes(100)
	var wg sync.WaitGroup
	var mu sync.Mutex
	taken := 0
	for range 50 {
		wg.Go(func() {
			if b.Take(7) {
				mu.Lock()
				taken++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if taken != 14 || b.Held() != 98 {
		t.Fatalf("%d takes succeeded and %d bytes are held, want 14 and 98", taken, b.Held())
	}
	b.Give(98)
	if !b.Take(100) || b.Take(1) {
		t.Fatal("a returned budget is not whole again")
	}
	b.Add(50)
	b.Give(100)
	if b.Take(51) || !b.Take(50) {
		t.Fatal("what was added does not count")
	}
}

func TestListenerRefusesPastItsLimitAndRecovers(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &Listener{Listener: inner, Max: 2}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	defer func() { _ = srv.Close(); <-done }()

	ask := func() (int, *http.Transport) {
		tr := &http.Transport{}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+inner.Addr().String(), nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := tr.RoundTrip(req)
		if err != nil {
			return 0, tr // reset: the request had arrived before the refusal was read
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		return res.StatusCode, tr
	}
	var held []*http.Transport
	for range 2 {
		code, tr := ask()
		if code != http.StatusOK {
			t.Fatalf("within the limit: status %d", code)
		}
		held = append(held, tr)
	}
	if code, _ := ask(); code != http.StatusServiceUnavailable && code != 0 {
		t.Fatalf("past the limit: status %d, want 503 or a reset", code)
	}
	if l.Refused.Load() != 1 {
		t.Fatalf("refused counts %d, want 1", l.Refused.Load())
	}
	for _, tr := range held {
		tr.CloseIdleConnections()
	}
	for range 1000 {
		if code, tr := ask(); code == http.StatusOK {
			tr.CloseIdleConnections()
			return
		}
	}
	t.Fatal("closed connections did not free the limit")
}
