package account

import (
	"context"
	"errors"
	"fmt"

	"realms/internal/realm"
	"realms/internal/store"
)

// Load reads every token and user anew. When it fails, what was known stays.
func (s *Service) Load(ctx context.Context) error {
	s.applying.Lock()
	defer s.applying.Unlock()
	s.known.begin()
	var entries []entry
	err := s.store.View(ctx, func(r store.Repos) error {
		users, err := r.Users.List(ctx)
		if err != nil {
			return fmt.Errorf("read the users: %w", err)
		}
		tokens, err := r.Tokens.List(ctx)
		if err != nil {
			return fmt.Errorf("read the tokens: %w", err)
		}
		entries = usable(tokens, users)
		return nil
	})
	if err != nil {
		return fmt.Errorf("load the tokens: %w", err)
	}
	s.known.load(entries)
	s.loaded = true
	return nil
}

func usable(tokens []*realm.Token, users []*realm.User) []entry {
	byID := make(map[realm.ID]*realm.User, len(users))
	for _, u := range users {
		byID[u.ID] = u
	}
	entries := make([]entry, 0, len(tokens))
	for _, t := range tokens {
		u := byID[t.UserID]
		if u == nil {
			continue
		}
		if p, reason := principal(t, u); reason == "" {
			entries = append(entries, entry{t.Hash, p})
		}
	}
	return entries
}

// Apply reads the changed tokens and users again. The change feed calls it; what
// it could not read comes again.
func (s *Service) Apply(ctx context.Context, changes []store.Change) error {
	tokens, users := touched(changes)
	if len(tokens)+len(users) == 0 {
		return nil
	}
	s.applying.Lock()
	defer s.applying.Unlock()
	s.known.begin()
	for id := range users {
		if err := s.renewUser(ctx, id); err != nil {
			return err
		}
	}
	for id := range tokens {
		if err := s.renewToken(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func touched(changes []store.Change) (tokens, users map[realm.ID]struct{}) {
	tokens, users = make(map[realm.ID]struct{}), make(map[realm.ID]struct{})
	for _, c := range changes {
		switch c.Kind {
		case store.KindToken:
			tokens[c.ID] = struct{}{}
		case store.KindUser:
			users[c.ID] = struct{}{}
		}
	}
	return tokens, users
}

func (s *Service) renewUser(ctx context.Context, id realm.ID) error {
	var entries []entry
	err := s.store.View(ctx, func(r store.Repos) error {
		u, err := r.Users.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read user: %w", err)
		}
		tokens, err := r.Tokens.ByUser(ctx, id)
		if err != nil {
			return fmt.Errorf("read the user's tokens: %w", err)
		}
		entries = usable(tokens, []*realm.User{u})
		return nil
	})
	if err != nil {
		return err
	}
	s.known.set(id, entries)
	return nil
}

func (s *Service) renewToken(ctx context.Context, id realm.ID) error {
	var e *entry
	err := s.store.View(ctx, func(r store.Repos) error {
		t, err := r.Tokens.Get(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read token: %w", err)
		}
		u, err := r.Users.Get(ctx, t.UserID)
		if err != nil {
			return fmt.Errorf("read the token's user: %w", err)
		}
		if p, reason := principal(t, u); reason == "" {
			e = &entry{t.Hash, p}
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case e == nil:
		s.known.remove(id)
	default:
		s.known.replace(*e)
	}
	return nil
}

// renew does at once what the change feed would do a moment later, where tokens
// are recognised at all: a verb of this process shows when it returns.
func (s *Service) renew(ctx context.Context, done []store.Mutation) {
	s.applying.Lock()
	loaded := s.loaded
	s.applying.Unlock()
	if !loaded {
		return
	}
	changes := make([]store.Change, 0, len(done))
	for _, m := range done {
		changes = append(changes, store.Change{Kind: m.Kind, ID: m.ID})
	}
	if err := s.Apply(ctx, changes); err != nil {
		s.log.WarnContext(ctx, "tokens not renewed at once; the change feed will", "error", err)
	}
}
