package store

import (
	"context"
	"errors"
	"fmt"
)

// Settings is the table of what changes at run time: a text (JSON, as the
// settings service writes it) by name.
type Settings struct{ h handle }

// Two rows are no settings, and All leaves them out: InstanceSecret is what an
// installation keys its hashes with, sealed like any secret; sealMark says with
// which key the store is sealed. A store with those alone counts as empty.
const (
	InstanceSecret = "instance_secret"
	sealMark       = "seal_mark"
)

const (
	selectSettings = "SELECT name, value FROM settings WHERE name NOT IN ('" + InstanceSecret + "', '" + sealMark + "')"
	selectSetting  = "SELECT value FROM settings WHERE name = ?"
	updateSetting  = "UPDATE settings SET value = ?, updated_at = ? WHERE name = ?"
	settingRow     = "settings (name, value, updated_at) VALUES (?, ?, ?)"
	insertSetting  = "INSERT INTO " + settingRow
	deleteSetting  = "DELETE FROM settings WHERE name = ?"
)

// All is every setting by name.
func (r Settings) All(ctx context.Context) (map[string]string, error) {
	all := make(map[string]string)
	err := r.h.each(ctx, selectSettings, nil, func(row scanner) error {
		var name, value string
		if err := row.Scan(&name, &value); err != nil {
			return fmt.Errorf("read a setting: %w", err)
		}
		all[name] = value
		return nil
	})
	return all, err
}

// Get finds a setting.
func (r Settings) Get(ctx context.Context, name string) (string, error) {
	value, err := one(ctx, r.h, readText, selectSetting, name)
	if err != nil || name != InstanceSecret {
		return value, err
	}
	return r.h.open("settings", "value", name, value)
}

// stored is a value as the column takes it.
func (r Settings) stored(name *string, value string) (string, error) {
	if err := trimName("name", name); err != nil {
		return "", err
	}
	if *name == InstanceSecret {
		var err error
		if value, err = r.h.seal("settings", "value", *name, value); err != nil {
			return "", err
		}
	}
	return value, checkText(*name, value)
}

// Set writes a setting, whether it was there or not.
func (r Settings) Set(ctx context.Context, name, value string) error {
	value, err := r.stored(&name, value)
	if err != nil {
		return err
	}
	now := millis(r.h.now())
	n, err := r.h.exec(ctx, updateSetting, value, now, name)
	if err != nil || n > 0 {
		return err
	}
	_, err = r.h.exec(ctx, insertSetting, name, value, now)
	if errors.Is(err, ErrDuplicate) { // another transaction was first
		_, err = r.h.exec(ctx, updateSetting, value, now, name)
	}
	return err
}

// Add writes a setting unless there is one of that name, which stays as it is.
func (r Settings) Add(ctx context.Context, name, value string) error {
	value, err := r.stored(&name, value)
	if err != nil {
		return err
	}
	head, tail := r.h.dialect.insertOnce("name")
	_, err = r.h.exec(ctx, head+settingRow+tail, name, value, millis(r.h.now()))
	return err
}

// Delete removes a setting.
func (r Settings) Delete(ctx context.Context, name string) error {
	return r.h.execOne(ctx, deleteSetting, name)
}
