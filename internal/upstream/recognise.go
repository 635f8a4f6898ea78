package upstream

import (
	"net/http"
	"slices"
	"strings"
)

// Codes and types that upstreams use for one meaning. OpenAI's own come first,
// then those of widespread relays and compatible providers.
var (
	quotaWords = []string{
		"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "usage_not_included",
		"insufficient_user_quota", "pre_consume_token_quota_failed", "exceeded_current_quota_error",
		"insufficient_balance", "insufficient_credits", "arrearage",
	}
	keyWords = []string{
		"api_key", "apikey", "account", "deactivated", "revoked", "token_expired", "token_invalid", "invalid_token",
		"authentication_error", "unauthorized",
	}
	// goneWords say that no second try will do: the account is closed, or the key
	// taken back. What may be a slip of the upstream's (invalid_api_key) is not here.
	goneWords = []string{
		"account_deactivated", "deactivated_account", "account_disabled", "account_suspended", "account_banned", "account_closed",
		"account_terminated", "account_deleted", "user_deactivated", "organization_deactivated", "organization_disabled",
		"deactivated_workspace", "workspace_deactivated",
		"token_revoked", "token_invalidated", "api_key_revoked", "revoked_api_key", "key_revoked", "api_key_disabled", "api_key_deleted",
	}
	// goneSentences are what upstreams write where they have no code for it: a
	// subject, and what has become of it.
	goneSentences = [][2]string{
		{"account", "deactivated"},
		{"workspace", "deactivated"},
		{"organization", "deactivated"},
		{"organization", "been disabled"},
		{"account", "been disabled"},
		{"key", "revoked"},
		{"key", "been disabled"},
		{"token", "revoked"},
		{"token", "been invalidated"},
	}
	modelWords = []string{
		"model_not_found", "model_not_available", "model_not_supported", "unsupported_model", "unknown_model",
		"invalid_model", "deploymentnotfound", "deployment_not_found",
	}
	// Codes that say no more than the status does.
	genericWords = []string{
		"", "not_found", "notfound", "not_found_error", "notfounderror", "unknown_url",
		"invalid_request_error", "bad_request", "badrequesterror", "method_not_allowed", "invalid_value",
	}
	modelPhrases = []string{
		"not found", "not_found", "does not exist", "not exist", "no such model", "unknown model", "invalid model",
		"not a valid model", "model is not supported", "unsupported model", "no available channel",
	}
	fieldWords   = []string{"unsupported_parameter", "unknown_parameter", "unsupported_value"}
	fieldPhrases = []string{"unsupported parameter", "unknown parameter", "unrecognized request argument", "unsupported value"}
)

func (s *seen) anything() bool { return true }

func (s *seen) firewallPage() bool {
	return get(s.header, "Cf-Mitigated") != "" || s.status == http.StatusForbidden && s.page
}

// accountGone: the upstream says, where it speaks of keys and accounts, that the
// credential will never do again.
func (s *seen) accountGone() bool {
	switch s.status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden:
	default:
		return false
	}
	if s.page || s.says(goneWords) {
		return !s.page
	}
	if s.status != http.StatusUnauthorized {
		return false // a policy's 403 may speak of accounts, and repeat what it was asked
	}
	text := s.ownWords()
	return slices.ContainsFunc(goneWords, func(w string) bool { return hasWord(text, w) }) ||
		slices.ContainsFunc(goneSentences, func(p [2]string) bool { return hasWord(text, p[0]) && strings.Contains(text, p[1]) })
}

// ownWords is the upstream's message without what a client may have written into
// it, in lower case: a client must not talk a credential out of use.
func (s *seen) ownWords() string {
	text := strings.ToLower(s.err.Message)
	if model := strings.ToLower(s.x.Attempt.Model); model != "" {
		text = strings.ReplaceAll(text, model, " ")
	}
	for _, quote := range [...]string{`"`, "`"} {
		for {
			before, rest, opened := strings.Cut(text, quote)
			_, after, closed := strings.Cut(rest, quote)
			if !opened || !closed {
				break
			}
			text = before + " " + after
		}
	}
	return text
}

func (s *seen) quotaGone() bool {
	return s.status == http.StatusPaymentRequired || s.says(quotaWords)
}

func (s *seen) rateLimited() bool { return s.status == http.StatusTooManyRequests }

// modelMissing goes by the code, whatever the status; by the words only where the
// status fits and no code says something else.
func (s *seen) modelMissing() bool {
	if slices.Contains(modelWords, code(s.err.Code)) {
		return true
	}
	switch s.status {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusUnprocessableEntity:
	default:
		return false
	}
	if s.page || s.err.Param != "" && s.err.Param != "model" || !s.generic() {
		return false
	}
	text := strings.ToLower(s.err.Message)
	if at := strings.Index(text, "model"); at < 0 && s.err.Param != "model" {
		return false
	}
	return slices.ContainsFunc(modelPhrases, func(p string) bool { return strings.Contains(text, p) })
}

