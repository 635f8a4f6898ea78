package rawjson

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestString(t *testing.T) {
	for _, raw := range []string{
		`""`, `"plain"`, `"a\"b\\c\/d\b\f\n\r\t"`, `"\u00e9\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx"`, `"\ud83d\u0041"`, `"\ude00\ud83d\ude00"`, `"日本"`,
	} {
		var want string
		if err := json.Unmarshal([]byte(raw), &want); err != nil {
			t.Fatal(err)
		}
		got, ok := String([]byte(raw))
		if !ok || got != want {
			t.Errorf("String(%s) = %q, %v; want %q", raw, got, ok, want)
		}
		if !Equal([]byte(raw), want) || Equal([]byte(raw), want+"x") {
			t.Errorf("Equal(%s) is wrong", raw)
		}
	}
	for _, raw := range []string{``, `1`, `null`, `{`} {
		if s, ok := String([]byte(raw)); ok {
			t.Errorf("String(%s) = %q", raw, s)
		}
	}
}

func TestInt(t *testing.T) {
	tests := map[string]struct {
		n  int64
		ok bool
	}{
		"0": {0, true}, "-1": {-1, true}, "123456789012345678": {123456789012345678, true},
		"9223372036854775807": {1<<63 - 1, true}, "-9223372036854775808": {-1 << 63, true},
		"9223372036854775808": {}, "18446744073709551616": {}, "1.0": {}, "1e3": {}, `"5"`: {}, "null": {}, "": {}, "-": {}, "true": {},
	}
	for raw, want := range tests {
		n, ok := Int([]byte(raw))
		if ok != want.ok || ok && n != want.n {
			t.Errorf("Int(%s) = %d, %v; want %d, %v", raw, n, ok, want.n, want.ok)
		}
	}
}

func TestIsEmpty(t *testing.T) {
	for raw, want := range map[string]bool{
		``: true, `null`: true, `""`: true, `[]`: true, `{ }`: true, `" "`: false, `[0]`: false, `{"a":1}`: false, `0`: false, `false`: false,
	} {
		if IsEmpty([]byte(raw)) != want {
			t.Errorf("IsEmpty(%s) is not %v", raw, want)
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "gpt-5.5", `a"b\c`, "tab\tline\n\x00\x7f", "é日😀", "bad\xff"} {
		raw := AppendString(nil, s)
		var got, want string
		if err := json.Unmarshal(raw, &got); err != nil {
			t.Fatalf("AppendString(%q) = %s: %v", s, raw, err)
		}
		b, _ := json.Marshal(s)
		_ = json.Unmarshal(b, &want)
		if got != want || Valid(raw) != nil {
			t.Errorf("AppendString(%q) = %s", s, raw)
		}
	}
}

func TestElements(t *testing.T) {
	raw := ` [ 1, "a,]" ,{"b":[2]}, [ ] ]`[1:]
	var got []string
	for off, e := range Elements([]byte(raw)) {
		if raw[off:off+len(e)] != string(e) {
			t.Errorf("offset %d is not that of %s", off, e)
		}
		got = append(got, string(e))
	}
	if diff := cmp.Diff([]string{`1`, `"a,]"`, `{"b":[2]}`, `[ ]`}, got); diff != "" {
		t.Errorf("elements (-want +got):\n%s", diff)
	}
	for _, none := range []string{`[]`, `[ ]`, `{"a":1}`, `null`, ``} {
		for range Elements([]byte(none)) {
			t.Errorf("%q has elements", none)
		}
	}
}

func TestWalker(t *testing.T) {
	raw := `[ {"a": 1, "b":{"c":["x",{}, []]}, "skip" : {"d":[{"e":2}]}, "\u0066":null}, [ ], "y" ]`
	want := []string{
		`|[`, `[0]|{`, `[0].a|1`, `[0].b|{`, `[0].b.c|[`, `[0].b.c[0]|"x"`, `[0].b.c[1]|{`, `[0].b.c[2]|[`,
		`[0].skip|{`, `[0].f|null`, `[1]|[`, `[2]|"y"`,
	}
	var got []string
	for w := NewWalker([]byte(raw)); w.Next(); {
		got = append(got, w.Path()+"|"+string(w.Value()))
		if string(w.Key()) == "skip" {
			w.Skip()
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("walk (-want +got):\n%s", diff)
	}
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("plain ascii text of some length"))
	f.Add([]byte("敏捷的棕色狐狸 and é and 😀"))
	f.Add([]byte("敏捷\xe0\x80\x80的棕\xed\xa0\x80色狐狸\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		i := invalidUTF8(b)
		if !utf8.Valid(b[:i]) || i < len(b) && utf8.Valid(b) {
			t.Fatalf("%q: invalid at %d", b, i)
		}
		if r, n := utf8.DecodeRune(b[i:]); i < len(b) && (r != utf8.RuneError || n != 1) {
			t.Fatalf("%q: %q at %d is valid", b, r, i)
		}
	})
}
