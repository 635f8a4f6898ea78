package account

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a service over a store of its own, with a user "owner" in the
// groups default, vip and slow.
type fixture struct {
	*Service
	t     *testing.T
	db    *store.Store
	clock *clock
	log   *bytes.Buffer
}

func newFixture(t *testing.T, engine string) *fixture {
	t.Helper()
	f := &fixture{t: t, db: storetest.Open(t, engine), clock: newClock(), log: &bytes.Buffer{}}
	f.Service = f.process()
	for _, g := range []string{"vip", "slow", "other"} {
		f.must(f.db.Tx(t.Context(), func(r store.Repos) error {
			return r.Groups.Insert(t.Context(), &realm.Group{Name: g, Multiplier: realm.OnePPM})
		}))
	}
	f.user(UserSpec{Name: "owner", Role: realm.RoleRoot, Enabled: true, Groups: []string{"default", "vip", "slow"}})
	f.must(f.Load(t.Context()))
	return f
}

// process is another process over the same store: it knows what it is asked for
// or told by Apply.
func (f *fixture) process() *Service {
	return New(Options{Store: f.db, Now: f.clock.now, Log: slog.New(slog.NewTextHandler(f.log, nil))})
}

func onEveryEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) { test(t, newFixture(t, engine)) })
	}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) user(spec UserSpec) []store.Mutation {
	f.t.Helper()
	done, err := f.UpsertUser(f.t.Context(), "test", spec)
	f.must(err)
	return done
}

func (f *fixture) create(spec TokenSpec) (string, *realm.Token) {
	f.t.Helper()
	if spec.User == "" {
		spec.User = "owner"
	}
	if spec.Name == "" {
		spec.Name = "laptop"
	}
	text, token, err := f.CreateToken(f.t.Context(), "test", spec)
	f.must(err)
	return text.Reveal(), token
}

// groups is the ids of groups by name.
func (f *fixture) groups(names ...string) []realm.ID {
	f.t.Helper()
	ids := make([]realm.ID, 0, len(names))
	for _, name := range names {
		g, err := f.db.Read().Groups.ByName(f.t.Context(), name)
		f.must(err)
		ids = append(ids, g.ID)
	}
	return ids
}

func (f *fixture) changesSince(version int64) []store.Change {
	f.t.Helper()
	changes, err := f.db.Read().Changes.Since(f.t.Context(), version, 1000)
	f.must(err)
	return changes
}

func (f *fixture) version() int64 {
	f.t.Helper()
	v, err := f.db.Read().Changes.Version(f.t.Context())
	f.must(err)
	return v
}

// refused checks a refusal, its words, and that the token is not among them.
func refused(t *testing.T, s *Service, token string, code realm.Code, words string) {
	t.Helper()
	p, err := s.Recognise(t.Context(), token)
	var e *realm.Error
	if p != nil || !errors.As(err, &e) || e.Code != code || !strings.Contains(e.Message, words) {
		t.Errorf("got %+v, %v; want %s with %q", p, err, code, words)
	}
	if len(token) > 8 && err != nil && strings.Contains(err.Error(), token) {
		t.Errorf("the token is in the message: %v", err)
	}
}

func recognised(t *testing.T, s *Service, token string) *realm.Principal {
	t.Helper()
	p, err := s.Recognise(t.Context(), token)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
