package codex

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

var (
	errStillOver = errors.New("the tokens are over by the time they come")
	errNoRow     = fmt.Errorf("no codex account: %w", store.ErrNotFound)
	errMoved     = errors.New("other tokens have taken the place of those that were renewed")
)

// newHolder names one lease. It is not the process's name: what a flight of this
// process left behind is not another flight's.
func newHolder() string { return rand.Text() }

// progress reads how far the row is; of one that is gone it says so for good.
func (s *Service) progress(ctx context.Context, e *entry) (store.CodexProgress, error) {
	p, err := s.o.Store.Read().CodexAccounts.Progress(ctx, e.id)
	if err != nil {
		return p, s.missing(ctx, e, err)
	}
	return p, nil
}

// missing is what a flight ends with that could not read the account: where there
// is none, its credential goes out of use until somebody signs in.
func (s *Service) missing(ctx context.Context, e *entry, err error) error {
	if !errors.Is(err, store.ErrNotFound) {
		return later(err, 0)
	}
	e.forget()
	if err := s.signOut(ctx, e, ""); err != nil && !errors.Is(err, store.ErrNotFound) {
		s.log.WarnContext(ctx, "credential without an account stays in use", "credential", e.id, "error", err)
	}
	return notSignedIn()
}

// lease tries to be the one who renews a version. What waits to be stored needs no
// lease: its refresh token is used already.
func (s *Service) lease(ctx context.Context, e *entry, version int64, holder string, p store.CodexProgress) (bool, error) {
	if e.unstored(version) != nil || e.goneWhy(version) != "" {
		return true, nil
	}
	now := s.now()
	if p.LeaseUntil.After(now) {
		return false, nil
	}
	var held bool
	err := s.o.Store.Tx(ctx, func(r store.Repos) (err error) {
		held, err = r.CodexAccounts.Lease(ctx, e.id, version, holder, now, now.Add(leaseTime))
		return err
	})
	if err != nil {
		return false, later(fmt.Errorf("take the lease: %w", err), 0)
	}
	return held, nil
}

func (s *Service) release(ctx context.Context, e *entry, holder string) {
	ctx, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	err := s.o.Store.Tx(ctx, func(r store.Repos) error { return r.CodexAccounts.Release(ctx, e.id, holder) })
	if err != nil {
		s.log.WarnContext(ctx, "lease of a codex account not given back; it ends by itself", "credential", e.id, "error", err)
	}
}

// exchange trades the refresh token of a version that this process alone may use.
func (s *Service) exchange(ctx context.Context, e *entry, n need, holder string) error {
	if next := e.unstored(n.from); next != nil {
		return s.keep(ctx, e, next)
	}
	if why := e.goneWhy(n.from); why != "" {
		return s.markRefused(ctx, e, n, why)
	}
	row, err := s.o.Store.Read().CodexAccounts.Get(ctx, e.id)
	if err != nil {
		s.release(ctx, e, holder)
		return s.missing(ctx, e, err)
	}
	call, cancel := backstop(ctx, exchangeTime)
	tokens, err := s.client(s.channel(e)).Refresh(call, row.Tokens.Refresh, n.reason)
	cancel()
	if err == nil {
		var next *realm.CodexAccount
		if next, err = renewed(row, tokens.CodexTokens, s.now()); err == nil {
			e.hold(next)
			return s.keep(ctx, e, next)
		}
	}
	if p := asAuth(err); p != nil && p.Permanent || errors.Is(err, errAnotherAccount) {
		return s.notRenewed(ctx, e, n, err)
	}
	s.release(ctx, e, holder)
	s.metrics.renewed(resultFailed)
	s.log.WarnContext(ctx, "codex account not renewed, trying again later", "credential", e.id, "error", err)
	return later(err, 0)
}

