package storetest_test

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// account is one with a value in every field but what Put forgets.
func account(credential realm.ID, version int64) *realm.CodexAccount {
	return &realm.CodexAccount{
		Credential: credential, AccountID: "acc-1", UserID: "user-1", Email: "owner@example.com", Plan: "plus",
		Tokens:  realm.CodexTokens{ID: "test-" + "id", Access: "test-" + "access", Refresh: "test-" + "refresh"},
		Version: version, ExpiresAt: at.Add(time.Hour), SignedInAt: at, RefreshedAt: at.Add(time.Minute),
	}
}

// signedIn stores an account for the credential of a populated store.
func signedIn(t testing.TB, s *store.Store) *realm.CodexAccount {
	t.Helper()
	a := account(populate(t, s).credential.ID, 7)
	write(t, s, func(r store.Repos) error { return r.CodexAccounts.Put(t.Context(), a) })
	return a
}

func codexRow(t testing.TB, s *store.Store, a *realm.CodexAccount) *realm.CodexAccount {
	t.Helper()
	return must[*realm.CodexAccount](t)(s.Read().CodexAccounts.Get(t.Context(), a.Credential))
}

func someLimits(when time.Time) realm.CodexLimits {
	return realm.CodexLimits{Plan: "pro", At: when, Windows: []realm.CodexWindow{
		{Length: 5 * time.Hour, UsedPercent: 12.5, ResetsAt: at.Add(time.Hour)},
		{Limit: "bengalfox", Length: 7 * 24 * time.Hour, UsedPercent: 100},
	}}
}

// changed runs a guarded write and tells what it said.
func changed(t testing.TB, s *store.Store, fn func(r store.Repos) (bool, error)) (done bool) {
	t.Helper()
	write(t, s, func(r store.Repos) (err error) {
		done, err = fn(r)
		return err
	})
	return done
}

func TestCodexAccount(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a := signedIn(t, s)
		equal(t, "account", codexRow(t, s, a), a)
		shown := *a
		shown.Tokens = realm.CodexTokens{}
		equal(t, "accounts", must[[]*realm.CodexAccount](t)(s.Read().CodexAccounts.List(ctx)), []*realm.CodexAccount{&shown})
		equal(t, "shown", must[*realm.CodexAccount](t)(s.Read().CodexAccounts.Shown(ctx, a.Credential)), &shown)

		// All else that is known goes when another account takes the place.
		write(t, s, func(r store.Repos) error {
			return r.CodexAccounts.SetLimits(ctx, a.Credential, "acc-1", someLimits(at))
		})
		other := account(a.Credential, 8)
		other.AccountID, other.UserID, other.Tokens.Refresh, other.ExpiresAt = "acc-2", "", "test-2", time.Time{}
		write(t, s, func(r store.Repos) error { return r.CodexAccounts.Put(ctx, other) })
		equal(t, "another account", codexRow(t, s, a), other)
		for _, version := range []int64{8, 7} { // never back
			err := s.Tx(ctx, func(r store.Repos) error { return r.CodexAccounts.Put(ctx, account(a.Credential, version)) })
			if !errors.Is(err, store.ErrDuplicate) {
				t.Errorf("version %d over 8: %v", version, err)
			}
		}

		write(t, s, func(r store.Repos) error { return r.CodexAccounts.Delete(ctx, a.Credential) })
		if _, err := s.Read().CodexAccounts.Get(ctx, a.Credential); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("it is gone: %v", err)
		}
	})
}

