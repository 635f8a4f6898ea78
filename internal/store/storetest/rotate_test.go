package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// allSealedWith holds that no column of any table has a text sealed with another
// key: what a column holds that nobody thought of shows here.
func allSealedWith(t testing.TB, dsn string, ring *secret.Keyring) {
	t.Helper()
	rows := strings.Join(backup(t, storetest.OpenDSN(t, store.Options{DSN: dsn, KeepSealed: true})), "")
	sealed := strings.Split(rows, "sealed:1:")[1:]
	for _, text := range sealed {
		if !strings.HasPrefix(text, ring.Master()+":") {
			t.Errorf("a text is sealed with the key %.16s", text)
		}
	}
	if len(sealed) < 7 {
		t.Errorf("only %d sealed texts were found", len(sealed))
	}
}

// After a rotation the new key alone is enough, and the old one opens nothing.
func TestRotation(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		first, second := secret.NewKey(), secret.NewKey()
		old, both, alone := keys(t, first), keys(t, second, first), keys(t, second)
		k := keep(t, migrated(t, dsn, old), size(150))
		refused(t, dsn, alone)

		s := openKeyed(t, dsn, both)
		k.check(t, s)
		// Before the rotation everybody goes on with the old key, so that processes
		// that do not know the new one yet can read what is written.
		write(t, s, func(r store.Repos) error { return r.Credentials.Update(t.Context(), &k.credential) })
		k.check(t, openKeyed(t, dsn, old))
		equal(t, "state before", must[store.SealState](t)(s.SealState(t.Context())), store.SealState{Key: old.Master()})

		done := must[store.Sealing](t)(s.Seal(t.Context(), "test"))
		equal(t, "rotation", done, store.Sealing{Key: both.Master(), From: old.Master(), Rows: int64(len(k.credentials)) + 5})
		allSealedWith(t, dsn, alone)
		refused(t, dsn, old)
		k.check(t, openKeyed(t, dsn, alone))
		equal(t, "again", must[store.Sealing](t)(s.Seal(t.Context(), "test")), store.Sealing{Key: both.Master()})
		equal(t, "state after", must[store.SealState](t)(s.SealState(t.Context())), store.SealState{Key: both.Master()})
		audit := must[[]store.AuditEntry](t)(s.Read().Audit.List(t.Context(), store.AuditPage{}))
		equal(t, "audit", []string{audit[0].Verb, audit[1].Verb}, []string{"secrets.sealed", "secrets.rotate_begin"})
	})
}

// A rotation beside processes that change keys all the time: none of their changes
// is lost, and a process that lacks the new key writes nothing more.
func TestRotationBesideWriters(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		first, second := secret.NewKey(), secret.NewKey()
		old, both, alone := keys(t, first), keys(t, second, first), keys(t, second)
		k := keep(t, migrated(t, dsn, old), size(250))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()

		var writers sync.WaitGroup
		var mine, shut atomic.Int64
		latest := make([]realm.Credential, len(k.credentials))
		for w := range 2 { // each has every second credential
			s := openKeyed(t, dsn, []*secret.Keyring{both, keys(t, first, second)}[w])
			writers.Go(func() {
				for i := w; ctx.Err() == nil; i = (i + 2) % len(latest) {
					c := k.credentials[i]
					c.APIKey = realm.Secret(word("changed"))
					err := s.Tx(t.Context(), func(r store.Repos) error { return r.Credentials.Update(t.Context(), &c) })
					if err != nil {
						t.Errorf("write: %v", err)
						return
					}
					latest[i] = c
					mine.Add(1)
				}
			})
		}
		late := openKeyed(t, dsn, old)
		writers.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				err := late.Tx(t.Context(), func(r store.Repos) error {
					return r.Settings.Set(t.Context(), store.InstanceSecret, fmt.Sprint("late-", i))
				})
				if err != nil && realm.AsError(err).Field != "security.master_key" {
					t.Errorf("write with the old key: %v", err)
				}
				if err != nil {
					shut.Add(1)
					return
				}
			}
		})
		s := openKeyed(t, dsn, both)
		for mine.Load() < 10 { // they are at it
			if err := s.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		done := must[store.Sealing](t)(s.Seal(t.Context(), "test"))
		for during := mine.Load(); mine.Load() < during+10 && !t.Failed() || shut.Load() == 0; {
			if err := s.Ping(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		cancel()
		writers.Wait()
		if done.Rows == 0 {
			t.Error("nothing was sealed anew")
		}
		allSealedWith(t, dsn, alone)
		after := openKeyed(t, dsn, alone)
		for i, c := range latest {
			if c.ID == 0 {
				c = k.credentials[i]
			}
			equal(t, "credential", must[*realm.Credential](t)(after.Read().Credentials.Get(t.Context(), c.ID)), &c)
		}
		equal(t, "again", must[store.Sealing](t)(after.Seal(t.Context(), "test")).Rows, int64(0))
	})
}

