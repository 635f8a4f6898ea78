package openai

import (
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"realms/internal/gateway"
	protocol "realms/internal/protocol/openai"
	"realms/internal/realm"
)

// Handler serves the /v1 of one gateway.
type Handler struct {
	Gateway *gateway.Gateway
	Log     *slog.Logger
	// TrustedProxies are believed about the client's address.
	TrustedProxies []netip.Prefix
	// CORSOrigins narrows the origins that browsers may call from; empty: any.
	CORSOrigins []string
	// WriteStall is how long a client may take no bytes before it counts as gone.
	WriteStall time.Duration
}

// Mount registers every endpoint and its aliases on the mux: people paste base
// URLs with /v1, without it, and with it twice. What nobody else serves is
// answered here too.
func (h *Handler) Mount(mux *http.ServeMux) {
	methods := map[string][]string{} // path → the methods it has
	route := func(method, path string, serve http.HandlerFunc, prefixes ...string) {
		for _, prefix := range prefixes {
			mux.HandleFunc(method+" "+prefix+path, h.wrap(serve))
			methods[prefix+path] = append(methods[prefix+path], method)
		}
	}
	for _, op := range protocol.Operations() {
		route(op.Method, op.Path, h.operation(op), prefixesOf(op.Path)...)
	}
	route(http.MethodGet, "/models", h.listModels, prefixesOf("/models")...)
	route(http.MethodGet, "/models/{model...}", h.showModel, "/v1", "/v1/v1")
	route(http.MethodGet, "/responses", h.probeResponses, prefixesOf("/responses")...)
	others := http.NewServeMux() // methods that HTTP does not know, and unknown paths
	for path, known := range methods {
		mux.HandleFunc("OPTIONS "+path, h.wrap(h.preflight))
		refuse := h.wrap(h.methodNotAllowed(known))
		for _, method := range otherMethods(known) {
			mux.HandleFunc(method+" "+path, refuse)
		}
		others.HandleFunc(path, refuse)
	}
	others.HandleFunc("/", h.NotFound)
	mux.Handle("/", others)
}

// prefixesOf names where a path is served besides /v1.
func prefixesOf(path string) []string {
	switch path {
	case "/responses", "/chat/completions", "/models", "/embeddings":
		return []string{"/v1", "/v1/v1", ""}
	default:
		return []string{"/v1", "/v1/v1"}
	}
}

// otherMethods are those that a path answers with a 405. Patterns name their
// method, because one without would clash with a more general path that has one.
func otherMethods(known []string) []string {
	var others []string
	for _, m := range []string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodConnect, http.MethodTrace,
	} {
		if !slices.Contains(known, m) && (m != http.MethodHead || !slices.Contains(known, http.MethodGet)) {
			others = append(others, m)
		}
	}
	return others
}

// operation serves an endpoint that goes upstream.
func (h *Handler) operation(op *protocol.Operation) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		call, ok := h.call(w, r, op)
		if !ok {
			return
		}
		if op.Object {
			call.ObjectID = r.PathValue("id")
			call.Path = op.Target(call.ObjectID)
		}
		c := &client{w: w, op: op, stall: h.WriteStall, timed: r.ProtoMajor > 1}
		c.control = http.NewResponseController(w)
		if r.ContentLength != 0 {
			call.Body = &wantedBody{body: r.Body, control: c.control}
		}
		h.Gateway.Serve(r.Context(), call, c)
		c.extend() // net/http writes what it still holds
		if c.abort {
			panic(http.ErrAbortHandler) // the only way to tell a client that a body is not whole
		}
	}
}

