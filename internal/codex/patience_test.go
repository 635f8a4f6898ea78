package codex

import (
	"errors"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit/codextest"
)

// hasty has requests wait for a moment alone, and for less of one after that.
func (p *process) hasty() { p.patience, p.patienceSlow = 300*time.Millisecond, 10*time.Millisecond }

// waited is how long a request waited in vain.
func (p *process) waited(what string, ask func() error) time.Duration {
	p.t.Helper()
	began := time.Now()
	err := ask()
	waited := time.Since(began)
	wantError(p.t, what, err, ErrSlow)
	e := (*realm.Error)(nil)
	if !errors.As(err, &e) || e.Code != realm.CodeUnavailable || e.RetryAfter != p.patienceSlow {
		p.t.Errorf("%s: %v", what, err)
	}
	return waited
}

// An issuer that does not answer costs a request a moment, and those behind it less;
// what it answers at last is taken.
func TestRequestsDoNotWaitForASlowIssuer(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	p.hasty()
	r.signIn(p)
	cr := p.cr("main")
	used, err := p.identify()
	p.must(err)
	r.forward(tokenLife)
	release := r.fake.Block(codextest.PathToken)
	defer release()
	identity := func() error { _, err := p.Identity(t.Context(), cr); return err }
	renew := func() error { _, err := p.Renew(t.Context(), cr, used); return err }
	if w := p.waited("the first", identity); w < p.patience {
		t.Errorf("the first waited %v", w)
	}
	for what, ask := range map[string]func() error{"a later one": identity, "one after a 401": renew} {
		if w := p.waited(what, ask); w >= p.patience {
			t.Errorf("%s waited %v", what, w)
		}
	}
	release()
	p.settled()
	if id, err := p.Identity(t.Context(), cr); err != nil || id.Version != used.Version+1 {
		t.Errorf("once it has answered: version %d, %v", id.Version, err)
	}
	r.wantRefreshes(1)

	// It was slow once: that is forgotten.
	r.forward(tokenLife)
	release = r.fake.Block(codextest.PathToken)
	defer release()
	if w := p.waited("the first after that", identity); w < p.patience {
		t.Errorf("the first after that waited %v", w)
	}
	release()
	p.settled()
}

// The same for a process that died with the lease. A person waits for it.
func TestRequestsDoNotWaitForADeadProcess(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	p.hasty()
	r.signIn(p)
	cr := p.cr("main")
	r.forward(tokenLife)
	p.leased(r.Now().Add(leaseTime))
	for range 3 {
		p.waited("during the lease", func() error { _, err := p.Identity(t.Context(), cr); return err })
	}
	done := make(chan error, 1)
	go func() { _, err := p.Refresh(t.Context(), actor, "codex", "main"); done <- err }()
	select {
	case err := <-done:
		t.Errorf("a person did not wait: %v", err)
	case <-time.After(p.patience + pollTime):
	}
	r.forward(leaseTime)
	p.must(<-done)
	if _, err := p.Identity(t.Context(), cr); err != nil {
		t.Error(err)
	}
	r.wantRefreshes(1)
}

// What was learnt of one account says nothing of another that takes its place.
func TestChangedAccountsAreTold(t *testing.T) {
	r := newRig(t, "sqlite", twoAccounts()...)
	p, server := r.process(), r.process()
	main := p.cr("main").ID
	told := map[*process]int{}
	for _, q := range []*process{p, server} {
		q.o.Changed = func(credential realm.ID) {
			if credential != main {
				t.Errorf("told of credential %s", credential)
			}
			q.each(func(e *entry) { e.mu.Lock(); e.mu.Unlock() }) //nolint:staticcheck // none of them is held
			told[q]++
		}
	}
	want := func(what string, n int) {
		t.Helper()
		server.hear()
		server.must(server.Load(t.Context()))
		if told[p] != n || told[server] != n {
			t.Errorf("%s: told %d and %d times, want %d", what, told[p], told[server], n)
		}
	}
	r.signIn(p)
	want("the first sign-in", 0)
	r.signIn(p)
	_, err := p.Refresh(t.Context(), actor, "codex", "main")
	p.must(err)
	want("the same account", 0)
	r.fake.Visit("acc-0002")
	r.signInFor(p, Target{Channel: "codex", Credential: "main", Replace: true})
	want("another account", 1)
	p.remove()
	want("none", 1)
	r.fake.Visit(codextest.AccountID)
	r.signIn(p)
	want("another one after none", 2)
}
