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
}

// await is until a flight has ended: the one under way, else one for this need.
func (s *Service) await(ctx context.Context, e *entry, n need) error {
	f, err := s.join(e, n)
	if err != nil {
		return err
	}
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done(): // the flight goes on for the others
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
	f := &flight{done: make(chan struct{})}
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
		if done, err := s.withoutLease(ctx, e, n, p); done {
			return err
		}
		if done, err := s.attempt(ctx, e, n, holder, p); done || err != nil {
			return err
		}
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

// channel is the one of a credential, as the catalogue has or had it; nil: never.
func (s *Service) channel(e *entry) *realm.Channel {
	if cr := s.o.Catalog.Snapshot().Credential(e.id); cr != nil {
		e.last.Store(cr.Endpoint.Channel)
	}
	return e.last.Load()
}
