package scheduler

import (
	"slices"
	"time"

	"realms/internal/realm"
)

// How long an upstream's word holds where it names no time.
const (
	refusedTime   = time.Minute      // a key's first 401
	confirmTime   = 10 * time.Second // a second 401 counts this much later
	forbiddenTime = 10 * time.Minute
	missingTime   = 10 * time.Minute // a model that the channel lacks
	blockedTime   = time.Minute      // a firewall's page
	leastTold     = 250 * time.Millisecond

	limitLeast = 5 * time.Second // 429s that name no time, doubling
	limitMost  = 5 * time.Minute
	quotaLeast = 10 * time.Minute // insufficient quota, doubling
	quotaMost  = time.Hour
	// quotaBelieved is the shortest time that is believed of a quota: what names a
	// shorter one means requests a second.
	quotaBelieved = time.Minute
)

// markKey is what a mark is about: the scope names whose id it is.
type markKey struct {
	scope realm.Scope
	id    realm.ID
	name  string // the model or the API; empty: all
}

// mark is the health of one thing: what the upstream said of it, and a breaker.
type mark struct {
	key      markKey
	owner    *node
	troubled bool // counted in owner.marks

	told    time.Time // not asked before
	forever bool      // until it changes or is mended
	shared  bool      // another process was told: it has no strikes here
	cause   realm.Cause
	plan    bool      // told by a plan's allowance, and not by a limit of requests a minute
	set     time.Time // when told was
	print   uint32    // of what was told, when it was
	strikes int       // 429s or quotas in a row that named no time
	refused time.Time // the first 401 that is unconfirmed
	tokens  int64     // the version of the account's tokens that were refused, where nothing else is told; else 0

	breaker breaker
	failure realm.Cause // the last one of the breaker
}

// block says whether a candidate may be asked, the worst of its marks.
type block struct {
	kind  blockKind
	until time.Time // blockTold, blockOpen, blockRate: when it ends
	ever  bool      // blockTold without an end
	open  bool      // a breaker is open, whatever else there is
	cause realm.Cause
	ramp  float64 // the share of requests it takes, below 1 while it recovers
}

// blockKind orders what keeps a candidate from being asked, lightest first.
type blockKind uint8

const (
	blockNone blockKind = iota
	blockRamp           // recovering, and this request is not of its share
	blockPeer           // an attempt of this request has failed beside it
	blockOpen
	blockRate // its requests or tokens of the last minute
	blockFull // its requests at once
	blockTold
)

// worsen takes in another reason.
func (b *block) worsen(kind blockKind, until time.Time, cause realm.Cause) {
	switch {
	case kind > b.kind:
		b.kind, b.until, b.cause = kind, until, cause
	case kind == b.kind && until.After(b.until):
		b.until, b.cause = until, cause
	}
}

// consult takes in a mark. One that says nothing any more is no trouble from then
// on.
func (m *mark) consult(b *block, now time.Time) {
	calm := true
	if m.forever || now.Before(m.told) {
		b.worsen(blockTold, m.told, m.cause)
		b.ever = b.ever || m.forever
		calm = false
	} else if r := ramp(m.told, now); r < 1 {
		b.ramp = min(b.ramp, r)
		calm = false
	}
	if until, blocked := m.breaker.blocks(now); blocked {
		b.open = true
		b.worsen(blockOpen, until, m.failure)
	}
	if r := ramp(m.breaker.closed, now); r < 1 {
		b.ramp = min(b.ramp, r)
		calm = false
	}
	if calm && !m.breaker.isOpen {
		m.calm()
	}
}

// consult takes in the marks of a node that concern the request.
func (s *Scheduler) consult(b *block, n *node, wide, narrow markKey, now time.Time) {
	if n.marks > len(n.known) { // a node with many names: by look-up
		for _, k := range [...]markKey{wide, narrow} {
			if m, ok := s.marks.get(k); ok && m.troubled {
				m.consult(b, now)
			}
		}
		return
	}
	for i := len(n.known) - 1; i >= 0; i-- { // one that calms down is replaced by the last
		m := n.known[i]
		if m.key != wide && m.key != narrow {
			continue
		}
		if s.marks.crowded() {
			s.marks.get(m.key) // what keeps requests away is not forgotten for a flood of names
		}
		m.consult(b, now)
	}
}

