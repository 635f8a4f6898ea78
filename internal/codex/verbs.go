package codex

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

const howImport = "import"

// Enable says that the operator accepts what the use of ChatGPT accounts means.
// Nothing of this package works before.
func (s *Service) Enable(ctx context.Context, actor string) error {
	_, err := s.o.Settings.SetCodexAccepted(ctx, actor, true)
	return err
}

// Disable takes Enable back. Accounts stay signed in and are left alone.
func (s *Service) Disable(ctx context.Context, actor string) error {
	_, err := s.o.Settings.SetCodexAccepted(ctx, actor, false)
	return err
}

// Import takes over the sign-in of an auth.json of the Codex CLI. Its refresh token
// is used at once: from then on the file is of no more use to the CLI.
func (s *Service) Import(ctx context.Context, actor string, to Target, authFile []byte) (*Account, error) {
	cr, err := s.begin(ctx, to)
	if err != nil {
		return nil, err
	}
	file, err := codexauth.ParseAuthFile(authFile)
	if err != nil {
		return nil, err
	}
	if err := s.mayImport(ctx, cr, to, file); err != nil {
		return nil, err
	}
	// A store that cannot take what the issuer gives costs the file its token.
	err = s.tx(ctx, func(r store.Repos) error { return r.Record(ctx, actor, begun(cr, howImport)) })
	if err != nil {
		return nil, fmt.Errorf("write down that a sign-in was begun: %w", err)
	}
	ctx, cancel := seeThrough(ctx, exchangeTime+s.writeTime+2*askTime)
	defer cancel()
	tokens, err := s.client(cr.Endpoint.Channel).Refresh(ctx, file.Refresh, codexauth.ReasonExpiry)
	if err != nil {
		return nil, told(err)
	}
	return s.take(ctx, arrival{
		actor: actor, credential: cr, tokens: overlay(file.CodexTokens, tokens.CodexTokens), replace: to.Replace, how: howImport,
	})
}

// mayImport refuses a file of another account before its token is used up.
func (s *Service) mayImport(ctx context.Context, cr *realm.Credential, to Target, file *codexauth.AuthFile) error {
	old, err := s.o.Store.Read().CodexAccounts.Shown(ctx, cr.ID)
	if errors.Is(err, store.ErrNotFound) || to.Replace {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the account: %w", err)
	}
	its := realm.CodexAccount{AccountID: file.AccountID}
	if claims, err := codexauth.ReadClaims(file.CodexTokens); err == nil {
		its.AccountID, its.UserID = claims.AccountID, claims.UserID
	}
	if its.AccountID != "" && !sameAccount(old, &its) {
		return anotherAccount(cr)
	}
	return takenOver(cr, old, file)
}

// takenOver refuses a file that was taken over before, as its tokens are older than
// those that are here: its refresh token was used, and to use it once more would make
// the provider end the sign-in that came of it.
func takenOver(cr *realm.Credential, old *realm.CodexAccount, file *codexauth.AuthFile) error {
	claims, readable := claimsOf(file.CodexTokens)
	if !readable || claims.ExpiresAt.IsZero() || old.ExpiresAt.IsZero() || !claims.ExpiresAt.Before(old.ExpiresAt) {
		return nil
	}
	return &realm.Error{Code: realm.CodeConflict, Field: "auth_file", Reason: "taken_over", Message: fmt.Sprintf(
		"The file is older than the sign-in of %s, so it was probably taken over already, and using it again would end that sign-in.", fullName(cr))}
}

// Refresh renews an account's tokens now, and looks at its workspace again.
func (s *Service) Refresh(ctx context.Context, actor, channel, name string) (*Account, error) {
	cr, err := s.begin(ctx, Target{Channel: channel, Credential: name})
	if err != nil {
		return nil, err
	}
	e := s.entry(cr.ID)
	if err := s.reread(ctx, e); errors.Is(err, store.ErrNotFound) {
		return nil, notSignedInAt(cr)
	} else if errors.Is(err, store.ErrDamaged) {
		return nil, s.missing(ctx, e, err)
	} else if err != nil {
		return nil, err
	}
	err = s.await(ctx, e, need{from: e.version(), reason: codexauth.ReasonExpiry, force: true})
	if gone := ctx.Err(); gone != nil && (err == nil || errors.Is(err, gone)) {
		return nil, stopped(gone, err == nil)
	}
	if err != nil {
		return nil, shown(err)
	}
	v := e.view.Load()
	if v == nil {
		return nil, notSignedInAt(cr)
	}
	err = s.tx(ctx, func(r store.Repos) error {
		return r.Record(ctx, actor, store.Mutation{Verb: "refreshed", Kind: store.KindCodexAccount, ID: cr.ID, Name: fullName(cr)})
	})
	if err != nil {
		return nil, fmt.Errorf("write down that the account was refreshed: %w", err)
	}
	if err := s.admit(ctx, actor, cr, v.account); err != nil {
		return nil, err
	}
	return s.show(ctx, cr.ID)
}

