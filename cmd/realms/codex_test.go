package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/codex"
	"realms/internal/realm"
)

func TestCodexTarget(t *testing.T) {
	channels := []*realm.Channel{{Name: "me"}, {Name: "me/too"}, {Name: "mellow"}}
	for ref, want := range map[string]codex.Target{
		"me":          {Channel: "me"},
		"me/main":     {Channel: "me", Credential: "main"},
		"me/a/b":      {Channel: "me", Credential: "a/b"},
		"me/too":      {Channel: "me/too"},
		"me/too/main": {Channel: "me/too", Credential: "main"},
		"mellow":      {Channel: "mellow"},
		"other/main":  {Channel: "other", Credential: "main"},
		"other":       {Channel: "other"},
	} {
		if got := codexTarget(ref, channels); got != want {
			t.Errorf("codexTarget(%q) = %+v, want %+v", ref, got, want)
		}
	}
}

// TestGivenUp holds what is said to who presses Ctrl-C while a command waits: the
// service's own words if it has some, and never a context's.
func TestGivenUp(t *testing.T) {
	own := &realm.Error{Code: realm.CodeUnavailable, Err: context.Canceled, Message: "Stopped once the tokens were renewed."}
	for want, err := range map[string]error{
		"stopped; nothing has changed":          fmt.Errorf("read the account: %w", context.Canceled),
		"Stopped once the tokens were renewed.": own,
	} {
		if got := (&cli{program: "realms"}).explainCodex(err, codex.Target{Channel: "me"}); words(got) != want {
			t.Errorf("got %q, want %q", words(got), want)
		}
	}
}

