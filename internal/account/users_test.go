package account

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
)

func TestCheckUserNamesEveryFault(t *testing.T) {
	got, err := CheckUser(UserSpec{Name: " bob ", Role: realm.RoleAdmin, Groups: []string{" a"}})
	if err != nil || got.Name != "bob" || got.Groups[0] != "a" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = CheckUser(UserSpec{Name: "\x00", Role: "owner", Groups: []string{"a", "", "a"}})
	if d := cmp.Diff([]string{"name", "role", "groups[1]", "groups[2]"}, invalid(t, err)); d != "" {
		t.Error(d)
	}
}

func TestUpsertUser(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		bob := UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"vip", "default"}}
		done := f.user(bob)
		if len(done) != 1 || done[0].Verb != "create" || done[0].Kind != store.KindUser {
			t.Errorf("made by %+v", done)
		}
		version := f.version()
		if done := f.user(bob); len(done) != 0 || f.version() != version {
			t.Errorf("the same again: %+v", done)
		}
		bob.Groups, bob.Role = []string{"default", "vip"}, realm.RoleAdmin
		done = f.user(bob)
		wanted := []store.FieldChange{
			{Field: "role", Before: "user", After: "admin"},
			{Field: "groups", Before: "[vip, default]", After: "[default, vip]"},
		}
		if d := cmp.Diff(wanted, done[0].Fields); d != "" {
			t.Error(d)
		}
		list, err := f.ListUsers(t.Context())
		f.must(err)
		if len(list) != 2 || list[0].ID != done[0].ID {
			t.Fatalf("list %+v", list)
		}
		if d := cmp.Diff(bob, list[0].UserSpec); d != "" {
			t.Error(d)
		}
		_, err = f.UpsertUser(t.Context(), "test", UserSpec{Name: "eve", Role: realm.RoleUser, Groups: []string{"none", "vip", "nor this"}})
		if d := cmp.Diff([]string{"groups[0]", "groups[2]"}, invalid(t, err)); d != "" {
			t.Error(d)
		}
	})
}

func TestDisableUser(t *testing.T) {
	f := newFixture(t, "sqlite")
	text, _ := f.create(TokenSpec{})
	for _, step := range []struct {
		enabled bool
		verb    string
	}{{true, ""}, {false, "disable"}, {false, ""}, {true, "enable"}} {
		done, err := f.SetUserEnabled(t.Context(), "test", "owner", step.enabled)
		f.must(err)
		if got := len(done) == 1 && done[0].Verb == step.verb; got != (step.verb != "") {
			t.Errorf("enabled %v: %+v", step.enabled, done)
		}
		if _, err := f.Recognise(t.Context(), text); (err == nil) != step.enabled {
			t.Errorf("enabled %v: %v", step.enabled, err)
		}
	}
	if _, err := f.DisableUser(t.Context(), "test", "none"); code(err) != realm.CodeNotFound {
		t.Errorf("nobody: %v", err)
	}
	list, err := f.ListUsers(t.Context())
	f.must(err)
	if len(list[0].Groups) != 3 {
		t.Errorf("disabling lost groups: %v", list[0].Groups)
	}
}
