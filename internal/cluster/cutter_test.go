package cluster_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// cutter forwards to a Redis, and cuts the connection in place of each nth reply
// (0: none).
type cutter struct {
	net.Listener
	target string
	each   int64
	seen   atomic.Int64
	cut    atomic.Int64
	wg     sync.WaitGroup
}

func newCutter(t testing.TB, l net.Listener, url string, each int64) *cutter {
	t.Helper()
	c := &cutter{Listener: l, target: strings.TrimPrefix(url, "redis://"), each: each}
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
	c.wg.Go(func() {
		defer client.Close()
		defer server.Close()
		buf := make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			if c.each > 0 && n > 0 && c.seen.Add(1)%c.each == 0 {
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
		if _, writeErr := server.Write(buf[:n]); err != nil || writeErr != nil {
			return
		}
	}
}
