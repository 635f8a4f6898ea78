package store

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"strconv"
	"strings"

	"realms/internal/realm"
)

// RestoreOptions of Restore.
type RestoreOptions struct {
	// SignedOut gives the state reason of a credential whose account came with the
	// backup, which goes out of use: the store it was taken from may go on using the
	// account, and to renew it here would end it there. nil: they stay as they were.
	SignedOut func(channel, credential string) string
}

// Restore loads what Backup wrote, in one transaction, into an empty store: one
// that was never migrated (then it is migrated as far as the backup was, loaded,
// and migrated on), or one at the backup's own schema version. A store that
// holds anything, a newer schema, or a damaged or cut-off file is refused with a
// *realm.Error and nothing is loaded. Sealed secrets are loaded as they are: the
// keys they need are asked for when the store is next opened.
func (s *Store) Restore(ctx context.Context, r io.Reader, o RestoreOptions) error {
	in := newBackupReader(r)
	header, err := in.header()
	if err != nil {
		return err
	}
	known, err := loadMigrations(s.migrations)
	if err != nil {
		return err
	}
	if newest := known[len(known)-1].Version; header.Schema > newest {
		return refuseRestore("The backup has schema version %d and this program knows %d at most: restore it with the newer Realms that wrote it.", header.Schema, newest)
	}
	if _, err := s.pending(ctx, 0); err != nil { // a database that is newer itself
		return err
	}
	schema, err := s.schemaVersion(ctx)
	switch {
	case err != nil:
		return err
	case schema == 0:
		if _, err := s.migrateTo(ctx, header.Schema); err != nil {
			return err
		}
	case schema != header.Schema:
		return refuseRestore("The backup has schema version %d and the database %d: restore into a new, empty database.", header.Schema, schema)
	}
	// Not by Tx: what was read of r cannot be read again.
	err = s.once(ctx, s.write, &sql.TxOptions{Isolation: writeIsolation}, true, func(repos Repos) error {
		h := repos.Groups.h
		if err := requireEmpty(ctx, h); err != nil {
			return err
		}
		err := in.load(ctx, h)
		if err != nil && ctx.Err() == nil && !in.sound() {
			return damaged(err) // a flipped bit can make any statement fail
		}
		if err != nil || o.SignedOut == nil {
			return err
		}
		return h.signOutRestored(ctx, o.SignedOut)
	})
	if err != nil {
		return err
	}
	s.whole.Store(false) // whether it is, the next Open learns from what was loaded
	s.marked.Store(false)
	_, err = s.migrateTo(ctx, 0)
	return err
}

const (
	selectRestoredAccounts = "SELECT credentials.id, credentials.name, channels.name FROM codex_accounts JOIN credentials ON credentials.id = codex_accounts.credential_id " +
		"JOIN endpoints ON endpoints.id = credentials.endpoint_id JOIN channels ON channels.id = endpoints.channel_id ORDER BY credentials.id"
	signOutRestored = "UPDATE credentials SET state = ?, state_reason = ?, state_since = ? WHERE id = ?"
)

// signOutRestored needs no key, and so says it in SQL of its own.
func (h handle) signOutRestored(ctx context.Context, reason func(channel, credential string) string) error {
	type account struct {
		id                  realm.ID
		credential, channel string
	}
	accounts, err := list(ctx, h, func(row scanner) (a account, err error) {
		return a, row.Scan(&a.id, &a.credential, &a.channel)
	}, selectRestoredAccounts)
	if h.dialect.fault(err) == faultNoTable { // of a schema without accounts
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the accounts: %w", err)
	}
	for _, a := range accounts {
		_, err := h.exec(ctx, signOutRestored, string(realm.CredentialDisabled), clip(reason(a.channel, a.credential), maxReason), millis(h.now()), a.id)
		if err != nil {
			return fmt.Errorf("put an account out of use: %w", err)
		}
	}
	return nil
}

func refuseRestore(format string, args ...any) *realm.Error {
	return &realm.Error{Code: realm.CodeConflict, Message: fmt.Sprintf(format, args...)}
}

func damaged(err error) *realm.Error {
	return &realm.Error{Code: realm.CodeInvalid, Message: "The file is not a whole Realms backup: it is damaged or cut off. Nothing was restored; use another copy.", Err: err}
}

// requireEmpty passes a store that holds no more than its migrations and a first
// start put there, and takes that away.
func requireEmpty(ctx context.Context, h handle) error {
	for _, t := range tables {
		var rows int
		var first, where string
		if t.name == "settings" {
			where = " WHERE name <> '" + sealMark + "'"
		}
		err := h.each(ctx, "SELECT "+t.key+" FROM "+t.name+where+" LIMIT 2", nil, func(row scanner) error {
			rows++
			if rows > 1 {
				return nil
			}
			return row.Scan(&first)
		})
		if h.dialect.fault(err) == faultNoTable { // of a later schema than the backup's
			continue
		}
		if err != nil {
			return err
		}
		ours := t.name == "user_groups" && first == "1" || t.name == "versions" || t.name == "settings" && first == InstanceSecret
		if rows > 1 || rows == 1 && !ours {
			return refuseRestore("The database is not empty (there is something in %s): restore into a new one.", t.name)
		}
	}
	switch version, err := (Changes{h}).Version(ctx); {
	case err != nil:
		return err
	case version != 0:
		return refuseRestore("The database has been in use (version %d): restore into a new one.", version)
	}
	for _, text := range []string{"DELETE FROM user_groups", "DELETE FROM versions", "DELETE FROM settings"} {
		if _, err := h.exec(ctx, text); err != nil {
			return err
		}
	}
	return nil
}

