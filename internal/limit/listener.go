package limit

import (
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const refusalBody = `{"error":{"message":"Too many connections are open; try again.","type":"server_error","param":null,"code":"overloaded"}}`

// refusal is what a connection over the limit gets: it is cheap, ends the
// connection, and tells a client to come again rather than hang.
var refusal = fmt.Appendf(nil, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\n"+
	"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(refusalBody), refusalBody)

// Listener accepts at most Max connections at a time, so that the process never
// runs out of file descriptors: each relayed request may need a second one
// towards an upstream. A connection over the limit is answered with a 503 and
// closed at once; a client whose request has arrived by then may see a reset
// instead, which it takes for the same.
type Listener struct {
	net.Listener
	Max     int64
	open    atomic.Int64
	Refused atomic.Int64
}

// Accept gives the next connection that is within the limit.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.Max {
			return &counted{Conn: c, open: &l.open}, nil
		}
		l.open.Add(-1)
		l.Refused.Add(1)
		_ = c.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
		_, _ = c.Write(refusal)
		_ = c.Close()
	}
}

// Open is how many accepted connections are open now.
func (l *Listener) Open() int64 { return l.open.Load() }

type counted struct {
	net.Conn
	open *atomic.Int64
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() { c.open.Add(-1) })
	return c.Conn.Close()
}
