package codexauth_test

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

func TestWorkspace(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	id := identity(t, f)
	for name, tc := range map[string]struct {
		edit func(*codextest.Account)
		code string
	}{
		"unconstrained":    {func(*codextest.Account) {}, ""},
		"the default":      {func(a *codextest.Account) { a.Origin = "https://chatgpt.com" }, ""},
		"of this test":     {func(a *codextest.Account) { a.Origin = f.Issuer() }, ""},
		"a region":         {func(a *codextest.Account) { a.Origin = "https://eu.chatgpt.com" }, codexauth.CodeWorkspaceRouting},
		"like the default": {func(a *codextest.Account) { a.Origin = "https://chatgpt.com.example.com" }, codexauth.CodeWorkspaceRouting},
		"an override":      {func(a *codextest.Account) { a.Override = "us" }, codexauth.CodeWorkspaceRouting},
		"both":             {func(a *codextest.Account) { a.Origin, a.Override = "https://chatgpt.com", "us_cr" }, codexauth.CodeWorkspaceRouting},
		"not listed":       {func(a *codextest.Account) { a.Unlisted = true }, codexauth.CodeWorkspaceMissing},
	} {
		f.Change(codextest.AccountID, func(a *codextest.Account) {
			*a = codextest.DefaultAccount()
			tc.edit(a)
		})
		err := c.Workspace(t.Context(), id)
		if tc.code == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if e := failed(t, err); e.Code != tc.code || e.Permanent != (tc.code == codexauth.CodeWorkspaceRouting) {
			t.Errorf("%s: %+v", name, *e)
		}
	}
}

// canned answers every request with a body.
type canned string

func (body canned) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(string(body)))}, nil
}

// Only a backend on this machine may be its own origin.
func TestWorkspaceOriginOfTheBackend(t *testing.T) {
	for origin, want := range map[string]string{"http://127.0.0.1:5": "", "http://localhost:5": "", "https://eu.example.com": codexauth.CodeWorkspaceRouting} {
		c := &codexauth.Client{
			Backend: origin + "/backend-api/",
			HTTP:    &http.Client{Transport: canned(`{"accounts":[{"id":"acc-0001","workspace_backend_origin":"` + origin + `"}]}`)},
		}
		err := c.Workspace(t.Context(), realm.CodexIdentity{AccessToken: "abc", AccountID: codextest.AccountID})
		if want == "" && err != nil || want != "" && failed(t, err).Code != want {
			t.Errorf("%s: %v", origin, err)
		}
	}
}

func TestWorkspaceAnswers(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	id := identity(t, f)
	for name, tc := range map[string]struct{ body, code string }{
		"fields absent":           {`{"accounts":[{"id":"acc-0001"}]}`, ""},
		"fields null":             {`{"accounts":[{"id":"acc-0001","workspace_backend_origin":null,"account_routing_override":null}]}`, ""},
		"the other name of id":    {`{"accounts":[{"account_id":"acc-0001"}]}`, ""},
		"an object of them":       {`{"accounts":{"default":{"account":{"id":"acc-0001","workspace_backend_origin":"NO_CONSTRAINT"}}}}`, ""},
		"an object that binds":    {`{"accounts":{"default":{"account":{"id":"acc-0001","account_routing_override":"us"}}}}`, codexauth.CodeWorkspaceRouting},
		"listed twice, one binds": {`{"accounts":[{"id":"acc-0001"},{"id":"acc-0001","account_routing_override":"us"}]}`, codexauth.CodeWorkspaceRouting},
		"another's binds":         {`{"accounts":[{"id":"acc-0001"},{"id":"other","account_routing_override":"us"},null]}`, ""},
		"no text":                 {`{"accounts":[{"id":"acc-0001","workspace_backend_origin":{"x":1}}]}`, codexauth.CodeWorkspaceRouting},
		"an empty text":           {`{"accounts":[{"id":"acc-0001","account_routing_override":""}]}`, codexauth.CodeWorkspaceRouting},
		"an origin for override":  {`{"accounts":[{"id":"acc-0001","account_routing_override":"https://chatgpt.com"}]}`, codexauth.CodeWorkspaceRouting},
		"none":                    {`{"accounts":[]}`, codexauth.CodeWorkspaceMissing},
		"no list":                 {`{"accounts":7}`, codexauth.CodeBadAnswer},
		"no accounts":             {`{}`, codexauth.CodeBadAnswer},
		"no JSON":                 {`hello`, codexauth.CodeBadAnswer},
	} {
		f.Instead(codextest.PathCheck, testkit.Body("application/json", tc.body))
		err := c.Workspace(t.Context(), id)
		if tc.code == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		} else if e := failed(t, err); e.Code != tc.code {
			t.Errorf("%s: %+v", name, *e)
		}
	}
	f.Instead(codextest.PathCheck, testkit.Body("application/json", `{"accounts":[{"id":""},{}]}`))
	if e := failed(t, c.Workspace(t.Context(), realm.CodexIdentity{AccessToken: id.AccessToken})); e.Code != codexauth.CodeWorkspaceMissing {
		t.Errorf("an identity without an account: %+v", *e)
	}
}

func TestBackendFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		fault              testkit.Fault
		code               string
		permanent, blocked bool
	}{
		"not there":             {testkit.Status(http.StatusNotFound, `{"detail":"Not Found"}`), "", false, false},
		"server fault":          {testkit.ServerError(), "server_error", false, false},
		"overloaded":            {codextest.Overloaded(), "server_is_overloaded", false, false},
		"token taken back":      {codextest.TokenInvalidated(), "token_invalidated", false, false},
		"workspace deactivated": {codextest.DeactivatedWorkspace(), "deactivated_workspace", true, false},
		"challenge":             {codextest.Challenge(), codexauth.CodeBlocked, false, true},
		"redirect":              {testkit.Redirect(302, "https://example.com/"), codexauth.CodeRedirected, false, false},
		"too long":              {testkit.GzipBomb(2 << 20), codexauth.CodeBadAnswer, false, false},
	} {
		c, f := pair(t, codextest.Options{})
		id := identity(t, f)
		f.Instead(codextest.PathCheck, tc.fault)
		f.Instead(codextest.PathUsage, tc.fault)
		_, usage := c.Usage(t.Context(), id)
		for _, err := range []error{c.Workspace(t.Context(), id), usage} {
			if e := failed(t, err); e.Code != tc.code || e.Permanent != tc.permanent || e.Blocked != tc.blocked {
				t.Errorf("%s: %+v", name, *e)
			}
		}
	}
}

func TestUsage(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	c, f := pair(t, codextest.Options{Now: func() time.Time { return now }})
	want := realm.CodexLimits{Plan: "plus", At: now, Windows: []realm.CodexWindow{
		{Length: 5 * time.Hour, UsedPercent: 12.5, ResetsAt: now.Add(time.Hour)},
		{Length: 7 * 24 * time.Hour, UsedPercent: 100, ResetsAt: now.Add(48 * time.Hour)},
		{Limit: "bengalfox", Length: 24 * time.Hour, UsedPercent: 1, ResetsAt: now.Add(time.Minute)},
	}}
	f.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows = want.Windows })
	got, err := c.Usage(t.Context(), realm.CodexIdentity{AccessToken: f.SignIn(t, codextest.AccountID).Access, AccountID: codextest.AccountID, FedRAMP: true})
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	h := f.Requests(codextest.PathUsage)[0].Header
	if h.Get("Chatgpt-Account-Id") != codextest.AccountID || h.Get("X-Openai-Fedramp") != "true" || !strings.HasPrefix(h.Get("Authorization"), "Bearer ") {
		t.Error("a header is missing")
	}
}

