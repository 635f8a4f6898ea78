package scheduler

import (
	"slices"
	"sort"
	"time"

	"realms/internal/realm"
)

// draws is how often a channel of a tier is drawn before all are looked at.
const draws = 8

// choose finds the next attempt, or what to wait for: what may be asked now, else
// an upstream's own time, or what failed by a fault that may have passed.
func (p *Plan) choose(now time.Time) Step {
	if p.starved && !p.mayRetry() {
		p.spent = BudgetRetries
		return p.wait(now, retryPause) // no use in looking
	}
	var found survey
	c, static := p.pick(now, &found)
	switch {
	case c.ok():
		step := p.ask(c, now)
		p.cautious(static && step.Kind == StepAttempt)
		return step
	case found.full+found.fullOpen > 0 && p.mayQueue():
		return p.enqueue(&found, now)
	default:
		return p.later(&found, now)
	}
}

// cautious notes whether the present attempt is on an open one because nothing else
// was left.
func (p *Plan) cautious(static bool) {
	p.caution = static
	p.static = p.static || static
}

// pick finds what may be asked now. What nothing speaks against comes first, in the
// order of groups, session, priority, weight and load; then, where nothing is left
// of these, what is only our own caution: recovering ones, credentials beside one
// that has failed, and an open breaker, unless a slot of something sound is worth
// waiting for.
func (p *Plan) pick(now time.Time, found *survey) (c choice, static bool) {
	for _, group := range p.need.Groups {
		if c := p.fromGroup(group, now, found); c.ok() {
			return c, false
		}
	}
	switch {
	case found.ramp.ok():
		return found.ramp, false
	case found.peer.ok():
		return found.peer, false
	case found.full > 0 && p.mayQueue() || p.static:
		return choice{}, false
	default:
		return found.open, true
	}
}

// ask makes a choice the next attempt, unless too many requests are on a retry.
func (p *Plan) ask(c choice, now time.Time) Step {
	p.leaveQueue()
	if p.starved = p.number > 0 && !p.mayRetry(); p.starved {
		p.spent = BudgetRetries
		return p.wait(now, retryPause)
	}
	p.retry = p.number > 0
	p.take(c, now)
	return p.step()
}

// later waits for the first of the times that are known to end.
func (p *Plan) later(found *survey, now time.Time) Step {
	told := found.soonest
	if p.spareLeft(now) && (told.IsZero() || !told.Before(p.spareAt)) {
		if d := p.spareAt.Sub(now); d > 0 {
			return p.wait(now, d)
		}
		step := p.ask(p.spare, now)
		p.spareUsed = step.Kind == StepAttempt
		return step
	}
	if told.IsZero() {
		return Step{}
	}
	// A little apart, so that those who wait for the same do not come together.
	d := told.Sub(now)
	return p.wait(now, min(d+p.spread(d/10), max(d, p.s.o.Policy.MaxWait-p.waited)))
}

// spread is a random part of a time.
func (p *Plan) spread(d time.Duration) time.Duration {
	const fine = 1 << 10
	return d * time.Duration(p.s.o.Rand(fine)) / fine
}

// spareLeft tells whether the last resort is still there: what failed by a passing
// fault may be asked once more, unless its breaker has opened meanwhile. What others
// have been told since then holds for it too: a little more is waited for.
func (p *Plan) spareLeft(now time.Time) bool {
	if !p.spare.ok() || p.spareUsed || p.full(p.spare.channel.ch) {
		return false
	}
	b := p.s.health(&p.spare, &p.need, now)
	p.spare.limits(&b, p.need.Tokens, now)
	if b.kind == blockTold && !b.ever && b.until.After(p.spareAt) {
		p.spareAt = b.until
	}
	return b.kind < blockOpen || b.kind == blockTold && !b.ever
}

// fromGroup finds what may be asked at once in a group, and notes the rest.
func (p *Plan) fromGroup(group realm.ID, now time.Time, found *survey) choice {
	if p.need.Credential != 0 {
		return p.fromCredential(group, p.need.Credential, now, found)
	}
	route := p.board.snap.Route(group, p.need.Model, p.need.Open)
	if route == nil {
		return choice{}
	}
	p.spentAccounts(route, now)
	if c := p.fromSession(group, route, now); c.ok() {
		return c
	}
	for i := range route.Tiers {
		t := &route.Tiers[i]
		for _, api := range [...]realm.API{p.need.API, p.need.Converted} {
			if !t.APIs.Has(api) {
				continue
			}
			p.asking = api
			if c := p.draw(group, t, now); c.ok() {
				return c
			}
			if c := p.search(group, t, now, found); c.ok() {
				return c
			}
		}
	}
	return choice{}
}