// A sealing and a rotation that are cut off between any two of their batches leave
// a store that is read whole, and go on when they are begun again.
func TestSealingThatIsCutOff(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		first, second := secret.NewKey(), secret.NewKey()
		k := keep(t, migrated(t, dsn, nil), size(250))
		cutOff := func(ring *secret.Keyring, statement string, times int) {
			t.Helper()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := storetest.OpenDSN(t, store.Options{DSN: dsn, Keys: ring, Trace: func(text string) {
				if strings.HasPrefix(text, statement) {
					if times--; times == 0 {
						cancel()
					}
				}
			}})
			if done, err := s.Seal(ctx, "test"); !errors.Is(err, context.Canceled) {
				t.Errorf("cut off at %s: %+v, %v", statement, done, err)
			}
			k.check(t, openKeyed(t, dsn, ring))
		}
		const key, settings, tokens = "UPDATE credentials", "UPDATE channels", "UPDATE codex_accounts"
		one := keys(t, first)
		for _, at := range []int{1, 3} {
			cutOff(one, key, size(40)*at)
		}
		cutOff(one, settings, 1)
		equal(t, "state", must[store.SealState](t)(openKeyed(t, dsn, one).SealState(t.Context())), store.SealState{Key: one.Master(), Clear: true, Earlier: true})
		refused(t, dsn, nil)
		must[store.Sealing](t)(openKeyed(t, dsn, one).Seal(t.Context(), "test"))
		k.check(t, openKeyed(t, dsn, one))
		for where, data := range files(t, dsn) {
			k.hidden(t, where, data)
		}

		both := keys(t, second, first)
		cutOff(both, key, size(120))
		cutOff(both, tokens, 1)
		equal(t, "state", must[store.SealState](t)(openKeyed(t, dsn, both).SealState(t.Context())), store.SealState{Key: both.Master(), Earlier: true})
		done := must[store.Sealing](t)(openKeyed(t, dsn, both).Seal(t.Context(), "test"))
		if done.Rows == 0 {
			t.Error("nothing was left to seal")
		}
		alone := keys(t, second)
		allSealedWith(t, dsn, alone)
		k.check(t, openKeyed(t, dsn, alone))
	})
}

// A key that changes again before the first change has ended: three keys are in use.
func TestRotationAfterAnUnfinishedOne(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		first, second, third := secret.NewKey(), secret.NewKey(), secret.NewKey()
		k := keep(t, migrated(t, dsn, keys(t, first)), 3)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop := storetest.OpenDSN(t, store.Options{DSN: dsn, Keys: keys(t, second, first, third), Trace: func(text string) {
			if strings.HasPrefix(text, "SELECT id, settings FROM channels") {
				cancel()
			}
		}})
		if _, err := stop.Seal(ctx, "test"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		must[store.Sealing](t)(openKeyed(t, dsn, keys(t, third, second, first)).Seal(t.Context(), "test"))
		allSealedWith(t, dsn, keys(t, third))
		k.check(t, openKeyed(t, dsn, keys(t, third)))
	})
}
