package server

import (
	"encoding/json"
	"io"
	"net/http"

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
		BodyTimeout:    bodyTimeout,
		WriteStall:     a.Config.Relay.WriteStall,
	}
	relay.Mount(mux)
	mux.HandleFunc("GET /healthz", health)
	mux.HandleFunc("GET /{$}", welcome)
	mux.HandleFunc("/", relay.NotFound)
	return mux
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
