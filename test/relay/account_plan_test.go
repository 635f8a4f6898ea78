package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/codex"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
	"realms/internal/testkit/testapp"
)

// usedUp makes the account's shorter window such that nothing is left of it.
func (a *accounts) usedUp(resets time.Time) {
	a.fake.Change(codextest.AccountID, func(p *codextest.Account) {
		p.Windows[0].UsedPercent, p.Windows[0].ResetsAt = 100, resets
	})
}

// isPlanLimit fails unless an answer is what Codex CLI takes for a used up plan.
func (a *accounts) isPlanLimit(t testing.TB, got *answer, resets time.Time) {
	t.Helper()
	e := a.refused(t, got, http.StatusTooManyRequests, "usage_limit_reached", "usage_limit_reached")
	at, _ := e["resets_at"].(float64)
	in, _ := e["resets_in_seconds"].(float64)
	if d := time.Unix(int64(at), 0).Sub(resets).Abs(); d > 5*time.Second {
		t.Errorf("resets_at is off by %s: %v", d, e)
	}
	if d := time.Until(resets) - time.Duration(in)*time.Second; d.Abs() > 10*time.Second {
		t.Errorf("resets_in_seconds is off by %s: %v", d, e)
	}
	if got.Header.Get("Retry-After") != "" || got.Header.Get("X-Should-Retry") != "false" {
		t.Errorf("a used up plan that asks to come again: %v", got.Header)
	}
}

// the ways in which the backend tells that a plan is used up.
func planFaults(resets time.Time) map[string]testkit.Fault {
	object := fmt.Sprintf(`{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_at":%d,"resets_in_seconds":%d}`,
		resets.Unix(), int(time.Until(resets).Seconds()))
	created := "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_fake\",\"status\":\"in_progress\",\"output\":[]}}\n\n"
	return map[string]testkit.Fault{
		"429":                       codextest.UsageLimit("plus", resets, time.Now()),
		"error event":               testkit.Events("event: error\ndata: {\"type\":\"error\",\"status\":429,\"error\":" + object + "}\n\n"),
		"error event after created": testkit.Events(created, "data: {\"type\":\"error\",\"status\":429,\"error\":"+object+"}\n\n"),
		"response.failed": testkit.Events(created, fmt.Sprintf(
			"event: response.failed\ndata: {\"type\":\"response.failed\",\"sequence_number\":1,\"response\":{\"id\":\"resp_fake\",\"status\":\"failed\",\"error\":{\"code\":\"usage_limit_reached\",\"message\":\"The usage limit has been reached\",\"resets_at\":%d,\"resets_in_seconds\":%d}}}\n\n",
			resets.Unix(), int(time.Until(resets).Seconds()))),
	}
}

// Where accounts are all there is, the client is told of the plan, and no other
// account takes over; where a channel with a key is beside them, that does.
func TestAccountPlanUsedUp(t *testing.T) {
	t.Parallel()
	for name := range planFaults(time.Time{}) {
		for _, f := range forms {
			for _, paid := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, paid %v", name, f.name, paid), func(t *testing.T) {
					t.Parallel()
					resets := time.Now().Add(3 * time.Hour).Truncate(time.Second)
					fault := planFaults(resets)[name]
					w := newAccounts(t, accountOptions{
						paid: paid, credentials: []string{"main", "spare"},
						fake: codextest.Options{Accounts: twoAccounts()},
					})
					w.fake.Visit(spareID)
					w.SignIn(t, w.fake, "mine", "spare")
					renewed := w.renewed()
					w.fake.Always(codextest.PathResponses, fault)
					for i := range 4 {
						got := w.ask(t, f)
						if paid {
							w.good(t, got)
						} else {
							w.isPlanLimit(t, got, resets)
						}
						if i == 0 {
							w.row(t, got)
						}
					}
					w.counts(t, 1, renewed, map[bool]int{true: 4}[paid])
				})
			}
		}
	}
}

const spareID = "acc-0002"

// twoAccounts are of two people.
func twoAccounts() []codextest.Account {
	spare := codextest.DefaultAccount()
	spare.ID, spare.UserID, spare.Email = spareID, "user-0002", "other@example.com"
	return []codextest.Account{codextest.DefaultAccount(), spare}
}

// A plan that is used up as the account itself says it, header and all.
func TestAccountPlanUsedUpByHeader(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	resets := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	w.usedUp(resets)
	for range 3 {
		w.isPlanLimit(t, w.ask(t, respEvents), resets)
	}
	w.counts(t, 1, 0, 0)
	if used := w.window(t, 5*time.Hour).UsedPercent; used != 100 {
		t.Errorf("operators see %v %% used", used)
	}
}

// A short wait is waited for, and the account then serves by itself.
func TestAccountPlanServesAfterItsReset(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{configure: func(c *config.Config) { c.Relay.MaxWait = 0 }})
	w.usedUp(time.Now().Add(3 * time.Second))
	got := w.ask(t, respEvents)
	if got.StatusCode != http.StatusTooManyRequests {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	eventually(t, "the plan to be filled up again", 15*time.Second, func() bool {
		got = w.ask(t, respEvents)
		return got.StatusCode == http.StatusOK
	})
	w.good(t, got)
	if w.asked() > 4 {
		t.Errorf("the account was asked %d times", w.asked())
	}
}

