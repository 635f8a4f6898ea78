package gateway

import (
	"io"
	"sync"
	"sync/atomic"

	"realms/internal/limit"
)

// body is a request body in memory. The handler holds one reference until commit
// or the request's end, and every attempt's reader holds one until the transport
// closes it: net/http may go on reading a request body after an early answer, so
// the buffer goes back to its pool only when the last of them let go.
type body struct {
	buf    []byte
	pooled *[]byte // what buf was cut from, nil when it is the collector's
	refs   atomic.Int32
	budget *limit.Bytes
	taken  int64
}

// Two sizes: most requests are small, Codex turns are some tens of KiB. Larger
// buffers are the collector's, so that one huge request does not stay for ever.
const (
	smallBody = 16 << 10
	largeBody = 256 << 10
)

var (
	smallBodies = sync.Pool{New: func() any { b := make([]byte, smallBody); return &b }}
	largeBodies = sync.Pool{New: func() any { b := make([]byte, largeBody); return &b }}
)

// newBody makes an empty body with room for size bytes and one reference.
func newBody(size int, budget *limit.Bytes) *body {
	b := &body{budget: budget}
	b.refs.Store(1)
	switch {
	case size <= smallBody:
		b.pooled = smallBodies.Get().(*[]byte)
	case size <= largeBody:
		b.pooled = largeBodies.Get().(*[]byte)
	default:
		b.buf = make([]byte, 0, size)
		return b
	}
	b.buf = (*b.pooled)[:0]
	return b
}

// ownBody holds bytes that are the collector's: an attempt's edited copy.
func ownBody(b []byte) *body {
	own := &body{buf: b}
	own.refs.Store(1)
	return own
}

// take reserves n more bytes of the budget for as long as the body is held.
func (b *body) take(n int64) bool {
	if !b.budget.Take(n) {
		return false
	}
	b.taken += n
	return true
}

// release drops one reference.
func (b *body) release() {
	if b.refs.Add(-1) != 0 {
		return
	}
	if b.taken != 0 {
		b.budget.Give(b.taken)
	}
	buf := b.pooled
	b.buf, b.pooled, b.taken = nil, nil, 0
	switch {
	case buf == nil:
	case cap(*buf) == smallBody:
		smallBodies.Put(buf)
	default:
		largeBodies.Put(buf)
	}
}

// reader gives the bytes to a transport and holds a reference until it closes
// them.
func (b *body) reader() *bodyReader {
	b.refs.Add(1)
	return &bodyReader{body: b, rest: b.buf}
}

// bodyReader guards Read against a Close from another goroutine: the HTTP/2
// transport closes a request body while its writer may be reading.
type bodyReader struct {
	mu   sync.Mutex
	body *body // nil once closed
	rest []byte
}

func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.body == nil || len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Len is how many bytes are still to be read.
func (r *bodyReader) Len() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.rest)
}

// WriteTo sends what is left without copying it. The lock is not held while it
// writes: a reference of its own keeps the bytes, so that Close never waits for a
// slow upstream.
func (r *bodyReader) WriteTo(w io.Writer) (int64, error) {
	r.mu.Lock()
	b, rest := r.body, r.rest
	r.rest = nil
	if b == nil || len(rest) == 0 {
		r.mu.Unlock()
		return 0, nil
	}
	b.refs.Add(1)
	r.mu.Unlock()
	defer b.release()
	n, err := w.Write(rest)
	return int64(n), err
}

func (r *bodyReader) Close() error {
	r.mu.Lock()
	b := r.body
	r.body, r.rest = nil, nil
	r.mu.Unlock()
	if b != nil {
		b.release()
	}
	return nil
}
