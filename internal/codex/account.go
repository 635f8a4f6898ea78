package codex

import (
	"context"
	"errors"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
)

// Account is a credential of a codex_oauth channel, with the account that is signed
// in for it, if any. It holds no token.
type Account struct {
	Channel      string                `json:"channel"`
	Credential   string                `json:"credential"` // by name
	CredentialID realm.ID              `json:"credential_id"`
	Enabled      bool                  `json:"enabled"`
	State        realm.CredentialState `json:"state"`
	Reason       string                `json:"reason,omitempty"` // of the state

	SignedIn     bool      `json:"signed_in"` // false: what follows is empty
	AccountID    string    `json:"account_id,omitempty"`
	UserID       string    `json:"user_id,omitempty"`
	Email        string    `json:"email,omitempty"`
	Plan         string    `json:"plan,omitempty"`
	SignedInAt   time.Time `json:"signed_in_at,omitzero"`
	RefreshedAt  time.Time `json:"refreshed_at,omitzero"`
	ExpiresAt    time.Time `json:"expires_at,omitzero"` // of the access token; zero: it does not say
	RefreshError string    `json:"refresh_error,omitempty"`
	Limits       Limits    `json:"limits,omitzero"`
}

// Limits are realm.CodexLimits as they are shown.
type Limits struct {
	Plan    string    `json:"plan,omitempty"`
	Windows []Window  `json:"windows,omitempty"`
	At      time.Time `json:"at,omitzero"`
}

// Window is a realm.CodexWindow as it is shown.
type Window struct {
	Limit       string    `json:"limit,omitempty"` // the family; empty: the account's
	Seconds     int64     `json:"seconds"`         // how long it is
	UsedPercent float64   `json:"used_percent"`
	ResetsAt    time.Time `json:"resets_at,omitzero"`
}

// Length is how long the window is.
func (w *Window) Length() time.Duration { return time.Duration(w.Seconds) * time.Second }

func newAccount(cr *realm.Credential, a *realm.CodexAccount, l realm.CodexLimits) *Account {
	shown := &Account{
		Channel: cr.Endpoint.Channel.Name, Credential: cr.Name, CredentialID: cr.ID,
		Enabled: cr.Enabled && cr.Endpoint.Channel.Enabled, State: cr.State, Reason: cr.StateReason,
	}
	if a == nil {
		return shown
	}
	shown.SignedIn = true
	shown.AccountID, shown.UserID, shown.Email, shown.Plan = a.AccountID, a.UserID, a.Email, a.Plan
	shown.SignedInAt, shown.RefreshedAt, shown.ExpiresAt = a.SignedInAt, a.RefreshedAt, a.ExpiresAt
	shown.RefreshError = a.RefreshError
	if a.Limits.At.After(l.At) {
		l = a.Limits
		l.Bound() // who wrote it may not have known that
	}
	shown.Limits = Limits{Plan: l.Plan, At: l.At}
	for _, w := range l.Windows {
		shown.Limits.Windows = append(shown.Limits.Windows, Window{w.Limit, int64(w.Length / time.Second), w.UsedPercent, w.ResetsAt})
	}
	return shown
}

// limitsOf is what this process knows of an account's plan.
func (s *Service) limitsOf(id realm.ID) realm.CodexLimits {
	e := s.known(id)
	if e == nil {
		return realm.CodexLimits{}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.limits
}

// List is every credential of the codex_oauth channels, by channel, endpoint and
// name, whether an account is signed in for it or not.
func (s *Service) List(ctx context.Context) ([]*Account, error) {
	var state *catalog.State
	accounts := make(map[realm.ID]*realm.CodexAccount)
	err := s.o.Store.View(ctx, func(r store.Repos) (err error) {
		if state, err = catalog.Read(ctx, r); err != nil {
			return err
		}
		rows, err := r.CodexAccounts.List(ctx)
		for _, a := range rows {
			accounts[a.Credential] = a
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	list := []*Account{}
	for _, ch := range state.Channels {
		if ch.Type != realm.CodexOAuth {
			continue
		}
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				list = append(list, newAccount(cr, accounts[cr.ID], s.limitsOf(cr.ID)))
			}
		}
	}
	return list, nil
}

// show is one account of List.
func (s *Service) show(ctx context.Context, id realm.ID) (*Account, error) {
	r := s.o.Store.Read()
	cr, err := credential(ctx, r, id)
	if err != nil {
		return nil, err
	}
	a, err := r.CodexAccounts.Shown(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return newAccount(cr, nil, realm.CodexLimits{}), nil
	}
	if err != nil {
		return nil, err
	}
	return newAccount(cr, a, s.limitsOf(id)), nil
}

// find is a credential by names; an empty one means the channel's only one.
func (s *Service) find(ctx context.Context, channel, name string) (cr *realm.Credential, err error) {
	err = s.o.Store.View(ctx, func(r store.Repos) error {
		cr, err = s.inner(r, "").CodexCredential(ctx, channel, name)
		return err
	})
	if err == nil {
		s.entry(cr.ID).last.Store(cr)
	}
	return cr, err
}
