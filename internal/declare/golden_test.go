package declare

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"flag"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what the tests see into the goldens")

// TestMain keeps rapid from writing its failures into testdata: the seed that it
// prints is enough to see one again.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("rapid.nofailfile", "true"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// golden is one transcript: the comment may hold "env NAME=value" lines, each
// file is there under its name in dir, and a certificate is there as ca.pem.
type golden struct {
	path    string
	archive *txtar.Archive
	dir     string
	env     map[string]string
}

// caFile is a certificate of nobody's, as PEM.
func caFile(t testing.TB) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func goldens(t *testing.T, pattern string, run func(t *testing.T, g *golden)) {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			run(t, readGolden(t, path))
		})
	}
}

func readGolden(t *testing.T, path string) *golden {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := &golden{path: path, archive: archive, dir: t.TempDir(), env: map[string]string{}}
	for line := range strings.Lines(string(archive.Comment)) {
		if kv, ok := strings.CutPrefix(strings.TrimSpace(line), "env "); ok {
			name, value, _ := strings.Cut(kv, "=")
			g.env[name] = value
		}
	}
	if err := os.WriteFile(filepath.Join(g.dir, "ca.pem"), caFile(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, f := range archive.Files {
		if err := os.WriteFile(filepath.Join(g.dir, f.Name), f.Data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

func (g *golden) read(name string) (*Document, error) {
	return Read(name, []byte(g.file(name)), ReadOptions{Dir: g.dir, Lookup: func(name string) (string, bool) {
		v, ok := g.env[name]
		return v, ok
	}})
}

func (g *golden) file(name string) string {
	for _, f := range g.archive.Files {
		if f.Name == name {
			return string(f.Data)
		}
	}
	return ""
}

// check compares a file of the transcript with what the test saw.
func (g *golden) check(t *testing.T, name, got string) {
	t.Helper()
	got = strings.ReplaceAll(got, g.dir, "DIR")
	if got != "" && !strings.HasSuffix(got, "\n") {
		got += "\n"
	}
	diff := cmp.Diff(g.file(name), got)
	if diff == "" {
		return
	}
	if !*update {
		t.Errorf("%s of %s:\n%s", name, g.path, diff)
		return
	}
	found := false
	for i := range g.archive.Files {
		if g.archive.Files[i].Name == name {
			g.archive.Files[i].Data, found = []byte(got), true
		}
	}
	if !found {
		g.archive.Files = append(g.archive.Files, txtar.File{Name: name, Data: []byte(got)})
	}
	if err := os.WriteFile(g.path, txtar.Format(g.archive), 0o600); err != nil {
		t.Fatal(err)
	}
}
