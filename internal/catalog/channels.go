package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"realms/internal/realm"
	"realms/internal/store"
)

// UpsertChannel makes the channel of that name what the spec says, endpoints and
// credentials included. Models that it offers by their names and the catalogue
// lacks are added.
func (x Inner) UpsertChannel(ctx context.Context, spec ChannelSpec) ([]store.Mutation, error) {
	spec, err := CheckChannel(spec)
	if err != nil {
		return nil, err
	}
	want := realm.Channel{
		Name: spec.Name, Type: spec.Type, Enabled: spec.Enabled, Priority: spec.Priority,
		Weight: spec.Weight, APIs: spec.APIs, Bindings: spec.Bindings, Settings: spec.Settings,
	}
	names, err := x.groupIDs(ctx, spec.Groups, &want)
	if err != nil {
		return nil, err
	}
	all, err := x.addModels(ctx, spec.Bindings)
	if err != nil {
		return nil, err
	}
	m := store.Mutation{Verb: "update", Kind: store.KindChannel, Name: want.Name}
	var d diff
	if m.Verb, err = x.putChannel(ctx, &d, &want, names); err != nil {
		return nil, err
	}
	if err := x.putEndpoints(ctx, &d, &want, spec.Endpoints); err != nil {
		return nil, err
	}
	if m.Verb == "update" && len(d.fields) == 0 {
		return all, nil
	}
	m.ID, m.Fields = want.ID, d.fields
	done, err := x.record(ctx, m)
	return append(all, done...), err
}

// groupIDs fills want.Groups from names and returns the name of every group.
func (x Inner) groupIDs(ctx context.Context, names []string, want *realm.Channel) (map[realm.ID]string, error) {
	groups, err := x.Repos.Groups.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the groups: %w", err)
	}
	all := make(map[realm.ID]string, len(groups))
	for _, g := range groups {
		all[g.ID] = g.Name
	}
	var p problems
	for i, name := range names {
		g := find(groups, func(g *realm.Group) bool { return g.Name == name })
		if g == nil {
			p.add(index("groups", i), "There is no group named %q: declare it under groups first.", name)
			continue
		}
		want.Groups = append(want.Groups, g.ID)
	}
	return all, p.err()
}

// putChannel writes the channel's own row and says what that was.
func (x Inner) putChannel(ctx context.Context, d *diff, want *realm.Channel, names map[realm.ID]string) (verb string, err error) {
	old, err := x.Repos.Channels.ByName(ctx, want.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		d.channel(&realm.Channel{Enabled: true}, want, names)
		if err := x.Repos.Channels.Insert(ctx, want); err != nil {
			return "", fmt.Errorf("insert channel: %w", err)
		}
		return "create", nil
	case err != nil:
		return "", fmt.Errorf("read channel: %w", err)
	}
	if want.ID = old.ID; old.Type != want.Type {
		return "", &realm.Error{Code: realm.CodeConflict, Field: "type", Message: fmt.Sprintf(
			"The channel %q is of the type %s, and a channel's type never changes: declare the new one under another name.", old.Name, old.Type)}
	}
	if old.Unreadable != nil {
		d.text("settings", secretLost, secretChanged)
	}
	if d.channel(old, want, names); len(d.fields) == 0 {
		return "update", nil
	}
	if err := x.Repos.Channels.Update(ctx, want); err != nil {
		return "", fmt.Errorf("update channel: %w", err)
	}
	return "update", nil
}

func (d *diff) channel(old, want *realm.Channel, names map[realm.ID]string) {
	show := func(ids []realm.ID) []string {
		list := make([]string, 0, len(ids))
		for _, id := range ids {
			list = append(list, names[id])
		}
		slices.Sort(list) // a channel is in its groups in no order
		return list
	}
	d.text("type", string(old.Type), string(want.Type))
	d.flag("enabled", old.Enabled, want.Enabled)
	d.number("priority", int64(old.Priority), int64(want.Priority))
	d.number("weight", int64(old.Weight), int64(want.Weight))
	d.list("apis", old.APIs.Names(), want.APIs.Names())
	d.list("groups", show(old.Groups), show(want.Groups))
	d.bindings(old.Bindings, want.Bindings)
	d.settings(&old.Settings, &want.Settings)
}

// SetChannelEnabled lets requests go to a channel, or keeps them from it.
func (x Inner) SetChannelEnabled(ctx context.Context, name string, enabled bool) ([]store.Mutation, error) {
	ch, err := x.Repos.Channels.ByName(ctx, name)
	if err != nil {
		return nil, notFound(err, "channel", name)
	}
	if ch.Enabled == enabled {
		return nil, nil
	}
	ch.Enabled = enabled
	if err := x.Repos.Channels.Update(ctx, ch); err != nil {
		return nil, fmt.Errorf("update channel: %w", err)
	}
	verb := "disable"
	if enabled {
		verb = "enable"
	}
	return x.record(ctx, store.Mutation{Verb: verb, Kind: store.KindChannel, ID: ch.ID, Name: name})
}

// DeleteChannel removes a channel with its endpoints and credentials.
func (x Inner) DeleteChannel(ctx context.Context, name string) ([]store.Mutation, error) {
	ch, err := x.Repos.Channels.ByName(ctx, name)
	if err != nil {
		return nil, notFound(err, "channel", name)
	}
	endpoints, err := x.Repos.Endpoints.ByChannel(ctx, ch.ID)
	if err != nil {
		return nil, fmt.Errorf("read the endpoints: %w", err)
	}
	for _, ep := range endpoints {
		if err := x.Repos.Endpoints.Delete(ctx, ep.ID); err != nil {
			return nil, fmt.Errorf("delete endpoint: %w", err)
		}
	}
	if err := x.Repos.Channels.Delete(ctx, ch.ID); err != nil {
		return nil, fmt.Errorf("delete channel: %w", err)
	}
	return x.record(ctx, store.Mutation{Verb: "delete", Kind: store.KindChannel, ID: ch.ID, Name: name})
}
