package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
)

// CodexAccounts is the table of the accounts that are signed in for credentials.
// Tokens, limits and the lease are each written by statements of their own, which
// touch nothing else.
type CodexAccounts struct{ h handle }

const (
	selectCodexAccounts = "SELECT credential_id, account_id, person_id, email, plan, tokens, version, expires_at, signed_in_at, refreshed_at, refresh_error, limits, limits_at FROM codex_accounts"
	insertCodexAccount  = "INSERT INTO codex_accounts (credential_id, account_id, person_id, email, plan, tokens, version, expires_at, signed_in_at, refreshed_at, refresh_error, limits, limits_at, lease_holder, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', NULL, 0, '', 0)"
	replaceCodexAccount = "UPDATE codex_accounts SET account_id = ?, person_id = ?, email = ?, plan = ?, tokens = ?, version = ?, expires_at = ?, signed_in_at = ?, refreshed_at = ?, refresh_error = '', limits = NULL, limits_at = 0, lease_holder = '', lease_until = 0 WHERE credential_id = ? AND version < ?"
	renewCodexAccount   = "UPDATE codex_accounts SET email = ?, plan = ?, tokens = ?, version = version + 1, expires_at = ?, refreshed_at = ?, refresh_error = '', lease_holder = '', lease_until = 0 WHERE credential_id = ? AND account_id = ? AND version = ?"
	refuseCodexAccount  = "UPDATE codex_accounts SET refresh_error = ?, lease_holder = '', lease_until = 0 WHERE credential_id = ? AND version = ? AND refresh_error = ''"
	limitCodexAccount   = "UPDATE codex_accounts SET limits = ?, limits_at = ? WHERE credential_id = ? AND account_id = ? AND limits_at < ?"
	leaseCodexAccount   = "UPDATE codex_accounts SET lease_holder = ?, lease_until = ? WHERE credential_id = ? AND version = ? AND refresh_error = '' AND lease_until <= ?"
	releaseCodexAccount = "UPDATE codex_accounts SET lease_holder = '', lease_until = 0 WHERE credential_id = ? AND lease_holder = ?"
	selectCodexProgress = "SELECT version, refresh_error, lease_until FROM codex_accounts WHERE credential_id = ?"
	deleteCodexAccount  = "DELETE FROM codex_accounts WHERE credential_id = ?"
)

