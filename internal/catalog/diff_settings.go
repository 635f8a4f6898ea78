package catalog

import (
	"encoding/json"
	"fmt"
	"maps"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

func (d *diff) settings(before, after *realm.ChannelSettings) {
	d.timeouts("settings.timeouts", before.Timeouts, after.Timeouts)
	d.number("settings.attempts", int64(before.Attempts), int64(after.Attempts))
	d.limits("settings.limits", before.Limits, after.Limits)
	d.secret("settings.proxy", before.Proxy, after.Proxy)
	d.text("settings.ca_file", before.CAFile, after.CAFile)
	d.text("settings.probe", FormatDuration(before.Probe), FormatDuration(after.Probe))
	d.text("settings.on_disconnect", orDefault(before.OnDisconnect, realm.DisconnectCancel), orDefault(after.OnDisconnect, realm.DisconnectCancel))
	d.text("settings.service_tier", showTier(before.ServiceTier), showTier(after.ServiceTier))
	d.text("settings.store", orDefault(before.Store, realm.StorePass), orDefault(after.Store, realm.StorePass))
	d.text("settings.safety_identifier", orDefault(before.SafetyIdentifier, realm.SafetyPass), orDefault(after.SafetyIdentifier, realm.SafetyPass))
	names := maps.Clone(before.SetHeaders)
	if names == nil {
		names = make(map[string]realm.Secret)
	}
	maps.Copy(names, after.SetHeaders)
	for _, name := range sortedKeys(names) {
		d.secret("settings.headers.set["+name+"]", before.SetHeaders[name], after.SetHeaders[name])
	}
	d.list("settings.headers.delete", before.DeleteHeaders, after.DeleteHeaders)
	d.list("settings.body", showEdits(before.BodyEdits), showEdits(after.BodyEdits))
	d.list("settings.status_map", showStatusMap(before.StatusMap), showStatusMap(after.StatusMap))
}

// secret tells that one came, changed or went, and nothing else of it.
func (d *diff) secret(field string, before, after realm.Secret) {
	if before == after {
		return
	}
	change := store.FieldChange{Field: field}
	if before != "" {
		change.Before = secretSet
	}
	switch {
	case before != "" && after != "":
		change.After = secretChanged
	case after != "":
		change.After = secretSet
	}
	d.fields = append(d.fields, change)
}

func (d *diff) timeouts(field string, before, after realm.Timeouts) {
	old, now := timeoutFields(before), timeoutFields(after)
	for i := range old {
		d.text(field+"."+old[i].name, showTimeout(old[i].value), showTimeout(now[i].value))
	}
}

// showTimeout tells none from 0s, which is no limit.
func showTimeout(t *time.Duration) string {
	if t == nil {
		return ""
	}
	return FormatDuration(*t)
}

func (d *diff) limits(field string, before, after realm.Limits) {
	d.number(field+".concurrent", int64(before.Concurrent), int64(after.Concurrent))
	d.number(field+".rpm", int64(before.RequestsPerMinute), int64(after.RequestsPerMinute))
	d.number(field+".tpm", before.TokensPerMinute, after.TokensPerMinute)
}

func orDefault[T ~string](value, byDefault T) string {
	if value == "" {
		value = byDefault
	}
	return string(value)
}

func showTier(t realm.ServiceTier) string {
	switch {
	case t.Drop:
		return "drop"
	case len(t.Only) > 0:
		return showList(t.Only)
	}
	return "pass"
}

// showEdits writes each edit as JSON, so that two that differ never look the same.
func showEdits(edits []realm.BodyEdit) []string {
	list := make([]string, 0, len(edits))
	for _, e := range edits {
		text, err := json.Marshal(struct {
			Op     realm.BodyOp    `json:"op"`
			Path   string          `json:"path"`
			To     string          `json:"to,omitempty"`
			Value  json.RawMessage `json:"value,omitempty"`
			Models []string        `json:"models,omitempty"`
		}(e))
		if err != nil { // a value that is no JSON was never taken
			text = []byte(err.Error())
		}
		list = append(list, string(text))
	}
	return list
}

func showStatusMap(m map[int]int) []string {
	list := make([]string, 0, len(m))
	for _, from := range sortedKeys(m) {
		list = append(list, fmt.Sprintf("%d→%d", from, m[from]))
	}
	return list
}
