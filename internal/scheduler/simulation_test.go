package scheduler

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"realms/internal/realm"
)

// A day of virtual requests against upstreams that flap, drip, limit and die by a
// seed. REALMS_SIM_SEED runs another seed (a number, or "random").

// simSeeds are always run. A seed that has found something stays, with what it was.
var simSeeds = []struct {
	seed  uint64
	found string
}{
	{4, "after all had died together, what died once more took the one attempt of each request that open breakers get"},
	{5, "the longest darkness: 400 requests that nobody could serve"},
	{6, "several endpoints recover at once"},
	{20261123, ""},
}

func TestSimulation(t *testing.T) { simulate(t, 1, 100_000) }

func TestHeavySimulation(t *testing.T) {
	text := os.Getenv("REALMS_SIM_SEED")
	if text == "" {
		for _, tt := range simSeeds {
			t.Run(fmt.Sprint(tt.seed), func(t *testing.T) { simulate(t, tt.seed, 100_000) })
		}
		return
	}
	seed := rand.Uint64()
	if text != "random" {
		n, err := strconv.ParseUint(text, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	simulate(t, seed, 100_000)
}

// simulation is one run. Its lock makes the scheduler's word and its own record
// one step.
type simulation struct {
	*world
	mu   sync.Mutex
	s    *Scheduler
	seed uint64

	requests, served, failed, left, cut, clientFaults int
	attempts                                          int
	excused                                           map[string]int // failed while somebody could have served, by why
	starved                                           int            // of them: without an excuse
	spared                                            int            // failed while nobody could have served
	outage                                            struct{ requests, attempts int }
	firsts                                            map[realm.ID]int // first attempts in the calm, by channel and credential
	failures                                          map[realm.ID]int // in a row, by endpoint
	recoveries                                        []*recovery
	watching                                          map[realm.ID]*recovery
	herd                                              map[realm.ID]time.Time // when a breaker closed
	afterwards, herded                                int
	problems                                          []string
	example                                           string // of one starved
}

// recovery is the end of an endpoint's outage, until it serves again.
type recovery struct {
	endpoint realm.ID
	at       time.Time
	took     time.Duration // until its first success; 0: none yet
	missed   int           // requests that it could have served, later than mostRecovery
}

// mostRecovery is how long after its upstream an endpoint may be back.
const mostRecovery = 35 * time.Second

func simulate(t *testing.T, seed uint64, requests int) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		sim := &simulation{
			world: newWorld(seed, time.Now()), seed: seed, excused: map[string]int{}, firsts: map[realm.ID]int{},
			failures: map[realm.ID]int{}, watching: map[realm.ID]*recovery{}, herd: map[realm.ID]time.Time{},
		}
		sim.s = New(Options{Rand: rand.New(rand.NewPCG(seed, 2)).IntN, Policy: policy, OutOfUse: sim.outOfUse, Note: sim.note})
		for id := range sim.parts {
			if id > 100 && id < 10_000 {
				go sim.watchEndpoint(id)
			}
		}
		sim.arrivals(requests)
		time.Sleep(time.Until(sim.start.Add(day + 6*time.Hour))) // the operator has mended everything
		synctest.Wait()
		sim.check(t)
	})
}

// arrivals lets requests come for a day: at random, with bursts.
func (sim *simulation) arrivals(requests int) {
	var all sync.WaitGroup
	rng := rand.New(rand.NewPCG(sim.seed, 3))
	mean := float64(day) / float64(requests) * 1.5
	var burst time.Time
	for i := 0; i < requests; i++ {
		gap := mean
		if now := time.Now(); now.Before(burst) {
			gap /= 15
		} else if rng.IntN(600) == 0 {
			burst = now.Add(30 * time.Second)
		}
		time.Sleep(time.Duration(rng.ExpFloat64() * gap))
		id := uint64(i)
		all.Go(func() { sim.request(id) })
	}
	all.Wait()
}

