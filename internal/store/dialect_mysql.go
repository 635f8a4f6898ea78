package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/pressly/goose/v3/lock"

	"realms/internal/realm"
)

// mysqlDialect is MySQL 8, MariaDB 10.11 and what speaks their protocol.
type mysqlDialect struct{ config *mysql.Config }

const mysqlForm = "A MySQL DSN is mysql://user:password@host:port/database, where characters such as @ : / # in the password are percent-encoded"

func newMySQL(dsn string) (dialect, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") == "" {
		return nil, realm.Invalid("db.dsn", mysqlForm+".") // err holds the password
	}
	// With the address, from which a TLS parameter takes the server's name.
	c, err := mysql.ParseDSN("tcp(" + net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), "3306")) + ")/?" + u.RawQuery)
	if err != nil {
		return nil, realm.Invalid("db.dsn", mysqlForm+"; its parameters are those of go-sql-driver/mysql, and one of them is wrong.")
	}
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.DBName = strings.Trim(u.Path, "/")
	c.Collation = mysqlCollation
	c.ClientFoundRows = true   // rows affected means rows matched, as everywhere else
	c.InterpolateParams = true // one round trip a statement instead of three
	c.MultiStatements, c.ParseTime, c.AllowAllFiles = false, false, false
	c.Timeout, c.ReadTimeout, c.WriteTimeout = 5*time.Second, 30*time.Second, 30*time.Second
	c.Logger = &mysql.NopLogger{} // its errors come back to us as well
	if c.Params == nil {
		c.Params = make(map[string]string)
	}
	// A server set to be lenient cuts what does not fit, silently.
	c.Params["sql_mode"] = "'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'"
	// Shorter than ReadTimeout, so that a lock shows as 1205 and not as a cut connection.
	c.Params["innodb_lock_wait_timeout"] = "10"
	return mysqlDialect{config: c}, nil
}

const mysqlCollation = "utf8mb4_bin"

func (mysqlDialect) name() string { return "mysql" }

func (d mysqlDialect) open(ctx context.Context) (write, read *sql.DB, err error) {
	connector, err := mysql.NewConnector(d.config)
	if err != nil {
		return nil, nil, realm.Invalid("db.dsn", mysqlForm+".")
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(16)
	db.SetMaxIdleConns(8)
	db.SetConnMaxIdleTime(time.Minute)
	db.SetConnMaxLifetime(5 * time.Minute)
	if err := d.check(ctx, db); err != nil {
		return nil, nil, errors.Join(err, db.Close())
	}
	return db, db, nil
}

// check connects and refuses a database whose text compares in another way:
// under a case-insensitive collation two different names would be one.
func (d mysqlDialect) check(ctx context.Context, db *sql.DB) error {
	var collation string
	const databaseCollation = "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = DATABASE()"
	if err := db.QueryRowContext(ctx, databaseCollation).Scan(&collation); err != nil {
		return d.refuse(err)
	}
	name := d.config.DBName
	if collation != mysqlCollation {
		return unavailable(fmt.Sprintf("The database %s compares text by %s; Realms needs %s. Run: ALTER DATABASE %s CHARACTER SET utf8mb4 COLLATE %s;",
			name, collation, mysqlCollation, name, mysqlCollation), nil)
	}
	var table string
	const tableCollation = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE' AND table_collation <> ? LIMIT 1"
	err := db.QueryRowContext(ctx, tableCollation, mysqlCollation).Scan(&table)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil
	case err != nil:
		return d.refuse(err)
	}
	return unavailable(fmt.Sprintf("The table %s of the database %s does not compare text by %s; Realms needs a database of its own with that collation. Run: ALTER TABLE %s CONVERT TO CHARACTER SET utf8mb4 COLLATE %s;",
		table, name, mysqlCollation, table, mysqlCollation), nil)
}

