package codex

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// Killed between the issuer's answer and the store: the tokens are lost with the
// process. Whoever comes next learns that they were used, says so once, and stops.
func TestKilledBeforeTheStore(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		dying, next, third := r.process(), r.process(), r.process()
		r.signIn(dying)
		next.hear()
		third.hear()
		cr := next.cr("main")
		dying.writeTime = 10 * time.Millisecond
		r.fake.Hook(codextest.PathToken, func(*testkit.Request) { _ = dying.db.Close() })
		r.forward(tokenLife)
		if _, err := dying.Identity(t.Context(), cr); err == nil {
			t.Fatal("tokens were used that are not in the store")
		}
		r.fake.Hook(codextest.PathToken, nil)
		before := next.row()

		// Meanwhile others write to the row.
		next.Observe(cr.ID, realm.CodexLimits{Plan: "pro", Windows: []realm.CodexWindow{{Length: time.Hour, UsedPercent: 7}}})
		next.must(next.flush(t.Context(), next.entry(cr.ID)))

		// The lease outlives its holder; who waits for it is patient, and free to go.
		ctx, cancel := context.WithTimeout(t.Context(), 3*pollTime)
		_, err := next.Identity(ctx, cr)
		cancel()
		wantError(t, "during the dead one's lease", err, context.DeadlineExceeded)
		if n := r.refreshes(); n != 1 {
			t.Errorf("%d calls within the lease", n)
		}
		r.forward(leaseTime)
		for _, p := range []*process{next, third, next} {
			_, err := p.Identity(t.Context(), cr)
			wantError(t, "after it", err, ErrRefused)
		}
		if n := r.refreshes(); n != 2 || r.fake.Reuses() != 1 {
			t.Errorf("%d calls, %d of a token that had served", n, r.fake.Reuses())
		}
		row := next.row()
		if !strings.Contains(row.RefreshError, "refresh_token_reused") || row.Tokens != before.Tokens || row.Version != before.Version || row.Limits.Plan != "pro" {
			t.Errorf("the row: %q, version %d after %d, %+v", row.RefreshError, row.Version, before.Version, row.Limits)
		}
		if now := next.cr("main"); now.Usable() || !catalog.NeedsSignIn(now) {
			t.Errorf("%s: %q", now.State, now.StateReason)
		}

		// After a restart nothing begins anew.
		restarted := r.process()
		restarted.tend(t.Context())
		restarted.settled()
		_, err = restarted.Identity(t.Context(), cr)
		wantError(t, "after a restart", err, ErrRefused)
		if n := r.refreshes(); n != 2 {
			t.Errorf("%d calls after a restart", n)
		}
	})
}

// A store that is away when the issuer has answered: the tokens wait for it, unused,
// and are not asked for again.
func TestStoreIsAwayWhenTheIssuerAnswers(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr, before := p.cr("main"), p.row()
	r.forward(tokenLife)
	p.writeTime = 20 * time.Millisecond
	// A writer who never ends is as good as a store that is away.
	hold, held := make(chan struct{}), make(chan struct{})
	var writer sync.WaitGroup
	r.fake.Hook(codextest.PathToken, func(*testkit.Request) {
		writer.Go(func() {
			_ = p.db.Tx(t.Context(), func(rep store.Repos) error {
				close(held)
				<-hold
				return errors.New("rolled back")
			})
		})
		<-held
	})
	_, err := p.Identity(t.Context(), cr)
	if e := realm.AsError(err); err == nil || e.Code != realm.CodeUnavailable || errors.Is(err, ErrRefused) {
		t.Errorf("without the store: %v", err)
	}
	close(hold)
	writer.Wait()
	r.fake.Hook(codextest.PathToken, nil)
	p.writeTime = writeTime

	// Another process takes the lease for dead and the tokens for lost.
	r.forward(leaseTime)
	other := r.process()
	_, err = other.Identity(t.Context(), cr)
	wantError(t, "another process", err, ErrRefused)
	if n := r.refreshes(); n != 2 {
		t.Errorf("%d calls", n)
	}
	// It was wrong: what the issuer gave is there, and serves as long as it lasts. But
	// the issuer has ended the sign-in meanwhile, which is found out at once.
	id, err := p.Identity(t.Context(), cr)
	if err != nil || id.Version != before.Version+1 || !p.cr("main").Usable() {
		t.Errorf("version %d after %d, in use %v, %v", id.Version, before.Version, p.cr("main").Usable(), err)
	}
	if row := p.row(); row.RefreshError == "" || row.Tokens.Access != id.AccessToken {
		t.Errorf("the row: %q", row.RefreshError)
	}
	if n := r.refreshes(); n != 3 {
		t.Errorf("%d calls", n)
	}
	for range 3 { // and no more is asked
		_, err = p.Identity(t.Context(), cr)
		p.must(err)
		r.forward(refusedRest)
		p.tend(t.Context())
		p.settled()
	}
	if n := r.refreshes(); n != 3 {
		t.Errorf("%d calls", n)
	}
}

