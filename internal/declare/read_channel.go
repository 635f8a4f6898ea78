package declare

import (
	"slices"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/yamldoc"
)

// defaultWeight is the weight of a channel or credential that names none.
const defaultWeight = 1

func readChannel(d *decoder, n yamldoc.Node, path string) (channelEntry, string, error) {
	d.object(n, path, slices.Concat([]string{"name", "type", "enabled", "groups", "priority", "weight", "apis", "endpoints", "models"}, settingKeys)...)
	kind := realm.ChannelType(d.text(n, path, "type", string(realm.OpenAICompatible)))
	e := channelEntry{ChannelSpec: catalog.ChannelSpec{
		Name:     d.text(n, path, "name", ""),
		Type:     kind,
		Enabled:  d.enabled(n, path),
		Priority: d.whole(n, path, "priority", 0),
		Weight:   d.whole(n, path, "weight", defaultWeight),
		APIs:     readAPIs(d, n, path, catalog.DefaultAPIs(kind)),
		Groups:   d.texts(n, path, "groups"),
	}}
	if e.Groups == nil {
		e.Groups = []string{realm.DefaultGroup}
	}
	e.readModels(d, n, path)
	e.readEndpoints(d, n, path)
	e.readSettings(d, n, path)
	spec, err := catalog.CheckChannel(e.ChannelSpec)
	e.ChannelSpec = spec
	return e, spec.Name, err
}

func readAPIs(d *decoder, n yamldoc.Node, path string, byDefault realm.APISet) realm.APISet {
	field := yamldoc.Key(path, "apis")
	names := d.texts(n, path, "apis")
	if names != nil && len(names) == 0 {
		d.problem(field, "an empty list leaves nothing to ask the channel for: leave the key out for every api")
	}
	set := realm.APISet(0)
	for i, name := range names {
		one, err := realm.ParseAPIs([]string{name})
		if err != nil && name != "" {
			d.problem(yamldoc.Index(field, i), "%s", err)
		}
		set |= one
	}
	if set == 0 {
		return byDefault
	}
	return set
}

// readModels reads bindings: a name alone, or a mapping to the upstream's name
// and times of its own.
func (e *channelEntry) readModels(d *decoder, n yamldoc.Node, path string) {
	var items []yamldoc.Node
	items, e.modelsGiven = d.list(n, path, "models")
	for i, item := range items {
		field := yamldoc.Index(yamldoc.Key(path, "models"), i)
		var b realm.Binding
		switch item.Kind {
		case yamldoc.Scalar:
			d.lines[field] = item.Line
			b.Model, _ = d.expanded(item, yamldoc.Key(field, "name"))
		case yamldoc.Map:
			d.object(item, field, "name", "upstream", "timeouts")
			b.Model = d.text(item, field, "name", "")
			b.Upstream = d.text(item, field, "upstream", "")
			b.Timeouts = readTimeouts(d, item, field)
		default:
			d.lines[field] = item.Line
			d.problem(yamldoc.Key(field, "name"), "a model's name, or {name: …, upstream: …}, is expected here")
		}
		e.Bindings = append(e.Bindings, b)
	}
}

func (e *channelEntry) readEndpoints(d *decoder, n yamldoc.Node, path string) {
	var items []yamldoc.Node
	items, e.endpointsGiven = d.list(n, path, "endpoints")
	for i, item := range items {
		field := yamldoc.Index(yamldoc.Key(path, "endpoints"), i)
		if !d.object(item, field, "base_url", "credentials") {
			continue
		}
		ep := catalog.EndpointSpec{BaseURL: d.text(item, field, "base_url", "")}
		creds, given := d.list(item, field, "credentials")
		for j, c := range creds {
			at := yamldoc.Index(yamldoc.Key(field, "credentials"), j)
			if d.object(c, at, "name", "api_key", "enabled", "priority", "weight", "limits") {
				ep.Credentials = append(ep.Credentials, readCredential(d, c, at))
			}
		}
		e.Endpoints = append(e.Endpoints, ep)
		e.credentialsGiven = append(e.credentialsGiven, given)
	}
}

func readCredential(d *decoder, n yamldoc.Node, path string) catalog.CredentialSpec {
	return catalog.CredentialSpec{
		Name:     d.text(n, path, "name", ""),
		APIKey:   d.secret(n, path, "api_key"),
		Enabled:  d.enabled(n, path),
		Priority: d.whole(n, path, "priority", 0),
		Weight:   d.whole(n, path, "weight", defaultWeight),
		Limits:   readLimits(d, n, path),
	}
}
