package declare

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"realms/internal/realm"
	"realms/internal/yamldoc"
)

// settingKeys are a channel's keys that are its settings.
var settingKeys = []string{
	"timeouts", "attempts", "limits", "proxy", "ca_file", "probe", "on_disconnect", "service_tier", "store", "safety_identifier",
	"headers", "body", "status_map",
}

func (e *channelEntry) readSettings(d *decoder, n yamldoc.Node, path string) {
	e.Settings = realm.ChannelSettings{
		Timeouts:         readTimeouts(d, n, path),
		Attempts:         d.whole(n, path, "attempts", 0),
		Limits:           readLimits(d, n, path),
		CAFile:           readCAFile(d, n, path),
		OnDisconnect:     realm.OnDisconnect(d.text(n, path, "on_disconnect", "")),
		ServiceTier:      readServiceTier(d, n, path),
		Store:            realm.StorePolicy(d.text(n, path, "store", "")),
		SafetyIdentifier: realm.SafetyIdentifier(d.text(n, path, "safety_identifier", "")),
		BodyEdits:        readBodyEdits(d, n, path),
		StatusMap:        readStatusMap(d, n, path),
	}
	if probe := d.duration(n, path, "probe"); probe != nil {
		e.Settings.Probe = *probe
	}
	if proxy := d.secret(n, path, "proxy"); proxy != nil {
		e.Settings.Proxy, e.proxyGiven = *proxy, true
	}
	headers, at, ok := d.child(n, path, "headers", "set", "delete")
	if !ok {
		return
	}
	e.Settings.DeleteHeaders = d.texts(headers, at, "delete")
	set, at, given := d.free(headers, at, "set")
	e.setHeadersGiven = given
	for _, header := range set.Entries {
		if value := d.secret(set, at, header.Key); value != nil {
			if e.Settings.SetHeaders == nil {
				e.Settings.SetHeaders = make(map[string]realm.Secret)
			}
			e.Settings.SetHeaders[header.Key] = *value
		}
	}
}

func readTimeouts(d *decoder, n yamldoc.Node, path string) realm.Timeouts {
	t, at, ok := d.child(n, path, "timeouts", "connect", "first_byte", "first_event", "idle")
	if !ok {
		return realm.Timeouts{}
	}
	return realm.Timeouts{
		Connect: d.duration(t, at, "connect"), FirstByte: d.duration(t, at, "first_byte"),
		FirstEvent: d.duration(t, at, "first_event"), Idle: d.duration(t, at, "idle"),
	}
}

func readLimits(d *decoder, n yamldoc.Node, path string) realm.Limits {
	l, at, ok := d.child(n, path, "limits", "concurrent", "rpm", "tpm")
	if !ok {
		return realm.Limits{}
	}
	return realm.Limits{
		Concurrent: d.whole(l, at, "concurrent", 0), RequestsPerMinute: d.whole(l, at, "rpm", 0),
		TokensPerMinute: int64(d.whole(l, at, "tpm", 0)),
	}
}

// readCAFile makes the path absolute, because a server may run in another folder
// than the one in which the file was applied, and looks into the file: with a
// wrong one every request of the channel would fail.
func readCAFile(d *decoder, n yamldoc.Node, path string) string {
	return parsed(d, n, path, "ca_file", "", func(name string) (string, error) {
		if name == "" || strings.ContainsRune(name, 0) {
			return name, nil // none, or what catalog complains of
		}
		if !filepath.IsAbs(name) {
			name = filepath.Join(d.dir, name)
		}
		name, err := filepath.Abs(name)
		if err != nil {
			return "", fmt.Errorf("where the file is cannot be told: %w", err)
		}
		data, err := os.ReadFile(name)
		if err != nil {
			if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
				err = pe.Err
			}
			return "", fmt.Errorf("the file %s cannot be read: %w", name, err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(data) {
			return "", fmt.Errorf("the file %s holds no certificate in PEM form", name)
		}
		return name, nil
	})
}

// readServiceTier reads a word, or a list of the values that go up.
func readServiceTier(d *decoder, n yamldoc.Node, path string) realm.ServiceTier {
	if v, given := n.Get("service_tier"); given && v.Kind == yamldoc.List {
		only := d.texts(n, path, "service_tier")
		if len(only) == 0 {
			d.problem(yamldoc.Key(path, "service_tier"), "an empty list lets no value through: write drop")
		}
		return realm.ServiceTier{Only: only}
	}
	return parsed(d, n, path, "service_tier", realm.ServiceTier{}, func(text string) (realm.ServiceTier, error) {
		if text != "pass" && text != "drop" {
			return realm.ServiceTier{}, fmt.Errorf("%q is unknown: write pass, drop, or a list of the values that go up, such as [default, flex]", text)
		}
		return realm.ServiceTier{Drop: text == "drop"}, nil
	})
}

func readStatusMap(d *decoder, n yamldoc.Node, path string) map[int]int {
	statuses, at, ok := d.free(n, path, "status_map")
	if !ok {
		return nil
	}
	out := make(map[int]int, len(statuses.Entries))
	for _, e := range statuses.Entries {
		from, err := strconv.Atoi(e.Key)
		if err != nil || strconv.Itoa(from) != e.Key {
			d.problem(yamldoc.Key(at, e.Key), "%q is not a status: write three digits, such as 400", e.Key)
			continue
		}
		if e.Value.Kind != yamldoc.Null {
			out[from] = d.whole(statuses, at, e.Key, 0)
		}
	}
	return out
}

func readBodyEdits(d *decoder, n yamldoc.Node, path string) []realm.BodyEdit {
	items, _ := d.list(n, path, "body")
	var edits []realm.BodyEdit
	for i, item := range items {
		at := yamldoc.Index(yamldoc.Key(path, "body"), i)
		e := realm.BodyEdit{Op: realm.BodyDelete, Path: "x"} // stands for what is no mapping
		if d.nullable(item, at, "value", "op", "path", "to", "value", "models") {
			e = realm.BodyEdit{
				Op: realm.BodyOp(d.text(item, at, "op", "")), Path: d.text(item, at, "path", ""), To: d.text(item, at, "to", ""),
				Models: d.texts(item, at, "models"),
			}
			for _, entry := range item.Entries {
				if entry.Key == "value" { // null is one
					e.Value = d.json(entry.Value, yamldoc.Key(at, "value"))
				}
			}
		}
		edits = append(edits, e)
	}
	return edits
}
