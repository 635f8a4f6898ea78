package scheduler

import (
	"slices"
	"time"

	"realms/internal/realm"
)

// survey is what a search has found that may not be asked at once, the best of
// each kind: in the order of groups and tiers, but for times.
type survey struct {
	ramp, peer choice
	open       choice // whose time ends first
	openUntil  time.Time
	full       int // candidates whose slots are all taken
	fullOpen   int // the same, with an open breaker besides
	channels   []realm.ID
	soonest    time.Time // when the first told or rate-limited one is free; zero: there is none

	// All that is kept away, by why.
	blocked, missing, pathless, limited int
	accounts                            int       // of the limited, the operator's own accounts
	limitedUntil                        time.Time // of the first limited one
}

// add notes a candidate.
func (f *survey) add(c *choice, b *block) {
	switch b.kind {
	case blockNone:
	case blockRamp:
		if !f.ramp.ok() {
			f.ramp = *c
		}
	case blockPeer:
		if !f.peer.ok() {
			f.peer = *c
		}
	case blockOpen:
		if !f.open.ok() || b.until.Before(f.openUntil) {
			f.open, f.openUntil = *c, b.until
		}
	case blockFull:
		if b.open {
			f.fullOpen++
		} else {
			f.full++
		}
		f.limited++
		f.blocked++
		if !slices.Contains(f.channels, c.channel.node.id) {
			f.channels = append(f.channels, c.channel.node.id)
		}
	case blockRate, blockTold:
		if !b.ever && (f.soonest.IsZero() || b.until.Before(f.soonest)) {
			f.soonest = b.until
		}
		f.keep(b)
		if c.channel.ch.Type == realm.CodexOAuth && b.limited() {
			f.accounts++
		}
	}
}

// limited tells whether what keeps a candidate away is its allowance.
func (b *block) limited() bool {
	return b.cause == realm.CauseRateLimited || b.cause == realm.CauseQuota
}

// keep counts one that may not be asked whatever is left.
func (f *survey) keep(b *block) {
	f.blocked++
	switch b.cause {
	case realm.CauseModelMissing:
		f.missing++
	case realm.CauseAPIMissing:
		f.pathless++
	case realm.CauseRateLimited, realm.CauseQuota:
		f.limited++
		if f.limitedUntil.IsZero() || b.until.Before(f.limitedUntil) {
			f.limitedUntil = b.until
		}
	default:
	}
}

// search goes through a tier, draws by weight among the channels that have
// something to offer at once, and notes what the others have. Channels of weight 0
// serve when no other is left.
func (p *Plan) search(group realm.ID, t *realm.Tier, now time.Time, found *survey) choice {
	var hit choice
	total := 0
	for i := range t.Candidates {
		cand := &t.Candidates[i]
		if p.form(cand.Channel, now) != p.asking {
			continue
		}
		c := p.fromChannel(group, cand, now)
		if !c.ok() {
			p.survey(group, cand, now, found)
			continue
		}
		w := cand.Channel.Weight
		if total += w; !hit.ok() || w > 0 && p.s.o.Rand(total) < w {
			hit = c
		}
	}
	return hit
}

// survey notes all of a channel's credentials that the request has not tried.
func (p *Plan) survey(group realm.ID, cand *realm.Candidate, now time.Time, found *survey) {
	bc := &p.board.channels[cand.Channel.Slot]
	for i := range bc.levels {
		for j := range bc.levels[i].endpoints {
			e := &bc.levels[i].endpoints[j]
			if p.need.Endpoint != 0 && p.need.Endpoint != e.node.id {
				continue
			}
			for k := range e.credentials {
				c := choice{group, cand, bc, e, &e.credentials[k], p.asking}
				if slices.Contains(p.tried, c.credential.cr.ID) {
					continue
				}
				b := p.block(&c, now)
				if !p.may(&b) {
					found.add(&c, &b)
				}
			}
		}
	}
}

// slotTime is when a slot may be free, which nobody knows.
const slotTime = time.Second

// Lack says why a request has no candidate at all.
type Lack uint8

// Why there may be none.
const (
	LackNothing    Lack = iota
	LackModel           // no channel of the groups binds the model
	LackAPI             // some bind it, none speaks the API
	LackState           // some speak it, none keeps state
	LackCredential      // some would do, but no credential of theirs may be used
)

// Verdict is why a plan gives no further attempt.
type Verdict struct {
	Lack Lack
	// Of the candidates that the request has not tried: how many are kept away by an
	// upstream's word or a limit of ours, and of them for want of the model, of the
	// API, and by limits. Soonest is when the first limited one is free.
	Blocked, Missing, Pathless, Limited int
	Accounts                            int // of the limited, the operator's own accounts
	Soonest                             time.Duration
	Bound                               bool   // one account alone can serve the request
	Crowded                             bool   // too many requests of the user wait for a slot already, or it waited too long
	Spent                               Budget // what the request has used up; empty: nothing
}

// Verdict looks at all candidates once more. It is for after StepNone.
func (p *Plan) Verdict(now time.Time) Verdict {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	v := Verdict{Lack: p.lack(), Bound: p.need.Credential != 0, Crowded: p.crowded, Spent: p.spent}
	var found survey
	for _, group := range p.need.Groups {
		if p.need.Credential != 0 {
			p.fromCredential(group, p.need.Credential, now, &found)
			continue
		}
		route := p.board.snap.Route(group, p.need.Model, p.need.Open)
		if route == nil {
			continue
		}
		p.spentAccounts(route, now)
		for i := range route.Tiers {
			for j := range route.Tiers[i].Candidates {
				cand := &route.Tiers[i].Candidates[j]
				if p.asking = p.form(cand.Channel, now); p.asking != 0 {
					p.survey(group, cand, now, &found)
				}
			}
		}
	}
	v.Blocked, v.Missing, v.Pathless, v.Limited = found.blocked, found.missing, found.pathless, found.limited
	v.Accounts = found.accounts
	switch {
	case found.full+found.fullOpen > 0:
		v.Soonest = slotTime
	case !found.limitedUntil.IsZero():
		v.Soonest = max(found.limitedUntil.Sub(now), 0)
	}
	return v
}

// lack examines the routes of a plan that gave nothing.
func (p *Plan) lack() Lack {
	lack := LackModel
	for _, group := range p.need.Groups {
		route := p.board.snap.Route(group, p.need.Model, p.need.Open)
		if route == nil {
			continue
		}
		for i := range route.Tiers {
			for j := range route.Tiers[i].Candidates {
				ch := route.Tiers[i].Candidates[j].Channel
				if p.need.Channel != "" && p.need.Channel != ch.Name || ch.Type == realm.CodexOAuth && !p.need.Accounts {
					continue
				}
				native, converted := ch.APIs.Has(p.need.API), ch.APIs.Has(p.need.Converted)
				keeps := !p.need.State || native && ch.KeepsState()
				switch {
				case !native && !converted:
					lack = max(lack, LackAPI)
				case !keeps:
					lack = max(lack, LackState)
				default:
					return LackCredential
				}
			}
		}
	}
	return lack
}
