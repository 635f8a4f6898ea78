package storetest_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// Read-then-write pays such a thing out many times under MySQL's and MariaDB's
// default isolation (992 for 60, measured); the guarded statement once.
func TestGuardedUpdates(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		write(t, s, func(r store.Repos) error {
			_, err := r.Credentials.SetState(t.Context(), p.credential.ID, realm.CredentialDisabled, realm.CredentialOK, "", time.Time{})
			return err
		})
		verbs := map[string]func(r store.Repos) (bool, error){
			"revoke": func(r store.Repos) (bool, error) { return r.Tokens.Revoke(t.Context(), p.token.ID, at) },
			"out of use": func(r store.Repos) (bool, error) {
				return r.Credentials.SetState(t.Context(), p.credential.ID, realm.CredentialOK, realm.CredentialDisabled, "401", at)
			},
		}
		for name, verb := range verbs {
			var won atomic.Int64
			var wg sync.WaitGroup
			for range size(60) {
				wg.Go(func() {
					var mine bool
					err := s.Tx(t.Context(), func(r store.Repos) (err error) {
						// Having read before the winner's commit changes nothing.
						if _, err := r.Tokens.Get(t.Context(), p.token.ID); err != nil {
							return err
						}
						mine, err = verb(r)
						return err
					})
					if err != nil {
						t.Errorf("%s: %v", name, err)
					}
					if mine {
						won.Add(1)
					}
				})
			}
			wg.Wait()
			if won.Load() != 1 {
				t.Errorf("%s: %d of them won, want 1", name, won.Load())
			}
		}
		if got := must[*realm.Token](t)(s.Read().Tokens.Get(t.Context(), p.token.ID)); !got.RevokedAt.Equal(at) {
			t.Errorf("revoked at %v", got.RevokedAt)
		}
	})
}

// A hundred writers that read first, half of them in another process' store. The
// last engine is MariaDB as it is by default from 11.6 on.
func TestManyWriters(t *testing.T) {
	for _, engine := range append(storetest.Engines(t), "mysql?innodb_snapshot_isolation=ON") {
		t.Run(engine, func(t *testing.T) { testManyWriters(t, engine) })
	}
}

func testManyWriters(t *testing.T, engine string) {
	engine, option, _ := strings.Cut(engine, "?")
	dsn := storetest.DSN(t, engine)
	if option != "" {
		if !storetest.MariaDB(t) {
			t.Skip("the server is not a MariaDB, and only there can a snapshot forbid a write")
		}
		dsn += "?" + option
	}
	stores := []*store.Store{storetest.OpenDSN(t, store.Options{DSN: dsn}), storetest.OpenDSN(t, store.Options{DSN: dsn})}
	must[[]string](t)(stores[0].Migrate(t.Context()))
	writers, each := size(100), 5
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for range each {
				err := stores[w%2].Tx(t.Context(), func(r store.Repos) error {
					if _, err := r.Changes.Version(t.Context()); err != nil {
						return err
					}
					return r.Changes.Bump(t.Context(), store.KindUser, 1)
				})
				if err != nil {
					t.Errorf("writer %d: %v", w, err)
				}
			}
		})
	}
	wg.Wait()
	if got := version(t, stores[0]); got != int64(writers*each) {
		t.Errorf("version %d, want %d", got, writers*each)
	}
}

func TestDeadlockIsTriedAgain(t *testing.T) {
	s := storetest.Open(t, "mysql")
	p := populate(t, s)
	var runs atomic.Int64
	var meet sync.WaitGroup // both hold one row before either asks for the other
	meet.Add(2)
	first := [2]sync.Once{}
	ids := [2]realm.ID{1, p.group.ID}
	var wg sync.WaitGroup
	for i := range 2 {
		wg.Go(func() {
			err := s.Tx(t.Context(), func(r store.Repos) error {
				runs.Add(1)
				if err := r.Groups.Update(t.Context(), &realm.Group{ID: ids[i], Name: ids[i].String(), Multiplier: 5}); err != nil {
					return err
				}
				first[i].Do(func() { meet.Done(); meet.Wait() })
				return r.Groups.Update(t.Context(), &realm.Group{ID: ids[1-i], Name: ids[1-i].String(), Multiplier: 5})
			})
			if err != nil {
				t.Errorf("transaction %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if n := runs.Load(); n < 3 {
		t.Errorf("%d runs: there was no deadlock to recover from", n)
	}
}

func TestTxGivesUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		group := realm.Group{Name: "half"}
		err := s.Tx(ctx, func(r store.Repos) error {
			if err := r.Groups.Insert(ctx, &group); err != nil {
				return err
			}
			cancel()
			return nil
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("a commit after the context's end: %v", err)
		}
		func() {
			defer func() { _ = recover() }()
			_ = s.Tx(t.Context(), func(r store.Repos) error {
				group.ID = 0
				_ = r.Groups.Insert(t.Context(), &group)
				panic("in the middle")
			})
		}()
		if _, err := s.Read().Groups.ByName(t.Context(), "half"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("half a transaction is there: %v", err)
		}
		write(t, s, func(r store.Repos) error { group.ID = 0; return r.Groups.Insert(t.Context(), &group) })
	})
}

// A view is one instant, whatever is committed meanwhile.
func TestView(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		err := s.View(t.Context(), func(r store.Repos) error {
			before := must[int64](t)(r.Changes.Version(t.Context()))
			bump(t, s, 1)
			after := must[int64](t)(r.Changes.Version(t.Context()))
			changes := must[[]store.Change](t)(r.Changes.Since(t.Context(), 0, 10))
			if before != 0 || after != 0 || len(changes) != 0 {
				t.Errorf("a view moved: version %d, then %d with %d changes", before, after, len(changes))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if version(t, s) != 1 {
			t.Error("what was committed during a view is lost")
		}
	})
}