// What is written of tokens, of limits and of a lease does not touch the others.
func TestCodexColumnsAreWrittenByThemselves(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a := signedIn(t, s)
		for _, l := range []struct {
			account string
			limits  realm.CodexLimits
		}{{"acc-1", someLimits(at)}, {"acc-1", realm.CodexLimits{Plan: "old", At: at.Add(-1)}}, {"acc-2", someLimits(at.Add(time.Hour))}} {
			write(t, s, func(r store.Repos) error { return r.CodexAccounts.SetLimits(ctx, a.Credential, l.account, l.limits) })
		}
		a.Limits = someLimits(at)
		equal(t, "with limits", codexRow(t, s, a), a)

		lease := func(version int64, holder string, now time.Time) bool {
			return changed(t, s, func(r store.Repos) (bool, error) {
				return r.CodexAccounts.Lease(ctx, a.Credential, version, holder, now, now.Add(time.Minute))
			})
		}
		for _, l := range []struct {
			what    string
			version int64
			holder  string
			now     time.Time
			want    bool
		}{
			{"of other tokens", 6, "one", at, false},
			{"of these", 7, "one", at, true},
			{"beside another", 7, "two", at, false},
			{"twice", 7, "one", at.Add(time.Second), false},
			{"after another's end", 7, "two", at.Add(time.Minute), true},
			{"by a clock a little behind", 7, "one", at, false},
			{"by one that the other's was far ahead of", 7, "two", at.Add(-time.Second), true},
			{"after that", 7, "one", at.Add(time.Minute - time.Second), true},
		} {
			if got := lease(l.version, l.holder, l.now); got != l.want {
				t.Errorf("a lease %s: %v", l.what, got)
			}
		}
		p := must[store.CodexProgress](t)(s.Read().CodexAccounts.Progress(ctx, a.Credential))
		equal(t, "progress", p, store.CodexProgress{Version: 7, LeaseUntil: at.Add(2*time.Minute - time.Second)})
		for holder, free := range map[string]bool{"two": false, "one": true} {
			write(t, s, func(r store.Repos) error { return r.CodexAccounts.Release(ctx, a.Credential, holder) })
			p := must[store.CodexProgress](t)(s.Read().CodexAccounts.Progress(ctx, a.Credential))
			if holder == "one" && p.LeaseUntil.IsZero() != free {
				t.Errorf("after the holder's release it goes on until %v", p.LeaseUntil)
			}
		}
		equal(t, "after leases", codexRow(t, s, a), a)
	})
}

func TestCodexTokensAreRenewedOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		a := signedIn(t, s)
		write(t, s, func(r store.Repos) error {
			return r.CodexAccounts.SetLimits(ctx, a.Credential, "acc-1", someLimits(at))
		})
		if !changed(t, s, func(r store.Repos) (bool, error) { return r.CodexAccounts.Refuse(ctx, a.Credential, 7, "reused") }) {
			t.Error("the refusal was not taken")
		}
		equal(t, "refused", codexRow(t, s, a).RefreshError, "reused")
		if changed(t, s, func(r store.Repos) (bool, error) {
			return r.CodexAccounts.Lease(ctx, a.Credential, 7, "one", at, at.Add(time.Minute))
		}) {
			t.Error("a lease of tokens that were refused")
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		kept := 0
		for i := range 8 {
			wg.Go(func() {
				next := account(a.Credential, 7)
				next.Tokens.Refresh = realm.Secret(strings.Repeat("r", i+1))
				var done bool
				err := s.Tx(ctx, func(r store.Repos) (err error) {
					done, err = r.CodexAccounts.Renew(ctx, next)
					return err
				})
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				if done {
					kept++
					a.Tokens = next.Tokens
				}
			})
		}
		wg.Wait()
		a.Version, a.Limits = 8, someLimits(at)
		if kept != 1 {
			t.Errorf("%d were kept", kept)
		}
		equal(t, "renewed", codexRow(t, s, a), a)
		for what, next := range map[string]*realm.CodexAccount{"of a version that is over": account(a.Credential, 7), "of another account": {
			Credential: a.Credential, AccountID: "acc-2", Version: 8,
		}} {
			if changed(t, s, func(r store.Repos) (bool, error) { return r.CodexAccounts.Renew(ctx, next) }) {
				t.Errorf("tokens %s were taken", what)
			}
		}
		if changed(t, s, func(r store.Repos) (bool, error) { return r.CodexAccounts.Refuse(ctx, a.Credential, 7, "late") }) {
			t.Error("a refusal of tokens that are over was taken")
		}
	})
}

