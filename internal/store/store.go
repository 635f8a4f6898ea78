package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync/atomic"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
)

// Options of Open.
type Options struct {
	// DSN is sqlite:PATH or mysql://user:password@host:port/database.
	DSN string
	// Now is the clock that mints ids and stamps rows; nil: time.Now.
	Now func() time.Time
	// Log hears of retries, copies and migrations; nil: nothing is logged.
	Log *slog.Logger
	// Trace hears the text of every statement before it is sent, migrations
	// included; nil: nobody does. It must be safe for concurrent use.
	Trace func(statement string)
	// Keys seal and open the secrets in the store; nil: there is no master key.
	Keys *secret.Keyring
	// KeepSealed opens the store also when Keys do not fit what is sealed there,
	// for who moves it as it is: nothing that is sealed can be read then.
	KeepSealed bool
}

// Store is an open database.
type Store struct {
	*core
	write, read *sql.DB // one and the same, or SQLite's one writer and its readers
	migrations  fs.FS
	keepSealed  bool
}

// core is what every repository needs besides its connection.
type core struct {
	dialect dialect
	now     func() time.Time
	log     *slog.Logger
	trace   func(statement string)
	mint    func(now time.Time) realm.ID
	keys    *secret.Keyring
	// whole: nothing secret may stand in the clear. It is learned from the store,
	// and stays.
	whole *atomic.Bool
	// marked: the store has said that it is sealed, or is being sealed. That stays too:
	// a store whose mark has gone is not written to in the clear.
	marked *atomic.Bool
}

// Open connects to the database and checks that it can serve: it creates a
// missing SQLite file, but never migrates, and refuses a store whose secrets are
// sealed with keys it was not given. The error is a *realm.Error whose message
// says what to do; it never carries the password of the DSN.
func Open(ctx context.Context, o Options) (*Store, error) {
	d, err := selectDialect(o.DSN)
	if err != nil {
		return nil, err
	}
	c := &core{dialect: d, now: o.Now, log: o.Log, trace: o.Trace, mint: realm.NewID, keys: o.Keys, whole: new(atomic.Bool), marked: new(atomic.Bool)}
	if c.now == nil {
		c.now = time.Now
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	if c.trace == nil {
		c.trace = func(string) {}
	}
	write, read, err := d.open(ctx)
	if err != nil {
		return nil, err
	}
	s := &Store{core: c, write: write, read: read, migrations: migrationFiles, keepSealed: o.KeepSealed}
	if err := s.checkKeys(ctx); err != nil && !o.KeepSealed {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close lets the connections go.
func (s *Store) Close() error {
	err := s.read.Close()
	if s.write != s.read {
		err = errors.Join(err, s.write.Close())
	}
	if err != nil {
		return fmt.Errorf("close the store: %w", err)
	}
	return nil
}

// Ping tells whether the database answers.
func (s *Store) Ping(ctx context.Context) error {
	var one int
	if err := s.read.QueryRowContext(ctx, "SELECT 1").Scan(&one); err != nil {
		return &realm.Error{Code: realm.CodeUnavailable, Message: "The store does not answer.", Err: err}
	}
	return nil
}

// Engine is "sqlite" or "mysql".
func (s *Store) Engine() string { return s.dialect.name() }

// Read is the repositories over the pool: each statement sees what is committed
// when it begins. They refuse to write: writing is Tx's.
func (s *Store) Read() Repos { return newRepos(handle{core: s.core, db: s.read}) }
