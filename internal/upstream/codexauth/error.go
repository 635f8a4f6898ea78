package codexauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrPending says that nobody has confirmed the device's code yet.
var ErrPending = errors.New("the sign-in has not been confirmed yet")

// Codes of our own. All others are the provider's.
const (
	CodeNetwork          = "network"    // no answer
	CodeBlocked          = "blocked"    // a firewall's page stood in the way
	CodeRedirected       = "redirected" // an answer that points elsewhere
	CodeBadAnswer        = "bad_answer" // a good status, but not what was expected
	CodeDeviceDisabled   = "device_login_disabled"
	CodeWorkspaceRouting = "workspace_routing" // the account's workspace lives at another address
	CodeWorkspaceMissing = "workspace_missing" // the provider does not list the account
	CodeNoAccount        = "no_account"        // the tokens name no account
)

// Codes of the provider that something depends on.
const (
	CodeRefreshExpired     = "refresh_token_expired"
	CodeRefreshReused      = "refresh_token_reused" // another holder has used it
	CodeRefreshInvalidated = "refresh_token_invalidated"

	codeInvalidGrant         = "invalid_grant"
	codeDeactivatedWorkspace = "deactivated_workspace"
)

// maxRetryAfter is the longest wait that is believed.
const maxRetryAfter = 10 * time.Minute

// Error is an exchange that did not go well. It holds no token and no HTML.
type Error struct {
	Op string // "refresh", "exchange", "usage", …
	// Code is the provider's word, or one of ours; empty: it gave none.
	Code string
	// Message may be shown. It begins in lower case and has no full stop.
	Message string
	Status  int // of HTTP; 0: there was no answer
	// Permanent: the same request will never do. Of a refresh and of a workspace that
	// is so for the sign-in, of an exchange for its code.
	Permanent bool
	// Blocked: the provider's firewall wanted a browser. It says nothing of the
	// account and passes.
	Blocked bool
	// RetryAfter is how long the provider asked to wait; at most 10 minutes, zero: it
	// did not.
	RetryAfter time.Duration

	cause error // context.Canceled or DeadlineExceeded, or nil
}

func (e *Error) Error() string {
	s := e.Op + ": " + e.Message
	switch {
	case e.Code != "" && e.Status != 0:
		s += fmt.Sprintf(" (%s, HTTP %d)", e.Code, e.Status)
	case e.Code != "":
		s += " (" + e.Code + ")"
	case e.Status != 0:
		s += fmt.Sprintf(" (HTTP %d)", e.Status)
	}
	return s
}

// Unwrap is the context's error where the time was up or the caller gave up.
func (e *Error) Unwrap() error { return e.cause }

// failure is what an answer that is not good means, for every operation alike. The
// operation decides what is permanent.
func (a *answer) failure(now time.Time) *Error {
	e := &Error{Op: a.call.op, Status: a.status, RetryAfter: retryAfter(a.header, now)}
	switch {
	case a.blocked():
		e.Code, e.Blocked = CodeBlocked, true
		e.Message = "blocked by Cloudflare from this network; it may pass by itself, or another address or proxy is needed"
		return e
	case a.status >= 300 && a.status < 400:
		e.Code, e.Message = CodeRedirected, "the answer points to another address, which is not followed"
		return e
	}
	code, message := readError(a.body)
	e.Code = cleanCode(code, a.call.secrets)
	if e.Message = cleanText(message, a.call.secrets); e.Message == "" {
		e.Message = "the provider refused"
		if a.status >= 500 || a.status == http.StatusTooManyRequests {
			e.Message = "the provider cannot answer now"
		}
	}
	return e
}

// blocked tells a firewall's page from an answer: its header, or a 403 in HTML.
func (a *answer) blocked() bool {
	if a.header.Get("Cf-Mitigated") != "" {
		return true
	}
	page := strings.Contains(strings.ToLower(a.header.Get("Content-Type")), "text/html") ||
		bytes.HasPrefix(bytes.TrimSpace(a.body), []byte("<"))
	return a.status == http.StatusForbidden && page
}

// readError finds code and message in the shapes that the issuer and the backend
// use: {"error":{"code","message"}}, {"error":"code","error_description"},
// {"code","message"}, {"detail":{"code"}} and {"detail":"text"}.
func readError(body []byte) (code, message string) {
	top := fields(body)
	inner, detail := fields(top["error"]), fields(top["detail"])
	code = first(text(inner["code"]), text(top["error"]), text(top["code"]), text(detail["code"]), text(inner["type"]))
	message = first(text(inner["message"]), text(top["error_description"]), text(top["message"]), text(detail["message"]), text(top["detail"]))
	return code, message
}

// fields is a JSON object's, nil if it is none.
func fields(raw []byte) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(raw, &m) != nil {
		return nil
	}
	return m
}

// text is a JSON string's, empty if it is none.
func text(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return ""
	}
	return s
}

func first(texts ...string) string {
	for _, s := range texts {
		if s != "" {
			return s
		}
	}
	return ""
}

// retryAfter reads seconds or a date.
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := strings.TrimSpace(h.Get("Retry-After"))
	wait := time.Duration(0)
	if n, err := strconv.ParseFloat(v, 64); err == nil && n > 0 {
		wait = time.Duration(min(n, maxRetryAfter.Seconds()) * float64(time.Second))
	} else if at, err := http.ParseTime(v); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
