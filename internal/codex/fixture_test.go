package codex

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/settings"
	"realms/internal/store"
	"realms/internal/store/storetest"
	"realms/internal/testkit/codextest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const actor = "test"

// clock is one that tests set; the issuer has the same.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// text is a buffer for many writers.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *text) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *text) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// rig is a provider, and one store with as many processes as a test wants.
type rig struct {
	*clock
	t    *testing.T
	fake *codextest.Fake
	dsn  string
	log  *text
}

// process is one that uses the store.
type process struct {
	*Service
	t       *testing.T
	db      *store.Store
	catalog *catalog.Service
}

var startOfTests = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// newRig has the channel "codex" with the credentials "main" and "second", and the
// use of accounts accepted.
func newRig(t *testing.T, engine string, accounts ...codextest.Account) *rig {
	t.Helper()
	r := &rig{t: t, clock: &clock{now: startOfTests}, dsn: storetest.DSN(t, engine), log: &text{}}
	r.fake = codextest.Start(t, codextest.Options{Now: r.Now, Accounts: accounts})
	s := storetest.OpenDSN(t, store.Options{DSN: r.dsn, Now: r.Now})
	if _, err := s.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	p := r.process()
	if err := p.Enable(t.Context(), actor); err != nil {
		t.Fatal(err)
	}
	_, err := p.catalog.UpsertChannel(t.Context(), actor, catalog.ChannelSpec{
		Name: "codex", Type: realm.CodexOAuth, Enabled: true, Weight: 1, APIs: catalog.DefaultAPIs(realm.CodexOAuth),
		Groups: []string{realm.DefaultGroup}, Bindings: []realm.Binding{{Model: "gpt-5.5"}},
		Endpoints: []catalog.EndpointSpec{{Credentials: []catalog.CredentialSpec{
			{Name: "main", Enabled: true, Weight: 1}, {Name: "second", Enabled: true, Weight: 1},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// eachEngine runs a test over a rig on each engine.
func eachEngine(t *testing.T, test func(t *testing.T, r *rig)) {
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) { test(t, newRig(t, engine)) })
	}
}

// process starts another one; it is closed when the test ends.
func (r *rig) process() *process {
	r.t.Helper()
	return r.processOver(store.Options{DSN: r.dsn, Now: r.Now})
}

func (r *rig) processOver(o store.Options) *process {
	r.t.Helper()
	s, err := store.Open(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(io.MultiWriter(r.log), &slog.HandlerOptions{Level: slog.LevelDebug}))
	p := &process{t: r.t, db: s}
	p.catalog = catalog.New(catalog.Options{Store: s, Now: r.Now, Log: log})
	set := settings.New(settings.Options{Store: s, Log: log})
	p.Service = New(Options{
		Store: s, Catalog: p.catalog, Settings: set, Issuer: r.fake.Issuer(), Backend: r.fake.Backend(), Now: r.Now, Log: log,
	})
	p.writeTime = 3 * time.Second
	r.t.Cleanup(func() {
		p.Close()
		_ = s.Close()
		p.o.HTTP(nil).CloseIdleConnections()
	})
	for _, load := range []func(context.Context) error{set.Load, p.catalog.Load, p.Load} {
		if err := load(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
	return p
}

// hear makes a process follow the changes, as the watcher does.
func (p *process) hear() {
	p.t.Helper()
	changes, err := p.db.Read().Changes.Since(p.t.Context(), 0, 1000)
	p.must(err)
	for _, apply := range []func(context.Context, []store.Change) error{p.o.Settings.Apply, p.catalog.Apply, p.Apply} {
		p.must(apply(p.t.Context(), changes))
	}
}

func (p *process) must(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// cr is a credential of the channel, as the snapshot has it.
func (p *process) cr(name string) *realm.Credential {
	p.t.Helper()
	p.must(p.catalog.Load(p.t.Context()))
	for _, cr := range p.catalog.Snapshot().Channel("codex").Endpoints[0].Credentials {
		if cr.Name == name {
			return cr
		}
	}
	p.t.Fatalf("no credential %q", name)
	return nil
}

// signIn signs the visitor in for the credential "main".
func (r *rig) signIn(p *process) *Account {
	r.t.Helper()
	return r.signInFor(p, Target{Channel: "codex", Credential: "main"})
}

func (r *rig) signInFor(p *process, to Target) *Account {
	r.t.Helper()
	in, err := p.StartDevice(r.t.Context(), actor, to)
	p.must(err)
	r.fake.Confirm(r.t, in.UserCode)
	a, err := p.PollDevice(r.t.Context(), actor, in.State)
	p.must(err)
	return a
}

// remove signs "main"'s account out, here and at the issuer.
func (p *process) remove() {
	p.t.Helper()
	unrevoked, err := p.Remove(p.t.Context(), actor, "codex", "main")
	p.must(errors.Join(unrevoked, err))
}

// row is what the store has of "main"'s account.
func (p *process) row() *realm.CodexAccount {
	p.t.Helper()
	a, err := p.db.Read().CodexAccounts.Get(p.t.Context(), p.cr("main").ID)
	p.must(err)
	return a
}

func (p *process) identify() (realm.CodexIdentity, error) {
	p.t.Helper()
	return p.Identity(p.t.Context(), p.cr("main"))
}

// refreshes are the calls of the issuer that renewed tokens.
func (r *rig) refreshes() (n int) {
	for _, q := range r.fake.Requests(codextest.PathToken) {
		if strings.Contains(string(q.Body), "refresh_token") && !strings.Contains(string(q.Body), "authorization_code") {
			n++
		}
	}
	return n
}

func (r *rig) wantRefreshes(want int) {
	r.t.Helper()
	if got := r.refreshes(); got != want {
		r.t.Errorf("the issuer was asked for fresh tokens %d times, want %d", got, want)
	}
	if n := r.fake.Reuses(); n != 0 {
		r.t.Errorf("%d refresh tokens were used twice", n)
	}
}

// settled waits until no flight is under way.
func (p *process) settled() {
	p.t.Helper()
	e := p.entry(p.cr("main").ID)
	for {
		e.mu.Lock()
		f := e.flight
		e.mu.Unlock()
		if f == nil {
			return
		}
		select {
		case <-f.done:
		case <-p.t.Context().Done():
			return
		}
	}
}

func wantError(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// audited are the verbs of the audit's rows about accounts and credentials' states,
// by name.
func (p *process) audited() (verbs []string) {
	p.t.Helper()
	rows, err := p.db.Read().Audit.List(p.t.Context(), store.AuditPage{Limit: 1000})
	p.must(err)
	for i := range rows {
		if v := rows[i].Verb; strings.HasPrefix(v, "codex_account.") || strings.HasPrefix(v, "credential.") {
			verbs = append(verbs, v)
		}
	}
	slices.Sort(verbs)
	return verbs
}
