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

	began    bool
	stream   bool
	abort    bool // a committed whole answer cannot be finished: cut the connection
	deadline time.Time
}

var _ gateway.Client = (*client)(nil)

// Begin implements gateway.Client.
func (c *client) Begin(status int, h http.Header, stream bool, length int64) {
	c.began, c.stream = true, stream
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

// Write implements gateway.Client. Each write of a stream is flushed; a whole
// answer is flushed by its end.
func (c *client) Write(p []byte) error {
	c.extend()
	if _, err := c.w.Write(p); err != nil {
		return err
	}
	if !c.stream {
		return nil
	}
	return c.control.Flush()
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

// timedBody bounds the time in which a request body must arrive. The deadline is
// lifted at its end: net/http goes on reading the connection to see the client
// leave.
type timedBody struct {
	body    io.Reader
	control *http.ResponseController
	timeout time.Duration
	set     bool
}

func (b *timedBody) Read(p []byte) (int, error) {
	if !b.set && b.timeout > 0 {
		b.set = true
		_ = b.control.SetReadDeadline(time.Now().Add(b.timeout)) // not every ResponseWriter has one
	}
	n, err := b.body.Read(p)
	if err == io.EOF && b.set { //nolint:errorlint // io.Reader's contract is the bare value
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}
