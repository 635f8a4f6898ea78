package account

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"realms/internal/realm"
	"realms/internal/store"
)

// UserSpec is a user as it is declared: whole, with its groups by name in order
// of preference.
type UserSpec struct {
	Name    string
	Role    realm.Role
	Groups  []string
	Enabled bool
}

// UserInfo is a user as a list shows it.
type UserInfo struct {
	ID realm.ID
	UserSpec
}

// CheckUser is the spec with its names trimmed, or everything wrong with it.
// Whether its groups exist only the store can tell.
func CheckUser(spec UserSpec) (UserSpec, error) {
	var p problems
	spec.Name = p.name("name", spec.Name)
	switch spec.Role {
	case realm.RoleUser, realm.RoleAdmin, realm.RoleRoot:
	default:
		p.add("role", "%q is unknown; %s, %s or %s is possible.", spec.Role, realm.RoleUser, realm.RoleAdmin, realm.RoleRoot)
	}
	spec.Groups = p.names("groups", spec.Groups)
	return spec, p.err()
}

// UpsertUser makes the user of that name what the spec says. It never touches
// the user's tokens; those that name a group taken from the user lose it.
func (x Inner) UpsertUser(ctx context.Context, spec UserSpec) ([]store.Mutation, error) {
	spec, err := CheckUser(spec)
	if err != nil {
		return nil, err
	}
	names, err := groupNames(ctx, x.Repos)
	if err != nil {
		return nil, err
	}
	var p problems
	want := realm.User{Name: spec.Name, Role: spec.Role, Enabled: spec.Enabled, Groups: p.idsOf(spec.Groups, names)}
	if err := p.err(); err != nil {
		return nil, err
	}
	old, err := x.Repos.Users.ByName(ctx, want.Name)
	if errors.Is(err, store.ErrNotFound) {
		if err := x.Repos.Users.Insert(ctx, &want); err != nil {
			return nil, fmt.Errorf("insert user: %w", err)
		}
		return x.record(ctx, store.Mutation{
			Verb: "create", Kind: store.KindUser, ID: want.ID, Name: want.Name,
			Fields: userFields(&realm.User{Enabled: true}, &want, names),
		})
	}
	if err != nil {
		return nil, fmt.Errorf("read user: %w", err)
	}
	want.ID = old.ID
	return x.updateUser(ctx, "update", old, &want, names)
}

func (x Inner) updateUser(ctx context.Context, verb string, old, want *realm.User, names map[realm.ID]string) ([]store.Mutation, error) {
	fields := userFields(old, want, names)
	if len(fields) == 0 {
		return nil, nil
	}
	if err := x.Repos.Users.Update(ctx, want); err != nil {
		return nil, fmt.Errorf("update user: %w", err)
	}
	return x.record(ctx, store.Mutation{Verb: verb, Kind: store.KindUser, ID: want.ID, Name: want.Name, Fields: fields})
}

func userFields(old, want *realm.User, names map[realm.ID]string) []store.FieldChange {
	var fields []store.FieldChange
	if old.Role != want.Role {
		fields = append(fields, store.FieldChange{Field: "role", Before: string(old.Role), After: string(want.Role)})
	}
	if old.Enabled != want.Enabled {
		fields = append(fields, store.FieldChange{
			Field: "enabled", Before: strconv.FormatBool(old.Enabled), After: strconv.FormatBool(want.Enabled),
		})
	}
	if !slices.Equal(old.Groups, want.Groups) {
		fields = append(fields, store.FieldChange{
			Field: "groups", Before: showList(namesOf(old.Groups, names)), After: showList(namesOf(want.Groups, names)),
		})
	}
	return fields
}

func showList(list []string) string { return "[" + strings.Join(list, ", ") + "]" }

// SetUserEnabled lets a user's tokens be used, or keeps them from it. Disabling
// takes effect within a second and lets open streams end.
func (x Inner) SetUserEnabled(ctx context.Context, name string, enabled bool) ([]store.Mutation, error) {
	u, err := x.Repos.Users.ByName(ctx, name)
	if err != nil {
		return nil, noSuch(err, "user", "name", name)
	}
	want := *u
	want.Enabled = enabled
	verb := "disable"
	if enabled {
		verb = "enable"
	}
	return x.updateUser(ctx, verb, u, &want, nil)
}

// ReadUsers is every user by name, over a pool, a view or a transaction.
func ReadUsers(ctx context.Context, r store.Repos) ([]UserInfo, error) {
	names, err := groupNames(ctx, r)
	if err != nil {
		return nil, err
	}
	users, err := r.Users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	list := make([]UserInfo, 0, len(users))
	for _, u := range users {
		list = append(list, UserInfo{ID: u.ID, UserSpec: UserSpec{
			Name: u.Name, Role: u.Role, Enabled: u.Enabled, Groups: namesOf(u.Groups, names),
		}})
	}
	return list, nil
}

// ListUsers is every user by name.
func (s *Service) ListUsers(ctx context.Context) ([]UserInfo, error) {
	var list []UserInfo
	err := s.store.View(ctx, func(r store.Repos) (err error) {
		list, err = ReadUsers(ctx, r)
		return err
	})
	return list, err
}

// UpsertUser is Inner.UpsertUser in a transaction of its own. Who is no
// administrator is refused the groups of codex_oauth channels.
func (s *Service) UpsertUser(ctx context.Context, actor string, spec UserSpec) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) {
		done, err := x.UpsertUser(ctx, spec)
		if err != nil || len(done) == 0 {
			return nil, err
		}
		return done, x.refuseOwnersGroups(ctx, spec.Name)
	})
}

// SetUserEnabled is Inner.SetUserEnabled in a transaction of its own.
func (s *Service) SetUserEnabled(ctx context.Context, actor, name string, enabled bool) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.SetUserEnabled(ctx, name, enabled) })
}

// DisableUser keeps a user's tokens from being used.
func (s *Service) DisableUser(ctx context.Context, actor, name string) ([]store.Mutation, error) {
	return s.SetUserEnabled(ctx, actor, name, false)
}
