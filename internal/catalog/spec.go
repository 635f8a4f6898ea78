package catalog

import "realms/internal/realm"

// ChannelSpec is a channel as it is declared: whole, with its groups by name,
// its endpoints matched by base URL and their credentials by name. What it does
// not list is removed from the channel.
type ChannelSpec struct {
	Name      string
	Type      realm.ChannelType
	Enabled   bool
	Priority  int // higher first
	Weight    int
	APIs      realm.APISet
	Groups    []string
	Bindings  []realm.Binding // an empty Upstream is the name as asked
	Endpoints []EndpointSpec  // in order
	// Settings are whole, secrets included: what they leave out is as the
	// configuration says.
	Settings realm.ChannelSettings
}

// EndpointSpec is one base URL of a ChannelSpec. A codex_oauth channel has one at
// most, without a base URL.
type EndpointSpec struct {
	BaseURL     string
	Credentials []CredentialSpec
}

// CredentialSpec is one credential of an EndpointSpec.
type CredentialSpec struct {
	Name string
	// APIKey nil keeps the secret of a credential that exists, and is an error
	// on a new one; empty means that the upstream asks for none. Always nil on a
	// codex_oauth channel, where a ChatGPT account stands for it.
	APIKey   *realm.Secret
	Enabled  bool
	Priority int // higher first
	Weight   int
	Limits   realm.Limits
}

// Spec is the declaration of a channel as State has it. Its credentials have no
// APIKey: applied again, it keeps their secrets. Its Settings are the channel's
// own, secrets included, and must not be written into.
func (s *State) Spec(ch *realm.Channel) ChannelSpec {
	spec := ChannelSpec{
		Name: ch.Name, Type: ch.Type, Enabled: ch.Enabled,
		Priority: ch.Priority, Weight: ch.Weight, APIs: ch.APIs,
		Groups: s.groupNames(ch.Groups), Settings: ch.Settings,
	}
	spec.Bindings = append(spec.Bindings, ch.Bindings...)
	for _, ep := range ch.Endpoints {
		e := EndpointSpec{BaseURL: ep.BaseURL}
		for _, cr := range ep.Credentials {
			e.Credentials = append(e.Credentials, CredentialSpec{
				Name: cr.Name, Enabled: cr.Enabled, Priority: cr.Priority, Weight: cr.Weight, Limits: cr.Limits,
			})
		}
		spec.Endpoints = append(spec.Endpoints, e)
	}
	return spec
}
