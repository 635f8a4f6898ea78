package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// noPage fails if a text has anything of a web page.
func noPage(t testing.TB, where, text string) {
	t.Helper()
	lower := strings.ToLower(text)
	for _, word := range []string{"<html", "<!doctype", "just a moment", "<title", "challenge-platform"} {
		if strings.Contains(lower, word) {
			t.Errorf("%s has a web page in it: %.500s", where, text)
		}
	}
}

// The firewall's page never goes on, and its word is taken for a minute.
func TestAccountBehindAFirewall(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			alone, beside := newAccounts(t, accountOptions{}), newAccounts(t, accountOptions{paid: true})
			for _, w := range []*accounts{alone, beside} {
				w.fake.Always(codextest.PathResponses, codextest.Challenge())
				for i := range 3 {
					got := w.ask(t, f)
					if w == beside {
						w.good(t, got)
					} else {
						w.refused(t, got, http.StatusServiceUnavailable, "server_error", "server_is_overloaded")
						if got.Header.Get("Retry-After") == "" {
							t.Error("nobody is told when to come again")
						}
					}
					noPage(t, "the answer", got.body+headerText(got.Header))
					if i > 0 {
						continue
					}
					rec := w.row(t, got)
					noPage(t, "the row", fmt.Sprintf("%+v", rec))
					if rec.Tries[0].Cause != realm.CauseBlocked || !strings.Contains(rec.Tries[0].Error, "firewall") {
						t.Errorf("the row says %s: %s", rec.Tries[0].Cause, rec.Tries[0].Error)
					}
				}
				w.counts(t, 1, 0, map[bool]int{true: 3}[w == beside])
				if one := w.list(t)[0]; one.State != realm.CredentialOK {
					t.Errorf("the account is out of use for good: %q", one.Reason)
				}
				w.awayFor(t, 30*time.Second, 2*time.Minute)
				noPage(t, "the log", w.log.String())
				w.fake.Always(codextest.PathResponses, nil)
				w.Mend(t, "mine")
				w.good(t, w.ask(t, f))
			}
		})
	}
}

// awayFor fails unless the account's endpoint is away for about so long.
func (a *accounts) awayFor(t testing.TB, least, most time.Duration) {
	t.Helper()
	marks := a.channelState(t, "mine").Endpoints[0].Marks
	if len(marks) == 0 {
		t.Errorf("nothing is held against the endpoint: %+v", a.channelState(t, "mine"))
	} else if d := time.Until(marks[0].Until); d < least || d > most {
		t.Errorf("away for %s (%+v)", d, marks)
	}
}

// What goes wrong before the first event goes to another channel; where there is none
// the client is told in words that it takes for what they mean.
func TestAccountFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name       string
		fault      testkit.Fault
		status     int
		kind, code string
		cause      realm.Cause
		asked      int // at most, in one request
		outOfUse   bool
	}{
		{"overloaded", codextest.Overloaded(), 503, "server_error", "server_is_overloaded", realm.CauseServerError, 3, false},
		{"no codex in the plan", codextest.UsageNotIncluded(), 429, "", "", realm.CauseQuota, 1, false},
		{"a closed workspace", codextest.DeactivatedWorkspace(), 503, "server_error", "server_is_overloaded", realm.CauseAuth, 1, true},
		{"cut before anything", testkit.Reset(), 503, "server_error", "server_is_overloaded", realm.CauseConnect, 4, false},
		{"hung up", testkit.Hangup(), 503, "server_error", "server_is_overloaded", realm.CauseConnect, 4, false},
		{"a page with 200", testkit.Page(200), 0, "server_error", "", realm.CauseBadAnswer, 3, false},
	} {
		for _, f := range forms {
			t.Run(c.name+", "+f.name, func(t *testing.T) {
				t.Parallel()
				w := newAccounts(t, accountOptions{paid: true})
				w.fake.Always(codextest.PathResponses, c.fault)
				got := w.ask(t, f)
				w.good(t, got)
				if rec := w.row(t, got); rec.Tries[len(rec.Tries)-2].Cause != c.cause { // the last but the other channel's
					t.Errorf("attempts: %s", causes(rec))
				}
				if w.asked() > c.asked || w.renewed() != 0 {
					t.Errorf("the account was asked %d times, renewed %d times", w.asked(), w.renewed())
				}

				alone := newAccounts(t, accountOptions{})
				alone.fake.Always(codextest.PathResponses, c.fault)
				got = alone.ask(t, f)
				noPage(t, "the answer", got.body)
				if c.status != 0 && got.StatusCode != c.status || got.StatusCode < 429 {
					t.Errorf("alone: %d %s", got.StatusCode, got.body)
				}
				if c.code != "" {
					alone.refused(t, got, c.status, c.kind, c.code)
				}
				if c.outOfUse {
					testkit.Poll(t, "the credential to be out of use", func() bool { return alone.list(t)[0].State != realm.CredentialOK })
				} else if one := alone.list(t)[0]; one.State != realm.CredentialOK {
					t.Errorf("the account is out of use: %q", one.Reason)
				}
			})
		}
	}
}

