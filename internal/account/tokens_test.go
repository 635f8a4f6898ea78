package account

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
)

// invalid lists the fields of an error that is joined of invalid ones.
func invalid(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	var names []string
	for _, err := range list {
		var e *realm.Error
		if !errors.As(err, &e) || e.Code != realm.CodeInvalid {
			t.Fatalf("not an invalid field: %v", err)
		}
		names = append(names, e.Field)
	}
	return names
}

func code(err error) realm.Code {
	if err == nil {
		return ""
	}
	return realm.AsError(err).Code
}

func TestCreateTokenKeepsItsHashAlone(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		text, token := f.create(TokenSpec{Name: " laptop "})
		if !ValidChecksum(text) || token.Hint != text[:8] || token.Name != "laptop" || token.Hash != HashToken(text) {
			t.Errorf("token %+v", token)
		}
		list, err := f.ListTokens(t.Context(), "owner")
		f.must(err)
		if len(list) != 1 || list[0].ID != token.ID || list[0].User != "owner" || list[0].GroupNames != nil || list[0].CreatedAt.IsZero() {
			t.Errorf("list %+v", list)
		}
		rows, err := f.db.Read().Audit.List(t.Context(), store.AuditPage{})
		f.must(err)
		var made []store.AuditEntry // rows of one millisecond come in any order
		for _, row := range rows {
			if row.Verb == "token.create" {
				made = append(made, row)
			}
		}
		if len(made) != 1 || made[0].Actor != "test" || made[0].ObjectID != token.ID {
			t.Errorf("audit rows %+v", made)
		}
		// Neither the rows nor the log carry more than the hint.
		all, err := json.Marshal([]any{list, rows})
		f.must(err)
		for _, b := range [][]byte{all, f.log.Bytes()} {
			if bytes.Contains(b, []byte(text[:12])) {
				t.Error("the token's text was kept")
			}
		}
	})
}

func TestCreateTokenNamesEveryFault(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.user(UserSpec{Name: "off", Role: realm.RoleUser})
	many := make([]string, maxTokenModels+1)
	for i := range many {
		many[i] = strings.Repeat("m", i+1)[:min(i+1, 180)] + string(rune('a'+i%26)) + string(rune('a'+i/26))
	}
	cases := []struct {
		name string
		spec TokenSpec
		want []string
	}{
		{"no name", TokenSpec{User: "owner", Name: " "}, []string{"name"}},
		{"no such user", TokenSpec{User: "none", Name: "a"}, []string{"user"}},
		{"disabled user", TokenSpec{User: "off", Name: "a"}, []string{"user"}},
		{"no such group", TokenSpec{User: "owner", Name: "a", Groups: []string{"vip", "none"}}, []string{"groups[1]"}},
		{"not the user's group", TokenSpec{User: "owner", Name: "a", Groups: []string{"other"}}, []string{"groups"}},
		{"group twice", TokenSpec{User: "owner", Name: "a", Groups: []string{"vip", "vip"}}, []string{"groups[1]"}},
		{"no groups", TokenSpec{User: "owner", Name: "a", Groups: []string{}}, []string{"groups"}},
		{"model twice", TokenSpec{User: "owner", Name: "a", Models: []string{"m", "m"}}, []string{"models[1]"}},
		{"any model", TokenSpec{User: "owner", Name: "a", Models: []string{"*"}}, []string{"models[0]"}},
		{"too many models", TokenSpec{User: "owner", Name: "a", Models: many}, []string{"models"}},
		{"bad network", TokenSpec{User: "owner", Name: "a", Networks: []netip.Prefix{{}}}, []string{"networks[0]"}},
		{"expired", TokenSpec{User: "owner", Name: "a", ExpiresAt: f.clock.now()}, []string{"expires_at"}},
		{
			"all at once",
			TokenSpec{User: "none", Name: "", ExpiresAt: f.clock.now().Add(-time.Hour), Networks: make([]netip.Prefix, 1)},
			[]string{"name", "networks[0]", "expires_at", "user"},
		},
	}
	for _, c := range cases {
		text, token, err := f.CreateToken(t.Context(), "test", c.spec)
		if d := cmp.Diff(c.want, invalid(t, err)); d != "" || token != nil || text != "" {
			t.Errorf("%s: %v\n%s", c.name, err, d)
		}
	}
	list, err := f.ListTokens(t.Context(), "")
	f.must(err)
	if len(list) != 0 {
		t.Errorf("%d tokens were made", len(list))
	}
}

func TestCreateTokenMasksNetworks(t *testing.T) {
	f := newFixture(t, "sqlite")
	text, _ := f.create(TokenSpec{Networks: []netip.Prefix{
		netip.MustParsePrefix("192.0.2.77/24"), netip.MustParsePrefix("::ffff:198.51.100.7/120"), netip.MustParsePrefix("2001:db8::1/32"),
	}})
	p := recognised(t, f.Service, text)
	for addr, want := range map[string]bool{
		"192.0.2.1": true, "::ffff:192.0.2.1": true, "198.51.100.200": true, "2001:db8:ffff::1": true,
		"192.0.3.1": false, "198.51.101.1": false, "2001:db9::1": false,
	} {
		if got := p.AllowsAddress(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s is allowed: %v", addr, got)
		}
	}
}

