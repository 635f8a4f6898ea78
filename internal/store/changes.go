package store

import (
	"context"
	"fmt"
	"time"

	"realms/internal/realm"
)

// Changes is the feed that tells every process what to read again.
type Changes struct{ h handle }

// Change says that a row changed. Versions follow commit order without gaps.
type Change struct {
	Version int64
	Kind    string
	ID      realm.ID // zero where the kind has no ids (KindSetting)
}

// The kinds of things that change.
const (
	KindGroup        = "group"
	KindModel        = "model"
	KindChannel      = "channel"
	KindEndpoint     = "endpoint"
	KindCredential   = "credential"
	KindUser         = "user"
	KindToken        = "token"
	KindSetting      = "setting"
	KindCodexAccount = "codex_account" // its id is the credential's
)

const (
	raiseVersion  = "UPDATE versions SET version = version + 1 WHERE name = 'changes'"
	selectVersion = "SELECT version FROM versions WHERE name = 'changes'"
	insertChange  = "INSERT INTO changes (version, kind, object_id, at) VALUES (?, ?, ?, ?)"
	selectChanges = "SELECT version, kind, object_id FROM changes WHERE version > ? ORDER BY version LIMIT ?"
	oldestChanges = "SELECT version, at FROM changes ORDER BY version LIMIT ?"
	deleteChanges = "DELETE FROM changes WHERE version <= ?"
)

// Bump takes the next version and records the change, in the transaction of the
// mutation itself. It holds the version's row until the commit: that is what
// makes versions follow commit order.
func (r Changes) Bump(ctx context.Context, kind string, id realm.ID) error {
	if err := r.h.execOne(ctx, raiseVersion); err != nil {
		return fmt.Errorf("raise the version: %w", err)
	}
	version, err := r.Version(ctx)
	if err != nil {
		return err
	}
	_, err = r.h.exec(ctx, insertChange, version, kind, id, millis(r.h.now()))
	return err
}

// Version is the last one that was committed; within a transaction, its own.
func (r Changes) Version(ctx context.Context) (int64, error) {
	version, err := one(ctx, r.h, readInt, selectVersion)
	if err != nil {
		return 0, fmt.Errorf("read the version: %w", err)
	}
	return version, nil
}

func readInt(row scanner) (int64, error) {
	var n int64
	return n, row.Scan(&n)
}

// Since is up to limit changes after a version, in order.
func (r Changes) Since(ctx context.Context, after int64, limit int) ([]Change, error) {
	return list(ctx, r.h, func(row scanner) (Change, error) {
		var c Change
		return c, row.Scan(&c.Version, &c.Kind, &c.ID)
	}, selectChanges, after, limit)
}

// DeleteBefore forgets up to limit of the oldest changes made before t, and tells
// how many. A watcher that had not seen them reloads.
func (r Changes) DeleteBefore(ctx context.Context, t time.Time, limit int) (int64, error) {
	var last int64
	young := false // the clock may have stepped back: versions go without gaps, not before t everywhere
	err := r.h.each(ctx, oldestChanges, []any{limit}, func(row scanner) error {
		var version, at int64
		if err := row.Scan(&version, &at); err != nil {
			return fmt.Errorf("read a change: %w", err)
		}
		if young = young || at >= millis(t); !young {
			last = version
		}
		return nil
	})
	if err != nil || last == 0 {
		return 0, err
	}
	return r.h.exec(ctx, deleteChanges, last)
}
