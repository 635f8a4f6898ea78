package store

import (
	"bufio"
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
)

// A backup is JSON Lines: a header, then for each table a line that names it and
// its columns and a line for each row, then a line with what to expect of it all.
//
//	{"realms_backup":1,"schema":1,"engine":"sqlite","created_at":"2026-01-02T03:04:05Z"}
//	{"table":"user_groups","columns":["id","name","multiplier"]}
//	[1,"default",1000000]
//	{"end":true,"rows":1,"sha256":"…"}
//
// The sum is over every byte before the last line.
type (
	backupHeader struct {
		Format    int       `json:"realms_backup"`
		Schema    int64     `json:"schema"`
		Engine    string    `json:"engine"`
		CreatedAt time.Time `json:"created_at"`
	}
	backupTable struct {
		Table   string   `json:"table"`
		Columns []string `json:"columns"`
	}
	backupEnd struct {
		End  bool   `json:"end"`
		Rows int64  `json:"rows"`
		Sum  string `json:"sha256"`
	}
)

const backupFormat = 1

// tables is every table but schema_migrations, each after those it refers to,
// with its primary key.
var tables = []struct{ name, key, key2 string }{
	{name: "user_groups", key: "id"},
	{name: "models", key: "id"},
	{name: "channels", key: "id"},
	{name: "channel_groups", key: "channel_id", key2: "group_id"},
	{name: "channel_models", key: "channel_id", key2: "position"},
	{name: "endpoints", key: "id"},
	{name: "credentials", key: "id"},
	{name: "codex_accounts", key: "credential_id"},
	{name: "codex_signins", key: "state"},
	{name: "users", key: "id"},
	{name: "user_memberships", key: "user_id", key2: "group_id"},
	{name: "tokens", key: "id"},
	{name: "requests", key: "id"},
	{name: "attempts", key: "request_id", key2: "number"},
	{name: "objects", key: "id"},
	{name: "audit", key: "id"},
	{name: "settings", key: "name"},
	{name: "versions", key: "name"},
	{name: "changes", key: "version"},
}

// Backup writes everything as it was at one instant, as JSON Lines that Restore
// reads on either engine. It holds every secret as the store does, sealed or in
// the clear, and needs no key: whoever writes it to a file keeps others from
// reading it.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	lacking, err := s.pending(ctx, 0)
	if err != nil {
		return err
	}
	schema, err := s.schemaVersion(ctx)
	if err != nil {
		return err
	}
	if schema == 0 {
		return s.CheckSchema(ctx)
	}
	b := backupWriter{w: bufio.NewWriterSize(w, 1<<16), sum: sha256.New()}
	header := backupHeader{Format: backupFormat, Schema: schema, Engine: s.Engine(), CreatedAt: s.now().UTC()}
	if err := b.value(header); err != nil {
		return err
	}
	err = s.View(ctx, func(r Repos) error {
		h := r.Groups.h
		for _, t := range tables {
			err := b.table(ctx, h, t.name, t.key, t.key2)
			// Of a schema older than this program a table may be missing.
			if err != nil && (len(lacking) == 0 || s.dialect.fault(err) != faultNoTable) {
				return fmt.Errorf("back up %s: %w", t.name, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := b.value(backupEnd{End: true, Rows: b.rows, Sum: hex.EncodeToString(b.sum.Sum(nil))}); err != nil {
		return err
	}
	if err := b.w.Flush(); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

// schemaVersion is the last migration that was applied, 0 when none was.
func (s *Store) schemaVersion(ctx context.Context) (int64, error) {
	done, err := s.appliedMigrations(ctx)
	var last int64
	for version := range done {
		last = max(last, version)
	}
	return last, err
}

type backupWriter struct {
	w    *bufio.Writer
	sum  hash.Hash
	rows int64
	line []byte
}

func (b *backupWriter) value(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode a line of the backup: %w", err)
	}
	return b.write(append(line, '\n'))
}

func (b *backupWriter) write(line []byte) error {
	b.sum.Write(line)
	if _, err := b.w.Write(line); err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

// rowsPerPage bounds how long one result set stays open: a slow writer must not
// make the server close it.
const rowsPerPage = 1000

// table writes a table page by page, every column that it has.
func (b *backupWriter) table(ctx context.Context, h handle, name, key, key2 string) error {
	order, where := " ORDER BY "+key, " WHERE "+key+" > ?"
	if key2 != "" {
		// The first condition is there for the index, which the second hides.
		order, where = order+", "+key2, " WHERE "+key+" >= ? AND ("+key+" > ? OR "+key2+" > ?)"
	}
	p := backupPage{out: b, name: name, key: key, key2: key2}
	if err := p.read(ctx, h, "SELECT * FROM "+name+order+" LIMIT "+strconv.Itoa(rowsPerPage)); err != nil {
		return err
	}
	for p.rows == rowsPerPage {
		args := []any{p.last}
		if key2 != "" {
			args = []any{p.last, p.last, p.last2}
		}
		if err := p.read(ctx, h, "SELECT * FROM "+name+where+order+" LIMIT "+strconv.Itoa(rowsPerPage), args...); err != nil {
			return err
		}
	}
	return nil
}

// backupPage writes one page and knows where the next one begins.
type backupPage struct {
	out             *backupWriter
	name, key, key2 string
	columns         []string
	last, last2     any
	rows            int
}

func (p *backupPage) read(ctx context.Context, h handle, text string, args ...any) error {
	h.trace(text)
	rows, err := h.db.QueryContext(ctx, text, args...)
	if err != nil {
		return h.explain(err)
	}
	defer func() { _ = rows.Close() }() // rows.Err has told of what went wrong
	if p.columns == nil {
		if p.columns, err = rows.Columns(); err != nil {
			return fmt.Errorf("read the columns: %w", err)
		}
		if err := p.out.value(backupTable{Table: p.name, Columns: p.columns}); err != nil {
			return err
		}
	}
	p.rows = 0
	for rows.Next() {
		if err := p.row(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

func (p *backupPage) row(rows *sql.Rows) error {
	values, dest := make([]any, len(p.columns)), make([]any, len(p.columns))
	for i := range values {
		dest[i] = &values[i]
	}
	if err := rows.Scan(dest...); err != nil {
		return fmt.Errorf("read a row: %w", err)
	}
	line := append(p.out.line[:0], '[')
	for i, v := range values {
		if i > 0 {
			line = append(line, ',')
		}
		switch v := v.(type) {
		case nil:
			line = append(line, "null"...)
		case int64:
			line = strconv.AppendInt(line, v, 10)
		case []byte: // MySQL's texts
			values[i] = string(v)
			line = appendJSONString(line, string(v))
		case string:
			line = appendJSONString(line, v)
		default:
			return fmt.Errorf("column %s holds a %T", p.columns[i], v)
		}
		switch p.columns[i] {
		case p.key:
			p.last = values[i]
		case p.key2:
			p.last2 = values[i]
		}
	}
	line = append(line, ']', '\n')
	p.out.line = line
	p.rows++
	p.out.rows++
	return p.out.write(line)
}