func TestWindowText(t *testing.T) {
	now := at(12, 0, 0)
	for want, w := range map[string]codex.Window{
		"5 h: 42% used, resets in 2 h 10 min":        {Seconds: 5 * 3600, UsedPercent: 42, ResetsAt: now.Add(2*time.Hour + 10*time.Minute)},
		"7 d: 99.5% used, resets in 6 d 23 h":        {Seconds: 7 * 86400, UsedPercent: 99.5, ResetsAt: now.Add(7*24*time.Hour - time.Minute)},
		"5 h: 100% used, resets in 1 min":            {Seconds: 5 * 3600, UsedPercent: 100, ResetsAt: now.Add(time.Second)},
		"30 d: 1% used, resets in 1 d":               {Seconds: 30 * 86400, UsedPercent: 1, ResetsAt: now.Add(24 * time.Hour)},
		"90 min: 0% used":                            {Seconds: 5400},
		"90 s: 7% used, resets in 1 d":               {Seconds: 90, UsedPercent: 7, ResetsAt: now.Add(24*time.Hour + 30*time.Second)},
		"gpt-5.5-spark, 5 h: 3% used, resets in 1 h": {Limit: "gpt-5.5-spark", Seconds: 5 * 3600, UsedPercent: 3, ResetsAt: now.Add(time.Hour)},
		"5 h: has reset since":                       {Seconds: 5 * 3600, UsedPercent: 100, ResetsAt: now},
	} {
		if got := windowText(&w, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// TestUsageLines holds what is said of a plan that is used up, also where nobody knows
// until when: that is not "nothing is used up".
func TestUsageLines(t *testing.T) {
	now := at(12, 0, 0)
	for name, tc := range map[string]struct {
		window codex.Window
		first  string
		used   bool
	}{
		"some is left":     {codex.Window{Seconds: 18000, UsedPercent: 99, ResetsAt: at(13, 0, 0)}, "me/main: plan plus", false},
		"used up":          {codex.Window{Seconds: 18000, UsedPercent: 100, ResetsAt: at(13, 0, 0)}, "me/main: plan plus, used up until 13:00:00", true},
		"nobody knows":     {codex.Window{Seconds: 18000, UsedPercent: 100}, "me/main: plan plus, used up", true},
		"it was":           {codex.Window{Seconds: 18000, UsedPercent: 100, ResetsAt: at(11, 0, 0)}, "me/main: plan plus", false},
		"a single model's": {codex.Window{Limit: "spark", Seconds: 18000, UsedPercent: 100}, "me/main: plan plus", false},
	} {
		a := &codex.Account{Channel: "me", Credential: "main", Plan: "plus", Limits: codex.Limits{Windows: []codex.Window{tc.window}}}
		if got := usageLines(a, now)[0]; got != tc.first || usedUp(a, now) != tc.used {
			t.Errorf("%s: %q, used up %v", name, got, usedUp(a, now))
		}
	}
}

// TestAccountRows holds what the list says of each kind of account.
func TestAccountRows(t *testing.T) {
	now := at(12, 0, 0)
	well := codex.Account{
		Channel: "me", Credential: "main", Enabled: true, State: realm.CredentialOK, SignedIn: true, AccountID: "acc", Email: "owner@example.com", Plan: "plus",
		ExpiresAt: at(18, 0, 0), RefreshedAt: at(11, 0, 0), Limits: codex.Limits{At: at(11, 30, 0), Plan: "plus", Windows: []codex.Window{
			{Seconds: 18000, UsedPercent: 12.5, ResetsAt: now.Add(time.Hour)}, {Seconds: 604800, UsedPercent: 40, ResetsAt: now.Add(48 * time.Hour)},
		}},
	}
	account := func(change func(a *codex.Account)) *codex.Account {
		a := well
		a.Limits.Windows = append([]codex.Window(nil), well.Limits.Windows...)
		change(&a)
		return &a
	}
	reason := "the sign-in has ended: run `realms codex login 'my plan/main'`"
	list := []*codex.Account{
		account(func(*codex.Account) {}),
		account(func(a *codex.Account) { a.Limits.Windows[0].UsedPercent, a.Limits.Windows[1].UsedPercent = 100, 101 }),
		account(func(a *codex.Account) { a.Limits.Windows[0].Limit, a.Limits.Windows[0].UsedPercent = "spark", 100 }),
		account(func(a *codex.Account) {
			a.RefreshError, a.Credential, a.Limits = "it has expired", "my own", codex.Limits{}
		}),
		account(func(a *codex.Account) {
			a.Channel, a.State, a.Reason, a.Enabled = "my plan", realm.CredentialDisabled, reason, true
		}),
		account(func(a *codex.Account) { a.State, a.Reason = realm.CredentialDisabled, "402 deactivated_workspace" }),
		account(func(a *codex.Account) { a.Enabled = false }),
	}
	var states []string
	for _, row := range accountRows(list, now)[1:] {
		if row[0] != "" {
			states = append(states, row[0]+" "+row[3])
		}
		if len(row) != 8 {
			t.Errorf("a row of %d cells: %q", len(row), row)
		}
	}
	if diff := cmp.Diff([]string{
		"me/main ok", "me/main used up until 2026-11-24 12:00", "me/main ok", "me/my own ends when the token expires",
		"my plan/main out of use", "me/main out of use", "me/main disabled",
	}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
	var advice []string
	for _, lines := range accountAdvice(list, func(args string) string { return "realms " + args }) {
		advice = append(advice, lines...)
	}
	if diff := cmp.Diff([]string{
		"", "me/my own cannot be renewed: it has expired", "  A new sign-in mends that: realms codex login me/'my own'",
		"", "my plan/main is out of use: " + reason,
		"", "me/main is out of use: 402 deactivated_workspace", "  A new sign-in mends that: realms codex login me/main",
	}, advice); diff != "" {
		t.Errorf("advice (-want +got):\n%s", diff)
	}
}

// TestWaiter lets a sign-in by code go through what it may meet.
func TestWaiter(t *testing.T) {
	passing := &realm.Error{Code: realm.CodeUnavailable, Message: "No answer came in time."}
	over := realm.Invalid("state", "There is no such sign-in.")
	over.Code = realm.CodeNotFound
	refused := &realm.Error{Code: realm.CodeConflict, Message: "It was refused."}
	unchecked := &realm.Error{Code: realm.CodeUnavailable, Reason: "workspace_unchecked", Message: "The account is signed in and kept out of use."}
	signedIn := &codex.Account{Channel: "me"}
	for name, tc := range map[string]struct {
		polls []error // nil: signed in
		notes int
		want  error
	}{
		"at once":                        {[]error{nil}, 0, nil},
		"confirmed later":                {[]error{codex.ErrPending, codex.ErrPending, nil}, 0, nil},
		"a network that comes back":      {[]error{passing, passing, codex.ErrPending, passing, nil}, 1, nil},
		"refused":                        {[]error{codex.ErrPending, refused}, 0, refused},
		"signed in, and not looked at":   {[]error{codex.ErrPending, unchecked}, 0, unchecked},
		"failed once it was confirmed":   {[]error{codex.ErrPending, passing, over}, 1, passing},
		"over, long after a bad network": {[]error{passing, codex.ErrPending, over}, 1, over},
	} {
		t.Run(name, func(t *testing.T) {
			notes := 0
			w := waiter{
				every: time.Microsecond, until: time.Now().Add(time.Minute),
				poll: func() (*codex.Account, error) {
					err := tc.polls[0]
					tc.polls = tc.polls[1:]
					if err != nil {
						return nil, err
					}
					return signedIn, nil
				},
				note: func(error) { notes++ },
			}
			a, err := w.wait(t.Context())
			if !errors.Is(err, tc.want) || (err == nil) != (a == signedIn) || notes != tc.notes || len(tc.polls) > 0 {
				t.Errorf("account %v, error %v, %d notes, %d answers left; want error %v, %d notes", a, err, notes, len(tc.polls), tc.want, tc.notes)
			}
		})
	}
}

// TestWaiterEnds holds that waiting ends with the person's patience, or the code's.
func TestWaiterEnds(t *testing.T) {
	poll := func() (*codex.Account, error) { return nil, codex.ErrPending }
	gone, leave := context.WithCancel(t.Context())
	leave()
	w := waiter{every: time.Microsecond, until: time.Now().Add(time.Minute), poll: poll}
	if _, err := w.wait(gone); !errors.Is(err, errLoginStopped) {
		t.Errorf("who gives up is told %v", err)
	}
	ctx, leave := context.WithCancel(t.Context())
	unchecked := &realm.Error{Code: realm.CodeUnavailable, Reason: "workspace_unchecked"}
	w.poll = func() (*codex.Account, error) { leave(); return nil, unchecked }
	if _, err := w.wait(ctx); !errors.Is(err, unchecked) {
		t.Errorf("who gives up when it is too late for that is told %v", err)
	}
	ctx, leave = context.WithCancel(t.Context())
	lost := &realm.Error{Code: realm.CodeUnavailable, Message: "The sign-in could not be stored in time and is lost."}
	w.poll = func() (*codex.Account, error) { leave(); return nil, lost }
	if _, err := w.wait(ctx); !errors.Is(err, lost) {
		t.Errorf("who gives up while the sign-in is lost is told %v", err)
	}
	ctx, leave = context.WithCancel(t.Context())
	w.poll = func() (*codex.Account, error) {
		leave()
		return nil, &realm.Error{Code: realm.CodeUnavailable, Err: ctx.Err()}
	}
	if _, err := w.wait(ctx); !errors.Is(err, errLoginStopped) {
		t.Errorf("who gives up while the issuer is asked is told %v", err)
	}
	w.poll = poll
	w.until = time.Now().Add(10 * time.Millisecond)
	if _, err := w.wait(t.Context()); !errors.Is(err, errLoginOver) {
		t.Errorf("who is too late is told %v", err)
	}
}

// TestCallback holds who may end a sign-in by browser: whoever knows its state, by
// a name of this machine, once.
func TestCallback(t *testing.T) {
	const good = "/auth/callback?code=1&state=right"
	for name, tc := range map[string]struct {
		method, host, target string
		err                  error
		status               int
		asked                string
	}{
		"the browser":       {http.MethodGet, "localhost:1455", good, nil, http.StatusOK, "http://localhost:1455" + good},
		"by number":         {http.MethodGet, "127.0.0.1:1455", good, nil, http.StatusOK, "http://localhost:1455" + good},
		"refused":           {http.MethodGet, "localhost:1455", good, realm.Invalid("", "No."), http.StatusBadRequest, "http://localhost:1455" + good},
		"a foreign name":    {http.MethodGet, "evil.example.com:1455", good, nil, http.StatusMisdirectedRequest, ""},
		"another port":      {http.MethodGet, "localhost:8080", good, nil, http.StatusMisdirectedRequest, ""},
		"no name":           {http.MethodGet, "", good, nil, http.StatusMisdirectedRequest, ""},
		"another page":      {http.MethodGet, "localhost:1455", "/favicon.ico", nil, http.StatusNotFound, ""},
		"a form":            {http.MethodPost, "localhost:1455", good, nil, http.StatusMethodNotAllowed, ""},
		"no state":          {http.MethodGet, "localhost:1455", "/auth/callback?code=1", nil, http.StatusBadRequest, ""},
		"another sign-in's": {http.MethodGet, "localhost:1455", "/auth/callback?code=1&state=wrong", nil, http.StatusBadRequest, ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked := ""
			b := &callback{state: "right", begun: make(chan struct{}), done: make(chan struct{}), finish: func(address string) (*codex.Account, error) {
				asked = address
				return &codex.Account{}, tc.err
			}}
			r := httptest.NewRequestWithContext(t.Context(), tc.method, tc.target, http.NoBody)
			r.Host = tc.host
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			if w.Code != tc.status || asked != tc.asked {
				t.Errorf("status %d, asked about %q; want %d, %q", w.Code, asked, tc.status, tc.asked)
			}
			if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") || strings.Contains(w.Body.String(), "right") {
				t.Errorf("the page shows more than it should: %v %s", w.Header(), w.Body)
			}
			if tc.asked == "" {
				return
			}
			asked = ""
			again := httptest.NewRecorder()
			b.ServeHTTP(again, r)
			if again.Code != http.StatusGone || asked != "" {
				t.Errorf("a second time: status %d, asked about %q", again.Code, asked)
			}
		})
	}
}
