package scheduler

import (
	"time"

	"realms/internal/realm"
)

// Committed tells that the present attempt's answer has begun. What an upstream can do is known from here on, however long the answer takes.
func (p *Plan) Committed(now time.Time) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if !p.held {
		return
	}
	p.spoke = true
	p.closeBreakers(now)
	p.bind(now)
	p.endProbes()
}

// Report tells how the present attempt ended, and gives its slot back. firstByte
// is 0 where no answer came. What comes back is for how long the upstream's word
// keeps requests away.
func (p *Plan) Report(o *realm.Outcome, firstByte time.Duration, now time.Time) (away time.Duration) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if !p.held {
		return 0
	}
	p.learn(o, now)
	p.note(o, firstByte, now)
	if !p.spoke && o.Cause != realm.CauseOK && o.Cause != realm.CauseEmpty {
		p.correct(-p.counted, now) // it has used none
	}
	if !p.again { // or it keeps its slot for one more
		p.release(now)
	}
	if k, owner := p.now.key(o.Scope, &p.need); owner != nil {
		if m, ok := p.s.marks.get(k); ok {
			away = max(m.told.Sub(now), 0)
		}
	}
	return away
}

// learn takes in what the outcome says of channels, endpoints and credentials, and
// for this request of what is left.
func (p *Plan) learn(o *realm.Outcome, now time.Time) {
	switch o.Next {
	case realm.NextSameCredential, realm.NextWithoutField:
		p.again = true
		return
	case realm.NextStop, realm.NextOther:
	}
	switch {
	case served(o):
		p.worked(now)
		if o.Cause == realm.CauseOK {
			p.bind(now)
		}
		return
	case o.Scope == realm.ScopeNone:
		return // nobody's fault
	}
	if p.bound == p.now.credential.cr.ID {
		p.yielded = true
	}
	if o.Status != 0 && o.Scope != realm.ScopeEndpoint {
		p.closeBreaker(realm.ScopeEndpoint, now) // it was reached, and answered
	}
	p.blame(o, now)
	if o.Scope == realm.ScopeChannelAPI && p.convertible(now) {
		p.now.api, p.again = p.need.Converted, true // the same credential, asked in the other form
		return
	}
	p.passBy(o, now)
}

// convertible tells whether the channel, which has turned out not to have the
// request's own API, may be asked in the other form.
func (p *Plan) convertible(now time.Time) bool {
	other := p.need.Converted
	return other != 0 && p.now.api != other && p.form(p.now.channel.ch, now) == other
}

// worked notes a success of all that served.
func (p *Plan) worked(now time.Time) {
	p.closeBreakers(now)
	for _, scope := range [...]realm.Scope{realm.ScopeEndpoint, realm.ScopeEndpointModel} {
		k, owner := p.now.key(scope, &p.need)
		p.s.mark(k, owner).breaker.worked(now)
	}
	for _, scope := range [...]realm.Scope{realm.ScopeCredential, realm.ScopeCredentialModel} {
		k, _ := p.now.key(scope, &p.need)
		p.s.clear(k)
	}
}

// closeBreakers lets requests come back to what has answered.
func (p *Plan) closeBreakers(now time.Time) {
	p.closeBreaker(realm.ScopeEndpoint, now)
	p.closeBreaker(realm.ScopeEndpointModel, now)
}

func (p *Plan) closeBreaker(scope realm.Scope, now time.Time) {
	k, _ := p.now.key(scope, &p.need)
	if m, ok := p.s.marks.get(k); ok && m.breaker.answered(now, p.began) {
		p.s.event(Event{Kind: MarkRecovering, Endpoint: k.id, Model: k.name, Cause: m.failure})
	}
}

// blame marks what the failure's scope names (data-plane.md, "What a failure
// means").
func (p *Plan) blame(o *realm.Outcome, now time.Time) {
	s := p.s
	k, owner := p.now.key(o.Scope, &p.need)
	if owner == nil {
		return
	}
	m := s.mark(k, owner)
	switch o.Cause {
	case realm.CauseRateLimited:
		d := o.Wait
		if !o.Told {
			d = m.strike(now, p.began, limitLeast, limitMost)
		}
		s.tell(k, m, now, d, o.Cause)
	case realm.CauseQuota:
		d := o.Wait
		if !o.Told || d < quotaBelieved { // no account is filled up in a moment
			d = m.strike(now, p.began, quotaLeast, quotaMost)
		}
		s.tell(k, m, now, d, o.Cause)
	case realm.CauseAuth:
		p.refuseTokens(k, m, o, now)
	case realm.CauseForbidden:
		s.tell(k, m, now, forbiddenTime, o.Cause)
	case realm.CauseBlocked:
		s.tell(k, m, now, blockedTime, o.Cause)
	case realm.CauseModelMissing:
		s.tell(k, m, now, missingTime, o.Cause)
	case realm.CauseAPIMissing:
		if o.Told {
			s.tell(k, m, now, o.Wait, o.Cause)
			break
		}
		if !m.forever {
			s.event(Event{Kind: MarkTold, Channel: k.id, Model: k.name, Cause: o.Cause})
		}
		m.forever, m.cause, m.set = true, o.Cause, now
		m.trouble()
	default:
		p.fail(k, m, o, now)
	}
}