// need is what a request asks for.
func (sim *simulation) need(rng *rand.Rand, calm bool) Need {
	lists := [][]realm.ID{{groupA}, {groupA}, {groupB}, {groupA, groupB}, {groupC, groupA}, {groupC}}
	n := Need{User: realm.ID(1 + rng.IntN(50)), Groups: lists[rng.IntN(len(lists))], Model: "m1", API: realm.APIChat}
	if rng.IntN(3) == 0 {
		n.Model = "m2"
	}
	if !calm && rng.IntN(3) == 0 {
		n.Session = realm.RouteKey{byte(rng.IntN(250)), 1}
	}
	return n
}

// patience is a request's client: how long it stays.
type patience struct{ until time.Time }

// stay waits, and tells whether the client is still there.
func (c *patience) stay(d time.Duration, turn <-chan struct{}) bool {
	left := d
	if !c.until.IsZero() {
		left = min(left, time.Until(c.until))
	}
	t := time.NewTimer(left)
	defer t.Stop()
	select {
	case <-t.C:
		return left == d
	case <-turn:
		return true
	}
}

// course is one virtual request under way.
type simCourse struct {
	rng    *rand.Rand
	client patience
	need   Need
	plan   Plan
	begun  time.Time
	tried  []realm.ID
	outage bool // it began while an outage was known, and somebody could serve it
	calm   bool
	again  bool // the last attempt met a stale connection
}

func (sim *simulation) calm(now time.Time) bool {
	at := now.Sub(sim.start)
	return at >= calmSince && at < calmTo
}

// request is what the gateway does with one.
func (sim *simulation) request(id uint64) {
	c := &simCourse{rng: rand.New(rand.NewPCG(sim.seed, id+100)), begun: time.Now()}
	c.calm = sim.calm(c.begun)
	c.need = sim.need(c.rng, c.calm)
	if c.rng.IntN(30) == 0 {
		c.client.until = c.begun.Add(time.Duration(c.rng.ExpFloat64() * float64(5*time.Second)))
	}
	sim.mu.Lock()
	sim.requests++
	sim.s.Begin(&c.plan, sim.snap, c.need, c.begun)
	c.outage = sim.knownOutage(c) && sim.usable(c, c.begun) != ""
	sim.mu.Unlock()
	result := sim.execute(c)
	sim.mu.Lock()
	defer sim.mu.Unlock()
	*result++
	c.plan.Close(time.Now())
	sim.attempts += len(c.tried)
	if c.outage {
		sim.outage.requests++
		sim.outage.attempts += max(len(c.tried), 1)
	}
}

// execute loops over the plan, and says what the request counts as.
func (sim *simulation) execute(c *simCourse) *int {
	for {
		step := sim.next(c)
		switch step.Kind {
		case StepAttempt:
			if result := sim.exchange(c, &step.Attempt); result != nil {
				return result
			}
		case StepWait, StepQueue:
			if !c.client.stay(step.Wait, step.Turn) {
				return &sim.left
			}
		case StepNone:
			return &sim.failed
		}
	}
}

// next asks the plan, and holds what it gives against what was told.
func (sim *simulation) next(c *simCourse) Step {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	now := time.Now()
	step := c.plan.Next(now)
	switch step.Kind {
	case StepAttempt:
		sim.asked(c, &step.Attempt, now)
	case StepNone:
		sim.gaveUp(c, now)
	case StepWait, StepQueue:
		if step.Wait <= 0 {
			sim.problem("a step waits %v", step.Wait)
		}
	}
	return step
}

func (sim *simulation) problem(format string, args ...any) {
	sim.problems = append(sim.problems, fmt.Sprintf(format, args...))
}

