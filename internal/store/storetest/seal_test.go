package storetest_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// A store that is made with a key never holds a secret in the clear.
func TestSealedFromTheStart(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		key := secret.NewKey()
		s := migrated(t, dsn, keys(t, key))
		k := keep(t, s, 3)
		k.check(t, s)
		for where, data := range files(t, dsn) {
			k.hidden(t, where, data)
		}
		equal(t, "state", must[store.SealState](t)(s.SealState(t.Context())), store.SealState{Key: keys(t, key).Master()})
		k.check(t, openKeyed(t, dsn, keys(t, key)))
		equal(t, "settings", must[map[string]string](t)(s.Read().Settings.All(t.Context())), map[string]string{})
	})
}

func TestKeysThatDoNotFit(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		right, wrong := keys(t, secret.NewKey()), keys(t, secret.NewKey())
		k := keep(t, migrated(t, dsn, right), 0)
		if text := refused(t, dsn, nil); !strings.Contains(text, "there is no security.master_key") || !strings.Contains(text, right.Master()) {
			t.Errorf("without a key: %s", text)
		}
		if text := refused(t, dsn, wrong); !strings.Contains(text, right.Master()) || !strings.Contains(text, wrong.Master()) {
			t.Errorf("with another key: %s", text)
		}
		k.check(t, openKeyed(t, dsn, right))
		blind := storetest.OpenDSN(t, store.Options{DSN: dsn, KeepSealed: true})
		if c, err := blind.Read().Credentials.Get(t.Context(), k.credential.ID); err == nil || c != nil && c.APIKey != "" {
			t.Errorf("a secret was read without a key: %v", err)
		}
		for name, verb := range map[string]func(r store.Repos) error{
			"update": func(r store.Repos) error { return r.Credentials.Update(t.Context(), &k.credential) },
			"insert": func(r store.Repos) error {
				return r.Credentials.Insert(t.Context(), &realm.Credential{EndpointID: k.endpoint.ID, Name: "new", APIKey: "test"})
			},
			"setting": func(r store.Repos) error { return r.Settings.Set(t.Context(), store.InstanceSecret, "test") },
		} {
			if err := blind.Tx(t.Context(), verb); realm.AsError(err).Field != "security.master_key" {
				t.Errorf("%s without a key: %v", name, err)
			}
		}
		k.check(t, openKeyed(t, dsn, right))
	})
}

// Sealing what was in the clear leaves nothing of it, not in pages that are no
// longer used either, and happens once.
func TestSealingWhatWasInTheClear(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		plain := migrated(t, dsn, nil)
		k := keep(t, plain, size(250))
		gone := k.credentials[len(k.credentials)-1]
		write(t, plain, func(r store.Repos) error { return r.Credentials.Delete(t.Context(), gone.ID) })
		if all := strings.Join(slices.Collect(maps.Values(files(t, dsn))), ""); !strings.Contains(all, gone.APIKey.Reveal()) && !strings.Contains(all, k.credentials[0].APIKey.Reveal()) {
			t.Error("no secret is found in a store that keeps them in the clear")
		}
		equal(t, "keeps", must[bool](t)(plain.KeepsSecrets(t.Context())), true)

		ring := keys(t, secret.NewKey())
		s := openKeyed(t, dsn, ring)
		equal(t, "before", must[store.SealState](t)(s.SealState(t.Context())), store.SealState{Clear: true})
		done := must[store.Sealing](t)(s.Seal(t.Context(), "test"))
		equal(t, "sealing", done, store.Sealing{Key: ring.Master(), Rows: int64(len(k.credentials)) + 4})
		for where, data := range files(t, dsn) {
			k.hidden(t, where, data)
		}
		k.credentials = k.credentials[:len(k.credentials)-1]
		k.check(t, s)
		equal(t, "after", must[store.SealState](t)(s.SealState(t.Context())), store.SealState{Key: ring.Master()})

		audit := must[[]store.AuditEntry](t)(s.Read().Audit.List(t.Context(), store.AuditPage{}))
		equal(t, "audit", []string{audit[0].Verb, audit[1].Verb, audit[0].Actor, audit[0].ObjectName}, []string{"secrets.sealed", "secrets.seal_begin", "test", ring.Master()})
		lines := backup(t, s)
		equal(t, "again", must[store.Sealing](t)(s.Seal(t.Context(), "test")), store.Sealing{Key: ring.Master()})
		equal(t, "rows after a second sealing", backup(t, s)[1:len(lines)-1], lines[1:len(lines)-1])

		// Who was there before, without a key, can no longer write in the clear.
		err := plain.Tx(t.Context(), func(r store.Repos) error { return r.Credentials.Update(t.Context(), &k.credential) })
		if realm.AsError(err).Field != "security.master_key" {
			t.Errorf("written in the clear: %v", err)
		}
	})
}

