package codex

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit/codextest"
)

const (
	tokenLife  = 10 * 24 * time.Hour // codextest's default
	almostOver = tokenLife - time.Minute
)

// A hundred requests on three processes meet tokens that are over at once: one asks
// the issuer, all are served with what it got.
func TestExpiryIsRenewedOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		processes := []*process{r.process(), r.process(), r.process()}
		r.signIn(processes[0])
		for _, p := range processes {
			p.hear()
			p.cr("main")
		}
		r.forward(tokenLife)
		release := r.fake.Block(codextest.PathToken)
		defer release()
		var wg sync.WaitGroup
		var served atomic.Int64
		identities := make([]realm.CodexIdentity, 100)
		for i := range identities {
			p := processes[i%len(processes)]
			cr := p.catalog.Snapshot().Channel("codex").Endpoints[0].Credentials[0]
			wg.Go(func() {
				id, err := p.Identity(t.Context(), cr)
				if err != nil {
					t.Error(err)
					return
				}
				identities[i] = id
				served.Add(1)
			})
		}
		r.fake.Waiting(t, codextest.PathToken, 1)
		release()
		wg.Wait()
		r.wantRefreshes(1)
		row := processes[0].row()
		for _, id := range identities {
			if id.AccessToken != row.Tokens.Access || id.Version != row.Version || id.AccountID != codextest.AccountID {
				t.Errorf("a request was served with version %d, the store has %d", id.Version, row.Version)
			}
		}
		if served.Load() != 100 || !r.fake.Accepts(row.Tokens.Access) {
			t.Errorf("%d were served", served.Load())
		}
	})
}

// The same for tokens that the backend takes no more.
func TestUnauthorizedIsRenewedOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		processes := []*process{r.process(), r.process(), r.process()}
		r.signIn(processes[0])
		cr := processes[0].cr("main")
		used, err := processes[0].Identity(t.Context(), cr)
		processes[0].must(err)
		for _, p := range processes {
			p.hear()
		}
		r.fake.Invalidate(codextest.AccountID)
		var wg sync.WaitGroup
		for i := range 60 {
			p := processes[i%len(processes)]
			wg.Go(func() {
				id, err := p.Renew(t.Context(), cr, used)
				if err != nil || id.Version != used.Version+1 || !r.fake.Accepts(id.AccessToken) {
					t.Errorf("version %d after %d, %v", id.Version, used.Version, err)
				}
			})
		}
		wg.Wait()
		r.wantRefreshes(1)
		body := string(r.fake.Requests(codextest.PathToken)[1].Body)
		if !strings.Contains(body, "unauthorized_recovery") {
			t.Error("the issuer was not told why")
		}
	})
}

// A token that a 401 has led to, and that is refused again, is not renewed again.
func TestUnauthorizedAgain(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	first, err := p.identify()
	p.must(err)
	second, err := p.Renew(t.Context(), cr, first)
	p.must(err)
	for range 3 {
		_, err = p.Renew(t.Context(), cr, second)
		wantError(t, "the fresh token is refused", err, ErrRefused)
	}
	again, err := p.Renew(t.Context(), cr, first) // a straggler
	if err != nil || again != second {
		t.Errorf("a straggler got version %d, %v", again.Version, err)
	}
	r.wantRefreshes(1)
	r.forward(recoveryRest)
	third, err := p.Renew(t.Context(), cr, second)
	if err != nil || third.Version != second.Version+1 {
		t.Errorf("later: version %d, %v", third.Version, err)
	}
	r.wantRefreshes(2)
}

// As long as the token serves nobody waits, not for the issuer and not for the store.
func TestIdentityDoesNotWait(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	before, err := p.Identity(t.Context(), cr)
	p.must(err)
	r.forward(almostOver)
	release := r.fake.Block(codextest.PathToken)
	defer release()
	for range 100 {
		id, err := p.Identity(t.Context(), cr)
		if err != nil || id != before {
			t.Fatalf("%v, %v", id, err)
		}
	}
	r.fake.Waiting(t, codextest.PathToken, 1)
	release()
	p.settled()
	after, err := p.Identity(t.Context(), cr)
	if err != nil || after.Version != before.Version+1 || !r.fake.Accepts(after.AccessToken) {
		t.Errorf("version %d after %d, %v", after.Version, before.Version, err)
	}
	r.wantRefreshes(1)
	p.must(p.db.Close())
	for range 100 {
		if id, err := p.Identity(t.Context(), cr); err != nil || id != after {
			t.Fatalf("without the store: %v, %v", id, err)
		}
	}
}

// Who leaves takes nothing from those who stay.
func TestRenewalOutlivesWhoAskedForIt(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	r.forward(tokenLife)
	release := r.fake.Block(codextest.PathToken)
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed := make(chan error, 1), make(chan error, 1)
	go func() { _, err := p.Identity(ctx, cr); left <- err }()
	r.fake.Waiting(t, codextest.PathToken, 1)
	go func() { _, err := p.Identity(t.Context(), cr); stayed <- err }()
	cancel()
	wantError(t, "who left", <-left, context.Canceled)
	release()
	if err := <-stayed; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	r.wantRefreshes(1)
}

// A process that ends while the issuer answers waits for the answer and stores it.
func TestCloseKeepsWhatTheIssuerGave(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr, before := p.cr("main"), p.row().Version
	r.forward(tokenLife)
	release := r.fake.Block(codextest.PathToken)
	defer release()
	asked := make(chan error, 1)
	go func() { _, err := p.Identity(t.Context(), cr); asked <- err }()
	r.fake.Waiting(t, codextest.PathToken, 1)
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	select {
	case <-closed:
		t.Error("it did not wait")
	case <-time.After(50 * time.Millisecond):
	}
	release()
	<-closed
	if err := <-asked; err != nil {
		t.Error(err)
	}
	if v := p.row().Version; v != before+1 {
		t.Errorf("version %d after %d", v, before)
	}
	r.forward(tokenLife)
	_, err := p.Identity(t.Context(), cr)
	wantError(t, "afterwards", err, errClosed)
	r.wantRefreshes(1)
}

// The hot path asks for an identity once per exchange.
func TestIdentityAllocatesNothing(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	n := testing.AllocsPerRun(100, func() {
		if _, err := p.Identity(t.Context(), cr); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}
