package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/usage"
)

// Keys is the configured keyring; nil when there is no master key.
func Keys(cfg config.Config) (*secret.Keyring, error) {
	previous := make([]realm.Secret, len(cfg.Security.PreviousKeys))
	for i, key := range cfg.Security.PreviousKeys {
		previous[i] = realm.Secret(key.Reveal())
	}
	return secret.New(realm.Secret(cfg.Security.MasterKey.Reveal()), previous)
}

// openStore opens the configured store with the schema of this program.
func openStore(ctx context.Context, cfg config.Config, log *slog.Logger) (*store.Store, error) {
	keys, err := Keys(cfg)
	if err != nil {
		return nil, err
	}
	st, err := store.Open(ctx, store.Options{DSN: cfg.StoreDSN(), Log: log, Keys: keys})
	if err != nil {
		return nil, err
	}
	status, err := st.MigrationStatus(ctx)
	if err != nil {
		return nil, joinClose(err, st)
	}
	if len(status) > 0 && status[0].AppliedAt.IsZero() {
		_, err = st.Migrate(ctx)
	} else {
		err = st.CheckSchema(ctx)
	}
	if err != nil {
		return nil, joinClose(err, st)
	}
	return st, nil
}

// sealer stands in the audit rows of what a start seals.
const sealer = "server"

// seal brings the store's secrets under the master key, or says that there is none.
// It never changes from one key to another: other processes may not know the new
// one yet, so that is an operator's to begin.
func seal(ctx context.Context, cfg config.Config, st *store.Store, log *slog.Logger) error {
	keys, err := Keys(cfg)
	if err != nil {
		return err
	}
	if keys.Master() == "" {
		keeps, err := st.KeepsSecrets(ctx)
		if keeps {
			log.WarnContext(ctx, "secrets are stored in the clear: no security.master_key is set",
				"do", "put what `realms secrets key` prints into a file, and name that in REALMS_SECURITY_MASTER_KEY_FILE")
		}
		return err
	}
	state, err := st.SealState(ctx)
	switch {
	case err != nil:
		return err
	case state.Clear:
		done, err := st.SealClear(ctx, sealer)
		if err != nil {
			return err
		}
		log.InfoContext(ctx, "secrets sealed", "key", done.Key, "rows", done.Rows)
		if len(done.Copies) > 0 {
			log.WarnContext(ctx, "copies from before hold secrets in the clear: remove them", "files", done.Copies)
		}
	case state.Key != keys.Master() || state.Earlier:
		log.WarnContext(ctx, "secrets still need a previous key", "key", state.Key, "do", "run `realms secrets rotate` when every process knows both keys")
	}
	return nil
}

// joinClose closes the store behind a failure.
func joinClose(err error, st *store.Store) error { return errors.Join(err, st.Close()) }

// loadObject reads an object's owner for usage.Objects.
func (a *App) loadObject(ctx context.Context, id string, user realm.ID) (realm.Object, error) {
	obj, err := a.Store.Read().Objects.Get(ctx, id, user)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return obj, usage.NotFound(id)
	case err != nil:
		return obj, &realm.Error{Code: realm.CodeUnavailable, RetryAfter: time.Second, Message: "The store could not be asked who owns an object of this request; try again.", Err: err}
	}
	return obj, nil
}

// firstDeletion is when a process first looks for old rows: soon, because it may
// not live for an hour, and not while it is still starting.
const firstDeletion = time.Minute

// deleteOldRows drops rows that have outlived their time, shortly after the start
// and then once an hour.
func (a *App) deleteOldRows(ctx context.Context) error {
	next := time.NewTimer(firstDeletion)
	defer next.Stop()
	for ; ; next.Reset(time.Hour) {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
		}
		if err := a.deleteOld(ctx); err != nil && ctx.Err() == nil {
			a.Log.Warn("old rows not deleted, will retry", "error", err)
		}
	}
}

// changesKept is how long the feed of changes is kept; a process that was away
// for longer reads everything again.
const changesKept = 24 * time.Hour

// deleteOld deletes objects that upstreams no longer keep, changes that every
// process has seen, and requests past usage.retention. Each batch is a transaction
// of its own, so that others write in between.
func (a *App) deleteOld(ctx context.Context) error {
	const batch = 1000
	for _, old := range []struct {
		kept   time.Duration // 0: for ever
		remove func(r store.Repos, before time.Time) (int64, error)
	}{
		{usage.ObjectLife, func(r store.Repos, before time.Time) (int64, error) {
			return r.Objects.DeleteBefore(ctx, before, batch)
		}},
		{changesKept, func(r store.Repos, before time.Time) (int64, error) {
			return r.Changes.DeleteBefore(ctx, before, batch)
		}},
		{a.Config.Usage.Retention, func(r store.Repos, before time.Time) (int64, error) {
			return r.Requests.DeleteBefore(ctx, before, batch)
		}},
	} {
		if old.kept == 0 {
			continue
		}
		before := time.Now().Add(-old.kept)
		for n := int64(batch); n == batch; {
			err := a.Store.Tx(ctx, func(r store.Repos) (err error) {
				n, err = old.remove(r, before)
				return err
			})
			if err != nil {
				return fmt.Errorf("delete old rows: %w", err)
			}
		}
	}
	return nil
}
