// Package demo owns a small sample upstream: enough of OpenAI's API for real
// clients to hold a conversation with Realms without a key and without a
// network. It answers with what it was told, in a few deltas with small pauses.
//
// It never runs unless asked for, never leaves the machine, calls no tool, keeps
// nothing, and imports nothing of Realms: what serves it is a plain upstream.
package demo

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Model is the one model of the sample upstream.
const Model = "realms-demo"

// DefaultPause is between two deltas: short, but to be seen.
const DefaultPause = 30 * time.Millisecond

// maxBody is the largest request body that is read.
const maxBody = 64 << 20

// Options of NewHandler and Start.
type Options struct {
	// Pause is between two deltas of a stream; 0: none.
	Pause time.Duration
	// Now is the clock that stamps answers; nil: time.Now.
	Now func() time.Time
}

type handler struct {
	pause time.Duration
	now   func() time.Time
}

// NewHandler is the sample upstream's API, below /v1.
func NewHandler(o Options) http.Handler {
	h := &handler{pause: o.Pause, now: o.Now}
	if h.now == nil {
		h.now = time.Now
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/responses", h.responses)
	mux.HandleFunc("POST /v1/chat/completions", h.chat)
	mux.HandleFunc("POST /v1/embeddings", h.embeddings)
	mux.HandleFunc("GET /v1/models", h.models)
	mux.HandleFunc("GET /v1/models/{model}", h.model)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "not_found", fmt.Sprintf(
			"The sample upstream does not serve %s %s: it has responses, chat/completions, embeddings and models.", r.Method, r.URL.Path))
	})
	return mux
}

// Upstream is a running sample upstream.
type Upstream struct {
	// BaseURL is what a channel's endpoint is given: "http://127.0.0.1:PORT/v1".
	BaseURL string

	server *http.Server
	done   chan error
}

// Start serves the sample upstream on a free port of this machine alone.
func Start(ctx context.Context, o Options) (*Upstream, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the sample upstream: %w", err)
	}
	u := &Upstream{
		BaseURL: "http://" + l.Addr().String() + "/v1",
		server:  &http.Server{Handler: NewHandler(o), ReadHeaderTimeout: 10 * time.Second},
		done:    make(chan error, 1),
	}
	go func() { u.done <- u.server.Serve(l) }()
	return u, nil
}

// Close ends the sample upstream and every answer it is giving.
func (u *Upstream) Close() error {
	err := u.server.Close()
	if served := <-u.done; !errors.Is(served, http.ErrServerClosed) {
		return fmt.Errorf("serve the sample upstream: %w", served)
	}
	return err
}

// wait lets a pause pass and tells whether the client is still there.
func (h *handler) wait(ctx context.Context) bool {
	if h.pause <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(h.pause)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