// A stream that is cut before its first event of substance fails over; afterwards
// the client hears of it.
func TestAccountStreamCut(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newAccounts(t, accountOptions{paid: true})
			for _, n := range []int{0, 2} { // nothing, and created and in_progress
				w.fake.SetScript(testkit.Always(testkit.Cut(n, testkit.EndFIN)))
				got := w.ask(t, f)
				w.good(t, got)
				if rec := w.row(t, got); rec.Tries[len(rec.Tries)-1].Cause != realm.CauseOK {
					t.Errorf("cut after %d: %s", n, causes(rec))
				}
				w.Mend(t, "mine")
			}
			paid := w.paid.Count()
			w.fake.SetScript(testkit.Always(testkit.Cut(6, testkit.EndFIN)))
			got := w.ask(t, f)
			switch {
			case !f.stream: // nothing was committed, so another may serve
				w.good(t, got)
				return
			case f.responses:
				if !strings.Contains(got.body, `"type":"response.failed"`) {
					t.Errorf("the client is not told: %s", got.body)
				}
			case !strings.Contains(got.body, `data: {"error":`):
				t.Errorf("the client is not told: %s", got.body)
			}
			if w.paid.Count() != paid {
				t.Error("another channel was asked although the answer had begun")
			}
			if rec := w.row(t, got); rec.Ended != realm.EndedUpstreamCut {
				t.Errorf("the row says %s", rec.Ended)
			}
		})
	}
}

// All three shapes of the backend's refusals come down as OpenAI's.
func TestAccountRefusalsAreOpenAIs(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"detail":          `{"detail":"Unsupported content type of the fake"}`,
		"detail's code":   `{"detail":{"code":"odd_request","message":"odd"}}`,
		"error":           `{"error":{"message":"odd","type":"invalid_request_error","param":"input","code":"odd_request"},"status":400}`,
		"error of a type": `{"type":"error","status":400,"error":{"type":"invalid_request_error","message":"odd"}}`,
	} {
		for _, f := range forms {
			t.Run(name+", "+f.name, func(t *testing.T) {
				t.Parallel()
				w := newAccounts(t, accountOptions{paid: true})
				w.fake.Always(codextest.PathResponses, testkit.Status(http.StatusBadRequest, body))
				got := w.ask(t, f)
				if got.StatusCode != http.StatusBadRequest || !strings.HasPrefix(got.body, `{"error":{`) || strings.Contains(got.body, `"detail"`) {
					t.Errorf("%d %s", got.StatusCode, got.body)
				}
				w.counts(t, 1, 0, 0)
			})
		}
	}
}

// A model that the plan does not offer is another channel's to serve.
func TestAccountModelNotInThePlan(t *testing.T) {
	t.Parallel()
	person := codextest.DefaultAccount()
	person.Models = []string{"another"}
	o := accountOptions{paid: true, fake: codextest.Options{Accounts: []codextest.Account{person}}}
	w := newAccounts(t, o)
	for _, f := range forms {
		w.good(t, w.ask(t, f))
	}
	w.counts(t, 1, 0, len(forms))
	o.paid = false
	alone := newAccounts(t, o)
	for _, f := range forms {
		alone.refused(t, alone.ask(t, f), http.StatusNotFound, "invalid_request_error", "model_not_found")
	}
}
