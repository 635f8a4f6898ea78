package store_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// firstRows is a channel as the program of the first version stored it.
var firstRows = []string{
	"INSERT INTO channels (id, name, type, enabled, priority, weight, apis, settings) VALUES (7, 'main', 'openai_compatible', 1, 3, 2, 1, '{}')",
	"INSERT INTO channel_groups (channel_id, group_id) VALUES (7, 1)",
	"INSERT INTO channel_models (channel_id, position, model, upstream) VALUES (7, 0, 'fast', 'slow')",
	"INSERT INTO endpoints (id, channel_id, base_url, position) VALUES (8, 7, 'https://api.example.com/v1', 0)",
	"INSERT INTO credentials (id, endpoint_id, name, api_key, enabled, priority, weight, state, state_reason, state_since) VALUES (9, 8, 'a', 'test-key', 1, 0, 1, 'out_of_use', 'refused', 1800000000000)",
}

// What the first version wrote is read as it was: by an upgrade in place, and
// from its backup.
func TestUpgradeFromTheFirstVersion(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dsn := storetest.DSN(t, engine)
		old := open(t, dsn, nil)
		old.SetMigrations(first(t, 1))
		migrate(t, old)
		db := raw(t, dsn)
		for _, text := range firstRows {
			if _, err := db.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		var backup strings.Builder
		upgraded := open(t, dsn, nil)
		if err := upgraded.Backup(t.Context(), &backup); err != nil { // before its migration
			t.Fatal(err)
		}
		if diff := cmp.Diff(released[1:], migrate(t, upgraded)); diff != "" {
			t.Errorf("applied (-want +got):\n%s", diff)
		}
		restored := open(t, storetest.DSN(t, engine), nil)
		if err := restored.Restore(t.Context(), strings.NewReader(backup.String()), store.RestoreOptions{}); err != nil {
			t.Fatal(err)
		}
		for name, s := range map[string]*store.Store{"upgraded": upgraded, "restored": restored} {
			wantFirstRows(t, name, s)
		}
	})
}

func wantFirstRows(t *testing.T, name string, s *store.Store) {
	t.Helper()
	ch, err := s.Read().Channels.Get(t.Context(), 7)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	cr, err := s.Read().Credentials.Get(t.Context(), 9)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if diff := cmp.Diff(&realm.Channel{
		ID: 7, Name: "main", Type: realm.OpenAICompatible, Enabled: true, Priority: 3, Weight: 2, APIs: 1,
		Groups: []realm.ID{1}, Bindings: []realm.Binding{{Model: "fast", Upstream: "slow"}},
	}, ch); diff != "" {
		t.Errorf("%s: channel (-want +got):\n%s", name, diff)
	}
	if diff := cmp.Diff(&realm.Credential{
		ID: 9, EndpointID: 8, Name: "a", APIKey: "test-" + "key", Enabled: true, Weight: 1,
		State: realm.CredentialDisabled, StateReason: "refused", StateSince: time.UnixMilli(1_800_000_000_000).UTC(),
	}, cr); diff != "" {
		t.Errorf("%s: credential (-want +got):\n%s", name, diff)
	}
}

// What a newer program stored is refused with words, and without its values.
func TestSettingsOfANewerProgram(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dsn := storetest.DSN(t, engine)
		s := open(t, dsn, nil)
		migrate(t, s)
		db := raw(t, dsn)
		for _, text := range firstRows {
			if _, err := db.ExecContext(t.Context(), text); err != nil {
				t.Fatal(err)
			}
		}
		channels := func() error {
			all, err := s.Read().Channels.List(t.Context())
			for _, c := range all {
				err = errors.Join(err, c.Unreadable)
			}
			return err
		}
		credentials := func() error { _, err := s.Read().Credentials.List(t.Context()); return err }
		for _, c := range []struct {
			text string
			read func() error
			want string
		}{
			{`UPDATE channels SET settings = '{"proxy":"hush","colour":"hush"}'`, channels, `settings of channel "main" that this Realms does not understand ("colour")`},
			{`UPDATE channels SET settings = '{"probe":"hush"}'`, channels, `settings of channel "main"`},
			{`UPDATE channels SET settings = '{"attempts":2} hush'`, channels, ""},
			{`UPDATE channels SET settings = ''`, channels, "-"},
			{`UPDATE channel_models SET settings = '{"timeouts":{"lunch":"1h"}}'`, channels, `model "fast" that this Realms does not understand ("lunch")`},
			{`UPDATE credentials SET limits = '{"rpd":1}'`, credentials, `limits of credential "a" that this Realms does not understand ("rpd")`},
		} {
			if _, err := db.ExecContext(t.Context(), c.text); err != nil {
				t.Fatal(err)
			}
			err := c.read()
			switch {
			case c.want == "-":
				if err != nil {
					t.Errorf("%s: %v", c.text, err)
				}
			case err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hush"):
				t.Errorf("%s: %v", c.text, err)
			case c.want != "" && realm.AsError(err).Code != realm.CodeUnavailable:
				t.Errorf("%s: %s", c.text, realm.AsError(err).Code)
			}
		}
	})
}
