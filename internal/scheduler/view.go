package scheduler

import (
	"cmp"
	"slices"
	"time"

	"realms/internal/realm"
)

// State is what is known of every channel of a snapshot, by name.
func (s *Scheduler) State(snap *realm.Snapshot, now time.Time) []ChannelState {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := s.adopt(snap, now)
	marks := s.marksByID(now)
	list := make([]ChannelState, 0, len(b.channels))
	for _, ch := range snap.Channels() {
		one := ChannelState{
			ID: ch.ID, Name: ch.Name, Enabled: ch.Enabled, Priority: ch.Priority, Weight: ch.Weight,
			InFlight: b.nodes[ch.ID].inFlight, Marks: marks[ch.ID], Endpoints: make([]EndpointState, 0, len(ch.Endpoints)),
		}
		for _, ep := range ch.Endpoints {
			one.Endpoints = append(one.Endpoints, b.endpointState(ep, marks, now))
		}
		list = append(list, one)
	}
	return list
}

func (b *board) endpointState(ep *realm.Endpoint, marks map[realm.ID][]Mark, now time.Time) EndpointState {
	one := EndpointState{
		ID: ep.ID, BaseURL: ep.BaseURL, InFlight: b.nodes[ep.ID].inFlight, Marks: marks[ep.ID],
		Credentials: make([]CredentialState, 0, len(ep.Credentials)),
	}
	for _, cr := range ep.Credentials {
		n := b.nodes[cr.ID]
		one.Credentials = append(one.Credentials, CredentialState{
			ID: cr.ID, Name: cr.Name, Enabled: cr.Enabled, State: cr.State, Reason: cr.StateReason, Since: cr.StateSince,
			Priority: cr.Priority, Weight: cr.Weight, InFlight: n.inFlight, Marks: marks[cr.ID],
			Last5: n.shares.over(now, 5), Last60: n.shares.over(now, 60),
		})
	}
	return one
}

// marksByID is every mark that means something now, by what it is about.
func (s *Scheduler) marksByID(now time.Time) map[realm.ID][]Mark {
	byID := make(map[realm.ID][]Mark)
	s.marks.all(func(k markKey, m *mark) {
		if m.troubled {
			byID[k.id] = append(byID[k.id], m.show(k, now)...)
		}
	})
	for _, list := range byID {
		slices.SortFunc(list, func(a, b Mark) int {
			return cmp.Or(cmp.Compare(a.For, b.For), cmp.Compare(a.Kind, b.Kind))
		})
	}
	return byID
}

func (m *mark) show(k markKey, now time.Time) []Mark {
	var list []Mark
	switch {
	case m.forever:
		list = append(list, Mark{Kind: MarkTold, For: k.name, Cause: m.cause, Since: m.set})
	case now.Before(m.told):
		list = append(list, Mark{Kind: MarkTold, For: k.name, Cause: m.cause, Since: m.set, Until: m.told})
	case ramp(m.told, now) < 1:
		list = append(list, Mark{Kind: MarkRecovering, For: k.name, Cause: m.cause, Since: m.told, Until: m.told.Add(rampTime)})
	}
	switch b := &m.breaker; {
	case b.isOpen && now.Before(b.until):
		list = append(list, Mark{Kind: MarkOpen, For: k.name, Cause: m.failure, Since: b.opened, Until: b.until})
	case b.isOpen:
		list = append(list, Mark{Kind: MarkHalfOpen, For: k.name, Cause: m.failure, Since: b.opened})
	case ramp(b.closed, now) < 1:
		list = append(list, Mark{Kind: MarkRecovering, For: k.name, Cause: m.failure, Since: b.closed, Until: b.closed.Add(rampTime)})
	}
	return list
}
