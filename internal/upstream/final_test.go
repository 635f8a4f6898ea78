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

// TestFinal: which words take a credential out of use at once, and that nobody
// but the upstream can say them.
func TestFinal(t *testing.T) {
	gone := func(message string) string { return errorBody("", "", message) }
	for name, tc := range map[string]struct {
		status int
		body   string
		want   bool
	}{
		"deactivated":             {401, errorBody("account_deactivated", "", "x"), true},
		"deactivated, 403":        {403, errorBody("account_deactivated", "", "x"), true},
		"by its type":             {403, `{"error":{"type":"account_deactivated","message":"x"}}`, true},
		"revoked":                 {401, errorBody("token_revoked", "", "x"), true},
		"revoked, shouted":        {401, errorBody("TOKEN_REVOKED", "", "x"), true},
		"invalidated":             {401, errorBody("token_invalidated", "", "x"), true},
		"workspace":               {403, `{"detail":{"code":"deactivated_workspace"}}`, true},
		"workspace, 402":          {402, `{"detail":{"code":"deactivated_workspace"}}`, true},
		"the word in the message": {401, gone("error: account_deactivated"), true},
		"a sentence":              {401, gone("The OpenAI account associated with this API key has been deactivated."), true},
		"a sentence, 403":         {403, gone("Your account has been deactivated, please check your email."), false},
		"an organization":         {401, gone("This organization has been disabled."), true},
		"a key":                   {401, gone("This API key was revoked."), true},
		"text":                    {401, "Your account is deactivated", true},
		"a wrong key":             {401, errorBody("invalid_api_key", "", "Incorrect API key provided."), false},
		"nothing":                 {401, "", false},
		"a page":                  {401, "<html>account_deactivated</html>", false},
		"a firewall's page":       {403, "<html>account_deactivated</html>", false},
		"another account":         {403, gone("Your account may not use this tool."), false},
		"limits":                  {429, errorBody("account_deactivated", "", "x"), false},
		"a server":                {500, errorBody("account_deactivated", "", "x"), false},
		"a client's fault":        {400, gone("The account of this story was deactivated."), false},
		"a model's name":          {403, gone("You may not use my account deactivated model."), false},
		"a quoted client":         {403, gone("No access to \\\"account deactivated\\\" or `token revoked`."), false},
		"expired":                 {401, errorBody("token_expired", "", "Provided authentication token is expired."), false},
		"quota beside a sentence": {402, gone("Insufficient balance."), false},
		"a longer name":           {401, gone("my_account_deactivated_x"), false},
		"tokenizer":               {403, gone("The tokenizer was revoked."), false},
	} {
		t.Run(name, func(t *testing.T) {
			x := testExchange()
			x.Attempt.Model = "my account deactivated model"
			f := testExecutor().classify(x, &http.Response{StatusCode: tc.status, Header: header()}, []byte(tc.body))
			if f.Outcome.Final != tc.want {
				t.Errorf("outcome = %+v", f.Outcome)
			}
			if tc.want {
				if diff := cmp.Diff(auth, wantOf(f.Outcome)); diff != "" {
					t.Errorf("outcome (-want +got):\n%s", diff)
				}
			}
		})
	}
	for code, want := range map[string]bool{"account_deactivated": true, "deactivated_workspace": true, "token_revoked": true, "invalid_api_key": false} {
		o := testExecutor().ClassifyError(testExchange(), header(), openai.UpstreamError{Code: code, Message: "x"}).Outcome
		if o.Final != want || o.Cause != realm.CauseAuth || o.Status != 401 {
			t.Errorf("%s inside a 200: %+v", code, o)
		}
	}
}

func TestClassifyRows(t *testing.T) {
	used := header("X-Ratelimit-Remaining-Requests: 0", "X-Ratelimit-Reset-Requests: 6m")
	runClassify(t, []classifyCase{
		{name: "409 of another shape", status: 409, body: `{"detail":"Conflict"}`, want: serverError},
		{name: "409 with a bare message", status: 409, body: `{"message":"Conflict","code":"conflict"}`, want: serverError},
		{name: "409 with a text", status: 409, body: `{"error":"conflict"}`, want: serverError},
		{name: "409 without a message", status: 409, body: `{"error":{"message":""}}`, want: serverError},
		{name: "challenge under 401", status: 401, header: header("Cf-Mitigated: challenge"), body: errorBody("account_deactivated", "", "x"), want: blocked},
		{name: "challenge under 404", status: 404, header: header("Cf-Mitigated: challenge"), body: page, want: blocked},
		{name: "529, told", status: 529, header: header("Retry-After: 7"), want: told(serverError, 7*time.Second)},
		{name: "502, in milliseconds", status: 502, header: header("Retry-After-Ms: 1500", "Retry-After: 9"), want: told(serverError, 1500*time.Millisecond)},
		{name: "a limit used up says nothing of a 500", status: 500, header: used, want: serverError},
		{name: "a limit used up says nothing of a 400", status: 400, header: used, want: clientError},
		{name: "a limit used up, 429", status: 429, header: used, want: told(limited, 6*time.Minute)},
		{name: "a limit used up, for longer than believed", status: 429, header: header("X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 26h"), want: told(limited, 10*time.Minute)},
		{name: "both families, one with something left", status: 429, header: header("X-Ratelimit-Remaining-Requests: 3", "X-Ratelimit-Reset-Requests: 9m", "X-Ratelimit-Remaining-Tokens: 0", "X-Ratelimit-Reset-Tokens: 4s"), want: told(limited, 4*time.Second)},
		{name: "milliseconds that say nothing", status: 429, header: header("Retry-After-Ms: soon", "Retry-After: 3"), want: told(limited, 3*time.Second)},
		{name: "window that is over", status: 429, body: `{"error":{"type":"usage_limit_reached","message":"x","resets_at":` + unix(testNow.Add(-time.Hour)) + `}}`, want: told(limited, 0)},
		{name: "header before the window", status: 429, header: header("Retry-After: 3600"), body: `{"error":{"type":"usage_limit_reached","message":"x","resets_in_seconds":60}}`, want: told(limited, time.Hour)},
	})
}

// TestPlainOutletCostsNothing: what channels without proxy or certificates pay.
func TestPlainOutletCostsNothing(t *testing.T) {
	e := New(Options{})
	x := testExchange()
	x.Attempt.Channel = &realm.Channel{}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := e.outlets.get(keyOf(settings(x))); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	before := testing.AllocsPerRun(100, func() { _ = headersUp(x) })
	x.Attempt.Channel.Settings.Proxy = realm.Secret("http://" + strings.Repeat("p", 3) + ".test")
	if after := testing.AllocsPerRun(100, func() { _ = headersUp(x) }); after != before || before > 5 {
		t.Errorf("%v allocations for headers, then %v", before, after)
	}
}