// fromCredential is the one candidate of a request that is bound to it.
func (p *Plan) fromCredential(group, credential realm.ID, now time.Time, found *survey) choice {
	c := choice{group: group, api: p.need.API}
	at, ok := p.board.credentials[credential]
	if !ok || !at.channel.ch.Enabled || !slices.Contains(at.channel.ch.Groups, group) {
		return choice{}
	}
	c.channel, c.endpoint, c.credential = at.channel, at.endpoint, at.credential
	if p.need.Model != "" {
		c.candidate, c.api = p.candidate(group, at.channel.ch), p.form(at.channel.ch, now)
		if c.candidate == nil || c.api == 0 {
			return choice{}
		}
	}
	if slices.Contains(p.tried, credential) {
		return choice{}
	}
	b := p.block(&c, now)
	if p.may(&b) {
		return c
	}
	found.add(&c, &b)
	return choice{}
}

// fromSession is the session's account, if it can serve the request now.
func (p *Plan) fromSession(group realm.ID, route *realm.Route, now time.Time) choice {
	if p.bound == 0 {
		return choice{}
	}
	at, ok := p.board.credentials[p.bound]
	if !ok {
		p.yielded = true // it is gone, or out of use
		return choice{}
	}
	if slices.Contains(p.tried, p.bound) {
		return choice{}
	}
	cand := candidateOf(route, at.channel.ch)
	api := p.form(at.channel.ch, now)
	if cand == nil || api == 0 {
		// Not for this request: the session keeps it for others, unless the group that
		// comes before its own can serve again.
		p.yielded = p.yielded || !at.channel.ch.Enabled || !slices.Contains(at.channel.ch.Groups, group)
		return choice{}
	}
	c := choice{group, cand, at.channel, at.endpoint, at.credential, api}
	b := p.block(&c, now)
	if b.kind <= blockRamp { // a session is no herd
		return c
	}
	p.yielded = p.yielded || b.kind != blockFull && b.kind != blockRate
	return choice{}
}

// reaches tells whether the request's groups have the channel.
func (p *Plan) reaches(ch *realm.Channel) bool {
	return slices.ContainsFunc(p.need.Groups, func(g realm.ID) bool { return slices.Contains(ch.Groups, g) })
}

// candidate is a channel as the group's route for the model has it.
func (p *Plan) candidate(group realm.ID, ch *realm.Channel) *realm.Candidate {
	route := p.board.snap.Route(group, p.need.Model, p.need.Open)
	if route == nil {
		return nil
	}
	return candidateOf(route, ch)
}

func candidateOf(route *realm.Route, ch *realm.Channel) *realm.Candidate {
	for i := range route.Tiers {
		if route.Tiers[i].Priority != ch.Priority {
			continue
		}
		list := route.Tiers[i].Candidates
		j := sort.Search(len(list), func(j int) bool { return list[j].Channel.Name >= ch.Name })
		if j < len(list) && list[j].Channel == ch {
			return &list[j]
		}
	}
	return nil
}

// form is the API in which the request may be asked of a channel, as far as that
// does not depend on a credential; 0: it may not be the channel's at all. On one that
// turned out not to have the request's own API it is the converted one.
func (p *Plan) form(ch *realm.Channel, now time.Time) realm.API {
	need := &p.need
	if need.Channel != "" && need.Channel != ch.Name || ch.Type == realm.CodexOAuth && !need.Accounts ||
		slices.Contains(p.channels, ch.ID) || p.full(ch) || need.State && !ch.KeepsState() {
		return 0
	}
	native := ch.APIs.Has(need.API)
	converted := need.Converted != 0 && !need.State && ch.APIs.Has(need.Converted) // no conversion keeps state
	switch {
	case native && converted && p.lacks(ch, need.API, now) && !p.lacks(ch, need.Converted, now):
		return need.Converted
	case native:
		return need.API
	case converted:
		return need.Converted
	default:
		return 0
	}
}

