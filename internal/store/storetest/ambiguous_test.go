package storetest_test

import (
	"bytes"
	"context"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// cutter forwards to a MySQL server. Once armed, it lets the next COMMIT through
// and cuts the connection in place of the reply.
type cutter struct {
	net.Listener
	target string
	armed  atomic.Bool
	cut    atomic.Int64
	wg     sync.WaitGroup
}

func newCutter(t *testing.T, target string) *cutter {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cutter{Listener: l, target: target}
	c.wg.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			c.wg.Go(func() { c.forward(client) })
		}
	})
	t.Cleanup(func() { _ = l.Close(); c.wg.Wait() })
	return c
}

func (c *cutter) forward(client net.Conn) {
	defer client.Close()
	server, err := (&net.Dialer{}).DialContext(context.Background(), "tcp", c.target)
	if err != nil {
		return
	}
	defer server.Close()
	var last atomic.Bool // the server's next bytes are the reply that is lost
	c.wg.Go(func() {
		defer client.Close()
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			if last.Load() && n > 0 {
				c.cut.Add(1)
				return
			}
			if _, writeErr := client.Write(buf[:n]); err != nil || writeErr != nil {
				return
			}
		}
	})
	buf := make([]byte, 1<<16)
	for {
		n, err := client.Read(buf)
		if bytes.Contains(buf[:n], []byte("\x03COMMIT")) && c.armed.CompareAndSwap(true, false) {
			last.Store(true)
		}
		if _, writeErr := server.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
	}
}

// A COMMIT can succeed while its reply is lost: the batch is inserted again and
// is there once.
func TestLostReplyToCommit(t *testing.T) {
	u, err := url.Parse(storetest.DSN(t, "mysql"))
	if err != nil {
		t.Fatal(err)
	}
	proxy := newCutter(t, u.Host)
	u.Host = proxy.Addr().String()
	s := storetest.OpenDSN(t, store.Options{DSN: u.String()})
	must[[]string](t)(s.Migrate(t.Context()))
	rounds, failed := size(50), 0
	for i := range rounds {
		records := []realm.RequestRecord{tried(2 * i), tried(2*i + 1)}
		proxy.armed.Store(true)
		err := s.Tx(t.Context(), func(r store.Repos) error { return r.Requests.InsertBatch(t.Context(), records) })
		if err == nil {
			t.Fatalf("round %d: the commit's reply was not lost", i)
		}
		if _, err := s.Read().Requests.Get(t.Context(), records[0].ID); err == nil {
			failed++ // reported as failed, and yet there
		}
		insertBatch(t, s, records)
	}
	if failed != rounds || proxy.cut.Load() != int64(rounds) {
		t.Errorf("%d of %d commits succeeded unseen, %d replies were cut", failed, rounds, proxy.cut.Load())
	}
	all := must[[]realm.RequestRecord](t)(s.Read().Requests.List(t.Context(), store.RequestPage{Limit: 1000}))
	if len(all) != 2*rounds {
		t.Errorf("%d requests, want %d", len(all), 2*rounds)
	}
	for _, r := range all {
		if got := must[realm.RequestRecord](t)(s.Read().Requests.Get(t.Context(), r.ID)); len(got.Tries) != 2 {
			t.Errorf("request %s has %d attempts, want 2", r.ID, len(got.Tries))
		}
	}
}
