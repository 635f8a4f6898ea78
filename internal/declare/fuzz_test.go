package declare

import (
	"errors"
	"path/filepath"
	"testing"

	"golang.org/x/tools/txtar"

	"realms/internal/yamldoc"
)

// FuzzRead holds that no file ends the process, and that whatever is wrong with
// one is said as problems that name a line of it.
func FuzzRead(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			f.Add(file.Data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := Read("f.yaml", data, ReadOptions{Dir: "testdata/none", Lookup: func(string) (string, bool) { return "value", true }})
		if err == nil {
			return
		}
		var problems yamldoc.Problems
		if !errors.As(err, &problems) {
			t.Fatalf("%T: %v", err, err)
		}
		for _, p := range problems {
			if p.Message == "" || p.Line == 0 && p.Field != "" {
				t.Errorf("a problem without words or a line: %+v", p)
			}
		}
	})
}
