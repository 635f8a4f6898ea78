package storetest_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// A process that runs writes nothing in the clear either when the mark goes.
func TestMarkThatGoesWhileOneRuns(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ring := keys(t, secret.NewKey())
		for _, state := range []string{"sealed", "sealing", "rotating"} {
			dsn := dsn
			if state != "sealed" {
				dsn = storetest.DSN(t, engineOf(dsn))
			}
			s := migrated(t, dsn, ring)
			k := keep(t, s, 1)
			raw, ctx := storetest.Raw(t, dsn), t.Context()
			setMark := func(value string) {
				t.Helper()
				if _, err := raw.ExecContext(ctx, "UPDATE settings SET value = ? WHERE name = 'seal_mark'", value); err != nil {
					t.Fatal(err)
				}
			}
			setMark(must[string](t)(ring.Seal(secret.Place{Table: "settings", Column: "value", Row: "seal_mark"}, state)))
			s = openKeyed(t, dsn, ring)
			k.check(t, s)
			if _, err := raw.ExecContext(ctx, "DELETE FROM settings WHERE name = 'seal_mark'"); err != nil {
				t.Fatal(err)
			}
			fresh := k.account
			fresh.Version++
			for name, verb := range map[string]func(r store.Repos) error{
				"a key":    func(r store.Repos) error { return r.Credentials.Update(ctx, &k.credential) },
				"tokens":   func(r store.Repos) error { return r.CodexAccounts.Put(ctx, &fresh) },
				"settings": func(r store.Repos) error { return r.Channels.Update(ctx, &k.channel) },
				"secret":   func(r store.Repos) error { return r.Settings.Set(ctx, store.InstanceSecret, "test") },
			} {
				if err := s.Tx(ctx, verb); realm.AsError(err).Code != realm.CodeUnavailable || !strings.Contains(realm.AsError(err).Message, "is gone") {
					t.Errorf("%s written while the mark is not there (%s): %v", name, state, err)
				}
			}
			for where, data := range files(t, dsn) {
				k.hidden(t, where, data)
			}
		}
	})
}

// With a master key nothing is written in the clear: not by a command that comes
// before the start that seals, and not where no start has ever been.
func TestWritingBeforeTheFirstSealing(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ring, ctx := keys(t, secret.NewKey()), t.Context()
		k := keep(t, migrated(t, dsn, nil), 1)
		s := openKeyed(t, dsn, ring)
		c := k.credential
		c.APIKey = realm.Secret(word("fresh"))
		err := s.Tx(ctx, func(r store.Repos) error { return r.Credentials.Update(ctx, &c) })
		if e := realm.AsError(err); e.Field != "security.master_key" || !strings.Contains(e.Message, "start realms serve") {
			t.Errorf("written in the clear, or beside a server that has no key: %v", err)
		}
		k.check(t, s)
		must[store.Sealing](t)(s.Seal(ctx, "test"))
		write(t, s, func(r store.Repos) error { return r.Credentials.Update(ctx, &c) })

		dsn = storetest.DSN(t, engineOf(dsn)) // that no server has used
		p := populate(t, migrated(t, dsn, nil))
		s = openKeyed(t, dsn, ring)
		c = p.credential
		c.APIKey = realm.Secret(word("fresh"))
		write(t, s, func(r store.Repos) error { return r.Credentials.Update(ctx, &c) })
		equal(t, "state", must[store.SealState](t)(s.SealState(ctx)), store.SealState{Key: ring.Master(), Clear: true, Earlier: true})
		var stored string
		if err := storetest.Raw(t, dsn).QueryRowContext(ctx, "SELECT api_key FROM credentials WHERE id = ?", c.ID).Scan(&stored); err != nil || !secret.Sealed(stored) {
			t.Errorf("stored as it is: %v", err)
		}
		must[store.Sealing](t)(s.Seal(ctx, "test"))
		equal(t, "credential", must[*realm.Credential](t)(s.Read().Credentials.Get(ctx, c.ID)), &c)
		equal(t, "state", must[store.SealState](t)(s.SealState(ctx)), store.SealState{Key: ring.Master()})
	})
}

