package scheduler

import (
	"cmp"
	"slices"
	"time"

	"realms/internal/realm"
)

// take makes a choice the present attempt, with all that it holds.
func (p *Plan) take(c choice, now time.Time) {
	s := p.s
	p.number++
	p.now, p.held, p.began = c, true, now
	p.retry = p.retry && p.number > 1
	if p.retry {
		s.retrying++
	}
	p.lend(1)
	p.ration(now)
	s.count(p.need.User, 1, 0)
	c.advance()
	p.findOut(now)
	p.tried = append(p.tried, c.credential.cr.ID)
	p.count(c.channel.ch)
	p.attempt = realm.Attempt{
		Number: p.number, Group: c.group, Channel: c.channel.ch, Endpoint: c.endpoint.ep, Credential: c.credential.cr,
		API: c.api, Model: p.need.Model, Leaves: p.leaves(c.credential.cr.ID),
	}
	if c.candidate != nil {
		p.attempt.Model, p.attempt.Timeouts = c.candidate.Upstream(p.need.Model), c.candidate.Timeouts()
	}
}

// leaves tells whether a credential is another than the one that made what is
// encrypted in the request.
func (p *Plan) leaves(credential realm.ID) bool {
	account := cmp.Or(p.bound, p.home)
	return account != 0 && account != credential
}

// findOut makes the attempt the one that tries whether half-open breakers may
// close.
func (p *Plan) findOut(now time.Time) {
	p.probes = p.probes[:0]
	if p.now.endpoint.node.marks == 0 {
		return
	}
	for _, scope := range [...]realm.Scope{realm.ScopeEndpoint, realm.ScopeEndpointModel} {
		k, _ := p.now.key(scope, &p.need)
		if m, ok := p.s.marks.get(k); ok && m.breaker.halfOpen(now) {
			m.breaker.probing = now
			p.probes = append(p.probes, m)
		}
	}
}

func (p *Plan) count(ch *realm.Channel) {
	if ch.Settings.Attempts == 0 {
		return
	}
	for i := range p.taken {
		if p.taken[i].channel == ch.ID {
			p.taken[i].count++
			return
		}
	}
	p.taken = append(p.taken, tally{ch.ID, 1})
}

// Withdraw takes the present attempt back, as if it had not been given, because the
// request cannot be put in the other form. None is given in that form any more.
func (p *Plan) Withdraw(now time.Time) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.need.Converted = 0
	if !p.held {
		return
	}
	p.number--
	p.static = p.static && !p.caution
	p.yielded = p.yielded || p.bound == p.now.credential.cr.ID // it cannot serve the session like this
	for i := range p.taken {
		if p.taken[i].channel == p.now.channel.ch.ID {
			p.taken[i].count--
		}
	}
	for _, n := range [...]*node{p.now.channel.node, p.now.credential.node} {
		if n.rates != nil {
			n.rates.giveBack(p.began, 1, p.counted, now)
		}
	}
	p.release(now)
}

// full tells whether the channel has had all the attempts of a request that its
// settings allow.
func (p *Plan) full(ch *realm.Channel) bool {
	if ch.Settings.Attempts == 0 {
		return false
	}
	i := slices.IndexFunc(p.taken, func(t tally) bool { return t.channel == ch.ID })
	return i >= 0 && p.taken[i].count >= ch.Settings.Attempts
}

// endProbes lets the next request find out, if this one has not.
func (p *Plan) endProbes() {
	for _, m := range p.probes {
		m.breaker.probing = time.Time{}
	}
	p.probes = p.probes[:0]
}

// release gives the present attempt's slot back, and to whoever waits for it.
func (p *Plan) release(now time.Time) {
	if !p.held {
		return
	}
	s := p.s
	p.held = false
	p.lend(-1)
	s.count(p.need.User, -1, 0)
	p.endProbes()
	if p.retry {
		p.retry = false
		s.retrying--
	}
	s.serve(p.now.channel.node.id, now)
}

// Spent says how many tokens the present attempt has used, before Report.
func (p *Plan) Spent(tokens int64, now time.Time) {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.held {
		p.correct(tokens-p.counted, now)
		p.counted, p.spoke = tokens, true
	}
}

// correct changes what the present attempt is taken to have used. What is given
// back is, where it was taken, or it would be a credit later.
func (p *Plan) correct(tokens int64, now time.Time) {
	for _, n := range [...]*node{p.now.channel.node, p.now.credential.node} {
		if n.rates == nil || tokens == 0 {
			continue
		}
		if tokens > 0 {
			n.rates.add(now, 0, tokens)
		} else {
			n.rates.giveBack(p.began, 0, -tokens, now)
		}
	}
}
