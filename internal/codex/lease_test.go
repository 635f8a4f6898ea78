package codex

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// traced is a process whose statements are told before they run.
func (r *rig) traced(trace func(text string)) *process {
	r.t.Helper()
	return r.processOver(store.Options{DSN: r.dsn, Now: r.Now, Trace: trace})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(q *http.Request) (*http.Response, error) { return f(q) }

// before has f called before each request of a process to the provider.
func (p *process) before(f func(q *http.Request)) {
	own := &http.Transport{}
	p.t.Cleanup(own.CloseIdleConnections)
	client := &http.Client{Transport: roundTrip(func(q *http.Request) (*http.Response, error) {
		f(q)
		return own.RoundTrip(q)
	})}
	p.o.HTTP = func(*realm.Channel) *http.Client { return client }
}

func isLease(text string) bool {
	return strings.HasPrefix(text, "UPDATE codex_accounts SET lease_holder = ?")
}

// A statement that had to wait longer than a lease is long grants one that is over:
// nobody renews by it.
func TestLeaseThatIsOverWhenItComes(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		other := r.process()
		r.signIn(other)
		cr := other.cr("main")
		r.forward(tokenLife)
		var wait, beside sync.Once
		p := r.traced(func(text string) {
			if isLease(text) {
				wait.Do(func() { r.forward(leaseTime + time.Second) })
			}
		})
		p.before(func(*http.Request) {
			beside.Do(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 3*pollTime)
				defer cancel()
				_, _ = other.Identity(ctx, cr) // it has to wait
			})
		})
		if _, err := p.Identity(t.Context(), cr); err != nil {
			t.Error(err)
		}
		other.settled()
		r.wantRefreshes(1)
	})
}

// A sign-in beside a renewal: the new refresh token is not used by whoever has the
// lease of the old one.
func TestSignInBesideARenewal(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		other, third := r.process(), r.process()
		r.signIn(other)
		third.hear()
		cr := other.cr("main")
		r.forward(tokenLife)
		in, err := other.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
		other.must(err)
		r.fake.Confirm(t, in.UserCode)
		var leased bool
		var begin, beside sync.Once
		var signedIn sync.WaitGroup
		p := r.traced(func(text string) {
			if isLease(text) {
				leased = true
			}
			if leased && strings.HasPrefix(text, "SELECT credential_id") {
				begin.Do(func() {
					signedIn.Go(func() {
						if _, err := other.PollDevice(t.Context(), actor, in.State); err != nil {
							t.Error(err)
						}
					})
					given := make(chan struct{})
					go func() { signedIn.Wait(); close(given) }()
					select {
					case <-given:
					case <-time.After(time.Second): // it waits for the transaction that reads
					}
				})
			}
		})
		p.before(func(*http.Request) {
			beside.Do(func() {
				signedIn.Wait()
				_, err := third.Refresh(t.Context(), actor, "codex", "main")
				third.must(err)
			})
		})
		id, err := p.Identity(t.Context(), cr)
		if err != nil || !r.fake.Accepts(id.AccessToken) {
			t.Errorf("it was given version %d, %v", id.Version, err)
		}
		if row := other.row(); row.RefreshError != "" || !r.fake.Serves(row.Tokens.Refresh) {
			t.Errorf("the new sign-in was ended: %q", row.RefreshError)
		}
		if n := r.fake.Reuses(); n != 0 {
			t.Errorf("%d refresh tokens were used twice", n)
		}
	})
}

// leased gives "main"'s tokens to a holder that never ends it.
func (p *process) leased(until time.Time) {
	p.t.Helper()
	cr, version := p.cr("main"), p.row().Version
	p.must(p.db.Tx(p.t.Context(), func(r store.Repos) error {
		_, err := r.CodexAccounts.Lease(p.t.Context(), cr.ID, version, "dead", until.Add(-leaseTime), until)
		return err
	}))
}

// A lease that was taken by a clock far ahead of ours is nobody's.
func TestLeaseOutOfTheFuture(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p := r.process()
		r.signIn(p)
		r.forward(tokenLife)
		p.leased(r.Now().Add(48 * time.Hour))
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if _, err := p.Identity(ctx, p.cr("main")); err != nil {
			t.Error(err)
		}
		r.wantRefreshes(1)
	})
}

// What the operator takes back holds for who waits, too.
func TestDisabledWhileARenewalWaits(t *testing.T) {
	r := newRig(t, "sqlite")
	p, other := r.process(), r.process()
	r.signIn(p)
	other.hear()
	cr := p.cr("main")
	r.forward(tokenLife)
	p.leased(r.Now().Add(leaseTime))
	ctx, cancel := context.WithTimeout(t.Context(), 3*pollTime)
	defer cancel()
	_, err := other.Identity(ctx, cr)
	wantError(t, "during the lease", err, context.DeadlineExceeded)
	p.must(p.Disable(t.Context(), actor))
	other.hear()
	r.forward(leaseTime)
	other.settled()
	r.wantRefreshes(0)
	p.must(p.Enable(t.Context(), actor))
	other.hear()
	if _, err := other.Identity(t.Context(), cr); err != nil {
		t.Errorf("accepted again: %v", err)
	}
	r.wantRefreshes(1)
}

// What tokens say of their end may be of no use here: with a clock that is far ahead,
// or without a new one in the answer. That is no reason to renew them all the time.
func TestRenewalsThatDoNotHelp(t *testing.T) {
	for _, c := range []struct {
		name  string
		ahead time.Duration
		omit  []string
		most  int // renewals within an hour
	}{
		{"clock ahead", 11 * 24 * time.Hour, nil, 0},
		{"no access token", 0, []string{"access_token"}, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			p.now = func() time.Time { return r.Now().Add(c.ahead) }
			r.signIn(p)
			if c.omit != nil {
				r.forward(tokenLife)
				r.fake.Omit(c.omit...)
			}
			for range int(time.Hour / tickTime) {
				r.forward(tickTime)
				_, err := p.identify()
				if (err != nil) != (c.omit != nil) {
					t.Fatal(err)
				}
				p.tend(t.Context())
				p.settled()
			}
			if n := r.refreshes(); n > c.most || r.fake.Reuses() != 0 {
				t.Errorf("%d renewals within an hour, %d of a token that had served", n, r.fake.Reuses())
			}
			r.fake.Omit()
			r.forward(retryLast)
			if id, err := p.identify(); err != nil || !r.fake.Accepts(id.AccessToken) {
				t.Errorf("once the answers are whole: %v", err)
			}
		})
	}
}

// An account's usage that cannot be asked for does not turn its tokens over.
func TestUsageThatIsRefused(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	r.fake.Always(codextest.PathUsage, testkit.Error(http.StatusUnauthorized, "invalid_request_error", "unauthorized", "no"))
	asked := r.fake.Calls(codextest.PathUsage)
	for range int(time.Hour / tickTime) {
		r.forward(tickTime)
		_, err := p.identify()
		p.must(err)
		p.tend(t.Context())
	}
	if n := r.fake.Calls(codextest.PathUsage) - asked; n < 5 {
		t.Errorf("asked %d times", n)
	}
	r.wantRefreshes(0)
}
