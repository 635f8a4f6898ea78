package store

import (
	"context"

	"realms/internal/realm"
)

// Endpoints is the table of endpoints.
type Endpoints struct{ h handle }

const (
	selectEndpoints = "SELECT id, channel_id, base_url, position FROM endpoints"
	insertEndpoint  = "INSERT INTO endpoints (id, channel_id, base_url, position) VALUES (?, ?, ?, ?)"
	updateEndpoint  = "UPDATE endpoints SET channel_id = ?, base_url = ?, position = ? WHERE id = ?"
	deleteEndpoint  = "DELETE FROM endpoints WHERE id = ?"
)

func readEndpoint(row scanner) (*realm.Endpoint, error) {
	var e realm.Endpoint
	return &e, row.Scan(&e.ID, &e.ChannelID, &e.BaseURL, &e.Position)
}

// List is every endpoint, by channel and position.
func (r Endpoints) List(ctx context.Context) ([]*realm.Endpoint, error) {
	return list(ctx, r.h, readEndpoint, selectEndpoints+" ORDER BY channel_id, position, id")
}

// ByChannel is a channel's endpoints, by position.
func (r Endpoints) ByChannel(ctx context.Context, channel realm.ID) ([]*realm.Endpoint, error) {
	return list(ctx, r.h, readEndpoint, selectEndpoints+" WHERE channel_id = ? ORDER BY position, id", channel)
}

// Get finds an endpoint by id.
func (r Endpoints) Get(ctx context.Context, id realm.ID) (*realm.Endpoint, error) {
	return one(ctx, r.h, readEndpoint, selectEndpoints+" WHERE id = ?", id)
}

// Insert adds an endpoint. ErrReference: there is no such channel.
func (r Endpoints) Insert(ctx context.Context, e *realm.Endpoint) error {
	if err := checkText("base_url", e.BaseURL); err != nil {
		return err
	}
	return r.h.insert(ctx, &e.ID, insertEndpoint, e.ChannelID, e.BaseURL, e.Position)
}

// Update replaces the row of e.ID.
func (r Endpoints) Update(ctx context.Context, e *realm.Endpoint) error {
	if err := checkText("base_url", e.BaseURL); err != nil {
		return err
	}
	return r.h.execOne(ctx, updateEndpoint, e.ChannelID, e.BaseURL, e.Position, e.ID)
}

// Delete removes an endpoint and its credentials.
func (r Endpoints) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteEndpoint, id)
}
