package store

import (
	"context"
	"errors"

	"realms/internal/realm"
	"realms/internal/secret"
)

// sealedColumn is a column that holds secrets.
type sealedColumn struct {
	table, column, key string
	named              bool   // the key is a text, not a number
	where              string // which rows; "": all of them
	// inner turns the secrets within what is stored; nil: the column is one.
	inner func(row, stored string, each turn) (string, error)
}

// sealedColumns is every one of them. What is not listed here is lost when an old
// key is removed.
var sealedColumns = []sealedColumn{
	{table: "credentials", column: "api_key", key: "id"},
	{table: "channels", column: "settings", key: "id", inner: turnSettings},
	{table: "codex_accounts", column: "tokens", key: "credential_id"},
	{table: "codex_signins", column: "secret", key: "state", named: true},
	{table: "settings", column: "value", key: "name", named: true, where: "name = '" + InstanceSecret + "'"},
}

// turnSettings turns the secrets within a channel's settings. Settings in which
// nothing changes stay as they are to the byte.
func turnSettings(row, stored string, each turn) (string, error) {
	var s storedSettings
	if err := decodeStrict("settings of channel "+row, stored, &s); err != nil {
		return "", err
	}
	changed := false
	err := s.secrets(func(part, text string) (string, error) {
		turned, err := each(part, text)
		changed = changed || turned != text
		return turned, err
	})
	if err != nil || !changed {
		return stored, err
	}
	return encodeSame("settings", s)
}

// turn turns every secret in what a row of the column holds.
func (c sealedColumn) turn(row, stored string, each turn) (string, error) {
	if c.inner != nil {
		return c.inner(row, stored, each)
	}
	return each(c.column, stored)
}

// sealableRow is a row of a sealedColumn, its key as a Place has it.
type sealableRow struct{ key, stored string }

// sealable is a page of a column's rows in the order of their keys.
func (h handle) sealable(ctx context.Context, c sealedColumn, last string) ([]sealableRow, error) {
	text, args := "SELECT "+c.key+", "+c.column+" FROM "+c.table+" WHERE "+c.column+" <> ''", []any(nil)
	if c.where != "" {
		text += " AND " + c.where
	}
	if last != "" {
		after, err := c.argument(last)
		if err != nil {
			return nil, err
		}
		text, args = text+" AND "+c.key+" > ?", append(args, after)
	}
	return list(ctx, h, func(row scanner) (sealableRow, error) {
		var r sealableRow
		return r, row.Scan(&r.key, &r.stored)
	}, text+" ORDER BY "+c.key+" LIMIT ?", append(args, rowsPerSealing)...)
}

// argument is a row's key as the column compares it: a number as a number, since
// MySQL compares a text with one as floating point.
func (c sealedColumn) argument(key string) (any, error) {
	if c.named {
		return key, nil
	}
	return realm.ParseID(key)
}

// eachSecret gives every secret that is not empty, as it is stored. A row that
// cannot be taken apart is given whole.
func (h handle) eachSecret(ctx context.Context, fn func(p secret.Place, stored string) error) error {
	for _, c := range sealedColumns {
		last := ""
		for {
			rows, err := h.sealable(ctx, c, last)
			if h.dialect.fault(err) == faultNoTable { // of a later schema than this one
				break
			}
			if err != nil {
				return err
			}
			for _, row := range rows {
				if err := c.each(row, fn); err != nil {
					return err
				}
			}
			if len(rows) < rowsPerSealing {
				break
			}
			last = rows[len(rows)-1].key
		}
	}
	return nil
}

func (c sealedColumn) each(row sealableRow, fn func(p secret.Place, stored string) error) error {
	var found error
	_, err := c.turn(row.key, row.stored, func(part, text string) (string, error) {
		if text != "" && found == nil {
			found = fn(secret.Place{Table: c.table, Column: part, Row: row.key}, text)
		}
		return text, nil
	})
	if err != nil {
		return fn(secret.Place{Table: c.table, Column: c.column, Row: row.key}, row.stored)
	}
	return found
}

// errFound ends a search.
var errFound = errors.New("found")

// KeepsSecrets tells whether there is any secret in the store, sealed or not, that
// somebody has put there.
func (s *Store) KeepsSecrets(ctx context.Context) (bool, error) {
	err := handle{core: s.core, db: s.read}.eachSecret(ctx, func(p secret.Place, _ string) error {
		if p.Row == InstanceSecret {
			return nil
		}
		return errFound
	})
	if errors.Is(err, errFound) {
		return true, nil
	}
	return false, err
}
