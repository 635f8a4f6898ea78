package codex

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"realms/internal/catalog"
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
// is none, or nobody can read it, its credential goes out of use until somebody signs
// in.
func (s *Service) missing(ctx context.Context, e *entry, err error) error {
	ended, why := notSignedIn(), ""
	switch {
	case errors.Is(err, store.ErrDamaged):
		ended, why = unreadable(err), unreadableWhy
	case !errors.Is(err, store.ErrNotFound):
		return later(err, 0)
	default:
		s.forget(e)
	}
	if err := s.signOut(ctx, e, why); err != nil && !errors.Is(err, store.ErrNotFound) {
		s.log.WarnContext(ctx, "credential without an account stays in use", "credential", s.name(e), "error", err)
	}
	return ended
}

// withoutLease ends a flight whose refresh token is of no more use, or was used
// already; false: it has to be.
func (s *Service) withoutLease(ctx context.Context, e *entry, n need, holder string, p store.CodexProgress) (done bool, err error) {
	if next := s.unstored(e, n.from); next != nil {
		return true, s.keepSure(ctx, e, n, next, holder)
	}
	if p.RefreshError != "" {
		return true, s.endRefused(ctx, e, n, p.RefreshError)
	}
	if why := e.goneWhy(n.from); why != "" {
		return true, s.markRefused(ctx, e, n, why)
	}
	return false, nil
}

// keepSure is keep. What was stored though another process took it for lost is renewed
// at once: that one has shown the issuer the token before it for a second time, which
// may have ended the sign-in. It is better known now than when the access token is
// over; until then requests go on with that.
func (s *Service) keepSure(ctx context.Context, e *entry, n need, next *realm.CodexAccount, holder string) error {
	doubted, err := s.keep(ctx, e, next)
	if err != nil || !doubted {
		return err
	}
	n.from, n.reason = next.Version+1, codexauth.ReasonExpiry
	_, err = s.attempt(ctx, e, n, holder, store.CodexProgress{})
	if v := e.view.Load(); v != nil && !v.dead(s.now()) && !n.force {
		return nil
	}
	return err
}

// attempt renews a version if this process may. False: another is at it, or it came
// too late; then the row is to be looked at again.
func (s *Service) attempt(ctx context.Context, e *entry, n need, holder string, p store.CodexProgress) (done bool, err error) {
	if now := s.now(); p.Leased(now, now.Add(leaseTime)) {
		return false, nil
	}
	row, until, err := s.lease(ctx, e, n.from, holder)
	if err != nil || row == nil {
		return false, err
	}
	e.leased(holder, until)
	switch {
	case ctx.Err() != nil: // what has not begun need not be waited for
		done, err = true, ctx.Err()
	case !s.accepted(): // it was, when the flight began
		done, err = true, notAccepted()
	case s.now().After(until.Add(-exchangeTime - writeTime)):
	default:
		return true, s.exchange(ctx, e, n, row, holder)
	}
	s.release(ctx, e, holder)
	return done, err
}

// lease tries to be the one who renews a version, and gives the row that has it, read
// under the lease; nil: somebody else is at it. The time is taken anew by each try,
// however long the ones before had to wait.
func (s *Service) lease(ctx context.Context, e *entry, version int64, holder string) (row *realm.CodexAccount, until time.Time, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseWait)
	defer cancel()
	err = s.o.Store.Tx(ctx, func(r store.Repos) error {
		now := s.now()
		row, until = nil, now.Add(leaseTime)
		held, err := r.CodexAccounts.Lease(ctx, e.id, version, holder, now, until)
		if err != nil || !held {
			return err
		}
		row, err = r.CodexAccounts.Get(ctx, e.id)
		return err
	})
	switch {
	case err == nil:
		return row, until, nil
	case errors.Is(err, store.ErrNotFound), errors.Is(err, store.ErrUnreadable):
		return nil, until, s.missing(ctx, e, err)
	}
	return nil, until, later(fmt.Errorf("take the lease: %w", err), 0)
}

