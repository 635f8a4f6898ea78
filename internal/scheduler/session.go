package scheduler

import (
	"slices"
	"time"

	"realms/internal/realm"
)

// binding is the credential that serves a session.
type binding struct {
	credential realm.ID
	until      time.Time
}

// StickyTime is how long a session stays with its account after it was served.
const StickyTime = 30 * time.Minute

// boundTo is the session's credential; 0: none.
func (s *Scheduler) boundTo(key realm.RouteKey, now time.Time) realm.ID {
	if b, ok := s.bindings.get(key); ok && now.Before(b.until) {
		return b.credential
	}
	return 0
}

// offers tells whether a credential's channel has what the request asks for. One
// that is gone or may not be used is not asked that.
func (p *Plan) offers(credential realm.ID, now time.Time) bool {
	at, ok := p.board.credentials[credential]
	if !ok || !at.channel.ch.Enabled || !p.reaches(at.channel.ch) {
		return true
	}
	return p.form(at.channel.ch, now) != 0 && slices.ContainsFunc(p.need.Groups, func(g realm.ID) bool {
		return p.candidate(g, at.channel.ch) != nil
	})
}

// author is the credential if it can have made what no other account can read: one
// that speaks the request's own API. No conversion carries such a thing.
func (p *Plan) author(credential realm.ID) realm.ID {
	at, ok := p.board.credentials[credential]
	if ok && !at.channel.ch.APIs.Has(p.need.API) {
		return 0
	}
	return credential
}

// Unbound is the name under which other processes may know a request's session,
// and whether nothing is known of it here.
func (s *Scheduler) Unbound(snap *realm.Snapshot, need *Need, now time.Time) (realm.RouteKey, bool) {
	key := need.Session
	if key.IsZero() {
		return key, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.boundTo(key, now)
	if id == 0 {
		return key, true
	}
	p := Plan{s: s, board: s.adopt(snap, now), need: *need}
	if p.offers(id, now) {
		return key, false
	}
	key = key.For(need.Model)
	return key, s.boundTo(key, now) == 0
}

// Rebind takes in what another process knows of a session.
func (s *Scheduler) Rebind(key realm.RouteKey, credential realm.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bindings.put(key, binding{credential, now.Add(StickyTime)})
}

// bind gives the session to the credential that has just served it. One that is
// only too busy, or that does not offer this request's model, keeps it.
func (p *Plan) bind(now time.Time) {
	key := p.need.Session
	if key.IsZero() || !p.now.ok() {
		return
	}
	id := p.now.credential.cr.ID
	if p.bound != 0 && p.bound != id && !p.yielded {
		return
	}
	p.s.bindings.put(key, binding{id, now.Add(StickyTime)})
	if p.s.o.Bind != nil {
		p.s.o.Bind(key, id, p.bound != 0 && p.bound != id)
	}
}

// Moved takes in that another process has found a session a new account. What is
// not known here is not learned by it: it would be asked for.
func (s *Scheduler) Moved(key realm.RouteKey, credential realm.ID, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.boundTo(key, now) != 0 {
		s.bindings.put(key, binding{credential, now.Add(StickyTime)})
	}
}