// A row that does not open is read as such and keeps what it holds; the others are
// read, and giving it another secret mends it.
func TestRowsThatDoNotOpen(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ring, ctx := keys(t, secret.NewKey()), t.Context()
		k := keep(t, migrated(t, dsn, ring), 2)
		raw := storetest.Raw(t, dsn)
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := raw.ExecContext(ctx, query, args...); err != nil {
				t.Fatal(err)
			}
		}
		text := func(query string) (s string) {
			t.Helper()
			if err := raw.QueryRowContext(ctx, query).Scan(&s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		damaged := k.credentials[0]
		exec("UPDATE credentials SET api_key = 'test-planted' WHERE id = ?", damaged.ID)
		exec("UPDATE channels SET settings = REPLACE(settings, 'sealed:1:', 'sealed:1:x')")
		s := openKeyed(t, dsn, ring)
		list := must[[]*realm.Credential](t)(s.Read().Credentials.List(ctx))
		equal(t, "of an endpoint", len(must[[]*realm.Credential](t)(s.Read().Credentials.ByEndpoint(ctx, k.endpoint.ID))), len(list))
		for _, c := range list {
			if (c.Unreadable != nil) != (c.ID == damaged.ID) || (c.APIKey == "") != (c.ID == damaged.ID) || c.Unreadable != nil && c.Usable() {
				t.Errorf("credential %s: %v", c.Name, c.Unreadable)
			}
			if c.Unreadable == nil {
				continue
			}
			c.Priority = 7
			write(t, s, func(r store.Repos) error { return r.Credentials.Update(ctx, c) })
			equal(t, "kept", text("SELECT api_key FROM credentials WHERE priority = 7"), "test-planted")
			c.APIKey, c.Unreadable = damaged.APIKey, nil
			write(t, s, func(r store.Repos) error { return r.Credentials.Update(ctx, c) })
			equal(t, "mended", must[*realm.Credential](t)(s.Read().Credentials.Get(ctx, c.ID)), c)
			k.credentials[0].Priority = 7
		}

		before := text("SELECT settings FROM channels")
		ch := must[[]*realm.Channel](t)(s.Read().Channels.List(ctx))[0]
		named := must[*realm.Channel](t)(s.Read().Channels.ByName(ctx, ch.Name))
		if ch.Unreadable == nil || named.Unreadable == nil || ch.Settings.Proxy != "" || len(ch.Settings.SetHeaders) > 0 || len(ch.Bindings) == 0 {
			t.Errorf("channel: %v, %v", ch.Unreadable, named.Unreadable)
		}
		ch.Enabled = false
		write(t, s, func(r store.Repos) error { return r.Channels.Update(ctx, ch) })
		equal(t, "settings that are kept", text("SELECT settings FROM channels WHERE enabled = 0"), before)
		write(t, s, func(r store.Repos) error { return r.Channels.Update(ctx, &k.channel) })
		k.check(t, openKeyed(t, dsn, ring))
	})
}

// A process that lacks the key which everything is sealed with has no damaged rows,
// but the wrong keys.
func TestRowsThatDoNotOpenForWantOfAKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		first, second := secret.NewKey(), secret.NewKey()
		keep(t, migrated(t, dsn, keys(t, first)), 1)
		late := openKeyed(t, dsn, keys(t, first))
		must[store.Sealing](t)(openKeyed(t, dsn, keys(t, second, first)).Seal(t.Context(), "test"))
		r := late.Read()
		for name, read := range map[string]func() error{
			"credentials": func() error { _, err := r.Credentials.List(t.Context()); return err },
			"channels":    func() error { _, err := r.Channels.List(t.Context()); return err },
		} {
			if err := read(); realm.AsError(err).Field != "security.master_key" {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What would not fit once sealed is refused from the start; what is there from
// before is named.
func TestSecretsThatDoNotFitSealed(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ctx := t.Context()
		for _, ring := range []*secret.Keyring{nil, keys(t, secret.NewKey())} {
			dsn := storetest.DSN(t, engineOf(dsn))
			s := migrated(t, dsn, ring)
			k := keep(t, s, 0)
			long := func(n int) *realm.Channel {
				c := k.channel
				c.Settings = realm.ChannelSettings{SetHeaders: map[string]realm.Secret{"X-A": realm.Secret(strings.Repeat("a", n))}}
				return &c
			}
			put := func(n int) error {
				return s.Tx(ctx, func(r store.Repos) error { return r.Channels.Update(ctx, long(n)) })
			}
			if err := put(50_000); realm.AsError(err).Field != "settings" {
				t.Errorf("settings that do not fit sealed (key %q): %v", ring.Master(), err)
			}
			if err := put(49_000); err != nil {
				t.Errorf("settings that fit: %v", err)
			}
			must[*realm.Channel](t)(s.Read().Channels.Get(ctx, k.channel.ID))
			if ring != nil {
				continue
			}
			must[store.Sealing](t)(openKeyed(t, dsn, keys(t, secret.NewKey())).Seal(ctx, "test"))

			old := storetest.DSN(t, engineOf(dsn))
			keep(t, migrated(t, old, nil), 0)
			text := `{"set_headers":{"X-A":"` + strings.Repeat("a", 50_000) + `"}}`
			if _, err := storetest.Raw(t, old).ExecContext(ctx, "UPDATE channels SET settings = ?", text); err != nil {
				t.Fatal(err)
			}
			_, err := openKeyed(t, old, keys(t, secret.NewKey())).Seal(ctx, "test")
			if e := realm.AsError(err); e.Code != realm.CodeUnavailable || !strings.Contains(e.Message, `the settings of channel "openai-main"`) {
				t.Errorf("sealing what does not fit: %v", err)
			}
		}
	})
}