// leased notes the lease under which tokens come, for as long as the store does not
// take them.
func (e *entry) leased(holder string, until time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.holder, e.leasedUntil = holder, until
}

// prolong keeps the lease of a version whose tokens the store has not taken: to others
// a holder whose lease has ended is dead, and they would use its token a second time.
// A store that takes nothing at all gives them no lease either.
func (s *Service) prolong(ctx context.Context, e *entry, version int64) {
	ctx, cancel := backstop(ctx, min(leaseWait, s.writeTime))
	defer cancel()
	e.mu.Lock()
	holder, until := e.holder, e.leasedUntil
	e.mu.Unlock()
	var held bool
	var next time.Time
	err := s.o.Store.Tx(ctx, func(r store.Repos) (err error) {
		now := s.now()
		next = now.Add(leaseTime)
		// One that ends when ours does is ours: any other was given after it.
		held, err = r.CodexAccounts.Lease(ctx, e.id, version, holder, latest(now, until), next)
		return err
	})
	if err == nil && held {
		e.leased(holder, next)
	}
}

func (s *Service) release(ctx context.Context, e *entry, holder string) {
	ctx, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	err := s.o.Store.Tx(ctx, func(r store.Repos) error { return r.CodexAccounts.Release(ctx, e.id, holder) })
	if err != nil {
		s.log.WarnContext(ctx, "lease of a codex account not given back; it ends by itself", "credential", s.name(e), "error", err)
	}
}

// exchange trades the refresh token of a row that this process alone may use.
func (s *Service) exchange(ctx context.Context, e *entry, n need, row *realm.CodexAccount, holder string) error {
	e.asks()
	call, cancel := backstop(ctx, exchangeTime)
	tokens, err := s.client(s.channel(e)).Refresh(call, row.Tokens.Refresh, n.reason)
	cancel()
	if err == nil {
		var next *realm.CodexAccount
		if next, err = renewed(row, tokens.CodexTokens, s.now()); err == nil {
			return s.keepAll(ctx, e, n, next, holder, tokens.Access != "")
		}
		s.revoke(ctx, s.channel(e), tokens.Refresh) // nobody will use it
	}
	if p := asAuth(err); p != nil && p.Permanent || errors.Is(err, errAnotherAccount) {
		return s.notRenewed(ctx, e, n, err)
	}
	s.release(ctx, e, holder)
	return s.notNow(ctx, e, err)
}

// notNow ends a renewal that did not go well and may yet.
func (s *Service) notNow(ctx context.Context, e *entry, err error) error {
	s.metrics.renewed(resultFailed)
	s.log.WarnContext(ctx, "codex account not renewed, trying again later", "credential", s.name(e), "error", err)
	return later(err, 0)
}

// keepAll is keepSure for what an exchange gave. Without an access token nothing is won,
// but the refresh token may be another one by now.
func (s *Service) keepAll(ctx context.Context, e *entry, n need, next *realm.CodexAccount, holder string, access bool) error {
	e.hold(next)
	err := s.keepSure(ctx, e, n, next, holder)
	if err != nil || access {
		return err
	}
	return s.notNow(ctx, e, errNoAccess)
}

