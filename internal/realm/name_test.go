package realm

import (
	"errors"
	"strings"
	"testing"
)

func TestCleanName(t *testing.T) {
	cases := []struct {
		in, want, message string
	}{
		{"gpt-5.5", "gpt-5.5", ""},
		{" \t two words \n", "two words", ""},
		{"渠道 一", "渠道 一", ""},
		{strings.Repeat("渠", 190), strings.Repeat("渠", 190), ""},
		{"", "", "needed"},
		{" \u2003 ", "", "needed"},
		{strings.Repeat("渠", 191), "", "191 characters"},
		{"a\nb", "", "U+000A"},
		{"a\x00b", "", "U+0000"},
		{"a\u0085b", "", "U+0085"},
		{"a\u2028b", "", "U+2028"},
		{"a\xffb", "", "UTF-8"},
	}
	for _, c := range cases {
		got, err := CleanName("name", c.in)
		if got != c.want {
			t.Errorf("%q: got %q, want %q", c.in, got, c.want)
		}
		if c.message == "" {
			if err != nil {
				t.Errorf("%q: %v", c.in, err)
			}
			continue
		}
		var e *Error
		if !errors.As(err, &e) || e.Field != "name" || e.Code != CodeInvalid || !strings.Contains(e.Message, c.message) {
			t.Errorf("%q: got %v, want a message with %q", c.in, err, c.message)
		}
	}
}
