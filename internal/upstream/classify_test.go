package upstream

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

var testNow = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)

func testExecutor() *Executor { return &Executor{now: func() time.Time { return testNow }} }

func testExchange() *Exchange {
	return &Exchange{
		Attempt: realm.Attempt{Credential: &realm.Credential{APIKey: realm.Secret("test-" + strings.Repeat("k3y", 8))}},
		Method:  http.MethodPost, Path: "/chat/completions",
	}
}

// header reads "Name: value" lines.
func header(lines ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Set(name, value)
	}
	return h
}

func errorBody(code, param, message string) string {
	null := func(s string) string {
		if s == "" {
			return "null"
		}
		return `"` + s + `"`
	}
	return `{"error":{"message":"` + message + `","type":"invalid_request_error","param":` + null(param) + `,"code":` + null(code) + `}}`
}

const page = "<!DOCTYPE html><html><body>nginx</body></html>"

// want is the part of an outcome that a row of the table fixes.
type want struct {
	Cause   realm.Cause
	Scope   realm.Scope
	Next    realm.Next
	Passing bool
	Told    bool
	Wait    time.Duration
	Field   string
}

func wantOf(o realm.Outcome) want {
	return want{o.Cause, o.Scope, o.Next, o.Passing, o.Told, o.Wait, o.Field}
}

var (
	blocked      = want{Cause: realm.CauseBlocked, Scope: realm.ScopeEndpoint, Next: realm.NextOther}
	quota        = want{Cause: realm.CauseQuota, Scope: realm.ScopeCredential, Next: realm.NextOther}
	limited      = want{Cause: realm.CauseRateLimited, Scope: realm.ScopeCredentialModel, Next: realm.NextOther}
	auth         = want{Cause: realm.CauseAuth, Scope: realm.ScopeCredential, Next: realm.NextOther}
	forbidden    = want{Cause: realm.CauseForbidden, Scope: realm.ScopeCredentialModel, Next: realm.NextOther}
	serverError  = want{Cause: realm.CauseServerError, Scope: realm.ScopeEndpointModel, Next: realm.NextOther, Passing: true}
	modelMissing = want{Cause: realm.CauseModelMissing, Scope: realm.ScopeChannelModel, Next: realm.NextOther}
	apiMissing   = want{Cause: realm.CauseAPIMissing, Scope: realm.ScopeChannelAPI, Next: realm.NextOther}
	pageForAPI   = want{Cause: realm.CauseAPIMissing, Scope: realm.ScopeChannelAPI, Next: realm.NextOther, Told: true, Wait: pageWait}
	clientError  = want{Cause: realm.CauseClientError, Scope: realm.ScopeNone, Next: realm.NextStop}
	bad          = want{Cause: realm.CauseBadAnswer, Scope: realm.ScopeEndpointModel, Next: realm.NextOther}
)

func told(w want, d time.Duration) want {
	w.Told, w.Wait = true, d
	w.Passing = w.Passing || w.Cause == realm.CauseRateLimited && d <= passingWait
	return w
}

func field(name string) want {
	return want{Cause: realm.CauseField, Scope: realm.ScopeNone, Next: realm.NextWithoutField, Field: name}
}

type classifyCase struct {
	name   string
	status int
	header http.Header
	body   string
	edit   func(*Exchange)
	want   want
}

func runClassify(t *testing.T, cases []classifyCase) {
	t.Helper()
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			x := testExchange()
			if tc.edit != nil {
				tc.edit(x)
			}
			h := tc.header
			if h == nil {
				h = header()
			}
			f := testExecutor().classify(x, &http.Response{StatusCode: tc.status, Header: h}, []byte(tc.body))
			if diff := cmp.Diff(tc.want, wantOf(f.Outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if f.Outcome.Status != tc.status || f.Outcome.Err == nil || f.Error.Message == "" {
				t.Errorf("failure = %+v", f)
			}
			if strings.Contains(string(f.Body)+f.Error.Message+f.Outcome.Err.Error(), "<html") {
				t.Errorf("a page came through: %+v", f)
			}
		})
	}
}