// A restart is no reason to ask before the time.
func TestAccountPlanIsRememberedOverARestart(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	resets := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	w.usedUp(resets)
	w.isPlanLimit(t, w.ask(t, respEvents), resets)
	dsn, token := w.Config.DB.DSN, w.Token
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	again := accountOptions{configure: func(c *config.Config) { c.DB.DSN = dsn }}
	w.start(t, again, token)
	for range 3 {
		w.isPlanLimit(t, w.ask(t, respEvents), resets)
	}
	w.counts(t, 1, 0, 0)

	// What the operator asks for tells that the plan was filled up early.
	w.fake.Change(codextest.AccountID, func(p *codextest.Account) { p.Windows[0].UsedPercent = 1 })
	if _, err := w.Codex.Usage(t.Context(), "test", "mine", "main"); err != nil {
		t.Fatal(err)
	}
	w.Mend(t, "mine")
	w.good(t, w.ask(t, respEvents))
}

// window is the one of a length, as operators see it.
func (a *accounts) window(t testing.TB, length time.Duration) codex.Window {
	t.Helper()
	for _, w := range a.list(t)[0].Limits.Windows {
		if w.Limit == "" && w.Length() == length {
			return w
		}
	}
	t.Fatalf("there is no window of %s: %+v", length, a.list(t)[0].Limits)
	return codex.Window{}
}

// What is left of the plan is known from every answer: its header, an event in it,
// and what the account itself says when asked.
func TestAccountWindowsAreObserved(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	used := func(hours int, want float64) {
		t.Helper()
		if got := w.window(t, time.Duration(hours)*time.Hour).UsedPercent; got != want {
			t.Errorf("%d h: %v %% used, not %v", hours, got, want)
		}
	}
	used(5, 12.5) // asked for at the sign-in
	w.fake.Change(codextest.AccountID, func(p *codextest.Account) { p.Windows[0].UsedPercent = 20 })
	w.good(t, w.ask(t, respEvents))
	used(5, 20)
	used(7*24, 40)

	for i, f := range forms {
		told := codextest.DefaultAccount()
		told.Windows[0].UsedPercent = float64(60 + i)
		w.fake.SetScript(testkit.Always(testkit.Insert(2, codextest.RateLimitsEvent(told))))
		w.good(t, w.ask(t, f))
		used(5, float64(60+i))
	}

	// Where the slots have changed places, the length tells them apart.
	w.fake.SetScript(nil)
	w.fake.Change(codextest.AccountID, func(p *codextest.Account) {
		p.Windows[0], p.Windows[1] = p.Windows[1], p.Windows[0]
		p.Windows = append(p.Windows, realm.CodexWindow{Limit: "bengalfox", Length: 24 * time.Hour, UsedPercent: 77, ResetsAt: time.Now().Add(time.Hour)})
	})
	one, err := w.Codex.Usage(t.Context(), "test", "mine", "main")
	if err != nil {
		t.Fatal(err)
	}
	used(5, 20)
	used(7*24, 40)
	var families []string
	for _, win := range one.Limits.Windows {
		families = append(families, fmt.Sprintf("%s %s %v", win.Limit, win.Length(), win.UsedPercent))
	}
	if !strings.Contains(strings.Join(families, ","), "bengalfox 24h0m0s 77") {
		t.Errorf("windows: %q", families)
	}
}

// A model's own limit says nothing of the account's other models.
func TestAccountModelsOwnLimit(t *testing.T) {
	t.Parallel()
	const other = "gpt-5.5-fox"
	w := newAccounts(t, accountOptions{channel: func(ch *spec) {
		ch.Bindings = append(ch.Bindings, realm.Binding{Model: other, Upstream: other})
	}, fake: codextest.Options{Script: func(r *testkit.Request) testkit.Fault {
		if r.Model != other {
			return nil
		}
		at := fmt.Sprint(time.Now().Add(time.Hour).Unix())
		return testkit.Status(http.StatusTooManyRequests, `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","resets_at":`+at+`}}`,
			"X-Codex-Fox-Primary-Used-Percent", "100", "X-Codex-Fox-Primary-Window-Minutes", "300", "X-Codex-Fox-Primary-Reset-At", at)
	}}})
	f := respEvents
	f.body = strings.ReplaceAll(f.body, "%s", other)
	if got := w.ask(t, f); got.StatusCode != http.StatusTooManyRequests && got.StatusCode != http.StatusNotFound {
		t.Fatalf("%d %s", got.StatusCode, got.body)
	}
	w.good(t, w.ask(t, respEvents))
}

// An account serves four requests at once unless somebody says otherwise.
func TestAccountServesFourAtOnce(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	release := w.fake.Block(codextest.PathResponses)
	answers := w.storm(t, 12, func() {
		w.fake.Waiting(t, codextest.PathResponses, 4)
		testkit.Poll(t, "four requests to be under way", func() bool {
			for _, ep := range w.channelState(t, "mine").Endpoints {
				for _, cr := range ep.Credentials {
					return cr.InFlight == realm.CodexConcurrent
				}
			}
			return false
		})
		if n := w.asked(); n != realm.CodexConcurrent {
			t.Errorf("%d requests reached the account at once", n)
		}
		release()
	})
	for _, got := range answers {
		w.good(t, got)
	}
	w.counts(t, 12, 0, 0)
}

// Nor does the account of another channel take over, nor one that is asked for by
// its channel's name.
func TestAccountPlanIsNotWorkedAround(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{fake: codextest.Options{Accounts: twoAccounts()}})
	second := testapp.CodexChannel("second", "main")
	second.Bindings = []realm.Binding{{Model: accountModel, Upstream: accountModel}}
	w.Declare(t, second)
	w.fake.Visit(spareID)
	w.SignIn(t, w.fake, "second", "main")
	resets := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	w.usedUp(resets)
	for _, f := range forms {
		w.isPlanLimit(t, w.ask(t, f), resets)
		w.isPlanLimit(t, w.ask(t, f, "X-Realms-Channel", "mine"), resets)
		w.isPlanLimit(t, w.ask(t, f, "X-Realms-Channel", "second"), resets)
	}
	if n := w.asked(); n != 1 {
		t.Errorf("accounts were asked %d times", n)
	}
}
