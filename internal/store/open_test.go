package store_test

import (
	"context"
	"database/sql"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// refused opens what cannot be opened and wants one line that says what to do.
func refused(t *testing.T, dsn, want string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s, err := store.Open(ctx, store.Options{DSN: dsn})
	if err == nil {
		t.Errorf("%s was opened: %v", dsn, s.Close())
		return
	}
	var e *realm.Error
	if !errors.As(err, &e) || !strings.Contains(e.Message, want) || strings.Contains(e.Message, "\n") {
		t.Errorf("%s: %v, want a line with %q", dsn, err, want)
	}
	if strings.Contains(err.Error(), password) {
		t.Errorf("the password is in %v", err)
	}
}

const password = "not" + "-to-be-seen"

func TestOpenRefusesDSN(t *testing.T) {
	for dsn, want := range map[string]string{
		"":                                       "must begin with sqlite: or mysql://",
		"postgres://u:" + password + "@h/d":      "must begin with sqlite: or mysql://",
		"./data/realms.db":                       "must begin with sqlite: or mysql://",
		"sqlite:":                                "the path of a file",
		"sqlite::memory:":                        "in memory is not possible",
		"sqlite:x.db?_txlock=deferred":           "no parameters",
		"mysql:root@127.0.0.1/realms":            "mysql://user:password@host:port/database",
		"mysql://root:" + password + "@h":        "mysql://user:password@host:port/database",
		"mysql://root:" + password + "%@h/d":     "percent-encoded",
		"mysql://u:" + password + "@h/d?tls=no/": "go-sql-driver/mysql",
	} {
		refused(t, dsn, want)
	}
}

func TestOpenSQLiteTroubles(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("this is no database. ", 100)), 0o600); err != nil {
		t.Fatal(err)
	}
	refused(t, "sqlite:"+text+"/realms.db", "make it, or choose another")
	refused(t, "sqlite:"+dir, "give this user write access")
	refused(t, "sqlite:"+text, "is not a SQLite database")
	if os.Geteuid() != 0 { // to root every directory is writable
		locked := filepath.Join(dir, "locked")
		if err := os.Mkdir(locked, 0o500); err != nil {
			t.Fatal(err)
		}
		refused(t, "sqlite:"+locked+"/realms.db", "permission denied")
		refused(t, "sqlite:"+locked+"/data/realms.db", "permission denied")
	}
}

// Whatever the path is called; and nobody else may read what is in it.
func TestOpenSQLitePaths(t *testing.T) {
	for _, name := range []string{"plain.db", "new/dir/x.db", "with space.db", "per%20cent.db", "hash#.db", "ümlaut.db", "a&b=c.db"} {
		path := filepath.Join(t.TempDir(), name)
		s := storetest.OpenDSN(t, store.Options{DSN: "sqlite:" + path})
		if _, err := s.Migrate(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for _, file := range []string{path, path + "-wal"} {
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v, %v", file, info, err)
			}
		}
	}
}

func TestOpenMySQLTroubles(t *testing.T) {
	dsn := storetest.DSN(t, "mysql")
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0") // a port that nobody answers
	if err != nil {
		t.Fatal(err)
	}
	nobody := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	refused(t, "mysql://root:"+password+"@"+nobody+"/realms", "does not answer: check that it runs")
	refused(t, "mysql://nobody:"+password+"@"+u.Host+"/realms", "refuses the user")
	missing := *u
	missing.Path = "/realms_test_missing"
	refused(t, missing.String(), "CREATE DATABASE realms_test_missing CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;")

	db := raw(t, dsn)
	alter := func(text string) {
		t.Helper()
		if _, err := db.ExecContext(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	name := strings.TrimPrefix(u.Path, "/")
	alter("CREATE TABLE other (name VARCHAR(20)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
	refused(t, dsn, "ALTER TABLE other CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;")
	alter("ALTER DATABASE " + name + " COLLATE utf8mb4_general_ci")
	refused(t, dsn, "ALTER DATABASE "+name+" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;")
}

// The settings of a connection that the rest relies on.
func TestConnectionSettings(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s := storetest.Open(t, engine)
		if s.Engine() != engine {
			t.Errorf("engine %q", s.Engine())
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("ping: %v", err)
		}
		for text, want := range map[string]map[string]string{
			"sqlite": {
				"PRAGMA synchronous": "2", "PRAGMA journal_mode": "wal", "PRAGMA foreign_keys": "1", "PRAGMA busy_timeout": "5000", "PRAGMA query_only": "0",
			},
			"mysql": {
				"SELECT @@collation_connection": "utf8mb4_bin", "SELECT @@innodb_lock_wait_timeout": "10", "SELECT @@sql_mode LIKE '%STRICT_ALL_TABLES%'": "1",
			},
		}[engine] {
			checkSetting(t, s.WritePool(), text, want)
		}
		if engine == "sqlite" {
			checkSetting(t, s.ReadPool(), "PRAGMA query_only", "1")
			if n := s.WritePool().Stats().MaxOpenConnections; n != 1 {
				t.Errorf("%d writers", n)
			}
		}
	})
}

func checkSetting(t *testing.T, db *sql.DB, text, want string) {
	t.Helper()
	var got string
	if err := db.QueryRowContext(t.Context(), text).Scan(&got); err != nil || got != want {
		t.Errorf("%s: %q, %v, want %q", text, got, err, want)
	}
}

func TestPingOfAClosedStore(t *testing.T) {
	s, err := store.Open(t.Context(), store.Options{DSN: storetest.DSN(t, "sqlite")})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Ping(t.Context()); realm.AsError(err).Code != realm.CodeUnavailable {
		t.Errorf("ping: %v", err)
	}
}

// Servers and commands mint side by side: whoever meets a taken id mints again,
// and a taken name is still a taken name.
func TestMintAgain(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		s := storetest.Open(t, engine)
		minted := []realm.ID{7, 7, 7, 8, 9, 1, 1, 1, 1, 1, 1}
		s.SetMint(func(time.Time) realm.ID {
			id := minted[0]
			minted = minted[1:]
			return id
		})
		insert := func(name string) (realm.ID, error) {
			g := realm.Group{Name: name}
			err := s.Tx(t.Context(), func(r store.Repos) error { return r.Groups.Insert(t.Context(), &g) })
			return g.ID, err
		}
		if id, err := insert("first"); err != nil || id != 7 {
			t.Errorf("first: id %d, %v", id, err)
		}
		if id, err := insert("second"); err != nil || id != 8 {
			t.Errorf("second: id %d, %v, want the one after two collisions", id, err)
		}
		if _, err := insert("second"); !errors.Is(err, store.ErrDuplicate) || len(minted) != 6 {
			t.Errorf("a taken name: %v, and %d ids left", err, len(minted))
		}
		if _, err := insert("third"); !errors.Is(err, store.ErrDuplicate) || len(minted) != 1 {
			t.Errorf("a broken mint: %v, and %d ids left", err, len(minted))
		}
		given := realm.Group{ID: 8, Name: "given"}
		err := s.Tx(t.Context(), func(r store.Repos) error { return r.Groups.Insert(t.Context(), &given) })
		if !errors.Is(err, store.ErrDuplicate) || given.ID != 8 {
			t.Errorf("a given id that is taken: %v, id %d", err, given.ID)
		}
	})
}

func TestMySQLServerName(t *testing.T) {
	got, err := store.MySQLServerName("mysql://u@db.example.com/realms?tls=true")
	if err != nil || got != "db.example.com" {
		t.Errorf("the certificate must name %q, %v", got, err)
	}
}
