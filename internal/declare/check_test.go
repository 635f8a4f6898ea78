package declare

import (
	"strings"
	"testing"

	"realms/internal/store"
)

// TestCheckUnknownGroups holds that a file's groups are looked up although other
// things are wrong with it, in the words that Apply has for them.
func TestCheckUnknownGroups(t *testing.T) {
	const file = `groups: [{name: mine}, {name: mine}]
channels:
  - name: c
    weight: -2
    groups: [default, mine, stored, nope, ""]
users:
  - {name: u, role: king, groups: [none]}
`
	s := open(t)
	declared, err := Read("stored.yaml", []byte("groups: [{name: stored}]"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := declared.Apply(t.Context(), Options{Store: s, Actor: "test"}); err != nil {
		t.Fatal(err)
	}
	doc, err := Read("f.yaml", []byte(file), ReadOptions{})
	if err == nil {
		t.Fatal("the file is read without a problem")
	}
	check := func(s *store.Store, want ...string) {
		t.Helper()
		found, err := doc.Check(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(found.Err().Error(), "\n")
		if len(lines) != len(want) {
			t.Errorf("%d problems are expected:\n%s", len(want), strings.Join(lines, "\n"))
			return
		}
		for i := range want {
			if !strings.HasPrefix(lines[i], want[i]) {
				t.Errorf("%q is expected to begin with %q", lines[i], want[i])
			}
		}
	}
	nope := `f.yaml:5: channels[0].groups[3]: There is no group named "nope": declare it under groups first.`
	none := `f.yaml:7: users[0].groups[0]: There is no group named "none": declare it under groups first.`
	check(s, "f.yaml:1: groups[1].name: ", "f.yaml:4: channels[0].weight: ", "f.yaml:5: channels[0].groups[4]: ", nope, "f.yaml:7: users[0].role: ", none)
	check(nil, "f.yaml:1: groups[1].name: ", "f.yaml:4: channels[0].weight: ", "f.yaml:5: channels[0].groups[4]: ",
		`f.yaml:5: channels[0].groups[2]: There is no group named "stored"`, nope, "f.yaml:7: users[0].role: ", none)

	mended := strings.NewReplacer("-2", "2", "king", "root", `, ""`, "", ", {name: mine}", "").Replace(file)
	if doc, err = Read("f.yaml", []byte(mended), ReadOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := doc.Apply(t.Context(), Options{Store: s, Actor: "test"}); err == nil || err.Error() != nope+"\n"+none {
		t.Errorf("Apply says: %v", err)
	}
}

// TestCheckDoesNotGuess holds that no group is called unknown where the file's
// own could not be read.
func TestCheckDoesNotGuess(t *testing.T) {
	for _, groups := range []string{"groups: vip", "groups: [vip]", "groups: [{nmae: vip}]", "groups: [{name: vip}"} {
		doc, err := Read("f.yaml", []byte("users: [{name: u, groups: [vip]}]\n"+groups+"\n"), ReadOptions{})
		if err == nil {
			t.Fatalf("%s is read without a problem", groups)
		}
		found, err := doc.Check(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 || strings.Contains(found.Error(), "no group named") {
			t.Errorf("%s: %v", groups, found)
		}
	}
}