func TestClassifyKeysAndQuotas(t *testing.T) {
	runClassify(t, []classifyCase{
		{name: "401", status: 401, body: errorBody("invalid_api_key", "", "Incorrect API key provided."), want: auth},
		{name: "401 without body", status: 401, want: auth},
		{name: "401 page", status: 401, body: page, want: auth},
		{name: "401 deactivated", status: 401, body: errorBody("account_deactivated", "", "Deactivated."), want: auth},
		{name: "402", status: 402, body: errorBody("", "", "Insufficient Balance"), want: quota},
		{name: "402 without body", status: 402, want: quota},
		{name: "403 page", status: 403, body: page, want: blocked},
		{name: "403 page by its type alone", status: 403, header: header("Content-Type: text/html; charset=UTF-8"), body: "Just a moment...", want: blocked},
		{name: "403 challenge", status: 403, header: header("Cf-Mitigated: challenge"), body: page, want: blocked},
		{name: "503 challenge", status: 503, header: header("Cf-Mitigated: challenge"), body: page, want: blocked},
		{name: "429 challenge", status: 429, header: header("Cf-Mitigated: challenge"), body: page, want: blocked},
		{name: "403 key", status: 403, body: errorBody("invalid_api_key", "", "No."), want: auth},
		{name: "403 account", status: 403, body: errorBody("account_deactivated", "", "No."), want: auth},
		{name: "403 token", status: 403, body: errorBody("token_revoked", "", "No."), want: auth},
		{name: "403 workspace", status: 403, body: `{"detail":{"code":"deactivated_workspace"}}`, want: auth},
		{name: "403 type", status: 403, body: `{"error":{"type":"authentication_error","message":"No."}}`, want: auth},
		{name: "403 region", status: 403, body: errorBody("unsupported_country_region_territory", "", "No."), want: forbidden},
		{name: "403 plain", status: 403, body: errorBody("", "", "You may not."), want: forbidden},
		{name: "403 text", status: 403, header: header("Content-Type: text/plain"), body: "Forbidden", want: forbidden},
		{name: "403 empty", status: 403, want: forbidden},
		{name: "403 quota of a relay", status: 403, body: errorBody("insufficient_user_quota", "", "No money."), want: quota},
		{name: "403 model", status: 403, body: errorBody("model_not_found", "", "Project has no access to model m."), want: modelMissing},
		{name: "429 quota code", status: 429, body: errorBody("insufficient_quota", "", "You exceeded your current quota."), want: quota},
		{name: "429 quota type", status: 429, body: `{"error":{"type":"insufficient_quota","code":null,"message":"x"}}`, want: quota},
		{name: "429 quota, told", status: 429, header: header("Retry-After: 5"), body: errorBody("insufficient_quota", "", "x"), want: told(quota, 5*time.Second)},
		{name: "400 hard limit", status: 400, body: errorBody("billing_hard_limit_reached", "", "x"), want: quota},
		{name: "429 plan without it", status: 429, body: `{"error":{"type":"usage_not_included","message":"x"}}`, want: quota},
		{name: "500 quota of a relay", status: 500, body: errorBody("insufficient_quota", "", "x"), want: quota},
	})
}

