package upstream

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"

	"realms/internal/netguard"
)

// conn sends a request's header and body in one write. net/http flushes the header
// before any body whose type it does not know, and then copies the body through a
// fresh buffer of 32 KiB: a system call and a copy that every request would pay.
//
// It holds back a write that is a whole HTTP/1 header with a body to follow, which
// is all there at once (Exchange.Body is in memory), and sends it with the body's
// first bytes. Everything else passes straight through; over TLS, all does.
type conn struct {
	net.Conn
	held []byte // a header that waits for its body
}

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
		return &conn{Conn: c}, nil
	}
}

func (c *conn) Write(p []byte) (int, error) {
	if len(c.held) > 0 {
		return c.writeHeld(p)
	}
	if announcesBody(p) {
		c.held = append(c.held[:0], p...)
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// writeHeld sends the header that waits, and p behind it.
func (c *conn) writeHeld(p []byte) (int, error) {
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
