package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"realms/internal/realm"
	"realms/internal/store"
)

// UpsertGroup makes the group of that name what g says. g.ID is ignored.
func (x Inner) UpsertGroup(ctx context.Context, g realm.Group) ([]store.Mutation, error) {
	g, err := CheckGroup(g)
	if err != nil {
		return nil, err
	}
	m := store.Mutation{Verb: "create", Kind: store.KindGroup, Name: g.Name}
	var d diff
	old, err := x.Repos.Groups.ByName(ctx, g.Name)
	switch {
	case errors.Is(err, store.ErrNotFound):
		d.text("multiplier", "", g.Multiplier.String())
		g.ID = 0
		if err := x.Repos.Groups.Insert(ctx, &g); err != nil {
			return nil, fmt.Errorf("insert group: %w", err)
		}
	case err != nil:
		return nil, fmt.Errorf("read group: %w", err)
	default:
		m.Verb, g.ID = "update", old.ID
		d.text("multiplier", old.Multiplier.String(), g.Multiplier.String())
		if len(d.fields) == 0 {
			return nil, nil
		}
		if err := x.Repos.Groups.Update(ctx, &g); err != nil {
			return nil, fmt.Errorf("update group: %w", err)
		}
	}
	m.ID, m.Fields = g.ID, d.fields
	return x.record(ctx, m)
}

// DeleteGroup removes a group that no channel and no enabled user has any more.
// Disabled users lose it: nobody could take it from them otherwise.
func (x Inner) DeleteGroup(ctx context.Context, name string) ([]store.Mutation, error) {
	g, err := x.Repos.Groups.ByName(ctx, name)
	if err != nil {
		return nil, notFound(err, "group", name)
	}
	if name == realm.DefaultGroup {
		return nil, conflict("The group %q is always there; it cannot be deleted.", name)
	}
	holders, disabled, err := x.holders(ctx, g.ID)
	if err != nil {
		return nil, err
	}
	if len(holders) > 0 {
		return nil, conflict("The group %q is still used by %s: take it from them first.", name, some(holders))
	}
	var all []store.Mutation
	for _, u := range disabled {
		done, err := x.leaveGroup(ctx, u, g)
		if err != nil {
			return nil, err
		}
		all = append(all, done...)
	}
	if err := x.Repos.Groups.Delete(ctx, g.ID); err != nil {
		return nil, fmt.Errorf("delete group: %w", err)
	}
	done, err := x.record(ctx, store.Mutation{Verb: "delete", Kind: store.KindGroup, ID: g.ID, Name: name})
	return append(all, done...), err
}

func (x Inner) leaveGroup(ctx context.Context, u *realm.User, g *realm.Group) ([]store.Mutation, error) {
	u.Groups = slices.DeleteFunc(u.Groups, func(id realm.ID) bool { return id == g.ID })
	if err := x.Repos.Users.Update(ctx, u); err != nil {
		return nil, fmt.Errorf("update user: %w", err)
	}
	return x.record(ctx, store.Mutation{
		Verb: "update", Kind: store.KindUser, ID: u.ID, Name: u.Name,
		Fields: []store.FieldChange{{Field: "groups[" + g.Name + "]", Before: "was there"}},
	})
}

// holders names the channels and enabled users that have a group, and finds the
// disabled ones. A token that lists it is no holder: without its user's
// membership the entry gives nothing.
func (x Inner) holders(ctx context.Context, group realm.ID) (names []string, disabled []*realm.User, err error) {
	channels, err := x.Repos.Channels.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the channels: %w", err)
	}
	for _, ch := range channels {
		if slices.Contains(ch.Groups, group) {
			names = append(names, fmt.Sprintf("channel %q", ch.Name))
		}
	}
	users, err := x.Repos.Users.List(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the users: %w", err)
	}
	for _, u := range users {
		switch {
		case !slices.Contains(u.Groups, group):
		case u.Enabled:
			names = append(names, fmt.Sprintf("user %q", u.Name))
		default:
			disabled = append(disabled, u)
		}
	}
	return names, disabled, nil
}

// some names the first few of a list.
func some(names []string) string {
	const most = 3
	if len(names) > most {
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" and %d more", len(names)-most)
	}
	return strings.Join(names, ", ")
}

func notFound(err error, kind, name string) error {
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read %s: %w", kind, err)
	}
	return &realm.Error{
		Code: realm.CodeNotFound, Field: "name",
		Message: fmt.Sprintf("There is no %s named %q.", kind, name), Err: err,
	}
}

func conflict(format string, args ...any) error {
	return &realm.Error{Code: realm.CodeConflict, Message: fmt.Sprintf(format, args...)}
}
