package catalog

import (
	"bytes"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"realms/internal/realm"
)

// Bounds of a channel's settings.
const (
	maxTimeout   = 7 * 24 * time.Hour
	minProbe     = 10 * time.Second // each costs the operator a question
	maxProbe     = 24 * time.Hour
	maxAttempts  = 100
	maxRate      = 1_000_000_000
	maxTokenRate = 1_000_000_000_000
	maxPath      = 4096 // bytes, of a file's path
	maxEntries   = 100  // of a list in settings
)

// settings are those of a channel in the one form that is stored: defaults as
// zero values, names clean, lists without an order of their own sorted. Nothing
// of the caller's is written into.
func (p *problems) settings(s realm.ChannelSettings) realm.ChannelSettings {
	p.timeouts("timeouts", s.Timeouts)
	p.within("attempts", int64(s.Attempts), maxAttempts)
	p.limits("limits", s.Limits)
	s.Proxy = p.proxy(s.Proxy)
	if len(s.CAFile) > maxPath || strings.ContainsRune(s.CAFile, 0) {
		p.add("ca_file", "It is not a file's path.")
	}
	if s.Probe != 0 && (s.Probe < minProbe || s.Probe > maxProbe) {
		p.add("probe", "It is %s; 0s (never), or from %s to %s is allowed.", FormatDuration(s.Probe), FormatDuration(minProbe), FormatDuration(maxProbe))
	}
	s.OnDisconnect = oneOf(p, "on_disconnect", s.OnDisconnect, realm.DisconnectCancel, realm.DisconnectDrain)
	s.Store = oneOf(p, "store", s.Store, realm.StorePass, realm.StoreFalse)
	s.SafetyIdentifier = oneOf(p, "safety_identifier", s.SafetyIdentifier, realm.SafetyPass, realm.SafetyDrop, realm.SafetyHMAC)
	s.ServiceTier = p.serviceTier(s.ServiceTier)
	s.SetHeaders, s.DeleteHeaders = p.headers(s.SetHeaders, s.DeleteHeaders)
	s.BodyEdits = p.bodyEdits(s.BodyEdits)
	s.StatusMap = p.statusMap(s.StatusMap)
	return s
}

// timeouts: what is begun must end some time, so that connect and first_byte
// cannot be without a limit.
func (p *problems) timeouts(field string, t realm.Timeouts) {
	for _, f := range timeoutFields(t) {
		if f.value == nil {
			continue
		}
		switch d := *f.value; {
		case d < 0 || d > maxTimeout:
			p.add(field+"."+f.name, "It is %s; from 0s to %s is allowed.", FormatDuration(d), FormatDuration(maxTimeout))
		case d == 0 && !f.zero:
			p.add(field+"."+f.name, "It is 0s, which would be no limit at all: more than 0s is needed here.")
		}
	}
}

type timeoutField struct {
	name  string
	value *time.Duration
	zero  bool // may be 0: no limit
}

func timeoutFields(t realm.Timeouts) []timeoutField {
	return []timeoutField{
		{"connect", t.Connect, false},
		{"first_byte", t.FirstByte, false},
		{"first_event", t.FirstEvent, true},
		{"idle", t.Idle, true},
	}
}

// FormatDuration is a duration as people write it in a declarative file: 5m, not
// 5m0s.
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func (p *problems) limits(field string, l realm.Limits) {
	p.within(field+".concurrent", int64(l.Concurrent), maxRate)
	p.within(field+".rpm", int64(l.RequestsPerMinute), maxRate)
	p.within(field+".tpm", l.TokensPerMinute, maxTokenRate)
}

func (p *problems) within(field string, n, most int64) {
	if n < 0 || n > most {
		p.add(field, "It is %d; from 0 (none) to %d is allowed.", n, most)
	}
}

// oneOf is the value with the default, which is the first known one, as "".
func oneOf[T ~string](p *problems, field string, value T, known ...T) T {
	switch {
	case value == "" || value == known[0]:
		return ""
	case !slices.Contains(known, value):
		words := make([]string, len(known))
		for i, k := range known {
			words[i] = string(k)
		}
		p.add(field, "%q is unknown; %s are possible.", value, strings.Join(words, ", "))
	}
	return value
}

// proxy never repeats the URL, which may hold a password.
func (p *problems) proxy(proxy realm.Secret) realm.Secret {
	text := strings.TrimSpace(proxy.Reveal())
	if text == "" {
		return ""
	}
	const field = "proxy"
	if len(text) > maxBaseURL || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		p.add(field, "It is longer than %d bytes, or holds a space, a backslash or a character outside ASCII: write such a character percent-encoded.", maxBaseURL)
		return ""
	}
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Opaque != "" || u.Host == "":
		p.add(field, "It is not a URL; one like http://proxy.example.com:3128 is expected (a special character in the password as %%XX).")
	case !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, u.Scheme):
		p.add(field, "It must begin with http://, https://, socks5:// or socks5h://.")
	case u.Hostname() == "":
		p.add(field, "It names no host; one like http://proxy.example.com:3128 is expected.")
	case !validPort(u):
		p.add(field, "Its port is not a number from 1 to 65535.")
	case strings.Trim(u.Path, "/") != "" || strings.ContainsAny(text, "?#"):
		p.add(field, "It must end with the host and port: remove everything behind them.")
	}
	return realm.Secret(text)
}