// What is put into a sealed store behind its back is not believed.
func TestRowsThatWereTamperedWith(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ring := keys(t, secret.NewKey())
		k := keep(t, migrated(t, dsn, ring), 2)
		raw, ctx := storetest.Raw(t, dsn), t.Context()
		text := func(query string, args ...any) (s string) {
			t.Helper()
			if err := raw.QueryRowContext(ctx, query, args...).Scan(&s); err != nil {
				t.Fatal(err)
			}
			return s
		}
		exec := func(query string, args ...any) {
			t.Helper()
			res, err := raw.ExecContext(ctx, query, args...)
			if err != nil {
				t.Fatal(err)
			}
			if n := must[int64](t)(res.RowsAffected()); n != 1 {
				t.Fatalf("%s changed %d rows", query, n)
			}
		}
		const keyOf, setKey = "SELECT api_key FROM credentials WHERE id = ?", "UPDATE credentials SET api_key = ? WHERE id = ?"
		mine, theirs := text(keyOf, k.credentials[0].ID), text(keyOf, k.credentials[1].ID)
		tokens, instance := text("SELECT tokens FROM codex_accounts"), text("SELECT value FROM settings WHERE name = 'instance_secret'")
		for what, value := range map[string]string{
			"in the clear":         "test-planted",
			"another row's":        theirs,
			"another table's":      tokens,
			"a setting's":          instance,
			"cut":                  mine[:len(mine)-1],
			"of a later version":   strings.Replace(mine, ":1:", ":2:", 1),
			"of an earlier format": strings.TrimPrefix(mine, "sealed:1:"),
			"sealed with no key":   strings.Replace(mine, ring.Master(), "none", 1),
		} {
			exec(setKey, value, k.credentials[0].ID)
			c, err := openKeyed(t, dsn, ring).Read().Credentials.Get(ctx, k.credentials[0].ID)
			if realm.AsError(err).Code != realm.CodeUnavailable || c != nil {
				t.Errorf("a key that is %s is read: %v", what, err)
			}
			if strings.Contains(fmt.Sprint(err), value) {
				t.Errorf("the error quotes what is stored: %v", err)
			}
		}
		exec(setKey, mine, k.credentials[0].ID)
		k.check(t, openKeyed(t, dsn, ring))

		settings := text("SELECT settings FROM channels")
		_, header, _ := strings.Cut(settings, `"X-A":"`)
		header, _, _ = strings.Cut(header, `"`)
		_, other, _ := strings.Cut(settings, `"X-B":"`)
		other, _, _ = strings.Cut(other, `"`)
		for what, changed := range map[string]string{
			"a header that is another header's": strings.Replace(settings, header, other, 1),
			"a header in the clear":             strings.Replace(settings, header, "planted", 1),
			"a header that is a key":            strings.Replace(settings, header, mine, 1),
		} {
			exec("UPDATE channels SET settings = ?", changed)
			if c, err := openKeyed(t, dsn, ring).Read().Channels.Get(ctx, k.channel.ID); realm.AsError(err).Code != realm.CodeUnavailable || c != nil {
				t.Errorf("%s is read: %v", what, err)
			}
		}
		exec("UPDATE channels SET settings = ?", settings)
		k.check(t, openKeyed(t, dsn, ring))
	})
}