// lacks tells whether the channel has turned out not to have an API.
func (p *Plan) lacks(ch *realm.Channel, api realm.API, now time.Time) bool {
	n := p.board.channels[ch.Slot].node
	if n.marks == 0 {
		return false
	}
	m, ok := p.s.marks.get(markKey{realm.ScopeChannelAPI, n.id, api.String()})
	return ok && (m.forever || now.Before(m.told))
}

// draw picks by weight among the candidates of a tier, and the least loaded of the
// channel it hits. A tier where that keeps failing is searched.
func (p *Plan) draw(group realm.ID, t *realm.Tier, now time.Time) choice {
	total := t.Cumulative[len(t.Cumulative)-1]
	if total == 0 || len(t.Candidates) == 1 {
		return choice{} // nothing to draw for: the search is as fast
	}
	for range min(draws, 2*len(t.Candidates)) {
		hit := p.s.o.Rand(total)
		cand := &t.Candidates[sort.SearchInts(t.Cumulative, hit+1)]
		if p.form(cand.Channel, now) != p.asking {
			continue
		}
		if c := p.fromChannel(group, cand, now); c.ok() {
			return c
		}
	}
	return choice{}
}

// fromChannel is the least loaded credential of the channel that may be asked at
// once: of the best priority, the endpoint first.
func (p *Plan) fromChannel(group realm.ID, cand *realm.Candidate, now time.Time) choice {
	bc := &p.board.channels[cand.Channel.Slot]
	for i := range bc.levels {
		if c := p.fromLevel(group, cand, bc, &bc.levels[i], now); c.ok() {
			return c
		}
	}
	return choice{}
}

// fromLevel is of the endpoint with the least load; those without a credential to
// offer do not count.
func (p *Plan) fromLevel(group realm.ID, cand *realm.Candidate, bc *boardChannel, l *level, now time.Time) choice {
	best := choice{}
	seen := 0
	for w := p.walk(len(l.endpoints)); w.more(seen); {
		e := &l.endpoints[w.next(p)]
		if best.ok() && !lighter(e.node, e.weight, best.endpoint.node, best.endpoint.weight, bc.node.clock) {
			seen++
			continue
		}
		c := choice{group: group, candidate: cand, channel: bc, endpoint: e, api: p.asking}
		if c.credential = p.fromEndpoint(c, now); c.ok() {
			best = c
			seen++
		}
	}
	return best
}

// fromEndpoint is the least loaded credential of the endpoint.
func (p *Plan) fromEndpoint(c choice, now time.Time) *boardCredential {
	if p.need.Endpoint != 0 && p.need.Endpoint != c.endpoint.node.id {
		return nil
	}
	list := c.endpoint.credentials
	var best *boardCredential
	seen := 0
	for w := p.walk(len(list)); w.more(seen); {
		one := &list[w.next(p)]
		if best != nil && !lighter(one.node, one.cr.Weight, best.node, best.cr.Weight, c.endpoint.node.clock) {
			seen++
			continue
		}
		if slices.Contains(p.tried, one.cr.ID) {
			continue
		}
		c.credential = one
		if b := p.block(&c, now); p.may(&b) {
			best = one
			seen++
		}
	}
	return best
}

// block is all that keeps a candidate from being asked now.
func (p *Plan) block(c *choice, now time.Time) block {
	b := p.s.health(c, &p.need, now)
	c.limits(&b, p.need.Tokens, now)
	if slices.Contains(p.endpoints, c.endpoint.node.id) {
		b.worsen(blockPeer, time.Time{}, "")
	}
	if c.channel.ch.Type == realm.CodexOAuth && now.Before(p.spentUntil) && c.credential.cr.ID != p.bound {
		b.worsen(blockTold, p.spentUntil, realm.CauseRateLimited)
	}
	return b
}

// limits takes in those of the channel and of the credential.
func (c *choice) limits(b *block, tokens int64, now time.Time) {
	c.channel.node.block(b, tokens, now)
	c.credential.node.block(b, tokens, now)
}

// may tells whether a candidate may be asked at once. Of one that recovers only a
// growing share of the requests may; which one is in it is drawn once.
func (p *Plan) may(b *block) bool {
	if b.kind != blockNone {
		return false
	}
	if b.ramp >= 1 {
		return true
	}
	if p.lot < 0 {
		const fine = 1 << 20
		p.lot = float64(p.s.o.Rand(fine)) / fine
	}
	if p.lot < b.ramp {
		return true
	}
	b.kind = blockRamp
	return false
}