// stopped is for whoever gave up while an account's tokens were to be renewed.
func stopped(cause error, renewed bool) error {
	message := "Stopped before the tokens were renewed; nothing has changed."
	if renewed {
		message = "Stopped once the tokens were renewed; whether the account's workspace can be used was not looked at."
	}
	return &realm.Error{Code: realm.CodeUnavailable, Err: cause, Message: message}
}

// shown is a flight's error for whoever ran a verb: the provider's own words, if it
// said any.
func shown(err error) error {
	if asAuth(err) != nil && !errors.Is(err, ErrRefused) {
		return told(err)
	}
	return err
}

func notSignedInAt(cr *realm.Credential) error {
	return &realm.Error{Code: realm.CodeConflict, Err: ErrNotSignedIn, Message: fmt.Sprintf(
		"No account is signed in for %s: run `realms codex login %s`.", fullName(cr), commandName(cr))}
}

// Usage asks the provider how much of an account's plan is used up.
func (s *Service) Usage(ctx context.Context, _, channel, name string) (*Account, error) {
	cr, err := s.begin(ctx, Target{Channel: channel, Credential: name})
	if err != nil {
		return nil, err
	}
	e := s.entry(cr.ID)
	err = s.askUsage(ctx, e, cr)
	if p := asAuth(err); p != nil && p.Status == http.StatusUnauthorized {
		if _, err = s.Renew(ctx, cr, realm.CodexIdentity{Version: e.version()}); err == nil {
			err = s.askUsage(ctx, e, cr)
		}
	}
	if errors.Is(err, ErrNotSignedIn) {
		return nil, notSignedInAt(cr)
	}
	if err != nil {
		return nil, shown(err)
	}
	return s.show(ctx, cr.ID)
}

// askUsage asks for an account's usage, and stores it. A refusal is not taken for one
// of the tokens: requests may go on with them all the same.
func (s *Service) askUsage(ctx context.Context, e *entry, cr *realm.Credential) error {
	id, err := s.identity(ctx, e)
	if err != nil {
		return err
	}
	limits, err := s.fetchUsage(ctx, cr, id)
	if err != nil {
		return err
	}
	e.mu.Lock()
	e.limits, e.dirty = limits, true // all there is to know, so nothing older stays
	e.mu.Unlock()
	return s.flush(ctx, e)
}

func (s *Service) fetchUsage(ctx context.Context, cr *realm.Credential, id realm.CodexIdentity) (realm.CodexLimits, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return s.client(cr.Endpoint.Channel).Usage(ctx, id)
}

// flush stores what is known of an account's plan, if anything is new.
func (s *Service) flush(ctx context.Context, e *entry) error {
	v := e.view.Load()
	e.mu.Lock()
	limits, dirty := e.limits, e.dirty
	e.dirty = false
	e.mu.Unlock()
	if !dirty || v == nil {
		return nil
	}
	err := s.o.Store.Tx(ctx, func(r store.Repos) error {
		return r.CodexAccounts.SetLimits(ctx, e.id, v.account.AccountID, limits)
	})
	if err != nil {
		e.mu.Lock()
		e.dirty = true
		e.mu.Unlock()
		return fmt.Errorf("store the limits: %w", err)
	}
	return nil
}

// Remove signs an account out: its tokens are forgotten here and, as far as that
// can be done, revoked at the provider. Its credential goes out of use. Unrevoked is
// why the provider takes the tokens still, where all else is done; nil: it does not.
func (s *Service) Remove(ctx context.Context, actor, channel, name string) (unrevoked, err error) {
	cr, err := s.find(ctx, channel, name)
	if err != nil {
		return nil, err
	}
	var old *realm.CodexAccount
	err = s.tx(ctx, func(r store.Repos) (err error) {
		// Not before: what is renewed until then is what has to be revoked.
		if old, err = known(ctx, r, cr.ID); err != nil {
			return err
		}
		if old == nil {
			return notSignedInAt(cr)
		}
		if err := r.CodexAccounts.Delete(ctx, cr.ID); err != nil {
			return err
		}
		if _, err := s.inner(r, actor).CredentialSignedOut(ctx, cr.ID, ""); err != nil {
			return err
		}
		return r.Record(ctx, actor, store.Mutation{Verb: "removed", Kind: store.KindCodexAccount, ID: cr.ID, Name: fullName(cr)})
	})
	if err != nil {
		return nil, fmt.Errorf("forget the account: %w", err)
	}
	s.forget(s.entry(cr.ID))
	if unrevoked = s.revokeOf(ctx, cr, old); unrevoked != nil {
		s.log.WarnContext(ctx, "codex account removed, but not revoked at the provider", "credential", fullName(cr), "error", unrevoked)
	}
	return unrevoked, nil
}

// revokeOf revokes the tokens of an account that was removed.
func (s *Service) revokeOf(ctx context.Context, cr *realm.Credential, old *realm.CodexAccount) error {
	if old.Tokens.Refresh == "" { // they can be forgotten all the same
		return &realm.Error{Code: realm.CodeConflict, Message: "Its tokens in the store cannot be read."}
	}
	return told(s.tryRevoke(ctx, cr.Endpoint.Channel, old.Tokens.Refresh))
}