func (d mysqlDialect) refuse(err error) *realm.Error {
	name := d.config.DBName
	switch mysqlCode(err) {
	case 1045, 1698:
		return unavailable(fmt.Sprintf("MySQL at %s refuses the user %q or the password: correct REALMS_DB_DSN.", d.config.Addr, d.config.User), err)
	case 1044:
		return unavailable(fmt.Sprintf("The MySQL user %q may not use the database %s: grant it ALL on that database.", d.config.User, name), err)
	case 1049:
		return unavailable(fmt.Sprintf("There is no database %s at %s. Run: CREATE DATABASE %s CHARACTER SET utf8mb4 COLLATE %s;", name, d.config.Addr, name, mysqlCollation), err)
	case 0:
		return unavailable(fmt.Sprintf("MySQL at %s does not answer: check that it runs and that host and port in REALMS_DB_DSN are right.", d.config.Addr), err)
	default:
		return unavailable(fmt.Sprintf("MySQL at %s refuses: %s.", d.config.Addr, mysqlMessage(err)), err)
	}
}

// openSchema is a connection without a read timeout: an ALTER of a large table
// answers when it is done.
func (d mysqlDialect) openSchema(*sql.DB) (*sql.DB, func() error, error) {
	c := d.config.Clone()
	c.ReadTimeout = 0
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, nil, fmt.Errorf("open a connection for migrations: %w", err)
	}
	db := sql.OpenDB(connector)
	return db, db.Close, nil
}

// mysqlCode is the server's error number, 0 when err is not the server's.
func mysqlCode(err error) uint16 {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return 0
	}
	return e.Number
}

func mysqlMessage(err error) string {
	var e *mysql.MySQLError
	if !errors.As(err, &e) {
		return ""
	}
	return e.Message
}

func (mysqlDialect) fault(err error) fault {
	switch mysqlCode(err) {
	case 1062, 1586: // duplicate entry
		if m := mysqlMessage(err); strings.HasSuffix(m, "PRIMARY'") {
			return faultPrimary
		}
		return faultUnique
	case 1216, 1217, 1451, 1452:
		return faultReference
	case 1213, 1205, 1020: // deadlock, lock wait, record changed since the snapshot
		return faultRetry
	case 1146:
		return faultNoTable
	}
	return faultOther
}

// doneBefore: MySQL commits each DDL statement by itself. Table, column, index,
// row and constraint are there already; or what was to be dropped is not.
func (mysqlDialect) doneBefore(err error) bool {
	switch mysqlCode(err) {
	case 1050, 1060, 1061, 1062, 1826, 1051, 1091:
		return true
	}
	return false
}

// insertOnce is not INSERT IGNORE: that one forgives every other error as well.
func (mysqlDialect) insertOnce(column string) (head, tail string) {
	return "INSERT INTO ", " ON DUPLICATE KEY UPDATE " + column + " = " + column
}

func (mysqlDialect) migrationLock() lock.SessionLocker { return mysqlLock{} }

func (mysqlDialect) copyDatabase(context.Context, *sql.DB, string) (string, error) { return "", nil }

// scrub: the server's files are its operator's.
func (mysqlDialect) scrub(context.Context, *sql.DB) ([]string, error) { return nil, nil }

// mysqlLock lets one process migrate a database at a time. The server lets it go
// when the connection ends, however it ends.
type mysqlLock struct{}

func (mysqlLock) SessionLock(ctx context.Context, conn *sql.Conn) error {
	var got sql.NullInt64
	err := conn.QueryRowContext(ctx, "SELECT GET_LOCK(CONCAT('realms_', MD5(DATABASE())), 600)").Scan(&got)
	if err != nil {
		return fmt.Errorf("take the migration lock: %w", err)
	}
	if got.Int64 != 1 {
		return errors.New("another process has been migrating this database for ten minutes")
	}
	return nil
}

func (mysqlLock) SessionUnlock(ctx context.Context, conn *sql.Conn) error {
	if _, err := conn.ExecContext(ctx, "DO RELEASE_LOCK(CONCAT('realms_', MD5(DATABASE())))"); err != nil {
		return fmt.Errorf("let the migration lock go: %w", err)
	}
	return nil
}
