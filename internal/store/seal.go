package store

import (
	"context"
	"errors"
	"fmt"

	"realms/internal/realm"
	"realms/internal/secret"
)

// A store is sealed when it has a mark: a row of settings, itself sealed with the
// key that everything is being sealed with, which says how far that has come.
// Every transaction that writes a secret reads the mark under the lock that all
// changes take, so from the moment a mark is written nobody writes in the clear,
// or with an older key, any more: not even a process that was started before.
const (
	markSealing  = "sealing"  // some secrets may still be in the clear
	markRotating = "rotating" // some may be sealed with an older key
	markSealed   = "sealed"   // all are sealed with the mark's key
)

func markPlace() secret.Place {
	return secret.Place{Table: "settings", Column: "value", Row: sealMark}
}

// mark is what a store says of its sealing; the zero one: it is not sealed.
type mark struct{ key, state string }

// none: the store keeps its secrets in the clear.
func (m mark) none() bool { return m.key == "" }

// readMark reads the mark. It is an error when there is one that the keys do not
// open, when it is damaged, and when there was one and is no more: what is written
// then would be in the clear.
func (h handle) readMark(ctx context.Context) (mark, error) {
	stored, err := one(ctx, h, readText, selectSetting, sealMark)
	switch {
	case errors.Is(err, ErrNotFound), h.dialect.fault(err) == faultNoTable:
		if h.marked.Load() {
			return mark{}, markGone("")
		}
		return mark{}, nil
	case err != nil:
		return mark{}, fmt.Errorf("read how the store is sealed: %w", err)
	}
	h.marked.Store(true)
	switch {
	case h.keys.Master() == "":
		return mark{}, lockedOut("The secrets in this store are sealed and there is no security.master_key: set it to the key %s that they were sealed with.", secret.KeyOf(stored))
	case secret.Sealed(stored) && !h.keys.Has(secret.KeyOf(stored)):
		return mark{}, lockedOut("The secrets in this store are sealed with the key %s; security.master_key is the key %s, and no previous key fits either: "+
			"set security.master_key to the right key, or name that one in security.previous_keys.", secret.KeyOf(stored), h.keys.Master())
	}
	state, err := h.keys.Open(markPlace(), stored)
	if err != nil || !secret.Sealed(stored) || state != markSealing && state != markRotating && state != markSealed {
		return mark{}, &realm.Error{
			Code: realm.CodeUnavailable, Err: err,
			Message: "The row of the store that says how it is sealed is damaged: restore a backup.",
		}
	}
	if state != markSealing {
		h.whole.Store(true)
	}
	return mark{key: secret.KeyOf(stored), state: state}, nil
}

func lockedOut(format string, args ...any) *realm.Error {
	return &realm.Error{Code: realm.CodeUnavailable, Field: "security.master_key", Message: fmt.Sprintf(format, args...)}
}

func markGone(where string) *realm.Error {
	return &realm.Error{Code: realm.CodeUnavailable, Message: fmt.Sprintf(
		"There are sealed secrets in the store%s, and the row that says how they are sealed is gone: restore a backup.", where)}
}

// checkKeys tells whether the keys fit the store.
func (s *Store) checkKeys(ctx context.Context) error {
	h := handle{core: s.core, db: s.read}
	m, err := h.readMark(ctx)
	if err != nil || !m.none() {
		return err
	}
	if !s.current(ctx) { // there is no store yet, or nobody uses it as it is
		return nil
	}
	if err = h.requireClear(ctx); err == nil {
		return nil
	}
	// Somebody may have begun to seal since: what is sealed comes after its mark.
	if m, again := h.readMark(ctx); again != nil || !m.none() {
		return again
	}
	return err
}

// partly is asked where some rows did not open. When the keys do not fit the store,
// or its mark is not what it was, that is the error, and not the rows.
func (h handle) partly(ctx context.Context, some bool) error {
	if !some {
		return nil
	}
	_, err := h.readMark(ctx)
	return err
}

