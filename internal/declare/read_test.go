package declare

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/yamldoc"
)

// TestErrors holds the words, the lines and the order of every problem.
func TestErrors(t *testing.T) {
	goldens(t, "testdata/errors/*.txtar", func(t *testing.T, g *golden) {
		_, err := g.read("apply.yaml")
		if err == nil {
			t.Fatal("the file is read without a problem")
		}
		for _, v := range g.env {
			if v != "" && strings.Contains(err.Error(), v) {
				t.Errorf("the error shows a variable's value: %v", err)
			}
		}
		g.check(t, "want", err.Error())
	})
}

func TestReadDefaults(t *testing.T) {
	doc, err := Read("f.yaml", []byte(`
groups: [{name: " spaced "}]
models: [{name: m, price: {input: 1.25, cached_input: 0.125, output: "10"}}]
channels:
  - name: c
    endpoints: [{base_url: "HTTPS://API.example.com/v1/", credentials: [{name: k}]}]
    models: [m, {name: fast, upstream: slow}, "*"]
users: [{name: u}]
`), ReadOptions{Lookup: os.LookupEnv})
	if err != nil {
		t.Fatal(err)
	}
	if g := doc.groups.entries[0].spec; g.Name != "spaced" || g.Multiplier != realm.OnePPM {
		t.Errorf("group %+v", g)
	}
	m := doc.models.entries[0].spec
	if !m.Enabled || m.Compat != nil || *m.Price.Input != 1_250_000_000 || *m.Price.CachedInput != 125_000_000 || *m.Price.Output != 10_000_000_000 || m.Price.Reasoning != nil {
		t.Errorf("model %+v, price %+v", m, m.Price)
	}
	want := catalog.ChannelSpec{
		Name: "c", Type: realm.OpenAICompatible, Enabled: true, Weight: 1, APIs: realm.AllAPIs, Groups: []string{"default"},
		Bindings: []realm.Binding{{Model: "m", Upstream: "m"}, {Model: "fast", Upstream: "slow"}, {Model: "*", Upstream: "*"}},
		Endpoints: []catalog.EndpointSpec{{
			BaseURL:     "https://api.example.com/v1",
			Credentials: []catalog.CredentialSpec{{Name: "k", Enabled: true, Weight: 1}},
		}},
	}
	if diff := cmp.Diff(want, doc.channels.entries[0].spec.ChannelSpec); diff != "" {
		t.Error(diff)
	}
	if u := doc.users.entries[0].spec; u.Role != realm.RoleUser || !u.Enabled || len(u.Groups) != 1 || u.Groups[0] != "default" {
		t.Errorf("user %+v", u)
	}
}

// TestReadTellsEmptyFromAbsent holds the difference that pruning rests on.
func TestReadTellsEmptyFromAbsent(t *testing.T) {
	doc, err := Read("f.yaml", []byte("groups: []\nchannels: [{name: c, endpoints: [], groups: []}]\n"), ReadOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ch := doc.channels.entries[0].spec
	if !doc.groups.given || doc.models.given || doc.users.given || !ch.endpointsGiven || ch.modelsGiven || len(ch.Groups) != 0 {
		t.Errorf("%+v", doc)
	}
}

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"key": "test-key\r\n\n", "empty": "\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := map[string]string{"A": "one", "B_2": "$A ${A} file:key", "EMPTY": "", "DIR": dir}
	x := expander{dir: dir, lookup: func(name string) (string, bool) { v, ok := env[name]; return v, ok }}
	for in, want := range map[string]string{
		"plain":           "plain",
		"${A}":            "one",
		"<${A}-${A}>":     "<one-one>",
		"${B_2}":          "$A ${A} file:key", // a value is taken as it is
		"$$":              "$",
		"$${A}":           "${A}",
		"$A 5$":           "$A 5$",
		"file:key":        "test-key",
		"file:${DIR}/key": "test-key",
		"file::key":       "file:key",
		"a file:key":      "a file:key",
	} {
		if got, err := x.expand(in); err != nil || got != want {
			t.Errorf("expand(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for in, want := range map[string]string{
		"${NONE}":    "the environment variable NONE is not set, or empty",
		"${EMPTY}":   "the environment variable EMPTY is not set, or empty",
		"${A":        "write ${NAME}",
		"${}":        "write ${NAME}",
		"${2}":       "write ${NAME}",
		"${a-b}":     "write ${NAME}",
		"file:":      "names no file",
		"file:none":  filepath.Join(dir, "none") + " cannot be read: no such file or directory",
		"file:empty": "is empty",
	} {
		if _, err := x.expand(in); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("expand(%q) fails with %v; %q is expected", in, err, want)
		}
	}
}

// TestQuoteRoundTrip holds that any text that is written is read again as it was.
func TestQuoteRoundTrip(t *testing.T) {
	x := expander{lookup: func(string) (string, bool) { return "", false }}
	check := func(text string) error {
		for _, file := range []string{"a: " + quote(text) + "\n", "a: {k: " + quote(text) + ", l: [" + quote(text) + "]}\n"} {
			root, err := yamldoc.Parse("f.yaml", []byte(file))
			if err != nil {
				return err
			}
			n := root.Entries[0].Value
			if n.Kind == yamldoc.Map {
				n = n.Entries[1].Value.Items[0]
			}
			if got, err := x.expand(n.Text); err != nil || got != text {
				t.Errorf("%q is written %s and read %q, %v", text, quote(text), got, err)
			}
		}
		return nil
	}
	for _, text := range []string{
		"", " ", "a", "true", "No", "null", "~", "1", "1.0", "0x1", "1e3", "*", "&a", "!a", "- a", "a: b", "a #b", "#", "{", "[", "'", `"`, `\`, `\n`,
		"%a", "@a", "`a", "|", ">", "?", "a,b", "$", "$$", "${A}", "file:x", "file::x", "file:", "https://h:80/v1", "https://h/v1", "a\tb", "模型", "é", "\u2028", "\U0001F600", "<<", "=", "...", "---",
	} {
		if err := check(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOf(rapid.RuneFrom([]rune(`ab1 $:{}[],#&*!|>'"%@\-.~/é`))).Draw(t, "text")
		if err := check(text); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
	})
}
