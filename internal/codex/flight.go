package codex

import (
	"context"
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
	"realms/internal/upstream/codexauth"
)

// Bounds of renewing. The lease outlives its holder by at most its length, so an
// exchange and the write behind it have to end well before: between machines whose
// clocks differ by less than the rest, no two use one refresh token.
const (
	leaseTime    = 60 * time.Second
	exchangeTime = 30 * time.Second
	writeTime    = 15 * time.Second
	// waitTime is how long a flight follows others that have the lease: two that die
	// with it, one after the other, at the most.
	waitTime = 2 * leaseTime
	// leaseWait is how long the store may take to grant a lease.
	leaseWait = 10 * time.Second
	// pollTime is how often a flight looks.
	pollTime = 100 * time.Millisecond

	// patience is how long a request waits for a flight: there may be another channel
	// that serves it. patienceSlow is the same while flights are known to take longer.
	patience     = 10 * time.Second
	patienceSlow = time.Second

	// After failures a flight waits, doubling from the first to the last. What only a
	// person can mend is looked at again after refusedRest.
	retryFirst  = time.Second
	retryLast   = 5 * time.Minute
	refusedRest = time.Minute
)

// need is what a flight is to bring about.
type need struct {
	from   int64 // the version that is not good enough; 0: any will do that is not over
	reason codexauth.Reason
	force  bool // a person asks: no waiting after failures
}

// flight is one renewal under way. What it has learnt is in the entry; err is why
// it has nothing, and read after done alone.
type flight struct {
	done chan struct{}
	err  error

	waits   chan struct{} // closed once another process turns out to be at it
	waiting bool          // it is closed
	asked   bool          // the issuer is being asked, or was
}

// await is until a flight has ended: the one under way, else one for this need.
func (s *Service) await(ctx context.Context, e *entry, n need) error {
	f, err := s.join(e, n)
	if err != nil {
		return err
	}
	for waits := f.waits; ; {
		select {
		case <-f.done:
			return f.err
		case <-waits:
			waits = nil
			notice(ctx, "Another process is renewing the account's tokens, or has ended over it; waiting for it, two minutes at most.")
			continue
		case <-ctx.Done(): // the flight goes on for the others
		}
		return s.left(ctx, e, f, n)
	}
}

// left is for whoever has no more time for a flight.
func (s *Service) left(ctx context.Context, e *entry, f *flight, n need) error {
	e.mu.Lock()
	asked := f.asked
	e.mu.Unlock()
	if n.force && asked { // a person: there is nothing left to give up
		notice(ctx, "It is too late to stop: the tokens are being renewed. To end this program now would lose the sign-in.")
		<-f.done
		return f.err
	}
	if !errors.Is(context.Cause(ctx), ErrSlow) {
		return ctx.Err()
	}
	e.mu.Lock()
	e.slow = e.slow || e.flight == f
	e.mu.Unlock()
	return later(ErrSlow, s.patienceSlow)
}

// hasten bounds what a request waits for an account's flights.
func (s *Service) hasten(ctx context.Context, e *entry) (context.Context, context.CancelFunc) {
	wait := s.patience
	e.mu.Lock()
	if e.slow {
		wait = s.patienceSlow
	}
	e.mu.Unlock()
	return context.WithTimeoutCause(ctx, wait, ErrSlow)
}

// join gives the flight under way, or begins one; an error says why none may begin
// yet.
func (s *Service) join(e *entry, n need) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		return e.flight, nil
	}
	now := s.now()
	if now.Before(e.notBefore) && !n.force && !e.nowUnauthorized(n) {
		return nil, e.rest(now)
	}
	f := &flight{done: make(chan struct{}), waits: make(chan struct{})}
	if !s.fly(func() { s.run(e, n, f) }) {
		return nil, later(errClosed, 0)
	}
	e.flight = f
	return f, nil
}

// nowUnauthorized tells whether the backend takes no more the access token that was
// to serve on after its refresh token was refused: that takes the credential out of
// use, and waits for nothing.
func (e *entry) nowUnauthorized(n need) bool {
	return n.reason == codexauth.ReasonUnauthorized && errors.Is(e.failed, ErrRefused)
}