// call reads what every request has. On false the answer has been given.
func (h *Handler) call(w http.ResponseWriter, r *http.Request, op *protocol.Operation) (*gateway.Call, bool) {
	token, err := bearer(r.Header)
	if err != nil {
		writeError(w, op, err, 0)
		return nil, false
	}
	return &gateway.Call{
		ID: requestID(w), Operation: op, Token: token, Remote: h.clientAddress(r), Header: r.Header, Path: op.Path,
		RawQuery: r.URL.RawQuery, ContentEncoding: r.Header.Get("Content-Encoding"), ContentType: r.Header.Get("Content-Type"),
		Length: r.ContentLength, Body: r.Body,
	}, true
}

// bearer finds the token. Two that differ are an error: which one was meant?
func bearer(h http.Header) (string, *realm.Error) {
	auth, key := h["Authorization"], h["X-Api-Key"]
	if len(auth) > 1 || len(key) > 1 {
		return "", unauthenticated("The token was sent more than once.")
	}
	var token string
	if len(auth) == 1 {
		scheme, rest, ok := strings.Cut(auth[0], " ")
		if !ok || !strings.EqualFold(scheme, "Bearer") {
			return "", unauthenticated("The Authorization header must read 'Bearer', a space, and the token.")
		}
		token = strings.TrimSpace(rest)
	}
	if len(key) == 1 {
		if len(auth) == 1 && key[0] != token {
			return "", unauthenticated("Authorization and x-api-key hold different tokens; send one.")
		}
		token = key[0]
	}
	if token == "" {
		return "", unauthenticated("No token was sent. Put it into the header 'Authorization: Bearer …'.")
	}
	return token, nil
}

func unauthenticated(message string) *realm.Error {
	return &realm.Error{Code: realm.CodeUnauthenticated, Message: message}
}

// clientAddress is the rightmost address that is not a trusted proxy's.
func (h *Handler) clientAddress(r *http.Request) netip.Addr {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.Addr{}
	}
	addr := peer.Addr().Unmap()
	if len(h.TrustedProxies) == 0 || !h.trusted(addr) {
		return addr
	}
	hops := strings.Split(strings.Join(r.Header["X-Forwarded-For"], ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return addr
		}
		if addr = hop.Unmap(); !h.trusted(addr) {
			return addr
		}
	}
	return addr
}

func (h *Handler) trusted(a netip.Addr) bool {
	for _, p := range h.TrustedProxies {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// probeResponses answers what clients ask of /v1/responses besides POST. 426 makes
// Codex fall back from its WebSocket to POST at once; any other refusal costs it
// seven tries. A HEAD is codex doctor's, and any answer serves it.
func (h *Handler) probeResponses(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		w.Header().Set("Upgrade", "HTTP/1.1")
		writeJSONError(w, http.StatusUpgradeRequired, &wireError{Message: "WebSocket is not served here: use POST /v1/responses.", Type: typeInvalid, Code: "websocket_not_supported"})
		return
	}
	if r.Method == http.MethodHead {
		w.WriteHeader(http.StatusOK)
		return
	}
	h.methodNotAllowed([]string{http.MethodPost})(w, r)
}

func (h *Handler) methodNotAllowed(allowed []string) http.HandlerFunc {
	list := strings.Join(append(allowed, http.MethodOptions), ", ")
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Allow", list)
		writeError(w, nil, &realm.Error{Code: realm.CodeMethodNotAllowed, Message: "Not allowed method " + strconv.Quote(r.Method) + " on " + shown(r.URL.Path) + ": use " + list + "."}, 0)
	}
}

// NotFound answers any path that is not served, in OpenAI's shape.
func (h *Handler) NotFound(w http.ResponseWriter, r *http.Request) { h.wrap(notFound)(w, r) }

func notFound(w http.ResponseWriter, r *http.Request) {
	writeError(w, nil, &realm.Error{Code: realm.CodeNotFound, Reason: "unknown_url", Message: "Unknown request URL: " + r.Method + " " + shown(r.URL.Path) + "."}, 0)
}

// shown bounds and quotes what a client sent, for a message to itself.
func shown(s string) string {
	const most = 200
	if len(s) > most {
		s = s[:most]
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
