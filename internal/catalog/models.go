package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"realms/internal/realm"
	"realms/internal/store"
)

// UpsertModel makes the catalogue entry of that name what m says. m.ID is ignored.
func (x Inner) UpsertModel(ctx context.Context, m realm.Model) ([]store.Mutation, error) {
	m, err := CheckModel(m)
	if err != nil {
		return nil, err
	}
	change := store.Mutation{Verb: "create", Kind: store.KindModel, Name: m.Name}
	var d diff
	old, err := x.Repos.Models.ByName(ctx, m.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		d.model(&realm.Model{Enabled: true}, &m)
		m.ID = 0
		if err := x.Repos.Models.Insert(ctx, &m); err != nil {
			return nil, fmt.Errorf("insert model: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read model: %w", err)
	default:
		change.Verb, m.ID = "update", old.ID
		if d.model(old, &m); len(d.fields) == 0 {
			return nil, nil
		}
		if err := x.Repos.Models.Update(ctx, &m); err != nil {
			return nil, fmt.Errorf("update model: %w", err)
		}
	}
	change.ID, change.Fields = m.ID, d.fields
	return x.record(ctx, change)
}

func (d *diff) model(old, m *realm.Model) {
	d.text("owned_by", old.OwnedBy, m.OwnedBy)
	d.flag("enabled", old.Enabled, m.Enabled)
	d.number("max_output_tokens", old.MaxOutputTokens, m.MaxOutputTokens)
	d.price(old.Price, m.Price)
	d.compat(old.Compat, m.Compat)
}

// DeleteModel removes a catalogue entry that no channel binds any more.
func (x Inner) DeleteModel(ctx context.Context, name string) ([]store.Mutation, error) {
	m, err := x.Repos.Models.ByName(ctx, name)
	if err != nil {
		return nil, notFound(err, "model", name)
	}
	channels, err := x.Repos.Channels.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the channels: %w", err)
	}
	var holders []string
	for _, ch := range channels {
		if slices.ContainsFunc(ch.Bindings, func(b realm.Binding) bool { return b.Model == name }) {
			holders = append(holders, fmt.Sprintf("channel %q", ch.Name))
		}
	}
	if len(holders) > 0 {
		return nil, conflict("The model %q is still offered by %s: take it from them first.", name, some(holders))
	}
	if err := x.Repos.Models.Delete(ctx, m.ID); err != nil {
		return nil, fmt.Errorf("delete model: %w", err)
	}
	return x.record(ctx, store.Mutation{Verb: "delete", Kind: store.KindModel, ID: m.ID, Name: name})
}

// addModels makes an entry without a price for each bound name that has none, so
// that whatever a channel offers can be found and priced.
func (x Inner) addModels(ctx context.Context, bindings []realm.Binding) ([]store.Mutation, error) {
	var all []store.Mutation
	for _, b := range bindings {
		if isPattern(b.Model) {
			continue
		}
		_, err := x.Repos.Models.ByName(ctx, b.Model)
		if err == nil {
			continue
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, fmt.Errorf("read model: %w", err)
		}
		done, err := x.UpsertModel(ctx, realm.Model{Name: b.Model, Enabled: true})
		if err != nil {
			return nil, err
		}
		all = append(all, done...)
	}
	return all, nil
}
