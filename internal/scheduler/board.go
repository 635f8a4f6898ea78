package scheduler

import (
	"cmp"
	"reflect"
	"slices"
	"time"

	"realms/internal/realm"
)

// board is a snapshot laid out for choosing, with what is known of its parts.
type board struct {
	snap        *realm.Snapshot
	channels    []boardChannel // by Channel.Slot
	credentials map[realm.ID]place
	nodes       map[realm.ID]*node // of channels, endpoints and credentials
}

// place is where a credential stands on the board.
type place struct {
	channel    *boardChannel
	endpoint   *boardEndpoint
	credential *boardCredential
}

type boardChannel struct {
	ch     *realm.Channel
	node   *node
	levels []level // by priority of credentials, the best first
}

// level is a channel's credentials of one priority.
type level struct {
	priority  int
	endpoints []boardEndpoint
}

type boardEndpoint struct {
	ep          *realm.Endpoint
	node        *node
	weight      int // of the credentials here
	credentials []boardCredential
}

type boardCredential struct {
	cr   *realm.Credential
	node *node
}

// node is what is known of a channel, an endpoint or a credential from one
// snapshot to the next.
type node struct {
	id       realm.ID
	inFlight int
	marks    int // that may keep requests away
	// turn is when it is served next, in a time that runs by requests for weight
	// (fair queueing); clock is the latest turn among its parts. A count of the last
	// minute in its place would send everything to what was away for that minute.
	turn, clock float64

	rates  *rates     // nil: without limits
	others realm.Load // of other processes
	shares *shares    // of a credential; nil until it was asked
}

// newBoard lays a snapshot out. What prev knows of the same parts stays known.
func newBoard(snap *realm.Snapshot, prev *board) *board {
	b := &board{
		snap:        snap,
		channels:    make([]boardChannel, len(snap.Channels())),
		credentials: make(map[realm.ID]place),
		nodes:       make(map[realm.ID]*node),
	}
	for i, ch := range snap.Channels() {
		bc := &b.channels[i]
		bc.ch = ch
		bc.node = b.node(ch.ID, ch.Settings.Limits, prev)
		for _, ep := range ch.Endpoints {
			en := b.node(ep.ID, realm.Limits{}, prev)
			for _, cr := range ep.Credentials {
				cn := b.node(cr.ID, cr.Limits, prev)
				if cr.Usable() {
					bc.add(ep, en, cr, cn)
				}
			}
		}
		slices.SortFunc(bc.levels, func(a, b level) int { return cmp.Compare(b.priority, a.priority) })
		b.find(bc)
	}
	return b
}

// add puts a credential into its level.
func (bc *boardChannel) add(ep *realm.Endpoint, en *node, cr *realm.Credential, cn *node) {
	l := slices.IndexFunc(bc.levels, func(l level) bool { return l.priority == cr.Priority })
	if l < 0 {
		l = len(bc.levels)
		bc.levels = append(bc.levels, level{priority: cr.Priority})
	}
	list := &bc.levels[l].endpoints
	if n := len(*list); n == 0 || (*list)[n-1].ep != ep {
		*list = append(*list, boardEndpoint{ep: ep, node: en})
	}
	e := &(*list)[len(*list)-1]
	e.weight += cr.Weight
	e.credentials = append(e.credentials, boardCredential{cr, cn})
}

// find notes where the channel's credentials stand, once nothing moves any more.
func (b *board) find(bc *boardChannel) {
	for i := range bc.levels {
		for j := range bc.levels[i].endpoints {
			e := &bc.levels[i].endpoints[j]
			for k := range e.credentials {
				c := &e.credentials[k]
				b.credentials[c.cr.ID] = place{bc, e, c}
			}
		}
	}
}

