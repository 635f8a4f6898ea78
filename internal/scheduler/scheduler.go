// Package scheduler chooses, among the credentials that may serve a request,
// the one to ask next: groups in the token's order, then priority, then weight.
//
// It owns the choice and what one request has learned of its candidates (what
// was tried, what a failure put out of question). It does no I/O, keeps no clock
// and never decides whether a failure may be retried: upstream classifies, and
// the gateway asks for the next attempt or stops.
package scheduler

import (
	"slices"
	"time"

	"realms/internal/realm"
)

// Scheduler makes plans. It is safe for concurrent use.
type Scheduler struct {
	// Rand returns a uniform number in [0, n); math/rand/v2's IntN serves.
	Rand func(n int) int
	// MaxWait bounds the wait before the last resort of Plan.Next.
	MaxWait time.Duration
}

// Need is what a request asks of its candidates.
type Need struct {
	Groups []realm.ID // in order; one is exhausted before the next
	Model  string     // the public name
	API    realm.API  // what the channel must speak
	Open   bool       // the catalogue is not enforced: unbound names pass
	// Channel restricts the choice to one channel by name; empty: any.
	Channel string
	// Credential restricts the choice to one credential, because an object that
	// the request names lives there; 0: any.
	Credential realm.ID
}

// Plan is the course of one request over its candidates. It belongs to that
// request's goroutine.
type Plan struct {
	sched *Scheduler
	snap  *realm.Snapshot
	need  Need

	number  int
	current realm.Attempt
	again   bool // the outcome asked for the same credential once more

	tried      []realm.ID // credentials
	endpoints  []realm.ID // put out of question by a failure
	channels   []realm.ID
	spare      realm.Attempt // the first that failed by a passing fault
	spareWait  time.Duration
	lastResort bool // the spare was given out
}

// passingTime is the least wait before a fault is taken to have passed: asked
// again at once, an upstream that fails under load only gets more of it.
const passingTime = 250 * time.Millisecond

// Plan begins the course of a request.
func (s *Scheduler) Plan(snap *realm.Snapshot, need Need) Plan {
	return Plan{sched: s, snap: snap, need: need}
}

// Next gives the next attempt and how long to wait before making it. It gives
// each credential once; when all were tried, one whose fault may have passed is
// given once more. False means that nothing is left.
func (p *Plan) Next() (realm.Attempt, time.Duration, bool) {
	if p.again {
		p.again = false
		return p.take(p.current), 0, true
	}
	for _, group := range p.need.Groups {
		if a, ok := p.fromGroup(group); ok {
			p.tried = append(p.tried, a.Credential.ID)
			return p.take(a), 0, true
		}
	}
	if p.spare.Credential != nil && !p.lastResort {
		p.lastResort = true
		return p.take(p.spare), p.spareWait, true
	}
	return realm.Attempt{}, 0, false
}

func (p *Plan) take(a realm.Attempt) realm.Attempt {
	p.number++
	a.Number = p.number
	p.current = a
	return a
}

// Report tells the plan how the attempt that Next gave last has ended.
func (p *Plan) Report(o *realm.Outcome) {
	switch o.Next {
	case realm.NextSameCredential, realm.NextWithoutField:
		p.again = true
		return
	case realm.NextStop, realm.NextOther:
	}
	switch o.Scope {
	case realm.ScopeEndpoint, realm.ScopeEndpointModel:
		p.endpoints = append(p.endpoints, p.current.Endpoint.ID)
	case realm.ScopeChannelModel, realm.ScopeChannelAPI:
		p.channels = append(p.channels, p.current.Channel.ID)
	case realm.ScopeNone, realm.ScopeCredential, realm.ScopeCredentialModel:
	}
	if wait := max(o.Wait, passingTime); o.Passing && wait <= p.sched.MaxWait && p.spare.Credential == nil {
		p.spare, p.spareWait = p.current, wait
	}
}