func TestImportToken(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		text := "sk-test-" + strings.Repeat("x", 40)
		spec := TokenSpec{User: "owner", Name: "old"}
		token, err := f.ImportToken(t.Context(), "test", spec, realm.Secret(text))
		f.must(err)
		if token.Hint != text[:8] {
			t.Errorf("hint %q", token.Hint)
		}
		if p := recognised(t, f.process(), text); p.TokenID != token.ID {
			t.Errorf("recognised as %s", p.TokenID)
		}
		_, err = f.ImportToken(t.Context(), "test", spec, realm.Secret(text))
		if code(err) != realm.CodeConflict || !strings.Contains(err.Error(), token.ID.String()) {
			t.Errorf("the same again: %v", err)
		}
		_, err = f.RevokeToken(t.Context(), "test", TokenRef{Text: text})
		f.must(err)
		_, err = f.ImportToken(t.Context(), "test", spec, realm.Secret(text))
		if code(err) != realm.CodeConflict || !strings.Contains(err.Error(), "revoked") {
			t.Errorf("a revoked one again: %v", err)
		}
		refused(t, f.Service, text, realm.CodeUnauthenticated, "revoked")
		for _, bad := range []string{"short", text + " x", "rlm_" + strings.Repeat("0", 33)} {
			if _, err := f.ImportToken(t.Context(), "test", spec, realm.Secret(bad)); code(err) != realm.CodeInvalid {
				t.Errorf("%q: %v", bad, err)
			}
		}
	})
}

func TestImportedTokenIsKnownAlthoughItWasRefusedAMomentAgo(t *testing.T) {
	f := newFixture(t, "sqlite")
	elsewhere := f.process()
	text := "sk-test-" + strings.Repeat("y", 40)
	refused(t, f.Service, text, realm.CodeUnauthenticated, "not known")
	refused(t, elsewhere, text, realm.CodeUnauthenticated, "not known")
	from := f.version()
	_, err := f.ImportToken(t.Context(), "test", TokenSpec{User: "owner", Name: "old"}, realm.Secret(text))
	f.must(err)
	recognised(t, f.Service, text)
	f.must(elsewhere.Apply(t.Context(), f.changesSince(from)))
	recognised(t, elsewhere, text)
}

func TestRevokeTokenFindsItByWhatIsGiven(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.user(UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"default"}})
	byID, idToken := f.create(TokenSpec{Name: "by id"})
	byText, _ := f.create(TokenSpec{Name: "by text"})
	byHint, hintToken := f.create(TokenSpec{Name: "by hint"})
	byName, _ := f.create(TokenSpec{Name: "by name"})
	mine, _ := f.create(TokenSpec{Name: "both"})
	bobs, _ := f.create(TokenSpec{Name: "both", User: "bob"})

	for _, step := range []struct {
		ref  TokenRef
		text string
	}{
		{TokenRef{Text: idToken.ID.String()}, byID},
		{TokenRef{Text: " " + byText + "\n"}, byText},
		{TokenRef{Text: hintToken.Hint}, byHint},
		{TokenRef{Text: "by name"}, byName},
		{TokenRef{Text: "both", User: "bob"}, bobs},
		{TokenRef{Text: "both"}, mine}, // bob's is revoked by now
	} {
		if step.text == bobs {
			_, err := f.RevokeToken(t.Context(), "test", TokenRef{Text: "both"})
			if code(err) != realm.CodeConflict || !strings.Contains(err.Error(), "bob") {
				t.Errorf("two tokens fit: %v", err)
			}
		}
		recognised(t, f.Service, step.text)
		token, err := f.RevokeToken(t.Context(), "test", step.ref)
		f.must(err)
		if token.Hash != HashToken(step.text) || token.RevokedAt.IsZero() {
			t.Errorf("%+v revoked %q", step.ref, token.Name)
		}
		refused(t, f.Service, step.text, realm.CodeUnauthenticated, "revoked")
	}
	for _, ref := range []TokenRef{{Text: "by name"}, {Text: "none"}, {Text: ""}, {Text: "0"}, {Text: MintToken().Reveal()}, {Text: "both", User: "none"}} {
		_, err := f.RevokeToken(t.Context(), "test", ref)
		if code(err) != realm.CodeNotFound || len(ref.Text) > 30 && strings.Contains(err.Error(), ref.Text) {
			t.Errorf("%+v: %v", ref, err)
		}
	}
}

func TestRevokeTokenTwiceIsRecordedOnce(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		_, token := f.create(TokenSpec{})
		first, err := f.RevokeToken(t.Context(), "test", TokenRef{Text: token.ID.String()})
		f.must(err)
		version := f.version()
		f.clock.add(time.Hour)
		second, err := f.RevokeToken(t.Context(), "test", TokenRef{Text: token.ID.String()})
		f.must(err)
		if !second.RevokedAt.Equal(first.RevokedAt) || f.version() != version {
			t.Errorf("revoked at %v, then at %v; version %d, then %d", first.RevokedAt, second.RevokedAt, version, f.version())
		}
	})
}

func TestListTokens(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.user(UserSpec{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []string{"default"}})
	f.create(TokenSpec{Name: "a", Groups: []string{"vip", "default"}})
	f.clock.add(time.Second)
	f.create(TokenSpec{Name: "b", User: "bob"})
	list, err := f.ListTokens(t.Context(), "")
	f.must(err)
	if len(list) != 2 || list[0].Name != "a" || list[1].User != "bob" {
		t.Fatalf("list %+v", list)
	}
	if d := cmp.Diff([]string{"vip", "default"}, list[0].GroupNames); d != "" {
		t.Error(d)
	}
	if list, err = f.ListTokens(t.Context(), "bob"); err != nil || len(list) != 1 || list[0].Name != "b" {
		t.Errorf("bob's: %+v, %v", list, err)
	}
	if _, err = f.ListTokens(t.Context(), "none"); code(err) != realm.CodeNotFound {
		t.Errorf("nobody's: %v", err)
	}
}
