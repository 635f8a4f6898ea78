package account

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

// Options of New.
type Options struct {
	Store *store.Store
	Now   func() time.Time // nil: time.Now
	Log   *slog.Logger     // nil: nothing is logged
}

// Service recognises tokens and holds the verbs about tokens and users. It is
// safe for concurrent use.
type Service struct {
	store *store.Store
	now   func() time.Time
	log   *slog.Logger
	// find reads a token and its user; a nil token means that there is none.
	find func(context.Context, realm.TokenHash) (*realm.Token, *realm.User, error)

	known  *known
	misses *misses

	applying sync.Mutex // one reading of changed rows at a time, so the last one read is the last one put
	loaded   bool       // guarded by applying
}

// New makes a service that knows no token until it is loaded or asked.
func New(o Options) *Service {
	s := &Service{store: o.Store, now: o.Now, log: o.Log}
	if s.now == nil {
		s.now = time.Now
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.find = s.findInStore
	s.known, s.misses = newKnown(), newMisses(s.now)
	return s
}

// Recognise finds whose a token is. A token that is known costs a hash and a
// look-up, allocates nothing and asks nobody.
//
// The error is a *realm.Error: CodeUnauthenticated, or CodeUnavailable when the
// store had to be asked and did not answer. It never carries the token.
func (s *Service) Recognise(ctx context.Context, token string) (*realm.Principal, error) {
	if token == "" {
		return nil, refuse(refusedMissing)
	}
	if hasTokenPrefix(token) && !ValidChecksum(token) {
		return nil, refuse(refusedMistyped)
	}
	hash := HashToken(token)
	p := s.known.get(&hash)
	if p == nil {
		var err error
		if p, err = s.ask(ctx, token, hash); err != nil {
			return nil, err
		}
	}
	if !p.ExpiresAt.IsZero() && !s.now().Before(p.ExpiresAt) {
		return nil, refuseExpired(p.ExpiresAt)
	}
	return p, nil
}

func (s *Service) ask(ctx context.Context, token string, hash realm.TokenHash) (*realm.Principal, error) {
	if checkImported(token) != nil {
		return nil, refuse(refusedUnknown) // no stored token has such a shape
	}
	a := s.misses.ask(ctx, hash, func(ctx context.Context) answer { return s.question(ctx, hash) })
	switch {
	case a.err != nil:
		return nil, unavailable(a.err)
	case a.reason != "":
		return nil, refuse(a.reason)
	}
	return a.principal, nil
}

// question reads a token from the store and, if nothing changed meanwhile, keeps
// it. If something did, this request is answered by what was so when it asked,
// and the next one asks again.
func (s *Service) question(ctx context.Context, hash realm.TokenHash) answer {
	generation := s.known.current()
	token, user, err := s.find(ctx, hash)
	if err != nil {
		return answer{err: err}
	}
	if token == nil {
		return answer{reason: refusedUnknown}
	}
	p, reason := principal(token, user)
	if reason != "" {
		return answer{reason: reason}
	}
	s.known.publish(generation, entry{hash, p})
	return answer{principal: p}
}

func (s *Service) findInStore(ctx context.Context, hash realm.TokenHash) (*realm.Token, *realm.User, error) {
	r := s.store.Read()
	token, err := r.Tokens.ByHash(ctx, hash)
	if errors.Is(err, store.ErrNotFound) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("read token: %w", err)
	}
	user, err := r.Users.Get(ctx, token.UserID)
	if err != nil {
		return nil, nil, fmt.Errorf("read the token's user: %w", err)
	}
	return token, user, nil
}

// principal is what a token and its user give together, or why they give nothing.
func principal(t *realm.Token, u *realm.User) (*realm.Principal, refusal) {
	switch {
	case !t.RevokedAt.IsZero():
		return nil, refusedRevoked
	case !u.Enabled:
		return nil, refusedDisabled
	}
	p := &realm.Principal{
		TokenID: t.ID, UserID: u.ID, Role: u.Role,
		Groups: effectiveGroups(t.Groups, u.Groups), Networks: t.Networks, ExpiresAt: t.ExpiresAt,
	}
	if t.Models != nil {
		p.Models = make(map[string]struct{}, len(t.Models))
		for _, m := range t.Models {
			p.Models[m] = struct{}{}
		}
	}
	return p, ""
}

// effectiveGroups is the token's groups, in its order, that its user has too; a
// token that lists none has all of its user's.
func effectiveGroups(token, user []realm.ID) []realm.ID {
	if token == nil {
		return user
	}
	has := make(map[realm.ID]bool, len(user))
	for _, g := range user {
		has[g] = true
	}
	groups := make([]realm.ID, 0, len(token))
	for _, g := range token {
		if has[g] {
			groups = append(groups, g)
			has[g] = false // once
		}
	}
	return groups
}