func TestUsageAnswers(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	c, f := pair(t, codextest.Options{Now: func() time.Time { return now }})
	id := identity(t, f)
	hour := realm.CodexWindow{Length: time.Hour, UsedPercent: 3, ResetsAt: now.Add(time.Minute)}
	for name, tc := range map[string]struct {
		body string
		want realm.CodexLimits
	}{
		"nothing":      {`{}`, realm.CodexLimits{}},
		"all null":     {`{"plan_type":null,"rate_limit":null,"credits":null,"additional_rate_limits":null,"code_review_rate_limit":null}`, realm.CodexLimits{}},
		"windows null": {`{"plan_type":"go","rate_limit":{"allowed":null,"limit_reached":null,"primary_window":null,"secondary_window":null}}`, realm.CodexLimits{Plan: "go"}},
		"in the second slot, as texts": {
			`{"credits":{"balance":12.5},"rate_limit":{"secondary_window":{"used_percent":"3","limit_window_seconds":"3600","reset_at":null,"reset_after_seconds":"60"}}}`,
			realm.CodexLimits{Windows: []realm.CodexWindow{hour}},
		},
		"balance as a text": {
			`{"credits":{"has_credits":true,"unlimited":false,"balance":"9.99"},"rate_limit":{"primary_window":{"used_percent":3,"limit_window_seconds":3600,"reset_after_seconds":60}}}`,
			realm.CodexLimits{Windows: []realm.CodexWindow{hour}},
		},
		"no word of the end": {
			`{"rate_limit":{"primary_window":{"used_percent":-1,"limit_window_seconds":3600}}}`,
			realm.CodexLimits{Windows: []realm.CodexWindow{{Length: time.Hour}}},
		},
		"windows without length or use": {
			`{"rate_limit":{"primary_window":{"used_percent":3},"secondary_window":{"limit_window_seconds":3600}}}`, realm.CodexLimits{},
		},
		"absurd numbers": {
			`{"rate_limit":{"primary_window":{"used_percent":3,"limit_window_seconds":1e300},"secondary_window":{"used_percent":"NaN","limit_window_seconds":3600}}}`, realm.CodexLimits{},
		},
		"a reset beyond the window's length": {
			`{"rate_limit":{"primary_window":{"used_percent":3,"limit_window_seconds":3600,"reset_at":4102444800},"secondary_window":{"used_percent":3,"limit_window_seconds":60,"reset_after_seconds":7200}}}`,
			realm.CodexLimits{Windows: []realm.CodexWindow{
				{Length: time.Hour, UsedPercent: 3, ResetsAt: now.Add(time.Hour)},
				{Length: time.Minute, UsedPercent: 3, ResetsAt: now.Add(time.Minute)},
			}},
		},
		"other families": {
			`{"additional_rate_limits":[null,{"limit_name":null,"metered_feature":"spark","rate_limit":{"primary_window":{"used_percent":3,"limit_window_seconds":3600,"reset_after_seconds":60}}},{"rate_limit":{"primary_window":{"used_percent":100,"limit_window_seconds":3600}}},{"limit_name":"x","rate_limit":null}]}`,
			realm.CodexLimits{Windows: []realm.CodexWindow{{Limit: "spark", Length: hour.Length, UsedPercent: hour.UsedPercent, ResetsAt: hour.ResetsAt}}},
		},
	} {
		f.Instead(codextest.PathUsage, testkit.Body("application/json", tc.body))
		got, err := c.Usage(t.Context(), id)
		tc.want.At = now
		if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	for name, body := range map[string]string{"no JSON": `hello`, "an array": `[]`, "a text for a limit": `{"rate_limit":"none"}`} {
		f.Instead(codextest.PathUsage, testkit.Body("application/json", body))
		if _, err := c.Usage(t.Context(), id); failed(t, err).Code != codexauth.CodeBadAnswer {
			t.Errorf("%s: %v", name, err)
		}
	}
}
