package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"realms/internal/realm"
	"realms/internal/secret"
)

// Sealing is what Seal did.
type Sealing struct {
	Key  string // the id of the key that everything is sealed with now
	From string // the id of the key before; "": the secrets were in the clear
	Rows int64  // how many rows were written anew
	// Copies are files beside a SQLite database that were made before it was sealed:
	// they hold the secrets in the clear.
	Copies []string
}

// Seal brings every secret under the master key, whether it is in the clear or
// sealed with an older key, beside whoever reads and writes the store: in small
// transactions, each of which leaves everything readable. When it ends early,
// calling it again goes on where it was; when nothing is to be done it changes
// nothing. After it no secret needs another key than the master key.
func (s *Store) Seal(ctx context.Context, actor string) (Sealing, error) {
	return s.sealWith(ctx, actor, s.keys)
}

// SealClear is Seal for a start, which never changes the key: a sealing that was begun
// with one of the previous keys is ended with that.
func (s *Store) SealClear(ctx context.Context, actor string) (Sealing, error) {
	m, err := handle{core: s.core, db: s.read}.readMark(ctx)
	if err != nil {
		return Sealing{}, err
	}
	keys := s.keys
	if !m.none() {
		if keys, err = keys.With(m.key); err != nil {
			return Sealing{}, fmt.Errorf("go on with the key of before: %w", err)
		}
	}
	return s.sealWith(ctx, actor, keys)
}

// sealWith is Seal with a key of the keyring.
func (s *Store) sealWith(ctx context.Context, actor string, keys *secret.Keyring) (Sealing, error) {
	c := *s.core
	c.keys = keys
	s = &Store{core: &c, write: s.write, read: s.read, migrations: s.migrations}
	if s.keys.Master() == "" {
		return Sealing{}, realm.Invalid("security.master_key", "There is no master key to seal with: `realms secrets key` prints a new one.")
	}
	if err := s.CheckSchema(ctx); err != nil {
		return Sealing{}, err
	}
	done := Sealing{Key: s.keys.Master()}
	before, err := s.beginSealing(ctx, actor)
	if err != nil {
		return done, err
	}
	if before.key != done.Key {
		done.From = before.key
	}
	for {
		n, err := s.sealPass(ctx)
		done.Rows += n
		if err != nil {
			return done, err
		}
		if n == 0 {
			break
		}
	}
	if before.state != markRotating && before.state != markSealed {
		if done.Copies, err = s.dialect.scrub(ctx, s.write); err != nil { // before the mark, so that it is not forgotten
			return done, err
		}
	}
	if err := s.endSealing(ctx, actor, done); err != nil {
		return done, err
	}
	return done, s.checkKeys(ctx)
}

// beginSealing marks the store with the master key, if it is not marked so, and
// gives the mark that was there. From its commit on everybody writes with that key.
func (s *Store) beginSealing(ctx context.Context, actor string) (mark, error) {
	var before mark
	err := s.Tx(ctx, func(r Repos) error {
		h := r.Settings.h
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		var err error
		if before, err = h.readMark(ctx); err != nil || before.key == h.keys.Master() {
			return err
		}
		state, verb := markRotating, "rotate"
		if before.none() {
			state, verb = markSealing, "seal"
			if err := h.requireClear(ctx); err != nil {
				return err
			}
		} else if before.state == markSealing {
			state = markSealing
		}
		if err := h.writeMark(ctx, state); err != nil {
			return err
		}
		return h.auditSealing(ctx, actor, verb+"_begin", Sealing{Key: h.keys.Master(), From: before.key})
	})
	return before, err
}

// requireClear refuses to mark a store that holds something sealed: its mark was
// taken away, and what is in the clear beside it may be anybody's.
func (h handle) requireClear(ctx context.Context) error {
	return h.eachSecret(ctx, func(p secret.Place, stored string) error {
		if !secret.Sealed(stored) && !strings.Contains(stored, `"sealed:`) { // within what cannot be taken apart
			return nil
		}
		return markGone(fmt.Sprintf(" (%s)", p))
	})
}

// endSealing says that all is sealed, unless somebody has begun to seal with yet
// another key meanwhile.
func (s *Store) endSealing(ctx context.Context, actor string, done Sealing) error {
	return s.Tx(ctx, func(r Repos) error {
		h := r.Settings.h
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		now, err := h.readMark(ctx)
		switch {
		case err != nil:
			return err
		case now.key != done.Key:
			return &realm.Error{Code: realm.CodeConflict, Message: "The store is being sealed with another key, " + now.key + ", by somebody else."}
		case now.state == markSealed && done.Rows == 0:
			return nil
		}
		if err := h.writeMark(ctx, markSealed); err != nil {
			return err
		}
		return h.auditSealing(ctx, actor, "sealed", done)
	})
}

// writeMark writes the mark with the master key. It holds from the commit on; what
// is read in the clear is refused then.
func (h handle) writeMark(ctx context.Context, state string) error {
	stored, err := h.keys.Seal(markPlace(), state)
	if err != nil {
		return fmt.Errorf("seal the mark: %w", err)
	}
	if err := (Settings{h}).Set(ctx, sealMark, stored); err != nil {
		return fmt.Errorf("write the mark: %w", err)
	}
	return nil
}

