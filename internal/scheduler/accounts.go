package scheduler

import (
	"time"

	"realms/internal/realm"
)

// planWait is from where on a limit is a plan's and not one of requests a minute.
const planWait = 10 * time.Minute

// spentAccounts finds out whether the plan of one of the operator's own accounts is
// used up. Then no other account takes its place: an allowance is waited for, never
// worked around (ADR-005). Channels with API keys may serve.
func (p *Plan) spentAccounts(route *realm.Route, now time.Time) {
	p.spentUntil = time.Time{}
	if !p.need.Accounts {
		return
	}
	for _, ch := range route.Accounts {
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				if !cr.Usable() {
					continue
				}
				until := p.s.planSpent(cr.ID, p.need.Model, now)
				if !until.IsZero() && (p.spentUntil.IsZero() || until.Before(p.spentUntil)) {
					p.spentUntil = until
				}
			}
		}
	}
}

// planSpent is until when an account's plan, or what it allows of one model, is used
// up; zero: it is not.
func (s *Scheduler) planSpent(credential realm.ID, model string, now time.Time) (until time.Time) {
	for _, k := range [...]markKey{
		{scope: realm.ScopeCredential, id: credential},
		{scope: realm.ScopeCredentialModel, id: credential, name: model},
	} {
		m, ok := s.marks.get(k)
		if ok && m.plan && m.told.After(until) {
			until = m.told
		}
	}
	if !now.Before(until) {
		return time.Time{}
	}
	return until
}

// PlanSpent takes in that an account's plan is used up until a time, which was known
// before this process began.
func (s *Scheduler) PlanSpent(credential realm.ID, until, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := s.board.nodes[credential]
	if owner == nil || !until.After(now) {
		return
	}
	m := s.mark(markKey{scope: realm.ScopeCredential, id: credential}, owner)
	if until.After(m.told) {
		m.told, m.cause, m.plan, m.set, m.tokens = until, realm.CauseRateLimited, true, now, 0
		m.trouble()
	}
}

// Renewed takes in that an account has tokens of another version now, by whatever
// way: that those before were refused keeps no request away any more, here and in
// other processes. What was said of its plan is the account's own, and stays.
func (s *Scheduler) Renewed(credential realm.ID, version int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := s.board.nodes[credential]
	if owner == nil {
		return // nothing is known of it
	}
	owner.tokens = version
	k := markKey{scope: realm.ScopeCredential, id: credential}
	m, ok := s.marks.get(k)
	if !ok || m.tokens == 0 || m.tokens == version {
		return
	}
	m.told, m.forever, m.refused, m.tokens = time.Time{}, false, time.Time{}, 0
	if s.o.Tell != nil {
		s.o.Tell(realm.Cooldown{Scope: k.scope, ID: k.id, Print: m.print})
	}
	s.serveAll(now)
}