// asked checks one attempt: nothing told is asked, no limit is passed.
func (sim *simulation) asked(c *simCourse, a *realm.Attempt, now time.Time) {
	ch, ep, cr := a.Channel.ID, a.Endpoint.ID, a.Credential.ID
	if k, ok := sim.quiet(ch, ep, cr, c.need.Model, now); !ok {
		sim.problem("%v: %s is asked %v before its time (%v)", now.Sub(sim.start), a.Credential.Name, sim.told[k].Sub(now), k)
	}
	for _, id := range [...]realm.ID{ch, ep, cr} {
		u := sim.parts[id]
		u.inFlight++
		u.asked = append(u.asked, now)
		if u.most > 0 && u.inFlight > u.most {
			sim.problem("%v: %d at once on %d, which takes %d", now.Sub(sim.start), u.inFlight, id, u.most)
		}
		if n := len(u.asked); u.rpm > 0 && n > u.rpm && now.Sub(u.asked[n-1-u.rpm]) < time.Minute {
			sim.problem("%v: %d in %v on %d, which takes %d a minute", now.Sub(sim.start), u.rpm+1, now.Sub(u.asked[n-1-u.rpm]), id, u.rpm)
		}
	}
	if slices.Contains(c.tried, cr) && !c.plan.spareUsed && !c.again {
		sim.problem("%s is asked twice by one request", a.Credential.Name)
	}
	if len(c.tried) == 0 {
		sim.first(c, a, now)
	}
	c.tried = append(c.tried, cr)
	if n := len(c.tried); n > policy.Attempts || n > 2 && now.Sub(c.begun) > policy.FailoverTime {
		sim.problem("attempt %d begins %v after its request", n, now.Sub(c.begun))
	}
}

// first counts first attempts: for shares, for the herd, and those that went past
// an endpoint that is back.
func (sim *simulation) first(c *simCourse, a *realm.Attempt, now time.Time) {
	if c.calm && c.need.Groups[0] == groupA {
		sim.firsts[a.Channel.ID]++
		sim.firsts[a.Credential.ID]++
	}
	if c.plan.bound != 0 {
		return
	}
	for ep, closed := range sim.herd {
		if now.Sub(closed) > time.Second {
			delete(sim.herd, ep)
		} else if sim.reaches(c, ep) && sim.healthyPeer(c, ep, now) {
			sim.afterwards++
			if a.Endpoint.ID == ep {
				sim.herded++
			}
		}
	}
	for ep, r := range sim.watching {
		if r.took == 0 && now.Sub(r.at) > mostRecovery && sim.parts[ep].inFlight == 0 && sim.passedBy(c, a, ep, now) {
			r.missed++
		}
	}
}

// passedBy tells whether an endpoint could have served the request, and would have
// been no worse a choice by its channel's group and priority.
func (sim *simulation) passedBy(c *simCourse, a *realm.Attempt, ep realm.ID, now time.Time) bool {
	if a.Endpoint.ID == ep {
		return false
	}
	ch := sim.snap.Channels()[slices.IndexFunc(sim.snap.Channels(), func(ch *realm.Channel) bool { return ch.ID == ep/100 })]
	place := func(ch *realm.Channel) int {
		return slices.IndexFunc(c.need.Groups, func(g realm.ID) bool { return slices.Contains(ch.Groups, g) })
	}
	mine, theirs := place(ch), place(a.Channel)
	if mine < 0 || mine > theirs || mine == theirs && ch.Priority < a.Channel.Priority || ch.Weight == 0 {
		return false
	}
	for _, e := range ch.Endpoints {
		for _, cr := range e.Credentials {
			if e.ID == ep && sim.serves(ch, e, cr, c, now) {
				return true
			}
		}
	}
	return false
}

// serves tells whether a candidate would serve the request now.
func (sim *simulation) serves(ch *realm.Channel, ep *realm.Endpoint, cr *realm.Credential, c *simCourse, now time.Time) bool {
	if !cr.Usable() || sim.full(ch.ID, cr.ID, now) || sim.answer(ch.ID, ep.ID, cr.ID, c.need.Model, now) != nil {
		return false
	}
	_, ok := sim.quiet(ch.ID, ep.ID, cr.ID, c.need.Model, now)
	return ok
}

