package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3/database"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migration is one step of the schema.
type Migration struct {
	Version   int64
	Name      string    // the file's, without folder and extension: 00001_initial
	AppliedAt time.Time // zero: pending
}

// step is a migration with what it does.
type step struct {
	Migration
	statements []string
}

// loadMigrations reads the goose folder, oldest first. The files are goose's, yet
// run by runStep, which can take up where a killed run left off.
func loadMigrations(fsys fs.FS) ([]step, error) {
	files, err := fs.Glob(fsys, "migrations/*.sql")
	if err != nil || len(files) == 0 {
		return nil, errors.Join(errors.New("no migrations are built in"), err)
	}
	slices.Sort(files)
	all := make([]step, len(files))
	for i, file := range files {
		name := strings.TrimSuffix(path.Base(file), ".sql")
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.ParseInt(number, 10, 64)
		if err != nil || version <= 0 {
			return nil, fmt.Errorf("migration %s does not begin with its number", file)
		}
		text, err := fs.ReadFile(fsys, file)
		if err != nil {
			return nil, fmt.Errorf("read a migration: %w", err)
		}
		all[i] = step{Migration{Version: version, Name: name}, statements(string(text))}
	}
	return all, nil
}

// statements are what stands between "-- +goose Up" and "-- +goose Down", each
// ended by a semicolon at the end of a line. Lines that are comments are left out.
func statements(file string) []string {
	_, up, _ := strings.Cut(file, "-- +goose Up\n")
	up, _, _ = strings.Cut(up, "-- +goose Down\n")
	var all []string
	var one strings.Builder
	for line := range strings.Lines(up) {
		if strings.HasPrefix(strings.TrimSpace(line), "--") {
			continue
		}
		one.WriteString(line)
		if text := strings.TrimSpace(one.String()); strings.HasSuffix(text, ";") {
			all = append(all, strings.TrimSuffix(text, ";"))
			one.Reset()
		}
	}
	if text := strings.TrimSpace(one.String()); text != "" {
		all = append(all, text)
	}
	return all
}

const (
	createVersionTable    = "CREATE TABLE IF NOT EXISTS schema_migrations (version BIGINT NOT NULL PRIMARY KEY, applied_at BIGINT NOT NULL)"
	insertAppliedVersion  = "INSERT INTO schema_migrations (version, applied_at) VALUES (?, ?)"
	deleteAppliedVersion  = "DELETE FROM schema_migrations WHERE version = ?"
	selectAppliedVersion  = "SELECT applied_at FROM schema_migrations WHERE version = ?"
	selectAppliedVersions = "SELECT version, applied_at FROM schema_migrations ORDER BY version DESC"
)

// versionTable is goose's table in the portable subset: one text for every
// engine, and a primary key that lets only one of two processes apply a version.
type versionTable struct{ *core }

func (versionTable) Tablename() string { return "schema_migrations" }

func (t versionTable) CreateVersionTable(ctx context.Context, db database.DBTxConn) error {
	return t.exec(ctx, db, createVersionTable)
}

func (t versionTable) Insert(ctx context.Context, db database.DBTxConn, r database.InsertRequest) error {
	return t.exec(ctx, db, insertAppliedVersion, r.Version, millis(t.now()))
}

func (t versionTable) Delete(ctx context.Context, db database.DBTxConn, version int64) error {
	return t.exec(ctx, db, deleteAppliedVersion, version)
}

func (t versionTable) exec(ctx context.Context, db database.DBTxConn, text string, args ...any) error {
	t.trace(text)
	if _, err := db.ExecContext(ctx, text, args...); err != nil {
		return fmt.Errorf("table of migrations: %w", err)
	}
	return nil
}

func (t versionTable) GetMigration(ctx context.Context, db database.DBTxConn, version int64) (*database.GetMigrationResult, error) {
	t.trace(selectAppliedVersion)
	var at int64
	err := db.QueryRowContext(ctx, selectAppliedVersion, version).Scan(&at)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, database.ErrVersionNotFound
	case err != nil:
		return nil, fmt.Errorf("table of migrations: %w", err)
	}
	return &database.GetMigrationResult{Timestamp: fromMillis(at), IsApplied: true}, nil
}

func (t versionTable) GetLatestVersion(ctx context.Context, db database.DBTxConn) (int64, error) {
	all, err := t.ListMigrations(ctx, db)
	if err != nil {
		return 0, err
	}
	if len(all) == 0 {
		return 0, database.ErrVersionNotFound
	}
	return all[0].Version, nil
}

func (t versionTable) ListMigrations(ctx context.Context, db database.DBTxConn) ([]*database.ListMigrationsResult, error) {
	h := handle{core: t.core, db: db}
	return list(ctx, h, func(row scanner) (*database.ListMigrationsResult, error) {
		var at int64
		r := database.ListMigrationsResult{IsApplied: true}
		return &r, row.Scan(&r.Version, &at)
	}, selectAppliedVersions)
}

// TableExists: only with goose's first row in it, which a killed run may not have
// come to write.
func (t versionTable) TableExists(ctx context.Context, db database.DBTxConn) (bool, error) {
	_, err := t.GetMigration(ctx, db, 0)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, database.ErrVersionNotFound), t.dialect.fault(err) == faultNoTable:
		return false, nil
	}
	return false, err
}
