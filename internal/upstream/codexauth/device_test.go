package codexauth_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"testing"
	"time"

	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

func TestDeviceSignIn(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	c, f := pair(t, codextest.Options{Interval: `"7"`, Now: func() time.Time { return now }})
	d, err := c.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if d.VerifyURL != f.Issuer()+"/codex/device" || d.UserCode == "" || d.Interval != 7*time.Second || !d.ExpiresAt.Equal(now.Add(15*time.Minute)) {
		t.Errorf("the device is %+v", d)
	}
	for range 4 { // 403 and 404 in turns
		if _, err := c.PollDevice(t.Context(), d.ID, d.UserCode); !errors.Is(err, codexauth.ErrPending) {
			t.Fatalf("nobody has confirmed, and polling gives %v", err)
		}
	}
	f.Confirm(t, d.UserCode)
	code, err := c.PollDevice(t.Context(), d.ID, d.UserCode)
	if err != nil {
		t.Fatal(err)
	}
	tokens, err := c.Exchange(t.Context(), *code)
	if err != nil {
		t.Fatal(err)
	}
	if !f.Serves(tokens.Refresh) || !f.Accepts(tokens.Access) || tokens.ID == "" {
		t.Error("the tokens are not those of the issuer")
	}
	if _, err := c.PollDevice(t.Context(), d.ID, d.UserCode); !failed(t, err).Permanent {
		t.Errorf("a code that was spent is polled again: %v", err)
	}
	if agent := f.Requests(codextest.PathToken)[0].Header.Get("User-Agent"); agent != "realms/test" {
		t.Errorf("the user agent is %q", agent)
	}
}

func TestDeviceIntervalAndAliases(t *testing.T) {
	for written, want := range map[string]time.Duration{
		`"5"`: 5 * time.Second, `5`: 5 * time.Second, `2.5`: 2500 * time.Millisecond, `"0"`: 5 * time.Second, `-3`: 5 * time.Second,
		`null`: 5 * time.Second, `"soon"`: 5 * time.Second, `"NaN"`: 5 * time.Second, `0.01`: time.Second, `86400`: time.Minute, `{}`: 5 * time.Second,
	} {
		c, f := pair(t, codextest.Options{})
		f.Instead(codextest.PathUserCode, testkit.Body("application/json", `{"device_auth_id":"d-1","usercode":"ABCD-EFGH","interval":`+written+`}`))
		d, err := c.StartDevice(t.Context())
		if err != nil {
			t.Errorf("%s: %v", written, err)
		} else if d.Interval != want || d.UserCode != "ABCD-EFGH" || d.ID.Reveal() != "d-1" {
			t.Errorf("%s: interval %v, want %v; code %q", written, d.Interval, want, d.UserCode)
		}
	}
}

func TestStartDeviceRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		fault     testkit.Fault
		code      string
		permanent bool
	}{
		"not enabled":             {testkit.Status(http.StatusNotFound, `{"detail":"Not Found"}`), codexauth.CodeDeviceDisabled, true},
		"not enabled, in HTML":    {testkit.Page(http.StatusNotFound), codexauth.CodeDeviceDisabled, true},
		"challenge":               {codextest.Challenge(), codexauth.CodeBlocked, false},
		"challenge with 404":      {testkit.Page(http.StatusNotFound, "Cf-Mitigated", "challenge"), codexauth.CodeBlocked, false},
		"server fault":            {testkit.ServerError(), "server_error", false},
		"no code":                 {testkit.Body("application/json", `{"device_auth_id":"d-1"}`), codexauth.CodeBadAnswer, false},
		"a code for the terminal": {testkit.Body("application/json", `{"device_auth_id":"d-1","user_code":"\u001b[2J"}`), codexauth.CodeBadAnswer, false},
	} {
		c, f := pair(t, codextest.Options{})
		f.Instead(codextest.PathUserCode, tc.fault)
		_, err := c.StartDevice(t.Context())
		if e := failed(t, err); e.Code != tc.code || e.Permanent != tc.permanent || e.Blocked != (tc.code == codexauth.CodeBlocked) {
			t.Errorf("%s: %+v", name, *e)
		}
	}
}

func TestPollDeviceRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		fault              testkit.Fault
		permanent, blocked bool
		wait               time.Duration
	}{
		"denied":            {testkit.Error(http.StatusBadRequest, "invalid_request_error", "access_denied", "No."), true, false, 0},
		"gone":              {testkit.Status(http.StatusGone, `{}`), true, false, 0},
		"too often":         {testkit.RateLimited("30"), false, false, 30 * time.Second},
		"server fault":      {testkit.ServerError(), false, false, 0},
		"challenge":         {codextest.Challenge(), false, true, 0},
		"403 in HTML":       {testkit.Page(http.StatusForbidden), false, true, 0},
		"nothing in a 200":  {testkit.Body("application/json", `{}`), false, false, 0},
		"an array in a 200": {testkit.Array(), false, false, 0},
	} {
		c, f := pair(t, codextest.Options{})
		f.Instead(codextest.PathDeviceToken, tc.fault)
		_, err := c.PollDevice(t.Context(), "d-1", "ABCD-EFGH")
		if e := failed(t, err); e.Permanent != tc.permanent || e.Blocked != tc.blocked || e.RetryAfter != tc.wait {
			t.Errorf("%s: %+v", name, *e)
		}
	}
}

// What goes to the issuer is what it was seen to take.
func TestDeviceRequests(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	d, err := c.StartDevice(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = c.PollDevice(t.Context(), d.ID, d.UserCode)
	for path, want := range map[string]map[string]string{
		codextest.PathUserCode:    {"client_id": codextest.ClientID},
		codextest.PathDeviceToken: {"device_auth_id": d.ID.Reveal(), "user_code": d.UserCode},
	} {
		r := f.Requests(path)[0]
		var got map[string]string
		if err := json.Unmarshal(r.Body, &got); err != nil || len(got) != len(want) || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s was sent %d fields as %q (%v)", path, len(got), r.Header.Get("Content-Type"), err)
		}
		for field, value := range want {
			if got[field] != value {
				t.Errorf("%s: %s is not what it should be", path, field)
			}
		}
	}
}