// keyRefused: a 403 only if it names the key or the account, for a firewall's and
// a policy's 403 say nothing of either.
func (s *seen) keyRefused() bool {
	if s.status == http.StatusUnauthorized {
		return true
	}
	if s.status != http.StatusForbidden {
		return false
	}
	c, t := code(s.err.Code), code(s.err.Type)
	return slices.ContainsFunc(keyWords, func(w string) bool { return strings.Contains(c, w) || strings.Contains(t, w) })
}

func (s *seen) forbidden() bool { return s.status == http.StatusForbidden }

func (s *seen) serverFault() bool {
	switch s.status {
	case http.StatusRequestTimeout:
		return true
	case http.StatusConflict:
		return s.page || s.err.Message == "" || !s.err.Enveloped && !s.inside
	}
	return s.status >= 500 && s.status < 600
}

// apiMissing: the path itself is unknown, rather than something the body names.
func (s *seen) apiMissing() bool {
	if s.status != http.StatusNotFound && s.status != http.StatusMethodNotAllowed {
		return false
	}
	if s.inside || s.x.Method != http.MethodPost || s.x.Object {
		return false
	}
	return s.page || s.generic() && s.err.Param == "" && !strings.Contains(s.err.Message, "with id ")
}

// dispensable: a 400 that names a field the request may be tried without. Whether
// one that the client sent may be taken away is the gateway's to say.
func (s *seen) dispensable() bool {
	if s.status != http.StatusBadRequest && s.status != http.StatusUnprocessableEntity || s.page {
		return false
	}
	text := strings.ToLower(s.err.Message)
	if code(s.err.Code) == "invalid_encrypted_content" {
		s.field = "encrypted_content"
		return true
	}
	speaks := s.says(fieldWords) || slices.ContainsFunc(fieldPhrases, func(p string) bool { return strings.Contains(text, p) })
	for _, field := range s.x.AddedFields {
		top, _, _ := strings.Cut(field, ".")
		if s.blames(top, text, speaks) {
			s.field = field
			return true
		}
	}
	if !speaks {
		return false
	}
	s.field = s.err.Param
	if s.field == "" {
		s.field = namedField(s.err.Message)
	}
	return s.field != ""
}

// blames tells whether a 400 is about a field that was added to the request. speaks:
// it says that it does not know a field, or does not support it.
func (s *seen) blames(field, text string, speaks bool) bool {
	named := s.err.Param == field || strings.HasPrefix(s.err.Param, field+".") || strings.HasPrefix(s.err.Param, field+"[")
	// Other messages have these words too ("must include …", "a vector store").
	word := speaks && s.err.Param == "" && hasWord(text, field)
	switch field {
	case "include":
		return named || word
	case "store": // without it an answer is kept: only who does not know it is asked so
		return named && speaks || word
	default:
		return named || hasWord(text, field)
	}
}

// clientFaults are the statuses that only the client can mend.
var clientFaults = []int{400, 404, 405, 409, 410, 411, 413, 414, 415, 416, 422, 431, 451}

// clientFault: a page under 400 or 422 is a proxy's and not the upstream's word.
func (s *seen) clientFault() bool {
	if s.page && (s.status == http.StatusBadRequest || s.status == http.StatusUnprocessableEntity) {
		return false
	}
	return slices.Contains(clientFaults, s.status)
}

// says tells whether the error's code or type is one of the words.
func (s *seen) says(words []string) bool {
	return slices.Contains(words, code(s.err.Code)) || slices.Contains(words, code(s.err.Type))
}

// generic tells whether the error's code says no more than the status.
func (s *seen) generic() bool {
	c := code(s.err.Code)
	return slices.Contains(genericWords, c) || isNumber(c)
}

func code(s string) string { return strings.ToLower(strings.TrimSpace(s)) }

func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// hasWord finds a field's name where no longer name holds it.
func hasWord(text, word string) bool {
	for from := 0; ; {
		at := strings.Index(text[from:], word)
		if at < 0 {
			return false
		}
		at += from
		end := at + len(word)
		if (at == 0 || !nameByte(text[at-1])) && (end == len(text) || !nameByte(text[end])) {
			return true
		}
		from = end
	}
}

// namedField is the first name after the colon of "Unsupported parameter: 'x'…".
func namedField(message string) string {
	_, rest, ok := strings.Cut(message, ":")
	if !ok {
		return ""
	}
	rest = strings.TrimLeft(rest, " '\"`")
	end := 0
	for end < len(rest) && (nameByte(rest[end]) || rest[end] == '.') {
		end++
	}
	return strings.TrimRight(rest[:end], ".")
}

func nameByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
