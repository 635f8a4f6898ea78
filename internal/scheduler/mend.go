package scheduler

import (
	"encoding/json"
	"hash/fnv"
	"maps"
	"slices"
	"strings"
	"time"

	"realms/internal/realm"
)

// subject is what a node is about: the narrowest that is set.
type subject struct {
	channel    *realm.Channel
	settings   func() string // all that the channel asks of an upstream, as a text
	endpoint   *realm.Endpoint
	credential *realm.Credential
}

// scope is one that names the node's own id.
func (o *subject) scope() realm.Scope {
	switch {
	case o.credential != nil:
		return realm.ScopeCredential
	case o.endpoint != nil:
		return realm.ScopeEndpoint
	default:
		return realm.ScopeChannelModel
	}
}

// fingerprint is a number that changes with all that an upstream's word depends on: a
// key, a URL, what the channel asks. Of a key it tells nothing that could be used.
func (n *node) fingerprint(salt []byte) uint32 {
	h := fnv.New32a()
	_, _ = h.Write(salt)
	write := func(text string) { _, _ = h.Write([]byte(text + "\x00")) } // a hash never fails
	if n.about.credential != nil {
		write(n.about.credential.APIKey.Reveal())
	}
	if n.about.endpoint != nil {
		write(n.about.endpoint.BaseURL)
	}
	if n.about.settings != nil {
		write(n.about.settings())
	}
	return h.Sum32()
}

// settingsText is what a channel asks of an upstream; it may hold secrets.
func settingsText(ch *realm.Channel) string {
	parts := []string{ch.Settings.Proxy.Reveal()}
	for _, name := range slices.Sorted(maps.Keys(ch.Settings.SetHeaders)) {
		parts = append(parts, ch.Settings.SetHeaders[name].Reveal())
	}
	rest, err := json.Marshal([]any{ch.Type, ch.APIs, ch.Bindings, ch.Settings})
	if err != nil {
		return "" // it is left out by all processes alike
	}
	return strings.Join(append(parts, string(rest)), "\x00")
}

// forget drops every mark about the given parts, and takes back what was told about
// them: here, or by anybody.
func (s *Scheduler) forget(ids map[realm.ID]bool, anybody bool) {
	s.marks.deleteIf(func(k markKey, m *mark) bool {
		if !ids[k.id] {
			return false
		}
		if s.o.Tell != nil && !m.told.IsZero() && (anybody || !m.shared) {
			s.o.Tell(realm.Cooldown{Scope: k.scope, ID: k.id, Name: k.name, Print: m.print})
		}
		return true
	})
}

// Mend forgets what is held against a channel, all its endpoints and credentials
// included, or against one credential of it; here and in other processes.
func (s *Scheduler) Mend(snap *realm.Snapshot, channel, credential realm.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.adopt(snap, now)
	ids := make(map[realm.ID]bool)
	for id, n := range b.nodes {
		if n.about.channel != nil && n.about.channel.ID == channel && (credential == 0 || credential == id) {
			ids[id] = true
		}
	}
	s.forget(ids, true)
	for id := range ids {
		if s.o.Tell != nil {
			n := b.nodes[id]
			s.o.Tell(realm.Cooldown{Scope: n.about.scope(), ID: id, Name: realm.AnyModel, Print: n.fingerprint(s.o.Salt)})
		}
	}
	s.serveAll(now)
}
