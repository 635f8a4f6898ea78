package store

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"realms/internal/realm"
)

// Channels is the table of channels, with the tables that bind them to groups
// and models. Endpoints are not read here. Settings are read and written in full,
// secrets included.
type Channels struct{ h handle }

const (
	selectChannels = "SELECT id, name, type, enabled, priority, weight, apis, settings FROM channels"
	insertChannel  = "INSERT INTO channels (id, name, type, enabled, priority, weight, apis, settings) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
	updateChannel  = "UPDATE channels SET name = ?, type = ?, enabled = ?, priority = ?, weight = ?, apis = ?, settings = COALESCE(?, settings) WHERE id = ?"
	deleteChannel  = "DELETE FROM channels WHERE id = ?"

	selectChannelGroups = "SELECT channel_id, group_id FROM channel_groups"
	insertChannelGroup  = "INSERT INTO channel_groups (channel_id, group_id) VALUES (?, ?)"
	deleteChannelGroups = "DELETE FROM channel_groups WHERE channel_id = ?"

	selectChannelModels = "SELECT channel_id, model, upstream, settings FROM channel_models"
	insertChannelModel  = "INSERT INTO channel_models (channel_id, position, model, upstream, settings) VALUES (?, ?, ?, ?, ?)"
	deleteChannelModels = "DELETE FROM channel_models WHERE channel_id = ?"
)

func (r Channels) read(row scanner) (*realm.Channel, error) {
	var c realm.Channel
	var settings string
	err := row.Scan(&c.ID, &c.Name, &c.Type, &c.Enabled, &c.Priority, &c.Weight, &c.APIs, &settings)
	if err != nil {
		return nil, err
	}
	c.Settings, c.Unreadable = decodeSettings(c.Name, settings, r.h.settingsOpener(c.ID))
	return &c, nil
}

// columns is the row of an id without it.
func (r Channels) columns(id realm.ID, c *realm.Channel) ([]any, error) {
	if err := trimName("name", &c.Name); err != nil {
		return nil, err
	}
	var settings sql.NullString // NULL: they stay as they are
	if c.Unreadable == nil {
		text, err := encodeSettings(&c.Settings, r.h.settingsSealer(id))
		if err != nil {
			return nil, err
		}
		settings = sql.NullString{String: text, Valid: true}
	}
	return []any{c.Name, string(c.Type), flag(c.Enabled), c.Priority, c.Weight, int64(c.APIs), settings}, nil
}

// List is every channel, by name; one whose settings do not open is among them, and
// Unreadable. Over Read its parts are read one after the other; View makes them one.
func (r Channels) List(ctx context.Context) ([]*realm.Channel, error) {
	channels, err := list(ctx, r.h, r.read, selectChannels+" ORDER BY name")
	if err != nil {
		return nil, err
	}
	err = r.h.partly(ctx, slices.ContainsFunc(channels, func(c *realm.Channel) bool { return c.Unreadable != nil }))
	if err != nil {
		return nil, err
	}
	return channels, r.bind(ctx, channels, "")
}

// Get finds a channel by id. One whose settings do not open is an error.
func (r Channels) Get(ctx context.Context, id realm.ID) (*realm.Channel, error) {
	c, err := r.one(ctx, selectChannels+" WHERE id = ?", id)
	if err == nil && c.Unreadable != nil {
		return nil, c.Unreadable
	}
	return c, err
}

// ByName finds a channel by its name; it may be Unreadable.
func (r Channels) ByName(ctx context.Context, name string) (*realm.Channel, error) {
	return r.one(ctx, selectChannels+" WHERE name = ?", strings.TrimSpace(name))
}

func (r Channels) one(ctx context.Context, text string, arg any) (*realm.Channel, error) {
	c, err := one(ctx, r.h, r.read, text, arg)
	if err != nil {
		return nil, err
	}
	if err := r.h.partly(ctx, c.Unreadable != nil); err != nil {
		return nil, err
	}
	return c, r.bind(ctx, []*realm.Channel{c}, " WHERE channel_id = ?", c.ID)
}

// bind fills the groups and bindings of channels.
func (r Channels) bind(ctx context.Context, channels []*realm.Channel, where string, args ...any) error {
	byID := make(map[realm.ID]*realm.Channel, len(channels))
	for _, c := range channels {
		byID[c.ID] = c
	}
	err := r.h.each(ctx, selectChannelGroups+where+" ORDER BY channel_id, group_id", args, func(row scanner) error {
		var channel, group realm.ID
		if err := row.Scan(&channel, &group); err != nil {
			return fmt.Errorf("read a channel's group: %w", err)
		}
		if c := byID[channel]; c != nil {
			c.Groups = append(c.Groups, group)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.h.each(ctx, selectChannelModels+where+" ORDER BY channel_id, position", args, func(row scanner) error {
		var channel realm.ID
		var b realm.Binding
		var settings sql.NullString
		if err := row.Scan(&channel, &b.Model, &b.Upstream, &settings); err != nil {
			return fmt.Errorf("read a channel's model: %w", err)
		}
		if err := decodeBinding(settings, &b); err != nil {
			return err
		}
		if c := byID[channel]; c != nil {
			c.Bindings = append(c.Bindings, b)
		}
		return nil
	})
}

// Insert adds a channel with its groups and bindings. ErrDuplicate: the name is
// taken, or a group is named twice. ErrReference: there is no such group.
func (r Channels) Insert(ctx context.Context, c *realm.Channel) error {
	err := r.h.insertWith(ctx, &c.ID, insertChannel, func(id realm.ID) ([]any, error) { return r.columns(id, c) })
	if err != nil {
		return err
	}
	return r.insertBindings(ctx, c)
}

// Update replaces the row of c.ID, its groups and its bindings. The settings of an
// Unreadable one stay as they are stored: who gives it others sets Unreadable to nil.
func (r Channels) Update(ctx context.Context, c *realm.Channel) error {
	columns, err := r.columns(c.ID, c)
	if err != nil {
		return err
	}
	if err := r.h.execOne(ctx, updateChannel, append(columns, c.ID)...); err != nil {
		return err
	}
	for _, text := range []string{deleteChannelGroups, deleteChannelModels} {
		if _, err := r.h.exec(ctx, text, c.ID); err != nil {
			return err
		}
	}
	return r.insertBindings(ctx, c)
}

func (r Channels) insertBindings(ctx context.Context, c *realm.Channel) error {
	for _, g := range c.Groups {
		if _, err := r.h.exec(ctx, insertChannelGroup, c.ID, g); err != nil {
			return err
		}
	}
	for i := range c.Bindings {
		b := &c.Bindings[i]
		if err := trimName("models", &b.Model); err != nil {
			return err
		}
		if err := trimName("models", &b.Upstream); err != nil {
			return err
		}
		settings, err := encodeBinding(b)
		if err != nil {
			return err
		}
		if _, err := r.h.exec(ctx, insertChannelModel, c.ID, i, b.Model, b.Upstream, settings); err != nil {
			return err
		}
	}
	return nil
}

// Delete removes a channel with its endpoints and their credentials.
func (r Channels) Delete(ctx context.Context, id realm.ID) error {
	return r.h.execOne(ctx, deleteChannel, id)
}
