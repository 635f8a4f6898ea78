package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

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
	if err := s.dialect.overwrite(ctx, s.write, true); err != nil {
		return done, err
	}
	for {
		n, err := s.sealPass(ctx)
		done.Rows += n
		if err != nil {
			return done, errors.Join(err, s.dialect.overwrite(context.WithoutCancel(ctx), s.write, false))
		}
		if n == 0 {
			break
		}
	}
	if err := s.dialect.overwrite(ctx, s.write, false); err != nil {
		return done, err
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
		if !secret.Sealed(stored) {
			return nil
		}
		return &realm.Error{Code: realm.CodeUnavailable, Message: fmt.Sprintf(
			"There are sealed secrets in the store (%s), and the row that says how they are sealed is gone: restore a backup.", p)}
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
		if err := checkText(c.column, anew); err != nil {
			return 0, "", err
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
