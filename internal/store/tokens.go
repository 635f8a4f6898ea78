package store

import (
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
)

// Tokens is the table of API tokens.
type Tokens struct{ h handle }

const (
	selectTokens = "SELECT id, user_id, name, hash, hint, group_ids, models, networks, expires_at, revoked_at, created_at FROM tokens"
	insertToken  = "INSERT INTO tokens (id, user_id, name, hash, hint, group_ids, models, networks, expires_at, revoked_at, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	updateToken  = "UPDATE tokens SET name = ?, group_ids = ?, models = ?, networks = ?, expires_at = ? WHERE id = ?"
	revokeToken  = "UPDATE tokens SET revoked_at = ? WHERE id = ? AND revoked_at = 0"
	deleteToken  = "DELETE FROM tokens WHERE id = ?"
)

func readToken(row scanner) (*realm.Token, error) {
	var t realm.Token
	var hash string
	var groups, models, networks sql.NullString
	var expires, revoked, created int64
	err := row.Scan(&t.ID, &t.UserID, &t.Name, &hash, &t.Hint, &groups, &models, &networks, &expires, &revoked, &created)
	if err != nil {
		return nil, err
	}
	t.ExpiresAt, t.RevokedAt, t.CreatedAt = fromMillis(expires), fromMillis(revoked), fromMillis(created)
	if n, err := hex.Decode(t.Hash[:], []byte(hash)); err != nil || n != len(t.Hash) {
		return nil, fmt.Errorf("token %s has a hash that is none", t.ID)
	}
	return &t, errors.Join(fromJSON("group_ids", groups, &t.Groups), fromJSON("models", models, &t.Models), fromJSON("networks", networks, &t.Networks))
}

// tokenLimits is what narrows a token, as columns.
func tokenLimits(t *realm.Token) (groups, models, networks sql.NullString, err error) {
	groups, err1 := toJSON("groups", t.Groups, t.Groups == nil)
	models, err2 := toJSON("models", t.Models, t.Models == nil)
	networks, err3 := toJSON("networks", t.Networks, t.Networks == nil)
	return groups, models, networks, errors.Join(err1, err2, err3, trimLabel("name", &t.Name))
}

// List is every token, oldest first.
func (r Tokens) List(ctx context.Context) ([]*realm.Token, error) {
	return list(ctx, r.h, readToken, selectTokens+" ORDER BY id")
}

// ByUser is a user's tokens, oldest first.
func (r Tokens) ByUser(ctx context.Context, user realm.ID) ([]*realm.Token, error) {
	return list(ctx, r.h, readToken, selectTokens+" WHERE user_id = ? ORDER BY id", user)
}

// Get finds a token by id.
func (r Tokens) Get(ctx context.Context, id realm.ID) (*realm.Token, error) {
	return one(ctx, r.h, readToken, selectTokens+" WHERE id = ?", id)
}

// ByHash finds a token by the hash of its text.
func (r Tokens) ByHash(ctx context.Context, hash realm.TokenHash) (*realm.Token, error) {
	return one(ctx, r.h, readToken, selectTokens+" WHERE hash = ?", hex.EncodeToString(hash[:]))
}

// Insert adds a token. ErrDuplicate: the hash is known. ErrReference: there is no
// such user.
func (r Tokens) Insert(ctx context.Context, t *realm.Token) error {
	groups, models, networks, err := tokenLimits(t)
	if err != nil {
		return err
	}
	return r.h.insert(ctx, &t.ID, insertToken, t.UserID, t.Name, hex.EncodeToString(t.Hash[:]), clip(t.Hint, maxHint),
		groups, models, networks, millis(t.ExpiresAt), millis(t.RevokedAt), millis(t.CreatedAt))
}

// maxHint is the characters of a hint that are kept.
const maxHint = 40

// Update replaces name, groups, models, networks and expiry of t.ID.
func (r Tokens) Update(ctx context.Context, t *realm.Token) error {
	groups, models, networks, err := tokenLimits(t)
	if err != nil {
		return err
	}
	return r.h.execOne(ctx, updateToken, t.Name, groups, models, networks, millis(t.ExpiresAt), t.ID)
}

// Revoke ends a live token and tells whether it was live: of several who revoke
// it, one is told true.
func (r Tokens) Revoke(ctx context.Context, id realm.ID, at time.Time) (bool, error) {
	n, err := r.h.exec(ctx, revokeToken, millis(at), id)
	return n == 1, err
}

// Delete removes a token.
func (r Tokens) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteToken, id)
}