// Where the issuer minds a second use less, the sign-in goes on as well.
func TestTakenBackIsRenewedAtOnce(t *testing.T) {
	r := newRig(t, "sqlite")
	p, other := r.process(), r.process()
	r.signIn(p)
	other.hear()
	cr, before := p.cr("main"), p.row()
	p.writeTime = 20 * time.Millisecond
	allow := r.refuseAccounts()
	r.forward(tokenLife)
	_, err := p.Identity(t.Context(), cr)
	if err == nil {
		t.Fatal("tokens were used that are not in the store")
	}
	r.forward(2 * leaseTime)
	r.fake.Instead(codextest.PathToken, codextest.RefreshRefused("refresh_token_reused"))
	_, err = other.Identity(t.Context(), cr)
	wantError(t, "another process", err, ErrRefused)
	allow()
	p.writeTime = writeTime
	if id, err := p.Identity(t.Context(), cr); err != nil || id.Version != before.Version+2 || !r.fake.Accepts(id.AccessToken) {
		t.Errorf("version %d after %d, %v", id.Version, before.Version, err)
	}
	if row := p.row(); row.RefreshError != "" || !r.fake.Serves(row.Tokens.Refresh) || !p.cr("main").Usable() {
		t.Errorf("the row: %q", row.RefreshError)
	}
	if n := r.refreshes(); n != 3 || r.fake.Reuses() != 0 {
		t.Errorf("%d calls, %d of a token that had served", n, r.fake.Reuses())
	}
}

// The same where a lease was over before the issuer's answer came.
func TestLeaseThatEndedWhileTheIssuerAnswered(t *testing.T) {
	r := newRig(t, "sqlite")
	p, other := r.process(), r.process()
	r.signIn(p)
	other.hear()
	cr, before := p.cr("main"), p.row()
	r.forward(tokenLife)
	r.fake.After(codextest.PathToken, func(*testkit.Request, *testkit.Answer) {
		r.forward(leaseTime + time.Second)
		_, err := other.Identity(t.Context(), cr)
		wantError(t, "another process", err, ErrRefused)
	})
	id, err := p.Identity(t.Context(), cr)
	if err != nil || id.Version != before.Version+1 {
		t.Errorf("version %d after %d, %v", id.Version, before.Version, err)
	}
	if row := p.row(); row.RefreshError == "" || r.refreshes() != 3 {
		t.Errorf("nobody has found out that the sign-in was ended: %d calls", r.refreshes())
	}
}

// As long as a process has tokens that the store does not take, no other uses the
// token that they came for.
func TestTokensThatWaitKeepTheirLease(t *testing.T) {
	r := newRig(t, "sqlite")
	p, other := r.process(), r.process()
	r.signIn(p)
	other.hear()
	cr := p.cr("main")
	p.writeTime = 300 * time.Millisecond
	allow := r.refuseAccounts()
	r.forward(tokenLife)
	_, err := p.Identity(t.Context(), cr)
	if err == nil {
		t.Fatal("tokens were used that are not in the store")
	}
	for range 4 { // longer than a lease
		r.forward(leaseTime / 2)
		p.tend(t.Context())
		p.settled()
		ctx, cancel := context.WithTimeout(t.Context(), 2*pollTime)
		_, err := other.Identity(ctx, cr)
		cancel()
		wantError(t, "another process", err, context.DeadlineExceeded)
	}
	r.wantRefreshes(1)
	allow()
	p.writeTime = writeTime
	p.tend(t.Context())
	p.settled()
	if id, err := other.Identity(t.Context(), cr); err != nil || !r.fake.Accepts(id.AccessToken) {
		t.Errorf("once they are stored: %v", err)
	}
	r.wantRefreshes(1)
}

// A refresh token that another process has used: what that one got is as good.
func TestAnotherProcessWasFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p, other := r.process(), r.process()
		r.signIn(p)
		cr, row := p.cr("main"), p.row()
		r.forward(tokenLife)
		row.Tokens, row.RefreshedAt, row.ExpiresAt = r.fake.SignIn(t, codextest.AccountID), r.Now(), r.Now().Add(tokenLife)
		r.fake.Hook(codextest.PathToken, func(*testkit.Request) {
			if kept, _, err := other.put(t.Context(), row); err != nil || !kept {
				t.Errorf("the other process: %v, %v", kept, err)
			}
		})
		r.fake.Instead(codextest.PathToken, codextest.RefreshRefused("refresh_token_reused"))
		id, err := p.Identity(t.Context(), cr)
		if err != nil || id.AccessToken != row.Tokens.Access || id.Version != row.Version+1 {
			t.Errorf("version %d after %d, %v", id.Version, row.Version, err)
		}
		if why := p.row().RefreshError; why != "" || !p.cr("main").Usable() {
			t.Errorf("the account was taken for refused: %q", why)
		}
		r.wantRefreshes(1)
	})
}

