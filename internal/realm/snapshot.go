package realm

import (
	"cmp"
	"slices"
)

// Snapshot is everything the hot path needs of the catalogue, as it was at one
// version. It is immutable; catalog publishes a new one behind an atomic pointer
// after each change.
type Snapshot struct {
	Version int64

	groups      map[ID]*Group
	models      map[string]*Model
	channels    []*Channel // by name
	credentials map[ID]*Credential
	routes      map[routeKey]*Route // names that some channel of the group binds, or the catalogue knows
	wildcard    map[ID]*Route       // any other name: the group's channels that bind AnyModel
	open        map[ID]*Route       // any other name while the catalogue is not enforced: all the group's channels
}

type routeKey struct {
	group ID
	model string
}

// Route is where a model can be asked for by one group, best first.
type Route struct {
	Tiers []Tier
}

// Tier holds the candidates of one priority, by channel name.
type Tier struct {
	Priority   int
	Candidates []Candidate
}

// Candidate is a channel that binds the model.
type Candidate struct {
	Channel  *Channel
	Upstream string // the upstream's name for the model; empty: as asked
}

// NewSnapshot links the rows into a snapshot and indexes its routes. The slices
// and what they point to belong to the snapshot from then on. Disabled channels
// and channels without endpoints stay findable by name and take no route.
func NewSnapshot(version int64, groups []*Group, models []*Model, channels []*Channel) *Snapshot {
	s := &Snapshot{
		Version:     version,
		groups:      make(map[ID]*Group, len(groups)),
		models:      make(map[string]*Model, len(models)),
		channels:    channels,
		credentials: make(map[ID]*Credential),
		routes:      make(map[routeKey]*Route),
		wildcard:    make(map[ID]*Route),
		open:        make(map[ID]*Route),
	}
	for _, g := range groups {
		s.groups[g.ID] = g
	}
	for _, m := range models {
		s.models[m.Name] = m
	}
	slices.SortFunc(s.channels, func(a, b *Channel) int { return cmp.Compare(a.Name, b.Name) })
	for _, ch := range s.channels {
		for _, ep := range ch.Endpoints {
			ep.Channel = ch
			for _, cr := range ep.Credentials {
				cr.Endpoint = ep
				s.credentials[cr.ID] = cr
			}
		}
	}
	s.index()
	return s
}

func (s *Snapshot) index() {
	names := make(map[string]struct{}, len(s.models))
	for name := range s.models {
		names[name] = struct{}{}
	}
	byGroup := make(map[ID][]*Channel)
	for _, ch := range s.channels {
		for _, b := range ch.Bindings {
			if b.Model != AnyModel {
				names[b.Model] = struct{}{}
			}
		}
		if !ch.Enabled {
			continue
		}
		for _, g := range ch.Groups {
			byGroup[g] = append(byGroup[g], ch)
		}
	}
	for group, channels := range byGroup {
		for name := range names {
			if r := newRoute(channels, name, false); r != nil {
				s.routes[routeKey{group, name}] = r
			}
		}
		if r := newRoute(channels, AnyModel, false); r != nil {
			s.wildcard[group] = r
		}
		s.open[group] = newRoute(channels, AnyModel, true)
	}
}

// newRoute sorts the channels that bind the name into tiers; open takes every
// channel. Nil means that none binds it.
func newRoute(channels []*Channel, name string, open bool) *Route {
	byPriority := make(map[int][]Candidate)
	for _, ch := range channels {
		upstream, ok := ch.upstreamName(name)
		if !ok && !open {
			continue
		}
		byPriority[ch.Priority] = append(byPriority[ch.Priority], Candidate{Channel: ch, Upstream: upstream})
	}
	if len(byPriority) == 0 {
		return nil
	}
	r := &Route{Tiers: make([]Tier, 0, len(byPriority))}
	for p, c := range byPriority {
		r.Tiers = append(r.Tiers, Tier{Priority: p, Candidates: c})
	}
	slices.SortFunc(r.Tiers, func(a, b Tier) int { return cmp.Compare(b.Priority, a.Priority) })
	return r
}

// upstreamName is the upstream's name for a public one ("" for "as asked"): an
// exact binding wins over AnyModel.
func (ch *Channel) upstreamName(name string) (string, bool) {
	wild, found := "", false
	for _, b := range ch.Bindings {
		switch b.Model {
		case name:
			if b.Upstream == AnyModel {
				return "", true
			}
			return b.Upstream, true
		case AnyModel:
			found = true
			if b.Upstream != AnyModel {
				wild = b.Upstream
			}
		}
	}
	return wild, found
}

// Group finds a group; nil if there is none.
func (s *Snapshot) Group(id ID) *Group { return s.groups[id] }

// Model finds a catalogue entry by its public name; nil if there is none.
func (s *Snapshot) Model(name string) *Model { return s.models[name] }

// Models is every catalogue entry, in no order.
func (s *Snapshot) Models() map[string]*Model { return s.models }

// Channels is every channel by name, disabled ones included.
func (s *Snapshot) Channels() []*Channel { return s.channels }

// Channel finds a channel by name; nil if there is none.
func (s *Snapshot) Channel(name string) *Channel {
	i, ok := slices.BinarySearchFunc(s.channels, name, func(c *Channel, n string) int { return cmp.Compare(c.Name, n) })
	if !ok {
		return nil
	}
	return s.channels[i]
}

// Credential finds a credential, whatever its state; nil if there is none.
func (s *Snapshot) Credential(id ID) *Credential { return s.credentials[id] }

// Route is where a group may ask for a model; nil if nowhere. With open set the
// catalogue is not enforced: a name that nothing binds goes to all the group's
// channels as it is.
func (s *Snapshot) Route(group ID, model string, open bool) *Route {
	if r := s.routes[routeKey{group, model}]; r != nil {
		return r
	}
	if r := s.wildcard[group]; r != nil {
		return r
	}
	if open {
		return s.open[group]
	}
	return nil
}

// Offered lists, sorted, the names in the catalogue that the groups can really
// use now: enabled, and bound by an enabled channel with a usable credential.
func (s *Snapshot) Offered(groups []ID) []string {
	var names []string
	for name, m := range s.models {
		if m.Enabled && s.offers(groups, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Snapshot) offers(groups []ID, name string) bool {
	for _, g := range groups {
		r := s.routes[routeKey{g, name}]
		if r == nil {
			continue
		}
		for _, t := range r.Tiers {
			for _, c := range t.Candidates {
				if c.Channel.hasUsableCredential() {
					return true
				}
			}
		}
	}
	return false
}

func (ch *Channel) hasUsableCredential() bool {
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if cr.Usable() {
				return true
			}
		}
	}
	return false
}
