package declare

import (
	"fmt"
	"io"
	"strings"

	"realms/internal/store"
)

// marks show at a glance what happened to a thing.
var marks = map[string]string{"create": "+", "delete": "-"}

// Print writes a result for people: a line for each thing, below it its fields.
func (r *Result) Print(w io.Writer) error {
	out := &printer{w: w}
	for _, m := range r.Changes {
		mark := marks[m.Verb]
		if mark == "" {
			mark = "~"
		}
		out.line("%s %s %s", mark, m.Kind, m.Name)
		for _, f := range m.Fields {
			out.line("    %s", showField(m.Verb, f))
		}
	}
	for _, n := range r.Notes {
		out.line("%s", n)
	}
	return out.err
}

// Summary counts the changes in a few words.
func (r *Result) Summary() string {
	count := map[string]int{}
	for _, m := range r.Changes {
		switch m.Verb {
		case "create", "delete":
			count[m.Verb]++
		default:
			count["update"]++
		}
	}
	if len(r.Changes) == 0 {
		return "nothing to change"
	}
	return fmt.Sprintf("%d new, %d changed, %d deleted", count["create"], count["update"], count["delete"])
}

func showField(verb string, f store.FieldChange) string {
	switch {
	case verb == "create", f.Before == "":
		return f.Field + ": " + f.After
	case f.After == "":
		return f.Field + ": " + f.Before + " → gone"
	case isSecret(f.Field): // only that it changed
		return f.Field + ": " + f.After
	default:
		return f.Field + ": " + f.Before + " → " + f.After
	}
}

func isSecret(field string) bool {
	return strings.HasSuffix(field, ".api_key") || field == "settings.proxy" || strings.HasPrefix(field, "settings.headers.set[")
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
