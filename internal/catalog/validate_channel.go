package catalog

import (
	"slices"
	"strings"

	"realms/internal/realm"
)

// CheckChannel is the spec with its names and URLs clean and its bindings
// complete, or everything wrong with it. Whether its groups exist only the store
// can tell.
func CheckChannel(spec ChannelSpec) (ChannelSpec, error) {
	var p problems
	spec.Name = p.name("name", spec.Name)
	switch spec.Type {
	case realm.OpenAICompatible, realm.CodexOAuth:
	default:
		p.add("type", "%q is unknown; %s, %s are possible.", spec.Type, realm.OpenAICompatible, realm.CodexOAuth)
	}
	p.rank("priority", spec.Priority, -maxRank)
	p.rank("weight", spec.Weight, 0)
	p.apis(spec.Type, spec.APIs)
	spec.Groups = p.groups(spec.Groups)
	spec.Bindings = p.bindings(spec.Bindings)
	if spec.Type == realm.CodexOAuth {
		spec.Endpoints = p.codexEndpoints(spec.Endpoints)
		p.codexSettings(&spec.Settings)
	} else {
		spec.Endpoints = p.endpoints(spec.Endpoints)
	}
	spec.Settings = p.settings(spec.Settings)
	return spec, p.err()
}

func (p *problems) apis(t realm.ChannelType, apis realm.APISet) {
	possible := DefaultAPIs(t)
	switch {
	case apis == 0 || apis&^realm.AllAPIs != 0:
		p.add("apis", "At least one api is needed; %s are possible.", possible)
	case apis&^possible != 0:
		p.add("apis", "A channel of the type %s does not speak %s; %s are possible. Leave apis out for all of these.", t, apis&^possible, possible)
	}
}

func (p *problems) groups(names []string) []string {
	clean := make([]string, 0, len(names))
	for i, name := range names {
		name = p.name(index("groups", i), name)
		if name != "" && slices.Contains(clean, name) {
			p.add(index("groups", i), "%q is listed twice.", name)
		}
		clean = append(clean, name)
	}
	return clean
}

func (p *problems) bindings(list []realm.Binding) []realm.Binding {
	clean := make([]realm.Binding, 0, len(list))
	for i, b := range list {
		field := index("models", i)
		b.Model = p.pattern(field+".name", b.Model)
		b.Upstream = p.upstreamName(field+".upstream", b)
		p.timeouts(field+".timeouts", b.Timeouts)
		if b.Model != "" && slices.ContainsFunc(clean, func(o realm.Binding) bool { return o.Model == b.Model }) {
			p.add(field+".name", "%q is listed twice.", b.Model)
		}
		clean = append(clean, b)
	}
	return clean
}

// upstreamName is the upstream's name for what a binding offers; none, and a star
// for one exact name, is the public name itself.
func (p *problems) upstreamName(field string, b realm.Binding) string {
	if b.Upstream = strings.TrimSpace(b.Upstream); b.Upstream == "" || b.Upstream == realm.AnyModel && !isPattern(b.Model) {
		return b.Model
	}
	name := p.name(field, b.Upstream)
	switch stars := strings.Count(name, realm.AnyModel); {
	case stars > 1:
		p.add(field, "%q has %d stars; one can stand for what the name's star stood for.", name, stars)
	case stars == 1 && !isPattern(b.Model):
		p.add(field, "%q has a star, and the name %q has none that it could stand for.", name, b.Model)
	}
	return name
}

func (p *problems) endpoints(list []EndpointSpec) []EndpointSpec {
	clean := make([]EndpointSpec, 0, len(list))
	for i, ep := range list {
		field := index("endpoints", i)
		base, err := CleanBaseURL(field+".base_url", ep.BaseURL)
		if err != nil {
			*p = append(*p, err)
		} else if slices.ContainsFunc(clean, func(o EndpointSpec) bool { return o.BaseURL == base }) {
			p.add(field+".base_url", "Another endpoint of the channel has this base URL.")
		}
		clean = append(clean, EndpointSpec{BaseURL: base, Credentials: p.credentials(field, ep.Credentials)})
	}
	return clean
}

func (p *problems) credentials(endpoint string, list []CredentialSpec) []CredentialSpec {
	clean := make([]CredentialSpec, 0, len(list))
	for i, cr := range list {
		field := endpoint + "." + index("credentials", i)
		cr.Name = p.name(field+".name", cr.Name)
		if cr.Name != "" && slices.ContainsFunc(clean, func(o CredentialSpec) bool { return o.Name == cr.Name }) {
			p.add(field+".name", "%q is listed twice.", cr.Name)
		}
		p.rank(field+".priority", cr.Priority, -maxRank)
		p.rank(field+".weight", cr.Weight, 0)
		p.limits(field+".limits", cr.Limits)
		if cr.APIKey != nil {
			p.apiKey(field+".api_key", cr.APIKey.Reveal())
		}
		clean = append(clean, cr)
	}
	return clean
}

// apiKey keeps what could break out of a header, or was read with its line's end.
func (p *problems) apiKey(field, key string) {
	if len(key) > maxAPIKey {
		p.add(field, "It has %d bytes; at most %d are allowed.", len(key), maxAPIKey)
	}
	if strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' }) {
		p.add(field, "It holds a space, a line's end or a character outside ASCII, which no header can carry: copy it again.")
	}
}
