package codexauth_test

import (
	"context"
	"encoding/json"
	"errors"
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

func TestRefreshRotates(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	old := f.SignIn(t, codextest.AccountID)
	fresh, err := c.Refresh(t.Context(), old.Refresh, codexauth.ReasonExpiry)
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Refresh == old.Refresh || fresh.Access == old.Access || !f.Serves(fresh.Refresh) {
		t.Error("the tokens are not fresh ones")
	}
	r := f.Requests(codextest.PathToken)[0]
	var got map[string]string
	if err := json.Unmarshal(r.Body, &got); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"client_id": codextest.ClientID, "grant_type": "refresh_token", "refresh_reason": "proactive_expiry", "refresh_token": old.Refresh.Reveal(),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the request is not what the issuer takes:\n%s", diff)
	}

	_, err = c.Refresh(t.Context(), old.Refresh, codexauth.ReasonUnauthorized)
	if e := failed(t, err); e.Code != codexauth.CodeRefreshReused || !e.Permanent || e.Status != http.StatusUnauthorized || f.Reuses() != 1 {
		t.Errorf("a token that was spent: %+v", *e)
	}
	_, err = c.Refresh(t.Context(), fresh.Refresh, codexauth.ReasonExpiry)
	if e := failed(t, err); e.Code != codexauth.CodeRefreshInvalidated || !e.Permanent {
		t.Errorf("its family after that: %+v", *e)
	}
}

func TestRefreshFieldsAreOptional(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	old := f.SignIn(t, codextest.AccountID)
	f.Omit("refresh_token", "id_token")
	got, err := c.Refresh(t.Context(), old.Refresh, codexauth.ReasonExpiry)
	if err != nil || got.Refresh != "" || got.ID != "" || !f.Accepts(got.Access) {
		t.Errorf("only an access token: %v", err)
	}
	if !f.Serves(old.Refresh) {
		t.Error("the refresh token that was not replaced serves no more")
	}
	f.Instead(codextest.PathToken, testkit.Body("application/json", `{"id_token":null}`))
	if got, err := c.Refresh(t.Context(), old.Refresh, codexauth.ReasonExpiry); err != nil || got.CodexTokens != (realm.CodexTokens{}) {
		t.Errorf("an empty answer: %v", err)
	}
}

func TestRefreshFailures(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	until := func(d time.Duration) testkit.Fault {
		return testkit.Status(http.StatusServiceUnavailable, `{}`, "Retry-After", now.Add(d).Format(http.TimeFormat))
	}
	for name, tc := range map[string]struct {
		fault     testkit.Fault
		code      string
		permanent bool
		blocked   bool
		wait      time.Duration
	}{
		"expired":                          {codextest.RefreshRefused("refresh_token_expired"), "refresh_token_expired", true, false, 0},
		"code as a text":                   {testkit.Status(400, `{"error":"refresh_token_reused"}`), "refresh_token_reused", true, false, 0},
		"code at the top":                  {testkit.Status(400, `{"code":"refresh_token_invalidated","error":null}`), "refresh_token_invalidated", true, false, 0},
		"401 with another code":            {testkit.Error(401, "invalid_request_error", "whatever", "Hm."), "whatever", true, false, 0},
		"401 with nothing":                 {testkit.Status(401, ``), "", true, false, 0},
		"401 with no JSON":                 {testkit.Status(401, `<html>`), "", true, false, 0},
		"400 with another code":            {testkit.Status(400, `{"error":"invalid_request"}`), "invalid_request", false, false, 0},
		"400 that is about the token":      {testkit.Status(400, `{"error":"invalid_grant"}`), "invalid_grant", true, false, 0},
		"503 that names the token":         {testkit.Status(503, `{"error":"invalid_grant"}`), "invalid_grant", false, false, 0},
		"429":                              {testkit.RateLimited("30"), "rate_limit_exceeded", false, false, 30 * time.Second},
		"429 for a day":                    {testkit.RateLimited("86400"), "rate_limit_exceeded", false, false, 10 * time.Minute},
		"429 with nonsense":                {testkit.RateLimited("-1"), "rate_limit_exceeded", false, false, 0},
		"503 until a date":                 {until(90 * time.Second), "", false, false, 90 * time.Second},
		"503 until a date that has passed": {until(-time.Hour), "", false, false, 0},
		"503 until tomorrow":               {until(24 * time.Hour), "", false, false, 10 * time.Minute},
		"500":                              {testkit.ServerError(), "server_error", false, false, 0},
		"challenge":                        {codextest.Challenge(), codexauth.CodeBlocked, false, true, 0},
		"challenge as 401":                 {testkit.Page(401, "Cf-Mitigated", "challenge"), codexauth.CodeBlocked, false, true, 0},
		"challenge without its header":     {testkit.Page(403), codexauth.CodeBlocked, false, true, 0},
		"redirect":                         {testkit.Redirect(307, "https://example.com/oauth/token"), codexauth.CodeRedirected, false, false, 0},
		"hangup":                           {testkit.Hangup(), codexauth.CodeNetwork, false, false, 0},
		"reset":                            {testkit.Reset(), codexauth.CodeNetwork, false, false, 0},
		"cut":                              {testkit.All(testkit.Body("application/json", `{"access_token":"abc"}`), testkit.CutBytes(5, testkit.EndFIN)), codexauth.CodeNetwork, false, false, 0},
		"no HTTP":                          {testkit.HTTP09(), codexauth.CodeNetwork, false, false, 0},
		"broken JSON":                      {testkit.BrokenJSON(), codexauth.CodeBadAnswer, false, false, 0},
		"null":                             {testkit.Body("application/json", `null`), codexauth.CodeBadAnswer, false, false, 0},
		"a token that is a number":         {testkit.Body("application/json", `{"access_token":1}`), codexauth.CodeBadAnswer, false, false, 0},
		"a token that is two lines":        {testkit.Body("application/json", `{"access_token":"a\nb"}`), codexauth.CodeBadAnswer, false, false, 0},
		"tokens too long to be kept":       {testkit.Body("application/json", `{"access_token":"`+strings.Repeat("a", 30<<10)+`","id_token":"`+strings.Repeat("i", 30<<10)+`"}`), codexauth.CodeBadAnswer, false, false, 0},
		"bytes without end":                {testkit.GzipBomb(1 << 20), codexauth.CodeBadAnswer, false, false, 0},
	} {
		c, f := pair(t, codextest.Options{Now: func() time.Time { return now }})
		f.Instead(codextest.PathToken, tc.fault)
		_, err := c.Refresh(t.Context(), "rt", codexauth.ReasonExpiry)
		e := failed(t, err)
		if e.Op != "refresh" || e.Code != tc.code || e.Permanent != tc.permanent || e.Blocked != tc.blocked || e.Message == "" {
			t.Errorf("%s: %+v", name, *e)
		}
		if e.RetryAfter != tc.wait {
			t.Errorf("%s: wait %v, want %v", name, e.RetryAfter, tc.wait)
		}
		if f.Server.Count() != 1 {
			t.Errorf("%s: %d requests", name, f.Server.Count())
		}
	}
}

