// Package storetest gives tests a store on each engine, and holds the conformance
// suite that both must pass. It owns throw-away databases and, when there is no
// server to use, a throw-away server; it never opens a database that it did not
// make.
//
// REALMS_TEST_MYSQL_DSN names a server (mysql://root@127.0.0.1:3306), whose user
// may create databases. Without it a server on that very address is tried, and
// then mariadbd from the path is started. With CI=true nothing is skipped.
package storetest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"realms/internal/store"
)

// Engines names the engines to run a test over, "sqlite" first.
func Engines(testing.TB) []string { return []string{"sqlite", "mysql"} }

// Each runs a test over every engine, each time with a store of its own.
func Each(t *testing.T, test func(t *testing.T, s *store.Store)) {
	t.Helper()
	for _, engine := range Engines(t) {
		t.Run(engine, func(t *testing.T) { test(t, Open(t, engine)) })
	}
}

// Open is a migrated, empty store of the engine, gone when the test ends. When
// the engine cannot be had the test is skipped; under CI=true it fails.
func Open(t testing.TB, engine string) *store.Store {
	t.Helper()
	s := OpenDSN(t, store.Options{DSN: DSN(t, engine)})
	if _, err := s.Migrate(context.Background()); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return s
}

// SQLite is Open(t, "sqlite").
func SQLite(t testing.TB) *store.Store {
	t.Helper()
	return Open(t, "sqlite")
}

// OpenDSN opens a store without migrating it and closes it when the test ends.
func OpenDSN(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	s, err := store.Open(context.Background(), o)
	if err != nil {
		t.Fatalf("open a store: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close the store: %v", err)
		}
	})
	return s
}

// DSN is a new, empty database of the engine, gone when the test ends.
func DSN(t testing.TB, engine string) string {
	t.Helper()
	if engine == "sqlite" {
		return "sqlite:" + filepath.Join(t.TempDir(), "realms.db")
	}
	server := mysqlServer(t)
	name := "realms_test_" + strings.ToLower(rand.Text()[:12])
	run(t, server, "CREATE DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin")
	t.Cleanup(func() { run(t, server, "DROP DATABASE "+name) })
	return server.dsn(name)
}

// MariaDB tells whether the "mysql" engine is one.
func MariaDB(t testing.TB) bool {
	t.Helper()
	db, err := sql.Open("mysql", mysqlServer(t).driverDSN())
	if err != nil {
		t.Fatalf("open the test server: %v", err)
	}
	defer func() { _ = db.Close() }()
	var version string
	if err := db.QueryRowContext(context.Background(), "SELECT @@version").Scan(&version); err != nil {
		t.Fatalf("ask for the server's version: %v", err)
	}
	return strings.Contains(version, "MariaDB")
}

func run(t testing.TB, server *mysqlAddress, text string) {
	t.Helper()
	db, err := sql.Open("mysql", server.driverDSN())
	if err != nil {
		t.Fatalf("open the test server: %v", err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(context.Background(), text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// missing skips a test, or fails it where nothing may be skipped.
func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (CI=true: nothing is skipped)", why)
	}
	t.Skip(why)
}

// Raw is a connection of its own to a store's database, for what no store would
// do: changing rows behind its back, and looking at what really stands there.
func Raw(t testing.TB, dsn string) *sql.DB {
	t.Helper()
	driver, address := "sqlite", "file:"+strings.TrimPrefix(dsn, "sqlite:")+"?_busy_timeout=5000"
	if u, err := url.Parse(dsn); err == nil && u.Scheme == "mysql" {
		server, query, _ := strings.Cut(mysqlServer(t).driverDSN(), "?")
		driver, address = "mysql", strings.TrimSuffix(server, "/")+u.Path+"?clientFoundRows=true&"+query
	}
	db, err := sql.Open(driver, address)
	if err != nil {
		t.Fatalf("open the database: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}
