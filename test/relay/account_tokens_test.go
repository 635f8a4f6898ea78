package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/codex"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// A refused access token is renewed once, and the same account asked once more: the
// client sees nothing of it.
func TestAccountRefusedOnceIsRenewed(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newAccounts(t, accountOptions{paid: true})
			w.fake.Invalidate(codextest.AccountID)
			got := w.ask(t, f)
			w.good(t, got)
			w.counts(t, 2, 1, 0)
			rec := w.row(t, got)
			if causes(rec) != "auth ok" || rec.Tries[0].Credential != rec.Tries[1].Credential || rec.Tries[0].Status != http.StatusUnauthorized {
				t.Errorf("attempts: %+v", rec.Tries)
			}
			w.good(t, w.ask(t, f))
			w.counts(t, 3, 1, 0)
			if one := w.list(t)[0]; one.State != realm.CredentialOK || one.RefreshError != "" {
				t.Errorf("the account: %+v", one)
			}
			refreshes := w.fake.Requests(codextest.PathToken)
			if last := refreshes[len(refreshes)-1].JSON(); last["refresh_reason"] != "unauthorized_recovery" {
				t.Errorf("the reason for renewing is %v", last["refresh_reason"])
			}
		})
	}
}

// One that is refused again with a fresh token is passed by, and the issuer is not
// asked over and over.
func TestAccountRefusedTwiceIsPassedBy(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	w.fake.Always(codextest.PathResponses, codextest.TokenInvalidated())
	got := w.ask(t, respEvents)
	w.good(t, got)
	w.counts(t, 2, 1, 1)
	if rec := w.row(t, got); causes(rec) != "auth auth ok" {
		t.Errorf("attempts: %s", causes(rec))
	}
	for _, f := range forms {
		w.good(t, w.ask(t, f))
	}
	w.counts(t, 2, 1, 1+len(forms))
}

// When that goes on once its rest is over, the account is out of use until somebody
// signs in.
func TestHeavyAccountRefusedForGood(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	w.fake.Always(codextest.PathResponses, codextest.TokenInvalidated())
	eventually(t, "the credential to be out of use", 90*time.Second, func() bool {
		w.good(t, w.ask(t, respEvents))
		return w.list(t)[0].State != realm.CredentialOK
	})
	w.needsSignIn(t, "token_invalidated")
	if w.asked() > 4 || w.renewed() > 2 {
		t.Errorf("the account was asked %d times, renewed %d times", w.asked(), w.renewed())
	}
	w.fake.Always(codextest.PathResponses, nil)
	w.SignIn(t, w.fake, "mine", "main")
	asked := w.asked()
	w.good(t, w.ask(t, respEvents))
	if w.asked() != asked+1 {
		t.Error("after the sign-in the account was not asked")
	}
}

// A renewal that takes long keeps nobody waiting whom another channel can serve: not
// when the issuer does not answer, and not when a process has died over it.
func TestHeavyAccountWhoseRenewalHangs(t *testing.T) {
	t.Parallel()
	hang := map[string]func(t *testing.T, w *accounts){
		"the issuer": func(t *testing.T, w *accounts) { t.Cleanup(w.fake.Block(codextest.PathToken)) },
		"a dead process": func(t *testing.T, w *accounts) {
			_, err := storetest.Raw(t, w.Config.StoreDSN()).ExecContext(t.Context(),
				"UPDATE codex_accounts SET lease_holder = 'dead', lease_until = ?", time.Now().Add(time.Minute).UnixMilli())
			if err != nil {
				t.Fatal(err)
			}
		},
	}
	for name, begin := range hang {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newAccounts(t, accountOptions{paid: true, old: true})
			w.expire(t)
			begin(t, w)
			for i := range 3 {
				got := w.ask(t, respEvents)
				w.good(t, got)
				if got.took > 12*time.Second {
					t.Errorf("request %d took %s: %s", i, got.took, causes(w.row(t, got)))
				}
			}
		})
	}
}

