package config

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"

	"realms/internal/yamldoc"
)

// DefaultFile is read when no file is named, if it is there.
const DefaultFile = "realms.yaml"

// Load makes the configuration of a process from its file (path; empty:
// DefaultFile if there is one) and environment (as os.Environ gives it). The
// error lists every problem, one a line, each with its place and what to do.
func Load(path string, env []string) (Config, error) {
	c := Default()
	l := loader{fields: c.fields(), origin: map[string]yamldoc.Problem{}}
	l.file(path)
	l.environment(env)
	for _, p := range c.problems() {
		path, _, _ := strings.Cut(p.Field, "[")
		if at, ok := l.origin[path]; ok {
			p.Source, p.Line = at.Source, at.Line
			if at.Field == "" { // a variable names its field itself
				p.Field = ""
			}
		}
		l.problems = append(l.problems, p)
	}
	return c, l.problems.Err()
}

type loader struct {
	fields   []field
	origin   map[string]yamldoc.Problem // where a field's value came from
	problems yamldoc.Problems
}

func (l *loader) file(path string) {
	named := path != ""
	if !named {
		path = DefaultFile
	}
	data, err := os.ReadFile(path)
	if err != nil {
		if !named && errors.Is(err, fs.ErrNotExist) {
			return
		}
		l.problems.Add(path, 0, "", "the configuration cannot be read: %v", cause(err))
		return
	}
	root, err := yamldoc.Parse(path, data)
	var broken yamldoc.Problems
	if errors.As(err, &broken) {
		l.problems = append(l.problems, broken...)
	}
	l.mapping(path, root, "")
}

// mapping reads the keys below one section.
func (l *loader) mapping(source string, n yamldoc.Node, section string) {
	if !l.problems.Expect(source, n, section, yamldoc.Map) {
		return
	}
	l.problems.Unknown(source, n, section, l.known(section))
	for _, e := range n.Entries {
		path := yamldoc.Key(section, e.Key)
		i := slices.IndexFunc(l.fields, func(f field) bool { return f.path == path })
		switch {
		case e.Value.Kind == yamldoc.Null: // a key left empty keeps its default
		case i >= 0:
			l.leaf(source, e.Value, l.fields[i])
		case len(l.known(path)) > 0:
			l.mapping(source, e.Value, path)
		}
	}
}

// known lists the keys that a section may hold.
func (l *loader) known(section string) []string {
	var keys []string
	for _, f := range l.fields {
		rest, ok := strings.CutPrefix(f.path, section)
		if section != "" && ok {
			rest, ok = strings.CutPrefix(rest, ".")
		}
		if !ok {
			continue
		}
		key, _, _ := strings.Cut(rest, ".")
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	return keys
}

func (l *loader) leaf(source string, n yamldoc.Node, f field) {
	at := yamldoc.Problem{Source: source, Line: n.Line, Field: f.path}
	if !f.list() {
		if l.problems.Expect(source, n, f.path, yamldoc.Scalar) {
			l.assign(f, at, func() error { return set(f.target, n.Text) })
		}
		return
	}
	if !l.problems.Expect(source, n, f.path, yamldoc.List) {
		return
	}
	items := make([]string, 0, len(n.Items))
	for i, item := range n.Items {
		if l.problems.Expect(source, item, yamldoc.Index(f.path, i), yamldoc.Scalar) {
			items = append(items, item.Text)
		}
	}
	l.assign(f, at, func() error { return setList(f.target, items) })
}

// assign remembers where the value came from and keeps a problem with it.
func (l *loader) assign(f field, at yamldoc.Problem, read func() error) {
	if err := read(); err != nil {
		at.Message = err.Error()
		l.problems = append(l.problems, at)
		return
	}
	l.origin[f.path] = at
}

func (l *loader) environment(env []string) {
	values := make(map[string]string, len(env))
	for _, kv := range env {
		if name, value, _ := strings.Cut(kv, "="); value != "" && strings.HasPrefix(name, envPrefix) {
			values[name] = value // an empty one counts as unset
		}
	}
	for _, f := range l.fields {
		name := f.env()
		value, given := values[name]
		if file, ok := values[name+"_FILE"]; ok && f.secret() {
			if given {
				l.problems.Add(name, 0, "", "is set, and so is %s_FILE: keep one of them", name)
				continue
			}
			data, err := os.ReadFile(file)
			if err != nil {
				l.problems.Add(name+"_FILE", 0, "", "the file cannot be read: %v", cause(err))
				continue
			}
			name, value, given = name+"_FILE", strings.TrimSpace(string(data)), true
			if value == "" && !f.list() { // a default in its place would be a surprise
				l.problems.Add(name, 0, "", "the file is empty")
				continue
			}
		}
		if !given {
			continue
		}
		l.assign(f, yamldoc.Problem{Source: name}, func() error {
			if f.list() {
				return setList(f.target, split(value))
			}
			return set(f.target, value)
		})
	}
}

// split reads a list: items between commas, or one a line in a file.
func split(value string) []string {
	items := []string{}
	for item := range strings.FieldsFuncSeq(value, func(r rune) bool { return r == ',' || r == '\n' }) {
		if item = strings.TrimSpace(item); item != "" {
			items = append(items, item)
		}
	}
	return items
}

// UnknownEnv says, one line each, which variables of the environment bear our
// prefix and mean nothing to us: misspelt ones, most likely. They are warnings,
// because orchestrators set some of their own (REALMS_PORT and the like).
func UnknownEnv(env []string) []string {
	c := Default()
	known := []string{clientKeyEnv}
	for _, f := range c.fields() {
		known = append(known, f.env())
		if f.secret() {
			known = append(known, f.env()+"_FILE")
		}
	}
	var out []string
	for _, kv := range env {
		name, _, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) {
			continue
		}
		line := name + " is set and means nothing to Realms"
		if near := yamldoc.Nearest(name, known); near != "" {
			line += ": did you mean " + near + "?"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return out
}

// cause is a file error without the path, which the line begins with already.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