// How the lines begin that Backup writes.
const (
	startOfTable = `{"table":`
	endOfBackup  = `{"end":`
)

// maxBackupLine is longer than any row can be.
const maxBackupLine = 8 << 20

type backupReader struct {
	lines *bufio.Scanner
	sum   hash.Hash
	rows  int64
	// What is to be inserted next.
	table   string
	columns []string
	args    []any
}

func newBackupReader(r io.Reader) *backupReader {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<16), maxBackupLine)
	return &backupReader{lines: lines, sum: sha256.New()}
}

// next is a line that is counted into the sum unless it is the last.
func (b *backupReader) next() ([]byte, error) {
	if !b.lines.Scan() {
		return nil, damaged(errors.Join(errors.New("the last line is missing"), b.lines.Err()))
	}
	line := b.lines.Bytes()
	if !bytes.HasPrefix(line, []byte(endOfBackup)) {
		b.sum.Write(line)
		b.sum.Write([]byte{'\n'})
	}
	return line, nil
}

func (b *backupReader) header() (backupHeader, error) {
	var h backupHeader
	line, err := b.next()
	if err != nil {
		return h, err
	}
	if err := json.Unmarshal(line, &h); err != nil || h.Format == 0 || h.Schema <= 0 {
		return h, damaged(errors.Join(errors.New("the first line is not a backup's"), err))
	}
	if h.Format != backupFormat {
		return h, refuseRestore("The backup has format %d and this program knows %d: restore it with the Realms that wrote it.", h.Format, backupFormat)
	}
	return h, nil
}

// load inserts everything and compares it with what the last line says.
func (b *backupReader) load(ctx context.Context, h handle) error {
	for {
		line, err := b.next()
		if err != nil {
			return err
		}
		switch {
		case len(line) > 0 && line[0] == '[':
			if err := b.row(ctx, h, line); err != nil {
				return err
			}
		case bytes.HasPrefix(line, []byte(startOfTable)):
			if err := b.flush(ctx, h); err != nil {
				return err
			}
			if err := b.begin(line); err != nil {
				return err
			}
		default:
			if err := b.flush(ctx, h); err != nil {
				return err
			}
			return b.end(line)
		}
	}
}

// begin takes up a table; names go into SQL, so they are looked at first.
func (b *backupReader) begin(line []byte) error {
	var t backupTable
	if err := json.Unmarshal(line, &t); err != nil {
		return damaged(err)
	}
	for _, name := range append(slices.Clone(t.Columns), t.Table) {
		if name == "" || strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_") != "" {
			return damaged(fmt.Errorf("%q is not a name", name))
		}
	}
	if len(t.Columns) == 0 || t.Table == "schema_migrations" {
		return damaged(fmt.Errorf("table %q cannot be restored", t.Table))
	}
	b.table, b.columns, b.args = t.Table, t.Columns, b.args[:0]
	return nil
}

// rowsPerRestore is how many rows one statement inserts.
const rowsPerRestore = 100

func (b *backupReader) row(ctx context.Context, h handle, line []byte) error {
	var values []any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil || b.table == "" || len(values) != len(b.columns) {
		return damaged(errors.Join(fmt.Errorf("a row of %q does not fit", b.table), err))
	}
	for _, v := range values {
		if n, ok := v.(json.Number); ok {
			i, err := strconv.ParseInt(n.String(), 10, 64)
			if err != nil {
				return damaged(err)
			}
			v = i
		}
		b.args = append(b.args, v)
	}
	b.rows++
	if len(b.args) < rowsPerRestore*len(b.columns) {
		return nil
	}
	return b.flush(ctx, h)
}

func (b *backupReader) flush(ctx context.Context, h handle) error {
	if len(b.args) == 0 {
		return nil
	}
	tuple := "(?" + strings.Repeat(", ?", len(b.columns)-1) + ")"
	text := "INSERT INTO " + b.table + " (" + strings.Join(b.columns, ", ") + ") VALUES " +
		tuple + strings.Repeat(", "+tuple, len(b.args)/len(b.columns)-1)
	if _, err := h.exec(ctx, text, b.args...); err != nil {
		return fmt.Errorf("restore %s: %w", b.table, err)
	}
	b.args = b.args[:0]
	return nil
}

// sound reads on to the end, inserting nothing, and tells whether the file is what
// Backup wrote.
func (b *backupReader) sound() bool {
	for {
		line, err := b.next()
		if err != nil {
			return false
		}
		if bytes.HasPrefix(line, []byte(endOfBackup)) {
			var end backupEnd
			return json.Unmarshal(line, &end) == nil && end.Sum == hex.EncodeToString(b.sum.Sum(nil))
		}
	}
}

func (b *backupReader) end(line []byte) error {
	var end backupEnd
	if err := json.Unmarshal(line, &end); err != nil || !end.End {
		return damaged(errors.Join(errors.New("a line is neither a table, a row nor the end"), err))
	}
	if sum := hex.EncodeToString(b.sum.Sum(nil)); end.Rows != b.rows || end.Sum != sum {
		return damaged(fmt.Errorf("%d rows with sum %s instead of %d with %s", b.rows, sum, end.Rows, end.Sum))
	}
	if b.lines.Scan() {
		return damaged(errors.New("something follows the last line"))
	}
	return nil
}
