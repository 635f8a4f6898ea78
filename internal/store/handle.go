package store

import (
	"context"
	"database/sql"
	"fmt"

	"realms/internal/realm"
	"realms/internal/secret"
)

// querier is what the pool and a transaction have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// handle is what a repository works on.
type handle struct {
	*core
	db       querier
	writable bool
	// sealer is what this transaction seals with; asked for once, and only by a
	// transaction that writes a secret. nil outside one.
	sealer func() (*secret.Keyring, error)
}

// exec runs a statement that changes rows and tells how many it matched.
func (h handle) exec(ctx context.Context, text string, args ...any) (int64, error) {
	if !h.writable {
		return 0, errReadOnly
	}
	h.trace(text)
	res, err := h.db.ExecContext(ctx, text, args...)
	if err != nil {
		return 0, h.explain(err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return 0, fmt.Errorf("count affected rows: %w", err)
	}
	return n, nil
}

// execOne is exec for exactly one row: none is ErrNotFound.
func (h handle) execOne(ctx context.Context, text string, args ...any) error {
	n, err := h.exec(ctx, text, args...)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// maxMints is how often insert mints before it believes that something is wrong.
const maxMints = 5

// insert runs an INSERT whose first column is the id. A zero id is minted, anew
// when it meets a primary key: servers and commands mint side by side.
func (h handle) insert(ctx context.Context, id *realm.ID, text string, rest ...any) error {
	return h.insertWith(ctx, id, text, func(realm.ID) ([]any, error) { return rest, nil })
}

// insertWith is insert for columns that depend on the id, as what is sealed does:
// they are made anew for each id that is tried.
func (h handle) insertWith(ctx context.Context, id *realm.ID, text string, rest func(id realm.ID) ([]any, error)) error {
	minted := *id == 0
	for try := 1; ; try++ {
		row := *id
		if minted {
			row = h.mint(h.now())
		}
		columns, err := rest(row)
		if err != nil {
			return err
		}
		_, err = h.exec(ctx, text, append([]any{row}, columns...)...)
		if err == nil {
			*id = row
			return nil
		}
		if !minted || try == maxMints || h.dialect.fault(err) != faultPrimary {
			return err
		}
	}
}

// explain adds the repository's word for an engine's error; the engine's stays in
// the chain, because Tx and insert look at it.
func (h handle) explain(err error) error {
	switch h.dialect.fault(err) {
	case faultPrimary, faultUnique:
		return fmt.Errorf("%w: %w", ErrDuplicate, err)
	case faultReference:
		return fmt.Errorf("%w: %w", ErrReference, err)
	case faultNoTable:
		return &realm.Error{Code: realm.CodeUnavailable, Message: "The database has no tables yet: run realms migrate up.", Err: err}
	case faultOther, faultRetry:
	}
	return err
}

// scanner is a row being read.
type scanner interface{ Scan(dest ...any) error }

// each runs a query and gives its rows to read, one after the other. The rows
// hold the connection: read must not use the handle.
func (h handle) each(ctx context.Context, text string, args []any, read func(row scanner) error) error {
	h.trace(text)
	rows, err := h.db.QueryContext(ctx, text, args...)
	if err != nil {
		return h.explain(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has told of what went wrong
	for rows.Next() {
		if err := read(rows); err != nil {
			return err
		}
	}
	if err := rows.Err(); err != nil {
		return h.explain(err)
	}
	return nil
}

// list collects a query's rows.
func list[T any](ctx context.Context, h handle, read func(row scanner) (T, error), text string, args ...any) ([]T, error) {
	var all []T
	err := h.each(ctx, text, args, func(row scanner) error {
		v, err := read(row)
		if err != nil {
			return fmt.Errorf("read a row: %w", err)
		}
		all = append(all, v)
		return nil
	})
	return all, err
}

// one is the first row of a query; none is ErrNotFound.
func one[T any](ctx context.Context, h handle, read func(row scanner) (T, error), text string, args ...any) (T, error) {
	all, err := list(ctx, h, read, text, args...)
	var none T
	switch {
	case err != nil:
		return none, err
	case len(all) == 0:
		return none, ErrNotFound
	}
	return all[0], nil
}
