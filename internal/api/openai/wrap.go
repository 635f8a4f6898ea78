package openai

import (
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"realms/internal/gateway"
	"realms/internal/realm"
)

const headerRequestID = "X-Request-Id"

// exposed are the answer headers that a browser's script may read.
const exposed = "x-request-id, retry-after, x-ratelimit-limit-requests, x-ratelimit-limit-tokens, " +
	"x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens, x-ratelimit-reset-requests, x-ratelimit-reset-tokens"

// wrap gives a handler what all endpoints share: the request's id, CORS, and a
// panic that stays its own request's.
func (h *Handler) wrap(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := gateway.NewRequestID(time.Now())
		header := w.Header()
		header[headerRequestID] = []string{id.String()}
		if origin := r.Header.Get("Origin"); origin != "" {
			h.allowOrigin(header, origin)
		}
		defer func() {
			v := recover()
			if v == nil {
				return
			}
			if v == http.ErrAbortHandler { //nolint:errorlint // a panic's value, not an error in a chain
				panic(v)
			}
			h.Log.Error("panic in a request", "request_id", id.String(), "panic", v, "stack", string(debug.Stack()))
			panic(http.ErrAbortHandler)
		}()
		next(w, r)
	}
}

// requestID reads back what wrap minted.
func requestID(w http.ResponseWriter) realm.RequestID {
	id, _ := realm.ParseRequestID(w.Header().Get(headerRequestID))
	return id
}

func (h *Handler) allowOrigin(header http.Header, origin string) {
	if len(h.CORSOrigins) == 0 {
		header.Set("Access-Control-Allow-Origin", "*")
	} else if slices.Contains(h.CORSOrigins, origin) {
		header.Set("Access-Control-Allow-Origin", origin)
		header.Add("Vary", "Origin")
	} else {
		return
	}
	header.Set("Access-Control-Expose-Headers", exposed)
}

// preflight answers OPTIONS before any token is asked for: it carries none.
func (h *Handler) preflight(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Access-Control-Allow-Methods", "GET, POST, DELETE, OPTIONS")
	if asked := r.Header.Get("Access-Control-Request-Headers"); asked != "" && !strings.ContainsAny(asked, "\r\n") {
		header.Set("Access-Control-Allow-Headers", asked)
	}
	header.Set("Access-Control-Max-Age", "86400")
	w.WriteHeader(http.StatusNoContent)
}
