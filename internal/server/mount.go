package server

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"time"

	"realms/internal/api/openai"
	"realms/internal/version"
)

// mount is the list of everything that answers on the public listener.
func (a *App) mount() http.Handler {
	mux := http.NewServeMux()
	relay := &openai.Handler{
		Gateway:        a.Gateway,
		Log:            a.Log,
		TrustedProxies: a.Config.Server.TrustedProxies,
		CORSOrigins:    a.Config.Server.CORSOrigins,
		WriteStall:     a.Config.Relay.WriteStall,
	}
	relay.Mount(mux)
	mux.HandleFunc("GET /healthz", health)
	mux.HandleFunc("GET /{$}", welcome)
	return front(mux, relay.NotFound, bodyTimeout)
}

// front is what holds for every request, whoever answers it. Its body arrives in
// time, or its connection ends, also if nobody wants the body: net/http reads what
// a handler has left. One in chunks ends its connection in any case: net/http
// accepts a Content-Length beside them, so a proxy before us may see another
// request's beginning where we see its body's end. And a path that is not clean is
// not found: ServeMux would redirect it.
func front(mux *http.ServeMux, notFound http.HandlerFunc, bodyTime time.Duration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ContentLength != 0 {
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTime)) // whoever reads to the end lifts it
		}
		if len(r.TransferEncoding) > 0 {
			w.Header().Set("Connection", "close")
		}
		if !clean(r.URL.EscapedPath()) {
			notFound(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// clean tells whether a path has neither empty segments nor dots for segments.
func clean(path string) bool {
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "." || segment == ".." || segment == "" && path != "/" {
			return false
		}
	}
	return true
}

// health says that the process serves. It asks nobody: traffic whose tokens are
// known goes on while the store is away, so that must not take it out of a load
// balancer.
func health(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]string{"status": "ok", "version": version.String()}) // the caller may be gone
}

func welcome(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "Realms: an OpenAI-compatible relay. Its API is at /v1 on this address.\n") // the caller may be gone
}
