package declare

import (
	"fmt"
	"slices"

	"realms/internal/catalog"
	"realms/internal/realm"
)

// merge completes a declared channel by what the file leaves alone, because the
// catalogue's verb takes a channel whole: lists that the file does not hold, and
// endpoints and credentials that it does not name unless they are to be pruned.
// These come last, so that what is declared keeps its place.
func (a *application) merge(e channelEntry) catalog.ChannelSpec {
	spec := e.ChannelSpec
	var stored catalog.ChannelSpec
	if ch := a.before.Channel(spec.Name); ch != nil {
		if stored = a.before.Spec(ch); stored.Type != spec.Type {
			return spec // the verb refuses it; nothing of the other would fit
		}
	}
	a.keepSecrets(e, &spec.Settings, stored.Settings)
	if !e.modelsGiven {
		spec.Bindings = stored.Bindings
	}
	if !e.endpointsGiven {
		spec.Endpoints = stored.Endpoints
		return spec
	}
	spec.Endpoints = slices.Clone(spec.Endpoints) // Apply may run again
	for i := range spec.Endpoints {
		ep := &spec.Endpoints[i]
		var old catalog.EndpointSpec
		if j := slices.IndexFunc(stored.Endpoints, func(o catalog.EndpointSpec) bool { return o.BaseURL == ep.BaseURL }); j >= 0 {
			old = stored.Endpoints[j]
		}
		if !e.credentialsGiven[i] {
			ep.Credentials = old.Credentials
			continue
		}
		ep.Credentials = a.mergeCredentials(&spec, ep.BaseURL, ep.Credentials, old.Credentials)
	}
	for _, old := range stored.Endpoints {
		named := slices.ContainsFunc(e.Endpoints, func(ep catalog.EndpointSpec) bool { return ep.BaseURL == old.BaseURL })
		if !named && !a.prune {
			spec.Endpoints = append(spec.Endpoints, old)
			a.note("kept: the endpoint %s of channel %q, which the file does not name (--prune removes it)", catalog.EndpointName(old.BaseURL), spec.Name)
		}
	}
	return spec
}

// checkSettings refuses to guess what stood in settings that cannot be read any more:
// a channel without the proxy it had would be asked directly.
func (a *application) checkSettings(e channelEntry) error {
	ch := a.before.Channel(e.Name)
	if ch == nil || ch.Unreadable == nil || e.proxyGiven && e.setHeadersGiven {
		return nil
	}
	return &realm.Error{Code: realm.CodeConflict, Message: fmt.Sprintf("The settings of channel %q in the store cannot be read, so its proxy and the headers that it sets cannot be kept: "+
		`say both here, proxy: "" and headers: {set: {}} where there are none.`, e.Name)}
}

// keepSecrets completes settings by what an export without secrets leaves out.
func (a *application) keepSecrets(e channelEntry, s *realm.ChannelSettings, stored realm.ChannelSettings) {
	if !e.proxyGiven && stored.Proxy != "" {
		s.Proxy = stored.Proxy
		a.note(`kept: the proxy of channel %q, which the file does not name (proxy: "" removes it)`, e.Name)
	}
	if !e.setHeadersGiven && len(stored.SetHeaders) > 0 {
		s.SetHeaders = stored.SetHeaders
		a.note("kept: the headers that channel %q sets, which the file does not name (headers: {set: {}} removes them)", e.Name)
	}
}

func (a *application) mergeCredentials(ch *catalog.ChannelSpec, baseURL string, declared, stored []catalog.CredentialSpec) []catalog.CredentialSpec {
	out := slices.Clone(declared)
	has := func(list []catalog.CredentialSpec, name string) bool {
		return slices.ContainsFunc(list, func(c catalog.CredentialSpec) bool { return c.Name == name })
	}
	where := fmt.Sprintf("%s in channel %q", catalog.EndpointName(baseURL), ch.Name)
	for i, c := range out {
		switch {
		case c.APIKey != nil || has(stored, c.Name):
		case ch.Type == realm.CodexOAuth:
			a.note("note: the credential %q of channel %q is new and %s", c.Name, ch.Name, catalog.ReasonNotSignedIn(ch.Name, c.Name))
		default:
			out[i].APIKey = new(realm.Secret)
			a.note("note: the credential %q of %s is new and has no api_key: the upstream is asked without one", c.Name, where)
		}
	}
	for _, c := range stored {
		if !has(declared, c.Name) && !a.prune {
			out = append(out, c)
			a.note("kept: the credential %q of %s, which the file does not name (--prune removes it)", c.Name, where)
		}
	}
	return out
}
