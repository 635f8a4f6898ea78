package declare

import (
	"maps"
	"net/url"
	"slices"
	"strconv"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
)

func exportSettings(w *writer, s *realm.ChannelSettings, secrets bool) {
	line := func(given bool, key, value string) {
		if given {
			w.line(2, "%s: %s", key, value)
		}
	}
	times, limits := exportTimeouts(s.Timeouts), exportLimits(s.Limits)
	line(len(times) > 0, "timeouts", times.String())
	line(s.Attempts != 0, "attempts", strconv.Itoa(s.Attempts))
	line(len(limits) > 0, "limits", limits.String())
	line(s.Proxy != "" && (secrets || !hasUser(s.Proxy)), "proxy", quote(s.Proxy.Reveal()))
	line(s.CAFile != "", "ca_file", quote(s.CAFile))
	line(s.Probe != 0, "probe", catalog.FormatDuration(s.Probe))
	line(s.OnDisconnect != "", "on_disconnect", quote(string(s.OnDisconnect)))
	line(s.ServiceTier.Drop, "service_tier", "drop")
	line(len(s.ServiceTier.Only) > 0, "service_tier", textList(s.ServiceTier.Only))
	line(s.Store != "", "store", string(s.Store))
	line(s.SafetyIdentifier != "", "safety_identifier", quote(string(s.SafetyIdentifier)))
	headers := exportHeaders(s, secrets)
	line(len(headers) > 0, "headers", headers.String())
	if len(s.BodyEdits) > 0 {
		w.line(2, "body:")
	}
	for _, e := range s.BodyEdits {
		w.item(3, exportEdit(e))
	}
	statuses := flow{}
	for _, from := range slices.Sorted(maps.Keys(s.StatusMap)) {
		statuses = statuses.plain(strconv.Itoa(from), strconv.Itoa(s.StatusMap[from]))
	}
	line(len(statuses) > 0, "status_map", statuses.String())
}

// hasUser tells whether a proxy's URL names somebody: a name alone may be a key.
func hasUser(proxy realm.Secret) bool {
	u, err := url.Parse(proxy.Reveal())
	return err != nil || u.User != nil
}

func exportTimeouts(t realm.Timeouts) flow {
	f := flow{}
	for _, one := range []struct {
		key   string
		value *time.Duration
	}{{"connect", t.Connect}, {"first_byte", t.FirstByte}, {"first_event", t.FirstEvent}, {"idle", t.Idle}} {
		if one.value != nil {
			f = f.plain(one.key, catalog.FormatDuration(*one.value))
		}
	}
	return f
}

func exportLimits(l realm.Limits) flow {
	f := flow{}
	for _, one := range []struct {
		key   string
		value int64
	}{{"concurrent", int64(l.Concurrent)}, {"rpm", int64(l.RequestsPerMinute)}, {"tpm", l.TokensPerMinute}} {
		if one.value != 0 {
			f = f.plain(one.key, strconv.FormatInt(one.value, 10))
		}
	}
	return f
}

func exportHeaders(s *realm.ChannelSettings, secrets bool) flow {
	f := flow{}
	if secrets && len(s.SetHeaders) > 0 {
		set := flow{}
		for _, name := range slices.Sorted(maps.Keys(s.SetHeaders)) {
			set = set.plain(literal(name), quote(s.SetHeaders[name].Reveal()))
		}
		f = f.plain("set", set.String())
	}
	if len(s.DeleteHeaders) > 0 {
		f = f.plain("delete", textList(s.DeleteHeaders))
	}
	return f
}

func exportEdit(e realm.BodyEdit) flow {
	f := flow{}.plain("op", string(e.Op)).text("path", e.Path)
	if e.Op == realm.BodySet {
		f = f.plain("value", yamlValue(e.Value))
	}
	if e.To != "" {
		f = f.text("to", e.To)
	}
	if len(e.Models) > 0 {
		f = f.plain("models", textList(e.Models))
	}
	return f
}
