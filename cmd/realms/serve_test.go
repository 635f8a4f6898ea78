package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
)

// TestWelcomeNamesWhatEnables holds that where every user is disabled, the next
// command enables one that is there: the first root, or else the first of all.
func TestWelcomeNamesWhatEnables(t *testing.T) {
	ctx := t.Context()
	s, err := store.Open(ctx, store.Options{DSN: "sqlite:" + filepath.Join(t.TempDir(), "realms.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Migrate(ctx); err != nil {
		t.Fatal(err)
	}
	channel := catalog.ChannelSpec{Name: "c", Type: realm.OpenAICompatible, APIs: realm.AllAPIs, Groups: []string{realm.DefaultGroup}}
	if _, err := catalog.New(catalog.Options{Store: s}).UpsertChannel(ctx, "test", channel); err != nil {
		t.Fatal(err)
	}
	accounts := account.New(account.Options{Store: s})
	for _, step := range []struct {
		user account.UserSpec
		want string
	}{
		{account.UserSpec{Name: "a b", Role: realm.RoleUser}, "\n  realms user set 'a b' --enable --config r.yaml\n"},
		{account.UserSpec{Name: "zoe", Role: realm.RoleRoot}, "\n  realms user set zoe --enable --config r.yaml\n"},
		{account.UserSpec{Name: "zoe", Role: realm.RoleRoot, Enabled: true}, "\n  realms token create --user zoe --name laptop --config r.yaml\n"},
	} {
		step.user.Groups = []string{realm.DefaultGroup}
		if _, err := accounts.UpsertUser(ctx, "test", step.user); err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		c := &cli{program: "realms", configFile: "r.yaml"}
		if err := c.welcome(ctx, &out, config.Default(), s, "127.0.0.1:1"); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), step.want) {
			t.Errorf("with %+v it says:\n%s", step.user, out.String())
		}
	}
}
