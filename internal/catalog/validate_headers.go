package catalog

import (
	"cmp"
	"maps"
	"net/textproto"
	"slices"
	"strings"

	"realms/internal/realm"
)

// fixedHeaders are the channel's business in no case, beside those that rule the
// connection: what the body is read by, the credential, the count against loops.
var fixedHeaders = []string{
	"Accept-Encoding", "Authorization", "Content-Encoding", "Content-Type", "Proxy-Authenticate", "X-Realms-Hops",
}

const maxHeaderName = 200 // bytes

// headers are what is set and deleted, by canonical names; nil where there is
// nothing.
func (p *problems) headers(set map[string]realm.Secret, remove []string) (map[string]realm.Secret, []string) {
	if len(set) > maxEntries {
		p.add("headers.set", "It has %d entries; at most %d are allowed.", len(set), maxEntries)
	}
	clean := make(map[string]realm.Secret, len(set))
	for _, name := range sortedKeys(set) {
		field := "headers.set." + name
		canonical := p.headerName(field, name)
		if _, twice := clean[canonical]; twice && canonical != "" {
			p.add(field, "%s is listed twice.", canonical)
		}
		p.headerValue(field, set[name].Reveal())
		clean[canonical] = set[name]
	}
	remove = p.nameList("headers.delete", remove, p.headerName)
	for i, name := range remove {
		if _, both := clean[name]; both && name != "" {
			p.add(index("headers.delete", i), "%s is set as well: setting it replaces what was there.", name)
		}
	}
	slices.Sort(remove) // their order means nothing
	if len(clean) == 0 {
		clean = nil
	}
	return clean, remove
}

func (p *problems) headerName(field, name string) string {
	name = strings.TrimSpace(name)
	if name == "" || len(name) > maxHeaderName || strings.Trim(name, tokenBytes) != "" {
		p.add(field, "A header's name is expected: letters, digits and any of !#$%%&'*+-.^_`|~.")
		return ""
	}
	name = textproto.CanonicalMIMEHeaderKey(name)
	if realm.RulesConnection(name) || slices.Contains(fixedHeaders, name) {
		p.add(field, "%s cannot be changed: Realms or the connection sets it.", name)
		return ""
	}
	return name
}

// tokenBytes are what RFC 9110 lets stand in a header's name.
const tokenBytes = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// headerValue never repeats the value, which may be a secret.
func (p *problems) headerValue(field, value string) {
	switch {
	case value == "":
		p.add(field, "It has no value: headers.delete takes a header off.")
	case len(value) > maxAPIKey:
		p.add(field, "It has %d bytes; at most %d are allowed.", len(value), maxAPIKey)
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r > '~' }):
		p.add(field, "It holds a line's end, another control character or one outside ASCII, which no header can carry.")
	case strings.TrimSpace(value) != value:
		p.add(field, "It begins or ends with a space, which would be lost: remove it.")
	}
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
