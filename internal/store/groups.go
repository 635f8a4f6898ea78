package store

import (
	"context"
	"strings"

	"realms/internal/realm"
)

// Groups is the table of groups.
type Groups struct{ h handle }

const (
	selectGroups = "SELECT id, name, multiplier FROM user_groups"
	insertGroup  = "INSERT INTO user_groups (id, name, multiplier) VALUES (?, ?, ?)"
	updateGroup  = "UPDATE user_groups SET name = ?, multiplier = ? WHERE id = ?"
	deleteGroup  = "DELETE FROM user_groups WHERE id = ?"
)

func readGroup(row scanner) (*realm.Group, error) {
	var g realm.Group
	return &g, row.Scan(&g.ID, &g.Name, &g.Multiplier)
}

// List is every group, by name.
func (r Groups) List(ctx context.Context) ([]*realm.Group, error) {
	return list(ctx, r.h, readGroup, selectGroups+" ORDER BY name")
}

// Get finds a group by id.
func (r Groups) Get(ctx context.Context, id realm.ID) (*realm.Group, error) {
	return one(ctx, r.h, readGroup, selectGroups+" WHERE id = ?", id)
}

// ByName finds a group by its name.
func (r Groups) ByName(ctx context.Context, name string) (*realm.Group, error) {
	return one(ctx, r.h, readGroup, selectGroups+" WHERE name = ?", strings.TrimSpace(name))
}

// Insert adds a group. ErrDuplicate: the name is taken.
func (r Groups) Insert(ctx context.Context, g *realm.Group) error {
	if err := trimName("name", &g.Name); err != nil {
		return err
	}
	return r.h.insert(ctx, &g.ID, insertGroup, g.Name, g.Multiplier)
}

// Update replaces the row of g.ID.
func (r Groups) Update(ctx context.Context, g *realm.Group) error {
	if err := trimName("name", &g.Name); err != nil {
		return err
	}
	return r.h.execOne(ctx, updateGroup, g.Name, g.Multiplier, g.ID)
}

// Delete removes a group. ErrReference: a channel or user still names it.
func (r Groups) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteGroup, id)
}
