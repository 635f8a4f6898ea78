package declare

import (
	"context"
	"fmt"
	"slices"

	"realms/internal/account"
	"realms/internal/realm"
	"realms/internal/store"
)

// remove lets go of what a section does not name, or notes that it was kept. An
// absent section is left alone.
func (a *application) remove(section, kind string, given bool, unnamed []string, how string, verb func(name string) ([]store.Mutation, error)) error {
	if !given {
		return nil
	}
	for _, name := range unnamed {
		if !a.prune {
			a.note("kept: the %s %q, which the file does not name (--prune %s it)", kind, name, how)
			continue
		}
		done, err := verb(name)
		if err := a.took(section, done, err); err != nil {
			return err
		}
	}
	return nil
}

func (a *application) removeUsers(ctx context.Context) error {
	users, err := account.ReadUsers(ctx, a.account.Repos)
	if err != nil {
		return fmt.Errorf("read the users: %w", err)
	}
	var unnamed []string
	for _, u := range users {
		if u.Enabled && !a.doc.users.has(u.Name) {
			unnamed = append(unnamed, u.Name)
		}
	}
	return a.remove("users", "user", a.doc.users.given, unnamed, "disables", func(name string) ([]store.Mutation, error) {
		return a.account.SetUserEnabled(ctx, name, false)
	})
}

func (a *application) removeChannels(ctx context.Context) error {
	var unnamed []string
	for _, ch := range a.before.Channels {
		if !a.doc.channels.has(ch.Name) {
			unnamed = append(unnamed, ch.Name)
		}
	}
	return a.remove("channels", "channel", a.doc.channels.given, unnamed, "deletes", func(name string) ([]store.Mutation, error) {
		return a.catalog.DeleteChannel(ctx, name)
	})
}

// removeModels passes by what a channel offers: such a model is named there.
func (a *application) removeModels(ctx context.Context) error {
	channels, err := a.catalog.Repos.Channels.List(ctx)
	if err != nil {
		return fmt.Errorf("read the channels: %w", err)
	}
	offered := make(map[string]bool)
	for _, ch := range channels {
		for _, b := range ch.Bindings {
			offered[b.Model] = true
		}
	}
	var unnamed []string
	for _, m := range a.before.Models {
		if !offered[m.Name] && !a.doc.models.has(m.Name) {
			unnamed = append(unnamed, m.Name)
		}
	}
	return a.remove("models", "model", a.doc.models.given, unnamed, "deletes", func(name string) ([]store.Mutation, error) {
		return a.catalog.DeleteModel(ctx, name)
	})
}

func (a *application) removeGroups(ctx context.Context) error {
	var unnamed []string
	for _, g := range a.before.Groups {
		if g.Name != realm.DefaultGroup && !a.doc.groups.has(g.Name) {
			unnamed = append(unnamed, g.Name)
		}
	}
	slices.Sort(unnamed)
	return a.remove("groups", "group", a.doc.groups.given, unnamed, "deletes", func(name string) ([]store.Mutation, error) {
		return a.catalog.DeleteGroup(ctx, name)
	})
}
