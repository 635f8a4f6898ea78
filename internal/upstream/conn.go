package upstream

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"realms/internal/netguard"
)

// conn sends a request's header and body in one write. net/http flushes the header
// before any body whose type it does not know, and then copies the body through a
// fresh buffer of 32 KiB: a system call and a copy that every request would pay.
//
// It holds back a write that is a whole HTTP/1 header with a body to follow, which
// is all there at once (Exchange.Body is in memory), and sends it with the body's
// first bytes. Everything else passes straight through; over TLS, all does.
//
// It also guards the moment between two exchanges: see settle.
type conn struct {
	net.Conn
	held    []byte // a header that waits for its body
	reading atomic.Bool
	idle    atomic.Bool // between settle and the next request's first byte
	closed  atomic.Bool
	probe   probe
	h2      atomic.Int32 // 0 until asked, then 1 for no and 2 for yes
	socks   bool         // a SOCKS proxy is being asked, and has a deadline
}

// socksVersion begins what is written to a SOCKS proxy, or 1 does where a password
// is; TLS begins with 22 and HTTP with a letter.
const socksVersion = 5

// joinBelow is the size up to which copying a body behind its header is cheaper
// than a gathering write.
const joinBelow = 8 << 10

// dialer wraps what the guard dials.
func dialer(g *netguard.Guard) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := g.DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		wrapped := &conn{Conn: c}
		wrapped.probe.open(c)
		return wrapped, nil
	}
}

func (c *conn) Read(p []byte) (int, error) {
	c.reading.Store(true)
	n, err := c.Conn.Read(p)
	c.reading.Store(false)
	if n > 0 && c.idle.Load() {
		_ = c.Close()
		return 0, io.EOF
	}
	return n, err
}

func (c *conn) Close() error {
	c.closed.Store(true)
	return c.Conn.Close()
}

// settleTime is how long settle waits for net/http to come back to reading: it
// takes microseconds, and on a starved machine what the scheduler needs. Only an
// upstream that has sent too much makes it pass.
const settleTime = 250 * time.Millisecond

// settle keeps what an upstream sent beyond its answer's end from being taken for
// the next answer, which may be another user's. net/http offers a connection for
// use a moment before it looks for such bytes. So here, before a connection is
// used again: somebody must wait in Read (nothing is left in net/http's buffer),
// whatever Read gets until the request goes out ends the connection, and so does
// what the kernel holds at that moment. The exchange then fails as on any stale
// connection. Bytes that arrive later still cannot be told from an answer.
func settle(nc net.Conn) {
	c := ours(nc)
	if c == nil {
		return
	}
	c.idle.Store(true)
	for range 100 {
		if c.reading.Load() || c.closed.Load() {
			return
		}
		runtime.Gosched()
	}
	deadline := time.Now().Add(settleTime)
	for !c.reading.Load() && !c.closed.Load() {
		if time.Now().After(deadline) {
			_ = c.Close()
			return
		}
		time.Sleep(50 * time.Microsecond)
	}
}

// wakeUp ends the time in which nothing may arrive.
func (c *conn) wakeUp() error {
	if !c.idle.Load() {
		return nil
	}
	if c.probe.touched() {
		_ = c.Close()
		return errTouched
	}
	c.idle.Store(false)
	return nil
}

// errTouched: the upstream has sent something, or its end, before it was asked.
var errTouched = errors.New("connection is not idle any more")

// ours is the conn below an HTTP/1 connection, under TLS or, through a proxy that
// speaks it, two of them; nil for any other.
func ours(nc net.Conn) *conn {
	if c, ok := nc.(*conn); ok {
		return c
	}
	secure, ok := nc.(*tls.Conn)
	if !ok {
		return nil
	}
	below := secure.NetConn()
	if inner, ok := below.(*tls.Conn); ok {
		below = inner.NetConn()
	}
	c, ok := below.(*conn)
	if !ok {
		return nil
	}
	if c.h2.Load() == 0 {
		c.h2.Store(1)
		if secure.ConnectionState().NegotiatedProtocol == "h2" {
			c.h2.Store(2)
		}
	}
	if c.h2.Load() == 2 {
		return nil // streams have their own ends
	}
	return c
}

func (c *conn) Write(p []byte) (int, error) {
	if c.socks && len(p) > 0 && p[0] > socksVersion {
		c.socks = false // the first bytes meant for the upstream: the proxy let them through
		if err := c.SetDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
	if len(c.held) > 0 {
		return c.writeHeld(p)
	}
	if announcesBody(p) {
		c.held = append(c.held[:0], p...)
		return len(p), nil
	}
	if err := c.wakeUp(); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

// writeHeld sends the header that waits, and p behind it.
func (c *conn) writeHeld(p []byte) (int, error) {
	if err := c.wakeUp(); err != nil {
		return 0, err
	}
	head := c.held
	c.held = c.held[:0]
	if len(p) <= joinBelow {
		joined := append(head, p...)
		c.held = joined[:0] // keep what it grew to
		n, err := c.Conn.Write(joined)
		return max(n-len(head), 0), err
	}
	parts := net.Buffers{head, p}
	n, err := parts.WriteTo(c.Conn)
	return max(int(n)-len(head), 0), err
}

// sized is a body in memory that can write itself.
type sized interface {
	io.WriterTo
	Len() int
}

// ReadFrom sends a body, without copying it where it can write itself.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if limited, ok := r.(*io.LimitedReader); ok {
		if body, ok := limited.R.(sized); ok && int64(body.Len()) <= limited.N {
			return body.WriteTo(writeOnly{c})
		}
	}
	buf, _ := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	return io.CopyBuffer(writeOnly{c}, r, *buf)
}

// writeOnly hides ReadFrom, or copying would come back to it for ever.
type writeOnly struct{ io.Writer }

var copyBuffers = sync.Pool{New: func() any {
	b := make([]byte, 32<<10)
	return &b
}}

var (
	headerEnd     = []byte("\r\n\r\n")
	contentLength = []byte("\r\nContent-Length: ")
	requestLine   = []byte(" HTTP/1.1\r\n")
)

// announcesBody tells whether the bytes are one HTTP/1 request header, and nothing
// else, that promises a body.
func announcesBody(p []byte) bool {
	if !bytes.HasSuffix(p, headerEnd) || bytes.Index(p, headerEnd) != len(p)-len(headerEnd) {
		return false
	}
	line := bytes.IndexByte(p, '\n')
	if !bytes.HasSuffix(p[:line+1], requestLine) {
		return false
	}
	at := bytes.Index(p, contentLength)
	if at < 0 {
		return false
	}
	digit := p[at+len(contentLength)]
	return digit >= '1' && digit <= '9'
}