// validPort tells whether a URL has no port, or one that can be dialled.
func validPort(u *url.URL) bool {
	_, port, ok := strings.Cut(strings.TrimPrefix(u.Host, "["+u.Hostname()+"]"), ":")
	if !ok {
		return true
	}
	n, err := strconv.Atoi(port)
	return err == nil && n >= 1 && n <= 65535
}

func (p *problems) serviceTier(t realm.ServiceTier) realm.ServiceTier {
	if t.Drop && len(t.Only) > 0 {
		p.add("service_tier", "Either no value goes up, or those of a list: not both.")
	}
	return realm.ServiceTier{Drop: t.Drop, Only: p.nameList("service_tier", t.Only, p.name)}
}

// nameList is a list of distinct names, each cleaned; nil if it is empty.
func (p *problems) nameList(field string, names []string, clean func(field, name string) string) []string {
	if len(names) > maxEntries {
		p.add(field, "It has %d entries; at most %d are allowed.", len(names), maxEntries)
	}
	var out []string
	for i, name := range names {
		name = clean(index(field, i), name)
		if name != "" && slices.Contains(out, name) {
			p.add(index(field, i), "%q is listed twice.", name)
		}
		out = append(out, name)
	}
	return out
}

func (p *problems) statusMap(m map[int]int) map[int]int {
	out := make(map[int]int, len(m))
	for _, from := range sortedKeys(m) {
		field := "status_map." + strconv.Itoa(from)
		if from < 400 || from > 599 {
			p.add(field, "It is about the status %d; from 400 to 599 is allowed.", from)
		}
		if to := m[from]; to < 400 || to > 599 {
			p.add(field, "It is %d; from 400 to 599 is allowed.", to)
		}
		out[from] = m[from]
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

func (p *problems) bodyEdits(edits []realm.BodyEdit) []realm.BodyEdit {
	if len(edits) > maxEntries {
		p.add("body", "It has %d entries; at most %d are allowed.", len(edits), maxEntries)
	}
	var out []realm.BodyEdit
	for i, e := range edits {
		out = append(out, p.bodyEdit(index("body", i), e))
	}
	return out
}

func (p *problems) bodyEdit(field string, e realm.BodyEdit) realm.BodyEdit {
	names := p.bodyPath(field+".path", e.Path)
	switch e.Op {
	case realm.BodySet:
		e.Value = p.bodyValue(field+".value", e.Value)
	case realm.BodyRename:
		if p.bodyName(field+".to", e.To); len(names) == 1 {
			p.editable(field+".to", e.To)
		}
		if len(names) > 0 && names[len(names)-1] == e.To && e.To != "" {
			p.add(field+".to", "It is the field's name already.")
		}
	case realm.BodyDelete:
	default:
		p.add(field+".op", "%q is unknown; set, delete, rename are possible.", e.Op)
	}
	if e.Op != realm.BodySet && len(e.Value) > 0 {
		p.add(field+".value", "Only set has a value.")
	}
	if e.Op != realm.BodyRename && e.To != "" {
		p.add(field+".to", "Only rename has a new name.")
	}
	e.Models = p.nameList(field+".models", e.Models, p.pattern)
	return e
}

const maxBodyPath = 500 // bytes

// bodyPath checks a dotted path and splits it.
func (p *problems) bodyPath(field, path string) []string {
	if len(path) > maxBodyPath {
		p.add(field, "It has %d bytes; at most %d are allowed.", len(path), maxBodyPath)
		return nil
	}
	if path == "" {
		p.add(field, "A path is needed: names of fields, joined by dots.")
		return nil
	}
	names := strings.Split(path, ".")
	for _, name := range names {
		if name == "" {
			p.add(field, "One of its names is empty: names of fields, joined by single dots, are expected.")
			return nil
		}
	}
	p.printable(field, path)
	p.editable(field, names[0])
	return names
}

// editable keeps edits from what Realms itself decides by.
func (p *problems) editable(field, name string) {
	switch name {
	case "model", "stream", "background":
		p.add(field, "%q cannot be edited: Realms goes by it.", name)
	case "store":
		p.add(field, "%q cannot be edited: the channel's setting `store` is for it.", name)
	}
}

func (p *problems) bodyName(field, name string) {
	switch {
	case name == "":
		p.add(field, "A new name is needed.")
	case strings.Contains(name, "."):
		p.add(field, "It holds a dot: the new last name alone is expected, without a path.")
	case len(name) > maxBodyPath:
		p.add(field, "It has %d bytes; at most %d are allowed.", len(name), maxBodyPath)
	default:
		p.printable(field, name)
	}
}

func (p *problems) printable(field, text string) {
	if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
		p.add(field, "It holds a control character, or is not valid UTF-8.")
	}
}

func (p *problems) bodyValue(field string, value json.RawMessage) json.RawMessage {
	if len(value) == 0 {
		p.add(field, "A value is needed (null is one).")
		return nil
	}
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		p.add(field, "It is not JSON.")
		return nil
	}
	return b.Bytes()
}

// pattern is the name of a model, or the beginning of several and a star.
func (p *problems) pattern(field, name string) string {
	name = p.name(field, name)
	if strings.Contains(strings.TrimSuffix(name, realm.AnyModel), realm.AnyModel) {
		p.add(field, "%q has a star that is not its last character: a pattern is the beginning of names and one star.", name)
	}
	return name
}

func isPattern(model string) bool { return strings.HasSuffix(model, realm.AnyModel) }