// fromGroup picks in the best tier of the group that has a candidate left.
func (p *Plan) fromGroup(group realm.ID) (realm.Attempt, bool) {
	route := p.snap.Route(group, p.need.Model, p.need.Open)
	if route == nil {
		return realm.Attempt{}, false
	}
	for i := range route.Tiers {
		if c := p.pickChannel(route.Tiers[i].Candidates); c != nil {
			a := realm.Attempt{Group: group, Channel: c.Channel, Model: c.Upstream(p.need.Model), Timeouts: c.Timeouts()}
			a.Credential = p.pickCredential(c.Channel)
			a.Endpoint = a.Credential.Endpoint
			return a, true
		}
	}
	return realm.Attempt{}, false
}

// pickChannel draws by weight among the candidates that still have a credential
// to offer. Those of weight 0 are drawn when no other is left.
func (p *Plan) pickChannel(candidates []realm.Candidate) *realm.Candidate {
	total, last := 0, -1
	for i := range candidates {
		if p.channelLeft(candidates[i].Channel) {
			total += candidates[i].Channel.Weight
			last = i
		}
	}
	if last < 0 {
		return nil
	}
	draw := 0
	if total > 0 {
		draw = p.sched.Rand(total)
	}
	for i := range candidates[:last] {
		ch := candidates[i].Channel
		if !p.channelLeft(ch) || (total > 0 && ch.Weight == 0) {
			continue
		}
		if draw -= ch.Weight; draw < 0 || total == 0 {
			return &candidates[i]
		}
	}
	return &candidates[last]
}

// pickCredential draws by weight among the channel's best-priority credentials
// that are left. The caller knows that there is one.
func (p *Plan) pickCredential(ch *realm.Channel) *realm.Credential {
	best, total := 0, 0
	var only *realm.Credential
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			switch {
			case !p.credentialLeft(ep, cr):
			case only == nil || cr.Priority > best:
				best, total, only = cr.Priority, cr.Weight, cr
			case cr.Priority == best:
				total += cr.Weight
			}
		}
	}
	if total == 0 {
		return only
	}
	draw := p.sched.Rand(total)
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if cr.Priority != best || !p.credentialLeft(ep, cr) {
				continue
			}
			if draw -= cr.Weight; draw < 0 {
				return cr
			}
		}
	}
	return only
}

func (p *Plan) channelLeft(ch *realm.Channel) bool {
	if !ch.APIs.Has(p.need.API) || slices.Contains(p.channels, ch.ID) ||
		(p.need.Channel != "" && p.need.Channel != ch.Name) {
		return false
	}
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if p.credentialLeft(ep, cr) {
				return true
			}
		}
	}
	return false
}

func (p *Plan) credentialLeft(ep *realm.Endpoint, cr *realm.Credential) bool {
	return cr.Usable() &&
		(p.need.Credential == 0 || p.need.Credential == cr.ID) &&
		!slices.Contains(p.tried, cr.ID) &&
		!slices.Contains(p.endpoints, ep.ID)
}

// Lack says why a plan gave no attempt at all.
type Lack uint8

// Why there may be no candidate.
const (
	LackNothing    Lack = iota
	LackModel           // no channel of the groups binds the model
	LackAPI             // some bind it, none speaks the API
	LackCredential      // some would do, but no credential of theirs may be used
)

// Lack examines a plan whose first Next found nothing.
func (p *Plan) Lack() Lack {
	lack := LackModel
	for _, group := range p.need.Groups {
		route := p.snap.Route(group, p.need.Model, p.need.Open)
		if route == nil {
			continue
		}
		for i := range route.Tiers {
			for j := range route.Tiers[i].Candidates {
				ch := route.Tiers[i].Candidates[j].Channel
				if p.need.Channel != "" && p.need.Channel != ch.Name {
					continue
				}
				if ch.APIs.Has(p.need.API) {
					return LackCredential
				}
				lack = LackAPI
			}
		}
	}
	return lack
}