// A refresh whose answer is lost has spent its token: the next one says so, and is
// not asked twice.
func TestRefreshWhoseAnswerIsLost(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	tokens := f.SignIn(t, codextest.AccountID)
	f.After(codextest.PathToken, testkit.Hangup())
	if _, err := c.Refresh(t.Context(), tokens.Refresh, codexauth.ReasonExpiry); failed(t, err).Permanent {
		t.Errorf("the connection's end is taken for the sign-in's: %v", err)
	}
	if _, err := c.Refresh(t.Context(), tokens.Refresh, codexauth.ReasonExpiry); failed(t, err).Code != codexauth.CodeRefreshReused {
		t.Errorf("the second time: %v", err)
	}
	if f.Calls(codextest.PathToken) != 2 {
		t.Errorf("%d requests", f.Calls(codextest.PathToken))
	}
}

func TestExchangeFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		fault              testkit.Fault
		permanent, blocked bool
	}{
		"the code is not good":      {testkit.Status(400, `{"error":"invalid_grant","error_description":"No."}`), true, false},
		"the same with an envelope": {testkit.Error(400, "invalid_request_error", "invalid_grant", "No."), true, false},
		"400 for another reason":    {testkit.Status(400, `{"error":"temporarily_unavailable"}`), false, false},
		"invalid_grant with 503":    {testkit.Status(503, `{"error":"invalid_grant"}`), false, false},
		"the client is not known":   {testkit.Status(401, `{"error":"invalid_client"}`), true, false},
		"server fault":              {testkit.ServerError(), false, false},
		"challenge":                 {codextest.Challenge(), false, true},
		"challenge as 401":          {testkit.Page(401, "Cf-Mitigated", "challenge"), false, true},
		"no access token":           {testkit.Body("application/json", `{"refresh_token":"abc"}`), false, false},
	} {
		c, f := pair(t, codextest.Options{})
		f.Instead(codextest.PathToken, tc.fault)
		tokens, err := c.Exchange(t.Context(), codexauth.Code{Code: "abc", Verifier: "def", RedirectURI: codexauth.RedirectURI})
		if e := failed(t, err); e.Permanent != tc.permanent || e.Blocked != tc.blocked || tokens != nil {
			t.Errorf("%s: %+v", name, *e)
		}
	}
}

func TestRevoke(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	tokens := f.SignIn(t, codextest.AccountID)
	if err := c.Revoke(t.Context(), tokens.Refresh); err != nil {
		t.Fatal(err)
	}
	if f.Serves(tokens.Refresh) || f.Accepts(tokens.Access) {
		t.Error("the sign-in is still good")
	}
	if err := c.Revoke(t.Context(), "unknown"); err != nil {
		t.Errorf("one that the issuer does not know: %v", err)
	}
	f.Instead(codextest.PathRevoke, testkit.ServerError())
	if err := c.Revoke(t.Context(), tokens.Refresh); failed(t, err).Status != 500 {
		t.Errorf("a server fault: %v", err)
	}
}

// The time limits are the caller's, and an error says whose they were.
func TestTimeLimits(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	release := f.Block(codextest.PathToken)
	defer release()

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.Refresh(ctx, "rt", codexauth.ReasonExpiry); !errors.Is(err, context.DeadlineExceeded) || failed(t, err).Code != codexauth.CodeNetwork {
		t.Errorf("a deadline: %v", err)
	}
	slow := *c
	slow.HTTP = &http.Client{Transport: c.HTTP.Transport, Timeout: 20 * time.Millisecond}
	if _, err := slow.Refresh(t.Context(), "rt", codexauth.ReasonExpiry); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the client's own limit: %v", err)
	}
	gone, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := c.Refresh(gone, "rt", codexauth.ReasonExpiry)
		done <- err
	}()
	f.Server.WaitRequests(t, 3)
	stop()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}

func TestNobodyThere(t *testing.T) {
	c := &codexauth.Client{Issuer: testkit.Refused(t), Backend: "http://127.0.0.1:x/"}
	if _, err := c.StartDevice(t.Context()); failed(t, err).Code != codexauth.CodeNetwork {
		t.Errorf("a port where nobody listens: %v", err)
	}
	if err := c.Workspace(t.Context(), realm.CodexIdentity{}); failed(t, err).Code != codexauth.CodeNetwork {
		t.Errorf("an address that is none: %v", err)
	}
}
