package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/pressly/goose/v3/lock"
	"modernc.org/sqlite"

	"realms/internal/realm"
)

// sqliteDialect is SQLite through modernc.org/sqlite, which needs no cgo.
type sqliteDialect struct{ path string }

func newSQLite(dsn string) (dialect, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(dsn, "sqlite:"), "//")
	if path == "" || strings.HasPrefix(path, ":memory:") || strings.Contains(path, "?") {
		return nil, realm.Invalid("db.dsn", "A SQLite DSN is sqlite: and the path of a file, "+
			"as in sqlite:./data/realms.db; it takes no parameters, and a database in memory is not possible.")
	}
	return sqliteDialect{path: filepath.Clean(path)}, nil
}

func (sqliteDialect) name() string { return "sqlite" }

// The writer takes its lock when a transaction begins: one that reads first and
// locks later gets SQLITE_BUSY at once when another wrote in between, whatever
// the timeout (990 of 1000, measured). FULL, because a commit must outlive a
// power loss. The WAL is cut back to 64 MiB after a long reader. What is changed or
// deleted is overwritten: a token that was taken away stays in no free page.
const (
	sqliteWriter = "_busy_timeout=5000&_journal_mode=WAL&_synchronous=FULL&_foreign_keys=1&_txlock=immediate" +
		"&_pragma=cache_size(-8192)&_pragma=journal_size_limit(67108864)&_pragma=secure_delete(ON)"
	sqliteReader = "_busy_timeout=5000&_foreign_keys=1&_txlock=deferred&_query_only=1"
)

func (d sqliteDialect) open(ctx context.Context) (write, read *sql.DB, err error) {
	if err := d.prepareFile(); err != nil {
		return nil, nil, err
	}
	file := "file:" + (&url.URL{Path: d.path}).EscapedPath()
	if write, err = sql.Open("sqlite", file+"?"+sqliteWriter); err != nil {
		return nil, nil, d.refuse(err)
	}
	write.SetMaxOpenConns(1) // SQLite has one writer: queue here, where waiting heeds the context
	if read, err = sql.Open("sqlite", file+"?"+sqliteReader); err != nil {
		return nil, nil, errors.Join(d.refuse(err), write.Close())
	}
	read.SetMaxOpenConns(max(4, runtime.GOMAXPROCS(0)))
	read.SetMaxIdleConns(4)
	// The schema's version is on the first page, so this reads the file for once.
	var n int64
	for _, db := range []*sql.DB{write, read} {
		if err := db.QueryRowContext(ctx, "PRAGMA schema_version").Scan(&n); err != nil {
			return nil, nil, errors.Join(d.refuse(err), write.Close(), read.Close())
		}
	}
	return write, read, nil
}

// prepareFile makes the directory and the file, readable by its owner alone: it
// holds the providers' keys. SQLite gives its companions the file's own mode.
func (d sqliteDialect) prepareFile() error {
	dir := filepath.Dir(d.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unavailable(fmt.Sprintf("The directory %s cannot be made (%s): make it, or choose another with REALMS_DATA_DIR or REALMS_DB_DSN.", dir, reason(err)), err)
	}
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return unavailable(fmt.Sprintf("The database %s cannot be opened for writing (%s): give this user write access to the file and its directory, or choose another with REALMS_DATA_DIR or REALMS_DB_DSN.", d.path, reason(err)), err)
	}
	return f.Close()
}

// reason is the last part of an operating system's error ("permission denied").
func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

func (d sqliteDialect) refuse(err error) *realm.Error {
	switch sqliteCode(err) & 0xff {
	case 26: // SQLITE_NOTADB
		return unavailable(fmt.Sprintf("%s is not a SQLite database: choose another file with REALMS_DB_DSN.", d.path), err)
	case 11: // SQLITE_CORRUPT
		return unavailable(fmt.Sprintf("The database %s is damaged: restore a backup with realms restore.", d.path), err)
	case 5: // SQLITE_BUSY
		return unavailable(fmt.Sprintf("The database %s is locked by another program: end that program, or wait for it.", d.path), err)
	default:
		return unavailable(fmt.Sprintf("The database %s cannot be opened: give this user write access to the file and its directory, and check that the disk is not full.", d.path), err)
	}
}

func (d sqliteDialect) openSchema(write *sql.DB) (*sql.DB, func() error, error) {
	return write, func() error { return nil }, nil
}

// sqliteCode is the extended result code, 0 when err is not SQLite's.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return 0
	}
	return e.Code()
}

func (sqliteDialect) fault(err error) fault {
	switch code := sqliteCode(err); {
	case code == 1555: // SQLITE_CONSTRAINT_PRIMARYKEY
		return faultPrimary
	case code == 2067: // SQLITE_CONSTRAINT_UNIQUE
		return faultUnique
	case code == 787: // SQLITE_CONSTRAINT_FOREIGNKEY
		return faultReference
	case code&0xff == 5, code&0xff == 6: // SQLITE_BUSY, SQLITE_LOCKED
		return faultRetry
	case code == 1 && strings.Contains(err.Error(), "no such table"):
		return faultNoTable
	}
	return faultOther
}

// doneBefore: never, a killed migration was rolled back whole.
func (sqliteDialect) doneBefore(error) bool { return false }

func (sqliteDialect) insertOnce(string) (head, tail string) {
	return "INSERT INTO ", " ON CONFLICT DO NOTHING"
}

// migrationLock: none. A migration is one transaction that ends with the insert
// of its version, so of two processes one fails as a whole and looks again.
func (sqliteDialect) migrationLock() lock.SessionLocker { return nil }

func (d sqliteDialect) copyDatabase(ctx context.Context, db *sql.DB, label string) (string, error) {
	path := d.path + "." + label
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", unavailable(fmt.Sprintf("The copy %s that is made before a migration cannot be written (%s).", path, reason(err)), err)
	}
	if err := f.Close(); err != nil {
		return "", fmt.Errorf("copy the database: %w", err)
	}
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", path); err != nil {
		return "", errors.Join(unavailable(fmt.Sprintf("The copy %s that is made before a migration failed: check that the disk has room for it.", path), err), os.Remove(path))
	}
	return path, nil
}

// scrub writes the file anew and empties the WAL: both hold pages with what was
// there before.
func (d sqliteDialect) scrub(ctx context.Context, db *sql.DB) ([]string, error) {
	if _, err := db.ExecContext(ctx, "VACUUM"); err != nil {
		if d.fault(err) == faultRetry {
			return nil, unavailable(fmt.Sprintf("The database %s cannot be written anew, which takes the secrets in the clear out of it, because another program uses it: end that program, and start again.", d.path), err)
		}
		return nil, unavailable(fmt.Sprintf("The database %s cannot be written anew, which takes the secrets in the clear out of it: check that the disk has room for twice its size, and start again.", d.path), err)
	}
	var busy, pages, moved int64
	if err := db.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return nil, fmt.Errorf("empty the WAL: %w", err)
	}
	if busy != 0 {
		return nil, unavailable(fmt.Sprintf("The file %s-wal cannot be emptied of the secrets in the clear, because another program reads the database: end that program, and start again.", d.path), nil)
	}
	copies, err := filepath.Glob(globQuote(d.path) + ".before-*")
	if err != nil {
		return nil, fmt.Errorf("look for copies: %w", err)
	}
	return copies, nil
}

// globQuote makes a path a pattern that means it alone.
func globQuote(path string) string {
	if filepath.Separator == '\\' { // where nothing quotes, and these are rare
		return path
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
