package yamldoc

import (
	"slices"
	"strconv"
)

// Key is the path of a mapping's value.
func Key(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

// Index is the path of a list's item.
func Index(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// Get finds a key of a mapping. A key without a value counts as absent.
func (n Node) Get(key string) (Node, bool) {
	for _, e := range n.Entries {
		if e.Key == key {
			return e.Value, e.Value.Kind != Null
		}
	}
	return Node{}, false
}

// Expect tells whether the node has the kind; if not it adds the problem.
func (p *Problems) Expect(source string, n Node, field string, kind Kind) bool {
	if n.Kind == kind {
		return true
	}
	p.Add(source, n.Line, field, "%s is expected here, not %s", kind, n.Kind)
	return false
}

// Unknown adds a problem for every key of the mapping that is not known, with
// the known one that is nearest.
func (p *Problems) Unknown(source string, n Node, field string, known []string) {
	for _, e := range n.Entries {
		if !slices.Contains(known, e.Key) {
			p.Add(source, e.Line, Key(field, e.Key), "there is no such key; %s", Suggest(e.Key, known))
		}
	}
}
