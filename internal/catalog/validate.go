package catalog

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"realms/internal/realm"
)

// Bounds of what may be declared.
const (
	maxRank         = 1_000_000 // of a priority (also below zero) and of a weight
	maxBaseURL      = 1000      // bytes
	maxAPIKey       = 4096      // bytes
	maxMultiplier   = 1000 * realm.OnePPM
	maxPrice        = realm.Money(1_000_000) * 1_000_000_000 // a million dollars per million tokens
	maxOutputTokens = 100_000_000
)

// compatValues are the edits that a model's compat list may ask for; protocol
// carries them out.
var compatValues = []string{"max_completion_tokens", "no_sampling", "developer_role"}

// problems collects everything that is wrong with one object.
type problems []error

func (p *problems) add(field, format string, args ...any) {
	*p = append(*p, realm.Invalid(field, fmt.Sprintf(format, args...)))
}

func (p *problems) name(field, name string) string {
	clean, err := realm.CleanName(field, name)
	if err != nil {
		*p = append(*p, err)
	}
	return clean
}

func (p *problems) rank(field string, n, low int) {
	if n < low || n > maxRank {
		p.add(field, "It is %d; from %d to %d is allowed.", n, low, maxRank)
	}
}

func (p problems) err() error { return errors.Join(p...) }

// CheckGroup is the group with its name trimmed, or everything wrong with it.
func CheckGroup(g realm.Group) (realm.Group, error) {
	var p problems
	g.Name = p.name("name", g.Name)
	if g.Multiplier < 0 || g.Multiplier > maxMultiplier {
		p.add("multiplier", "It is %s; from 0 to %s is allowed.", g.Multiplier, maxMultiplier)
	}
	return g, p.err()
}

// CheckModel is the model with its names trimmed, or everything wrong with it.
func CheckModel(m realm.Model) (realm.Model, error) {
	var p problems
	m.Name = p.modelName("name", m.Name)
	if m.OwnedBy != "" {
		m.OwnedBy = p.name("owned_by", m.OwnedBy)
	}
	if m.MaxOutputTokens < 0 || m.MaxOutputTokens > maxOutputTokens {
		p.add("max_output_tokens", "It is %d; from 0 (unknown) to %d is allowed.", m.MaxOutputTokens, maxOutputTokens)
	}
	if m.Price != nil {
		for _, f := range priceFields(m.Price) {
			if f.amount != nil && (*f.amount < 0 || *f.amount > maxPrice) {
				p.add("price."+f.name, "It is %s; from 0 to %s USD is allowed.", *f.amount, maxPrice)
			}
		}
	}
	for i, c := range m.Compat {
		if !slices.Contains(compatValues, c) {
			p.add(index("compat", i), "%q is unknown; %s are possible.", c, strings.Join(compatValues, ", "))
		}
	}
	return m, p.err()
}

func (p *problems) modelName(field, name string) string {
	name = p.name(field, name)
	switch {
	case name == realm.AnyModel:
		p.add(field, "%q stands for every model and cannot be the name of one.", name)
	case strings.Contains(name, realm.AnyModel):
		p.add(field, "A star stands for many models: %q cannot be the name of one.", name)
	}
	return name
}

type priceField struct {
	name   string
	amount *realm.Money
}

func priceFields(p *realm.Price) []priceField {
	if p == nil {
		p = &realm.Price{}
	}
	return []priceField{
		{"input", p.Input},
		{"cached_input", p.CachedInput},
		{"cache_write", p.CacheWrite},
		{"output", p.Output},
		{"reasoning", p.Reasoning},
	}
}

func index(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

// CleanBaseURL is a base URL without white space around it and slashes at its
// end, scheme and host in lower case and the path as declared, or what is wrong
// with it. The message never repeats the URL, which may hold a password.
func CleanBaseURL(field, text string) (string, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxBaseURL {
		return "", realm.Invalid(field, fmt.Sprintf("It has %d bytes; at most %d are allowed.", len(text), maxBaseURL))
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return "", realm.Invalid(field, "It holds a space, a backslash or a character outside ASCII: remove it or write it percent-encoded.")
	}
	u, err := url.Parse(text)
	if err != nil || u.Opaque != "" {
		return "", realm.Invalid(field, "It is not a URL; one like https://api.example.com/v1 is expected.")
	}
	if message := wrongBaseURL(u, text); message != "" {
		return "", realm.Invalid(field, message)
	}
	path := strings.Index(text, "://") + len("://")
	if slash := strings.IndexByte(text[path:], '/'); slash >= 0 {
		path += slash
	} else {
		path = len(text)
	}
	return strings.ToLower(text[:path]) + strings.TrimRight(text[path:], "/"), nil
}

func wrongBaseURL(u *url.URL, text string) string {
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return "It must begin with https:// or http://."
	case u.Hostname() == "":
		return "It names no host; one like https://api.example.com/v1 is expected."
	case u.User != nil:
		return "It holds a user name or password; the credential's api_key is the place for a secret."
	case strings.ContainsAny(text, "?#"):
		return "It must end with the path: remove everything from ? or # on."
	}
	if !validPort(u) {
		return "Its port is not a number from 1 to 65535."
	}
	return ""
}
