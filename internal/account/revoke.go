package account

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"realms/internal/realm"
	"realms/internal/store"
)

// TokenInfo is a token as a list shows it.
type TokenInfo struct {
	realm.Token
	User       string
	GroupNames []string // nil: its user's
}

// TokenRef says which token is meant.
type TokenRef struct {
	// Text is its id, its whole text, or, among tokens that are not revoked, its
	// hint or name.
	Text string
	User string // its owner's name; empty: anybody's
}

// RevokeToken ends a token. Every process refuses it within a second; open
// streams end by themselves. A token that was revoked already stays as it is.
func (x Inner) RevokeToken(ctx context.Context, ref TokenRef) (*realm.Token, []store.Mutation, error) {
	t, err := x.findToken(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	live, err := x.Repos.Tokens.Revoke(ctx, t.ID, x.Now)
	if err != nil {
		return nil, nil, fmt.Errorf("revoke token: %w", err)
	}
	if !live {
		return &t.Token, nil, nil
	}
	t.RevokedAt = x.Now
	done, err := x.record(ctx, store.Mutation{
		Verb: "revoke", Kind: store.KindToken, ID: t.ID, Name: t.Name,
		Fields: []store.FieldChange{{Field: "user", Before: t.User, After: t.User}, {Field: "hint", Before: t.Hint, After: t.Hint}},
	})
	return &t.Token, done, err
}

func (x Inner) findToken(ctx context.Context, ref TokenRef) (*TokenInfo, error) {
	list, err := ReadTokens(ctx, x.Repos, ref.User)
	if err != nil {
		return nil, err
	}
	text := strings.TrimSpace(ref.Text)
	id, _ := realm.ParseID(text)
	hash := HashToken(text)
	if i := slices.IndexFunc(list, func(t TokenInfo) bool { return t.ID == id || t.Hash == hash }); i >= 0 {
		return &list[i], nil
	}
	var fits []*TokenInfo
	for i, t := range list {
		if t.RevokedAt.IsZero() && (t.Name == text || t.Hint == text) {
			fits = append(fits, &list[i])
		}
	}
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0: // the text is not repeated: it may be a token
		return nil, &realm.Error{Code: realm.CodeNotFound, Field: "token", Message: "No token that is not revoked has this id, hint or name."}
	}
	return nil, conflict("token", "%d tokens fit: name one by its id, %s.", len(fits), describe(fits))
}

func describe(tokens []*TokenInfo) string {
	const most = 5
	var all []string
	for _, t := range tokens[:min(len(tokens), most)] {
		all = append(all, fmt.Sprintf("%s (%s, %q of %q)", t.ID, t.Hint, t.Name, t.User))
	}
	if more := len(tokens) - most; more > 0 {
		all = append(all, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(all, ", ")
}

// ReadTokens is the tokens of a user, or everybody's if it is empty, oldest
// first, over a pool, a view or a transaction.
func ReadTokens(ctx context.Context, r store.Repos, user string) ([]TokenInfo, error) {
	names, err := groupNames(ctx, r)
	if err != nil {
		return nil, err
	}
	users, err := r.Users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	owners := make(map[realm.ID]string, len(users))
	for _, u := range users {
		if user == "" || u.Name == user {
			owners[u.ID] = u.Name
		}
	}
	if user != "" && len(owners) == 0 {
		return nil, noSuch(store.ErrNotFound, "user", "user", user)
	}
	tokens, err := r.Tokens.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the tokens: %w", err)
	}
	list := make([]TokenInfo, 0, len(tokens))
	for _, t := range tokens {
		if owner, ok := owners[t.UserID]; ok {
			list = append(list, TokenInfo{Token: *t, User: owner, GroupNames: namesOf(t.Groups, names)})
		}
	}
	// Ids follow the clock of whoever minted them, which is not always ours.
	slices.SortStableFunc(list, func(a, b TokenInfo) int { return a.CreatedAt.Compare(b.CreatedAt) })
	return list, nil
}

// ListTokens is the tokens of a user, or everybody's if it is empty, oldest
// first, revoked ones included.
func (s *Service) ListTokens(ctx context.Context, user string) ([]TokenInfo, error) {
	var list []TokenInfo
	err := s.store.View(ctx, func(r store.Repos) (err error) {
		list, err = ReadTokens(ctx, r, user)
		return err
	})
	return list, err
}

// RevokeToken is Inner.RevokeToken in a transaction of its own.
func (s *Service) RevokeToken(ctx context.Context, actor string, ref TokenRef) (*realm.Token, error) {
	var t *realm.Token
	_, err := s.edit(ctx, actor, func(x Inner) (done []store.Mutation, err error) {
		t, done, err = x.RevokeToken(ctx, ref)
		return done, err
	})
	return t, err
}
