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

func codexExchange() *Exchange {
	x := testExchange()
	x.Attempt.Channel = &realm.Channel{Type: realm.CodexOAuth}
	x.Attempt.Model = "gpt-5.5"
	x.API, x.Path = realm.APIResponses, "/responses"
	x.Identity = &realm.CodexIdentity{AccessToken: realm.Secret("token-" + strings.Repeat("t0k", 8)), AccountID: "account-1"}
	return x
}

var plan = want{Cause: realm.CauseRateLimited, Scope: realm.ScopeCredential, Next: realm.NextOther}

func TestClassifyCodex(t *testing.T) {
	limit := func(more string) string {
		return `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus"` + more + `}}`
	}
	window := func(used, minutes, reset string) []string {
		return []string{"X-Codex-Primary-Used-Percent: " + used, "X-Codex-Primary-Window-Minutes: " + minutes, "X-Codex-Primary-Reset-After-Seconds: " + reset}
	}
	weekly := []string{"X-Codex-Secondary-Used-Percent: 100", "X-Codex-Secondary-Window-Minutes: 10080", "X-Codex-Secondary-Reset-After-Seconds: 86400"}
	fox := []string{"X-Codex-Fox-Primary-Used-Percent: 100", "X-Codex-Fox-Primary-Window-Minutes: 300", "X-Codex-Fox-Primary-Reset-After-Seconds: 600"}
	cases := []classifyCase{
		{name: "usage limit, seconds", status: 429, body: limit(`,"resets_in_seconds":13872`), want: told(plan, 13872*time.Second)},
		{name: "usage limit, time", status: 429, body: limit(`,"resets_at":` + unix(testNow.Add(26*time.Hour))), want: told(plan, 26*time.Hour)},
		{name: "usage limit, absurd", status: 429, body: limit(`,"resets_in_seconds":99999999`), want: told(plan, 7*24*time.Hour)},
		{name: "usage limit before Retry-After", status: 429, header: header("Retry-After: 5"), body: limit(`,"resets_in_seconds":600`), want: told(plan, 10*time.Minute)},
		{name: "usage limit, Retry-After alone", status: 429, header: header("Retry-After: 30"), body: limit(""), want: told(plan, 30*time.Second)},
		{name: "usage limit, by its windows", status: 429, header: header(window("100", "300", "7200")...), body: limit(""), want: told(plan, 2*time.Hour)},
		{name: "usage limit, the longest window", status: 429, header: header(append(window("100", "300", "7200"), weekly...)...), body: limit(""), want: told(plan, 24*time.Hour)},
		{name: "usage limit, a window with something left", status: 429, header: header(append(window("99", "300", "7200"), weekly...)...), body: limit(""), want: told(plan, 24*time.Hour)},
		{name: "usage limit, the body before the windows", status: 429, header: header(weekly...), body: limit(`,"resets_in_seconds":600`), want: told(plan, 10*time.Minute)},
		{name: "usage limit of a time gone by", status: 429, header: header(window("100", "300", "60")...), body: limit(`,"resets_at":` + unix(testNow.Add(-time.Hour))), want: told(plan, time.Minute)},
		{name: "usage limit of no time", status: 429, body: limit(`,"resets_in_seconds":0`), want: plan},
		{name: "usage limit under another status", status: 403, body: limit(""), want: plan},
		{name: "usage limit of one model", status: 429, header: header(append(window("10", "300", "7200"), fox...)...), body: limit(""), want: told(limited, 10*time.Minute)},
		{name: "usage limit of both", status: 429, header: header(append(window("100", "300", "7200"), fox...)...), body: limit(""), want: told(plan, 2*time.Hour)},
		{name: "another 429", status: 429, header: header(append(window("100", "300", "7200"), "Retry-After: 3")...), body: errorBody("rate_limit_exceeded", "", "x"), want: told(limited, 3*time.Second)},
		{name: "plan without codex", status: 429, body: `{"error":{"type":"usage_not_included","message":"x"}}`, want: quota},
		{name: "invalidated", status: 401, body: `{"error":{"message":"Your authentication token has been invalidated. Please try signing in again.","type":"invalid_request_error","code":"token_invalidated","param":null},"status":401}`, want: auth},
		{name: "workspace", status: 402, body: `{"detail":{"code":"deactivated_workspace"}}`, want: auth},
		{name: "model", status: 400, body: `{"type":"error","status":400,"error":{"type":"invalid_request_error","message":"The 'x' model is not supported when using Codex with a ChatGPT account."}}`, want: modelMissing},
		{name: "model, in a detail", status: 400, body: `{"detail":"The 'x' model is not supported when using Codex with a ChatGPT account."}`, want: modelMissing},
		{name: "overloaded", status: 503, body: `{"error":{"code":"server_is_overloaded","message":"x"}}`, want: serverError},
		{name: "slow down", status: 503, body: `{"error":{"code":"slow_down","message":"x"}}`, want: serverError},
		{name: "challenge", status: 403, header: header("Cf-Mitigated: challenge", "Content-Type: text/html"), body: page, want: blocked},
		{name: "page", status: 403, header: header("Content-Type: text/html; charset=UTF-8"), body: page, want: blocked},
		{name: "store", status: 400, body: `{"detail":"Store must be set to false"}`, want: clientError},
		{name: "stream", status: 400, body: `{"detail":"Stream must be set to true"}`, want: clientError},
		{name: "instructions", status: 400, body: `{"detail":"Instructions are required"}`, want: clientError},
		{name: "a field of the client's", status: 400, body: `{"detail":"Unsupported parameter: logit_bias"}`, want: field("logit_bias")},
		{name: "include", status: 400, body: `{"detail":"Unsupported parameter: include"}`, want: field("include")},
		{name: "include, by param", status: 400, body: errorBody("", "include[0]", "Invalid value."), want: field("include")},
		{name: "the word include", status: 400, body: errorBody("", "input", "Your messages must include the word json."), want: clientError},
	}
	for i := range cases {
		cases[i].edit = func(x *Exchange) {
			*x = *codexExchange()
			x.AddedFields = []string{"include"}
		}
	}
	runClassify(t, cases)
}

