package declare

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"realms/internal/realm"
	"realms/internal/yamldoc"
)

// decoder reads typed values from nodes, remembers each field's line and keeps
// every problem.
type decoder struct {
	expander
	source   string
	lines    map[string]int
	problems yamldoc.Problems
}

func (d *decoder) problem(field, format string, args ...any) {
	d.problems.Add(d.source, d.line(field), field, format, args...)
}

// line is where a field stands, or else the nearest thing around it.
func (d *decoder) line(field string) int { return lineOf(d.lines, field) }

func lineOf(lines map[string]int, field string) int {
	for field != "" {
		if line, ok := lines[field]; ok {
			return line
		}
		field = field[:max(strings.LastIndexAny(field, ".["), 0)]
	}
	return 0
}

// object begins to read a mapping: it must be one, and hold known keys with
// values only.
func (d *decoder) object(n yamldoc.Node, path string, known ...string) bool {
	return d.nullable(n, path, "", known...)
}

// nullable is object where one key may be null.
func (d *decoder) nullable(n yamldoc.Node, path, nullKey string, known ...string) bool {
	d.lines[path] = n.Line
	if !d.problems.Expect(d.source, n, path, yamldoc.Map) {
		return false
	}
	d.problems.Unknown(d.source, n, path, known)
	for _, e := range n.Entries {
		field := yamldoc.Key(path, e.Key)
		d.lines[field] = e.Line
		if e.Value.Kind == yamldoc.Null && e.Key != nullKey {
			d.problem(field, "has no value: write one ([] for an empty list), or leave the key out")
		}
	}
	return true
}

// scalar is a value's text with references replaced; ok tells whether it was
// given and is sound.
func (d *decoder) scalar(n yamldoc.Node, path, key string) (text string, ok bool) {
	v, given := n.Get(key)
	field := yamldoc.Key(path, key)
	if !given || !d.problems.Expect(d.source, v, field, yamldoc.Scalar) {
		return "", false
	}
	return d.expanded(v, field)
}

func (d *decoder) expanded(v yamldoc.Node, field string) (string, bool) {
	text, err := d.expand(v.Text)
	if err != nil {
		d.problems.Add(d.source, v.Line, field, "%s", err)
		return "", false
	}
	return text, true
}

// parsed reads a value by parse; def if it is absent or wrong.
func parsed[T any](d *decoder, n yamldoc.Node, path, key string, def T, parse func(string) (T, error)) T {
	text, ok := d.scalar(n, path, key)
	if !ok {
		return def
	}
	v, err := parse(text)
	if err != nil {
		d.problem(yamldoc.Key(path, key), "%s", err)
		return def
	}
	return v
}

func (d *decoder) text(n yamldoc.Node, path, key, def string) string {
	if text, ok := d.scalar(n, path, key); ok {
		return text
	}
	return def
}

// secret is nil when the key is absent.
func (d *decoder) secret(n yamldoc.Node, path, key string) *realm.Secret {
	text, ok := d.scalar(n, path, key)
	if !ok {
		return nil
	}
	s := realm.Secret(text)
	return &s
}

// enabled is the flag that most things have; what does not say is.
func (d *decoder) enabled(n yamldoc.Node, path string) bool {
	return parsed(d, n, path, "enabled", true, func(text string) (bool, error) {
		if text != "true" && text != "false" {
			return false, fmt.Errorf("%q is neither true nor false", text)
		}
		return text == "true", nil
	})
}

func (d *decoder) whole(n yamldoc.Node, path, key string, def int) int {
	return parsed(d, n, path, key, def, func(text string) (int, error) {
		i, err := strconv.Atoi(text)
		if err != nil {
			return 0, fmt.Errorf("%q is not a whole number", text)
		}
		return i, nil
	})
}

// child begins to read a mapping inside another; ok tells whether it is there and
// is one.
func (d *decoder) child(n yamldoc.Node, path, key string, known ...string) (child yamldoc.Node, at string, ok bool) {
	child, given := n.Get(key)
	at = yamldoc.Key(path, key)
	return child, at, given && d.object(child, at, known...)
}

// free is child for a mapping whose keys are the operator's own.
func (d *decoder) free(n yamldoc.Node, path, key string) (child yamldoc.Node, at string, ok bool) {
	child, given := n.Get(key)
	keys := make([]string, 0, len(child.Entries))
	for _, e := range child.Entries {
		keys = append(keys, e.Key)
	}
	at = yamldoc.Key(path, key)
	return child, at, given && d.object(child, at, keys...)
}

func (d *decoder) duration(n yamldoc.Node, path, key string) *time.Duration {
	return parsed(d, n, path, key, nil, func(text string) (*time.Duration, error) {
		v, err := time.ParseDuration(text)
		if err != nil {
			return nil, fmt.Errorf("%q is not a duration: write it with its unit, such as 500ms, 60s or 5m", text)
		}
		return &v, nil
	})
}

// list is a list's items; given tells an empty one from none.
func (d *decoder) list(n yamldoc.Node, path, key string) (items []yamldoc.Node, given bool) {
	v, given := n.Get(key)
	if !given || !d.problems.Expect(d.source, v, yamldoc.Key(path, key), yamldoc.List) {
		return nil, false
	}
	return v.Items, true
}

// texts is a list of plain values; nil when the key is absent, never nil when it
// is given.
func (d *decoder) texts(n yamldoc.Node, path, key string) []string {
	items, given := d.list(n, path, key)
	if !given {
		return nil
	}
	out := make([]string, 0, len(items))
	for i, item := range items {
		field := yamldoc.Index(yamldoc.Key(path, key), i)
		d.lines[field] = item.Line
		text := "" // stands for what is wrong, so that the others keep their places
		if d.problems.Expect(d.source, item, field, yamldoc.Scalar) {
			text, _ = d.expanded(item, field)
		}
		out = append(out, text)
	}
	return out
}
