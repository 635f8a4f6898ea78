package store_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// released names this program's migrations, notes the one that later adds.
var (
	released = []string{"00001_initial", "00002_settings", "00003_codex"}
	notes    = "00004_notes"
)

// first is the folder of an earlier version: this program's first n migrations.
func first(t testing.TB, n int) fstest.MapFS {
	t.Helper()
	all := fstest.MapFS{}
	for _, name := range released[:n] {
		path := "migrations/" + name + ".sql"
		data, err := fs.ReadFile(store.MigrationFiles, path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = &fstest.MapFile{Data: data}
	}
	return all
}

// later is the folder of a later version: a table, a column, an index and a row
// more.
func later(t testing.TB) fs.FS {
	t.Helper()
	all := first(t, len(released))
	all["migrations/"+notes+".sql"] = &fstest.MapFile{Data: []byte(`-- +goose Up
-- What somebody wants to remember.
CREATE TABLE IF NOT EXISTS notes (
    id BIGINT NOT NULL PRIMARY KEY
);
ALTER TABLE notes ADD COLUMN label VARCHAR(190) NOT NULL DEFAULT '';
CREATE UNIQUE INDEX notes_label ON notes (label);
INSERT INTO notes (id, label) VALUES (1, 'one');
-- +goose Down
DROP TABLE notes;
`)}
	return all
}

func open(t testing.TB, dsn string, trace func(string)) *store.Store {
	t.Helper()
	return storetest.OpenDSN(t, store.Options{DSN: dsn, Trace: trace})
}

func migrate(t testing.TB, s *store.Store) []string {
	t.Helper()
	applied, err := s.Migrate(t.Context())
	if err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return applied
}

func eachEngine(t *testing.T, test func(t *testing.T, engine string)) {
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) { test(t, engine) })
	}
}

func TestMigrate(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dsn := storetest.DSN(t, engine)
		s := open(t, dsn, nil)
		if err := s.CheckSchema(t.Context()); !strings.Contains(realm.AsError(err).Message, "realms migrate up") {
			t.Errorf("a database without tables: %v", err)
		}
		if _, err := s.Read().Groups.List(t.Context()); !strings.Contains(realm.AsError(err).Message, "realms migrate up") {
			t.Errorf("a read without tables: %v", err)
		}
		for _, want := range [][]string{released, nil} {
			if diff := cmp.Diff(want, migrate(t, s)); diff != "" {
				t.Errorf("applied (-want +got):\n%s", diff)
			}
		}
		status, err := s.MigrationStatus(t.Context())
		if err != nil || len(status) != len(released) || status[0].Name != released[0] || status[len(status)-1].AppliedAt.IsZero() {
			t.Errorf("status %+v, %v", status, err)
		}
		if err := s.CheckSchema(t.Context()); err != nil {
			t.Errorf("a migrated database: %v", err)
		}

		newer := open(t, dsn, nil)
		newer.SetMigrations(later(t))
		if diff := cmp.Diff([]string{notes}, migrate(t, newer)); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		for name, verb := range map[string]func() error{
			"CheckSchema": func() error { return s.CheckSchema(t.Context()) },
			"Migrate":     func() error { _, err := s.Migrate(t.Context()); return err },
			"Backup":      func() error { return s.Backup(t.Context(), &strings.Builder{}) },
		} {
			if err := verb(); !strings.Contains(realm.AsError(err).Message, "newer Realms") {
				t.Errorf("%s of a newer schema: %v", name, err)
			}
		}
	})
}

// Killed before any of its statements, a migration is completed by running it
// again.
func TestKilledMigration(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		step := 1
		if storetest.Race {
			step = 7
		}
		for kill := 1; ; kill += step {
			dsn := storetest.DSN(t, engine)
			ctx, cancel := context.WithCancel(t.Context())
			sent := 0
			killed := open(t, dsn, func(text string) {
				if !strings.HasPrefix(text, "SELECT") {
					sent++
				}
				if sent == kill {
					cancel()
				}
			})
			killed.SetMigrations(later(t))
			_, err := killed.Migrate(ctx)
			cancel()
			if err == nil { // it has fewer statements than that
				if kill < 20 {
					t.Errorf("a migration of %d statements", sent)
				}
				return
			}
			s := open(t, dsn, nil)
			s.SetMigrations(later(t))
			migrate(t, s)
			complete(t, s, dsn)
		}
	})
}

// complete checks that a schema is whole: its tables can be written and read, and
// what the migrations insert is there once.
func complete(t *testing.T, s *store.Store, dsn string) {
	t.Helper()
	if err := s.CheckSchema(t.Context()); err != nil {
		t.Error(err)
	}
	db := raw(t, dsn)
	for text, want := range map[string]int{"SELECT COUNT(*) FROM notes WHERE label = 'one'": 1, "SELECT COUNT(*) FROM user_groups": 1, "SELECT COUNT(*) FROM versions": 1} {
		var n int
		if err := db.QueryRowContext(t.Context(), text).Scan(&n); err != nil || n != want {
			t.Errorf("%s: %d, %v", text, n, err)
		}
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO notes (id, label) VALUES (2, 'one')"); err == nil {
		t.Error("the unique index is missing")
	}
	err := s.Tx(t.Context(), func(r store.Repos) error {
		return errors.Join(r.Groups.Insert(t.Context(), &realm.Group{Name: "g"}), r.Changes.Bump(t.Context(), store.KindGroup, 1))
	})
	if err != nil {
		t.Error(err)
	}
}

