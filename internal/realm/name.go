package realm

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// MaxName is the longest name, in characters: four bytes each of them still fit
// an index of MySQL.
const MaxName = 190

// CleanName is a name without the white space around it, or an Invalid error
// about the field: a name has 1 to MaxName characters and no control characters.
func CleanName(field, name string) (string, error) {
	name = strings.TrimSpace(name)
	switch n := utf8.RuneCountInString(name); {
	case n == 0:
		return "", Invalid(field, "A name is needed.")
	case n > MaxName:
		return "", Invalid(field, fmt.Sprintf("It has %d characters; at most %d are allowed.", n, MaxName))
	case !utf8.ValidString(name):
		return "", Invalid(field, "It is not valid UTF-8.")
	}
	for _, r := range name {
		if unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp) {
			return "", Invalid(field, fmt.Sprintf("It holds the control character %U: remove it.", r))
		}
	}
	return name, nil
}
