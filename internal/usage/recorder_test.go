package usage

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"realms/internal/realm"
)

// sink is a store that keeps what it is given, after refusing some batches.
type sink struct {
	mu     sync.Mutex
	refuse int
	rows   map[realm.RequestID]int
	sizes  []int
}

func (s *sink) insert(_ context.Context, batch []realm.RequestRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refuse > 0 {
		s.refuse--
		return errors.New("refused")
	}
	if s.rows == nil {
		s.rows = map[realm.RequestID]int{}
	}
	s.sizes = append(s.sizes, len(batch))
	for _, rec := range batch {
		s.rows[rec.ID]++
	}
	return nil
}

func record() *realm.RequestRecord {
	return &realm.RequestRecord{ID: realm.NewRequestID(time.Now(), uint16(rand.Uint32()), rand.Uint64())}
}

func TestEveryRecordIsWrittenOnceAlsoAtTheExit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{refuse: 2}
		r := New(Options{Insert: s.insert, Batch: 10, Log: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry()})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		const n = 95
		for range n {
			if err := r.Open(record()).Close(); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(10 * time.Second) // virtual: two refusals and their waits
		for range n {
			_ = r.Open(record()).Close()
		}
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(s.rows) != 2*n {
			t.Errorf("%d records written, want %d", len(s.rows), 2*n)
		}
		for id, times := range s.rows {
			if times != 1 {
				t.Errorf("record %s written %d times", id, times)
			}
		}
		for _, size := range s.sizes {
			if size > 10 {
				t.Errorf("a batch of %d, want at most 10", size)
			}
		}
		if got := testutil.ToFloat64(r.failed); got != 2 {
			t.Errorf("%v failed batches counted, want 2", got)
		}
		if got := testutil.ToFloat64(r.lost); got != 0 {
			t.Errorf("%v lost records counted, want 0", got)
		}
	})
}

func TestAFullQueueMakesCloseWaitThenCountsTheLoss(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Queue: 1, Log: slog.New(slog.DiscardHandler)})
		if err := r.Open(record()).Close(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if err := r.Open(record()).Close(); err == nil {
			t.Fatal("a record that was not kept was reported as kept")
		}
		if waited := time.Since(begun); waited != DefaultFullWait {
			t.Errorf("Close waited %s, want %s", waited, DefaultFullWait)
		}
		if got := testutil.ToFloat64(r.lost); got != 1 {
			t.Errorf("%v lost records counted, want 1", got)
		}
	})
}

func TestRunGivesUpOnADeadStoreAtTheExitAndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{refuse: 1 << 30}
		r := New(Options{Insert: s.insert, Log: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		for range 3 {
			_ = r.Open(record()).Close()
		}
		time.Sleep(time.Second)
		cancel()
		if err := <-done; err == nil {
			t.Error("unwritten records were not reported")
		}
		if got := testutil.ToFloat64(r.lost); got != 3 {
			t.Errorf("%v lost records counted, want 3", got)
		}
	})
}

func TestObjects(t *testing.T) {
	stored := realm.Object{ID: "resp_stored", UserID: 1, Credential: 7}
	asked := 0
	o := &Objects{Load: func(_ context.Context, id string, user realm.ID) (realm.Object, error) {
		asked++
		if id == stored.ID && user == stored.UserID {
			return stored, nil
		}
		return realm.Object{}, NotFound(id)
	}}
	o.Remember(realm.Object{ID: "resp_new", UserID: 1, Credential: 9})
	o.Remember(realm.Object{ID: "resp_new", UserID: 2, Credential: 8}) // who is first owns it
	tests := []struct {
		id         string
		user       realm.ID
		credential realm.ID // 0: not found
	}{
		{"resp_new", 1, 9},
		{"resp_new", 2, 0},
		{"resp_stored", 1, 7},
		{"resp_stored", 2, 0},
		{"resp_unknown", 1, 0},
	}
	for _, tt := range tests {
		obj, err := o.Find(t.Context(), tt.id, tt.user)
		if tt.credential == 0 {
			if realm.AsError(err).Code != realm.CodeNotFound {
				t.Errorf("%s for user %d: %v, want not found", tt.id, tt.user, err)
			}
			continue
		}
		if err != nil || obj.Credential != tt.credential {
			t.Errorf("%s for user %d: credential %d, %v; want %d", tt.id, tt.user, obj.Credential, err, tt.credential)
		}
	}
	if asked != 3 {
		t.Errorf("the store was asked %d times, want 3: what is remembered needs no asking", asked)
	}
	other := NotFound("resp_new").Error()
	if _, err := o.Find(t.Context(), "resp_new", 2); err.Error() != other {
		t.Errorf("another user's object answers %q, an unknown one %q", err, other)
	}
}

func TestObjectsAreBounded(t *testing.T) {
	o := &Objects{Load: func(_ context.Context, id string, _ realm.ID) (realm.Object, error) {
		return realm.Object{}, NotFound(id)
	}}
	for i := range ObjectsKept + 10 {
		o.Remember(realm.Object{ID: realm.ID(i + 1).String(), UserID: 1, Credential: 1})
	}
	if len(o.byID) != ObjectsKept || o.order.Len() != ObjectsKept {
		t.Fatalf("%d and %d objects are kept, want %d", len(o.byID), o.order.Len(), ObjectsKept)
	}
	if _, err := o.Find(t.Context(), "1", 1); err == nil {
		t.Error("the oldest object was not let go")
	}
}
