// Package realms_test guards what the compiler cannot: the import table, the
// package comments, the length of files, the migrations that must never change
// again, and that no secret is in the tree.
//
// It owns rules about the code's shape. It never looks at what the code does.
package realms_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"iter"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the test would have compared with")

// source is a Go file of the module.
type source struct {
	name      string // "internal/realm/id.go"
	room      string // "realm", "/cmd/realms": see rooms
	pkg       string // "realm", "realm_test"
	test      bool
	generated bool
	lines     int
	imports   []string
	syntax    *ast.File
}

// skipDir tells whether a folder holds nothing of ours.
func skipDir(name string) bool {
	return name != "." && strings.HasPrefix(name, ".") || slices.Contains([]string{"bin", "data", "dist", "node_modules", "testdata"}, name)
}

// sources parses every Go file of the module.
func sources(t *testing.T) []source {
	t.Helper()
	var list []source
	set := token.NewFileSet()
	err := filepath.WalkDir(".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && skipDir(d.Name()):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(name) != ".go":
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		syntax, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		s := source{
			name: filepath.ToSlash(name), pkg: syntax.Name.Name, test: strings.HasSuffix(name, "_test.go"),
			generated: ast.IsGenerated(syntax), lines: strings.Count(string(text), "\n"), syntax: syntax,
		}
		s.room = roomOf("realms/" + path.Dir(s.name))
		for _, i := range syntax.Imports {
			p, err := strconv.Unquote(i.Path.Value)
			if err != nil {
				return err
			}
			s.imports = append(s.imports, p)
		}
		list = append(list, s)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(list) == 0 {
		t.Fatal("no Go file was found")
	}
	return list
}

// roomOf is the name that rooms has for an import path of ours, "" for another.
func roomOf(importPath string) string {
	switch rest, ours := strings.CutPrefix(importPath, "realms/"); {
	case !ours:
		return ""
	case strings.HasPrefix(rest, "internal/"):
		return strings.TrimPrefix(rest, "internal/")
	default:
		return "/" + rest
	}
}

// within tells whether a name is one of the list, or below one.
func within(name string, list []string) bool {
	return slices.ContainsFunc(list, func(entry string) bool {
		return entry == "*" || name == entry || strings.HasPrefix(name, entry+"/")
	})
}

func TestImportsRunDownward(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range sources(t) {
		if s.room == "/." {
			continue // this package
		}
		seen[s.room] = true
		allowed, known := rooms[s.room]
		if !known {
			t.Errorf("%s: package %q is not in the table of imports_test.go", s.name, s.room)
			continue
		}
		for _, i := range s.imports {
			room := roomOf(i)
			if room == "" || s.test {
				continue
			}
			if !within(room, allowed) || within(room, forTests) && !within(s.room, forTests) {
				t.Errorf("%s imports %s, which %q may not: it may import %v", s.name, room, s.room, allowed)
			}
		}
	}
	for room := range rooms {
		if !seen[room] {
			t.Errorf("the table of imports_test.go has %q, which is no package", room)
		}
	}
}

func TestModulesAreChosen(t *testing.T) {
	for _, s := range sources(t) {
		for _, i := range s.imports {
			first, _, _ := strings.Cut(i, "/")
			if !strings.Contains(first, ".") || roomOf(i) != "" {
				continue
			}
			where := ""
			for module, w := range modules {
				if i == module || strings.HasPrefix(i, module+"/") {
					where = w
				}
			}
			switch {
			case where == "":
				t.Errorf("%s imports %s: its module is not in the list of imports_test.go", s.name, i)
			case where == "tests" && !s.test && !within(s.room, forTests):
				t.Errorf("%s imports %s, which is for tests alone", s.name, i)
			}
		}
	}
}

// border is how a comment says what a package keeps out of.
var border = regexp.MustCompile(`\b(never|nothing|no)\b`)

// Every package says what it owns and what it never does.
func TestPackageComments(t *testing.T) {
	comments := map[string]string{} // by folder
	for _, s := range sources(t) {
		dir := path.Dir(s.name)
		if _, ok := comments[dir]; !ok {
			comments[dir] = ""
		}
		if s.syntax.Doc != nil && (!s.test || dir == ".") {
			comments[dir] += s.syntax.Doc.Text()
		}
	}
	for dir, text := range comments {
		switch {
		case text == "":
			t.Errorf("%s has no package comment", dir)
		case !strings.HasPrefix(text, "Package ") && !strings.HasPrefix(text, "Command "):
			t.Errorf("%s: the package comment begins with %q, not with Package or Command", dir, strings.Fields(text)[0])
		case !border.MatchString(text):
			t.Errorf("%s: the package comment does not say what the package never does", dir)
		}
	}
}

func TestFileLength(t *testing.T) {
	const longest = 400
	for _, s := range sources(t) {
		if !s.test && !s.generated && s.lines > longest {
			t.Errorf("%s has %d lines; %d are the most: it wants to be two", s.name, s.lines, longest)
		}
	}
	text, err := os.ReadFile("AGENTS.md")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 120 {
		t.Errorf("AGENTS.md has %d lines; 120 are the most", n)
	}
}

// A skipped test says why: the reason is what `make test` lists. And a test that
// sleeps is slow or flaky, mostly both: only testing/synctest has a clock for it.
func TestTestsNeitherSkipSilentlyNorSleep(t *testing.T) {
	for _, s := range sources(t) {
		virtual := slices.Contains(s.imports, "testing/synctest")
		for call := range calls(s.syntax) {
			switch {
			case within(call.on, []string{"t", "tb", "b", "f"}) && (call.name == "SkipNow" || call.name == "Skip" && call.args == 0):
				t.Errorf("%s skips a test without a reason", s.name)
			case s.test && !virtual && call.on == "time" && call.name == "Sleep":
				t.Errorf("%s sleeps: poll with a deadline, or use testing/synctest", s.name)
			}
		}
	}
}

// call is one of the form on.name(args).
type call struct {
	on, name string
	args     int
}

func calls(f *ast.File) iter.Seq[call] {
	return func(yield func(call) bool) {
		more := true
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && more {
				if s, ok := c.Fun.(*ast.SelectorExpr); ok {
					if on, ok := s.X.(*ast.Ident); ok {
						more = yield(call{on.Name, s.Sel.Name, len(c.Args)})
					}
				}
			}
			return more
		})
	}
}

