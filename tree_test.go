package realms_test

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// frozen lists the SHA-256 of every migration, as sha256sum prints it.
const frozen = "testdata/migrations.sha256"

// A migration that somebody's store has had can never change: what it did is
// done. A new one is added with `go test . -run Migrations -update`; to change
// one that is in no release yet, its line must be deleted by hand first.
func TestMigrationsAreFrozen(t *testing.T) {
	files, err := filepath.Glob("internal/store/migrations/*.sql")
	if err != nil || len(files) == 0 {
		t.Fatalf("no migrations were found (%v)", err)
	}
	text, err := os.ReadFile(frozen)
	if err != nil && !*update {
		t.Fatal(err)
	}
	known := map[string]string{}
	for line := range strings.Lines(string(text)) {
		sum, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
		if !ok {
			t.Fatalf("%s: %q is not a line of sha256sum", frozen, line)
		}
		known[name] = sum
	}
	added := ""
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		sum, name := fmt.Sprintf("%x", sha256.Sum256(body)), filepath.ToSlash(f)
		switch {
		case known[name] == sum:
		case known[name] != "":
			t.Errorf("%s has changed; write a new migration instead", name)
		case *update:
			added += sum + "  " + name + "\n"
		default:
			t.Errorf("%s is not in %s: run `go test . -run Migrations -update`", name, frozen)
		}
		delete(known, name)
	}
	for name := range known {
		t.Errorf("%s is gone; a migration must stay", name)
	}
	if added != "" {
		if err := os.WriteFile(frozen, append(text, added...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// secrets are the shapes of what must not be in the tree. Tests make theirs at
// run time.
var secrets = regexp.MustCompile(`\brlm_[0-9A-Za-z]{33}\b` +
	`|\bsk-[0-9A-Za-z_-]{20,}` +
	`|\b(ghp|gho|ghs|github_pat|xox[abp])[_-][0-9A-Za-z_-]{20,}` +
	`|\bAKIA[0-9A-Z]{16}\b` +
	`|\bAIza[0-9A-Za-z_-]{35}\b` +
	`|\beyJ[0-9A-Za-z_-]{10,}\.eyJ[0-9A-Za-z_-]{10,}\.` +
	`|-----BEGIN [A-Z ]*PRIVATE ` + `KEY-----`)

func TestNoSecretsInTheTree(t *testing.T) {
	scanned := 0
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && d.Name() != "testdata" && d.Name() != ".ci" && skipDir(d.Name()):
			return fs.SkipDir
		case !d.Type().IsRegular():
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		scanned++
		for _, at := range secrets.FindAllIndex(text, -1) {
			// The text itself is not printed: logs are read by many.
			t.Errorf("%s:%d looks like a secret", name, 1+strings.Count(string(text[:at[0]]), "\n"))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if scanned < 50 {
		t.Errorf("only %d files were scanned", scanned)
	}
}

func TestSecretsAreRecognised(t *testing.T) {
	for range 100 {
		if token := "rlm_" + (rand.Text() + rand.Text())[:33]; !secrets.MatchString(`token: "` + token + `"`) {
			t.Fatalf("%s was not found", token)
		}
	}
	for _, harmless := range []string{"rlm_…", "rlm_" + strings.Repeat("a", 32), "sk-…", "task-0123456789-0123456789", "key: sk-test"} {
		if secrets.MatchString(harmless) {
			t.Errorf("%q was taken for a secret", harmless)
		}
	}
}
