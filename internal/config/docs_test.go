package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/yamldoc"
)

const root = "../.."

// TestExample holds that the example shows every key, with its default.
func TestExample(t *testing.T) {
	path := filepath.Join(root, "config.example.yaml")
	got, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	for i, f := range got.fields() {
		if d := want.fields()[i]; f.text() != d.text() {
			t.Errorf("%s is %q in the example and %q by default", f.path, f.text(), d.text())
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	node, err := yamldoc.Parse(path, data)
	if err != nil {
		t.Fatal(err)
	}
	var shown, known []string
	keys(node, "", &shown)
	for _, f := range want.fields() {
		known = append(known, f.path)
	}
	if diff := cmp.Diff(known, shown); diff != "" {
		t.Error(diff)
	}
}

func keys(n yamldoc.Node, path string, out *[]string) {
	if n.Kind != yamldoc.Map {
		*out = append(*out, path)
		return
	}
	for _, e := range n.Entries {
		keys(e.Value, yamldoc.Key(path, e.Key), out)
	}
}

// TestReadmeTables holds that both READMEs list every key with its variable and
// its default.
func TestReadmeTables(t *testing.T) {
	c := Default()
	for _, name := range []string{"README.md", "README.zh-CN.md"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range c.fields() {
			row := "| `" + f.path + "` | `" + f.env() + "` | "
			if f.text() != "" {
				row += "`" + f.text() + "` | "
			}
			if !strings.Contains(string(data), row) {
				t.Errorf("%s lacks a row that begins %q", name, row)
			}
		}
	}
}