func TestClassifyLimits(t *testing.T) {
	limitBody := errorBody("rate_limit_exceeded", "", "Rate limit reached.")
	usageLimit := `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_in_seconds":13872}}`
	runClassify(t, []classifyCase{
		{name: "429", status: 429, body: limitBody, want: limited},
		{name: "429 without body", status: 429, want: limited},
		{name: "seconds", status: 429, header: header("Retry-After: 1"), body: limitBody, want: told(limited, time.Second)},
		{name: "zero", status: 429, header: header("Retry-After: 0"), body: limitBody, want: told(limited, 0)},
		{name: "longer than worth waiting", status: 429, header: header("Retry-After: 20"), body: limitBody, want: told(limited, 20*time.Second)},
		{name: "date", status: 429, header: header("Retry-After: Tue, 01 Sep 2026 12:00:30 GMT"), body: limitBody, want: told(limited, 30*time.Second)},
		{name: "date gone by", status: 429, header: header("Retry-After: Tue, 01 Sep 2026 11:00:00 GMT"), body: limitBody, want: told(limited, 0)},
		{name: "date far off", status: 429, header: header("Retry-After: Tue, 01 Sep 2099 11:00:00 GMT"), body: limitBody, want: told(limited, 10*time.Minute)},
		{name: "negative", status: 429, header: header("Retry-After: -5"), body: limitBody, want: limited},
		{name: "1e9", status: 429, header: header("Retry-After: 1e9"), body: limitBody, want: told(limited, 10*time.Minute)},
		{name: "1000000000", status: 429, header: header("Retry-After: 1000000000"), body: limitBody, want: told(limited, 10*time.Minute)},
		{name: "1e300", status: 429, header: header("Retry-After: 1e300"), body: limitBody, want: told(limited, 10*time.Minute)},
		{name: "garbage", status: 429, header: header("Retry-After: soon"), body: limitBody, want: limited},
		{name: "NaN", status: 429, header: header("Retry-After: NaN"), body: limitBody, want: limited},
		{name: "milliseconds", status: 429, header: header("Retry-After-Ms: 250"), body: limitBody, want: told(limited, 250*time.Millisecond)},
		{name: "codex window", status: 429, body: usageLimit, want: told(limited, 13872*time.Second)},
		{name: "codex window, absurd", status: 429, body: strings.Replace(usageLimit, "13872", "99999999", 1), want: told(limited, 7*24*time.Hour)},
		{name: "codex window by time", status: 429, body: `{"error":{"type":"usage_limit_reached","message":"x","resets_at":` + unix(testNow.Add(time.Hour)) + `}}`, want: told(limited, time.Hour)},
		{name: "another's reset", status: 429, body: `{"error":{"type":"rate_limit_error","message":"x","resets_in_seconds":86400}}`, want: told(limited, 10*time.Minute)},
		{name: "requests", status: 429, header: header("X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 1s", "X-Ratelimit-Reset-Tokens: 9m"), body: limitBody, want: told(limited, time.Second)},
		{name: "tokens", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 6m0s"), body: limitBody, want: told(limited, 6*time.Minute)},
		{name: "the longer of both", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 120ms", "X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 2s"), body: limitBody, want: told(limited, 2*time.Second)},
		{name: "number", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 2.5"), body: limitBody, want: told(limited, 2500*time.Millisecond)},
		{name: "unix time", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: "+unix(testNow.Add(3*time.Second))), body: limitBody, want: told(limited, 3*time.Second)},
		{name: "some left", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 1", "X-Ratelimit-Reset-Tokens: 6m0s"), body: limitBody, want: limited},
		{name: "garbage reset", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: tomorrow"), body: limitBody, want: limited},
		{name: "Retry-After before the others", status: 429, header: header("Retry-After: 3", "X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 6m0s"), body: limitBody, want: told(limited, 3*time.Second)},
	})
}

func TestClassifyServers(t *testing.T) {
	runClassify(t, []classifyCase{
		{name: "500", status: 500, body: errorBody("", "", "The server had an error."), want: serverError},
		{name: "500 empty", status: 500, want: serverError},
		{name: "502 page", status: 502, body: page, want: serverError},
		{name: "503", status: 503, body: errorBody("server_is_overloaded", "", "x"), want: serverError},
		{name: "503 told", status: 503, header: header("Retry-After: 2"), want: told(serverError, 2*time.Second)},
		{name: "503 model of a relay", status: 503, body: errorBody("model_not_found", "", "No available channel for model m."), want: modelMissing},
		{name: "504", status: 504, want: serverError},
		{name: "524", status: 524, want: serverError},
		{name: "529", status: 529, body: `{"error":{"type":"overloaded_error","message":"Overloaded"}}`, want: serverError},
		{name: "408", status: 408, want: serverError},
		{name: "409 without words", status: 409, want: serverError},
		{name: "409 text", status: 409, header: header("Content-Type: text/plain"), body: "conflict", want: serverError},
		{name: "409 page", status: 409, body: page, want: serverError},
		{name: "409 of OpenAI", status: 409, body: errorBody("conflict", "", "The response is already running."), want: clientError},
		{name: "407", status: 407, want: bad},
		{name: "421", status: 421, want: bad},
		{name: "425", status: 425, want: bad},
		{name: "426", status: 426, want: bad},
		{name: "499", status: 499, want: bad},
	})
}

func TestClassifyInside(t *testing.T) {
	for name, tc := range map[string]struct {
		err    openai.UpstreamError
		header http.Header
		status int
		want   want
	}{
		"rate limit":       {openai.UpstreamError{Code: "rate_limit_exceeded", Message: "x"}, nil, 429, limited},
		"rate limit, told": {openai.UpstreamError{Code: "rate_limit_exceeded", Message: "x"}, header("Retry-After: 2"), 429, told(limited, 2*time.Second)},
		"usage limit":      {openai.UpstreamError{Type: "usage_limit_reached", Message: "x", ResetsIn: time.Hour}, nil, 429, told(limited, time.Hour)},
		"quota":            {openai.UpstreamError{Code: "insufficient_quota", Message: "x"}, nil, 429, quota},
		"key":              {openai.UpstreamError{Code: "invalid_api_key", Type: "invalid_request_error", Message: "x"}, nil, 401, auth},
		"model":            {openai.UpstreamError{Code: "model_not_found", Message: "x"}, nil, 404, modelMissing},
		"codex model":      {openai.UpstreamError{Status: 400, Type: "invalid_request_error", Message: "The 'x' model is not supported when using Codex with a ChatGPT account."}, nil, 400, modelMissing},
		"context":          {openai.UpstreamError{Code: "context_length_exceeded", Message: "x"}, nil, 400, clientError},
		"prompt":           {openai.UpstreamError{Code: "invalid_prompt", Message: "x"}, nil, 400, clientError},
		"content":          {openai.UpstreamError{Code: "content_filter", Message: "x"}, nil, 400, clientError},
		"image":            {openai.UpstreamError{Code: "image_too_large", Message: "x"}, nil, 400, clientError},
		"large":            {openai.UpstreamError{Code: "request_too_large", Message: "x"}, nil, 413, clientError},
		"type alone":       {openai.UpstreamError{Type: "invalid_request_error", Message: "x"}, nil, 400, clientError},
		"previous":         {openai.UpstreamError{Code: "previous_response_not_found", Message: "x"}, nil, 400, clientError},
		"server":           {openai.UpstreamError{Code: "server_error", Message: "x"}, nil, 500, serverError},
		"overloaded":       {openai.UpstreamError{Code: "server_is_overloaded", Message: "x"}, nil, 503, serverError},
		"number":           {openai.UpstreamError{Code: "429", Message: "x"}, nil, 429, limited},
		"stated":           {openai.UpstreamError{Status: 422, Message: "x"}, nil, 422, clientError},
		"stated nonsense":  {openai.UpstreamError{Status: 200, Message: "x"}, nil, 502, serverError},
		"nothing":          {openai.UpstreamError{}, nil, 502, serverError},
		"unknown":          {openai.UpstreamError{Code: "gremlins", Message: "x"}, nil, 502, serverError},
		"stated 404":       {openai.UpstreamError{Status: 404, Message: "x"}, nil, 404, clientError},
		"encrypted":        {openai.UpstreamError{Code: "invalid_encrypted_content", Message: "x"}, nil, 400, field("encrypted_content")},
	} {
		t.Run(name, func(t *testing.T) {
			f := testExecutor().ClassifyError(testExchange(), tc.header, tc.err)
			if diff := cmp.Diff(tc.want, wantOf(f.Outcome)); diff != "" {
				t.Errorf("outcome (-want +got):\n%s", diff)
			}
			if f.Outcome.Status != tc.status || f.Error.Message == "" || f.Error.Type == "" {
				t.Errorf("failure = %+v", f)
			}
		})
	}
}
