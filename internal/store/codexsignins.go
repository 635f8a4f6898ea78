package store

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
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
	UserCode   string       // empty where there is none, and once it is used
	Secret     realm.Secret // a PKCE verifier, or a device's id; empty once it is used
	ExpiresAt  time.Time
	UsedAt     time.Time // zero: not yet
}

const (
	selectCodexSignIn    = "SELECT kind, actor, credential_id, replaces, secret, expires_at, used_at FROM codex_signins WHERE state = ?"
	insertCodexSignIn    = "INSERT INTO codex_signins (state, kind, actor, credential_id, replaces, user_code, secret, expires_at, used_at) VALUES (?, ?, ?, ?, ?, '', ?, ?, 0)"
	useCodexSignIn       = "UPDATE codex_signins SET used_at = ?, secret = '' WHERE state = ? AND kind = ? AND actor = ? AND used_at = 0 AND expires_at > ?"
	selectOldCodexSignIn = "SELECT state FROM codex_signins WHERE expires_at < ? ORDER BY expires_at LIMIT ?"
	deleteCodexSignIns   = "DELETE FROM codex_signins WHERE state IN "
)

// codexSecrets is the column secret, before it is sealed. The code is one of them: who
// reads it while somebody signs in could confirm it with an account of his own. So the
// column user_code stays empty.
type codexSecrets struct {
	Secret   string `json:"secret"`
	UserCode string `json:"user_code,omitempty"`
}

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
	secrets, err := json.Marshal(codexSecrets{Secret: s.Secret.Reveal(), UserCode: s.UserCode})
	if err != nil {
		return errors.New("encode the sign-in's secrets") // not how: the cause may quote them
	}
	sealed, err := r.h.seal("codex_signins", "secret", key, string(secrets))
	if err != nil {
		return err
	}
	if err := checkText("secret", sealed); err != nil {
		return err
	}
	_, err = r.h.exec(ctx, insertCodexSignIn, key, clip(s.Kind, maxWord), clip(s.Actor, maxName), s.Credential,
		flag(s.Replace), sealed, millis(s.ExpiresAt))
	return err
}

// Get finds a sign-in by its state, whatever has become of it.
func (r CodexSignIns) Get(ctx context.Context, state realm.Secret) (*CodexSignIn, error) {
	key := hashCodexState(state)
	return one(ctx, r.h, func(row scanner) (*CodexSignIn, error) {
		s := CodexSignIn{State: state}
		var sealed string
		var expires, used int64
		err := row.Scan(&s.Kind, &s.Actor, &s.Credential, &s.Replace, &sealed, &expires, &used)
		if err != nil {
			return nil, err
		}
		s.ExpiresAt, s.UsedAt = fromMillis(expires), fromMillis(used)
		plain, err := r.h.open("codex_signins", "secret", key, sealed)
		if err != nil || plain == "" {
			return &s, err
		}
		var secrets codexSecrets
		if json.Unmarshal([]byte(plain), &secrets) != nil {
			return nil, errors.New("the secrets of a sign-in are damaged")
		}
		s.Secret, s.UserCode = realm.Secret(secrets.Secret), secrets.UserCode
		return &s, nil
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