// raw is the database behind a DSN, for what the store does not do.
func raw(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	driver, name, _ := strings.Cut(dsn, ":")
	if driver == "mysql" {
		user, rest, _ := strings.Cut(strings.TrimPrefix(name, "//"), "@")
		host, database, _ := strings.Cut(rest, "/")
		name = user + "@tcp(" + host + ")/" + database
	}
	db, err := sql.Open(driver, name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// Servers that start together all want to migrate.
func TestMigrateTogether(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dsn := storetest.DSN(t, engine)
		var mu sync.Mutex
		var all []string
		var wg sync.WaitGroup
		for range 4 {
			s := open(t, dsn, nil)
			s.SetMigrations(later(t))
			wg.Go(func() {
				applied, err := s.Migrate(t.Context())
				if err != nil {
					t.Errorf("migrate: %v", err)
				}
				mu.Lock()
				all = append(all, applied...)
				mu.Unlock()
			})
		}
		wg.Wait()
		slices.Sort(all)
		if diff := cmp.Diff(append(slices.Clone(released), notes), all); diff != "" {
			t.Errorf("applied by all together (-want +got):\n%s", diff)
		}
		s := open(t, dsn, nil)
		s.SetMigrations(later(t))
		complete(t, s, dsn)
	})
}

// A SQLite file with data is copied before it is changed, and the copy is a
// database of the version before.
func TestMigrateCopiesFirst(t *testing.T) {
	dsn := storetest.DSN(t, "sqlite")
	path := strings.TrimPrefix(dsn, "sqlite:")
	before := open(t, dsn, nil)
	migrate(t, before)
	if copies, _ := filepath.Glob(path + ".before-*"); len(copies) != 0 {
		t.Errorf("a new database was copied: %v", copies)
	}
	if err := before.Tx(t.Context(), func(r store.Repos) error { return r.Settings.Set(t.Context(), "kept", "1") }); err != nil {
		t.Fatal(err)
	}
	s := open(t, dsn, nil)
	s.SetMigrations(later(t))
	migrate(t, s)
	copies, err := filepath.Glob(path + ".before-" + notes + "-*Z")
	if err != nil || len(copies) != 1 {
		t.Fatalf("copies: %v, %v", copies, err)
	}
	info, err := os.Stat(copies[0])
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the copy: %v, %v", info.Mode(), err)
	}
	old := open(t, "sqlite:"+copies[0], nil)
	if err := old.CheckSchema(t.Context()); err != nil {
		t.Errorf("the copy's schema: %v", err)
	}
	if v, err := old.Read().Settings.Get(t.Context(), "kept"); err != nil || v != "1" {
		t.Errorf("the copy's data: %q, %v", v, err)
	}
}

// A backup of an older schema is restored through the migrations since.
func TestRestoreOlderSchema(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		source := storetest.SQLite(t)
		if err := source.Tx(t.Context(), func(r store.Repos) error { return r.Settings.Set(t.Context(), "kept", "1") }); err != nil {
			t.Fatal(err)
		}
		var file strings.Builder
		if err := source.Backup(t.Context(), &file); err != nil {
			t.Fatal(err)
		}
		dsn := storetest.DSN(t, engine)
		s := open(t, dsn, nil)
		s.SetMigrations(later(t))
		if err := s.Restore(t.Context(), strings.NewReader(file.String()), store.RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		complete(t, s, dsn)
		if v, err := s.Read().Settings.Get(t.Context(), "kept"); err != nil || v != "1" {
			t.Errorf("the data: %q, %v", v, err)
		}

		migrated := open(t, storetest.DSN(t, engine), nil)
		migrated.SetMigrations(later(t))
		migrate(t, migrated)
		err := migrated.Restore(t.Context(), strings.NewReader(file.String()), store.RestoreOptions{})
		if realm.AsError(err).Code != realm.CodeConflict {
			t.Errorf("restored into a later schema: %v", err)
		}
	})
}

// Every table and column is in a backup.
func TestBackupIsComplete(t *testing.T) {
	dsn := storetest.DSN(t, "sqlite")
	migrate(t, open(t, dsn, nil))
	rows, err := raw(t, dsn).QueryContext(t.Context(), "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'schema_migrations'")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = rows.Close() }()
	var want []string
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		want = append(want, name)
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	got := store.Tables()
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tables of a backup (-schema +backup):\n%s", diff)
	}
}

func TestStatements(t *testing.T) {
	got := store.Statements("-- +goose Up\n\n-- a comment;\nSELECT 1;\nSELECT ';'\n  , 2;\n-- +goose Down\nSELECT 3;\n")
	if diff := cmp.Diff([]string{"SELECT 1", "SELECT ';'\n  , 2"}, got); diff != "" {
		t.Errorf("statements (-want +got):\n%s", diff)
	}
}
