package realm

import (
	"cmp"
	"maps"
	"slices"
	"strings"
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
	routes      map[routeKey]*Route   // names that some channel of the group binds, or the catalogue knows
	patterns    map[ID][]patternRoute // other names: what fits them, the longest pattern first
	open        map[ID]*Route         // any other name while the catalogue is not enforced: all the group's channels
}

// patternRoute is where names are asked for that begin with a prefix and are
// bound by no exact name.
type patternRoute struct {
	prefix string
	route  *Route
}

type routeKey struct {
	group ID
	model string
}

// Route is where a model can be asked for by one group, best first.
type Route struct {
	Tiers []Tier
	// Accounts are the channels among them that are the operator's own accounts.
	Accounts []*Channel
}

// Tier holds the candidates of one priority, by channel name.
type Tier struct {
	Priority   int
	Candidates []Candidate
	// Cumulative[i] is the weight of the candidates up to and with i.
	Cumulative []int
	APIs       APISet // what any of them speaks
}

// Candidate is a channel that binds the model.
type Candidate struct {
	Channel *Channel
	binding *Binding // nil: asked for as it is, because the catalogue is not enforced
}

// Upstream is the upstream's name for a public one.
func (c *Candidate) Upstream(name string) string {
	if c.binding == nil {
		return name
	}
	return c.binding.UpstreamName(name)
}

// Timeouts are the binding's.
func (c *Candidate) Timeouts() Timeouts {
	if c.binding == nil {
		return Timeouts{}
	}
	return c.binding.Timeouts
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
		patterns:    make(map[ID][]patternRoute),
		open:        make(map[ID]*Route),
	}
	for _, g := range groups {
		s.groups[g.ID] = g
	}
	for _, m := range models {
		s.models[m.Name] = m
	}
	slices.SortFunc(s.channels, func(a, b *Channel) int { return cmp.Compare(a.Name, b.Name) })
	for i, ch := range s.channels {
		ch.Slot = i
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
	prefixes := make(map[string]struct{})
	for name := range s.models {
		names[name] = struct{}{}
	}
	byGroup := make(map[ID][]*Channel)
	for _, ch := range s.channels {
		for i := range ch.Bindings {
			b := &ch.Bindings[i]
			if prefix, ok := b.prefix(); ok {
				prefixes[prefix] = struct{}{}
			} else {
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
	longest := slices.SortedFunc(maps.Keys(prefixes), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(b), len(a)), cmp.Compare(a, b))
	})
	for group, channels := range byGroup {
		for name := range names {
			if r := newRoute(channels, name, false); r != nil {
				s.routes[routeKey{group, name}] = r
			}
		}
		for _, prefix := range longest {
			if r := newRoute(channels, prefix+AnyModel, false); r != nil {
				s.patterns[group] = append(s.patterns[group], patternRoute{prefix, r})
			}
		}
		s.open[group] = newRoute(channels, AnyModel, true)
	}
}

// newRoute sorts the channels that bind the name into tiers; open takes every
// channel. Nil means that none binds it.
func newRoute(channels []*Channel, name string, open bool) *Route {
	byPriority := make(map[int][]Candidate)
	for _, ch := range channels {
		b := ch.binding(name)
		if b == nil && !open {
			continue
		}
		byPriority[ch.Priority] = append(byPriority[ch.Priority], Candidate{Channel: ch, binding: b})
	}
	if len(byPriority) == 0 {
		return nil
	}
	r := &Route{Tiers: make([]Tier, 0, len(byPriority))}
	for p, c := range byPriority {
		r.Tiers = append(r.Tiers, Tier{Priority: p, Candidates: c, Cumulative: cumulative(c), APIs: spoken(c)})
	}
	slices.SortFunc(r.Tiers, func(a, b Tier) int { return cmp.Compare(b.Priority, a.Priority) })
	for _, t := range r.Tiers {
		for _, c := range t.Candidates {
			if c.Channel.Type == CodexOAuth {
				r.Accounts = append(r.Accounts, c.Channel)
			}
		}
	}
	return r
}

func cumulative(candidates []Candidate) []int {
	sums, sum := make([]int, len(candidates)), 0
	for i := range candidates {
		sum += candidates[i].Channel.Weight
		sums[i] = sum
	}
	return sums
}

// spoken is what any of the candidates speaks.
func spoken(candidates []Candidate) APISet {
	var all APISet
	for i := range candidates {
		all |= candidates[i].Channel.APIs
	}
	return all
}

// binding is the one that offers a name: the exact one, else the longest pattern
// that fits. A pattern is a name here too: what fits "gpt-*" fits "g*" as well.
// Nil: none does.
func (ch *Channel) binding(name string) *Binding {
	var best *Binding
	longest := -1
	for i := range ch.Bindings {
		b := &ch.Bindings[i]
		if b.Model == name {
			return b
		}
		if prefix, ok := b.prefix(); ok && len(prefix) > longest && strings.HasPrefix(name, prefix) {
			best, longest = b, len(prefix)
		}
	}
	return best
}

// Offers finds the binding under which a channel offers a public name.
func (ch *Channel) Offers(name string) (Binding, bool) {
	if b := ch.binding(name); b != nil {
		return *b, true
	}
	return Binding{}, false
}

// FirstModel is the first model that the channel offers by its name, and not by a
// pattern; empty if there is none.
func (ch *Channel) FirstModel() string {
	for i := range ch.Bindings {
		if _, pattern := ch.Bindings[i].prefix(); !pattern {
			return ch.Bindings[i].Model
		}
	}
	return ""
}

// prefix is the pattern's; false: the binding is of one exact name.
func (b *Binding) prefix() (string, bool) { return strings.CutSuffix(b.Model, AnyModel) }

// UpstreamName is the upstream's name for a public one that the binding offers.
func (b *Binding) UpstreamName(name string) string {
	if b.Upstream == "" {
		return name
	}
	head, tail, ok := strings.Cut(b.Upstream, AnyModel)
	prefix, pattern := b.prefix()
	switch {
	case !ok:
		return b.Upstream
	case !pattern:
		return name // "*" for an exact name: as asked
	default:
		return head + strings.TrimPrefix(name, prefix) + tail
	}
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
	for _, p := range s.patterns[group] {
		if strings.HasPrefix(model, p.prefix) {
			return p.route
		}
	}
	if open {
		return s.open[group]
	}
	return nil
}

// Offered lists, sorted, the names in the catalogue that the groups can really
// use now: enabled, and bound by an enabled channel with a usable credential.
// accounts: the operator's own accounts count too.
func (s *Snapshot) Offered(groups []ID, accounts bool) []string {
	var names []string
	for name, m := range s.models {
		if m.Enabled && s.offers(groups, name, accounts) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func (s *Snapshot) offers(groups []ID, name string, accounts bool) bool {
	for _, g := range groups {
		r := s.routes[routeKey{g, name}]
		if r == nil {
			continue
		}
		for _, t := range r.Tiers {
			for _, c := range t.Candidates {
				if c.Channel.hasUsableCredential() && (accounts || c.Channel.Type != CodexOAuth) {
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
