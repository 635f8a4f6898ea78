package store

import (
	"context"
	"database/sql"
	"errors"
	"strings"

	"realms/internal/realm"
)

// Models is the table of models.
type Models struct{ h handle }

const (
	selectModels = "SELECT id, name, owned_by, enabled, max_output_tokens, price, compat FROM models"
	insertModel  = "INSERT INTO models (id, name, owned_by, enabled, max_output_tokens, price, compat) VALUES (?, ?, ?, ?, ?, ?, ?)"
	updateModel  = "UPDATE models SET name = ?, owned_by = ?, enabled = ?, max_output_tokens = ?, price = ?, compat = ? WHERE id = ?"
	deleteModel  = "DELETE FROM models WHERE id = ?"
)

func readModel(row scanner) (*realm.Model, error) {
	var m realm.Model
	var price, compat sql.NullString
	if err := row.Scan(&m.ID, &m.Name, &m.OwnedBy, &m.Enabled, &m.MaxOutputTokens, &price, &compat); err != nil {
		return nil, err
	}
	return &m, errors.Join(fromJSON("price", price, &m.Price), fromJSON("compat", compat, &m.Compat))
}

// modelColumns is the row without its id.
func modelColumns(m *realm.Model) ([]any, error) {
	if err := trimName("name", &m.Name); err != nil {
		return nil, err
	}
	price, err := toJSON("price", m.Price, m.Price == nil)
	if err != nil {
		return nil, err
	}
	compat, err := toJSON("compat", m.Compat, m.Compat == nil)
	if err != nil {
		return nil, err
	}
	return []any{m.Name, clip(m.OwnedBy, maxName), flag(m.Enabled), m.MaxOutputTokens, price, compat}, nil
}

// List is every model, by name.
func (r Models) List(ctx context.Context) ([]*realm.Model, error) {
	return list(ctx, r.h, readModel, selectModels+" ORDER BY name")
}

// Get finds a model by id.
func (r Models) Get(ctx context.Context, id realm.ID) (*realm.Model, error) {
	return one(ctx, r.h, readModel, selectModels+" WHERE id = ?", id)
}

// ByName finds a model by its name.
func (r Models) ByName(ctx context.Context, name string) (*realm.Model, error) {
	return one(ctx, r.h, readModel, selectModels+" WHERE name = ?", strings.TrimSpace(name))
}

// Insert adds a model. ErrDuplicate: the name is taken.
func (r Models) Insert(ctx context.Context, m *realm.Model) error {
	columns, err := modelColumns(m)
	if err != nil {
		return err
	}
	return r.h.insert(ctx, &m.ID, insertModel, columns...)
}

// Update replaces the row of m.ID.
func (r Models) Update(ctx context.Context, m *realm.Model) error {
	columns, err := modelColumns(m)
	if err != nil {
		return err
	}
	return r.h.execOne(ctx, updateModel, append(columns, m.ID)...)
}

// Delete removes a model.
func (r Models) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteModel, id)
}
