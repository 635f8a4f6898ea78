package upstream

import (
	"context"
	"errors"
	"net/http"

	"realms/internal/netguard"
	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

var (
	errKey      = errors.New("the credential's key holds a control character")
	errStale    = errors.New("kept-alive connection was closed before it answered")
	errNotFound = openai.UpstreamError{Message: "No such object.", Type: "invalid_request_error", Code: "not_found"}
)

// classifySendError says what it means that no header came.
func (a *attempt) classifySendError(err error, x *Exchange) *Failure {
	o := realm.Outcome{
		Cause: realm.CauseConnect, Scope: realm.ScopeEndpoint, Next: realm.NextOther, Passing: true,
		Err: scrubError(err, x),
	}
	p, expired := a.timedOut()
	var refused *netguard.RefusedError
	switch {
	case expired && p == phaseConnect:
		o.Err = errConnect
	case expired:
		o.Cause, o.Passing, o.Err = realm.CauseTimeout, false, errFirstByte
	case a.parent.Err() != nil:
		o = gone(a.parent)
	case errors.As(err, &refused):
		o.Passing = false
	case !a.connected:
		// Refused, unknown name, no TLS: as set out above.
	case a.answered.Load():
		// Something came that is no HTTP answer, or not to its end.
		o.Cause, o.Scope = realm.CauseBadAnswer, realm.ScopeEndpointModel
	case a.reused && !isStreamReset(err):
		o = realm.Outcome{Cause: realm.CauseStaleConn, Next: realm.NextSameCredential, Err: errStale}
	}
	return &Failure{Outcome: o}
}

// gone is the outcome of a client that does not wait any longer.
func gone(ctx context.Context) realm.Outcome {
	return realm.Outcome{Cause: clientCause(ctx), Next: realm.NextStop, Err: context.Cause(ctx)}
}

// streamReset has the fields of net/http's unexported HTTP/2 stream error, which
// errors.As fills in by name.
type streamReset struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamReset) Error() string { return "stream reset" }

// isStreamReset tells an HTTP/2 stream that the upstream ended, on a connection
// that lives on, from a connection that died. A stream that was refused unread
// counts as the latter: it is as safe to send again.
func isStreamReset(err error) bool {
	const refusedStream = 7
	var reset streamReset
	return errors.As(err, &reset) && reset.Code != refusedStream
}

// badTarget is the failure of a URL that cannot be built: an operator's mistake,
// or a client's path that would lead elsewhere.
func badTarget(err error) *Failure {
	if errors.Is(err, errPath) {
		return &Failure{
			Outcome: realm.Outcome{Cause: realm.CauseClientError, Next: realm.NextStop, Status: http.StatusNotFound, Err: err},
			Status:  http.StatusNotFound,
			Error:   errNotFound,
		}
	}
	return &Failure{Outcome: realm.Outcome{
		Cause: realm.CauseConnect, Scope: realm.ScopeEndpoint, Next: realm.NextOther, Err: err,
	}}
}
