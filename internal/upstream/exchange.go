package upstream

import (
	"io"
	"net/http"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

// Timeouts bound an attempt, phase by phase. Zero means no limit.
type Timeouts struct {
	Connect    time.Duration // name, TCP and TLS together
	FirstByte  time.Duration // from the connection to the answer's header
	FirstEvent time.Duration // from the header to Response.Started; streams only
	Idle       time.Duration // one read of the answer's body
}

// Exchange is one attempt, ready to be sent.
type Exchange struct {
	Attempt realm.Attempt
	API     realm.API
	Method  string
	// Path is below /v1, escaped, with a leading slash: "/chat/completions".
	Path string
	// Object: the path names an object of the client's, so that a 404 is the
	// client's fault and not a missing API.
	Object bool
	// RawQuery is the client's; key, token and access_token are taken out here.
	RawQuery string
	// Header is the client's, with canonical names; the allow-list is applied here
	// and the map is not changed.
	Header      http.Header
	ContentType string // of Body; "" sends none
	// Body is in memory; nil for none. It is closed, perhaps after Do has returned
	// and perhaps more than once; nothing reads it after that. If it has the methods
	// Len and WriteTo (of a *bytes.Reader) it is sent without copying; WriteTo and
	// Close may be called at the same time.
	Body   io.ReadCloser
	Length int64 // of Body, in bytes
	// Stream: an event stream was asked for, so FirstEvent applies.
	Stream bool
	// Hops is X-Realms-Hops as it came in; one more goes out.
	Hops int
	// FreshConn dials anew: the one retry after a stale keep-alive connection.
	FreshConn bool
	Timeouts  Timeouts
	// AddedFields are those that we put into Body and the client did not, as paths
	// ("stream_options"): a 400 that names one is NextWithoutField.
	AddedFields []string
	// LimitHeaders lets the upstream's x-ratelimit-* through (self mode).
	LimitHeaders bool
	// Identity is the account of a realm.CodexOAuth channel's credential. Without one
	// nothing is sent there; on other channels nobody reads it.
	Identity *realm.CodexIdentity
	// Session is what a realm.CodexOAuth channel calls the client's session where the
	// client names none in a header: the body's prompt_cache_key.
	Session string
}

// Response is a 2xx answer whose header has come. Body must be closed.
type Response struct {
	Status int
	// Header is what may go down to the client, with canonical names; the caller
	// owns it and may add to it. Content-Length is never in it.
	Header http.Header
	// MediaType is the content type in lower case, without parameters.
	MediaType string
	// Length of Body in bytes, -1 when unknown.
	Length int64
	// Body is the answer, already decoded if it came gzipped. An error other than
	// io.EOF is a *ReadError.
	Body io.ReadCloser
	// FirstByte is from Do's start to the header.
	FirstByte time.Duration
	Reused    bool // the connection had served before
	// Limits is what the header says of the account's plan, on a realm.CodexOAuth
	// channel; without windows where it says nothing.
	Limits realm.CodexLimits

	attempt *attempt
	idle    time.Duration
}

// EventStream tells whether the upstream says that it streams events.
func (r *Response) EventStream() bool { return r.MediaType == "text/event-stream" }

// Failure is what an attempt without a 2xx answer taught, or what an error found
// inside one did.
type Failure struct {
	Outcome realm.Outcome
	// Status is the one that a client's fault is returned with: Outcome.Status, or
	// what the channel's status map makes of it. 0 without an error to return.
	Status int
	// Error is the upstream's own error, scrubbed of the credential; zero when the
	// body held none.
	Error openai.UpstreamError
	// Body is the answer's body when it is a JSON object, scrubbed, ≤ 64 KiB; nil
	// otherwise. A client's fault may be returned with it as it is.
	Body []byte
	// Header is what may go down with a client's fault. Nil without an answer.
	Header http.Header
	// FirstByte is from Do's start to the header; 0: none came.
	FirstByte time.Duration
	// Limits is as in Response.
	Limits realm.CodexLimits
}
