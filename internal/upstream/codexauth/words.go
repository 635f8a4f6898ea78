package codexauth

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"realms/internal/realm"
)

const (
	maxCode    = 64
	maxMessage = 240
	maxWord    = 40
	// secretPiece is how many characters of a secret in a row are too many.
	secretPiece = 8
	hidden      = "…"
)

// cleanCode is a code that a provider gave, or nothing if it does not look like
// one: what may be part of a token is no code.
func cleanCode(code string, secrets []realm.Secret) string {
	if code == "" || len(code) > maxCode || shows(code, secrets) {
		return ""
	}
	digits := 0
	for _, c := range code {
		switch {
		case c >= 'a' && c <= 'z', c == '_', c == '-', c == '.':
		case c >= '0' && c <= '9':
			digits++
		default:
			return ""
		}
	}
	if digits > 4 {
		return ""
	}
	return code
}

// cleanText is what a provider wrote, with only those of its words that are plain
// language: whatever it echoes (a token, a part of one, an address) is not.
func cleanText(s string, secrets []realm.Secret) string {
	if strings.ContainsAny(s, "<>") {
		return ""
	}
	var out strings.Builder
	for _, word := range strings.Fields(s) {
		if !plain(word) || shows(strings.Trim(word, `.,:;!?"'()`), secrets) {
			word = hidden
		}
		if out.Len()+len(word) > maxMessage {
			break
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(word)
	}
	clean := strings.TrimRight(out.String(), ". ")
	if strings.Trim(clean, hidden+" ") == "" {
		return ""
	}
	return lowerFirst(clean)
}

// plain tells whether a word is one of a language, or a short number: letters in
// one case but for the first, or all of them capitals.
func plain(word string) bool {
	word = strings.Trim(word, `.,:;!?"'()`)
	if len(word) > maxWord {
		return false
	}
	digits, upper, lower := 0, 0, 0
	for i, c := range word {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'A' && c <= 'Z':
			if i > 0 {
				upper++
			}
		case c >= 'a' && c <= 'z':
			lower++
		case !strings.ContainsRune("_-/'’", c):
			return false
		}
	}
	return digits <= 4 && (upper == 0 || lower == 0 && upper < 12) && (digits == 0 || lower == 0)
}

// shows tells whether a text holds a secret, or is a piece of one.
func shows(s string, secrets []realm.Secret) bool {
	s = strings.ToLower(s)
	for _, secret := range secrets {
		whole := strings.ToLower(secret.Reveal())
		for i := 0; i+secretPiece <= len(s); i++ {
			if strings.Contains(whole, s[i:i+secretPiece]) {
				return true
			}
		}
	}
	return false
}

func lowerFirst(s string) string {
	if s[0] < 'A' || s[0] > 'Z' || len(s) > 1 && s[1] >= 'A' && s[1] <= 'Z' {
		return s // not a capital, or an abbreviation
	}
	return string(s[0]+'a'-'A') + s[1:]
}

// label is a text of the provider's that is kept and shown (an e-mail address, a
// plan's name); empty if it is nothing of the kind.
func label(s string) string {
	if len(s) > 255 || !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	return s
}

// visible tells whether a text is short enough and all printable ASCII without
// spaces, as what goes into a header or a terminal must be.
func visible(s string, longest int) bool {
	return len(s) <= longest && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}
