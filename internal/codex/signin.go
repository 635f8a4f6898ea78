package codex

import (
	"context"
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/upstream/codexauth"
)

// SignInKind says how somebody signs in.
type SignInKind string

// The kinds of sign-ins.
const (
	// SignInDevice: they open URL, type UserCode, and PollDevice sees it.
	SignInDevice SignInKind = "device"
	// SignInBrowser: they open URL and bring back, for FinishBrowser, the address at
	// which their browser ends.
	SignInBrowser SignInKind = "browser"
)

// browserLife is how long a sign-in by browser may take. A device's is the
// provider's.
const browserLife = 30 * time.Minute

// Target is what an account is signed in for.
type Target struct {
	Channel    string
	Credential string // empty: the channel's only one
	// Replace lets another account take the place of the one that is there.
	Replace bool
}

// SignIn is one that was begun: for whoever began it, for one credential, once.
type SignIn struct {
	State      string // what names it; PollDevice wants it
	Kind       SignInKind
	Channel    string
	Credential string
	URL        string
	UserCode   string        // empty: a browser's needs none
	Interval   time.Duration // between two calls of PollDevice
	ExpiresAt  time.Time
}

// StartDevice begins a sign-in by device code.
func (s *Service) StartDevice(ctx context.Context, actor string, to Target) (*SignIn, error) {
	cr, err := s.begin(ctx, to)
	if err != nil {
		return nil, err
	}
	d, err := s.client(cr.Endpoint.Channel).StartDevice(ctx)
	if err != nil {
		return nil, told(err)
	}
	in := &SignIn{Kind: SignInDevice, URL: d.VerifyURL, UserCode: d.UserCode, Interval: d.Interval, ExpiresAt: d.ExpiresAt}
	return in, s.record(ctx, actor, cr, to, in, d.ID)
}

// StartBrowser begins a sign-in by browser.
func (s *Service) StartBrowser(ctx context.Context, actor string, to Target) (*SignIn, error) {
	cr, err := s.begin(ctx, to)
	if err != nil {
		return nil, err
	}
	pkce, err := codexauth.NewPKCE()
	if err != nil {
		return nil, err
	}
	in := &SignIn{Kind: SignInBrowser, ExpiresAt: s.now().Add(browserLife)}
	if err := s.record(ctx, actor, cr, to, in, pkce.Verifier); err != nil {
		return nil, err
	}
	in.URL = s.client(cr.Endpoint.Channel).AuthorizeURL(in.State, pkce, codexauth.RedirectURI)
	return in, nil
}

func (s *Service) begin(ctx context.Context, to Target) (*realm.Credential, error) {
	if err := s.requireAccepted(ctx); err != nil {
		return nil, err
	}
	return s.find(ctx, to.Channel, to.Credential)
}

// record gives a sign-in its state and stores it.
func (s *Service) record(ctx context.Context, actor string, cr *realm.Credential, to Target, in *SignIn, secret realm.Secret) error {
	state, err := codexauth.NewState()
	if err != nil {
		return err
	}
	in.State, in.Channel, in.Credential = state, cr.Endpoint.Channel.Name, cr.Name
	row := &store.CodexSignIn{
		State: realm.Secret(state), Kind: string(in.Kind), Actor: actor, Credential: cr.ID, Replace: to.Replace,
		UserCode: in.UserCode, Secret: secret, ExpiresAt: in.ExpiresAt,
	}
	err = s.o.Store.Tx(ctx, func(r store.Repos) error {
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		if err := r.CodexSignIns.Insert(ctx, row); err != nil {
			return err
		}
		return r.Record(ctx, actor, begun(cr, string(in.Kind)))
	})
	if err != nil {
		return fmt.Errorf("store the sign-in: %w", err)
	}
	return nil
}

// begun is what the audit has of a sign-in before anything is asked of the issuer.
func begun(cr *realm.Credential, how string) store.Mutation {
	return store.Mutation{
		Verb: "sign_in_begun", Kind: store.KindCodexAccount, ID: cr.ID, Name: fullName(cr),
		Fields: []store.FieldChange{{Field: "kind", After: how}},
	}
}

// PollDevice ends a sign-in by device code that was confirmed; ErrPending as long
// as it was not.
func (s *Service) PollDevice(ctx context.Context, actor, state string) (*Account, error) {
	row, cr, err := s.open(ctx, SignInDevice, actor, realm.Secret(state))
	if err != nil {
		return nil, err
	}
	code, err := s.client(cr.Endpoint.Channel).PollDevice(ctx, row.Secret, row.UserCode)
	if errors.Is(err, codexauth.ErrPending) {
		return nil, ErrPending
	}
	if err != nil {
		return nil, told(err)
	}
	return s.finish(ctx, row, cr, *code)
}

// FinishBrowser ends a sign-in by browser; callback is the address at which the
// browser ended.
func (s *Service) FinishBrowser(ctx context.Context, actor, callback string) (*Account, error) {
	state, code, err := codexauth.ParseCallback(callback)
	if err != nil {
		return nil, err
	}
	row, cr, err := s.open(ctx, SignInBrowser, actor, realm.Secret(state))
	if err != nil {
		return nil, err
	}
	return s.finish(ctx, row, cr, codexauth.Code{Code: realm.Secret(code), Verifier: row.Secret, RedirectURI: codexauth.RedirectURI})
}

// notThisSignIn is the one answer for a state that is unknown, over, used, or
// somebody else's: nobody learns which.
func notThisSignIn() error {
	return &realm.Error{Code: realm.CodeNotFound, Field: "state", Message: "There is no such sign-in: it is over, was used, or somebody else began it. Begin another one."}
}

// open finds a sign-in that may still be ended by the actor.
func (s *Service) open(ctx context.Context, kind SignInKind, actor string, state realm.Secret) (*store.CodexSignIn, *realm.Credential, error) {
	if err := s.requireAccepted(ctx); err != nil {
		return nil, nil, err
	}
	r := s.o.Store.Read()
	row, err := r.CodexSignIns.Get(ctx, state)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, notThisSignIn()
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read the sign-in: %w", err)
	}
	if row.Actor != actor || row.Kind != string(kind) || !row.UsedAt.IsZero() || !s.now().Before(row.ExpiresAt) {
		return nil, nil, notThisSignIn()
	}
	cr, err := credential(ctx, r, row.Credential)
	if err != nil {
		return nil, nil, err
	}
	s.entry(cr.ID).last.Store(cr)
	return row, cr, nil
}

// finish takes a sign-in's only use, and turns its code into an account.
func (s *Service) finish(ctx context.Context, row *store.CodexSignIn, cr *realm.Credential, code codexauth.Code) (*Account, error) {
	var used bool
	err := s.o.Store.Tx(ctx, func(r store.Repos) (err error) {
		used, err = r.CodexSignIns.Use(ctx, row.State, row.Kind, row.Actor, s.now())
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("use the sign-in: %w", err)
	}
	if !used {
		return nil, notThisSignIn()
	}
	// What the issuer gives is not lost because somebody went away.
	ctx, cancel := seeThrough(ctx, exchangeTime+s.writeTime+2*askTime)
	defer cancel()
	tokens, err := s.client(cr.Endpoint.Channel).Exchange(ctx, code)
	if err != nil {
		return nil, told(err)
	}
	return s.take(ctx, arrival{actor: row.Actor, credential: cr, tokens: tokens.CodexTokens, replace: row.Replace, how: row.Kind})
}
