package openai

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	protocol "realms/internal/protocol/openai"
	"realms/internal/realm"
)

// The types of OpenAI's error object.
const (
	typeInvalid    = "invalid_request_error"
	typeServer     = "server_error"
	typeRateLimit  = "rate_limit_error"
	typeQuota      = "insufficient_quota"
	typePermission = "permission_error"
)

// wireError is OpenAI's error object; param and code are null where empty.
type wireError struct {
	Message string `json:"message"`
	Type    string `json:"type"`
	Param   string `json:"-"`
	Code    string `json:"-"`
	// ResetsIn is what Codex reads of a plan that is used up; 0: nothing is.
	ResetsIn time.Duration `json:"-"`
}

// wire is how one code of ours looks to a client. Codex CLI repeats a request up
// to 30 times on a careless status, so the table follows what it was seen to do.
type wire struct {
	status int
	kind   string
	code   string
	// final: repeating it cannot help (x-should-retry: false, and no Retry-After).
	final bool
}

var wires = map[realm.Code]wire{
	realm.CodeInvalid:          {http.StatusBadRequest, typeInvalid, "", false},
	realm.CodeTooLarge:         {http.StatusRequestEntityTooLarge, typeInvalid, "request_too_large", true},
	realm.CodeUnauthenticated:  {http.StatusUnauthorized, typeInvalid, "invalid_api_key", true},
	realm.CodeForbidden:        {http.StatusForbidden, typePermission, "forbidden", true},
	realm.CodeNotFound:         {http.StatusNotFound, typeInvalid, "not_found", true},
	realm.CodeModelNotFound:    {http.StatusNotFound, typeInvalid, "model_not_found", true},
	realm.CodeMethodNotAllowed: {http.StatusMethodNotAllowed, typeInvalid, "method_not_allowed", true},
	realm.CodeConflict:         {http.StatusConflict, typeInvalid, "conflict", true},
	realm.CodeRateLimited:      {http.StatusTooManyRequests, typeRateLimit, "rate_limit_exceeded", false},
	realm.CodeQuota:            {http.StatusTooManyRequests, typeQuota, "insufficient_quota", true},
	realm.CodePlanLimit:        {http.StatusTooManyRequests, "usage_limit_reached", "usage_limit_reached", true},
	realm.CodeLoop:             {http.StatusLoopDetected, typeInvalid, "loop_detected", true},
	realm.CodeOverloaded:       {http.StatusServiceUnavailable, typeServer, "server_is_overloaded", false},
	realm.CodeUpstreamBad:      {http.StatusBadGateway, typeServer, "upstream_error", false},
	realm.CodeUpstreamTimeout:  {http.StatusGatewayTimeout, typeServer, "upstream_timeout", false},
	realm.CodeUnavailable:      {http.StatusServiceUnavailable, typeServer, "unavailable", false},
	realm.CodeInternal:         {http.StatusInternalServerError, typeServer, "internal_error", false},
}

// wireOf maps a code for an operation (nil: none). On Responses every failure of
// the upstreams is a 503 server_is_overloaded, which Codex tries five times and
// not thirty, and a body too large is a 400, which it does not repeat.
func wireOf(op *protocol.Operation, code realm.Code) wire {
	w, ok := wires[code]
	if !ok {
		w = wires[realm.CodeInternal]
	}
	if op == nil || !onResponses(op) {
		return w
	}
	switch code {
	case realm.CodeTooLarge:
		w.status = http.StatusBadRequest
	case realm.CodeOverloaded, realm.CodeUpstreamBad, realm.CodeUpstreamTimeout, realm.CodeUnavailable:
		w = wires[realm.CodeOverloaded]
	default:
	}
	return w
}

// onResponses tells whether an operation is below /responses, where Codex asks.
func onResponses(op *protocol.Operation) bool {
	switch op.API {
	case realm.APIResponses, realm.APICompact, realm.APIInputTokens:
		return true
	default:
		return false
	}
}

// writeError answers with an error of ours.
func writeError(w http.ResponseWriter, op *protocol.Operation, err *realm.Error, attempts int) {
	how := wireOf(op, err.Code)
	header := w.Header()
	switch {
	case how.final, err.Code == realm.CodeRateLimited && err.RetryAfter == 0:
		header.Set("X-Should-Retry", "false")
	case err.RetryAfter > 0:
		header.Set("Retry-After", strconv.Itoa(int(math.Ceil(err.RetryAfter.Seconds()))))
	}
	if attempts > 0 {
		header.Set("X-Realms-Attempts", strconv.Itoa(attempts))
	}
	e := &wireError{Message: err.Message, Type: how.kind, Param: err.Field, Code: how.code}
	if err.Reason != "" && (err.Code == realm.CodeInvalid || err.Code == realm.CodeNotFound) {
		e.Code = err.Reason
	}
	if err.Code == realm.CodePlanLimit {
		e.ResetsIn = err.RetryAfter
	}
	writeJSONError(w, how.status, e)
}

// writeJSONError writes the error, with the request's id in its message.
func writeJSONError(w http.ResponseWriter, status int, e *wireError) {
	header := w.Header()
	if id := header.Get(headerRequestID); id != "" {
		e.Message += " (request id " + id + ")"
	}
	object := map[string]any{
		"message": e.Message, "type": e.Type, "param": orNull(e.Param), "code": orNull(e.Code),
	}
	if e.ResetsIn > 0 {
		wait := int64(math.Ceil(e.ResetsIn.Seconds()))
		object["resets_in_seconds"] = wait
		object["resets_at"] = time.Now().Unix() + wait + 1 // never early: the second has begun
	}
	body, err := json.Marshal(map[string]any{"error": object})
	if err != nil {
		body = []byte(`{"error":{"message":"An internal error occurred.","type":"server_error","param":null,"code":"internal_error"}}`)
	}
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client may be gone
}

func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}
