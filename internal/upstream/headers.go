package upstream

import (
	"net/http"
	"strconv"
	"strings"

	"realms/internal/realm"
)

// upAllowed is every header of a client that may go to an upstream, under its
// canonical name. All others stay here: Authorization, cookies, X-Forwarded-*,
// Idempotency-Key (net/http sends a POST that has one again by itself), names
// with an underscore. Content-Type goes from Exchange.ContentType.
var upAllowed = [...]string{
	"Accept",
	"User-Agent",
	"Openai-Beta",
	turnState,
}

// downAllowed is every header of an upstream that may go to a client. All others
// stay here: hop-by-hop ones, cookies, Server, Cf-*, X-Request-Id (ours goes
// out), Openai-Organization and what else tells one account from another,
// Openai-Model (another value than the one asked for makes Codex warn its user).
var downAllowed = [...]string{
	"Content-Type",
	"Retry-After",
	"Openai-Processing-Ms",
	turnState,
}

// limitHeaders are the upstream's limits, let through only where asked.
var limitHeaders = [...]string{
	"X-Ratelimit-Limit-Requests",
	"X-Ratelimit-Limit-Tokens",
	"X-Ratelimit-Remaining-Requests",
	"X-Ratelimit-Remaining-Tokens",
	"X-Ratelimit-Reset-Requests",
	"X-Ratelimit-Reset-Tokens",
}

const turnState = "X-Codex-Turn-State"

// HopsHeader counts the relays that a request has passed.
const HopsHeader = "X-Realms-Hops"

// Values that never change are shared by all requests.
var (
	identityEncoding = []string{"identity"}
	ourUserAgent     = []string{"realms"}
)

// headersUp builds what goes to the upstream: the client's allowed headers, then
// what the channel changes, then ours, the credential last.
func headersUp(x *Exchange) http.Header {
	// Room for all of it, so that the map never grows; one array holds the values.
	h := make(http.Header, 8)
	values := make([]string, 3)
	for _, name := range upAllowed {
		if v := x.Header[name]; len(v) > 0 {
			h[name] = v[:1:1]
		}
	}
	if x.Attempt.Leaves {
		delete(h, turnState) // another account made it
	}
	if set := settings(x); len(set.DeleteHeaders)+len(set.SetHeaders) != 0 {
		editHeaders(h, set)
	}
	if _, ok := h["User-Agent"]; !ok {
		h["User-Agent"] = ourUserAgent // or net/http puts its own
	}
	if x.ContentType != "" {
		values[0] = x.ContentType
		h["Content-Type"] = values[0:1:1]
	}
	h["Accept-Encoding"] = identityEncoding
	values[1] = strconv.Itoa(x.Hops + 1)
	h[HopsHeader] = values[1:2:2]
	if key := x.Attempt.Credential.APIKey.Reveal(); key != "" {
		values[2] = "Bearer " + key
		h["Authorization"] = values[2:3:3]
	}
	return h
}

// editHeaders does what the channel says of single headers.
func editHeaders(h http.Header, set *realm.ChannelSettings) {
	for _, name := range set.DeleteHeaders {
		delete(h, http.CanonicalHeaderKey(name))
	}
	for name, value := range set.SetHeaders {
		name = http.CanonicalHeaderKey(name)
		if v := value.Reveal(); printable(v) && !realm.RulesConnection(name) {
			h[name] = []string{v}
		}
	}
}

// headersDown copies what may go to the client.
func headersDown(from http.Header, x *Exchange) http.Header {
	h := make(http.Header, 8)
	copyHeaders(h, from, downAllowed[:])
	if x.LimitHeaders {
		copyHeaders(h, from, limitHeaders[:])
	}
	if onCodex(x) {
		codexDown(h, from, x.Identity)
	}
	return h
}

func copyHeaders(to, from http.Header, names []string) {
	for _, name := range names {
		if v := from[name]; len(v) > 0 && printable(v[0]) {
			to[name] = v[:1:1]
		}
	}
}

// printable refuses control characters: a header's value goes on to other
// programs' header lines and logs.
func printable(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// mediaType is a content type in lower case without its parameters.
func mediaType(contentType string) string {
	if contentType == "text/event-stream" || contentType == "application/json" {
		return contentType
	}
	t, _, _ := strings.Cut(contentType, ";")
	return strings.ToLower(strings.TrimSpace(t))
}
