package store

import (
	"context"
	"fmt"
	"strings"

	"realms/internal/realm"
)

// Users is the table of users, with their memberships of groups.
type Users struct{ h handle }

const (
	selectUsers = "SELECT id, name, role, enabled FROM users"
	insertUser  = "INSERT INTO users (id, name, role, enabled) VALUES (?, ?, ?, ?)"
	updateUser  = "UPDATE users SET name = ?, role = ?, enabled = ? WHERE id = ?"
	deleteUser  = "DELETE FROM users WHERE id = ?"

	selectMemberships = "SELECT user_id, group_id FROM user_memberships"
	insertMembership  = "INSERT INTO user_memberships (user_id, group_id, position) VALUES (?, ?, ?)"
	deleteMemberships = "DELETE FROM user_memberships WHERE user_id = ?"
)

func readUser(row scanner) (*realm.User, error) {
	var u realm.User
	return &u, row.Scan(&u.ID, &u.Name, &u.Role, &u.Enabled)
}

// List is every user, by name.
func (r Users) List(ctx context.Context) ([]*realm.User, error) {
	users, err := list(ctx, r.h, readUser, selectUsers+" ORDER BY name")
	if err != nil {
		return nil, err
	}
	return users, r.join(ctx, users, "")
}

// Get finds a user by id.
func (r Users) Get(ctx context.Context, id realm.ID) (*realm.User, error) {
	return r.one(ctx, selectUsers+" WHERE id = ?", id)
}

// ByName finds a user by name.
func (r Users) ByName(ctx context.Context, name string) (*realm.User, error) {
	return r.one(ctx, selectUsers+" WHERE name = ?", strings.TrimSpace(name))
}

func (r Users) one(ctx context.Context, text string, arg any) (*realm.User, error) {
	u, err := one(ctx, r.h, readUser, text, arg)
	if err != nil {
		return nil, err
	}
	return u, r.join(ctx, []*realm.User{u}, " WHERE user_id = ?", u.ID)
}

// join fills the groups of users, in order of preference.
func (r Users) join(ctx context.Context, users []*realm.User, where string, args ...any) error {
	byID := make(map[realm.ID]*realm.User, len(users))
	for _, u := range users {
		byID[u.ID] = u
	}
	return r.h.each(ctx, selectMemberships+where+" ORDER BY user_id, position", args, func(row scanner) error {
		var user, group realm.ID
		if err := row.Scan(&user, &group); err != nil {
			return fmt.Errorf("read a membership: %w", err)
		}
		if u := byID[user]; u != nil {
			u.Groups = append(u.Groups, group)
		}
		return nil
	})
}

// Insert adds a user with its groups. ErrDuplicate: the name is taken, or a group
// is named twice. ErrReference: there is no such group.
func (r Users) Insert(ctx context.Context, u *realm.User) error {
	if err := trimName("name", &u.Name); err != nil {
		return err
	}
	if err := r.h.insert(ctx, &u.ID, insertUser, u.Name, string(u.Role), flag(u.Enabled)); err != nil {
		return err
	}
	return r.insertMemberships(ctx, u)
}

// Update replaces the row of u.ID and its groups.
func (r Users) Update(ctx context.Context, u *realm.User) error {
	if err := trimName("name", &u.Name); err != nil {
		return err
	}
	if err := r.h.execOne(ctx, updateUser, u.Name, string(u.Role), flag(u.Enabled), u.ID); err != nil {
		return err
	}
	if _, err := r.h.exec(ctx, deleteMemberships, u.ID); err != nil {
		return err
	}
	return r.insertMemberships(ctx, u)
}

func (r Users) insertMemberships(ctx context.Context, u *realm.User) error {
	for i, g := range u.Groups {
		if _, err := r.h.exec(ctx, insertMembership, u.ID, g, i); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a user. ErrReference: it has tokens.
func (r Users) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteUser, id)
}
