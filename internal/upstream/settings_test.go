package upstream_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

func TestStatusMap(t *testing.T) {
	statuses := map[int]int{400: 503, 500: 400, 302: 429, 418: 200, 403: 999, 200: 500, 499: 401}
	serverError := verdict{realm.CauseServerError, realm.ScopeEndpointModel, realm.NextOther}
	for name, tc := range map[string]struct {
		fault  testkit.Fault
		want   verdict
		status int // as it came
		answer int // as a client would get it
	}{
		"400 → 503":                     {testkit.Error(400, "invalid_request_error", "", "Busy."), serverError, 400, 503},
		"500 → 400":                     {testkit.Error(500, "server_error", "", "Bad tool."), verdict{realm.CauseClientError, realm.ScopeNone, realm.NextStop}, 500, 400},
		"302 → 429":                     {testkit.Redirect(302, "/"), verdict{realm.CauseRateLimited, realm.ScopeCredentialModel, realm.NextOther}, 302, 429},
		"499 → 401":                     {testkit.Error(499, "", "account_deactivated", "x"), verdict{realm.CauseAuth, realm.ScopeCredential, realm.NextOther}, 499, 401},
		"418 → 200, which is not taken": {testkit.Status(418, "x"), badAnswer, 418, 418},
		"403 → 999, which is not taken": {testkit.Error(403, "x", "x", "No."), verdict{realm.CauseForbidden, realm.ScopeCredentialModel, realm.NextOther}, 403, 403},
		"503 as it is":                  {testkit.Error(503, "x", "x", "No."), serverError, 503, 503},
	} {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, script(tc.fault))
			x := chat(u.BaseURL, false)
			x.Attempt.Channel.Settings.StatusMap = statuses
			f := mustFail(t, newExecutor(t, upstream.Options{}), x)
			if o := f.Outcome; verdictOf(o) != tc.want || o.Status != tc.status || f.Status != tc.answer {
				t.Errorf("status %d, outcome = %+v", f.Status, o)
			}
			if said := strings.Contains(f.Outcome.Err.Error(), fmt.Sprintf("treated as %d", tc.answer)); said != (tc.status != tc.answer) {
				t.Errorf("error = %v", f.Outcome.Err)
			}
		})
	}
	u := testkit.NewUpstream(t, testkit.Options{})
	x := chat(u.BaseURL, false)
	x.Attempt.Channel.Settings.StatusMap = statuses
	res := mustDo(t, newExecutor(t, upstream.Options{}), x)
	if _, err := readAll(res); err != nil || res.Status != http.StatusOK {
		t.Errorf("a 200 became %d, %v", res.Status, err)
	}
}

func TestHeadersOfTheChannel(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{})
	e := newExecutor(t, upstream.Options{})
	x := chat(u.BaseURL, false)
	x.Header = http.Header{"User-Agent": {"client"}, "Openai-Beta": {"b"}, "Accept": {"application/json"}, "X-Codex-Turn-State": {"turn"}}
	before := x.Header.Clone()
	x.Attempt.Leaves = true
	x.Attempt.Channel.Settings.DeleteHeaders = []string{"Openai-Beta", "Accept", "User-Agent", "Authorization"}
	x.Attempt.Channel.Settings.SetHeaders = map[string]realm.Secret{
		"Accept": "text/plain", "X-A": "b", "Authorization": "Bearer other", "Content-Type": "text/other", "Accept-Encoding": "br", "X-Realms-Hops": "0",
		"Idempotency-Key": "one", "Connection": "close", "Host": "elsewhere.test", "X-Broken": "a\r\nX-C: d", "Content-Length": "5",
	}
	if _, err := readAll(mustDo(t, e, x)); err != nil {
		t.Fatal(err)
	}
	r := u.WaitRequests(t, 1)[0]
	want := http.Header{
		"Accept": {"text/plain"}, "User-Agent": {"realms"}, "X-A": {"b"}, "Content-Type": {"application/json"}, "Content-Length": {fmt.Sprint(x.Length)},
		"Accept-Encoding": {"identity"}, "X-Realms-Hops": {"1"}, "Authorization": {"Bearer " + testKey},
	}
	if diff := cmp.Diff(want, r.Header); diff != "" {
		t.Errorf("header at the upstream (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(before, x.Header); diff != "" || !strings.HasSuffix(u.URL, r.Host) {
		t.Errorf("the client's header was changed, or the host %s:\n%s", r.Host, diff)
	}
	// Where there is no key the channel may bring its own.
	x = chat(u.BaseURL, false)
	x.Attempt.Credential.APIKey = ""
	x.Attempt.Channel.Settings.SetHeaders = map[string]realm.Secret{"Authorization": "Basic other"}
	if _, err := readAll(mustDo(t, e, x)); err != nil {
		t.Fatal(err)
	}
	if got := u.WaitRequests(t, 2)[1].Header.Get("Authorization"); got != "Basic other" {
		t.Errorf("authorization = %q", got)
	}
}

// TestRetryAfterForms: the six forms of the header, and none, on what an exchange
// teaches.
func TestRetryAfterForms(t *testing.T) {
	now := time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	type lesson struct {
		Told bool
		Wait time.Duration
	}
	codex := `{"error":{"type":"usage_limit_reached","message":"x"}}`
	limit := `{"error":{"type":"tokens","code":"rate_limit_exceeded","message":"x"}}`
	for value, want := range map[string]lesson{
		"1":                             {true, time.Second},
		"Tue, 01 Sep 2026 12:00:45 GMT": {true, 45 * time.Second},
		"Tue, 01 Sep 2026 11:59:00 GMT": {true, 0},
		"-5":                            {},
		"1e9":                           {true, 10 * time.Minute},
		"garbage":                       {},
		"":                              {},
	} {
		for _, status := range []int{429, 503, 500, 408} {
			for body, longest := range map[string]time.Duration{limit: 10 * time.Minute, codex: 7 * 24 * time.Hour} {
				header := []string{"Content-Type", "application/json"}
				if value != "" {
					header = append(header, "Retry-After", value)
				}
				u := testkit.NewUpstream(t, script(testkit.All(testkit.Status(status, body), testkit.Header(header...))))
				o := mustFail(t, newExecutor(t, upstream.Options{Now: func() time.Time { return now }}), chat(u.BaseURL, false)).Outcome
				wanted := want
				if value == "1e9" {
					wanted.Wait = longest
				}
				if diff := cmp.Diff(wanted, lesson{o.Told, o.Wait}); diff != "" {
					t.Errorf("%q under %d (-want +got):\n%s", value, status, diff)
				}
				cause, scope := realm.CauseServerError, realm.ScopeEndpointModel
				if status == 429 {
					cause, scope = realm.CauseRateLimited, realm.ScopeCredentialModel
				}
				if o.Cause != cause || o.Scope != scope || o.Next != realm.NextOther {
					t.Errorf("%q under %d: outcome = %+v", value, status, o)
				}
			}
		}
	}
}
