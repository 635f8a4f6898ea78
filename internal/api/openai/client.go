package openai

import (
	"io"
	"net/http"
	"strconv"
	"time"

	"realms/internal/gateway"
	protocol "realms/internal/protocol/openai"
	"realms/internal/realm"
)

// client is the gateway's far end over HTTP.
type client struct {
	w       http.ResponseWriter
	control *http.ResponseController
	op      *protocol.Operation
	stall   time.Duration

	// timed: a write deadline ends the answer whenever it passes, not only amid a
	// write (HTTP/2), so that none may stand while nothing is written.
	timed    bool
	began    bool
	stream   bool
	flush    bool // what is written must not wait: events, or bytes that come as they are made
	abort    bool // a committed whole answer cannot be finished: cut the connection
	deadline time.Time
}

var _ gateway.Client = (*client)(nil)

// Begin implements gateway.Client.
func (c *client) Begin(status int, h http.Header, stream bool, length int64) {
	c.began, c.stream, c.flush = true, stream, stream || length < 0
	header := c.w.Header()
	for name, values := range h {
		header[name] = values
	}
	switch {
	case stream:
		header["Content-Type"] = eventStream
		header["X-Accel-Buffering"] = noBuffering
		header["Cache-Control"] = noCache
	case length >= 0:
		header["Content-Length"] = []string{strconv.FormatInt(length, 10)}
	}
	c.extend()
	c.w.WriteHeader(status)
}

var (
	eventStream = []string{"text/event-stream"}
	noBuffering = []string{"no"}
	noCache     = []string{"no-cache"}
)

// pieceBytes is how much is written under one deadline: a client that goes on
// reading is never taken for a stalled one because it is asked for much.
const pieceBytes = 64 << 10

// Write implements gateway.Client. A whole answer is flushed by its end.
func (c *client) Write(p []byte) error {
	for more := true; more; more = len(p) > 0 {
		piece := p[:min(len(p), pieceBytes)]
		p = p[len(piece):]
		c.extend()
		if _, err := c.w.Write(piece); err != nil {
			return err
		}
	}
	if c.flush {
		if err := c.control.Flush(); err != nil {
			return err
		}
	}
	if c.timed {
		c.deadline = time.Time{}
		_ = c.control.SetWriteDeadline(c.deadline) // it had one
	}
	return nil
}

// extend moves the write deadline on. A client that takes nothing for the stall
// time is gone; setting a deadline is a system call's worth of work, so it is
// done when a quarter of it has passed.
func (c *client) extend() {
	now := time.Now()
	if c.stall <= 0 || c.deadline.Sub(now) > c.stall*3/4 {
		return
	}
	c.deadline = now.Add(c.stall)
	_ = c.control.SetWriteDeadline(c.deadline) // not every ResponseWriter has one
}

// KeepAlive implements gateway.Client.
func (c *client) KeepAlive(at gateway.Progress) error {
	return c.Write(at.AppendKeepAlive(nil))
}

// Fail implements gateway.Client.
func (c *client) Fail(err *realm.Error, at gateway.Progress) {
	switch {
	case !c.began:
		writeError(c.w, c.op, err, at.Attempts)
	case !c.stream:
		c.abort = true
	default:
		how := wireOf(c.op, err.Code)
		code := how.code
		if err.Reason != "" {
			code = err.Reason
		}
		_ = c.Write(at.AppendFailure(nil, protocol.UpstreamError{Message: err.Message, Type: how.kind, Code: code})) // the client may be gone
	}
}

// Status implements gateway.Client.
func (c *client) Status(err *realm.Error) int { return wireOf(c.op, err.Code).status }

// wantedBody is a request's body that somebody reads. At its end it lifts the
// deadline under which it arrives: net/http goes on reading the connection to see
// the client leave.
type wantedBody struct {
	body    io.Reader
	control *http.ResponseController
}

func (b *wantedBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{}) // not every ResponseWriter has one
	}
	return n, err
}
