package account

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// channel puts a channel into groups, enabled or not.
func (f *fixture) channel(name string, kind realm.ChannelType, enabled bool, groups ...string) {
	f.t.Helper()
	ch := &realm.Channel{Name: name, Type: kind, Enabled: enabled, Groups: f.groups(groups...)}
	f.must(f.db.Tx(f.t.Context(), func(r store.Repos) error { return r.Channels.Insert(f.t.Context(), ch) }))
}

// Users are changed, and the rule holds, also where a channel's settings cannot be
// read.
func TestOwnersGroupsOfAnUnreadableChannel(t *testing.T) {
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) {
			dsn := storetest.DSN(t, engine)
			f := &fixture{t: t, db: storetest.OpenDSN(t, store.Options{DSN: dsn}), clock: newClock(), log: &bytes.Buffer{}}
			_, err := f.db.Migrate(t.Context())
			f.must(err)
			f.Service = f.process()
			f.must(f.db.Tx(t.Context(), func(r store.Repos) error {
				return r.Groups.Insert(t.Context(), &realm.Group{Name: "vip", Multiplier: realm.OnePPM})
			}))
			f.channel("me", realm.CodexOAuth, true, "vip")
			_, err = storetest.Raw(t, dsn).ExecContext(t.Context(), "UPDATE channels SET settings = '{'")
			f.must(err)
			f.user(UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"default"}})
			f.user(UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: false, Groups: []string{"default"}})
			_, err = f.UpsertUser(t.Context(), "test", UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"vip"}})
			if code(err) != realm.CodeConflict {
				t.Errorf("moved into the group of an account: %v", err)
			}
		})
	}
}

// TestOwnersGroups holds who may be in a group whose channel goes out with the
// operator's own account.
func TestOwnersGroups(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.channel("me", realm.CodexOAuth, true, "vip")
		f.channel("off", realm.CodexOAuth, false, "slow")
		f.channel("keyed", realm.OpenAICompatible, true, "default", "vip", "other")
		f.user(UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"default"}})
		f.user(UserSpec{Name: "eve", Role: realm.RoleAdmin, Enabled: true, Groups: []string{"vip", "slow"}})
		for _, c := range []struct {
			name    string
			spec    UserSpec
			refused []string // the field, and what the message names
		}{
			{"moved", UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"default", "vip"}}, []string{"groups[1]", `"vip"`, `"me"`}},
			{"made", UserSpec{Name: "new", Role: realm.RoleUser, Enabled: true, Groups: []string{"vip"}}, []string{"groups[0]", `"vip"`, `"me"`}},
			{"made, with spaces", UserSpec{Name: " new ", Role: realm.RoleUser, Enabled: true, Groups: []string{" vip"}}, []string{"groups[0]", `"new"`, `"me"`}},
			{"made disabled", UserSpec{Name: "new", Role: realm.RoleUser, Groups: []string{"vip"}}, []string{"groups[0]", `"vip"`, `"me"`}},
			{"a channel that is off", UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"slow"}}, []string{"groups[0]", `"slow"`, `"off"`}},
			{"demoted", UserSpec{Name: "eve", Role: realm.RoleUser, Enabled: true, Groups: []string{"vip", "slow"}}, []string{"groups[0]", `"eve"`, `"me"`}},
			{"demoted and moved", UserSpec{Name: "eve", Role: realm.RoleUser, Enabled: true, Groups: []string{"other"}}, nil},
			{"a channel with keys", UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"other", "default"}}, nil},
			{"promoted", UserSpec{Name: "bob", Role: realm.RoleAdmin, Enabled: true, Groups: []string{"vip"}}, nil},
			{"root", UserSpec{Name: "root", Role: realm.RoleRoot, Enabled: true, Groups: []string{"slow", "vip"}}, nil},
		} {
			version := f.version()
			_, err := f.UpsertUser(t.Context(), "test", c.spec)
			if c.refused == nil {
				if err != nil {
					t.Errorf("%s: %v", c.name, err)
				}
				continue
			}
			if code(err) != realm.CodeConflict || f.version() != version {
				t.Errorf("%s: %v, the version went from %d to %d", c.name, err, version, f.version())
				continue
			}
			var e *realm.Error
			if !errors.As(err, &e) || e.Field != c.refused[0] {
				t.Errorf("%s: the field is not %s: %+v", c.name, c.refused[0], e)
			}
			for _, word := range c.refused[1:] {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%s: %s is not named: %v", c.name, word, err)
				}
			}
		}
		users, err := f.ListUsers(t.Context())
		f.must(err)
		for _, u := range users {
			if !u.Role.Administers() && (slices.Contains(u.Groups, "vip") || slices.Contains(u.Groups, "slow")) {
				t.Errorf("%s came in: %+v", u.Name, u)
			}
		}
	})
}
