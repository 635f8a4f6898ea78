package codex

import (
	"context"
	"errors"
	"fmt"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

// arrival is a sign-in's tokens on their way into the store.
type arrival struct {
	actor      string
	credential *realm.Credential
	tokens     realm.CodexTokens
	replace    bool
	how        string // "device", "browser", "import"
}

// take makes tokens durable, checks what they are for, and lets the credential be
// used.
func (s *Service) take(ctx context.Context, in arrival) (*Account, error) {
	a, err := s.account(in)
	if err != nil {
		return nil, err
	}
	old, err := s.enterAtLast(ctx, in, a)
	if err != nil {
		if in.how != howImport { // what was imported is another program's, too
			s.revoke(ctx, in.credential.Endpoint.Channel, a.Tokens.Refresh)
		}
		return nil, err
	}
	e := s.entry(a.Credential)
	s.adopt(e, a, false)
	s.log.InfoContext(ctx, "codex account signed in", "credential", fullName(in.credential), "how", in.how)
	err = s.admit(ctx, in.actor, in.credential, a)
	if old != nil && in.how != howImport { // an imported one may be of the same sign-in
		s.revoke(ctx, in.credential.Endpoint.Channel, old.Tokens.Refresh)
	}
	if err != nil {
		return nil, err
	}
	if err := s.askUsage(ctx, e, in.credential); err != nil {
		s.log.InfoContext(ctx, "usage of a codex account not known yet", "credential", fullName(in.credential), "error", err)
	}
	return s.show(ctx, a.Credential)
}

// account is what tokens say that they are for.
func (s *Service) account(in arrival) (*realm.CodexAccount, error) {
	claims, err := codexauth.ReadClaims(in.tokens)
	if err != nil {
		return nil, told(err)
	}
	if in.tokens.Refresh == "" {
		return nil, &realm.Error{Code: realm.CodeUpstreamBad, Message: "The provider gave no refresh token, so the sign-in would soon be over. Try again."}
	}
	now := s.now().Truncate(time.Millisecond) // as exact as a row is
	return &realm.CodexAccount{
		Credential: in.credential.ID, AccountID: claims.AccountID, UserID: claims.UserID, Email: claims.Email, Plan: claims.Plan,
		Tokens: in.tokens, ExpiresAt: claims.ExpiresAt, SignedInAt: now, RefreshedAt: now,
	}, nil
}

// enterAtLast is enter for as long as a store may be away: what the issuer gave is not
// given twice.
func (s *Service) enterAtLast(ctx context.Context, in arrival, a *realm.CodexAccount) (*realm.CodexAccount, error) {
	write, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	var before *realm.CodexAccount
	for pause := pollTime; ; pause *= 2 {
		old, err := s.enter(write, in, a)
		switch {
		case err == nil && old != nil && old.Tokens.Refresh == a.Tokens.Refresh:
			return before, nil // the try before had done it
		case err == nil:
			return old, nil
		case !mayPass(err):
			return nil, err
		}
		if old != nil {
			before = old
		}
		if sleep(write, pause) != nil {
			return nil, notStored(err)
		}
	}
}

// notStored is for a sign-in that the issuer has ended and the store has not taken.
func notStored(err error) error {
	message := "The sign-in could not be stored in time and is lost: once the store is there, sign in again."
	if e := (*realm.Error)(nil); errors.As(err, &e) {
		message += " " + e.Message
	}
	return &realm.Error{Code: realm.CodeUnavailable, Err: err, Message: message}
}

// mayPass tells a store that is away from what it refuses.
func mayPass(err error) bool {
	code := realm.AsError(err).Code
	return (code == realm.CodeInternal || code == realm.CodeUnavailable) && !errors.Is(err, store.ErrDuplicate)
}

// enter puts an account in the place of the one that was there, which it gives; an
// account of somebody else's only where that was asked for. That one's workspace is
// not known: no process may use it before admit.
func (s *Service) enter(ctx context.Context, in arrival, a *realm.CodexAccount) (old *realm.CodexAccount, err error) {
	err = s.tx(ctx, func(r store.Repos) error {
		cr, err := credential(ctx, r, in.credential.ID)
		if err != nil {
			return err
		}
		if old, err = known(ctx, r, cr.ID); err != nil {
			return err
		}
		if old != nil && !in.replace && !sameAccount(old, a) {
			return anotherAccount(cr)
		}
		// A version never comes back, not even after an account was removed: what is
		// under way for the old tokens must not fit the new ones.
		a.Version = a.SignedInAt.UnixMilli()
		if old != nil {
			a.Version = max(a.Version, old.Version+1)
		}
		if err := r.CodexAccounts.Put(ctx, a); err != nil {
			return fmt.Errorf("store the account: %w", err)
		}
		if !catalog.NeedsSignIn(cr) && (old == nil || old.AccountID != a.AccountID || old.UserID != a.UserID) {
			if _, err := s.inner(r, in.actor).CredentialSignedOut(ctx, cr.ID, unchecked(cr)); err != nil {
				return err
			}
		}
		return r.Record(ctx, in.actor, store.Mutation{
			Verb: "signed_in", Kind: store.KindCodexAccount, ID: cr.ID, Name: fullName(cr), Fields: signedInFields(in, old, a),
		})
	})
	return old, err
}

// known is the account that is there, without tokens if they cannot be read; nil:
// none is.
func known(ctx context.Context, r store.Repos, credential realm.ID) (*realm.CodexAccount, error) {
	a, err := r.CodexAccounts.Get(ctx, credential)
	if errors.Is(err, store.ErrUnreadable) {
		a, err = r.CodexAccounts.Shown(ctx, credential)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the account: %w", err)
	}
	return a, nil
}

func sameAccount(a, b *realm.CodexAccount) bool {
	return a.AccountID == b.AccountID && (a.UserID == b.UserID || a.UserID == "" || b.UserID == "")
}

func anotherAccount(cr *realm.Credential) error {
	return &realm.Error{Code: realm.CodeConflict, Reason: "another_account", Message: fmt.Sprintf(
		"Another ChatGPT account is signed in for %s: sign in with that one, or say that this one is to replace it (--replace).", fullName(cr))}
}

// signedInFields say who is signed in now: an account's name for people is its
// e-mail address.
func signedInFields(in arrival, old, now *realm.CodexAccount) []store.FieldChange {
	name := func(a *realm.CodexAccount) string {
		if a.Email != "" {
			return a.Email
		}
		return a.AccountID
	}
	f := []store.FieldChange{{Field: "how", After: in.how}, {Field: "account", After: name(now)}, {Field: "plan", After: now.Plan}}
	if old != nil {
		f[1].Before, f[2].Before = name(old), old.Plan
	}
	return f
}

// revoke ends a sign-in at the issuer, as far as that can be done.
func (s *Service) revoke(ctx context.Context, ch *realm.Channel, refresh realm.Secret) {
	if refresh == "" {
		return
	}
	if err := s.tryRevoke(ctx, ch, refresh); err != nil {
		s.log.WarnContext(ctx, "a sign-in that is of no more use was not revoked at the provider", "error", err)
		notice(ctx, "A sign-in that is of no more use could not be revoked at the provider, and stays valid there: "+realm.AsError(told(err)).Message)
	}
}

// tryRevoke is revoke, once, for whoever tells of a failure by itself.
func (s *Service) tryRevoke(ctx context.Context, ch *realm.Channel, refresh realm.Secret) error {
	ctx, cancel := backstop(ctx, askTime)
	defer cancel()
	return s.client(ch).Revoke(ctx, refresh)
}