// TestCodexFinal: an access token that is refused may be renewed; an account that is
// closed is closed.
func TestCodexFinal(t *testing.T) {
	sentence := "Your authentication token has been invalidated. Please try signing in again."
	for name, tc := range map[string]struct {
		status int
		body   string
		want   bool
	}{
		"invalidated":             {401, errorBody("token_invalidated", "", sentence), false},
		"revoked":                 {401, errorBody("token_revoked", "", "Token revoked."), false},
		"in words alone":          {401, errorBody("", "", sentence), false},
		"expired":                 {401, errorBody("token_expired", "", "x"), false},
		"nothing":                 {401, "", false},
		"workspace":               {402, `{"detail":{"code":"deactivated_workspace"}}`, true},
		"workspace, 401":          {401, `{"detail":{"code":"deactivated_workspace"}}`, true},
		"account":                 {401, errorBody("account_deactivated", "", sentence), true},
		"account, in words":       {401, errorBody("", "", "Your account has been deactivated, and its token revoked."), true},
		"revoked, but no 401":     {403, errorBody("token_revoked", "", "x"), true},
		"in a stream":             {0, `{"type":"error","error":{"code":"token_revoked","message":"x"}}`, false},
		"a workspace in a stream": {0, `{"type":"error","error":{"code":"deactivated_workspace","message":"x"}}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			var f *Failure
			if tc.status == 0 {
				f = testExecutor().ClassifyError(codexExchange(), nil, openai.ParseError([]byte(tc.body)))
			} else {
				f = testExecutor().classify(codexExchange(), &http.Response{StatusCode: tc.status, Header: header()}, []byte(tc.body))
			}
			if f.Outcome.Final != tc.want || f.Outcome.Cause != realm.CauseAuth || f.Outcome.Scope != realm.ScopeCredential {
				t.Errorf("outcome = %+v", f.Outcome)
			}
		})
	}
}

// TestCodexInside: the same inside a 200, where the header is what came down.
func TestCodexInside(t *testing.T) {
	body := `{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"x"%s}}`
	for name, tc := range map[string]struct {
		more   string
		header http.Header
		want   want
	}{
		"told":           {`,"resets_in_seconds":60`, nil, told(plan, time.Minute)},
		"by the windows": {"", header("X-Codex-Primary-Used-Percent: 100", "X-Codex-Primary-Window-Minutes: 300", "X-Codex-Primary-Reset-After-Seconds: 90"), told(plan, 90*time.Second)},
		"not told":       {"", nil, plan},
	} {
		t.Run(name, func(t *testing.T) {
			f := testExecutor().ClassifyError(codexExchange(), tc.header, openai.ParseError([]byte(strings.Replace(body, "%s", tc.more, 1))))
			if diff := cmp.Diff(tc.want, wantOf(f.Outcome)); diff != "" || f.Status != 429 {
				t.Errorf("%d, outcome (-want +got):\n%s", f.Status, diff)
			}
			if (tc.header != nil) != (len(f.Limits.Windows) == 1) {
				t.Errorf("limits = %+v", f.Limits)
			}
		})
	}
	f := testExecutor().classify(codexExchange(), &http.Response{StatusCode: 403, Header: header("Cf-Mitigated: challenge", "Content-Type: text/html")}, []byte(page))
	if !strings.Contains(f.Outcome.Err.Error(), "blocks requests from this network") || f.Body != nil {
		t.Errorf("failure = %+v", f)
	}
}