// healthyPeer tells whether the request has somebody to go to beside an endpoint,
// who is known to be well.
func (sim *simulation) healthyPeer(c *simCourse, ep realm.ID, now time.Time) bool {
	but := []realm.ID{ep}
	for id, n := range sim.failures {
		if n > 0 {
			but = append(but, id)
		}
	}
	return sim.usable(c, now, but...) != ""
}

// usable names a credential that would serve the request now and that it has not
// tried; empty: there is none.
func (sim *simulation) usable(c *simCourse, now time.Time, but ...realm.ID) string {
	for _, group := range c.need.Groups {
		route := sim.snap.Route(group, c.need.Model, false)
		if route == nil {
			continue
		}
		for _, tier := range route.Tiers {
			for _, cand := range tier.Candidates {
				for _, ep := range cand.Channel.Endpoints {
					for _, cr := range ep.Credentials {
						if !slices.Contains(but, ep.ID) && !slices.Contains(c.tried, cr.ID) && sim.serves(cand.Channel, ep, cr, c, now) {
							return cr.Name
						}
					}
				}
			}
		}
	}
	return ""
}

func (sim *simulation) reaches(c *simCourse, ep realm.ID) bool {
	for _, ch := range sim.snap.Channels() {
		if ch.ID == ep/100 {
			_, offers := ch.Offers(c.need.Model)
			return offers && slices.ContainsFunc(c.need.Groups, func(g realm.ID) bool { return slices.Contains(ch.Groups, g) })
		}
	}
	return false
}

// knownOutage tells whether an endpoint that the request reaches is out, for long
// enough that this has been noticed.
func (sim *simulation) knownOutage(c *simCourse) bool {
	for ep, n := range sim.failures {
		if n >= failuresInARow && sim.reaches(c, ep) && sim.parts[ep].fault(c.begun.Sub(sim.start), "") != nil {
			return true
		}
	}
	return false
}

// gaveUp judges a request that is refused.
func (sim *simulation) gaveUp(c *simCourse, now time.Time) {
	name := sim.usable(c, now)
	v := c.plan.Verdict(now)
	switch {
	case name == "":
		sim.spared++
	case len(c.tried) >= policy.Attempts:
		sim.excused["attempts"]++
	case now.Sub(c.begun) >= policy.FailoverTime-policy.MaxWait && len(c.tried) > 1:
		sim.excused["time"]++
	case v.Spent != "":
		sim.excused[string(v.Spent)]++
	default:
		sim.starved++
		if sim.starved == 1 {
			sim.example = fmt.Sprintf("%v: a request of %v for %s fails after %v, having tried %v, while %s would serve it; marks: %s",
				now.Sub(sim.start), c.need.Groups, c.need.Model, now.Sub(c.begun), c.tried, name, sim.marks(now))
		}
	}
}

// marks shows what the scheduler holds against whom.
func (sim *simulation) marks(now time.Time) string {
	text := ""
	for id, list := range sim.s.marksByID(now) {
		for _, m := range list {
			text += fmt.Sprintf("%d %s %s(%s) %v; ", id, m.Kind, m.For, m.Cause, m.Until.Sub(now).Round(time.Second))
		}
	}
	return text
}

// exchange makes one attempt with the upstream. Nil: another may follow.
func (sim *simulation) exchange(c *simCourse, a *realm.Attempt) *int {
	ch, ep, cr := a.Channel.ID, a.Endpoint.ID, a.Credential.ID
	stale := !c.again && c.rng.IntN(100) == 0
	c.again = stale
	sim.mu.Lock()
	now := time.Now()
	fault := sim.answer(ch, ep, cr, c.need.Model, now)
	if stale {
		sim.mu.Unlock()
		sim.report(c, a, staleConn, 0)
		return nil
	}
	if fault == nil {
		sim.parts[cr].begun = append(sim.parts[cr].begun, now)
	}
	sim.mu.Unlock()
	if fault != nil {
		o, after := sim.outcome(c, fault, now)
		if !c.client.stay(after, nil) {
			sim.report(c, a, clientGone, 0)
			return &sim.left
		}
		if o.Told {
			o.Wait = max(fault.to-time.Since(sim.start), 0)
		}
		sim.report(c, a, o, 0)
		return nil
	}
	return sim.serve(c, a, ep)
}

