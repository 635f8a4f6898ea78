package store

import (
	"context"
	"crypto/subtle"
	"database/sql"
	"errors"
	"slices"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
)

// Credentials is the table of credentials. APIKey is read and written in full.
type Credentials struct{ h handle }

const (
	selectCredentials   = "SELECT id, endpoint_id, name, api_key, enabled, priority, weight, limits, state, state_reason, state_since FROM credentials"
	insertCredential    = "INSERT INTO credentials (id, endpoint_id, name, api_key, enabled, priority, weight, limits, state, state_reason, state_since) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
	updateCredential    = "UPDATE credentials SET endpoint_id = ?, name = ?, api_key = COALESCE(?, api_key), enabled = ?, priority = ?, weight = ?, limits = ?, state = ?, state_reason = ?, state_since = ? WHERE id = ?"
	moveCredential      = "UPDATE credentials SET state = ?, state_reason = ?, state_since = ? WHERE id = ? AND state = ?"
	refuseCredential    = "UPDATE credentials SET state = ?, state_reason = ?, state_since = ? WHERE id = ? AND state = ? AND api_key = ?"
	selectCredentialKey = "SELECT api_key FROM credentials WHERE id = ?"
	deleteCredential    = "DELETE FROM credentials WHERE id = ?"
)

func (r Credentials) read(row scanner) (*realm.Credential, error) {
	var c realm.Credential
	var key string
	var since int64
	var limits sql.NullString
	err := row.Scan(&c.ID, &c.EndpointID, &c.Name, &key, &c.Enabled, &c.Priority, &c.Weight, &limits, &c.State, &c.StateReason, &since)
	if err != nil {
		return nil, err
	}
	c.APIKey, c.Unreadable = r.openKey(c.ID, key)
	c.StateSince = fromMillis(since)
	c.Limits, err = decodeLimits(c.Name, limits)
	return &c, err
}

func (r Credentials) openKey(id realm.ID, stored string) (realm.Secret, error) {
	plain, err := r.h.open("credentials", "api_key", id.String(), stored)
	return realm.Secret(plain), err
}

// columns is the row of an id without it.
func (r Credentials) columns(id realm.ID, c *realm.Credential) ([]any, error) {
	if err := trimName("name", &c.Name); err != nil {
		return nil, err
	}
	var key sql.NullString // NULL: it stays as it is
	if c.Unreadable == nil {
		sealed, err := r.sealKey(id, c.APIKey.Reveal())
		if err != nil {
			return nil, err
		}
		key = sql.NullString{String: sealed, Valid: true}
	}
	if c.State == "" {
		c.State = realm.CredentialOK
	}
	limits, err := encodeLimits(c.Limits)
	if err != nil {
		return nil, err
	}
	return []any{
		c.EndpointID, c.Name, key, flag(c.Enabled), c.Priority, c.Weight, limits,
		string(c.State), clip(c.StateReason, maxReason), millis(c.StateSince),
	}, nil
}

func (r Credentials) sealKey(id realm.ID, plain string) (string, error) {
	if err := checkText("api_key", plain); err != nil {
		return "", err
	}
	if err := checkSealedSize("api_key", secret.SealedSize(len(plain))); err != nil {
		return "", err
	}
	return r.h.seal("credentials", "api_key", id.String(), plain)
}

// maxReason is the characters of a state's reason; it may quote an upstream.
const maxReason = 1000

// List is every credential, by endpoint and name; one whose key does not open is
// among them, and Unreadable.
func (r Credentials) List(ctx context.Context) ([]*realm.Credential, error) {
	return r.several(ctx, selectCredentials+" ORDER BY endpoint_id, name")
}

// ByEndpoint is an endpoint's credentials, by name, those that are Unreadable among
// them.
func (r Credentials) ByEndpoint(ctx context.Context, endpoint realm.ID) ([]*realm.Credential, error) {
	return r.several(ctx, selectCredentials+" WHERE endpoint_id = ? ORDER BY name", endpoint)
}

func (r Credentials) several(ctx context.Context, text string, args ...any) ([]*realm.Credential, error) {
	all, err := list(ctx, r.h, r.read, text, args...)
	if err != nil {
		return nil, err
	}
	return all, r.h.partly(ctx, slices.ContainsFunc(all, func(c *realm.Credential) bool { return c.Unreadable != nil }))
}

// Get finds a credential by id. One whose key does not open is an error.
func (r Credentials) Get(ctx context.Context, id realm.ID) (*realm.Credential, error) {
	c, err := one(ctx, r.h, r.read, selectCredentials+" WHERE id = ?", id)
	if err == nil && c.Unreadable != nil {
		return nil, c.Unreadable
	}
	return c, err
}

// Insert adds a credential; an empty State becomes realm.CredentialOK.
// ErrDuplicate: the endpoint has one of that name.
func (r Credentials) Insert(ctx context.Context, c *realm.Credential) error {
	return r.h.insertWith(ctx, &c.ID, insertCredential, func(id realm.ID) ([]any, error) { return r.columns(id, c) })
}

// Update replaces the row of c.ID, the state included. The key of an Unreadable one
// stays as it is stored: who gives it another sets Unreadable to nil.
func (r Credentials) Update(ctx context.Context, c *realm.Credential) error {
	columns, err := r.columns(c.ID, c)
	if err != nil {
		return err
	}
	return r.h.execOne(ctx, updateCredential, append(columns, c.ID)...)
}

// SetState moves a credential from one state to another and tells whether it was
// in the first: of several who say the same, one is told true.
func (r Credentials) SetState(ctx context.Context, id realm.ID, from, to realm.CredentialState, reason string, since time.Time) (bool, error) {
	n, err := r.h.exec(ctx, moveCredential, string(to), clip(reason, maxReason), millis(since), id, string(from))
	return n == 1, err
}

// Refuse is SetState for a credential whose key was refused: it does nothing when
// the key has become another since. No two sealed texts of a key are the same, so
// the key is compared here, and what is stored guards the change.
func (r Credentials) Refuse(ctx context.Context, id realm.ID, key realm.Secret, reason string, since time.Time) (bool, error) {
	stored, err := one(ctx, r.h, readText, selectCredentialKey, id)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	now, err := r.openKey(id, stored)
	if err != nil || subtle.ConstantTimeCompare([]byte(now), []byte(key)) != 1 {
		return false, err
	}
	n, err := r.h.exec(ctx, refuseCredential, string(realm.CredentialDisabled), clip(reason, maxReason), millis(since), id, string(realm.CredentialOK), stored)
	return n == 1, err
}

// Delete removes a credential.
func (r Credentials) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteCredential, id)
}
