package declare

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// writer lays the file out as a person would: a line for a small thing, a block
// for a channel.
type writer struct{ bytes.Buffer }

func (w *writer) line(depth int, format string, args ...any) {
	w.WriteString(strings.Repeat("  ", depth))
	fmt.Fprintf(w, format+"\n", args...)
}

func (w *writer) list(depth int, key string, n int) {
	if n == 0 {
		w.line(depth, "%s: []", key)
		return
	}
	w.line(depth, "%s:", key)
}

func (w *writer) section(key string, n int) {
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	w.list(0, key, n)
}

func (w *writer) item(depth int, f flow) { w.line(depth, "- %s", f) }

// flow is a mapping on one line.
type flow []string

func (f flow) plain(key, value string) flow { return append(f, key+": "+value) }

func (f flow) text(key, value string) flow { return f.plain(key, quote(value)) }

// disabled says so of what is not enabled.
func (f flow) disabled(enabled bool) flow {
	if enabled {
		return f
	}
	return f.plain("enabled", "false")
}

func (f flow) String() string { return "{" + strings.Join(f, ", ") + "}" }

func textList(texts []string) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = quote(t)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// simple is what any YAML reader takes for a text without quotes, inside flow
// collections too.
var simple = regexp.MustCompile(`^(https?://[A-Za-z0-9./_-]*[A-Za-z0-9/]|[A-Za-z][A-Za-z0-9._/-]*)$`)

var reserved = map[string]bool{"true": true, "false": true, "null": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true}

// quote writes a text so that Read finds it again, references included.
func quote(text string) string { return literal(escape(text)) }

// literal writes a text that has no references, such as a key.
func literal(text string) string {
	if simple.MatchString(text) && !reserved[strings.ToLower(text)] {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
