package scheduler

import (
	"cmp"
	"time"

	"realms/internal/realm"
)

// Need is what a request asks of its candidates.
type Need struct {
	User   realm.ID   // whose request it is
	Groups []realm.ID // in order; one is exhausted before the next
	Model  string     // the public name; empty: about an object alone
	API    realm.API  // what the channel must speak
	// Converted is what it may speak instead, where the request can be put in another
	// form: on a channel that speaks both its own wins, in a tier those that need no
	// conversion come first. 0: nothing.
	Converted realm.API
	// Accounts: the operator's own accounts (realm.CodexOAuth) may serve it.
	Accounts bool
	Open     bool // the catalogue is not enforced: unbound names pass
	// Channel restricts the choice to one channel by name; empty: any.
	Channel string
	// Endpoint restricts it to one endpoint, whatever it is marked open; 0: any.
	Endpoint realm.ID
	// Credential restricts it to one credential, because an object that the request
	// names lives there; 0: any.
	Credential realm.ID
	// Session is bound to the credential that served it last; zero: there is none.
	Session realm.RouteKey
	// Hard: no other account than the session's can serve the request.
	Hard bool
	// State: the answer must be kept upstream.
	State bool
	// Tokens is about how many the request will use, until Spent tells.
	Tokens int64
}

// StepKind says what to do next.
type StepKind uint8

// What to do.
const (
	StepNone    StepKind = iota // give up; Verdict says why
	StepAttempt                 // make the attempt
	StepWait                    // ask again after the wait
	StepQueue                   // ask again at the turn, or after the wait
)

// Step is what comes next for a request.
type Step struct {
	Kind    StepKind
	Attempt realm.Attempt // StepAttempt
	Wait    time.Duration
	Turn    <-chan struct{} // StepQueue: closed when a slot was kept for the request
}

// Plan is the course of one request over its candidates. It is used by one
// goroutine at a time.
type Plan struct {
	s       *Scheduler
	board   *board
	need    Need
	started time.Time
	closed  bool

	number  int
	now     choice // of the present attempt
	held    bool   // its slot is taken
	attempt realm.Attempt
	began   time.Time
	probes  []*mark // that the attempt finds out about
	counted int64   // tokens that it is taken to have used
	spoke   bool    // its answer has begun: what was counted stays
	retry   bool    // it counts as a retry
	again   bool    // the outcome asked for the same credential once more

	tried     []realm.ID // credentials
	triedRoom [6]realm.ID
	endpoints []realm.ID // beside which an attempt has failed
	channels  []realm.ID // put out of question by a failure
	asking    realm.API  // the form for which a tier is looked through
	taken     []tally    // attempts on channels that bound them

	spare     choice    // the first that failed by a passing fault
	spareAt   time.Time // not asked before
	spareUsed bool
	static    bool // an open one was asked because nothing else was left
	caution   bool // the present attempt is that one

	home    realm.ID // the session's credential, whatever model is asked for
	bound   realm.ID // the session's credential for this model; 0: none
	yielded bool     // it could not serve this request: another takes its place
	lot     float64  // which share of a recovering upstream's requests this one is in

	// spentUntil is when the plan of one of the operator's accounts is filled up
	// again; before, no other of them takes its place. Zero: none is used up.
	spentUntil time.Time

	waited  time.Duration // for an upstream's time to come
	since   time.Time     // when the present wait began; zero: none
	queued  *waiter       // nil: not in the queue
	starved bool          // of retries, when it looked last
	spent   Budget        // which one ended it, or keeps it waiting
	crowded bool          // the queue was full, or took too long
}

// tally counts a request's attempts on one channel.
type tally struct {
	channel realm.ID
	count   int
}

// choice is one candidate.
type choice struct {
	group      realm.ID
	candidate  *realm.Candidate // nil: about an object alone
	channel    *boardChannel
	endpoint   *boardEndpoint
	credential *boardCredential
	api        realm.API // in which it is asked: Need.API, or Need.Converted
}

func (c *choice) ok() bool { return c.credential != nil }

// Begin starts the course of a request, which counts as in flight until Close. p
// is overwritten, and must not be copied afterwards.
func (s *Scheduler) Begin(p *Plan, snap *realm.Snapshot, need Need, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*p = Plan{s: s, board: s.adopt(snap, now), need: need, started: now, lot: -1}
	p.tried = p.triedRoom[:0]
	s.requests++
	if need.Session.IsZero() {
		return
	}
	p.bound = s.boundTo(need.Session, now)
	p.home = p.bound
	if p.bound != 0 && !p.offers(p.bound, now) {
		// Its account does not have this model: the session has another one for it.
		p.need.Session = need.Session.For(need.Model)
		p.bound = s.boundTo(p.need.Session, now)
	}
	if need.Hard && need.Credential == 0 {
		p.need.Credential = p.author(cmp.Or(p.bound, p.home))
	}
}