func TestAccountRefusedTwiceAndNothingElse(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	w.fake.Always(codextest.PathResponses, codextest.TokenInvalidated())
	for range 8 {
		w.refused(t, w.ask(t, respEvents), http.StatusServiceUnavailable, "server_error", "server_is_overloaded")
	}
	w.counts(t, 2, 1, 0)
}

// A sign-in that has ended takes the credential out of use, with the command that
// mends it; and nobody asks the issuer about it again.
func TestAccountWhoseSignInHasEnded(t *testing.T) {
	t.Parallel()
	for _, code := range []string{"refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated"} {
		for _, paid := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, paid %v", code, paid), func(t *testing.T) {
				t.Parallel()
				w := newAccounts(t, accountOptions{paid: paid})
				w.fake.EndRefresh(codextest.AccountID, code)
				w.fake.Invalidate(codextest.AccountID)
				for range 6 {
					if got := w.ask(t, respWhole); paid {
						w.good(t, got)
					} else {
						w.refused(t, got, http.StatusServiceUnavailable, "server_error", "server_is_overloaded")
					}
				}
				w.counts(t, 1, 1, map[bool]int{true: 6}[paid])
				w.needsSignIn(t, code)

				// The operator signs in again, and that is all.
				w.SignIn(t, w.fake, "mine", "main")
				asked := w.asked()
				w.good(t, w.ask(t, respWhole))
				if w.asked() != asked+1 {
					t.Error("after the sign-in the account was not asked")
				}
			})
		}
	}
}

// needsSignIn waits until operators see that an account is to be signed in for, why
// and how.
func (a *accounts) needsSignIn(t testing.TB, why string) {
	t.Helper()
	var one *codex.Account
	testkit.Poll(t, "the credential to be out of use", func() bool {
		one = a.list(t)[0]
		return one.State != realm.CredentialOK
	})
	if !strings.Contains(one.Reason, "realms codex login mine/main") || !strings.Contains(one.Reason, why) {
		t.Errorf("the reason is %q", one.Reason)
	}
	if !catalog.NeedsSignIn(a.Catalog.Snapshot().Credential(one.CredentialID)) {
		t.Errorf("the catalogue does not know that it needs a sign-in: %q", one.Reason)
	}
}

// An issuer that is away is asked again later, not by every request.
func TestAccountWhoseIssuerIsAway(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	w.fake.Invalidate(codextest.AccountID)
	w.fake.Always(codextest.PathToken, testkit.ServerError())
	for range 8 {
		w.good(t, w.ask(t, chatEvents))
	}
	if w.asked() > 2 || w.renewed() > 2 {
		t.Errorf("the account was asked %d times, renewed %d times", w.asked(), w.renewed())
	}
	if one := w.list(t)[0]; one.State != realm.CredentialOK {
		t.Errorf("an issuer that is away has taken the account out of use: %q", one.Reason)
	}
}

// A workspace that was closed is out of use at once: no token would help.
func TestAccountWhoseWorkspaceIsClosed(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	w.fake.Change(codextest.AccountID, func(a *codextest.Account) { a.Deactivated = true })
	for range 4 {
		w.good(t, w.ask(t, respEvents))
	}
	w.counts(t, 1, 0, 4)
	w.needsSignIn(t, "deactivated_workspace")
}

// An access token that is over is renewed before anything is sent.
func TestAccountOverIsRenewedFirst(t *testing.T) {
	t.Parallel()
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			w := newAccounts(t, accountOptions{old: true})
			w.expire(t)
			got := w.ask(t, f)
			w.good(t, got)
			w.counts(t, 1, 1, 0)
			if rec := w.row(t, got); rec.Attempts != 1 || causes(rec) != "" {
				t.Errorf("%d attempts: %s", rec.Attempts, causes(rec))
			}
		})
	}
}