// The linter's import rules are those of the table: `make generate` writes them.
func TestDepguard(t *testing.T) {
	const file, begin, end = ".golangci.yml", "        # rules made by `make generate` begin\n", "        # rules made by `make generate` end\n"
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost its marks %q and %q", file, begin, end)
	}
	want := depguardRules()
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if old != want {
		t.Errorf("%s does not have the rules of imports_test.go: run `make generate`", file)
	}
}

// depguardRules renders the table for the linter.
func depguardRules() string {
	var b strings.Builder
	b.WriteString("        unwanted:\n          list-mode: lax\n          deny:\n")
	for _, module := range sorted(unwanted) {
		fmt.Fprintf(&b, "            - {pkg: %q, desc: %q}\n", module, unwanted[module])
	}
	for _, room := range sorted(rooms) {
		if slices.Contains(rooms[room], "*") {
			continue
		}
		fmt.Fprintf(&b, "        %q:\n          list-mode: lax\n          files: [%q, \"!$test\"]\n", "room "+room, "**/"+importPath(room)+"/*.go")
		fmt.Fprintf(&b, "          deny:\n            - {pkg: \"realms/\", desc: \"not in this package's row of imports_test.go\"}\n")
		if len(rooms[room]) == 0 {
			continue
		}
		b.WriteString("          allow:\n")
		for _, to := range rooms[room] {
			fmt.Fprintf(&b, "            - %q\n            - %q\n", "realms/"+importPath(to)+"$", "realms/"+importPath(to)+"/")
		}
	}
	return b.String()
}

func importPath(room string) string {
	if rest, ok := strings.CutPrefix(room, "/"); ok {
		return rest
	}
	return "internal/" + room
}

func sorted[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
