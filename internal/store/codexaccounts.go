package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
)

// ErrUnreadable says that there is an account whose tokens do not open: they were
// changed by something else than Realms, or are sealed with a key that this process
// does not have. The cause tells, in a *realm.Error where it is about keys.
var ErrUnreadable = errors.New("the account's tokens cannot be read")

// ErrDamaged is an ErrUnreadable that no key mends.
var ErrDamaged = fmt.Errorf("%w, by nobody", ErrUnreadable)

// leaseSlack is by how much the clocks of processes may differ before a lease that
// is granted by one of them is nobody's to another: it would keep all from renewing
// for as long as that clock was ahead.
const leaseSlack = time.Minute

// CodexAccounts is the table of the accounts that are signed in for credentials.
// Tokens, limits and the lease are each written by statements of their own, which
// touch nothing else.
type CodexAccounts struct{ h handle }

const (
	codexColumns        = "SELECT credential_id, account_id, person_id, email, plan, version, expires_at, signed_in_at, refreshed_at, refresh_error, limits, limits_at"
	selectCodexAccounts = codexColumns + ", tokens FROM codex_accounts"
	selectCodexShown    = codexColumns + ", '' FROM codex_accounts"
	insertCodexAccount  = "INSERT INTO codex_accounts (credential_id, account_id, person_id, email, plan, tokens, version, expires_at, signed_in_at, refreshed_at, refresh_error, limits, limits_at, lease_holder, lease_until) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', NULL, 0, '', 0)"
	replaceCodexAccount = "UPDATE codex_accounts SET account_id = ?, person_id = ?, email = ?, plan = ?, tokens = ?, version = ?, expires_at = ?, signed_in_at = ?, refreshed_at = ?, refresh_error = '', limits = NULL, limits_at = 0, lease_holder = '', lease_until = 0 WHERE credential_id = ? AND version < ?"
	renewCodexAccount   = "UPDATE codex_accounts SET email = ?, plan = ?, tokens = ?, version = version + 1, expires_at = ?, refreshed_at = ?, refresh_error = '', lease_holder = '', lease_until = 0 WHERE credential_id = ? AND account_id = ? AND version = ?"
	refuseCodexAccount  = "UPDATE codex_accounts SET refresh_error = ?, lease_holder = '', lease_until = 0 WHERE credential_id = ? AND version = ? AND refresh_error = ''"
	limitCodexAccount   = "UPDATE codex_accounts SET limits = ?, limits_at = ? WHERE credential_id = ? AND account_id = ? AND limits_at < ?"
	leaseCodexAccount   = "UPDATE codex_accounts SET lease_holder = ?, lease_until = ? WHERE credential_id = ? AND version = ? AND refresh_error = '' AND (lease_until <= ? OR lease_until > ?)"
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
	if err := checkSealedSize("tokens", secret.SealedSize(len(plain))); err != nil {
		return "", err
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

// scan reads a row, with the column tokens as it is stored.
func (CodexAccounts) scan(row scanner) (*realm.CodexAccount, string, error) {
	var (
		a                                     realm.CodexAccount
		tokens                                string
		limits                                sql.NullString
		expires, signedIn, refreshed, limitAt int64
	)
	err := row.Scan(&a.Credential, &a.AccountID, &a.UserID, &a.Email, &a.Plan, &a.Version,
		&expires, &signedIn, &refreshed, &a.RefreshError, &limits, &limitAt, &tokens)
	if err != nil {
		return nil, "", err
	}
	a.ExpiresAt, a.SignedInAt, a.RefreshedAt = fromMillis(expires), fromMillis(signedIn), fromMillis(refreshed)
	a.Limits, err = decodeCodexLimits(limits, limitAt)
	return &a, tokens, err
}

func (r CodexAccounts) read(row scanner) (*realm.CodexAccount, error) {
	a, tokens, err := r.scan(row)
	if err != nil {
		return nil, err
	}
	if a.Tokens, err = r.h.openCodexTokens(a.Credential, tokens); err != nil {
		return nil, fmt.Errorf("%w: %w", unreadable(err), err)
	}
	return a, nil
}

// unreadable is what the cause means for whoever has other keys.
func unreadable(cause error) error {
	if errors.Is(cause, secret.ErrNoKey) || errors.Is(cause, secret.ErrVersion) {
		return ErrUnreadable
	}
	return ErrDamaged
}

func (r CodexAccounts) readShown(row scanner) (*realm.CodexAccount, error) {
	a, _, err := r.scan(row)
	return a, err
}

// List is every account, by credential, without its tokens: one that cannot be read
// keeps nobody from seeing the others.
func (r CodexAccounts) List(ctx context.Context) ([]*realm.CodexAccount, error) {
	return list(ctx, r.h, r.readShown, selectCodexShown+" ORDER BY credential_id")
}

// Shown finds the account of a credential, without its tokens.
func (r CodexAccounts) Shown(ctx context.Context, credential realm.ID) (*realm.CodexAccount, error) {
	return one(ctx, r.h, r.readShown, selectCodexShown+" WHERE credential_id = ?", credential)
}

// Get finds the account of a credential. ErrUnreadable: it is there, and its tokens
// do not open.
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
// tokens are others by now, or can never be renewed. Leases are all of one length:
// one that ends long after this one would was given by a clock that was wrong. Who
// could not seal the tokens that a renewal brings gets no lease, but the error: the
// token that is traded for them would be lost.
func (r CodexAccounts) Lease(ctx context.Context, credential realm.ID, version int64, holder string, now, until time.Time) (bool, error) {
	if err := r.h.canSeal(); err != nil {
		return false, err
	}
	n, err := r.h.exec(ctx, leaseCodexAccount, holder, millis(until), credential, version, millis(now), millis(until.Add(leaseSlack)))
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

// Leased tells whether Lease would be refused for somebody else's.
func (p *CodexProgress) Leased(now, until time.Time) bool {
	return p.LeaseUntil.After(now) && !p.LeaseUntil.After(until.Add(leaseSlack))
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