func (h handle) auditSealing(ctx context.Context, actor, verb string, done Sealing) error {
	detail, err := json.Marshal(struct {
		Key  string `json:"key"`
		From string `json:"from,omitempty"`
		Rows int64  `json:"rows,omitempty"`
	}{done.Key, done.From, done.Rows})
	if err != nil {
		return fmt.Errorf("encode the audit detail: %w", err)
	}
	e := AuditEntry{Actor: actor, Verb: "secrets." + verb, ObjectKind: "secrets", ObjectName: done.Key, Detail: detail}
	if err := (Audit{h}).Insert(ctx, &e); err != nil {
		return fmt.Errorf("write the audit row: %w", err)
	}
	return nil
}

// rowsPerSealing is how many rows one transaction looks at: few, since everybody
// who changes something waits for it.
const rowsPerSealing = 100

// sealPass goes through every secret once and tells how many rows it wrote.
func (s *Store) sealPass(ctx context.Context) (int64, error) {
	var total int64
	for _, c := range sealedColumns {
		last := ""
		for more := true; more; {
			var n int64
			var next string
			err := s.Tx(ctx, func(r Repos) (err error) {
				n, next, err = r.Settings.h.sealBatch(ctx, c, last)
				return err
			})
			if err != nil {
				return total, fmt.Errorf("seal %s: %w", c.table, err)
			}
			total, last, more = total+n, next, next != ""
		}
	}
	return total, nil
}

// sealBatch seals some rows after the one named last, and names the last one that
// it looked at; "": there are no more.
func (h handle) sealBatch(ctx context.Context, c sealedColumn, last string) (n int64, next string, err error) {
	if err := (Changes{h}).Lock(ctx); err != nil {
		return 0, "", err
	}
	switch m, err := h.readMark(ctx); {
	case err != nil:
		return 0, "", err
	case m.key != h.keys.Master():
		return 0, "", &realm.Error{Code: realm.CodeConflict, Message: "The store is being sealed with another key, " + m.key + ", by somebody else."}
	}
	rows, err := h.sealable(ctx, c, last)
	if err != nil || len(rows) == 0 {
		return 0, "", err
	}
	for _, row := range rows {
		anew, err := c.turn(row.key, row.stored, h.resealer(c.table, row.key))
		if err != nil {
			return 0, "", err
		}
		if anew == row.stored {
			continue
		}
		if len(anew) > maxText {
			return 0, "", h.tooLong(ctx, c, row.key, len(anew))
		}
		key, err := c.argument(row.key)
		if err != nil {
			return 0, "", err
		}
		// The lock keeps others away. The guard is for who does not take it.
		guarded := "UPDATE " + c.table + " SET " + c.column + " = ? WHERE " + c.key + " = ? AND " + c.column + " = ?"
		if _, err := h.exec(ctx, guarded, anew, key, row.stored); err != nil {
			return 0, "", err
		}
		n++ // one that changed meanwhile too: the next pass looks at it again
	}
	if len(rows) == rowsPerSealing {
		next = rows[len(rows)-1].key
	}
	return n, next, nil
}

// tooLong is about a row from before such were refused. Its channel is named, since
// that is what an operator knows it by.
func (h handle) tooLong(ctx context.Context, c sealedColumn, row string, bytes int) error {
	what := secret.Place{Table: c.table, Column: c.column, Row: row}.String()
	if c.table == "channels" {
		if name, err := one(ctx, h, readText, "SELECT name FROM channels WHERE id = ?", row); err == nil {
			what = fmt.Sprintf("the settings of channel %q", name)
		}
	}
	return &realm.Error{Code: realm.CodeUnavailable, Message: fmt.Sprintf(
		"The secrets cannot be sealed: sealed, %s would take %d bytes, and at most %d can be stored. Declare fewer or shorter headers and body edits there, and go on.", what, bytes, maxText)}
}

// resealer seals with the master key what is not sealed so.
func (h handle) resealer(table, row string) turn {
	return func(part, stored string) (string, error) {
		if h.keys.Current(stored) {
			return stored, nil
		}
		plain, err := h.open(table, part, row, stored)
		if err != nil {
			return "", err
		}
		return h.keys.Seal(secret.Place{Table: table, Column: part, Row: row}, plain)
	}
}

// sealFresh marks a store that was just made, so that no secret is ever in it in
// the clear.
func (s *Store) sealFresh(ctx context.Context) error {
	return s.Tx(ctx, func(r Repos) error {
		h := r.Settings.h
		if err := r.Changes.Lock(ctx); err != nil {
			return err
		}
		m, err := h.readMark(ctx)
		if err != nil || !m.none() {
			return err
		}
		// Another process may have been faster and have no key.
		err = h.eachSecret(ctx, func(secret.Place, string) error { return errFound })
		if errors.Is(err, errFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return h.writeMark(ctx, markSealed)
	})
}
