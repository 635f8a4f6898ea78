package codex

import (
	"context"
	"errors"
	"fmt"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

// serverActor is who acts when no person does.
const serverActor = "server"

// notRenewed is about a refresh token that will never be taken again. When it was
// used before, another process may have been the one: what it got is as good.
func (s *Service) notRenewed(ctx context.Context, e *entry, n need, err error) error {
	p, look := s.o.Store.Read().CodexAccounts.Progress(ctx, e.id)
	switch {
	case look != nil && !errors.Is(look, store.ErrNotFound):
		e.lost(n.from, why(err))
		return later(look, 0)
	case look != nil:
		return s.missing(ctx, e, look)
	case p.Version != n.from:
		if err := s.reread(ctx, e); err != nil {
			return s.missing(ctx, e, err)
		}
		if v := e.view.Load(); v != nil && !v.dead(s.now()) {
			s.metrics.renewed(resultFound)
			return nil
		}
		return later(errMoved, 0)
	}
	e.lost(n.from, why(err))
	return s.markRefused(ctx, e, n, why(err))
}

// lost remembers that a version's refresh token is of no more use, so that the
// issuer is not asked about it again even if the store cannot be told.
func (e *entry) lost(version int64, why string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.gone, e.goneFor = version, why
}

func (e *entry) goneWhy(version int64) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.gone != version {
		return ""
	}
	return e.goneFor
}

// markRefused writes to the row why it cannot be renewed.
func (s *Service) markRefused(ctx context.Context, e *entry, n need, why string) error {
	write, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	err := s.tx(write, func(r store.Repos) error {
		first, err := r.CodexAccounts.Refuse(write, e.id, n.from, why)
		if err != nil || !first {
			return err
		}
		cr, err := credential(write, r, e.id)
		if err != nil {
			return err
		}
		return r.Record(write, serverActor, store.Mutation{
			Verb: "refused", Kind: store.KindCodexAccount, ID: e.id, Name: fullName(cr),
			Fields: []store.FieldChange{{Field: "refresh_error", After: why}},
		})
	})
	if err != nil {
		return later(fmt.Errorf("store that the account was refused: %w", err), 0)
	}
	s.metrics.renewed(resultRefused)
	s.log.WarnContext(ctx, "codex account cannot be renewed: it has to be signed in again", "credential", s.name(e), "reason", why)
	if err := s.reread(write, e); err != nil {
		return s.missing(write, e, err)
	}
	return s.endRefused(write, e, n, why)
}

// endRefused ends a flight for tokens that cannot be renewed. As long as the access
// token serves, requests go on with it; then the credential goes out of use.
func (s *Service) endRefused(ctx context.Context, e *entry, n need, why string) error {
	v := e.view.Load()
	if n.reason == codexauth.ReasonUnauthorized || v == nil || v.dead(s.now()) {
		if err := s.signOut(ctx, e, why); err != nil {
			s.log.WarnContext(ctx, "credential whose account was refused stays in use", "credential", s.name(e), "error", err)
		}
	}
	if v != nil && v.account.RefreshError == "" { // the row was read before it was marked
		if err := s.reread(ctx, e); err != nil {
			return s.missing(ctx, e, err)
		}
	}
	return refused(why)
}

// signOut keeps requests from a credential until somebody signs in; why in few
// words, empty where no account is there at all.
func (s *Service) signOut(ctx context.Context, e *entry, why string) error {
	ctx, cancel := backstop(ctx, s.writeTime)
	defer cancel()
	return s.tx(ctx, func(r store.Repos) error {
		cr, err := credential(ctx, r, e.id)
		if err != nil {
			return err
		}
		reason := ""
		if why != "" {
			reason = catalog.ReasonSignIn(why, cr.Endpoint.Channel.Name, cr.Name)
		}
		if cr.State != realm.CredentialOK && catalog.NeedsSignIn(cr) && why == "" {
			return nil // it says more than we would
		}
		_, err = s.inner(r, serverActor).CredentialSignedOut(ctx, e.id, reason)
		return err
	})
}

// Refused is for an account that the backend refused for good when it was shown the
// tokens of a version: its credential goes out of use until somebody signs in. When
// the tokens have become others since, by a sign-in or without, nothing happens: the
// refusal was not about these. The reason is shown to operators.
func (s *Service) Refused(ctx context.Context, cr *realm.Credential, reason string, version int64) error {
	return s.tx(ctx, func(r store.Repos) error {
		a, err := r.CodexAccounts.Shown(ctx, cr.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // then it is out of use for that
		}
		if err != nil {
			return fmt.Errorf("read the account: %w", err)
		}
		if a.Version != version {
			return nil
		}
		now, err := credential(ctx, r, cr.ID)
		if err != nil || now.State != realm.CredentialOK {
			return err
		}
		_, err = s.inner(r, serverActor).CredentialSignedOut(ctx, cr.ID, catalog.ReasonSignIn(reason, now.Endpoint.Channel.Name, now.Name))
		return err
	})
}

// tx is a transaction that changes things; what it changes in the catalogue is
// published without waiting for the change feed.
func (s *Service) tx(ctx context.Context, fn func(r store.Repos) error) error {
	var version int64
	err := s.o.Store.Tx(ctx, func(r store.Repos) (err error) {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		if err := fn(r); err != nil {
			return err
		}
		version, err = r.Changes.Version(ctx)
		return err
	})
	if err != nil {
		return err
	}
	if s.o.Catalog.Snapshot().Version > 0 { // where none is in use, none is made
		err := s.o.Catalog.Apply(ctx, []store.Change{{Version: version, Kind: store.KindCredential}})
		if err != nil {
			s.log.WarnContext(ctx, "catalogue not republished at once; the change feed will", "error", err)
		}
	}
	return nil
}

func (s *Service) inner(r store.Repos, actor string) catalog.Inner {
	return catalog.Inner{Repos: r, Actor: actor, Now: s.now()}
}

// credential reads a credential with its endpoint and channel.
func credential(ctx context.Context, r store.Repos, id realm.ID) (*realm.Credential, error) {
	cr, err := r.Credentials.Get(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read the credential: %w", err)
	}
	if cr.Endpoint, err = r.Endpoints.Get(ctx, cr.EndpointID); err != nil {
		return nil, fmt.Errorf("read its endpoint: %w", err)
	}
	if cr.Endpoint.Channel, err = r.Channels.Get(ctx, cr.Endpoint.ChannelID); err != nil {
		return nil, fmt.Errorf("read its channel: %w", err)
	}
	return cr, nil
}

// commandName is a credential as one types it for a command.
func commandName(cr *realm.Credential) string {
	return catalog.AccountArg(cr.Endpoint.Channel.Name, cr.Name)
}

// fullName is a credential as lists name it.
func fullName(cr *realm.Credential) string { return cr.Endpoint.Channel.Name + "/" + cr.Name }
