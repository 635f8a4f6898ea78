package yamldoc

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestParseKeepsTextAndLines(t *testing.T) {
	const in = `# a comment
price: 1.250
big: 9007199254740993
octal: 010
on: yes
quoted: "1.0"
text: |
  one
  two
nothing:
list: [a, {b: '*'}]
anchor: &x {k: v}
again: *x
`
	scalar := func(line int, text string) Node { return Node{Kind: Scalar, Line: line, Text: text} }
	anchored := Node{Kind: Map, Line: 12, Entries: []Entry{{Key: "k", Line: 12, Value: scalar(12, "v")}}}
	want := Node{Kind: Map, Line: 2, Entries: []Entry{
		{"price", 2, scalar(2, "1.250")},
		{"big", 3, scalar(3, "9007199254740993")},
		{"octal", 4, scalar(4, "010")},
		{"on", 5, scalar(5, "yes")},
		{"quoted", 6, scalar(6, "1.0")},
		{"text", 7, scalar(7, "one\ntwo\n")},
		{"nothing", 10, Node{Kind: Null, Line: 10}},
		{"list", 11, Node{Kind: List, Line: 11, Items: []Node{
			scalar(11, "a"),
			{Kind: Map, Line: 11, Entries: []Entry{{"b", 11, scalar(11, "*")}}},
		}}},
		{"anchor", 12, anchored},
		{"again", 13, anchored},
	}}
	got, err := Parse("f.yaml", []byte(in))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Node{})); diff != "" {
		t.Error(diff)
	}
}

func TestParseEmpty(t *testing.T) {
	for _, in := range []string{"", "\n", "# nothing\n", "---\n", "\ufeff", "\ufeff# from an editor that marks its files\n"} {
		got, err := Parse("f.yaml", []byte(in))
		if err != nil || got.Kind != Map || len(got.Entries) != 0 {
			t.Errorf("Parse(%q) = %+v, %v: an empty mapping is expected", in, got, err)
		}
	}
}

func TestParseProblems(t *testing.T) {
	bomb := "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
	for c := 'b'; c < 'j'; c++ {
		bomb += strings.ReplaceAll("X: &X [*Y,*Y,*Y,*Y,*Y,*Y,*Y,*Y,*Y,*Y]\n", "X", string(c))
		bomb = strings.ReplaceAll(bomb, "Y", string(c-1))
	}
	for name, c := range map[string]struct {
		in   string
		want []string // a piece of each problem, in order
	}{
		"syntax":          {"a: 1\nb: [1,\n", []string{"f.yaml:2: not valid YAML: "}},
		"no excerpt":      {"ok: 1\napi_key: hidden: x\n", []string{"f.yaml:2: not valid YAML: "}},
		"repeated keys":   {"a: 1\nb: {c: 1, c: 2}\na: 2\n", []string{"f.yaml:2: b.c: stands here twice, first on line 2", "f.yaml:3: a: stands here twice, first on line 1"}},
		"second document": {"a: 1\n---\nb: 1\n", []string{"f.yaml:3: the file holds a second document"}},
		"merge key":       {"a: &x {b: 1}\nc:\n  <<: *x\n", []string{"f.yaml:3: c: a key must be a plain word"}},
		"unknown alias":   {"a: *x\n", []string{"f.yaml:1: a: *x stands for nothing"}},
		"alias bomb":      {bomb, []string{"too many values"}},
		"deep":            {strings.Repeat("[", 200) + strings.Repeat("]", 200), []string{"nested too deeply"}},
		"large":           {strings.Repeat("#", maxBytes+1), []string{"larger than 16 MiB"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("f.yaml", []byte(c.in))
			var problems Problems
			errors.As(err, &problems)
			if len(problems) != len(c.want) {
				t.Fatalf("%d problems, %d expected:\n%v", len(problems), len(c.want), err)
			}
			for i, p := range problems {
				if !strings.Contains(p.String(), c.want[i]) {
					t.Errorf("problem %d is %q, %q expected in it", i, p, c.want[i])
				}
				if strings.Contains(p.String(), "hidden") {
					t.Errorf("problem %q quotes the file", p)
				}
			}
		})
	}
}

func TestSuggest(t *testing.T) {
	known := []string{"max_input", "max_output", "multiplier", "name", "priority", "weight"}
	for word, want := range map[string]string{
		"mutliplier": `did you mean "multiplier"?`,
		"Name":       `did you mean "name"?`,
		"wieght":     `did you mean "weight"?`,
		"mult":       `did you mean "multiplier"?`,
		"max":        "known here: max_input, max_output, multiplier, name, priority, weight",
		"we":         "known here: max_input, max_output, multiplier, name, priority, weight",
		"colour":     "known here: max_input, max_output, multiplier, name, priority, weight",
	} {
		if got := Suggest(word, known); got != want {
			t.Errorf("Suggest(%q) = %q, want %q", word, got, want)
		}
	}
}

// FuzzParse holds that no file ends the process and that every problem names it.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"a: 1\n", "a: [1, {b: c}]\n", "a: &x 1\nb: *x\n", "a: |\n  x\n", "? a\n: b\n", "!!str a", "<<: {}", "*x: 1", "- - - a", "{a, b: }", "&a : 1"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := Parse("f.yaml", data)
		if err == nil {
			return
		}
		var problems Problems
		if !errors.As(err, &problems) || len(problems) == 0 {
			t.Fatalf("the error is %T, not a list of problems", err)
		}
		for _, p := range problems {
			if !strings.HasPrefix(p.String(), "f.yaml") {
				t.Fatalf("problem %q does not name the file", p)
			}
		}
	})
}

func TestPlain(t *testing.T) {
	got, err := Parse("f.yaml", []byte("- 1\n- a\n- true\n- '1'\n- \"1\"\n- |\n  1\n- >\n  1\n- !!str 1\n- !!int 1\n- &x '1'\n- *x\n- [1]\n- ~\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []bool{true, true, true, false, false, false, false, false, true, false, false, false, false}
	for i, n := range got.Items {
		if n.Plain() != want[i] {
			t.Errorf("value %d on line %d is plain: %v", i, n.Line, n.Plain())
		}
	}
	if len(got.Items) != len(want) {
		t.Errorf("%d values", len(got.Items))
	}
}
