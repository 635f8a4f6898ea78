package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"realms/internal/secret"
)

// maxRetries of a transaction that the engine gave up.
const maxRetries = 3

// writeIsolation: each statement sees what is committed when it begins, on every
// engine. A snapshot would keep nobody from overwriting another's change (guarded
// statements do), and MariaDB 11.6 and later end a transaction that writes a row
// which changed since its snapshot: of writers that read first and then raise the
// version, all but one would fail.
const writeIsolation = sql.LevelReadCommitted

// Tx runs fn in one write transaction and commits when it returns nil. Any error
// rolls back and is returned as it is.
//
// fn may run up to four times, because the engine may end a transaction for a
// deadlock or a lock it waited for in vain. So it must start from nothing each
// time: it assigns to what it captured, it does not append or count there, and
// it touches nothing outside the transaction. It must not call Tx: SQLite has
// one writer, so that would wait for itself.
//
// When the commit itself fails, it may still have happened. So whoever must not
// do a thing twice inserts a key of its own and asks for it again.
func (s *Store) Tx(ctx context.Context, fn func(r Repos) error) error {
	for try := 1; ; try++ {
		err := s.once(ctx, s.write, &sql.TxOptions{Isolation: writeIsolation}, true, fn)
		if err == nil || try > maxRetries || s.dialect.fault(err) != faultRetry {
			return err
		}
		s.log.DebugContext(ctx, "transaction is tried again", "try", try, "error", err)
		// Long enough for the other to finish, and not in step with it.
		pause := time.NewTimer(time.Duration(try) * (5*time.Millisecond + rand.N(10*time.Millisecond)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return err
		}
	}
}

// View runs fn over one read-only snapshot: everything it reads was so at one
// instant. It is for what must fit together, such as a catalogue with its
// version; a single read needs only Read.
func (s *Store) View(ctx context.Context, fn func(r Repos) error) error {
	return s.once(ctx, s.read, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, false, fn)
}

func (s *Store) once(ctx context.Context, db *sql.DB, o *sql.TxOptions, writable bool, fn func(r Repos) error) error {
	tx, err := db.BeginTx(ctx, o)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // after a commit it says that there is nothing to roll back
	h := handle{core: s.core, db: tx, writable: writable}
	if writable {
		h.sealer = sync.OnceValues(func() (*secret.Keyring, error) { return h.currentKeys(ctx) })
	}
	if err := fn(newRepos(h)); err != nil {
		return err
	}
	err = tx.Commit()
	if errors.Is(err, sql.ErrTxDone) && ctx.Err() != nil { // rolled back when the context ended
		err = ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}
