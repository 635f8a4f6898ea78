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
	"realms/internal/store"
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
	// It was wrong: what the issuer gave is there, and lost to nobody.
	id, err := p.Identity(t.Context(), cr)
	if err != nil || id.Version != before.Version+1 || !p.cr("main").Usable() {
		t.Errorf("version %d after %d, in use %v, %v", id.Version, before.Version, p.cr("main").Usable(), err)
	}
	if row := p.row(); row.RefreshError != "" || row.Tokens.Access != id.AccessToken {
		t.Errorf("the row: %q", row.RefreshError)
	}
	if n := r.refreshes(); n != 2 {
		t.Errorf("%d calls", n)
	}
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
			if kept, err := other.put(t.Context(), row); err != nil || !kept {
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