// health is the worst that is known of one candidate.
func (s *Scheduler) health(c *choice, need *Need, now time.Time) block {
	b := block{ramp: 1}
	if n := c.channel.node; n.marks > 0 {
		s.consult(&b, n, markKey{realm.ScopeChannelAPI, n.id, c.api.String()}, markKey{realm.ScopeChannelModel, n.id, need.Model}, now)
	}
	if n := c.endpoint.node; n.marks > 0 {
		s.consult(&b, n, markKey{realm.ScopeEndpoint, n.id, ""}, markKey{realm.ScopeEndpointModel, n.id, need.Model}, now)
	}
	if n := c.credential.node; n.marks > 0 {
		s.consult(&b, n, markKey{realm.ScopeCredential, n.id, ""}, markKey{realm.ScopeCredentialModel, n.id, need.Model}, now)
	}
	return b
}

// key is the mark that a scope means for a candidate.
func (c *choice) key(scope realm.Scope, need *Need) (markKey, *node) {
	switch scope {
	case realm.ScopeCredential:
		return markKey{scope, c.credential.node.id, ""}, c.credential.node
	case realm.ScopeCredentialModel:
		return markKey{scope, c.credential.node.id, need.Model}, c.credential.node
	case realm.ScopeEndpoint:
		return markKey{scope, c.endpoint.node.id, ""}, c.endpoint.node
	case realm.ScopeEndpointModel:
		return markKey{scope, c.endpoint.node.id, need.Model}, c.endpoint.node
	case realm.ScopeChannelModel:
		return markKey{scope, c.channel.node.id, need.Model}, c.channel.node
	case realm.ScopeChannelAPI:
		return markKey{scope, c.channel.node.id, c.api.String()}, c.channel.node
	case realm.ScopeNone:
	}
	return markKey{}, nil
}

// mark finds or makes the mark of a key.
func (s *Scheduler) mark(k markKey, owner *node) *mark {
	if m, ok := s.marks.get(k); ok {
		if m.owner != owner {
			s.forgetMark(m) // of a part that was gone for a while
			m.owner = owner
		}
		return m
	}
	m := &mark{key: k, owner: owner}
	s.marks.put(k, m)
	return m
}

// trouble makes the choice look at the mark.
func (m *mark) trouble() {
	if m.troubled {
		return
	}
	m.troubled = true
	m.owner.marks++
	if len(m.owner.known) < fewMarks {
		m.owner.known = append(m.owner.known, m)
	}
}

// calm takes that back.
func (m *mark) calm() {
	n := m.owner
	m.troubled = false
	n.marks--
	if i := slices.Index(n.known, m); i >= 0 {
		last := len(n.known) - 1
		n.known[i], n.known[last] = n.known[last], nil
		n.known = n.known[:last]
	}
}

// fewMarks are looked at one by one; of more, the two that concern a request are
// looked up.
const fewMarks = 8

func (s *Scheduler) forgetMark(m *mark) {
	if m.troubled {
		m.calm()
	}
}

// tell notes the upstream's word that it must not be asked for a time.
func (s *Scheduler) tell(k markKey, m *mark, now time.Time, d time.Duration, cause realm.Cause) {
	until := now.Add(max(d, leastTold))
	m.plan = cause == realm.CauseRateLimited && d >= planWait || m.plan && now.Before(m.told)
	m.set, m.shared, m.tokens = now, false, 0
	if until.After(m.told) {
		m.told, m.cause = until, cause
	}
	m.trouble()
	if s.o.Tell != nil {
		m.print = m.owner.fingerprint(s.o.Salt)
		s.o.Tell(realm.Cooldown{Scope: k.scope, ID: k.id, Name: k.name, Until: m.told, Cause: m.cause, Print: m.print})
	}
}

// strike is how long something that names no time is left alone: doubling, once
// for all the requests that were under way together.
func (m *mark) strike(now, began time.Time, least, most time.Duration) time.Duration {
	if m.strikes > 0 && !began.After(m.set) {
		return max(m.told.Sub(now), 0) // it is counted already
	}
	d := most
	if shift := min(m.strikes, 16); least<<shift < most {
		d = least << shift
	}
	m.strikes++
	return d
}

// clear takes back what a success disproves: that an unnamed limit grows, that a
// key is refused.
func (s *Scheduler) clear(k markKey) {
	if m, ok := s.marks.get(k); ok {
		m.strikes, m.refused = 0, time.Time{}
	}
}
