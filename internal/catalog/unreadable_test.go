package catalog

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	keys "realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// sealed is a fixture over a sealed store, with what it logs and the database
// behind its back.
type sealed struct {
	*fixture
	key realm.Secret
	dsn string
	log *strings.Builder
}

func keyring(t *testing.T, master realm.Secret, previous ...realm.Secret) *keys.Keyring {
	t.Helper()
	k, err := keys.New(master, previous)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func onEverySealedEngine(t *testing.T, test func(t *testing.T, f *sealed)) {
	t.Helper()
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) {
			f := &sealed{key: keys.NewKey(), dsn: storetest.DSN(t, engine), log: new(strings.Builder)}
			db := storetest.OpenDSN(t, store.Options{DSN: f.dsn, Keys: keyring(t, f.key)})
			if _, err := db.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			log := slog.New(slog.NewTextHandler(f.log, nil))
			f.fixture = &fixture{Service: New(Options{Store: db, Now: now, Log: log}), t: t, db: db}
			f.must(f.Load(t.Context()))
			test(t, f)
		})
	}
}

func (f *sealed) exec(query string, args ...any) {
	f.t.Helper()
	if _, err := storetest.Raw(f.t, f.dsn).ExecContext(f.t.Context(), query, args...); err != nil {
		f.t.Fatal(err)
	}
}

// A key that does not open takes its credential out of use, and nothing beside it,
// until it is given another.
func TestKeyThatDoesNotOpen(t *testing.T) {
	onEverySealedEngine(t, func(t *testing.T, f *sealed) {
		full := func() ChannelSpec {
			spec := mainSpec()
			ep := &spec.Endpoints[0]
			ep.Credentials = append(ep.Credentials, CredentialSpec{Name: "beside", APIKey: secret("beside"), Enabled: true, Weight: 1})
			return spec
		}
		f.put(full())
		lost := f.credential("main", "https://one.example/v1", "a")
		f.exec("UPDATE credentials SET api_key = 'test-planted' WHERE id = ?", lost.ID)
		for range 2 {
			f.must(f.Load(t.Context()))
		}
		usable := 0
		for _, ep := range f.Snapshot().Channel("main").Endpoints {
			for _, cr := range ep.Credentials {
				if cr.Usable() {
					usable++
				}
			}
		}
		now := f.Snapshot().Credential(lost.ID)
		if now.Usable() || now.APIKey != "" || now.State != realm.CredentialDisabled || !strings.Contains(now.StateReason, "cannot be read") || usable == 0 {
			t.Errorf("%s %q; %d others are usable", now.State, now.StateReason, usable)
		}
		text := f.log.String()
		if strings.Count(text, "a secret of it cannot be read") != 1 || !strings.Contains(text, "channel=main credential=a") || strings.Contains(text, "planted") {
			t.Errorf("logged:\n%s", text)
		}
		if len(f.Snapshot().Offered([]realm.ID{1}, true)) == 0 {
			t.Error("the channel's models are not offered any more")
		}

		_, err := f.MendChannel(t.Context(), "test", "main", "")
		f.must(err)
		if _, err := f.MendChannel(t.Context(), "test", "main", "a"); realm.AsError(err).Code != realm.CodeUnavailable {
			t.Errorf("mended: %v", err)
		}
		spec := full()
		spec.Endpoints[0].Credentials[0].APIKey, spec.Endpoints[0].Credentials[0].Weight = nil, 9
		f.put(spec) // what is not about the key goes on being said
		if cr := f.Snapshot().Credential(lost.ID); cr.Usable() || cr.Weight != 9 {
			t.Errorf("declared without its key: weight %d, usable %v", cr.Weight, cr.Usable())
		}
		f.put(full())
		if cr := f.Snapshot().Credential(lost.ID); !cr.Usable() || cr.APIKey != lost.APIKey {
			t.Errorf("declared with its key: %s %q", cr.State, cr.StateReason)
		}
		rows := f.audit()
		if detail := string(rows[len(rows)-1].Detail); !strings.Contains(detail, "unreadable") {
			t.Errorf("audit: %s", detail)
		}
	})
}

// Settings that do not open take out the channel: without its proxy and its headers
// nothing may go there.
func TestSettingsThatDoNotOpen(t *testing.T) {
	onEverySealedEngine(t, func(t *testing.T, f *sealed) {
		spec, other := mainSpec(), mainSpec()
		other.Name = "other"
		spec.Settings.Proxy = realm.Secret("http://test-" + "proxy.example:3128")
		f.put(spec)
		f.put(other)
		f.exec("UPDATE channels SET settings = REPLACE(settings, 'sealed:1:', 'sealed:1:x') WHERE name = 'main'")
		for range 2 {
			f.must(f.Load(t.Context()))
		}
		for _, name := range []string{"main", "other"} {
			for _, ep := range f.Snapshot().Channel(name).Endpoints {
				for _, cr := range ep.Credentials {
					if cr.Usable() && name == "main" || cr.State != realm.CredentialOK && name == "other" {
						t.Errorf("%s/%s: %s %q", name, cr.Name, cr.State, cr.StateReason)
					}
				}
			}
		}
		if text := f.log.String(); strings.Count(text, "a secret of it cannot be read") != 1 {
			t.Errorf("logged:\n%s", text)
		}
		for _, enabled := range []bool{false, true} { // which leaves the settings as they are
			_, err := f.SetChannelEnabled(t.Context(), "test", "main", enabled)
			f.must(err)
			if f.Snapshot().Channel("main").Unreadable == nil {
				t.Fatal("switching a channel has replaced its settings")
			}
		}
		f.put(spec)
		if ch := f.Snapshot().Channel("main"); ch.Unreadable != nil || ch.Settings.Proxy != spec.Settings.Proxy || !ch.Endpoints[0].Credentials[0].Usable() {
			t.Errorf("declared anew: %v", ch.Unreadable)
		}
		f.exec("UPDATE channels SET settings = '{' WHERE name = 'main'")
		f.put(mainSpec()) // which says of no setting anything
		if ch := f.Snapshot().Channel("main"); ch.Unreadable != nil || ch.Settings.Proxy != "" {
			t.Errorf("declared anew without settings: %v", ch.Unreadable)
		}
		f.exec("UPDATE channels SET settings = '{' WHERE name = 'main'")
		_, err := f.DeleteChannel(t.Context(), "test", "main")
		f.must(err)
	})
}

// A process that lacks the key which everything is sealed with goes on with what it
// has read.
func TestCatalogueWhoseKeyHasChanged(t *testing.T) {
	onEverySealedEngine(t, func(t *testing.T, f *sealed) {
		f.put(mainSpec())
		before := f.Snapshot()
		next := storetest.OpenDSN(t, store.Options{DSN: f.dsn, Keys: keyring(t, keys.NewKey(), f.key)})
		if _, err := next.Seal(t.Context(), "test"); err != nil {
			t.Fatal(err)
		}
		if err := f.Load(t.Context()); realm.AsError(err).Field != "security.master_key" {
			t.Errorf("loaded: %v", err)
		}
		if d := cmp.Diff(before.Version, f.Snapshot().Version); d != "" || f.Snapshot() != before {
			t.Errorf("another snapshot was published: %s", d)
		}
	})
}