// codexTokens is the column tokens, before it is sealed.
type codexTokens struct {
	ID      string `json:"id_token,omitempty"`
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (h handle) sealCodexTokens(credential realm.ID, t realm.CodexTokens) (string, error) {
	plain, err := json.Marshal(codexTokens{ID: t.ID.Reveal(), Access: t.Access.Reveal(), Refresh: t.Refresh.Reveal()})
	if err != nil {
		return "", errors.New("encode the tokens") // not how: the cause may quote them
	}
	sealed, err := h.seal("codex_accounts", "tokens", credential.String(), string(plain))
	if err != nil {
		return "", err
	}
	return sealed, checkText("tokens", sealed)
}

func (h handle) openCodexTokens(credential realm.ID, sealed string) (realm.CodexTokens, error) {
	plain, err := h.open("codex_accounts", "tokens", credential.String(), sealed)
	if err != nil {
		return realm.CodexTokens{}, err
	}
	var t codexTokens
	if json.Unmarshal([]byte(plain), &t) != nil {
		return realm.CodexTokens{}, fmt.Errorf("the tokens of credential %s are damaged", credential)
	}
	return realm.CodexTokens{ID: realm.Secret(t.ID), Access: realm.Secret(t.Access), Refresh: realm.Secret(t.Refresh)}, nil
}

// codexLimits is the column limits; its time is a column of its own.
type codexLimits struct {
	Plan    string        `json:"plan,omitempty"`
	Windows []codexWindow `json:"windows,omitempty"`
}

type codexWindow struct {
	Limit    string  `json:"limit,omitempty"`
	Seconds  int64   `json:"seconds"`
	Used     float64 `json:"used_percent"`
	ResetsAt int64   `json:"resets_at,omitempty"` // unix milliseconds
}

func encodeCodexLimits(l realm.CodexLimits) (sql.NullString, error) {
	c := codexLimits{Plan: l.Plan}
	for _, w := range l.Windows {
		c.Windows = append(c.Windows, codexWindow{w.Limit, int64(w.Length / time.Second), w.UsedPercent, millis(w.ResetsAt)})
	}
	return toJSON("limits", c, l.At.IsZero())
}

func decodeCodexLimits(text sql.NullString, at int64) (realm.CodexLimits, error) {
	var c codexLimits
	if err := fromJSON("limits", text, &c); err != nil {
		return realm.CodexLimits{}, err
	}
	l := realm.CodexLimits{Plan: c.Plan, At: fromMillis(at)}
	for _, w := range c.Windows {
		l.Windows = append(l.Windows, realm.CodexWindow{
			Limit: w.Limit, Length: time.Duration(w.Seconds) * time.Second, UsedPercent: w.Used, ResetsAt: fromMillis(w.ResetsAt),
		})
	}
	return l, nil
}

func (r CodexAccounts) read(row scanner) (*realm.CodexAccount, error) {
	var (
		a                                     realm.CodexAccount
		tokens                                string
		limits                                sql.NullString
		expires, signedIn, refreshed, limitAt int64
	)
	err := row.Scan(&a.Credential, &a.AccountID, &a.UserID, &a.Email, &a.Plan, &tokens, &a.Version,
		&expires, &signedIn, &refreshed, &a.RefreshError, &limits, &limitAt)
	if err != nil {
		return nil, err
	}
	a.ExpiresAt, a.SignedInAt, a.RefreshedAt = fromMillis(expires), fromMillis(signedIn), fromMillis(refreshed)
	if a.Limits, err = decodeCodexLimits(limits, limitAt); err != nil {
		return nil, err
	}
	a.Tokens, err = r.h.openCodexTokens(a.Credential, tokens)
	return &a, err
}

// List is every account, by credential.
func (r CodexAccounts) List(ctx context.Context) ([]*realm.CodexAccount, error) {
	return list(ctx, r.h, r.read, selectCodexAccounts+" ORDER BY credential_id")
}

// Get finds the account of a credential.
func (r CodexAccounts) Get(ctx context.Context, credential realm.ID) (*realm.CodexAccount, error) {
	return one(ctx, r.h, r.read, selectCodexAccounts+" WHERE credential_id = ?", credential)
}

// Put stores what a sign-in gave, in the place of what was there: tokens, version
// and account; what was known of limits, a refused refresh and a lease is
// forgotten. ErrDuplicate: the row has a.Version or a later one already.
func (r CodexAccounts) Put(ctx context.Context, a *realm.CodexAccount) error {
	if err := errors.Join(trimName("account_id", &a.AccountID), trimLabel("user_id", &a.UserID)); err != nil {
		return err
	}
	tokens, err := r.h.sealCodexTokens(a.Credential, a.Tokens)
	if err != nil {
		return err
	}
	columns := []any{
		a.AccountID, a.UserID, clip(a.Email, maxName), clip(a.Plan, maxName), tokens, a.Version,
		millis(a.ExpiresAt), millis(a.SignedInAt), millis(a.RefreshedAt),
	}
	n, err := r.h.exec(ctx, replaceCodexAccount, append(columns, a.Credential, a.Version)...)
	if err != nil || n > 0 {
		return err
	}
	_, err = r.h.exec(ctx, insertCodexAccount, append([]any{a.Credential}, columns...)...)
	return err
}

// Renew stores the tokens that took the place of those of a.Version, with what is
// said in them, takes back a refusal and ends the lease. It tells whether they
// were still there; then the row's version is the next one.
func (r CodexAccounts) Renew(ctx context.Context, a *realm.CodexAccount) (bool, error) {
	tokens, err := r.h.sealCodexTokens(a.Credential, a.Tokens)
	if err != nil {
		return false, err
	}
	n, err := r.h.exec(ctx, renewCodexAccount, clip(a.Email, maxName), clip(a.Plan, maxName), tokens,
		millis(a.ExpiresAt), millis(a.RefreshedAt), a.Credential, a.AccountID, a.Version)
	return n == 1, err
}

// Refuse notes why the tokens of a version can never be renewed, and ends the
// lease. Of several who say so, one is told true.
func (r CodexAccounts) Refuse(ctx context.Context, credential realm.ID, version int64, why string) (bool, error) {
	n, err := r.h.exec(ctx, refuseCodexAccount, clip(why, maxReason), credential, version)
	return n == 1, err
}

// SetLimits stores limits of the account unless what is there was said later, or
// another account is.
func (r CodexAccounts) SetLimits(ctx context.Context, credential realm.ID, account string, l realm.CodexLimits) error {
	text, err := encodeCodexLimits(l)
	if err != nil {
		return err
	}
	_, err = r.h.exec(ctx, limitCodexAccount, text, millis(l.At), credential, account, millis(l.At))
	return err
}

// Lease makes a holder the only one who may renew the tokens of a version until a
// time, and tells whether it is: not when somebody else's lease goes on, when the
// tokens are others by now, or can never be renewed.
func (r CodexAccounts) Lease(ctx context.Context, credential realm.ID, version int64, holder string, now, until time.Time) (bool, error) {
	n, err := r.h.exec(ctx, leaseCodexAccount, holder, millis(until), credential, version, millis(now))
	return n == 1, err
}

// Release ends a holder's lease; it does nothing when that is over already.
func (r CodexAccounts) Release(ctx context.Context, credential realm.ID, holder string) error {
	_, err := r.h.exec(ctx, releaseCodexAccount, credential, holder)
	return err
}

// CodexProgress is how far renewing an account's tokens has come.
type CodexProgress struct {
	Version      int64
	RefreshError string
	LeaseUntil   time.Time // zero: nobody is at it
}

// Progress is for whoever waits for another's lease: it opens no secret.
func (r CodexAccounts) Progress(ctx context.Context, credential realm.ID) (CodexProgress, error) {
	return one(ctx, r.h, func(row scanner) (CodexProgress, error) {
		var p CodexProgress
		var until int64
		err := row.Scan(&p.Version, &p.RefreshError, &until)
		p.LeaseUntil = fromMillis(until)
		return p, err
	}, selectCodexProgress, credential)
}

// Delete forgets the account of a credential.
func (r CodexAccounts) Delete(ctx context.Context, credential realm.ID) error {
	return r.h.execOne(ctx, deleteCodexAccount, credential)
}