// serve is an answer that begins well: it may still be cut.
func (sim *simulation) serve(c *simCourse, a *realm.Attempt, ep realm.ID) *int {
	firstByte := 100*time.Millisecond + time.Duration(c.rng.ExpFloat64()*float64(time.Second))
	if !c.client.stay(firstByte, nil) {
		sim.report(c, a, clientGone, 0)
		return &sim.left
	}
	if c.rng.IntN(50) == 0 {
		sim.report(c, a, clientErr, firstByte)
		return &sim.clientFaults
	}
	stream := c.rng.IntN(3) > 0
	if stream {
		sim.mu.Lock()
		c.plan.Committed(time.Now())
		sim.succeeded(ep)
		sim.mu.Unlock()
	}
	length := min(time.Duration(c.rng.ExpFloat64()*float64(8*time.Second)), 5*time.Minute)
	at := time.Since(sim.start)
	for _, s := range sim.parts[ep].spells {
		if s.fault == faultDown && s.from > at && s.from < at+length {
			length = s.from - at
			if !c.client.stay(length, nil) {
				break
			}
			if stream {
				sim.report(c, a, realm.Outcome{Cause: realm.CauseUpstreamCut, Scope: realm.ScopeEndpointModel}, firstByte)
				return &sim.cut
			}
			sim.report(c, a, badAnswer, firstByte)
			return nil
		}
	}
	if !c.client.stay(length, nil) {
		sim.report(c, a, clientGone, firstByte)
		return &sim.left
	}
	sim.report(c, a, success, firstByte)
	return &sim.served
}

// outcome is what classify would make of a fault, and how long it takes to show.
func (sim *simulation) outcome(c *simCourse, s *spell, now time.Time) (realm.Outcome, time.Duration) {
	soon := 20*time.Millisecond + time.Duration(c.rng.Int64N(int64(300*time.Millisecond)))
	switch s.fault {
	case faultDown:
		return connect, soon
	case faultErrors, faultFlap:
		return overload, 3 * soon
	case faultGarbage:
		return badAnswer, 5 * soon
	case faultDrip:
		return timeout, 20 * time.Second
	case faultFirewall:
		return firewall, soon
	case faultKey:
		return refusal, soon
	case faultRevoked:
		o := refusal
		o.Final = true
		return o, soon
	case faultQuota:
		return quota, soon
	case faultLimit:
		return toldFor(min(s.to-now.Sub(sim.start), 10*time.Minute)), soon
	case faultBusy:
		return limited, soon
	case faultModel:
		return forbidden, soon
	case faultMissing:
		return noModel, soon
	case faultNone:
	}
	panic("a fault without an outcome")
}

