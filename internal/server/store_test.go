package server

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
)

// Rows of requests past usage.retention go soon after the start, and each hour;
// with 0 they stay.
func TestOldRequestsAreDeleted(t *testing.T) {
	for name, tc := range map[string]struct {
		retention           time.Duration
		atOnce, afterAnHour bool // the row is gone
	}{
		"older at the start": {time.Hour, true, true},
		"older in an hour":   {2*time.Hour + 30*time.Minute, false, true},
		"younger":            {24 * time.Hour, false, false},
		"kept for ever":      {0, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := config.Default()
			cfg.DataDir, cfg.Usage.Retention = t.TempDir(), tc.retention
			synctest.Test(t, func(t *testing.T) {
				a := &App{Config: cfg, Log: slog.New(slog.DiscardHandler)}
				var err error
				if a.Store, err = openStore(t.Context(), cfg, a.Log); err != nil {
					t.Fatal(err)
				}
				started := time.Now().Add(-2 * time.Hour)
				old := realm.RequestRecord{
					ID: realm.NewRequestID(started, 1, 1), StartedAt: started, Ended: realm.EndedFailed, Attempts: 1,
					Usage: realm.Usage{Source: realm.UsageNone},
					Tries: []realm.AttemptRecord{{Number: 1, StartedAt: started, Status: 503, Cause: realm.CauseServerError}},
				}
				if err := a.insertRecords(t.Context(), []realm.RequestRecord{old}); err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- a.deleteOldRows(ctx) }()
				for _, look := range []struct {
					after time.Duration
					gone  bool
				}{{firstDeletion + time.Second, tc.atOnce}, {time.Hour, tc.afterAnHour}} {
					<-time.After(look.after)
					synctest.Wait()
					if _, err := a.Store.Read().Requests.Get(ctx, old.ID); errors.Is(err, store.ErrNotFound) != look.gone {
						t.Errorf("%s later: %v", look.after, err)
					}
				}
				cancel()
				if err := errors.Join(<-done, a.Store.Close()); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
