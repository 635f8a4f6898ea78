package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/pressly/goose/v3"

	"realms/internal/realm"
)

// Migrate brings the schema to this program's version and names the migrations
// it applied, oldest first. A SQLite database that already holds a schema is
// copied next to itself first. A migration that was killed is completed by
// calling again; several processes may call at once. A store that had no schema
// is sealed from its first row on when there is a master key.
func (s *Store) Migrate(ctx context.Context) (applied []string, err error) {
	before, err := s.schemaVersion(ctx)
	if err != nil {
		return nil, err
	}
	if applied, err = s.migrateTo(ctx, 0); err != nil {
		return applied, err
	}
	if before == 0 && s.keys.Master() != "" {
		if err := s.sealFresh(ctx); err != nil {
			return applied, err
		}
	}
	if s.keepSealed {
		return applied, nil
	}
	return applied, s.checkKeys(ctx)
}

// MigrationStatus lists every migration this program knows, oldest first.
func (s *Store) MigrationStatus(ctx context.Context) ([]Migration, error) {
	steps, err := loadMigrations(s.migrations)
	if err != nil {
		return nil, err
	}
	done, err := s.appliedMigrations(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]Migration, len(steps))
	for i, m := range steps {
		all[i] = m.Migration
		all[i].AppliedAt = done[m.Version]
	}
	return all, nil
}

// CheckSchema tells with a *realm.Error what to do when the schema is not the one
// this program was built for: older (migrate), or newer (use a newer program).
func (s *Store) CheckSchema(ctx context.Context) error {
	pending, err := s.pending(ctx, 0)
	if err != nil || len(pending) == 0 {
		return err
	}
	return &realm.Error{
		Code:    realm.CodeUnavailable,
		Message: fmt.Sprintf("The database lacks %d schema migration(s), first %s: run realms migrate up.", len(pending), pending[0].Name),
	}
}

func (s *Store) current(ctx context.Context) bool { return s.CheckSchema(ctx) == nil }

// pending lists what is missing up to a version, 0 being this program's.
func (s *Store) pending(ctx context.Context, target int64) ([]step, error) {
	all, err := loadMigrations(s.migrations)
	if err != nil {
		return nil, err
	}
	done, err := s.appliedMigrations(ctx)
	if err != nil {
		return nil, err
	}
	newest := all[len(all)-1].Version
	for version := range done {
		if version > newest {
			return nil, &realm.Error{
				Code:    realm.CodeUnavailable,
				Message: fmt.Sprintf("The database has schema version %d and this program knows %d at most: use the newer Realms that migrated it, or restore a backup from before.", version, newest),
			}
		}
	}
	var missing []step
	for _, m := range all {
		if _, ok := done[m.Version]; !ok && (target == 0 || m.Version <= target) {
			missing = append(missing, m)
		}
	}
	return missing, nil
}

// migrateTo migrates up to a version, 0 being this program's.
func (s *Store) migrateTo(ctx context.Context, target int64) (applied []string, err error) {
	steps, err := s.pending(ctx, target)
	if err != nil || len(steps) == 0 {
		return nil, err
	}
	if err := s.copyFirst(ctx, steps[0]); err != nil {
		return nil, err
	}
	for len(steps) > 0 {
		done, err := s.apply(ctx, steps)
		applied = append(applied, done...)
		rest, pendingErr := s.pending(ctx, target)
		if pendingErr != nil {
			return applied, errors.Join(err, pendingErr)
		}
		// Whoever migrates beside us makes our step fail as a whole. As long as
		// something moves, look again; else the fault is the step's own.
		if err != nil && len(rest) >= len(steps)-len(done) {
			return applied, err
		}
		steps = rest
	}
	return applied, nil
}

// copyFirst copies a database that already has a schema, where that is a matter
// of a file.
func (s *Store) copyFirst(ctx context.Context, next step) error {
	done, err := s.appliedMigrations(ctx)
	if err != nil || len(done) == 0 {
		return err
	}
	label := "before-" + next.Name + "-" + s.now().UTC().Format("20060102T150405.000Z")
	path, err := s.dialect.copyDatabase(ctx, s.write, label)
	if err != nil || path == "" {
		return err
	}
	s.log.InfoContext(ctx, "database copied before its migration", "path", path)
	return nil
}

// apply runs steps through goose, which holds the lock and keeps the versions,
// and names those that it applied.
func (s *Store) apply(ctx context.Context, steps []step) (names []string, err error) {
	db, done, err := s.dialect.openSchema(s.write)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, done()) }()
	provider, err := s.newProvider(db)
	if err != nil {
		return nil, err
	}
	results, err := provider.UpTo(ctx, steps[len(steps)-1].Version)
	if partial := (*goose.PartialError)(nil); errors.As(err, &partial) {
		results, err = partial.Applied, partial.Err
	}
	for _, r := range results {
		for _, m := range steps {
			if m.Version == r.Source.Version {
				names = append(names, m.Name)
				s.log.InfoContext(ctx, "schema migrated", "migration", m.Name, "duration", r.Duration)
			}
		}
	}
	if err != nil {
		return names, fmt.Errorf("migrate: %w", err)
	}
	return names, nil
}

func (s *Store) newProvider(db *sql.DB) (*goose.Provider, error) {
	all, err := loadMigrations(s.migrations)
	if err != nil {
		return nil, err
	}
	steps := make([]*goose.Migration, len(all))
	for i, m := range all {
		run := func(ctx context.Context, tx *sql.Tx) error { return s.runStep(ctx, tx, m) }
		steps[i] = goose.NewGoMigration(m.Version, &goose.GoFunc{RunTx: run}, nil)
	}
	options := []goose.ProviderOption{
		goose.WithStore(versionTable{s.core}), goose.WithGoMigrations(steps...),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()),
	}
	if l := s.dialect.migrationLock(); l != nil {
		options = append(options, goose.WithSessionLocker(l))
	}
	provider, err := goose.NewProvider(goose.DialectCustom, db, nil, options...)
	if err != nil {
		return nil, fmt.Errorf("prepare the migrations: %w", err)
	}
	return provider, nil
}

// runStep runs a migration's statements. On an engine whose DDL commits by
// itself, those that an earlier, killed run did are passed over.
func (s *Store) runStep(ctx context.Context, tx *sql.Tx, m step) error {
	for i, text := range m.statements {
		s.trace(text)
		_, err := tx.ExecContext(ctx, text)
		switch {
		case err == nil:
		case s.dialect.doneBefore(err):
			s.log.DebugContext(ctx, "migration statement was done before", "migration", m.Name, "statement", i+1)
		default:
			first, _, _ := strings.Cut(text, "\n")
			return fmt.Errorf("%s, statement %d (%s): %w", m.Name, i+1, first, err)
		}
	}
	return nil
}

// appliedMigrations is when each version was applied; none when there is no
// schema at all.
func (s *Store) appliedMigrations(ctx context.Context) (map[int64]time.Time, error) {
	done := make(map[int64]time.Time)
	err := handle{core: s.core, db: s.read}.each(ctx, selectAppliedVersions, nil, func(row scanner) error {
		var version, at int64
		if err := row.Scan(&version, &at); err != nil {
			return fmt.Errorf("read a migration: %w", err)
		}
		if version > 0 { // goose's own first row
			done[version] = fromMillis(at)
		}
		return nil
	})
	if err != nil && s.dialect.fault(err) != faultNoTable {
		return nil, fmt.Errorf("read the schema's version: %w", err)
	}
	return done, nil
}
