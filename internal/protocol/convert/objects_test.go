package convert

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"realms/internal/protocol/rawjson"
)

// FuzzObjects: reading an array's elements and their fields in one pass gives what
// reading them one after the other does.
func FuzzObjects(f *testing.F) {
	for _, seed := range []string{
		`[]`, ` [ ] `, `{}`, `"a"`, `[{}]`, "[ { } ,\t{\"a\" : 1 , \"b\":[{}]\n} ]",
		`[1,"]",null,{"a":null,"a":2,"\u0062":"}"},[[{}]],{"type":"x"}]`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, array []byte) { checkObjects(t, array) })
}

// More objects than room is made for at once, and one with more fields than are looked
// at.
func TestManyObjects(t *testing.T) {
	var fields strings.Builder
	for i := range rawjson.MaxFields + 1 {
		fmt.Fprintf(&fields, `,"f%d":{}`, i)
	}
	checkObjects(t, []byte(`[`+strings.Repeat(`{"type":"a","b":{"c":[]}},`, spareFields)+`{`+fields.String()[1:]+`},{"b":2}]`))
}

func checkObjects(t *testing.T, array []byte) {
	t.Helper()
	if array = bytes.TrimSpace(array); rawjson.Valid(array) != nil {
		return
	}
	var w chatWriter
	var got []object
	for i, o := range w.objects(array) {
		if i != len(got) {
			t.Fatalf("element %d comes after %d", i, len(got))
		}
		got = append(got, o)
	}
	n := 0
	for _, raw := range rawjson.Elements(array) {
		if n == len(got) || !bytes.Equal(got[n].raw, raw) || got[n].is() != rawjson.IsObject(raw) {
			t.Fatalf("element %d of %s is not %s", n, array, raw)
		}
		get := reader(raw)
		for _, key := range [...]string{"a", "b", "type", "f0", "f1024"} {
			if g, want := got[n].get(key), get(key); !bytes.Equal(g, want) || (g == nil) != (want == nil) {
				t.Fatalf("%s has %q for %s, not %q", raw, g, key, want)
			}
		}
		n++
	}
	if n != len(got) {
		t.Fatalf("%d elements, not %d, in %s", len(got), n, array)
	}
}

// A pair is only split where the first text ends in half of one.
func TestSplitsPair(t *testing.T) {
	for _, tt := range []struct {
		text, next string
		splits     bool
	}{
		{`a\ud83d`, `\ude00b`, true},
		{`\uD83D`, `\uDE00`, true},
		{`\\\ud83d`, `\ude00`, true},
		{`\\ud83d`, `\ude00`, false}, // a backslash, and letters
		{`\ud83d`, `\\ude00`, false},
		{`\ud83d`, `\ud83d`, false},
		{`\ud83d`, `a`, false},
		{`\ud83d`, ``, false},
		{`\ude00`, `\ude00`, false},
		{`\ud83d\ude00`, `\ude00`, false},
		{``, `\ude00`, false},
	} {
		if got := splitsPair([]byte(tt.text), []byte(tt.next)); got != tt.splits {
			t.Errorf("%s and %s: %v", tt.text, tt.next, got)
		}
	}
}
