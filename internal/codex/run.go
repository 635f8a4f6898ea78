package codex

import (
	"context"
	"errors"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

const (
	tickTime = 20 * time.Second
	// usageTime is how old what is known of an account's plan may be while it is used.
	usageTime = 10 * time.Minute
	// lastTime is how long the end may take to store tokens that the store did not take
	// before.
	lastTime = 5 * time.Second
	// sweepTime is how often sign-ins are forgotten that were over long ago.
	sweepTime  = time.Hour
	signInKept = 24 * time.Hour
	sweepBatch = 500
)

// Run renews tokens before they are over, follows what is used up of the plans of
// accounts in use, and stores what was observed. It returns when ctx has ended and
// all that was under way has too.
func (s *Service) Run(ctx context.Context) error {
	tick := time.NewTicker(tickTime)
	defer tick.Stop()
	swept := time.Time{}
	for {
		select {
		case <-tick.C:
			s.tend(ctx)
			if now := s.now(); now.Sub(swept) >= sweepTime {
				swept = now
				s.sweep(ctx)
			}
		case <-ctx.Done():
			s.Close()
			last, cancel := backstop(ctx, 2*time.Second)
			defer cancel()
			s.each(func(e *entry) { s.flushOrSay(last, e) })
			return nil
		}
	}
}

func (s *Service) flushOrSay(ctx context.Context, e *entry) {
	if err := s.flush(ctx, e); err != nil {
		s.log.WarnContext(ctx, "limits of a codex account not stored", "credential", s.name(e), "error", err)
	}
}

// tend looks after every account once.
func (s *Service) tend(ctx context.Context) {
	accepted := s.accepted()
	var usable []*realm.Credential
	s.each(func(e *entry) {
		if ctx.Err() != nil {
			return
		}
		s.flushOrSay(ctx, e)
		cr := s.o.Catalog.Snapshot().Credential(e.id)
		if cr == nil {
			s.tendGone(ctx, e)
			return
		}
		e.last.Store(cr)
		e.missed.Store(false)
		s.keepUnstored(e)
		if accepted && cr.Usable() && cr.Endpoint.Channel.Enabled {
			s.renewDue(e)
			usable = append(usable, cr)
		}
	})
	for _, cr := range usable { // after all: each may take its time
		if ctx.Err() == nil {
			s.followUsage(ctx, s.entry(cr.ID), cr)
		}
	}
}

// keepUnstored begins a flight for tokens that the store did not take when they came,
// whether requests want one or not: as long as they are here alone the sign-in ends
// with this process, or with the next one that renews the tokens in the store. It is
// done for accounts that are not in use, too, since it asks nobody but the store.
func (s *Service) keepUnstored(e *entry) {
	next := e.unstored()
	if next == nil {
		return
	}
	if v := e.view.Load(); v != nil && v.account.Version != next.Version {
		s.unstored(e, v.account.Version) // it lets go of them: others have taken their place
		return
	}
	e.retryNow()
	_, _ = s.join(e, need{from: next.Version, reason: codexauth.ReasonExpiry}) // it tells the log
}

// keepLast tries once more to store what the store has not taken, after the last
// flight: then it is lost.
func (s *Service) keepLast() {
	ctx, cancel := backstop(s.base, lastTime)
	defer cancel()
	s.each(func(e *entry) {
		next := e.unstored()
		if next == nil {
			return
		}
		kept, _, err := s.put(ctx, next)
		if err == nil {
			err = s.kept(ctx, e, next, kept)
		}
		if err != nil {
			s.log.ErrorContext(ctx, "renewed tokens not stored before the end; the account may have to be signed in again", "credential", s.name(e), "error", err)
		}
	})
}

// renewDue begins to renew tokens that soon will be over, or are.
func (s *Service) renewDue(e *entry) {
	now := s.now()
	if v := e.view.Load(); v != nil && (v.due(now) || v.dead(now)) {
		_, _ = s.join(e, need{from: v.account.Version, reason: codexauth.ReasonExpiry}) // it tells the log
	}
}

// followUsage asks for the usage of an account that requests go out with.
func (s *Service) followUsage(ctx context.Context, e *entry, cr *realm.Credential) {
	now := s.now()
	if v := e.view.Load(); v == nil || v.dead(now) || !e.wantsUsage(now) {
		return
	}
	if err := s.askUsage(ctx, e, cr); err != nil && ctx.Err() == nil {
		s.log.InfoContext(ctx, "usage of a codex account not known", "credential", s.name(e), "error", err)
	}
}

// wantsUsage tells whether the account was used of late and nobody has said how much
// of its plan that took; then it counts as asked.
func (e *entry) wantsUsage(now time.Time) bool {
	used := time.Unix(0, e.used.Load())
	e.mu.Lock()
	defer e.mu.Unlock()
	if now.Sub(used) >= usageTime || now.Sub(e.limits.At) < usageTime || now.Sub(e.askedAt) < usageTime {
		return false
	}
	e.askedAt = now
	return true
}

// tendGone lets an account go whose credential is not in the catalogue any more. Its
// row went with the credential's; what is left is to tell the provider. Not at the
// first look: a store that is being restored is empty for a moment, and a sign-in that
// is revoked does not come back.
func (s *Service) tendGone(ctx context.Context, e *entry) {
	_, err := s.o.Store.Read().Credentials.Get(ctx, e.id)
	if !errors.Is(err, store.ErrNotFound) || !e.missed.Swap(true) {
		return
	}
	v := e.view.Load()
	s.forget(e)
	s.entries.Delete(e.id)
	if v != nil {
		s.revoke(ctx, s.channel(e), v.account.Tokens.Refresh)
	}
}

func (s *Service) sweep(ctx context.Context) {
	err := s.o.Store.Tx(ctx, func(r store.Repos) error {
		_, err := r.CodexSignIns.DeleteBefore(ctx, s.now().Add(-signInKept), sweepBatch)
		return err
	})
	if err != nil && ctx.Err() == nil {
		s.log.WarnContext(ctx, "old sign-ins not forgotten", "error", err)
	}
}