// report tells the scheduler and writes down what the upstream has said.
func (sim *simulation) report(c *simCourse, a *realm.Attempt, o realm.Outcome, firstByte time.Duration) {
	sim.mu.Lock()
	defer sim.mu.Unlock()
	now := time.Now()
	ch, ep, cr := a.Channel.ID, a.Endpoint.ID, a.Credential.ID
	for _, id := range [...]realm.ID{ch, ep, cr} {
		sim.parts[id].inFlight--
	}
	if o.Cause == realm.CauseStaleConn {
		// The slot stays the plan's: the credential is asked once more.
		c.plan.Report(&o, firstByte, now)
		return
	}
	if o.Told {
		o.Wait = min(o.Wait, 10*time.Minute)
		o.Passing = o.Wait <= time.Minute
	}
	c.plan.Report(&o, firstByte, now)
	tell := func(scope realm.Scope, id realm.ID, name string, d time.Duration) {
		k := markKey{scope, id, name}
		if until := now.Add(d); until.After(sim.told[k]) {
			sim.told[k] = until
		}
	}
	switch o.Cause {
	case realm.CauseRateLimited:
		if o.Told {
			tell(o.Scope, cr, c.need.Model, o.Wait)
		} else {
			tell(o.Scope, cr, c.need.Model, limitLeast)
		}
	case realm.CauseQuota:
		tell(o.Scope, cr, "", quotaLeast)
	case realm.CauseAuth:
		tell(o.Scope, cr, "", refusedTime)
	case realm.CauseForbidden:
		tell(o.Scope, cr, c.need.Model, forbiddenTime)
	case realm.CauseBlocked:
		tell(o.Scope, ep, "", blockedTime)
	case realm.CauseModelMissing:
		tell(o.Scope, ch, c.need.Model, missingTime)
	case realm.CauseConnect, realm.CauseTimeout, realm.CauseServerError, realm.CauseBadAnswer:
		sim.failures[ep]++
	case realm.CauseOK, realm.CauseClientError:
		sim.succeeded(ep)
	default:
	}
}

// succeeded notes that an endpoint serves.
func (sim *simulation) succeeded(ep realm.ID) {
	sim.failures[ep] = 0
	if r := sim.watching[ep]; r != nil && r.took == 0 {
		r.took = time.Since(r.at)
		delete(sim.watching, ep)
	}
}

// watchEndpoint notes when an endpoint's outages end.
func (sim *simulation) watchEndpoint(id realm.ID) {
	spells := slices.SortedFunc(slices.Values(sim.parts[id].spells), func(a, b spell) int { return int(a.to - b.to) })
	for i, s := range spells {
		time.Sleep(time.Until(sim.start.Add(s.to)))
		sim.mu.Lock()
		delete(sim.watching, id) // the next outage has begun, or begins below
		next := i+1 == len(spells) || spells[i+1].from > s.to+3*time.Minute
		if sim.failures[id] >= failuresInARow && next && s.fault != faultFlap {
			r := &recovery{endpoint: id, at: time.Now()}
			sim.watching[id] = r
			sim.recoveries = append(sim.recoveries, r)
		}
		sim.mu.Unlock()
		if i+1 < len(spells) {
			time.Sleep(time.Until(sim.start.Add(spells[i+1].from)))
			sim.mu.Lock()
			delete(sim.watching, id)
			sim.mu.Unlock()
		}
	}
}

// note hears of breakers.
func (sim *simulation) note(e Event) {
	if e.Kind == MarkRecovering {
		sim.herd[e.Endpoint] = time.Now()
	}
}

// outOfUse is the catalogue and then the operator, half an hour later.
func (sim *simulation) outOfUse(cr *realm.Credential, _ realm.Outcome) {
	now := time.Now()
	if now.Before(sim.outUntil[cr.ID]) {
		sim.problem("%s is put out of use twice", cr.Name)
	}
	sim.outUntil[cr.ID] = now.Add(30 * time.Minute)
	id := cr.ID
	go func() {
		time.Sleep(500 * time.Millisecond)
		sim.mu.Lock()
		sim.publish(time.Now())
		sim.mu.Unlock()
		time.Sleep(30 * time.Minute)
		sim.mu.Lock()
		defer sim.mu.Unlock()
		sim.keys[id] += "+"
		delete(sim.told, markKey{realm.ScopeCredential, id, ""})
		for k := range sim.told {
			if k.id == id {
				delete(sim.told, k)
			}
		}
		sim.publish(time.Now())
	}()
}

