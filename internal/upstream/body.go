package upstream

import (
	"context"
	"errors"
	"io"
	"net/http"

	"realms/internal/realm"
)

// ReadError is the end of a 2xx body that is not its end.
type ReadError struct {
	// Cause is CauseTimeout (the first event or a read took too long),
	// CauseUpstreamCut (reset, or shorter than announced), CauseBadAnswer (broken
	// encoding, or too large once decoded), or CauseClientGone (the request's context
	// was cancelled; if its deadline passed, CauseTimeout).
	Cause realm.Cause
	Err   error

	client bool // it was the client that ended it, by going or by its deadline
}

func (e *ReadError) Error() string { return "read answer: " + e.Err.Error() }

func (e *ReadError) Unwrap() error { return e.Err }

// Outcome is what the end teaches when nothing has been committed; status is the
// answer's.
func (e *ReadError) Outcome(status int) realm.Outcome {
	o := realm.Outcome{Cause: e.Cause, Status: status, Err: e}
	if e.client {
		return o
	}
	if e.Cause == realm.CauseUpstreamCut {
		o.Cause = realm.CauseBadAnswer // the word for a cut is kept for what was committed
		o.Passing = true
	}
	o.Scope, o.Next = realm.ScopeEndpointModel, realm.NextOther
	return o
}

// answerBody is a 2xx body under the attempt's clock.
type answerBody struct {
	attempt *attempt
	raw     io.ReadCloser
	decoded io.Reader // raw, or what inflates it
	err     error     // the end, once seen
}

func (b *answerBody) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	b.attempt.reading()
	n, err := b.decoded.Read(p)
	b.attempt.read()
	if err != nil {
		b.err = b.attempt.endOfBody(err)
		b.attempt.finish()
	}
	return n, b.err
}

// Close lets the answer go, and its connection too if it was not read to its end.
func (b *answerBody) Close() error {
	if b.err == nil {
		b.err = http.ErrBodyReadAfterClose
	}
	err := b.raw.Close()
	b.attempt.finish()
	return err
}

// endOfBody tells apart why reading ended. io.EOF stays as it is.
func (a *attempt) endOfBody(err error) error {
	var bad *encodingError
	p, expired := a.timedOut()
	switch {
	case err == io.EOF: //nolint:errorlint // a reader's end is io.EOF itself
		return err
	case expired && p == phaseEvent:
		return &ReadError{Cause: realm.CauseTimeout, Err: errFirstEvent}
	case expired:
		return &ReadError{Cause: realm.CauseTimeout, Err: errIdle}
	case a.parent.Err() != nil:
		return &ReadError{Cause: clientCause(a.parent), Err: context.Cause(a.parent), client: true}
	case errors.As(err, &bad):
		return &ReadError{Cause: realm.CauseBadAnswer, Err: err}
	}
	return &ReadError{Cause: realm.CauseUpstreamCut, Err: err}
}

// clientCause tells a client's deadline from a client that went away.
func clientCause(ctx context.Context) realm.Cause {
	if errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return realm.CauseTimeout
	}
	return realm.CauseClientGone
}

var (
	errConnect    = errors.New("no connection within the connect timeout")
	errFirstByte  = errors.New("no header within the first byte timeout")
	errFirstEvent = errors.New("no event within the first event timeout")
	errIdle       = errors.New("no byte within the idle timeout")
)
