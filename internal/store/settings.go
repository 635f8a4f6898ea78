package store

import (
	"context"
	"errors"
	"fmt"
)

// Settings is the table of what changes at run time: a text (JSON, as the
// settings service writes it) by name.
type Settings struct{ h handle }

// InstanceSecret is the name of the one row that is no setting: what an
// installation keys its hashes with. A store with that alone counts as empty.
const InstanceSecret = "instance_secret"

const (
	selectSettings = "SELECT name, value FROM settings"
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
	return one(ctx, r.h, readText, selectSetting, name)
}

// Set writes a setting, whether it was there or not.
func (r Settings) Set(ctx context.Context, name, value string) error {
	if err := trimName("name", &name); err != nil {
		return err
	}
	if err := checkText(name, value); err != nil {
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
	if err := trimName("name", &name); err != nil {
		return err
	}
	if err := checkText(name, value); err != nil {
		return err
	}
	head, tail := r.h.dialect.insertOnce("name")
	_, err := r.h.exec(ctx, head+settingRow+tail, name, value, millis(r.h.now()))
	return err
}

// Delete removes a setting.
func (r Settings) Delete(ctx context.Context, name string) error {
	return r.h.execOne(ctx, deleteSetting, name)
}
