package codex

import (
	"context"
	"errors"
	"fmt"

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
	old, err := s.enter(ctx, in, a)
	if err != nil {
		if realm.AsError(err).Code == realm.CodeConflict { // nobody will use them
			s.revoke(ctx, in.credential.Endpoint.Channel, a.Tokens.Refresh)
		}
		return nil, err
	}
	e := s.entry(a.Credential)
	e.adopt(a, false)
	s.log.InfoContext(ctx, "codex account signed in", "credential", a.Credential, "how", in.how)
	if old != nil && in.how != howImport { // an imported one may be of the same sign-in
		s.revoke(ctx, in.credential.Endpoint.Channel, old.Tokens.Refresh)
	}
	if err := s.admit(ctx, in.actor, in.credential, e.view.Load().identity); err != nil {
		return nil, err
	}
	if err := s.askUsage(ctx, e, in.credential); err != nil {
		s.log.InfoContext(ctx, "usage of a codex account not known yet", "credential", a.Credential, "error", err)
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
	now := s.now()
	return &realm.CodexAccount{
		Credential: in.credential.ID, AccountID: claims.AccountID, UserID: claims.UserID, Email: claims.Email, Plan: claims.Plan,
		Tokens: in.tokens, ExpiresAt: claims.ExpiresAt, SignedInAt: now, RefreshedAt: now,
	}, nil
}

// enter puts an account in the place of the one that was there, which it gives; an
// account of somebody else's only where that was asked for.
func (s *Service) enter(ctx context.Context, in arrival, a *realm.CodexAccount) (old *realm.CodexAccount, err error) {
	err = s.tx(ctx, func(r store.Repos) error {
		cr, err := credential(ctx, r, in.credential.ID)
		if err != nil {
			return err
		}
		old, err = r.CodexAccounts.Get(ctx, cr.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return fmt.Errorf("read the account: %w", err)
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
		return r.Record(ctx, in.actor, store.Mutation{
			Verb: "signed_in", Kind: store.KindCodexAccount, ID: cr.ID, Name: fullName(cr), Fields: signedInFields(in, old, a),
		})
	})
	return old, err
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
	ctx, cancel := backstop(ctx, askTime)
	defer cancel()
	if err := s.client(ch).Revoke(ctx, refresh); err != nil {
		s.log.WarnContext(ctx, "a sign-in that is of no more use was not revoked at the provider", "error", err)
	}
}