// renewed is a row with the tokens that an answer held; its Version is still that
// of the row.
func renewed(row *realm.CodexAccount, tokens realm.CodexTokens, now time.Time) (*realm.CodexAccount, error) {
	next := *row
	next.Tokens = overlay(row.Tokens, tokens)
	next.RefreshedAt, next.ExpiresAt, next.RefreshError = now, time.Time{}, ""
	claims, readable := claimsOf(next.Tokens)
	switch {
	case !readable: // they say nothing of themselves: the backend will tell
	case claims.AccountID != row.AccountID, claims.UserID != "" && row.UserID != "" && claims.UserID != row.UserID:
		return nil, errAnotherAccount
	default:
		next.ExpiresAt = claims.ExpiresAt
		next.Email = cmp.Or(claims.Email, row.Email)
		next.Plan = cmp.Or(claims.Plan, row.Plan)
	}
	return &next, nil
}

func claimsOf(t realm.CodexTokens) (codexauth.Claims, bool) {
	claims, err := codexauth.ReadClaims(t)
	return claims, err == nil
}

// overlay puts the tokens that an answer held over those that it did not.
func overlay(t, with realm.CodexTokens) realm.CodexTokens {
	if with.ID != "" {
		t.ID = with.ID
	}
	if with.Access != "" {
		t.Access = with.Access
	}
	if with.Refresh != "" {
		t.Refresh = with.Refresh
	}
	return t
}

// hold notes what the issuer gave until the store has it: should the store be
// away, this process has it still.
func (e *entry) hold(next *realm.CodexAccount) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pending = next
}

// unstored is what the issuer gave in the place of a version's tokens and the store
// has not taken yet; nil: nothing.
func (e *entry) unstored(version int64) *realm.CodexAccount {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.pending != nil && e.pending.Version != version {
		e.pending = nil // others have taken their place by now
	}
	return e.pending
}

// keep makes tokens durable, then lets them be used.
func (s *Service) keep(ctx context.Context, e *entry, next *realm.CodexAccount) error {
	ctx, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	var err error
	for pause := pollTime; ; pause *= 2 {
		var kept bool
		if kept, err = s.put(ctx, next); err == nil {
			return s.kept(ctx, e, next, kept)
		}
		if sleep(ctx, pause) != nil {
			break
		}
	}
	s.metrics.renewed(resultFailed)
	s.log.ErrorContext(ctx, "renewed tokens cannot be stored; they are not used until they are", "credential", e.id, "error", err)
	return later(fmt.Errorf("store the tokens: %w", err), 0)
}

func (s *Service) put(ctx context.Context, next *realm.CodexAccount) (kept bool, err error) {
	err = s.o.Store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		before, err := r.CodexAccounts.Progress(ctx, next.Credential)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if kept, err = r.CodexAccounts.Renew(ctx, next); err != nil || !kept {
			return err
		}
		if before.RefreshError != "" { // somebody took our lease for dead, and the tokens for lost
			if _, err := s.inner(r, serverActor).CredentialSignedIn(ctx, next.Credential); err != nil {
				return err
			}
		}
		return r.Changes.Bump(ctx, store.KindCodexAccount, next.Credential)
	})
	return kept, err
}

// kept ends a renewal whose tokens the store has taken, or whose row has others by
// now. A commit whose answer was lost looks like the latter, and the row tells.
func (s *Service) kept(ctx context.Context, e *entry, next *realm.CodexAccount, kept bool) error {
	e.hold(nil)
	if !kept {
		return s.notKept(ctx, e, next)
	}
	stored := *next
	stored.Version++
	e.adopt(&stored, false)
	e.mu.Lock()
	e.unchecked = stored.Version
	e.mu.Unlock()
	s.metrics.renewed(resultRenewed)
	s.log.InfoContext(ctx, "codex account renewed", "credential", e.id, "expires_at", stored.ExpiresAt)
	return nil
}

func (s *Service) notKept(ctx context.Context, e *entry, next *realm.CodexAccount) error {
	err := s.reread(ctx, e)
	if errors.Is(err, store.ErrNotFound) { // signed out meanwhile: nobody needs them
		s.revoke(ctx, s.channel(e), next.Tokens.Refresh)
		return s.missing(ctx, e, err)
	}
	if err != nil {
		return later(err, 0)
	}
	if v := e.view.Load(); v != nil && !v.dead(s.now()) {
		s.metrics.renewed(resultFound)
		return nil
	}
	return later(errMoved, 0)
}