// SealState says how a store keeps its secrets.
type SealState struct {
	Key     string // the id of the key that whoever writes seals with; "": none
	Clear   bool   // some secrets may be in the clear
	Earlier bool   // some may need an earlier key than Key
}

// SealState reads how the store keeps its secrets. The error is that of Open.
func (s *Store) SealState(ctx context.Context) (SealState, error) {
	m, err := handle{core: s.core, db: s.read}.readMark(ctx)
	return SealState{Key: m.key, Clear: m.none() || m.state == markSealing, Earlier: !m.none() && m.state != markSealed}, err
}

// currentKeys is what a transaction has to seal with: the mark's key, which during
// a rotation may be one that this process has as a previous key still, or none.
// The lock keeps the mark as it is until the transaction ends.
func (h handle) currentKeys(ctx context.Context) (*secret.Keyring, error) {
	if err := (Changes{h}).Lock(ctx); err != nil {
		return nil, fmt.Errorf("lock the store: %w", err)
	}
	m, err := h.readMark(ctx)
	switch {
	case err != nil:
		return nil, err
	case !m.none():
		return h.keys.With(m.key)
	case h.keys.Master() == "":
		return nil, nil
	}
	return h.keys, h.markUnserved(ctx)
}

// markUnserved has a store sealed from now on that no server has used yet. In one
// that is in use a server may be running without the key, which would be locked out:
// there it is for the next start of a server to begin.
func (h handle) markUnserved(ctx context.Context) error {
	_, err := one(ctx, h, readText, selectSetting, InstanceSecret)
	switch {
	case err == nil:
		return lockedOut("There is a security.master_key, and the secrets in this store are in the clear still: start realms serve, which seals them.")
	case !errors.Is(err, ErrNotFound):
		return fmt.Errorf("look whether the store is in use: %w", err)
	}
	if err := h.requireClear(ctx); err != nil {
		return err
	}
	return h.writeMark(ctx, markSealing)
}

// seal makes a secret what its column takes: sealed where the store is, else as it
// is. row is the row's primary key, which must be known by now.
func (h handle) seal(table, column, row, plain string) (string, error) {
	if h.sealer == nil {
		return "", errReadOnly
	}
	keys, err := h.sealer()
	if err != nil {
		return "", err
	}
	return keys.Seal(secret.Place{Table: table, Column: column, Row: row}, plain)
}

// canSeal tells why seal would refuse whatever it is given in this transaction.
func (h handle) canSeal() error {
	if h.sealer == nil {
		return errReadOnly
	}
	_, err := h.sealer()
	return err
}

// open reads what seal made at the same place. In a store whose secrets are all
// sealed, one in the clear was not written by Realms, and is refused.
func (h handle) open(table, column, row, stored string) (string, error) {
	p := secret.Place{Table: table, Column: column, Row: row}
	if stored != "" && !secret.Sealed(stored) && h.whole.Load() {
		return "", unopened(p, errors.New("in the clear though the store is sealed"))
	}
	plain, err := h.keys.Open(p, stored)
	if err != nil {
		return "", unopened(p, err)
	}
	return plain, nil
}

// anew says how a secret of a table is replaced.
func anew(table string) string {
	switch table {
	case "credentials":
		return "Declare its api_key anew, or restore a backup."
	case "channels":
		return "Declare the channel anew with its proxy and headers, or restore a backup."
	case "codex_accounts", "codex_signins":
		return "Sign in anew."
	}
	return "Restore a backup."
}

func unopened(p secret.Place, err error) *realm.Error {
	message := fmt.Sprintf("A secret in the store (%s) cannot be read: it was changed by something else than Realms. %s", p, anew(p.Table))
	switch {
	case errors.Is(err, secret.ErrNoKey):
		message = fmt.Sprintf("A secret in the store (%s) is sealed with a key that is not configured: name that key in security.master_key or security.previous_keys.", p)
	case errors.Is(err, secret.ErrVersion):
		message = fmt.Sprintf("A secret in the store (%s) is sealed in a form that this Realms does not know: use the newer Realms that wrote it.", p)
	}
	return &realm.Error{Code: realm.CodeUnavailable, Message: message, Err: err}
}