// check holds the whole day against what was promised.
func (sim *simulation) check(t *testing.T) {
	t.Helper()
	t.Logf("seed %d: %d requests (%d served, %d client faults, %d left, %d cut, %d failed), %d attempts", sim.seed, sim.requests, sim.served, sim.clientFaults, sim.left, sim.cut, sim.failed, sim.attempts)
	t.Logf("of the failed: %d could not be served, %d had spent their budget %v, %d are without an excuse", sim.spared, sim.failed-sim.spared-sim.starved, sim.excused, sim.starved)
	if sim.example != "" {
		t.Logf("without an excuse, for instance: %s", sim.example)
	}
	for _, p := range sim.problems[:min(len(sim.problems), 10)] {
		t.Errorf("seed %d: %s", sim.seed, p)
	}
	if bad := sim.failed - sim.spared; float64(bad) > 0.001*float64(sim.requests) {
		t.Errorf("seed %d: %d requests failed while somebody would have served them", sim.seed, bad)
	}
	if n := float64(sim.outage.attempts) / float64(max(sim.outage.requests, 1)); n > 1.2 {
		t.Errorf("seed %d: %.3f attempts a request during known outages (%d requests)", sim.seed, n, sim.outage.requests)
	} else {
		t.Logf("known outages: %d requests, %.3f attempts each", sim.outage.requests, n)
	}
	sim.checkRecoveries(t)
	sim.checkShares(t)
	if sim.afterwards > 0 {
		share := float64(sim.herded) / float64(sim.afterwards)
		t.Logf("herd: %d of %d", sim.herded, sim.afterwards)
		if share > 0.1+4*math.Sqrt(0.1*0.9/float64(sim.afterwards)) {
			t.Errorf("seed %d: %d of %d requests went to what had just recovered", sim.seed, sim.herded, sim.afterwards)
		}
	}
	sim.s.adopt(sim.snap, time.Now())
	if left := leftovers(sim.s); left != "" {
		t.Errorf("seed %d: after the last request: %s", sim.seed, left)
	}
	for id, u := range sim.parts {
		if u.inFlight != 0 {
			t.Errorf("seed %d: %d requests are still with %d", sim.seed, u.inFlight, id)
		}
	}
}

// checkRecoveries: an endpoint that is back is asked within its time, or by one of
// the first requests that are its share.
func (sim *simulation) checkRecoveries(t *testing.T) {
	t.Helper()
	quick, next := 0, 0
	for _, r := range sim.recoveries {
		switch {
		case r.took > 0 && r.took <= mostRecovery:
			quick++
		case r.missed == 0:
			next++
		case r.missed > 60: // its share is a quarter at least: less likely than one in ten millions
			t.Errorf("seed %d: %d, which recovered at %v, was asked %v later, and %d requests went past it", sim.seed, r.endpoint, r.at.Sub(sim.start), r.took, r.missed)
		}
	}
	most := 0
	for _, r := range sim.recoveries {
		most = max(most, r.missed)
	}
	t.Logf("recoveries: %d, %d within %v, %d with the next request, the others past %d at most", len(sim.recoveries), quick, mostRecovery, next, most)
}

// checkShares: in the calm, requests of group A go by weight.
func (sim *simulation) checkShares(t *testing.T) {
	t.Helper()
	within := func(name string, got, all int, want float64) {
		n := float64(all)
		off := math.Abs(float64(got)/n-want) / want
		if off > max(0.03, 4*math.Sqrt((1-want)/(want*n))) {
			t.Errorf("seed %d: %s served %d of %d, want %.3f of them", sim.seed, name, got, all, want)
		}
	}
	alpha, beta := sim.firsts[1], sim.firsts[2]
	within("alpha", alpha, alpha+beta, 0.75)
	for _, id := range []realm.ID{10000, 10001, 10100, 10101} {
		within(fmt.Sprint(id), sim.firsts[id], alpha, 0.25)
	}
	t.Logf("the calm: alpha %d, beta %d", alpha, beta)
}
