package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"realms/internal/realm"
)

// CodexSignIns is the table of sign-ins that were begun. A state is kept as its
// hash: who reads the table cannot end anybody's sign-in.
type CodexSignIns struct{ h handle }

// CodexSignIn is one sign-in, from its start to its only use.
type CodexSignIn struct {
	State      realm.Secret // what names it; List gives none
	Kind       string       // as the codex service calls it
	Actor      string       // who began it, and alone may end it
	Credential realm.ID
	Replace    bool         // another account may take the place of the one that is there
	UserCode   string       // empty where there is none
	Secret     realm.Secret // a PKCE verifier, or a device's id
	ExpiresAt  time.Time
	UsedAt     time.Time // zero: not yet
}

const (
	selectCodexSignIn    = "SELECT kind, actor, credential_id, replaces, user_code, secret, expires_at, used_at FROM codex_signins WHERE state = ?"
	insertCodexSignIn    = "INSERT INTO codex_signins (state, kind, actor, credential_id, replaces, user_code, secret, expires_at, used_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 0)"
	useCodexSignIn       = "UPDATE codex_signins SET used_at = ?, secret = '' WHERE state = ? AND kind = ? AND actor = ? AND used_at = 0 AND expires_at > ?"
	selectOldCodexSignIn = "SELECT state FROM codex_signins WHERE expires_at < ? ORDER BY expires_at LIMIT ?"
	deleteCodexSignIns   = "DELETE FROM codex_signins WHERE state IN "
)

func hashCodexState(state realm.Secret) string {
	sum := sha256.Sum256([]byte(state.Reveal()))
	return hex.EncodeToString(sum[:])
}

// Insert adds a sign-in. ErrReference: there is no such credential.
func (r CodexSignIns) Insert(ctx context.Context, s *CodexSignIn) error {
	if err := trimLabel("user_code", &s.UserCode); err != nil {
		return err
	}
	key := hashCodexState(s.State)
	sealed, err := r.h.seal("codex_signins", "secret", key, s.Secret.Reveal())
	if err != nil {
		return err
	}
	if err := checkText("secret", sealed); err != nil {
		return err
	}
	_, err = r.h.exec(ctx, insertCodexSignIn, key, clip(s.Kind, maxWord), clip(s.Actor, maxName), s.Credential,
		flag(s.Replace), s.UserCode, sealed, millis(s.ExpiresAt))
	return err
}

// Get finds a sign-in by its state, whatever has become of it.
func (r CodexSignIns) Get(ctx context.Context, state realm.Secret) (*CodexSignIn, error) {
	key := hashCodexState(state)
	return one(ctx, r.h, func(row scanner) (*CodexSignIn, error) {
		s := CodexSignIn{State: state}
		var sealed string
		var expires, used int64
		err := row.Scan(&s.Kind, &s.Actor, &s.Credential, &s.Replace, &s.UserCode, &sealed, &expires, &used)
		if err != nil {
			return nil, err
		}
		s.ExpiresAt, s.UsedAt = fromMillis(expires), fromMillis(used)
		plain, err := r.h.open("codex_signins", "secret", key, sealed)
		s.Secret = realm.Secret(plain)
		return &s, err
	}, selectCodexSignIn, key)
}

// Use takes a sign-in's one use, and forgets its secret. False: it is used or
// over, another's, of another kind, or not there.
func (r CodexSignIns) Use(ctx context.Context, state realm.Secret, kind, actor string, now time.Time) (bool, error) {
	n, err := r.h.exec(ctx, useCodexSignIn, millis(now), hashCodexState(state), kind, clip(actor, maxName), millis(now))
	return n == 1, err
}

// DeleteBefore forgets up to limit of the sign-ins that were over before t, and
// tells how many.
func (r CodexSignIns) DeleteBefore(ctx context.Context, t time.Time, limit int) (int64, error) {
	keys, err := list(ctx, r.h, readText, selectOldCodexSignIn, millis(t), limit)
	if err != nil {
		return 0, err
	}
	return r.h.deleteIn(ctx, deleteCodexSignIns, keys)
}
