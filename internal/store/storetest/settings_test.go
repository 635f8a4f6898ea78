package storetest_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// Settings go back to nothing, and the columns to what a first version wrote.
func TestNoSettings(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		p.channel.Settings, p.credential.Limits, p.channel.Bindings[1].Timeouts = realm.ChannelSettings{}, realm.Limits{}, realm.Timeouts{}
		write(t, s, func(r store.Repos) error {
			return errors.Join(r.Channels.Update(t.Context(), &p.channel), r.Credentials.Update(t.Context(), &p.credential))
		})
		equal(t, "channel", must[*realm.Channel](t)(s.Read().Channels.Get(t.Context(), p.channel.ID)), &p.channel)
		equal(t, "credential", must[*realm.Credential](t)(s.Read().Credentials.Get(t.Context(), p.credential.ID)), &p.credential)
		rows := strings.Join(backup(t, s), "")
		if !strings.Contains(rows, `,"{}"]`) || !strings.Contains(rows, `,1,"alpha","a",null]`) || strings.Contains(rows, "rpm") {
			t.Errorf("the rows are not as before:\n%s", rows)
		}
	})
}

// Every field of the vocabulary is stored: a new one without a place in the column
// would be lost in silence.
func TestSettingsAreStoredWhole(t *testing.T) {
	settings := everySetting()
	for _, empty := range emptyFields(settings) {
		t.Errorf("everySetting leaves %s empty", empty)
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		got := must[*realm.Channel](t)(s.Read().Channels.Get(t.Context(), p.channel.ID))
		equal(t, "settings", got.Settings, settings)
		rows := strings.Join(backup(t, s), "")
		for _, secret := range []string{settings.Proxy.Reveal(), settings.SetHeaders["X-A"].Reveal()} {
			if !strings.Contains(rows, secret) {
				t.Errorf("a backup lacks a secret of the settings")
			}
		}
	})
}

func TestSettingsThatNoColumnHolds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		p.channel.Settings.CAFile = strings.Repeat("a", 70_000)
		err := s.Tx(t.Context(), func(r store.Repos) error { return r.Channels.Update(t.Context(), &p.channel) })
		if e := realm.AsError(err); e.Code != realm.CodeInvalid || e.Field != "settings" {
			t.Errorf("settings of 70,000 bytes: %v", err)
		}
	})
}

// A refusal that is about another key than the one that is stored does nothing.
func TestRefuseSeesTheKey(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		old := p.credential.APIKey
		p.credential.APIKey, p.credential.State = old+"2", realm.CredentialOK
		for _, c := range []struct {
			key  realm.Secret
			want bool
		}{{old, false}, {"", false}, {p.credential.APIKey, true}, {p.credential.APIKey, false}} {
			write(t, s, func(r store.Repos) error {
				if c.key == old {
					if err := r.Credentials.Update(t.Context(), &p.credential); err != nil {
						return err
					}
				}
				moved, err := r.Credentials.Refuse(t.Context(), p.credential.ID, c.key, "401", at)
				if moved != c.want {
					t.Errorf("refused: %v, want %v", moved, c.want)
				}
				return err
			})
		}
		got := must[*realm.Credential](t)(s.Read().Credentials.Get(t.Context(), p.credential.ID))
		if got.State != realm.CredentialDisabled || got.StateReason != "401" || !got.StateSince.Equal(at) {
			t.Errorf("the credential is %s since %v: %q", got.State, got.StateSince, got.StateReason)
		}
	})
}

// Of two that add a setting one is first, whichever engine it is.
func TestAddKeepsTheFirst(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		for _, value := range []string{"first", "second"} {
			write(t, s, func(r store.Repos) error { return r.Settings.Add(t.Context(), "a", value) })
		}
		equal(t, "value", must[string](t)(s.Read().Settings.Get(t.Context(), "a")), "first")
	})
}

// emptyFields names the fields of a struct, inner ones included, that are zero.
func emptyFields(v any) (names []string) {
	var look func(prefix string, v reflect.Value)
	look = func(prefix string, v reflect.Value) {
		for i := range v.NumField() {
			name := prefix + v.Type().Field(i).Name
			switch f := v.Field(i); {
			case f.IsZero():
				names = append(names, name)
			case f.Kind() == reflect.Struct:
				look(name+".", f)
			}
		}
	}
	look("", reflect.ValueOf(v))
	return names
}
