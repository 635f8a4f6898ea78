package store

import (
	"context"
	"database/sql"
	"strings"

	"github.com/pressly/goose/v3/lock"

	"realms/internal/realm"
)

// dialect is everything that differs between engines.
type dialect interface {
	name() string
	// open connects and checks; errors are *realm.Error that say what to do. With
	// one pool for everything, write and read are the same.
	open(ctx context.Context) (write, read *sql.DB, err error)
	// openSchema is the pool that migrations run on, closed by its caller.
	openSchema(write *sql.DB) (db *sql.DB, done func() error, err error)
	// fault sorts an engine's error.
	fault(err error) fault
	// doneBefore tells whether a migration's statement failed because an earlier,
	// killed run of the same migration had done it.
	doneBefore(err error) bool
	// insertOnce is what surrounds "table (columns) VALUES …" so that a row whose
	// primary key is there already is left as it is; column is any of the key's.
	insertOnce(column string) (head, tail string)
	// migrationLock keeps other processes from migrating; nil: the engine's
	// transactions do.
	migrationLock() lock.SessionLocker
	// copyDatabase writes a copy next to the database and names it; "" means that
	// the engine's operator makes copies by other means.
	copyDatabase(ctx context.Context, db *sql.DB, label string) (path string, err error)
	// scrub takes out of the database's files what was deleted or changed before,
	// and names the copies beside them, where the files are ours.
	scrub(ctx context.Context, db *sql.DB) (copies []string, err error)
}

// fault is what an engine's error means to a repository.
type fault uint8

const (
	faultOther     fault = iota
	faultPrimary         // the primary key is taken
	faultUnique          // another unique key is taken
	faultReference       // a foreign key forbids it
	faultRetry           // the engine gave the transaction up; once more may help
	faultNoTable         // the table is not there
)

// selectDialect reads a DSN. The error never repeats it, because of its password.
func selectDialect(dsn string) (dialect, error) {
	switch scheme, _, _ := strings.Cut(dsn, ":"); scheme {
	case "sqlite":
		return newSQLite(dsn)
	case "mysql":
		return newMySQL(dsn)
	default:
		return nil, realm.Invalid("db.dsn", "The database DSN must begin with sqlite: or mysql://, "+
			"as in sqlite:./data/realms.db or mysql://user:password@127.0.0.1:3306/realms.")
	}
}

// unavailable is an error about a database that is there in principle.
func unavailable(message string, err error) *realm.Error {
	return &realm.Error{Code: realm.CodeUnavailable, Field: "db.dsn", Message: message, Err: err}
}