// renewed is a row with the tokens that an answer held; its Version is still that
// of the row.
func renewed(row *realm.CodexAccount, tokens realm.CodexTokens, now time.Time) (*realm.CodexAccount, error) {
	next := *row
	next.Tokens = overlay(row.Tokens, tokens)
	next.RefreshError = ""
	if tokens.Access == "" {
		return &next, nil
	}
	next.RefreshedAt, next.ExpiresAt = now, time.Time{}
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
func (s *Service) unstored(e *entry, version int64) *realm.CodexAccount {
	e.mu.Lock()
	next := e.pending
	stale := next != nil && next.Version != version
	if stale {
		e.pending = nil // others have taken their place by now
	}
	e.mu.Unlock()
	if stale {
		s.drop(e, next)
		return nil
	}
	return next
}

// drop gives tokens back to the issuer that nobody will use; nil: none. Those of the
// sign-in that is in use are left alone: to revoke one of them ends them all.
func (s *Service) drop(e *entry, next *realm.CodexAccount) {
	if next == nil {
		return
	}
	if v := e.view.Load(); v != nil && v.account.SignedInAt.Equal(next.SignedInAt) {
		return
	}
	s.fly(func() { s.revoke(s.base, s.channel(e), next.Tokens.Refresh) })
}

// keep makes tokens durable, then lets them be used. It tells whether another process
// took them for lost.
func (s *Service) keep(ctx context.Context, e *entry, next *realm.CodexAccount) (doubted bool, err error) {
	ctx, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	for pause := pollTime; ; pause *= 2 {
		var kept bool
		if kept, doubted, err = s.put(ctx, next); err == nil {
			return doubted, s.kept(ctx, e, next, kept)
		}
		if sleep(ctx, pause) != nil {
			break
		}
	}
	s.prolong(ctx, e, next.Version)
	s.metrics.renewed(resultFailed)
	s.log.ErrorContext(ctx, "renewed tokens cannot be stored; they are not used until they are", "credential", s.name(e), "error", err)
	return false, later(fmt.Errorf("store the tokens: %w", err), 0)
}

// put writes renewed tokens, and tells whether those that they replace were still there,
// and whether they were marked as refused.
func (s *Service) put(ctx context.Context, next *realm.CodexAccount) (kept, doubted bool, err error) {
	err = s.o.Store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		before, err := r.CodexAccounts.Progress(ctx, next.Credential)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		doubted = false
		if kept, err = r.CodexAccounts.Renew(ctx, next); err != nil || !kept {
			return err
		}
		if doubted = before.RefreshError != ""; doubted { // somebody took our lease for dead, and the tokens for lost
			if err := s.takeBack(ctx, r, next.Credential, before.RefreshError); err != nil {
				return err
			}
		}
		return r.Changes.Bump(ctx, store.KindCodexAccount, next.Credential)
	})
	return kept, doubted, err
}

// takeBack lets a credential be used again that is out of use for a refusal that was
// none. What else may have put it out is left.
func (s *Service) takeBack(ctx context.Context, r store.Repos, id realm.ID, why string) error {
	cr, err := credential(ctx, r, id)
	if err != nil || cr.StateReason != catalog.ReasonSignIn(why, cr.Endpoint.Channel.Name, cr.Name) {
		return err
	}
	_, err = s.inner(r, serverActor).CredentialSignedIn(ctx, id)
	return err
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
	s.adopt(e, &stored, false)
	e.mu.Lock()
	e.unchecked = stored.Version
	e.mu.Unlock()
	s.metrics.renewed(resultRenewed)
	s.log.InfoContext(ctx, "codex account renewed", "credential", s.name(e), "expires_at", stored.ExpiresAt)
	if x := stored.ExpiresAt; !x.IsZero() && !x.After(stored.RefreshedAt) {
		s.log.WarnContext(ctx, "tokens of a codex account seem over as they come: is this machine's clock right?", "credential", s.name(e))
	}
	return nil
}

func (s *Service) notKept(ctx context.Context, e *entry, next *realm.CodexAccount) error {
	err := s.reread(ctx, e)
	if errors.Is(err, store.ErrNotFound) { // signed out meanwhile: nobody needs them
		s.revoke(ctx, s.channel(e), next.Tokens.Refresh)
		return s.missing(ctx, e, err)
	}
	if err != nil {
		return s.missing(ctx, e, err)
	}
	s.drop(e, next)
	if v := e.view.Load(); v != nil && !v.dead(s.now()) {
		s.metrics.renewed(resultFound)
		return nil
	}
	return later(errMoved, 0)
}