// refuseTokens notes a key, or an account's tokens, that the upstream does not take.
// Of tokens it is remembered which: others are no reason to wait (Renewed).
func (p *Plan) refuseTokens(k markKey, m *mark, o *realm.Outcome, now time.Time) {
	if o.Version != 0 && o.Version < m.owner.tokens {
		return // others have taken their place meanwhile
	}
	alone := m.tokens != 0 || !now.Before(m.told)
	if o.Light { // it may be taken again: what refused it is another's absence
		p.s.tell(k, m, now, o.Wait, o.Cause)
	} else {
		p.refuse(k, m, o, now)
	}
	if alone {
		m.tokens = o.Version
	}
}

// refuse notes a key that the upstream does not take: for a while at first, for
// good when it says so again, or says that the account is closed.
func (p *Plan) refuse(k markKey, m *mark, o *realm.Outcome, now time.Time) {
	first := m.refused
	p.s.tell(k, m, now, refusedTime, o.Cause)
	switch {
	case !o.Final && first.IsZero():
		m.refused = now
		return
	case !o.Final && now.Sub(first) < confirmTime:
		return // they were under way together
	case m.forever:
		return
	}
	m.forever = true
	if p.s.o.OutOfUse != nil {
		p.s.o.OutOfUse(p.now.credential.cr, *o)
	}
}

// fail counts against a breaker.
func (p *Plan) fail(k markKey, m *mark, o *realm.Outcome, now time.Time) {
	halves := int32(2)
	if o.Light {
		halves = 1
	}
	probe := false
	for _, one := range p.probes {
		probe = probe || one == m
	}
	const fine = 1 << 16
	spread := float64(p.s.o.Rand(2*fine)-fine) / fine
	m.failure = o.Cause
	if !m.breaker.failed(now, p.began, halves, probe, spread) {
		return
	}
	m.trouble()
	p.s.event(Event{Kind: MarkOpen, Endpoint: k.id, Model: k.name, Cause: o.Cause, For: m.breaker.until.Sub(now)})
}

func (s *Scheduler) event(e Event) {
	if s.o.Note != nil {
		s.o.Note(e)
	}
}

// passBy puts out of question, for this request, what the failure stands beside.
func (p *Plan) passBy(o *realm.Outcome, now time.Time) {
	switch o.Scope {
	case realm.ScopeEndpoint, realm.ScopeEndpointModel:
		if !o.Light {
			p.endpoints = append(p.endpoints, p.now.endpoint.node.id)
		}
	case realm.ScopeChannelModel, realm.ScopeChannelAPI:
		p.channels = append(p.channels, p.now.channel.node.id)
	case realm.ScopeNone, realm.ScopeCredential, realm.ScopeCredentialModel:
	}
	if o.Passing && !p.spare.ok() {
		p.spare, p.spareAt = p.now, now.Add(max(o.Wait, passingTime))
	}
}

// passingTime is the least wait before a fault is taken to have passed: asked
// again at once, an upstream that fails under load only gets more of it.
const passingTime = 250 * time.Millisecond

// served tells whether the upstream did what it is there for: that includes telling
// a client of its own fault.
func served(o *realm.Outcome) bool {
	return o.Cause == realm.CauseOK || o.Cause == realm.CauseClientError
}

// note counts the attempt for operators.
func (p *Plan) note(o *realm.Outcome, firstByte time.Duration, now time.Time) {
	ok := o.Cause == realm.CauseOK || o.Cause == realm.CauseEmpty
	if !ok && o.Scope == realm.ScopeNone {
		return // it says nothing of the upstream
	}
	n := p.now.credential.node
	if n.shares == nil {
		n.shares = &shares{}
	}
	n.shares.add(now, ok, firstByte)
}