// Close gives back what the plan holds. It may be called again.
func (p *Plan) Close(now time.Time) {
	if p.s == nil {
		return
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.closed {
		return
	}
	p.closed = true
	p.s.requests--
	p.leaveQueue()
	p.release(now)
}

// Next says what comes next. An attempt that it gives holds its slot until Report
// or Close.
func (p *Plan) Next(now time.Time) Step {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if p.held && !p.again { // kept for it while it was in the queue
		p.leaveQueue()
		return p.step()
	}
	p.endWait(now)
	if p.spent = p.overspent(now); p.spent != "" {
		return Step{}
	}
	if p.again {
		p.again = false
		if p.mayRepeat(now) {
			p.repeat(now)
			return p.step()
		}
		p.release(now)
	}
	return p.choose(now)
}

// retryPause is how soon a request asks again for its share of retries.
const retryPause = 50 * time.Millisecond

// mayRepeat tells whether the same credential may be asked once more: another
// request may have heard a word against it meanwhile. Its own slot, which it still
// has, is no reason against it.
func (p *Plan) mayRepeat(now time.Time) bool {
	p.lend(-1)
	defer p.lend(1)
	b := p.block(&p.now, now)
	return b.kind < blockRate && !p.full(p.now.channel.ch)
}

// repeat makes the same attempt once more in the slot it has.
func (p *Plan) repeat(now time.Time) {
	p.number++
	p.attempt.Number, p.attempt.API, p.began = p.number, p.now.api, now
	p.count(p.now.channel.ch)
	p.ration(now)
}

// lend adds to what is under way on the present choice.
func (p *Plan) lend(n int) {
	for _, one := range [...]*node{p.now.channel.node, p.now.endpoint.node, p.now.credential.node} {
		one.inFlight += n
	}
}

// ration counts an attempt against the limits of a minute.
func (p *Plan) ration(now time.Time) {
	p.counted, p.spoke = p.need.Tokens, false
	for _, n := range [...]*node{p.now.channel.node, p.now.credential.node} {
		if n.rates != nil {
			n.rates.add(now, 1, p.counted)
		}
	}
}

// Budget is one of the bounds on what a request may cost.
type Budget string

// The budgets.
const (
	BudgetAttempts Budget = "attempts"
	BudgetTime     Budget = "time"
	BudgetRetries  Budget = "retries" // the share of requests that may be on a retry
)

// overspent keeps a request within its attempts and its time. A second attempt is
// always allowed, so that one time-out does not end a request.
func (p *Plan) overspent(now time.Time) Budget {
	if most := p.s.o.Policy.Attempts; most > 0 && p.number >= most {
		return BudgetAttempts
	}
	if !p.mayStartIn(now, 0) {
		return BudgetTime
	}
	return ""
}

// mayRetry keeps retries a small part of all requests, so that a storm of failures
// is never multiplied.
func (p *Plan) mayRetry() bool {
	share := p.s.o.Policy.RetryShare
	return p.s.retrying < max(minRetries, p.s.requests*share/100)
}

func (p *Plan) step() Step { return Step{Kind: StepAttempt, Attempt: p.attempt} }

// wait has the request ask again, unless it has waited enough in all.
func (p *Plan) wait(now time.Time, d time.Duration) Step {
	if left := p.s.o.Policy.MaxWait - p.waited; d > left || !p.mayStartIn(now, d) {
		return Step{}
	}
	p.since = now
	return Step{Kind: StepWait, Wait: max(d, time.Millisecond)}
}

func (p *Plan) mayStartIn(now time.Time, d time.Duration) bool {
	most := p.s.o.Policy.FailoverTime
	return p.number < 2 || most == 0 || now.Add(d).Sub(p.started) < most
}

// within bounds a wait by what is left of the request's time.
func (p *Plan) within(d time.Duration, now time.Time) time.Duration {
	if most := p.s.o.Policy.FailoverTime; p.number >= 2 && most > 0 {
		d = min(d, most-now.Sub(p.started))
	}
	return max(d, time.Millisecond)
}

func (p *Plan) endWait(now time.Time) {
	if !p.since.IsZero() {
		p.waited += now.Sub(p.since)
		p.since = time.Time{}
	}
}

// Number is how many attempts were given; none before Begin.
func (p *Plan) Number() int {
	if p.s == nil {
		return 0
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	return p.number
}