func engineOf(dsn string) string {
	engine, _, _ := strings.Cut(dsn, ":")
	return engine
}

// A start that comes with another key than the sealing which an earlier one began
// ends that with its key: the others may not know the new one.
func TestSealingThatAStartGoesOnWith(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		first, second := secret.NewKey(), secret.NewKey()
		old, both := keys(t, first), keys(t, second, first)
		k := keep(t, migrated(t, dsn, nil), 3)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		stop := storetest.OpenDSN(t, store.Options{DSN: dsn, Keys: old, Trace: func(text string) {
			if strings.HasPrefix(text, "UPDATE channels") {
				cancel()
			}
		}})
		if _, err := stop.SealClear(ctx, "test"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
		s := openKeyed(t, dsn, both)
		equal(t, "sealing", must[store.Sealing](t)(s.SealClear(t.Context(), "test")).Key, old.Master())
		allSealedWith(t, dsn, old)
		k.check(t, openKeyed(t, dsn, old))
		equal(t, "state", must[store.SealState](t)(s.SealState(t.Context())), store.SealState{Key: old.Master()})
		must[store.Sealing](t)(s.Seal(t.Context(), "test"))
		k.check(t, openKeyed(t, dsn, keys(t, second)))
	})
}

// What was taken away is in no page of the file any more, with or without a key.
func TestRemovedSecretsLeaveTheFile(t *testing.T) {
	dsn := storetest.DSN(t, "sqlite")
	s := openKeyed(t, dsn, nil)
	must[[]string](t)(s.Migrate(t.Context()))
	k := keep(t, s, 1)
	long := k.account
	long.Version++
	long.Tokens.Access = realm.Secret(word("long") + strings.Repeat("-", 20_000) + word("end")) // which overflows its page
	write(t, s, func(r store.Repos) error { return r.CodexAccounts.Put(t.Context(), &long) })
	write(t, s, func(r store.Repos) error {
		return errors.Join(r.CodexAccounts.Delete(t.Context(), k.credential.ID), r.Credentials.Delete(t.Context(), k.credentials[0].ID))
	})
	if err := s.Close(); err != nil { // which empties the WAL
		t.Fatal(err)
	}
	file := string(must[[]byte](t)(os.ReadFile(strings.TrimPrefix(dsn, "sqlite:"))))
	if !strings.Contains(file, k.credential.APIKey.Reveal()) {
		t.Error("a secret that is in the clear is not found: the test looks in the wrong place")
	}
	access := long.Tokens.Access.Reveal()
	for _, gone := range []string{
		k.credentials[0].APIKey.Reveal(), k.account.Tokens.Access.Reveal(), k.account.Tokens.Refresh.Reveal(), access[:20], access[len(access)-20:],
	} {
		if strings.Contains(file, gone) {
			t.Errorf("the file still holds %q", gone)
		}
	}
}

// An account that comes with a backup is not used until somebody has said that no
// other store uses it; it takes no key to see to that.
func TestRestoredAccountsAreOutOfUse(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ring := keys(t, secret.NewKey())
		s := migrated(t, dsn, ring)
		k := keep(t, s, 1)
		k.credential.State, k.credential.StateReason, k.credential.StateSince = realm.CredentialOK, "", time.Time{}
		write(t, s, func(r store.Repos) error { return r.Credentials.Update(t.Context(), &k.credential) })
		lines := backup(t, s)
		to := storetest.DSN(t, engineOf(dsn))
		target := storetest.OpenDSN(t, store.Options{DSN: to, KeepSealed: true, Now: func() time.Time { return at }})
		err := target.Restore(t.Context(), strings.NewReader(strings.Join(lines, "")), store.RestoreOptions{SignedOut: func(channel, credential string) string {
			return "restored " + channel + "/" + credential
		}})
		if err != nil {
			t.Fatal(err)
		}
		k.credential.State, k.credential.StateReason, k.credential.StateSince = realm.CredentialDisabled, "restored openai-main/main", at
		k.check(t, openKeyed(t, to, ring))
	})
}
