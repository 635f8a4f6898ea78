package store

import (
	"database/sql"
	"io/fs"
	"time"

	"realms/internal/realm"
)

// MySQLServerName is the name that a DSN's server must have a certificate of.
func MySQLServerName(dsn string) (string, error) {
	d, err := newMySQL(dsn)
	if err != nil {
		return "", err
	}
	return d.(mysqlDialect).config.TLS.ServerName, nil
}

// SetMint replaces what mints ids.
func (s *Store) SetMint(mint func(now time.Time) realm.ID) { s.mint = mint }

// SetMigrations replaces the folder of migrations.
func (s *Store) SetMigrations(fsys fs.FS) { s.migrations = fsys }

// MigrationFiles is the folder of migrations.
var MigrationFiles = migrationFiles

// Statements splits a migration.
var Statements = statements

// Tables names what Backup writes.
func Tables() (names []string) {
	for _, t := range tables {
		names = append(names, t.name)
	}
	return names
}

// AppendJSONString quotes a text.
var AppendJSONString = appendJSONString

// Clip cuts a text.
var Clip = clip

// WritePool is the writer's connections.
func (s *Store) WritePool() *sql.DB { return s.write }

// ReadPool is the readers' connections.
func (s *Store) ReadPool() *sql.DB { return s.read }