func (b *board) node(id realm.ID, limits realm.Limits, prev *board) *node {
	var n *node
	if prev != nil {
		n = prev.nodes[id]
	}
	if n == nil {
		n = &node{id: id}
	}
	switch {
	case limits.IsZero():
		n.rates = nil
	case n.rates == nil:
		n.rates = &rates{limits: limits}
	default:
		n.rates.limits = limits
	}
	b.nodes[id] = n
	return n
}

// adopt is the board of a snapshot. A newer one than any before takes their
// place, and what was known of parts that were changed is forgotten.
func (s *Scheduler) adopt(snap *realm.Snapshot) *board {
	if snap == s.board.snap {
		return s.board
	}
	next := newBoard(snap, s.board)
	if snap.Version < s.board.snap.Version {
		return next // of a request that has waited since; it is the last to ask for it
	}
	changed := s.board.changed(next)
	s.board = next
	if len(changed) > 0 {
		s.forget(changed)
	}
	return next
}

// changed finds the parts that are not what they were: what was learned of them
// may be wrong now.
func (b *board) changed(next *board) map[realm.ID]bool {
	ids := make(map[realm.ID]bool)
	for _, old := range b.snap.Channels() {
		now := next.snap.Channel(old.Name)
		if now == nil || now.ID != old.ID {
			continue
		}
		if !sameChannel(old, now) {
			ids[old.ID] = true
			for _, ep := range now.Endpoints {
				ids[ep.ID] = ids[ep.ID] || !reflect.DeepEqual(old.Settings, now.Settings)
			}
		}
		for _, ep := range old.Endpoints {
			for _, was := range ep.Credentials {
				is := next.snap.Credential(was.ID)
				if is != nil && (is.APIKey != was.APIKey || is.Usable() && !was.Usable()) {
					ids[is.ID] = true
				}
			}
		}
	}
	return ids
}

// sameChannel tells whether two versions of a channel ask an upstream the same.
func sameChannel(a, b *realm.Channel) bool {
	return a.Type == b.Type && a.APIs == b.APIs && reflect.DeepEqual(a.Bindings, b.Bindings) &&
		reflect.DeepEqual(a.Settings, b.Settings) &&
		slices.EqualFunc(a.Endpoints, b.Endpoints, func(x, y *realm.Endpoint) bool { return x.BaseURL == y.BaseURL })
}

// forget drops every mark about the given parts.
func (s *Scheduler) forget(ids map[realm.ID]bool) {
	s.marks.deleteIf(func(k markKey, _ *mark) bool { return ids[k.id] })
}

// Mend forgets what is held against a channel, all its endpoints and credentials
// included, or against one credential of it.
func (s *Scheduler) Mend(snap *realm.Snapshot, channel, credential realm.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := map[realm.ID]bool{}
	for _, ch := range snap.Channels() {
		if ch.ID != channel {
			continue
		}
		ids[ch.ID] = credential == 0
		for _, ep := range ch.Endpoints {
			ids[ep.ID] = credential == 0
			for _, cr := range ep.Credentials {
				ids[cr.ID] = credential == 0 || credential == cr.ID
			}
		}
	}
	if s.o.Tell != nil {
		s.marks.all(func(k markKey, m *mark) {
			if ids[k.id] && !m.told.IsZero() {
				s.o.Tell(realm.Cooldown{Scope: k.scope, ID: k.id, Name: k.name, Cause: m.cause})
			}
		})
	}
	s.forget(ids)
}

// Hear takes in what another process was told.
func (s *Scheduler) Hear(c realm.Cooldown, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := s.board.nodes[c.ID]
	if owner == nil {
		return // not of this version of the catalogue
	}
	k := markKey{c.Scope, c.ID, c.Name}
	if c.Until.IsZero() {
		s.marks.deleteIf(func(other markKey, _ *mark) bool { return other == k })
		return
	}
	m := s.mark(k, owner)
	if c.Until.After(m.told) && now.Before(c.Until) {
		m.told, m.cause, m.set, m.shared = c.Until, c.Cause, now, true
		m.trouble()
	}
}