// rest is the last failure, with what is left of the wait after it.
func (e *entry) rest(now time.Time) error {
	if errors.Is(e.failed, ErrRefused) || errors.Is(e.failed, ErrNotSignedIn) {
		return e.failed
	}
	return later(e.failed, e.notBefore.Sub(now))
}

// run is a flight from start to end.
func (s *Service) run(e *entry, n need, f *flight) {
	ctx, cancel := context.WithTimeout(s.base, waitTime)
	defer cancel()
	err := s.renew(ctx, e, n)
	now := s.now()
	e.mu.Lock()
	e.flight = nil
	e.slow = e.slow && err != nil
	e.settle(err, now)
	if v := e.view.Load(); err == nil && n.reason == codexauth.ReasonUnauthorized && v != nil {
		e.recovered, e.recoveredAt = v.account.Version, now
	}
	e.mu.Unlock()
	f.err = err
	close(f.done)
	if !n.force { // a verb looks by itself
		s.recheck(e)
	}
}

// settle keeps how a flight ended, for those that want another.
func (e *entry) settle(err error, now time.Time) {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, ErrNotAccepted) {
		e.failures, e.notBefore, e.failed = 0, time.Time{}, nil
		return
	}
	wait := min(retryFirst<<min(e.failures, 16), retryLast)
	switch p := asAuth(err); {
	case errors.Is(err, ErrRefused):
		wait = refusedRest
	case p != nil:
		wait = max(wait, p.RetryAfter)
	}
	e.failures++
	e.notBefore, e.failed = now.Add(wait), err
}

// waits tells those who wait for the flight under way that another process is at it.
func (e *entry) waits() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if f := e.flight; f != nil && !f.waiting {
		f.waiting = true
		close(f.waits)
	}
}

// asks notes that the flight under way goes to the issuer.
func (e *entry) asks() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.flight != nil {
		e.flight.asked = true
	}
}

// renew brings about what is needed, by this process or another.
func (s *Service) renew(ctx context.Context, e *entry, n need) error {
	holder := newHolder()
	for {
		p, err := s.progress(ctx, e)
		if err != nil {
			return err
		}
		if known := e.version(); p.Version != known {
			// What is known was in the store once: if that has less, it was replaced.
			if err := s.rereadOver(ctx, e, p.Version < known); err != nil {
				return s.missing(ctx, e, err)
			}
		}
		v := e.view.Load()
		if v == nil {
			return s.missing(ctx, e, errNoRow)
		}
		if v.account.Version != n.from && !v.dead(s.now()) {
			s.metrics.renewed(resultFound)
			return nil
		}
		n.from = v.account.Version
		if done, err := s.withoutLease(ctx, e, n, holder, p); done {
			return err
		}
		if done, err := s.attempt(ctx, e, n, holder, p); done || err != nil {
			return err
		}
		e.waits()
		if err := sleep(ctx, pollTime); err != nil {
			return later(fmt.Errorf("wait for another process: %w", err), 0)
		}
	}
}

// sleep waits, or says that the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backstop bounds what must not be given up in the middle: it lives on when the
// service is closed, but not for ever.
func backstop(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), d)
}

// credential is the entry's, as the catalogue has or had it; nil: never.
func (s *Service) credential(e *entry) *realm.Credential {
	if cr := s.o.Catalog.Snapshot().Credential(e.id); cr != nil {
		e.last.Store(cr)
	}
	return e.last.Load()
}

// channel is the one of a credential; nil: it was never known.
func (s *Service) channel(e *entry) *realm.Channel {
	if cr := s.credential(e); cr != nil {
		return cr.Endpoint.Channel
	}
	return nil
}

// name is a credential as lists name it; one that was never known has its id alone.
func (s *Service) name(e *entry) string {
	if cr := s.credential(e); cr != nil {
		return fullName(cr)
	}
	return e.id.String()
}
