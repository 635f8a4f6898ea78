package upstream

import (
	"net/http"
	"strings"

	"realms/internal/realm"
)

// keeps says whose value of a header goes to the backend, if he sent one.
type keeps uint8

const (
	keepNone  keeps = iota // no client's
	keepCodex              // that of Codex CLI and its kin: it tells what they are
	keepAny                // any client's
)

// codexHeader is one header on its way to the Codex backend.
type codexHeader struct {
	name  string // canonical
	keeps keeps
	// ours is what stands there where the client's does not; nil or "": nothing.
	ours func(*codexBackend, *Exchange) string
	// fixed: always ours, whatever the client and the channel's own headers say.
	fixed bool
}

// codexUp is every header that goes to the backend, with honest words of our own: a
// relay that says it is one. Whoever really is Codex CLI keeps the headers that say
// so. A channel's own headers change all but the fixed ones, so that an operator can
// follow what the backend asks for.
//
// Two that others put there are missing on purpose. X-Oai-Attestation is a device's
// word for itself, which no relay can give. X-Realms-Hops ends loops of relays; no
// loop leads through the provider, whom it would only tell of our insides.
var codexUp = [...]codexHeader{
	{name: "Originator", keeps: keepCodex, ours: func(*codexBackend, *Exchange) string { return "realms" }},
	{name: "User-Agent", keeps: keepCodex, ours: func(b *codexBackend, _ *Exchange) string { return b.userAgent }},
	{name: "Version", keeps: keepCodex},
	{name: "Session-Id", keeps: keepAny, ours: codexSession},
	{name: "Thread-Id", keeps: keepCodex},
	{name: "X-Client-Request-Id", keeps: keepCodex},
	{name: "Openai-Beta", keeps: keepCodex},
	{name: "X-Openai-Internal-Codex-Responses-Lite", keeps: keepCodex},
	{name: turnState, keeps: keepAny}, // and all of codexPrefix from Codex CLI

	{name: "Accept", fixed: true, ours: codexAccept},
	{name: "Accept-Encoding", fixed: true, ours: func(*codexBackend, *Exchange) string { return "identity" }},
	{name: "Content-Type", fixed: true, ours: func(_ *codexBackend, x *Exchange) string { return x.ContentType }},
	{name: "Authorization", fixed: true, ours: func(_ *codexBackend, x *Exchange) string { return "Bearer " + x.Identity.AccessToken.Reveal() }},
	{name: "Chatgpt-Account-Id", fixed: true, ours: func(_ *codexBackend, x *Exchange) string { return x.Identity.AccountID }},
	{name: "X-Openai-Fedramp", fixed: true, ours: codexFedRAMP},
	{name: "X-Oai-Attestation", fixed: true},
	{name: HopsHeader, fixed: true},
	{name: "Cookie", fixed: true}, // but for the jar's, which come after
}

const (
	codexPrefix = "X-Codex-"
	routingHint = "X-Codex-Routing-Hint"
	// maxSession bounds a session's name that is made a header of: a UUID takes 36.
	maxSession = 256
)

// codexSessions are the names under which clients have sent their session, the
// newest first.
var codexSessions = [...]string{"Session_id", "Conversation_id"}

// codexSession is the session of a client that has no Session-Id: the backend caches
// prompts by it.
func codexSession(_ *codexBackend, x *Exchange) string {
	for _, name := range codexSessions {
		if v := get(x.Header, name); v != "" {
			return v
		}
	}
	if len(x.Session) > maxSession || !printable(x.Session) {
		return ""
	}
	return x.Session
}

// codexAccept: responses always come as a stream there, whatever the client asked.
func codexAccept(_ *codexBackend, x *Exchange) string {
	if x.API == realm.APIResponses {
		return "text/event-stream"
	}
	return "application/json"
}

func codexFedRAMP(_ *codexBackend, x *Exchange) string {
	if x.Identity.FedRAMP {
		return "true"
	}
	return ""
}

// IsCodexClient tells whether a client says that it is Codex CLI or one of its kin.
// h has canonical names.
func IsCodexClient(h http.Header) bool {
	return saysCodex(get(h, "Originator")) || saysCodex(get(h, "User-Agent"))
}

func saysCodex(v string) bool {
	const word = "codex"
	return len(v) >= len(word) && strings.EqualFold(v[:len(word)], word)
}

// headersUp builds what goes to the backend: the client's where it is kept, ours,
// what the channel changes, and the fixed ones last.
func (b *codexBackend) headersUp(x *Exchange) http.Header {
	h := make(http.Header, len(codexUp)+8)
	keptFrom := keepAny
	if IsCodexClient(x.Header) {
		keptFrom = keepCodex
		keepPrefixed(h, x)
	}
	for i := range codexUp {
		row := &codexUp[i]
		if row.fixed {
			continue
		}
		if v := x.Header[row.name]; len(v) > 0 && row.keeps >= keptFrom {
			h[row.name] = v[:1:1]
		} else if row.ours != nil {
			setOrDrop(h, row.name, row.ours(b, x))
		}
	}
	if x.Attempt.Leaves {
		delete(h, turnState) // another account made it
	}
	if set := settings(x); len(set.DeleteHeaders)+len(set.SetHeaders) != 0 {
		editHeaders(h, set)
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = []string{b.userAgent} // or net/http puts its own
	}
	for i := range codexUp {
		if row := &codexUp[i]; row.fixed && row.ours == nil {
			delete(h, row.name)
		} else if row.fixed {
			setOrDrop(h, row.name, row.ours(b, x))
		}
	}
	return h
}

// keepPrefixed takes over what Codex CLI tells of its turn. A hint at another model
// than the one that is asked for would lead astray.
func keepPrefixed(h http.Header, x *Exchange) {
	for name, v := range x.Header {
		if !strings.HasPrefix(name, codexPrefix) || len(v) == 0 {
			continue
		}
		if name == routingHint && x.Attempt.Model != "" && v[0] != "model="+x.Attempt.Model {
			continue
		}
		h[name] = v[:1:1]
	}
}

func setOrDrop(h http.Header, name, value string) {
	if value == "" {
		delete(h, name)
		return
	}
	h[name] = []string{value}
}

// readByCodex tells whether Codex clients read a header of the backend's: limits,
// which only an administrator's own token ever meets, what keeps a turn together, and
// which list of models is the present one.
func readByCodex(name string) bool {
	switch name {
	case "Etag", "X-Models-Etag", "X-Reasoning-Included":
		return true
	}
	return strings.HasPrefix(name, codexPrefix)
}

// codexDown copies what Codex clients read. What shows the account stays here.
func codexDown(to, from http.Header, id *realm.CodexIdentity) {
	for name, v := range from {
		if len(v) == 0 || !readByCodex(name) {
			continue
		}
		if printable(v[0]) && !showsIdentity(v[0], id) {
			to[name] = v[:1:1]
		} else {
			delete(to, name)
		}
	}
}

// showsIdentity looks for the account as it is written; a header has no escapes.
func showsIdentity(text string, id *realm.CodexIdentity) bool {
	return id != nil && (strings.Contains(text, id.AccountID) || strings.Contains(text, id.AccessToken.Reveal()))
}
