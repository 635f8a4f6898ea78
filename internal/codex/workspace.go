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

// askTime bounds one question to the provider that is no renewal.
const askTime = 10 * time.Second

// recheck looks at the workspace after this process has renewed an account. It is
// done once the tokens are in use: what an account's workspace is bound to does not
// change from one day to the next, and nobody should wait for it.
func (s *Service) recheck(e *entry) {
	e.mu.Lock()
	version := e.unchecked
	e.unchecked = 0
	e.mu.Unlock()
	v := e.view.Load()
	if version == 0 || v == nil || v.account.Version != version {
		return
	}
	ctx, cancel := context.WithTimeout(s.base, askTime)
	defer cancel()
	err := s.client(s.channel(e)).Workspace(ctx, v.identity)
	switch {
	case err == nil || ctx.Err() != nil:
	case unusable(err):
		s.log.WarnContext(ctx, "codex account cannot be used any more", "credential", s.name(e), "error", err)
		if err := s.signOut(ctx, e, asAuth(err).Message); err != nil {
			s.log.WarnContext(ctx, "credential whose account cannot be used stays in use", "credential", s.name(e), "error", err)
		}
	default:
		s.log.InfoContext(ctx, "workspace of a codex account not checked", "credential", s.name(e), "error", err)
	}
}

// unusable tells whether the provider's word about a workspace is one that only
// another sign-in can change.
func unusable(err error) bool {
	p := asAuth(err)
	return p != nil && (p.Permanent || p.Code == codexauth.CodeWorkspaceMissing)
}

// admit lets a credential be used whose account has just been signed in or renewed
// by somebody: after a look at its workspace, since an account of another region
// must not be sent to the ordinary address. Until that is known it stays out. What is
// said of one sign-in does not hold for another that took its place meanwhile.
func (s *Service) admit(ctx context.Context, actor string, cr *realm.Credential, a *realm.CodexAccount) error {
	ask, cancel := context.WithTimeout(ctx, askTime)
	err := s.client(cr.Endpoint.Channel).Workspace(ask, newView(a).identity)
	cancel()
	write, done := backstop(ctx, s.writeTime)
	defer done()
	put := s.tx(write, func(r store.Repos) error {
		now, gone := r.CodexAccounts.Shown(write, cr.ID)
		switch {
		case errors.Is(gone, store.ErrNotFound), gone == nil && (!now.SignedInAt.Equal(a.SignedInAt) || !sameAccount(now, a)):
			return &realm.Error{Code: realm.CodeConflict, Message: "Another sign-in has taken the place of this one, or the account was removed."}
		case gone != nil:
			return fmt.Errorf("read the account: %w", gone)
		}
		x := s.inner(r, actor)
		if err == nil {
			_, err := x.CredentialSignedIn(write, cr.ID)
			return err
		}
		_, err := x.CredentialSignedOut(write, cr.ID, outReason(cr, err))
		return err
	})
	if put != nil {
		return errors.Join(err, fmt.Errorf("set the credential's state: %w", put))
	}
	if err != nil && !unusable(err) {
		return &realm.Error{Code: realm.CodeUnavailable, Reason: "workspace_unchecked", Err: err, Message: fmt.Sprintf(
			"The account is signed in and kept out of use, because its workspace could not be looked at: %s", realm.AsError(told(err)).Message)}
	}
	return told(err)
}

// outReason is what operators read of an account that is signed in and not used.
func outReason(cr *realm.Credential, err error) string {
	if unusable(err) {
		return catalog.ReasonSignIn(asAuth(err).Message, cr.Endpoint.Channel.Name, cr.Name)
	}
	return unchecked(cr)
}

// unchecked is the reason of a credential whose account's workspace is not known. It
// is one that asks for a sign-in: no other verb may put such a credential in use.
func unchecked(cr *realm.Credential) string {
	return catalog.ReasonSignIn("its workspace was not checked; try codex refresh first, or else", cr.Endpoint.Channel.Name, cr.Name)
}
