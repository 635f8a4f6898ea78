package scheduler

import (
	"cmp"
	"reflect"
	"slices"
	"sync"
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
	marks    int     // that may keep requests away
	known    []*mark // of them, the first few
	// turn is when it is served next, in a time that runs by requests for weight
	// (fair queueing); clock is the latest turn among its parts. A count of the last
	// minute in its place would send everything to what was away for that minute.
	turn, clock float64

	about  subject // as it is now
	tokens int64   // the version of an account's tokens, as its keeper told it last; 0: it did not

	rates  *rates     // nil: without limits
	others realm.Load // of other processes
	shares *shares    // of a credential; nil until it was asked
}

// newBoard lays a snapshot out. What prev knows of the same parts stays known;
// their limits become the snapshot's if it is the latest.
func newBoard(snap *realm.Snapshot, prev *board, latest bool) *board {
	b := &board{
		snap:        snap,
		channels:    make([]boardChannel, len(snap.Channels())),
		credentials: make(map[realm.ID]place),
		nodes:       make(map[realm.ID]*node),
	}
	for i, ch := range snap.Channels() {
		b.lay(&b.channels[i], ch, prev, latest)
	}
	return b
}

// lay puts one channel on the board.
func (b *board) lay(bc *boardChannel, ch *realm.Channel, prev *board, latest bool) {
	settings := sync.OnceValue(func() string { return settingsText(ch) })
	node := func(id realm.ID, about subject, limits realm.Limits) *node {
		n := b.node(id, prev)
		if latest {
			about.channel, about.settings = ch, settings
			n.about = about
			n.limit(limits)
		}
		return n
	}
	bc.ch = ch
	bc.node = node(ch.ID, subject{}, ch.Settings.Limits)
	for _, ep := range ch.Endpoints {
		en := node(ep.ID, subject{endpoint: ep}, realm.Limits{})
		for _, cr := range ep.Credentials {
			cn := node(cr.ID, subject{endpoint: ep, credential: cr}, ch.LimitsOf(cr))
			if cr.Usable() {
				bc.add(ep, en, cr, cn)
			}
		}
	}
	slices.SortFunc(bc.levels, func(a, b level) int { return cmp.Compare(b.priority, a.priority) })
	b.find(bc)
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

func (b *board) node(id realm.ID, prev *board) *node {
	var n *node
	if prev != nil {
		n = prev.nodes[id]
	}
	if n == nil {
		n = &node{id: id}
	}
	b.nodes[id] = n
	return n
}

// limit sets the limits; what was counted for others stays.
func (n *node) limit(limits realm.Limits) {
	switch {
	case limits.IsZero():
		n.rates = nil
	case n.rates == nil:
		n.rates = &rates{limits: limits}
	default:
		n.rates.limits = limits
	}
}

// Adopt takes in a snapshot before a request comes with it, so that what other
// processes tell of its parts finds them.
func (s *Scheduler) Adopt(snap *realm.Snapshot, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.adopt(snap, now)
}

// adopt is the board of a snapshot. A newer one than any before takes their
// place, and what was known of parts that were changed is forgotten.
func (s *Scheduler) adopt(snap *realm.Snapshot, now time.Time) *board {
	if snap == s.board.snap {
		return s.board
	}
	if snap.Version < s.board.snap.Version {
		return newBoard(snap, s.board, false) // of a request that read it before it was replaced
	}
	next := newBoard(snap, s.board, true)
	changed := s.board.changed(next)
	s.board = next
	for id, load := range s.others {
		if n := next.nodes[id]; n != nil {
			n.others = load // of a part that was not here when it was told
		}
	}
	if len(changed) > 0 {
		s.forget(changed, false)
	}
	s.serveAll(now)
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
