package store_test

import (
	"encoding/json"
	"testing"
	"unicode/utf8"

	"realms/internal/store"
)

func FuzzAppendJSONString(f *testing.F) {
	for _, s := range []string{"", "plain", `"\`, "\x00\x1f\n\t", "界😀", "\u2028<&>", "\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		s = store.Clip(s, 1000)
		var got string
		if err := json.Unmarshal(store.AppendJSONString(nil, s), &got); err != nil || got != s {
			t.Errorf("%q came back as %q, %v", s, got, err)
		}
	})
}

func TestClip(t *testing.T) {
	for _, tt := range []struct {
		in   string
		n    int
		want string
	}{
		{"", 3, ""},
		{"abc", 3, "abc"},
		{"abcd", 3, "abc"},
		{"abc", 0, ""},
		{"界界界界", 3, "界界界"},
		{"界", 3, "界"},
		{"a\xffb", 3, "a\uFFFDb"},
		{"a\xff\xfeb", 2, "a\uFFFD"},
		{"a\x00\x00b", 3, "ab"},
	} {
		got := store.Clip(tt.in, tt.n)
		if got != tt.want || !utf8.ValidString(got) {
			t.Errorf("Clip(%q, %d) = %q, want %q", tt.in, tt.n, got, tt.want)
		}
	}
}
