package rawjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParseFields(t *testing.T) {
	type field struct{ Key, Raw string }
	tests := []struct {
		name, body string
		want       []field
		escaped    bool
	}{
		{"empty object", " {\t} \r\n", nil, false},
		{"every type", `{"s":"x","n":-0.5e+10,"t":true,"f":false,"z":null,"o":{"a":[1,{}]},"a":[[],"]"]}`, []field{
			{"s", `"x"`}, {"n", `-0.5e+10`}, {"t", `true`}, {"f", `false`}, {"z", `null`}, {"o", `{"a":[1,{}]}`}, {"a", `[[],"]"]`},
		}, false},
		{"white space stays outside", "{ \"a\" :\t1 ,\n\"b\": [ 2 ] }", []field{{"a", "1"}, {"b", "[ 2 ]"}}, false},
		{"escaped key", `{"m\u006fdel":"x"}`, []field{{"model", `"x"`}}, true},
		{"escaped quote in a key", `{"a\"b" : 1}`, []field{{`a"b`, `1`}}, true},
		{"escaped key inside", `{"a":{"\u0069d":1}}`, []field{{"a", `{"\u0069d":1}`}}, true},
		{"escape in a value alone", `{"a":"\u0069d"}`, []field{{"a", `"\u0069d"`}}, false},
		{"big integer", `{"n":18446744073709551617}`, []field{{"n", "18446744073709551617"}}, false},
		{"no key at all", `{"":0}`, []field{{"", "0"}}, false},
		{"same key on different levels", `{"a":{"a":1}}`, []field{{"a", `{"a":1}`}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d, err := Parse([]byte(tt.body), nil)
			if err != nil {
				t.Fatalf("Parse(%s): %v", tt.body, err)
			}
			var got []field
			for _, f := range d.Fields {
				got = append(got, field{string(f.Key), tt.body[f.ValStart:f.ValEnd]})
				if q := tt.body[f.KeyStart:f.KeyEnd]; q[0] != '"' || q[len(q)-1] != '"' {
					t.Errorf("key of %q spans %s", f.Key, q)
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
			if d.escaped != tt.escaped {
				t.Errorf("escaped = %v", d.escaped)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth-1) + strings.Repeat("]", MaxDepth-1)
	if _, err := Parse([]byte(`{"a":`+deep+`}`), nil); err != nil {
		t.Fatalf("depth of exactly %d: %v", MaxDepth, err)
	}
	var many strings.Builder
	for i := range MaxFields + 1 {
		fmt.Fprintf(&many, ",\"k%d\":0", i)
	}
	tests := []struct {
		name, body string
		offset     int
		message    string
	}{
		{"nothing", "", 0, "empty"},
		{"white space", " \n", 2, "too early"},
		{"byte order mark", "\xef\xbb\xbf{}", 0, "byte order mark"},
		{"array", `[1]`, 0, "object is expected"},
		{"string", `"x"`, 0, "object is expected"},
		{"unclosed", `{"a":1`, 6, "too early"},
		{"unclosed string", `{"a":"x`, 7, "too early"},
		{"cut in an escape", `{"a":"\`, 7, "too early"},
		{"cut in \\u", `{"a":"\u12`, 10, "too early"},
		{"cut literal", `{"a":tru`, 8, "too early"},
		{"after the end", `{"a":1}x`, 7, "after the end"},
		{"second object", `{}{}`, 2, "after the end"},
		{"twice", `{"model":"a","model":"b"}`, 13, "twice"},
		{"twice after unescaping", `{"model":"a","m\u006fdel":"b"}`, 13, "twice"},
		{"too deep", `{"a":[` + deep + `]}`, 5 + MaxDepth - 1, "too deep"},
		{"too many", "{" + many.String()[1:] + "}", -1, "too many"},
		{"trailing comma", `{"a":1,}`, 7, "key in double quotes"},
		{"trailing comma in array", `{"a":[1,]}`, 8, "value is expected"},
		{"no colon", `{"a" 1}`, 5, "colon"},
		{"no comma", `{"a":1 "b":2}`, 7, "comma"},
		{"no comma inside", `{"a":{"b":1 2}}`, 12, "comma or a closing brace"},
		{"wrong bracket", `{"a":[1}}`, 7, "closing bracket"},
		{"bare key", `{a:1}`, 1, "key in double quotes"},
		{"single quotes", `{'a':1}`, 1, "key in double quotes"},
		{"leading zero", `{"a":01}`, 5, "begin with 0"},
		{"plus", `{"a":+1}`, 5, "value is expected"},
		{"minus alone", `{"a":-}`, 6, "digit"},
		{"dot alone", `{"a":1.}`, 7, "digit"},
		{"exponent alone", `{"a":1e}`, 7, "digit"},
		{"NaN", `{"a":NaN}`, 5, "value is expected"},
		{"wrong literal", `{"a":nul1}`, 5, "value is expected"},
		{"line feed in a string", "{\"a\":\"x\ny\"}", 7, "control character"},
		{"zero byte in a long string", `{"a":"` + strings.Repeat("x", 100) + "\x00\"}", 106, "control character"},
		{"unknown escape", `{"a":"\x"}`, 7, "unknown escape"},
		{"bad hex", `{"a":"\u00g0"}`, 10, "hexadecimal"},
		{"invalid UTF-8", "{\"a\":\"x\xff\"}", 7, "UTF-8"},
		{"invalid UTF-8 far away", `{"a":"` + strings.Repeat("é", 100) + "\xc3\"}", 206, "UTF-8"},
		{"surrogate as UTF-8", "{\"a\":\"\xed\xa0\x80\"}", 6, "UTF-8"},
		{"text outside a string", `{"a":é}`, 5, "value is expected"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse([]byte(tt.body), nil)
			var se *SyntaxError
			if !errors.As(err, &se) {
				t.Fatalf("error = %v, want a *SyntaxError", err)
			}
			if !strings.Contains(se.Message, tt.message) || tt.offset >= 0 && se.Offset != tt.offset {
				t.Errorf("error = %q at %d, want %q at %d", se.Message, se.Offset, tt.message, tt.offset)
			}
		})
	}
}

// TestNesting feeds what overflows a recursive reader's stack.
func TestNesting(t *testing.T) {
	for _, open := range []string{"[", `{"a":`, `[{"a":`} {
		b := []byte(`{"x":` + strings.Repeat(open, 8<<20/len(open)))
		if _, err := Parse(b, nil); err == nil {
			t.Errorf("8 MiB of %s were accepted", open)
		}
		if Valid(b) == nil {
			t.Errorf("8 MiB of %s are valid", open)
		}
	}
}

func TestScanTakesTheLastOfSeveral(t *testing.T) {
	d, err := Scan([]byte(`{"a":1,"b":2,"a":3}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	if raw, _ := d.Get("a"); string(raw) != "3" {
		t.Errorf("a = %s, want 3", raw)
	}
}

func TestMayHave(t *testing.T) {
	d, err := Parse([]byte(`{"top":[{"inner":{"deep":"value"},"":"`+strings.Repeat("x", 32)+`"}],"long":"`+strings.Repeat("x", 33)+`"}`), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"top", "inner", "deep", "value", "", strings.Repeat("x", 32), strings.Repeat("y", 33)} {
		if !d.MayHave(word) {
			t.Errorf("MayHave(%s) is false", word)
		}
	}
	absent := 0
	for i := range 100 {
		if !d.MayHave(fmt.Sprintf("absent%d", i)) {
			absent++
		}
	}
	if absent < 80 {
		t.Errorf("only %d of 100 absent words are known to be absent", absent)
	}
	if d, err = Parse([]byte(`{"a\u0062":1}`), nil); err != nil || !d.MayHave("anything") {
		t.Errorf("an escaped key could be anything (%v)", err)
	}
	if d, err = Scan([]byte(`{}`), nil); err != nil || !d.MayHave("anything") {
		t.Errorf("Scan knows nothing of what is not there (%v)", err)
	}
}

func TestValid(t *testing.T) {
	for _, ok := range []string{`1`, ` "x" `, `null`, `[]`, `[1,"a",{"b":[]}]`, `-0`, `1E-2`} {
		if err := Valid([]byte(ok)); err != nil {
			t.Errorf("Valid(%s) = %v", ok, err)
		}
	}
	for _, bad := range []string{``, ` `, `1 2`, `]`, `[1`, `{"a"}`, `"`, "\xef\xbb\xbf1", `tru`} {
		if Valid([]byte(bad)) == nil {
			t.Errorf("Valid(%q) passed", bad)
		}
	}
}

func TestNoAllocations(t *testing.T) {
	body := []byte(`{"model":"gpt-5.5","stream":true,"a_key_that_is_longer_than_thirty_two_bytes":{"x":[1,2,"é\n"]},"n":1}`)
	fields := make([]Field, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := Parse(body, fields); err != nil {
			t.Fatal(err)
		}
		if err := Valid(body); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations a run", n)
	}
}

// withinBounds tells whether our own bounds, which encoding/json does not have,
// allow the text.
func withinBounds(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	depth, deepest := 0, 0
	for _, c := range b { // counts brackets in strings too: an upper bound
		switch c {
		case '[', '{':
			depth++
		case ']', '}':
			depth--
		}
		deepest = max(deepest, depth)
	}
	return deepest <= MaxDepth && len(b) < 4*MaxFields
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`{}`, `{"a":1}`, ` {"a" : [1, 2.5e-3, {"b": "x\u00e9\ud83d\ude00"}], "c": null} `, `[1,2]`, `"x"`, `{"a":1,"a":2}`,
		`{"a":"` + strings.Repeat("long text ", 20) + `\n"}`, "{\"a\":\"\x01\"}", `{"a":-01}`, `{"a":[}`, `{"\u0061":1,"a":2}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if !withinBounds(b) {
			_, _ = Parse(b, nil)
			_ = Valid(b)
			return
		}
		valid := json.Valid(b)
		if got := Valid(b) == nil; got != valid {
			t.Fatalf("Valid(%q) = %v, encoding/json says %v", b, got, valid)
		}
		quoted := slices.Concat([]byte{'"'}, b, []byte{'"'})
		if end := TextEnd(quoted, 1); (end == len(quoted)-1) != json.Valid(quoted) {
			t.Fatalf("TextEnd(%q) = %d", quoted, end)
		}
		d, err := Scan(b, nil)
		if want := valid && bytes.TrimLeft(b, " \t\r\n")[0] == '{'; (err == nil) != want {
			t.Fatalf("Scan(%q) = %v, want success %v", b, err, want)
		}
		if err != nil {
			if _, err := Parse(b, nil); err == nil {
				t.Fatalf("Parse took %q, Scan did not", b)
			}
			return
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatal(err)
		}
		got := map[string]json.RawMessage{}
		for _, f := range d.Fields {
			got[string(f.Key)] = b[f.ValStart:f.ValEnd]
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("fields of %q (-want +got):\n%s", b, diff)
		}
		p, err := Parse(b, nil)
		if err == nil {
			for w := NewWalker(b); w.Next(); {
				if k := string(w.Key()); k != "" && !p.MayHave(k) {
					t.Fatalf("%q may not have the key %q", b, k)
				}
			}
		}
		if (err == nil) != (len(want) == len(d.Fields)) {
			t.Fatalf("Parse(%q) = %v with %d fields of %d names", b, err, len(d.Fields), len(want))
		}
	})
}
