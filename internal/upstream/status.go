package upstream

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"realms/internal/protocol/openai"
)

var (
	errStatus = errors.New("status that is no answer")
	errPage   = errors.New("a web page instead of an answer")
	errBody   = errors.New("an empty status with a body")
)

// treatedAs is the status that the channel takes an upstream's for. An answer that
// says it is well, or that is not over, is never taken for another.
func treatedAs(x *Exchange, status int) int {
	if to := settings(x).StatusMap[status]; status >= 300 && to >= 400 && to < 600 {
		return to
	}
	return status
}

// acceptable says why a 2xx is not to be read, and why a status is none that this
// protocol has. isSuccess is false for an answer that is to be classified.
func acceptable(x *Exchange, res *http.Response) (isSuccess bool, err error) {
	switch status := treatedAs(x, res.StatusCode); {
	case status >= 400 && status < 600:
		return false, nil
	case status == http.StatusNoContent && x.Method == http.MethodDelete:
		if get(res.Header, "Content-Length") > "0" || len(res.TransferEncoding) > 0 {
			return false, errBody
		}
		return true, nil
	case status == http.StatusOK, status == http.StatusCreated, status == http.StatusAccepted:
		if mediaType(get(res.Header, "Content-Type")) == "text/html" {
			return false, errPage
		}
		return true, nil
	}
	// 1xx and 101, 204 where an answer was asked for, every redirect, 999.
	return false, errStatus
}

// deserved is the status of errors that come inside a 2xx, by code or type.
var deserved = map[string]int{
	"rate_limit_exceeded": 429, "rate_limit_error": 429, "too_many_requests": 429, "requests": 429, "tokens": 429,
	"usage_limit_reached": 429, "insufficient_quota": 429, "usage_not_included": 429,
	"invalid_api_key": 401, "authentication_error": 401,
	"permission_error": 403, "permission_denied": 403,
	"model_not_found": 404, "not_found_error": 404, "previous_response_not_found": 400,
	"invalid_request_error": 400, "invalid_prompt": 400, "context_length_exceeded": 400, "content_filter": 400,
	"content_policy_violation": 400, "bio_policy": 400, "data_residency_mismatch": 400, "moderation_blocked": 400,
	"image_content_policy_violation": 400, "string_above_max_length": 400, "billing_hard_limit_reached": 429,
	"request_too_large": 413,
	"server_error":      500, "internal_error": 500, "internal_server_error": 500, "api_error": 500, "vector_store_timeout": 504,
	"server_is_overloaded": 503, "slow_down": 503, "overloaded_error": 503, "service_unavailable": 503, "engine_overloaded": 503,
}

// deservedPrefixes catch the families of codes of a bad request.
var deservedPrefixes = []string{"invalid_", "unsupported_", "missing_", "unknown_parameter", "empty_image", "failed_to_download_image", "image_"}

// deservedStatus is the status that an error inside a 2xx should have had. An
// error that says nothing of its kind is the upstream's trouble: 502.
func deservedStatus(e *openai.UpstreamError) int {
	if e.Status >= 400 && e.Status < 600 {
		return e.Status
	}
	for _, word := range [...]string{code(e.Code), code(e.Type)} {
		if slices.Contains(goneWords, word) {
			return http.StatusUnauthorized
		}
		if status, ok := deserved[word]; ok {
			return status
		}
		if n, err := strconv.Atoi(word); err == nil && n >= 400 && n < 600 {
			return n
		}
		for _, p := range deservedPrefixes {
			if strings.HasPrefix(word, p) {
				return http.StatusBadRequest
			}
		}
	}
	return http.StatusBadGateway
}

func statusText(status int) string {
	if t := http.StatusText(status); t != "" {
		return strconv.Itoa(status) + " " + t
	}
	return "status " + strconv.Itoa(status)
}