// The row that says how a store is sealed cannot be forged, nor taken away to have
// the store sealed anew with what was planted.
func TestMarkThatWasTamperedWith(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		ring := keys(t, secret.NewKey())
		k := keep(t, migrated(t, dsn, ring), 2)
		raw, ctx := storetest.Raw(t, dsn), t.Context()
		exec := func(query string, args ...any) {
			t.Helper()
			if _, err := raw.ExecContext(ctx, query, args...); err != nil {
				t.Fatal(err)
			}
		}
		var mark string
		if err := raw.QueryRowContext(ctx, "SELECT value FROM settings WHERE name = 'seal_mark'").Scan(&mark); err != nil {
			t.Fatal(err)
		}
		for what, value := range map[string]string{
			"in the clear": "sealing", "empty": "", "cut": mark[:len(mark)-1], "a secret": "sealed:1:" + ring.Master() + ":" + strings.Repeat("A", 80),
		} {
			exec("UPDATE settings SET value = ? WHERE name = 'seal_mark'", value)
			s, err := store.Open(ctx, store.Options{DSN: dsn, Keys: ring})
			if err == nil {
				t.Errorf("a mark that is %s: %v", what, errors.Join(errors.New("opened"), s.Close()))
			} else if realm.AsError(err).Code != realm.CodeUnavailable {
				t.Errorf("a mark that is %s: %v", what, err)
			}
		}
		exec("DELETE FROM settings WHERE name = 'seal_mark'")
		exec("UPDATE credentials SET api_key = 'test-planted' WHERE id = ?", k.credentials[0].ID)
		gone := func(what string, err error) {
			t.Helper()
			if e := realm.AsError(err); err == nil || e.Code != realm.CodeUnavailable || !strings.Contains(e.Message, "is gone") {
				t.Errorf("%s without a mark: %v", what, err)
			}
		}
		for name, ring := range map[string]*secret.Keyring{"the key": ring, "no key": nil, "another key": keys(t, secret.NewKey())} {
			s, err := store.Open(ctx, store.Options{DSN: dsn, Keys: ring})
			if gone("opened with "+name, err); err == nil {
				t.Error(s.Close())
			}
		}
	})
}

// A refusal finds a sealed key, and only the one that is stored.
func TestRefuseSeesASealedKey(t *testing.T) {
	eachEngine(t, func(t *testing.T, dsn string) {
		s := migrated(t, dsn, keys(t, secret.NewKey()))
		k := keep(t, s, 1)
		c := k.credentials[0]
		for _, tc := range []struct {
			id   realm.ID
			key  realm.Secret
			want bool
		}{{c.ID, c.APIKey + "2", false}, {c.ID, "", false}, {c.ID + 1, c.APIKey, false}, {c.ID, c.APIKey, true}, {c.ID, c.APIKey, false}} {
			write(t, s, func(r store.Repos) error {
				moved, err := r.Credentials.Refuse(t.Context(), tc.id, tc.key, "401", at)
				equal(t, "moved", moved, tc.want)
				return err
			})
		}
		equal(t, "state", must[*realm.Credential](t)(s.Read().Credentials.Get(t.Context(), c.ID)).State, realm.CredentialDisabled)
	})
}

// A backup carries what is sealed, to either engine and without a key; who
// restores it needs the key from then on.
func TestBackupOfASealedStore(t *testing.T) {
	for _, from := range storetest.Engines(t) {
		ring := keys(t, secret.NewKey())
		dsn := storetest.DSN(t, from)
		k := keep(t, migrated(t, dsn, ring), 2)
		lines := backup(t, storetest.OpenDSN(t, store.Options{DSN: dsn, KeepSealed: true}))
		k.hidden(t, "backup", strings.Join(lines, ""))
		for _, to := range storetest.Engines(t) {
			for name, o := range map[string]store.Options{"without a key": {KeepSealed: true}, "with it": {Keys: ring}, "with another": {Keys: keys(t, secret.NewKey())}} {
				t.Run(from+" to "+to+" "+name, func(t *testing.T) {
					o.DSN = storetest.DSN(t, to)
					target := storetest.OpenDSN(t, o)
					must[[]string](t)(target.Migrate(t.Context())) // with a key it has a mark of its own now
					if err := restore(t, target, lines); err != nil {
						t.Fatal(err)
					}
					refused(t, o.DSN, nil)
					k.check(t, openKeyed(t, o.DSN, ring))
				})
			}
		}
	}
}

// A backup in the clear can be restored where there is a key, and sealed then.
func TestBackupInTheClearIsSealedLater(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		k := keep(t, s, 2)
		lines := backup(t, s)
		dsn, ring := storetest.DSN(t, s.Engine()), keys(t, secret.NewKey())
		target := migrated(t, dsn, ring)
		if err := restore(t, target, lines); err != nil {
			t.Fatal(err)
		}
		k.check(t, target)
		target = openKeyed(t, dsn, ring)
		must[store.Sealing](t)(target.Seal(t.Context(), "test"))
		k.check(t, target)
		k.hidden(t, "backup", strings.Join(backup(t, target), ""))
	})
}