// However many find the token over, one refreshes, and all are served.
func TestAccountOverIsRenewedByOne(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{old: true, channel: unlimited})
	w.expire(t)
	release := w.fake.Block(codextest.PathToken)
	answers := w.storm(t, 100, func() {
		w.fake.Waiting(t, codextest.PathToken, 1)
		release()
	})
	for _, got := range answers {
		w.good(t, got)
	}
	w.counts(t, 100, 1, 0)
	if n := w.fake.Reuses(); n != 0 {
		t.Errorf("%d refresh tokens were used twice", n)
	}
}

// unlimited lets as many requests at once through as come.
func unlimited(ch *spec) {
	for i := range ch.Endpoints[0].Credentials {
		ch.Endpoints[0].Credentials[i].Limits = realm.Limits{Concurrent: 1000}
	}
}

// storm makes n requests at once, and calls meanwhile while they are under way.
func (a *accounts) storm(t testing.TB, n int, meanwhile func(), at ...*world) []*answer {
	t.Helper()
	answers := make([]*answer, n)
	var requests []*http.Request
	for i := range n {
		w := a.world
		if len(at) > 0 {
			w = at[i%len(at)]
		}
		f := forms[i%len(forms)]
		requests = append(requests, w.Request(t, http.MethodPost, f.path, strings.ReplaceAll(f.body, "%s", accountModel)))
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		inParallel(n, n, func(i int) { answers[i] = a.do(requests[i]) })
	}()
	meanwhile()
	<-done
	return answers
}

// A renewal is nobody's request: who began it may leave, and so may the process.
func TestAccountRenewalOutlivesItsRequest(t *testing.T) {
	t.Parallel()
	for _, stop := range []bool{false, true} {
		t.Run(map[bool]string{false: "the client leaves", true: "the program stops"}[stop], func(t *testing.T) {
			t.Parallel()
			w := newAccounts(t, accountOptions{old: true})
			w.expire(t)
			id := w.list(t)[0].CredentialID
			release := w.fake.Block(codextest.PathToken)
			cl := w.clients(t)
			req := w.request(t, respEvents).WithContext(cl.ctx)
			cl.wg.Go(func() { w.do(req) })
			w.fake.Waiting(t, codextest.PathToken, 1)
			cl.leave()
			if !stop {
				release()
				w.good(t, w.ask(t, respEvents))
				w.counts(t, 1, 1, 0)
				return
			}
			dsn, token := w.Config.DB.DSN, w.Token
			stopped := make(chan error, 1)
			old := w.world
			go func() { stopped <- old.Stop() }()
			testkit.Poll(t, "the app to listen no more", func() bool {
				res, err := http.Get(old.URL + "/healthz")
				if err == nil {
					_ = res.Body.Close()
				}
				return err != nil
			})
			release()
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			w.start(t, accountOptions{configure: func(c *config.Config) { c.DB.DSN = dsn }}, token)
			if row := w.Account(t, id); !w.fake.Serves(row.Tokens.Refresh) || !w.fake.Accepts(row.Tokens.Access) {
				t.Error("what the issuer gave is lost")
			}
			w.good(t, w.ask(t, respEvents))
			w.counts(t, 1, 1, 0)
		})
	}
}

// Taking a sign-in over from the CLI uses its refresh token up.
func TestAccountTakenOver(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	of := w.fake.SignIn(t, codextest.AccountID)
	one, err := w.Codex.Import(t.Context(), "test", target, w.fake.AuthFile(of, codextest.AccountID))
	if err != nil {
		t.Fatal(err)
	}
	if w.fake.Serves(of.Refresh) || one.State != realm.CredentialOK {
		t.Errorf("the file still serves, or nothing does: %+v", one)
	}
	w.good(t, w.ask(t, respEvents))
	if key := w.fake.Requests(codextest.PathResponses)[0].Key; key == of.Access.Reveal() {
		t.Error("the file's own access token is in use")
	}
	_, err = w.Codex.Import(t.Context(), "test", target, w.fake.AuthFile(of, codextest.AccountID))
	if err == nil {
		t.Fatal("the same file serves twice")
	}
	w.noToken(t, "the error", err.Error())
	w.good(t, w.ask(t, respEvents))
}
