package declare

import (
	"errors"
	"slices"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/yamldoc"
)

// Document is a declarative file that was read and is sound as far as can be
// told without the store.
type Document struct {
	source   string
	lines    map[string]int
	problems yamldoc.Problems // what Read found wrong
	groups   section[realm.Group]
	models   section[realm.Model]
	channels section[channelEntry]
	users    section[account.UserSpec]
}

// section is a list of the file's top level; given tells an empty one from none.
type section[T any] struct {
	given   bool
	partial bool // some of what it was to name could not be read
	entries []entry[T]
}

// entry is one thing that the file declares.
type entry[T any] struct {
	path string // "channels[0]"
	name string
	spec T
}

func (s section[T]) has(name string) bool {
	return slices.ContainsFunc(s.entries, func(e entry[T]) bool { return e.name == name })
}

// pathOf is the path of the first entry whose name fits; empty: none does.
func (s section[T]) pathOf(fits func(name string) bool) string {
	if i := slices.IndexFunc(s.entries, func(e entry[T]) bool { return fits(e.name) }); i >= 0 {
		return s.entries[i].path
	}
	return ""
}

// channelEntry is a channel with what the file leaves alone.
type channelEntry struct {
	catalog.ChannelSpec
	endpointsGiven   bool
	modelsGiven      bool
	credentialsGiven []bool // by endpoint
	// What may hold a secret is kept when the file does not name it, as an
	// api_key is.
	proxyGiven      bool
	setHeadersGiven bool
}

// ReadOptions of Read.
type ReadOptions struct {
	// Dir is where relative file:PATH references begin; empty: the working folder.
	Dir string
	// Lookup finds a variable of the environment; required.
	Lookup func(name string) (string, bool)
}

// Read reads a declarative file; source names it in errors. The error is a
// yamldoc.Problems of everything that is wrong with it as far as can be told
// without the store; the document beside it is for Check alone.
func Read(source string, data []byte, o ReadOptions) (*Document, error) {
	d := &decoder{
		expander: expander{dir: o.Dir, lookup: o.Lookup},
		source:   source,
		lines:    map[string]int{},
	}
	root, err := yamldoc.Parse(source, data)
	var broken yamldoc.Problems
	if errors.As(err, &broken) {
		d.problems = append(d.problems, broken...)
	}
	doc := &Document{source: source, lines: d.lines}
	if d.object(root, "", "groups", "models", "channels", "users") {
		doc.groups = readSection(d, root, "groups", readGroup)
		doc.models = readSection(d, root, "models", readModel)
		doc.channels = readSection(d, root, "channels", readChannel)
		doc.users = readSection(d, root, "users", readUser)
	}
	doc.groups.partial = doc.groups.partial || slices.ContainsFunc(broken, func(p yamldoc.Problem) bool { return p.Field == "" })
	doc.problems = d.problems
	return doc, d.problems.Err()
}

// readSection reads a list of things; read gives a thing, its name, and what is
// wrong with it beside what the decoder has noticed.
func readSection[T any](d *decoder, root yamldoc.Node, key string, read func(d *decoder, n yamldoc.Node, path string) (T, string, error)) section[T] {
	items, given := d.list(root, "", key)
	_, there := root.Get(key)
	s := section[T]{given: given, partial: there && !given}
	for i, item := range items {
		path := yamldoc.Index(key, i)
		if item.Kind != yamldoc.Map {
			d.problems.Expect(d.source, item, path, yamldoc.Map)
			s.partial = true
			continue
		}
		spec, name, err := read(d, item, path)
		d.check(path, err)
		s.partial = s.partial || name == ""
		if first := slices.IndexFunc(s.entries, func(e entry[T]) bool { return e.name == name }); first >= 0 && name != "" {
			d.problem(yamldoc.Key(path, "name"), "%q is declared twice, first on line %d: keep one", name, d.line(s.entries[first].path))
			continue
		}
		s.entries = append(s.entries, entry[T]{path: path, name: name, spec: spec})
	}
	return s
}

// check keeps what a service found wrong with the thing at path, unless the
// decoder has complained of that field already.
func (d *decoder) check(path string, err error) {
	for _, e := range flatten(err) {
		field := yamldoc.Key(path, e.Field)
		if e.Field == "" {
			field = path
		}
		if slices.ContainsFunc(d.problems, func(p yamldoc.Problem) bool { return p.Field == field }) {
			continue
		}
		d.problem(field, "%s", e.Message)
	}
}

// flatten finds the errors with words for the reader in a joined error; what has
// none gets the general ones.
func flatten(err error) []*realm.Error {
	if err == nil {
		return nil
	}
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var out []*realm.Error
		for _, e := range joined.Unwrap() {
			out = append(out, flatten(e)...)
		}
		return out
	}
	return []*realm.Error{realm.AsError(err)}
}

func readGroup(d *decoder, n yamldoc.Node, path string) (realm.Group, string, error) {
	d.object(n, path, "name", "multiplier")
	g, err := catalog.CheckGroup(realm.Group{
		Name:       d.text(n, path, "name", ""),
		Multiplier: parsed(d, n, path, "multiplier", realm.OnePPM, realm.ParsePPM),
	})
	return g, g.Name, err
}

func readModel(d *decoder, n yamldoc.Node, path string) (realm.Model, string, error) {
	d.object(n, path, "name", "owned_by", "enabled", "max_output_tokens", "price", "compat")
	m, err := catalog.CheckModel(realm.Model{
		Name:            d.text(n, path, "name", ""),
		OwnedBy:         d.text(n, path, "owned_by", ""),
		Enabled:         d.enabled(n, path),
		MaxOutputTokens: int64(d.whole(n, path, "max_output_tokens", 0)),
		Price:           readPrice(d, n, yamldoc.Key(path, "price")),
		Compat:          d.texts(n, path, "compat"),
	})
	return m, m.Name, err
}

func readPrice(d *decoder, model yamldoc.Node, path string) *realm.Price {
	n, given := model.Get("price")
	if !given || !d.object(n, path, "input", "cached_input", "cache_write", "output", "reasoning") {
		return nil
	}
	amount := func(key string) *realm.Money {
		return parsed(d, n, path, key, nil, func(text string) (*realm.Money, error) {
			m, err := realm.ParseMoney(text)
			return &m, err
		})
	}
	return &realm.Price{
		Input: amount("input"), CachedInput: amount("cached_input"), CacheWrite: amount("cache_write"),
		Output: amount("output"), Reasoning: amount("reasoning"),
	}
}

func readUser(d *decoder, n yamldoc.Node, path string) (account.UserSpec, string, error) {
	d.object(n, path, "name", "role", "enabled", "groups")
	u := account.UserSpec{
		Name:    d.text(n, path, "name", ""),
		Role:    realm.Role(d.text(n, path, "role", string(realm.RoleUser))),
		Enabled: d.enabled(n, path),
		Groups:  d.texts(n, path, "groups"),
	}
	if u.Groups == nil {
		u.Groups = []string{realm.DefaultGroup}
	}
	u, err := account.CheckUser(u)
	return u, u.Name, err
}
