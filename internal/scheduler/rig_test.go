package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"realms/internal/realm"
)

// rig is a scheduler over a catalogue, with a clock and everything that it tells.
type rig struct {
	*testing.T
	s    *Scheduler
	snap *realm.Snapshot
	clock

	told   []realm.Cooldown
	bound  []realm.ID
	out    []string // "name: reason"
	events []Event
}

// chatNeed is what an ordinary request of groupA needs.
var chatNeed = Need{User: 7, Groups: []realm.ID{groupA}, Model: "m", API: realm.APIChat}

func newRig(t *testing.T, channels ...*realm.Channel) *rig {
	t.Helper()
	return newRigWith(t, policy, rand.New(rand.NewPCG(11, 12)).IntN, channels...)
}

func newRigWith(t *testing.T, pol Policy, random func(int) int, channels ...*realm.Channel) *rig {
	t.Helper()
	r := &rig{T: t, snap: snapshot(channels...), clock: *newClock()}
	r.s = New(Options{
		Rand: random, Policy: pol,
		Tell:     func(c realm.Cooldown) { r.told = append(r.told, c) },
		Bind:     func(_ realm.RouteKey, id realm.ID, _ bool) { r.bound = append(r.bound, id) },
		OutOfUse: func(cr *realm.Credential, o realm.Outcome) { r.out = append(r.out, cr.Name+": "+o.Reason()) },
		Note:     func(e Event) { r.events = append(r.events, e) },
	})
	return r
}

func (r *rig) begin(need Need) *Plan {
	p := new(Plan)
	r.s.Begin(p, r.snap, need, r.now)
	return p
}

// next is the next step in few words: a credential's name, "wait 5s", "queue 10s"
// or "none".
func (r *rig) next(p *Plan) string {
	step := p.Next(r.now)
	switch step.Kind {
	case StepAttempt:
		return step.Attempt.Credential.Name
	case StepWait:
		return "wait " + step.Wait.String()
	case StepQueue:
		return "queue " + step.Wait.String()
	case StepNone:
	}
	return "none"
}

// want fails the test unless the next step is the given one.
func (r *rig) want(p *Plan, step string) {
	r.Helper()
	if got := r.next(p); got != step {
		r.Fatalf("the next step is %q, want %q", got, step)
	}
}

// got fails the test unless a step of ask is the given one.
func (r *rig) got(got, want string) {
	r.Helper()
	if got != want {
		r.Fatalf("the step is %q, want %q", got, want)
	}
}

func (r *rig) report(p *Plan, o realm.Outcome) { p.Report(&o, 0, r.now) }

// ask carries one request through a single attempt that ends as told, and says
// what its first step was. Steps other than an attempt end it.
func (r *rig) ask(need Need, o realm.Outcome) string {
	p := r.begin(need)
	defer func() { p.Close(r.now) }()
	step := r.next(p)
	if p.held {
		r.report(p, o)
	}
	return step
}

// idle fails the test if anything is still held.
func (r *rig) idle() {
	r.Helper()
	if left := leftovers(r.s); left != "" {
		r.Errorf("after the last request: %s", left)
	}
}

// leftovers names what a scheduler still holds; empty when every plan is closed
// and nothing leaked.
func leftovers(s *Scheduler) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var left string
	if s.requests != 0 || s.retrying != 0 || len(s.users) != 0 || len(s.queue.waiting) != 0 {
		left = fmt.Sprintf("%d requests, %d retries, users %v, %d in the queue; ", s.requests, s.retrying, s.users, len(s.queue.waiting))
	}
	for id, n := range s.board.nodes {
		if n.inFlight != 0 {
			left += fmt.Sprintf("%d in flight on %d; ", n.inFlight, id)
		}
	}
	counts := map[*node]int{}
	s.marks.all(func(k markKey, m *mark) {
		if !m.breaker.probing.IsZero() {
			left += fmt.Sprintf("%v is being probed; ", k)
		}
		if m.troubled {
			counts[m.owner]++
		}
	})
	for id, n := range s.board.nodes {
		if n.marks != counts[n] {
			left += fmt.Sprintf("%d marks counted on %d, there are %d; ", n.marks, id, counts[n])
		}
	}
	return left
}

// The outcomes that classify makes, one per row of the design's failure table.
var (
	connect    = realm.Outcome{Cause: realm.CauseConnect, Scope: realm.ScopeEndpoint, Next: realm.NextOther, Passing: true}
	timeout    = realm.Outcome{Cause: realm.CauseTimeout, Scope: realm.ScopeEndpoint, Next: realm.NextOther}
	overload   = realm.Outcome{Cause: realm.CauseServerError, Scope: realm.ScopeEndpointModel, Next: realm.NextOther, Status: 500, Passing: true}
	badAnswer  = realm.Outcome{Cause: realm.CauseBadAnswer, Scope: realm.ScopeEndpointModel, Next: realm.NextOther, Status: 200}
	limited    = realm.Outcome{Cause: realm.CauseRateLimited, Scope: realm.ScopeCredentialModel, Next: realm.NextOther, Status: 429}
	quota      = realm.Outcome{Cause: realm.CauseQuota, Scope: realm.ScopeCredential, Next: realm.NextOther, Status: 429}
	forbidden  = realm.Outcome{Cause: realm.CauseForbidden, Scope: realm.ScopeCredentialModel, Next: realm.NextOther, Status: 403}
	firewall   = realm.Outcome{Cause: realm.CauseBlocked, Scope: realm.ScopeEndpoint, Next: realm.NextOther, Status: 403}
	noModel    = realm.Outcome{Cause: realm.CauseModelMissing, Scope: realm.ScopeChannelModel, Next: realm.NextOther, Status: 404}
	noPath     = realm.Outcome{Cause: realm.CauseAPIMissing, Scope: realm.ScopeChannelAPI, Next: realm.NextOther, Status: 404}
	emptied    = realm.Outcome{Cause: realm.CauseEmpty, Scope: realm.ScopeEndpointModel, Next: realm.NextOther, Status: 200, Light: true}
	staleConn  = realm.Outcome{Cause: realm.CauseStaleConn, Next: realm.NextSameCredential}
	clientErr  = realm.Outcome{Cause: realm.CauseClientError, Next: realm.NextStop, Status: 400}
	clientGone = realm.Outcome{Cause: realm.CauseClientGone, Next: realm.NextStop}
)

// toldFor is a 429 that names its time.
func toldFor(d time.Duration) realm.Outcome {
	o := limited
	o.Told, o.Wait, o.Passing = true, d, d <= time.Minute
	return o
}

// known tells whether a session's account is known.
func (s *Scheduler) known(key realm.RouteKey, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boundTo(key, now) != 0
}
