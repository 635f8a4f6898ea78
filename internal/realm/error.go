package realm

import (
	"errors"
	"time"
)

// Code says what kind of trouble an Error is. Each transport maps codes to its
// wire shape in one file.
type Code string

// The codes. The comment says when one is meant.
const (
	CodeInvalid          Code = "invalid"            // the request is wrong; repeating it unchanged cannot help
	CodeTooLarge         Code = "too_large"          // the body is over the limit
	CodeUnauthenticated  Code = "unauthenticated"    // the token is missing, unknown, expired or revoked
	CodeForbidden        Code = "forbidden"          // known, but not allowed this
	CodeNotFound         Code = "not_found"          // no such object, path, or one that is somebody else's
	CodeModelNotFound    Code = "model_not_found"    // the model is unknown or not for this token
	CodeMethodNotAllowed Code = "method_not_allowed" // the path exists, the method does not
	CodeConflict         Code = "conflict"           // the object's state forbids it
	CodeRateLimited      Code = "rate_limited"       // a limit per minute; RetryAfter says when to come again, zero: not soon enough to wait
	CodeQuota            Code = "quota"              // used up; somebody must act before it helps to come again
	CodePlanLimit        Code = "plan_limit"         // a plan's allowance is used up until RetryAfter has passed, which is long
	CodeLoop             Code = "loop"               // relays point at each other
	CodeOverloaded       Code = "overloaded"         // no upstream could serve it, or this process is full
	CodeUpstreamBad      Code = "upstream_bad"       // the upstream answered nonsense or cut its answer short
	CodeUpstreamTimeout  Code = "upstream_timeout"   // the upstream did not answer in time
	CodeUnavailable      Code = "unavailable"        // something of ours is away (the store, a draining process)
	CodeInternal         Code = "internal"           // a fault of ours
)

// Error is a failure with words that may be shown. Message tells the reader what
// to do and may cross any border; Err is for the log alone and never does.
type Error struct {
	Code    Code
	Message string
	// Field names what in the input is wrong ("messages[2].role"), if anything does.
	Field string
	// Reason is a finer machine-readable code where the wire has one of its own
	// ("previous_response_not_found"); empty otherwise.
	Reason string
	// RetryAfter is how long to wait before trying again; zero says nothing.
	RetryAfter time.Duration
	Err        error
}

func (e *Error) Error() string {
	s := string(e.Code) + ": " + e.Message
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf-like helpers keep call sites to one line.

// Invalid is a CodeInvalid error about a field ("" when none is to blame).
func Invalid(field, message string) *Error {
	return &Error{Code: CodeInvalid, Field: field, Message: message}
}

// AsError finds the Error in a chain; anything else becomes CodeInternal with a
// message that says nothing of its cause.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: CodeInternal, Message: "An internal error occurred.", Err: err}
}