// Concurrent writes to the row do not lose a token, and the tokens lose none of
// them.
func TestWritesBesideARenewal(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p, other := r.process(), r.process()
		r.signIn(p)
		other.hear()
		cr := p.cr("main")
		r.forward(tokenLife)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var last atomic.Int64
		wg.Go(func() {
			for i := 1; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				last.Store(int64(i))
				limits := realm.CodexLimits{Plan: fmt.Sprint(i), At: r.Now().Add(time.Duration(i) * time.Millisecond)}
				other.Observe(cr.ID, limits)
				if err := other.flush(t.Context(), other.entry(cr.ID)); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				_, err := other.catalog.MendChannel(t.Context(), actor, "codex", "main")
				if err != nil {
					t.Error(err)
				}
			}
		})
		var version int64
		for i := range 5 {
			id, err := p.Identity(t.Context(), cr)
			if err != nil || id.Version <= version {
				t.Fatalf("round %d: version %d after %d, %v", i, id.Version, version, err)
			}
			version = id.Version
			r.forward(tokenLife)
		}
		close(stop)
		wg.Wait()
		row := p.row()
		if row.Version != version || !r.fake.Serves(row.Tokens.Refresh) {
			t.Errorf("the store has version %d, want %d; its token serves: %v", row.Version, version, r.fake.Serves(row.Tokens.Refresh))
		}
		if row.Limits.Plan == "" {
			t.Error("no limits were kept")
		}
		r.wantRefreshes(5)
	})
}

// refuseAccounts has the store take no account until the answer is called.
func (r *rig) refuseAccounts() (allow func()) {
	r.t.Helper()
	raw := storetest.Raw(r.t, r.dsn)
	run := func(text string) {
		if _, err := raw.ExecContext(r.t.Context(), text); err != nil {
			r.t.Fatal(err)
		}
	}
	run("CREATE TRIGGER no BEFORE UPDATE OF tokens ON codex_accounts BEGIN SELECT RAISE(FAIL, 'disk full'); END")
	return func() { run("DROP TRIGGER no") }
}

// Tokens that the store did not take are stored when it does, though nobody asks for
// the account any more: by the next tick, or at the end, with Run or without.
func TestUnstoredTokensAreStoredUnasked(t *testing.T) {
	for name, later := range map[string]func(t *testing.T, p *process){
		"tick": func(t *testing.T, p *process) {
			p.tend(t.Context())
			p.settled()
		},
		"end of Run": func(t *testing.T, p *process) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			p.must(p.Run(ctx))
		},
		"end of a command": func(_ *testing.T, p *process) { p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			r.signIn(p)
			p.writeTime = 20 * time.Millisecond
			allow := r.refuseAccounts()
			id, err := p.identify()
			p.must(err)
			_, err = p.Renew(t.Context(), p.cr("main"), id) // its end is days ahead: no tick renews it
			if e := realm.AsError(err); err == nil || e.Code != realm.CodeUnavailable {
				t.Fatalf("without the store: %v", err)
			}
			if r.fake.Serves(p.row().Tokens.Refresh) {
				t.Fatal("the token that is stored was not used up")
			}
			allow()
			p.writeTime = writeTime
			later(t, p)
			if row := p.row(); row.Version != id.Version+1 || !r.fake.Serves(row.Tokens.Refresh) {
				t.Errorf("version %d after %d; its token serves: %v", row.Version, id.Version, r.fake.Serves(row.Tokens.Refresh))
			}
			r.wantRefreshes(1)
		})
	}
}

// Who cannot seal what the issuer would answer does not ask: a rotation has marked
// the store, not come to the account yet, and this process has the old key alone.
func TestWhoCannotSealDoesNotRenew(t *testing.T) {
	r := newRig(t, "sqlite")
	first, second := secret.NewKey(), secret.NewKey()
	before, err := secret.New(first, nil)
	if err != nil {
		t.Fatal(err)
	}
	both, err := secret.New(second, []realm.Secret{first})
	if err != nil {
		t.Fatal(err)
	}
	p := r.processOver(store.Options{DSN: r.dsn, Now: r.Now, Keys: before})
	_, err = p.db.Seal(t.Context(), actor)
	p.must(err)
	r.signIn(p)
	cr := p.cr("main")
	raw, stored := storetest.Raw(t, r.dsn), ""
	p.must(raw.QueryRowContext(t.Context(), "SELECT tokens FROM codex_accounts").Scan(&stored))
	q := r.processOver(store.Options{DSN: r.dsn, Now: r.Now, Keys: both})
	_, err = q.db.Seal(t.Context(), actor)
	p.must(err)
	_, err = raw.ExecContext(t.Context(), "UPDATE codex_accounts SET tokens = ?", stored)
	p.must(err)

	p.writeTime = 20 * time.Millisecond
	r.forward(tokenLife)
	_, err = p.Identity(t.Context(), cr)
	if e := realm.AsError(err); err == nil || e.Code != realm.CodeUnavailable || errors.Is(err, ErrRefused) {
		t.Errorf("without the key: %v", err)
	}
	r.wantRefreshes(0)
	if id, err := q.Identity(t.Context(), cr); err != nil || !r.fake.Accepts(id.AccessToken) {
		t.Errorf("with the key: %v", err)
	}
	r.wantRefreshes(1)
}