func TestCodexSignIn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p := populate(t, s)
		in := &store.CodexSignIn{
			State: realm.Secret(strings.Repeat("s", 64)), Kind: "device", Actor: "7", Credential: p.credential.ID, Replace: true,
			UserCode: "ABCD-1234", Secret: "test-" + "verifier", ExpiresAt: at.Add(time.Hour),
		}
		write(t, s, func(r store.Repos) error { return r.CodexSignIns.Insert(ctx, in) })
		equal(t, "sign-in", must[*store.CodexSignIn](t)(s.Read().CodexSignIns.Get(ctx, in.State)), in)
		if strings.Contains(strings.Join(backup(t, s), ""), in.State.Reveal()) {
			t.Error("the state is in the store as it is")
		}
		use := func(state realm.Secret, kind, actor string, now time.Time) bool {
			return changed(t, s, func(r store.Repos) (bool, error) { return r.CodexSignIns.Use(ctx, state, kind, actor, now) })
		}
		for _, u := range []struct {
			what        string
			state       realm.Secret
			kind, actor string
			now         time.Time
			want        bool
		}{
			{"of another state", in.State + "x", "device", "7", at, false},
			{"of another kind", in.State, "browser", "7", at, false},
			{"by another", in.State, "device", "8", at, false},
			{"when it is over", in.State, "device", "7", at.Add(time.Hour), false},
			{"as it should be", in.State, "device", "7", at, true},
			{"once more", in.State, "device", "7", at, false},
		} {
			if got := use(u.state, u.kind, u.actor, u.now); got != u.want {
				t.Errorf("a use %s: %v", u.what, got)
			}
		}
		in.UsedAt, in.Secret, in.UserCode = at, "", ""
		equal(t, "used", must[*store.CodexSignIn](t)(s.Read().CodexSignIns.Get(ctx, in.State)), in)
		for when, want := range map[time.Time]int64{in.ExpiresAt: 0, in.ExpiresAt.Add(time.Millisecond): 1} {
			var n int64
			write(t, s, func(r store.Repos) (err error) {
				n, err = r.CodexSignIns.DeleteBefore(ctx, when, 10)
				return err
			})
			if n > want {
				t.Errorf("%d forgotten before %v", n, when)
			}
		}
		if _, err := s.Read().CodexSignIns.Get(ctx, in.State); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("it is forgotten: %v", err)
		}
		in.Credential = 1
		err := s.Tx(ctx, func(r store.Repos) error { return r.CodexSignIns.Insert(ctx, in) })
		if !errors.Is(err, store.ErrReference) {
			t.Errorf("a sign-in for nothing: %v", err)
		}
	})
}

// What belongs to a credential goes with it.
func TestCodexGoesWithTheCredential(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		a := signedIn(t, s)
		in := &store.CodexSignIn{State: "test-" + "state", Kind: "browser", Actor: "cli", Credential: a.Credential, Secret: "v", ExpiresAt: at}
		write(t, s, func(r store.Repos) error { return r.CodexSignIns.Insert(t.Context(), in) })
		write(t, s, func(r store.Repos) error { return r.Credentials.Delete(t.Context(), a.Credential) })
		if list := must[[]*realm.CodexAccount](t)(s.Read().CodexAccounts.List(t.Context())); len(list) != 0 {
			t.Errorf("%d accounts are left", len(list))
		}
		if _, err := s.Read().CodexSignIns.Get(t.Context(), in.State); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("the sign-in is left: %v", err)
		}
	})
}

// everyCodexVerb sends every statement about accounts.
func everyCodexVerb(t *testing.T, s *store.Store, credential realm.ID) {
	t.Helper()
	ctx := t.Context()
	a := account(credential, 1)
	in := &store.CodexSignIn{State: "test-" + "state", Kind: "device", Actor: "cli", Credential: credential, Secret: "v", ExpiresAt: at}
	write(t, s, func(r store.Repos) error {
		for _, run := range []func() error{
			func() error { return r.CodexAccounts.Put(ctx, a) },
			func() error { return r.CodexAccounts.SetLimits(ctx, credential, "acc-1", someLimits(at)) },
			func() error { _, err := r.CodexAccounts.Lease(ctx, credential, 1, "x", at, at); return err },
			func() error { return r.CodexAccounts.Release(ctx, credential, "x") },
			func() error { _, err := r.CodexAccounts.Refuse(ctx, credential, 1, "x"); return err },
			func() error { _, err := r.CodexAccounts.Renew(ctx, a); return err },
			func() error { return r.CodexSignIns.Insert(ctx, in) },
			func() error { _, err := r.CodexSignIns.Use(ctx, in.State, "device", "cli", at.Add(-1)); return err },
		} {
			if err := run(); err != nil {
				return err
			}
		}
		return nil
	})
	must[[]*realm.CodexAccount](t)(s.Read().CodexAccounts.List(ctx))
	codexRow(t, s, a)
	must[store.CodexProgress](t)(s.Read().CodexAccounts.Progress(ctx, credential))
	must[*store.CodexSignIn](t)(s.Read().CodexSignIns.Get(ctx, in.State))
	write(t, s, func(r store.Repos) error {
		_, err := r.CodexSignIns.DeleteBefore(ctx, at.Add(time.Hour), 10)
		return errors.Join(err, r.CodexAccounts.Delete(ctx, credential))
	})
}
