package relay

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"realms/internal/account"
	"realms/internal/codex"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// beside is what a command works with while the app runs: the same store, and pieces
// of its own. The app is told at once, as commands do it.
func (a *accounts) beside(t *testing.T, verb func(c *codex.Service) error) {
	t.Helper()
	cfg := a.Config
	cfg.Redis.URL = ""
	other, err := server.OpenBeside(t.Context(), cfg, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	err = verb(other.Codex)
	if closed := other.Close(); err != nil || closed != nil {
		t.Fatal(err, closed)
	}
	a.Watcher.Poke()
}

// login signs the fake's visitor in by a command.
func (a *accounts) login(t *testing.T) {
	t.Helper()
	a.beside(t, func(c *codex.Service) error {
		to := target
		to.Replace = true
		in, err := c.StartDevice(t.Context(), "command", to)
		if err != nil {
			return err
		}
		a.fake.Confirm(t, in.UserCode)
		_, err = c.PollDevice(t.Context(), "command", in.State)
		return err
	})
}

// An account whose token was refused serves again at once when a command has given it
// others: it does not wait for the minute for which the old ones were left alone.
func TestAccountServesAtOnceAfterACommand(t *testing.T) {
	t.Parallel()
	refuse := map[string]func(w *accounts){
		"refused twice": func(w *accounts) { w.fake.Always(codextest.PathResponses, codextest.TokenInvalidated()) },
		"refused, and not renewed": func(w *accounts) {
			w.fake.Invalidate(codextest.AccountID)
			w.fake.Always(codextest.PathToken, testkit.Status(http.StatusServiceUnavailable, "", "Retry-After", "60"))
		},
	}
	commands := map[string]func(t *testing.T, w *accounts){
		"login": func(t *testing.T, w *accounts) { w.login(t) },
		"refresh": func(t *testing.T, w *accounts) {
			w.beside(t, func(c *codex.Service) error {
				_, err := c.Refresh(t.Context(), "command", "mine", "main")
				return err
			})
		},
	}
	for refused, begin := range refuse {
		for name, command := range commands {
			t.Run(refused+", "+name, func(t *testing.T) {
				t.Parallel()
				w := newAccounts(t, accountOptions{paid: true})
				begin(w)
				for range 3 {
					w.good(t, w.ask(t, respEvents))
				}
				asked := w.asked()
				if w.paid.Count() != 3 {
					t.Fatalf("the account was asked %d times, the other channel %d times", asked, w.paid.Count())
				}
				w.fake.Always(codextest.PathResponses, nil)
				w.fake.Always(codextest.PathToken, nil)
				command(t, w)
				eventually(t, "the account to serve", 3*time.Second, func() bool {
					w.good(t, w.ask(t, respEvents))
					return w.asked() > asked
				})
			})
		}
	}
}

// A plan that is used up stays so whoever signs in, as long as it is the same account;
// one that another account has taken the place of is forgotten with what it used up,
// though a process may hear of both at once.
func TestAccountPlanAndCommands(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{fake: codextest.Options{Accounts: twoAccounts()}})
	resets := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	w.usedUp(resets)
	w.isPlanLimit(t, w.ask(t, respEvents), resets)
	version := w.Account(t, w.list(t)[0].CredentialID).Version
	w.login(t)
	testkit.Poll(t, "the app to know the new sign-in", func() bool {
		id, err := w.Codex.Identity(t.Context(), w.Catalog.Snapshot().Credential(w.list(t)[0].CredentialID))
		return err == nil && id.Version > version
	})
	w.isPlanLimit(t, w.ask(t, respEvents), resets)
	w.counts(t, 1, w.renewed(), 0)

	row := w.Account(t, w.list(t)[0].CredentialID)
	row.AccountID, row.UserID, row.Version = spareID, "user-0002", row.Version+1
	row.Tokens = w.fake.SignIn(t, spareID)
	err := w.Store.Tx(t.Context(), func(r store.Repos) error {
		if err := r.Changes.Lock(t.Context()); err != nil {
			return err
		}
		if err := r.CodexAccounts.Put(t.Context(), row); err != nil {
			return err
		}
		return r.Changes.Bump(t.Context(), store.KindCodexAccount, row.Credential)
	})
	if err != nil {
		t.Fatal(err)
	}
	w.reread(t)
	w.good(t, w.ask(t, respEvents))
}

// The catalogue of models that Codex CLI asks for comes from an account that the token
// reaches: of another's groups nobody learns what is in them.
func TestAccountModelsOfAnotherGroup(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	if _, err := w.Catalog.UpsertGroup(t.Context(), "test", realm.Group{Name: "admins", Multiplier: realm.OnePPM}); err != nil {
		t.Fatal(err)
	}
	_, err := w.Accounts.UpsertUser(t.Context(), "test", account.UserSpec{Name: "helper", Role: realm.RoleAdmin, Groups: []string{"admins"}, Enabled: true})
	if err != nil {
		t.Fatal(err)
	}
	helper := w.NewToken(t, account.TokenSpec{User: "helper", Name: "test"})
	for token, want := range map[string]int{w.Token: 1, helper: 0} {
		before := w.fake.Calls(codextest.PathModels)
		req := w.Request(t, http.MethodGet, "/v1/models?client_version=0.169.0", "")
		req.Header.Set("Authorization", "Bearer "+token)
		got := w.do(req)
		if n := w.fake.Calls(codextest.PathModels) - before; got.StatusCode != http.StatusOK || n != want {
			t.Errorf("%d %s; the account was asked %d times, want %d", got.StatusCode, fmt.Sprintf("%.200s", got.body), n, want)
		}
	}
}
