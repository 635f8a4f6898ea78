package storetest_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func bump(t testing.TB, s *store.Store, ids ...realm.ID) {
	t.Helper()
	write(t, s, func(r store.Repos) error {
		for _, id := range ids {
			if err := r.Changes.Bump(t.Context(), store.KindChannel, id); err != nil {
				return err
			}
		}
		return nil
	})
}

func version(t testing.TB, s *store.Store) int64 {
	t.Helper()
	return must[int64](t)(s.Read().Changes.Version(t.Context()))
}

func TestChangesOfARollback(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		bump(t, s, 7, 8)
		failed := errors.New("changed my mind")
		err := s.Tx(t.Context(), func(r store.Repos) error {
			return errors.Join(r.Changes.Bump(t.Context(), store.KindUser, 9), failed)
		})
		if !errors.Is(err, failed) {
			t.Errorf("the callback's error came back as %v", err)
		}
		bump(t, s, 10)
		got := must[[]store.Change](t)(s.Read().Changes.Since(t.Context(), 1, 10))
		equal(t, "changes", got, []store.Change{{Version: 2, Kind: store.KindChannel, ID: 8}, {Version: 3, Kind: store.KindChannel, ID: 10}})
	})
}

// Whoever sees version n sees every change up to n, however many write at once.
func TestVersionsFollowCommits(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		writers, each := 8, size(20)
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					err := s.Tx(ctx, func(r store.Repos) error { return r.Changes.Bump(ctx, store.KindToken, realm.ID(w*1000+i+1)) })
					if err != nil {
						t.Errorf("bump: %v", err)
					}
				}
			})
		}
		done := make(chan struct{})
		go func() { wg.Wait(); close(done) }()
		seen, last := make(map[realm.ID]bool), int64(0)
		for finished := false; !finished; {
			select {
			case <-done:
				finished = true
			default:
			}
			v := version(t, s)
			next := must[[]store.Change](t)(s.Read().Changes.Since(t.Context(), last, 1000))
			if int64(len(next)) < v-last {
				t.Fatalf("version %d is out and only %d changes after %d are", v, len(next), last)
			}
			for _, c := range next {
				if c.Version != last+1 || seen[c.ID] {
					t.Fatalf("change %+v after version %d", c, last)
				}
				last, seen[c.ID] = c.Version, true
			}
		}
		cancel()
		if len(seen) != writers*each {
			t.Errorf("%d changes seen, want %d", len(seen), writers*each)
		}
	})
}

// listener notes what a watcher tells.
type listener struct {
	mu      sync.Mutex
	heard   []store.Change
	reloads int
	calls   int
	fail    int // so many calls fail
}

func (l *listener) changes(_ context.Context, c []store.Change) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.calls++; l.calls <= l.fail {
		return errors.New("not now")
	}
	l.heard = append(l.heard, c...)
	return nil
}

func (l *listener) reload(context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reloads++
	return nil
}

// await polls a condition until it holds.
func (l *listener) await(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for ; ; <-tick.C {
		l.mu.Lock()
		ok := holds()
		l.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s did not come about", what)
		}
	}
}

func watch(t testing.TB, s *store.Store, l *listener, interval time.Duration) *store.Watcher {
	w := store.NewWatcher(store.WatcherOptions{Store: s, From: version(t, s), Interval: interval, OnChanges: l.changes, OnReload: l.reload})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return w
}

func TestWatcherTellsInOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		bump(t, s, 1, 2) // before From: not told
		l := &listener{fail: 3}
		watch(t, s, l, time.Millisecond)
		bump(t, s, 3)
		bump(t, s, 4, 5)
		l.await(t, "all changes", func() bool { return len(l.heard) >= 3 })
		equal(t, "heard", l.heard, []store.Change{{Version: 3, Kind: store.KindChannel, ID: 3}, {Version: 4, Kind: store.KindChannel, ID: 4}, {Version: 5, Kind: store.KindChannel, ID: 5}})
		if l.reloads != 0 {
			t.Errorf("%d reloads", l.reloads)
		}
	})
}

func TestWatcherPoke(t *testing.T) {
	s := storetest.SQLite(t)
	l := &listener{}
	w := watch(t, s, l, time.Hour)
	for i := range realm.ID(3) {
		bump(t, s, i+1)
		w.Poke()
		l.await(t, "the poked poll", func() bool { return len(l.heard) == int(i)+1 })
	}
}

func TestWatcherReloads(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		l := &listener{}
		w := watch(t, s, l, time.Hour)
		bump(t, s, 1, 2, 3, 4)
		write(t, s, func(r store.Repos) error {
			n, err := r.Changes.DeleteBefore(t.Context(), time.Now().Add(time.Hour), 3)
			if n != 3 {
				t.Errorf("%d changes pruned, want 3", n)
			}
			return err
		})
		w.Poke()
		l.await(t, "the reload", func() bool { return l.reloads == 1 })
		bump(t, s, 5)
		w.Poke()
		l.await(t, "the change after it", func() bool { return len(l.heard) == 1 })
		equal(t, "heard", l.heard, []store.Change{{Version: 5, Kind: store.KindChannel, ID: 5}})

		ahead := &listener{} // as when an older store was put in place
		older := store.NewWatcher(store.WatcherOptions{Store: s, From: 99, Interval: time.Hour, OnChanges: ahead.changes, OnReload: ahead.reload})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- older.Run(ctx) }()
		ahead.await(t, "the reload of a replaced store", func() bool { return ahead.reloads == 1 })
		cancel()
		<-done
	})
}

func TestPruneKeepsTheYoung(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		bump(t, s, 1, 2, 3)
		write(t, s, func(r store.Repos) error {
			n, err := r.Changes.DeleteBefore(t.Context(), time.Now().Add(-time.Hour), 10)
			if n != 0 {
				t.Errorf("%d changes pruned, want none", n)
			}
			return err
		})
	})
}
