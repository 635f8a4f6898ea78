package scheduler

import (
	"time"

	"realms/internal/realm"
)

// Hear takes in what another process was told.
func (s *Scheduler) Hear(c realm.Cooldown, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := s.board.nodes[c.ID]
	if owner == nil {
		return // not of this version of the catalogue
	}
	if c.Print != owner.fingerprint(s.o.Salt) {
		return // it was said of what this is no more
	}
	k := markKey{c.Scope, c.ID, c.Name}
	if c.Until.IsZero() {
		s.marks.deleteIf(func(other markKey, _ *mark) bool {
			return other == k || c.Name == realm.AnyModel && other.id == c.ID
		})
		s.serveAll(now)
		return
	}
	m := s.mark(k, owner)
	if c.Until.After(m.told) && now.Before(c.Until) {
		m.plan = c.Cause == realm.CauseRateLimited && c.Until.Sub(now) >= planWait || m.plan && now.Before(m.told)
		m.told, m.cause, m.set, m.shared, m.print = c.Until, c.Cause, now, true, c.Print
		m.tokens = 0
		m.trouble()
	}
}

// SetOthers takes in what other processes have under way on what has limits.
func (s *Scheduler) SetOthers(loads map[realm.ID]realm.Load, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.others = loads
	for id, n := range s.board.nodes {
		n.others = loads[id]
	}
	s.serveAll(now) // they may have freed what is waited for
}

// Loads is what this process has under way on what has limits.
func (s *Scheduler) Loads(now time.Time) map[realm.ID]realm.Load {
	s.mu.Lock()
	defer s.mu.Unlock()
	var loads map[realm.ID]realm.Load
	for id, n := range s.board.nodes {
		if n.rates == nil {
			continue
		}
		n.rates.move(now)
		if loads == nil {
			loads = make(map[realm.ID]realm.Load)
		}
		loads[id] = realm.Load{InFlight: n.inFlight, Requests: n.rates.requests, Tokens: n.rates.tokens}
	}
	return loads
}
