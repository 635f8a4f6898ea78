package testkit

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// Request is one that came, as it came. Its fields do not change any more.
type Request struct {
	Number int // from 1, in order of arrival
	Method string
	Path   string // as sent, escaped: "/v1/chat/completions"
	Query  string
	Host   string
	Proto  string // "HTTP/1.1"
	Header http.Header
	Body   []byte
	Key    string // of Authorization: Bearer
	At     time.Time
	// Reused: its connection had carried a request before.
	Reused bool

	// Of a JSON body, where they are there.
	Model        string
	Stream       bool
	IncludeUsage bool // stream_options.include_usage

	done     chan struct{}
	gone     chan struct{}
	mu       sync.Mutex
	finished bool
	goneAt   time.Time
}

func newRequest(req *http.Request, reused bool) *Request {
	key, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	return &Request{
		Method: req.Method, Path: req.URL.EscapedPath(), Query: req.URL.RawQuery, Host: req.Host,
		Proto: req.Proto, Header: req.Header.Clone(), Key: key, At: time.Now(), Reused: reused,
		done: make(chan struct{}), gone: make(chan struct{}),
	}
}

// read takes from the body what scripts ask for most.
func (r *Request) read() {
	var body struct {
		Model         string `json:"model"`
		Stream        bool   `json:"stream"`
		StreamOptions struct {
			IncludeUsage bool `json:"include_usage"`
		} `json:"stream_options"`
	}
	if json.Unmarshal(r.Body, &body) == nil {
		r.Model, r.Stream, r.IncludeUsage = body.Model, body.Stream, body.StreamOptions.IncludeUsage
	}
}

// JSON reads the body into a map; nil if it is no object.
func (r *Request) JSON() map[string]any {
	var m map[string]any
	_ = json.Unmarshal(r.Body, &m)
	return m
}

// finish notes that the upstream has done all it will for the request.
func (r *Request) finish() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.finished {
		r.finished = true
		close(r.done)
	}
}

// cancel notes that the client went away, unless the answer was complete.
func (r *Request) cancel() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.finished && r.goneAt.IsZero() {
		r.goneAt = time.Now()
		close(r.gone)
	}
}

// Done is closed when the upstream has finished with the request, well or not.
func (r *Request) Done() <-chan struct{} { return r.done }

// Cancelled tells whether the client gave the request up (closed its connection,
// or reset its stream) before the answer was complete.
func (r *Request) Cancelled() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.goneAt.IsZero()
}

// WaitCancelled returns when the client has given the request up, and ends the
// test if that does not happen in time.
func (r *Request) WaitCancelled(t testing.TB) time.Time {
	t.Helper()
	wait(t, r.gone, "the request to be cancelled")
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.goneAt
}

// WaitDone returns when the upstream has finished with the request.
func (r *Request) WaitDone(t testing.TB) {
	t.Helper()
	wait(t, r.done, "the request to be done")
}

func wait(t testing.TB, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
}
