package catalog

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
)

func TestSnapshotBeforeLoadIsEmpty(t *testing.T) {
	s := New(Options{})
	if got := s.Snapshot(); got == nil || len(got.Channels()) != 0 || got.Version != 0 {
		t.Errorf("got %+v", got)
	}
}

func TestCredentialOutOfUseIsSaidOnce(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.put(mainSpec())
		used := f.credential("main", "https://one.example/v1", "a")
		id := used.ID
		before := len(f.audit())
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				if err := f.CredentialOutOfUse(t.Context(), used, "account\ndeactivated"); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		rows := f.audit()
		if len(rows) != before+1 || rows[before].Verb != "credential.out_of_use" || rows[before].Actor != "server" {
			t.Fatalf("%d audit rows, want one more than %d", len(rows), before)
		}
		cr := f.Snapshot().Credential(id)
		if cr.Usable() || cr.StateReason != "account deactivated" || !cr.StateSince.Equal(at) {
			t.Errorf("state %s since %v: %q", cr.State, cr.StateSince, cr.StateReason)
		}
		if len(f.Snapshot().Offered([]realm.ID{1}, true)) != 0 {
			t.Error("its models are still offered")
		}
		for range 2 {
			_, err := f.CredentialMended(t.Context(), "test", id)
			f.must(err)
		}
		if rows := f.audit(); len(rows) != before+2 {
			t.Errorf("%d audit rows, want %d", len(rows), before+2)
		}
		if cr := f.Snapshot().Credential(id); !cr.Usable() || cr.StateReason != "" || !cr.StateSince.IsZero() {
			t.Errorf("mended: %s %q", cr.State, cr.StateReason)
		}
	})
}

func TestCredentialThatIsGone(t *testing.T) {
	f := newFixture(t, "sqlite")
	want(t, f.CredentialOutOfUse(t.Context(), &realm.Credential{ID: 42}, "x"), realm.CodeNotFound)
}

func TestApplyPublishesWhatAnotherProcessDid(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		other := New(Options{Store: f.db, Now: now})
		f.must(other.Load(t.Context()))
		from := f.version()
		f.put(mainSpec())
		changes, err := f.db.Read().Changes.Since(t.Context(), from, 100)
		f.must(err)

		before := other.Snapshot()
		f.must(other.Apply(t.Context(), []store.Change{{Version: 1 << 40, Kind: store.KindToken, ID: 1}, {Version: 1 << 40, Kind: store.KindUser, ID: 1}, {Version: 1 << 40, Kind: store.KindSetting}}))
		if other.Snapshot() != before {
			t.Error("changes that are not about the catalogue published a snapshot")
		}
		f.must(other.Apply(t.Context(), changes))
		if other.Snapshot().Channel("main") == nil || other.Snapshot().Version != f.version() {
			t.Error("the channel of another process is not published")
		}
		// The same catalogue, however it was come by.
		fresh := New(Options{Store: f.db, Now: now})
		f.must(fresh.Load(t.Context()))
		if d := cmp.Diff(offers(fresh.Snapshot()), offers(other.Snapshot())); d != "" {
			t.Error(d)
		}
		published := f.Snapshot()
		f.must(f.Apply(t.Context(), changes))
		if f.Snapshot() != published {
			t.Error("the process that made the change published it twice")
		}
	})
}

func offers(s *realm.Snapshot) []string {
	var list []string
	for name := range s.Models() {
		for _, tier := range s.Route(1, name, false).Tiers {
			for _, c := range tier.Candidates {
				list = append(list, fmt.Sprint(name, tier.Priority, c.Channel.Name, c.Upstream(name)))
			}
		}
	}
	slices.Sort(list) // models come in no order
	return append(list, s.Offered([]realm.ID{1}, true)...)
}

func TestLoadFailingKeepsTheSnapshot(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.put(mainSpec())
	published := f.Snapshot()
	f.must(f.db.Close())
	if err := f.Load(t.Context()); err == nil {
		t.Fatal("a closed store could be read")
	}
	if err := f.Apply(t.Context(), []store.Change{{Version: 1 << 40, Kind: store.KindChannel}}); err == nil {
		t.Fatal("a closed store could be read")
	}
	if f.Snapshot() != published {
		t.Error("the snapshot changed although nothing could be read")
	}
}

// Two processes declare the same channel with different endpoints. Whoever comes
// last wins whole: a mixture would be what nobody declared.
func TestConcurrentUpsertsNeverMix(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.put(mainSpec())
		other := New(Options{Store: f.db, Now: now})
		declare := func(s *Service, who string) {
			for i := range 10 {
				spec := mainSpec()
				spec.Bindings = []realm.Binding{{Model: who}, {Model: "shared"}}
				spec.Endpoints = nil
				for n := range 2 + i%2 {
					spec.Endpoints = append(spec.Endpoints, EndpointSpec{
						BaseURL:     fmt.Sprintf("https://%s-%d.example/v1", who, n),
						Credentials: []CredentialSpec{{Name: who, APIKey: secret(who), Enabled: true}},
					})
				}
				if _, err := s.UpsertChannel(t.Context(), who, spec); err != nil {
					t.Error(err)
				}
			}
		}
		var wg sync.WaitGroup
		wg.Go(func() { declare(f.Service, "left") })
		wg.Go(func() { declare(other, "right") })
		// Every snapshot on the way is one that somebody declared, too.
		stop := make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() {
			s := New(Options{Store: f.db, Now: now})
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := s.Load(t.Context()); err != nil {
					t.Error(err)
					return
				}
				if err := unmixed(s.Snapshot().Channel("main")); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Wait()
		close(stop)
		reader.Wait()
		f.must(f.Load(t.Context()))
		if err := unmixed(f.Snapshot().Channel("main")); err != nil {
			t.Error(err)
		}
	})
}

func unmixed(ch *realm.Channel) error {
	if len(ch.Endpoints) == 0 {
		return errors.New("a channel without endpoints was seen")
	}
	who := ch.Bindings[0].Model
	for _, ep := range ch.Endpoints {
		if who == "gpt-5.5" { // as it was before anybody declared it anew
			continue
		}
		if len(ep.Credentials) != 1 || ep.Credentials[0].Name != who {
			return fmt.Errorf("the channel binds %s's model and has the endpoint %s", who, ep.BaseURL)
		}
	}
	return nil
}
