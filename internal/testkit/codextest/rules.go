package codextest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"realms/internal/testkit"
)

// unsupported are the fields that the backend refuses by name.
var unsupported = []string{
	"max_output_tokens", "max_completion_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty", "user",
	"truncation", "safety_identifier", "prompt_cache_retention", "stream_options", "context_management", "metadata",
}

// maxItemID is how long an item's id may be.
const maxItemID = 64

// refusal is a status and a body; the zero value is none.
type refusal struct {
	status int
	body   string
}

func detail(text string) refusal {
	return refusal{http.StatusBadRequest, fmt.Sprintf(`{"detail":%q}`, text)}
}

// envelope is the shape with the status inside.
func envelope(code, param, message string) refusal {
	inner := strings.TrimSuffix(testkit.ErrorBody("invalid_request_error", code, param, message), "}")
	return refusal{http.StatusBadRequest, inner + `,"status":400}`}
}

// breaks says which rule of the backend a body breaks, if any. Clients that are no
// Codex CLI must send instructions.
func breaks(r *testkit.Request, me *Account) refusal {
	var body map[string]json.RawMessage
	if json.Unmarshal(r.Body, &body) != nil || body == nil {
		return detail("Invalid JSON")
	}
	switch {
	case string(body["store"]) != "false":
		return detail("Store must be set to false")
	case string(body["stream"]) != "true":
		return detail("Stream must be set to true")
	}
	if v := body["instructions"]; !strings.HasPrefix(string(v), `"`) && (v != nil || !strings.HasPrefix(r.Header.Get("Originator"), "codex")) {
		return detail("Instructions are required")
	}
	for _, field := range unsupported {
		if body[field] != nil {
			return detail("Unsupported parameter: " + field)
		}
	}
	if tier := body["service_tier"]; tier != nil && string(tier) != `"priority"` {
		return detail("Unsupported service_tier: " + strings.Trim(string(tier), `"`))
	}
	if v := body["previous_response_id"]; v != nil && string(v) != "null" {
		return envelope("previous_response_not_found", "previous_response_id", "Previous response not found.")
	}
	if broken := breaksInput(body["input"]); broken.status != 0 {
		return broken
	}
	return offered(me, r.Model)
}

// offered refuses a model that the plan does not have.
func offered(me *Account, model string) refusal {
	if model != "" && (me.Models == nil || slices.Contains(me.Models, model)) {
		return refusal{}
	}
	message := fmt.Sprintf("The '%s' model is not supported when using Codex with a ChatGPT account.", model)
	return refusal{http.StatusBadRequest, fmt.Sprintf(`{"type":"error","status":400,"error":{"type":"invalid_request_error","message":%q}}`, message)}
}

func breaksInput(raw json.RawMessage) refusal {
	var items []struct{ Type, Role, ID string }
	if json.Unmarshal(raw, &items) != nil || items == nil {
		return detail("Input must be a list")
	}
	for i, item := range items {
		switch {
		case item.Role == "system":
			return detail("System messages are not allowed")
		case item.Type == "item_reference":
			return envelope("", "input", fmt.Sprintf("Item with id '%s' not found. Items are not persisted when `store` is set to false.", item.ID))
		case len(item.ID) > maxItemID:
			at := fmt.Sprintf("input[%d].id", i)
			return envelope("string_above_max_length", at, fmt.Sprintf("Invalid '%s': string too long. Expected a string with maximum length 64, but got a string with length %d instead.", at, len(item.ID)))
		}
	}
	return refusal{}
}

// breaksHeader says what is missing of the headers that the backend is known to
// need.
func breaksHeader(r *testkit.Request) refusal {
	switch {
	case r.Header.Get("Originator") == "":
		return detail("Missing originator")
	case !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json"):
		return refusal{http.StatusUnsupportedMediaType, `{"detail":"Unsupported media type"}`}
	case r.Path == PathResponses && !strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
		return refusal{http.StatusNotAcceptable, `{"detail":"Not acceptable"}`}
	}
	return refusal{}
}
