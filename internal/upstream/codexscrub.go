package upstream

import "strings"

// withoutEmails is the text without what could be an e-mail address, written plainly
// or as in a URL. It takes out rather too much than too little.
func withoutEmails(text string) string {
	var out strings.Builder
	kept := 0
	for i := 0; i < len(text); i++ {
		width := atSign(text[i:])
		if width == 0 {
			continue
		}
		start, end := i, i+width
		for start > kept && nameOfEmail(text[start-1]) {
			start--
		}
		for end < len(text) && hostOfEmail(text[end]) {
			end++
		}
		if start == i || end == i+width {
			continue
		}
		out.WriteString(text[kept:start])
		out.WriteString(redacted)
		kept, i = end, end-1
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

// atSign is how long the sign is that a text begins with; 0 if it begins otherwise.
func atSign(text string) int {
	switch {
	case strings.HasPrefix(text, "@"):
		return 1
	case strings.HasPrefix(text, "%40"):
		return 3
	}
	return 0
}

func nameOfEmail(c byte) bool {
	return hostOfEmail(c) || c >= 0x80 || strings.IndexByte("+_%~", c) >= 0
}

func hostOfEmail(c byte) bool {
	return c == '.' || c == '-' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}
