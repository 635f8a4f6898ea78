package codex

import (
	"context"
	"time"

	"realms/internal/realm"
	"realms/internal/upstream/codexauth"
)

// recoveryRest is how long tokens that a 401 has led to are not renewed for another
// one: a provider that refuses what it has just given will not give better.
const recoveryRest = 10 * time.Minute

// Identity is what an exchange with the credential shows. It comes from memory;
// tokens that are over are renewed first, those that soon will be in the background.
// It waits for no longer than a request can: then the error is ErrSlow, and passes.
// Else the error wraps ErrNotSignedIn, ErrRefused or ErrNotAccepted, or passes by itself.
func (s *Service) Identity(ctx context.Context, cr *realm.Credential) (realm.CodexIdentity, error) {
	if !s.accepted() {
		return realm.CodexIdentity{}, notAccepted()
	}
	e := s.entry(cr.ID)
	now := s.now()
	e.used.Store(now.UnixNano())
	if cr.Endpoint != nil {
		e.last.Store(cr)
	}
	if v := s.current(e, now); v != nil {
		return v.identity, nil
	}
	ctx, cancel := s.hasten(ctx, e)
	defer cancel()
	return s.identity(ctx, e)
}

// current is what requests may go out with; nil: nothing, or it is over. What soon
// will be is renewed meanwhile.
func (s *Service) current(e *entry, now time.Time) *view {
	v := e.view.Load()
	if v == nil || v.dead(now) {
		return nil
	}
	if v.due(now) {
		_, _ = s.join(e, need{from: v.account.Version, reason: codexauth.ReasonExpiry}) // who waits hears of it
	}
	return v
}

// identity is Identity for whoever has as much time as the context.
func (s *Service) identity(ctx context.Context, e *entry) (realm.CodexIdentity, error) {
	// Twice: what another process has renewed may be over by the time it is read.
	for range 2 {
		if v := s.current(e, s.now()); v != nil {
			return v.identity, nil
		}
		if err := s.await(ctx, e, need{from: e.version(), reason: codexauth.ReasonExpiry}); err != nil {
			return realm.CodexIdentity{}, err
		}
	}
	if v := e.view.Load(); v != nil && !v.dead(s.now()) {
		return v.identity, nil
	}
	return realm.CodexIdentity{}, later(errStillOver, retryFirst)
}

// Renew is for an exchange that was answered with 401: it gives what somebody else
// has renewed since, else tokens that are renewed now. Tokens are renewed once
// whoever asks, and those that a 401 has led to not for another one.
func (s *Service) Renew(ctx context.Context, cr *realm.Credential, used realm.CodexIdentity) (realm.CodexIdentity, error) {
	if !s.accepted() {
		return realm.CodexIdentity{}, notAccepted()
	}
	e := s.entry(cr.ID)
	ctx, cancel := s.hasten(ctx, e)
	defer cancel()
	for range 2 {
		if v := e.view.Load(); v != nil && v.account.Version != used.Version && !v.dead(s.now()) {
			return v.identity, nil
		}
		if e.justRecovered(used.Version, s.now()) {
			return realm.CodexIdentity{}, refused("it refuses the tokens that it has just given")
		}
		if err := s.await(ctx, e, need{from: used.Version, reason: codexauth.ReasonUnauthorized}); err != nil {
			return realm.CodexIdentity{}, err
		}
	}
	if v := e.view.Load(); v != nil && v.account.Version != used.Version {
		return v.identity, nil
	}
	return realm.CodexIdentity{}, later(errStillOver, retryFirst)
}

func (e *entry) justRecovered(version int64, now time.Time) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return version == e.recovered && now.Before(e.recoveredAt.Add(recoveryRest))
}

// Observe takes what an answer said of an account's plan: known at once, stored
// within a minute. Windows that it does not name stay as they were until they
// reset.
func (s *Service) Observe(credential realm.ID, limits realm.CodexLimits) {
	e := s.known(credential)
	if e == nil || len(limits.Windows) == 0 && limits.Plan == "" {
		return
	}
	now := s.now()
	if limits.At.IsZero() {
		limits.At = now
	}
	limits.Bound()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.limits, e.dirty = merge(e.limits, limits, now), true
}

// merge puts newer limits over older ones.
func merge(old, with realm.CodexLimits, now time.Time) realm.CodexLimits {
	if with.At.Before(old.At) {
		old, with = with, old
	}
	all := realm.CodexLimits{Plan: with.Plan, At: with.At}
	if all.Plan == "" {
		all.Plan = old.Plan
	}
	all.Windows = append(all.Windows, with.Windows...)
	for _, w := range old.Windows {
		if now.Before(w.ResetsAt) && !hasWindow(with.Windows, w) {
			all.Windows = append(all.Windows, w)
		}
	}
	return all
}

func hasWindow(list []realm.CodexWindow, like realm.CodexWindow) bool {
	for _, w := range list {
		if w.Limit == like.Limit && w.Length == like.Length {
			return true
		}
	}
	return false
}
