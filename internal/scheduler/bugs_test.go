package scheduler

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"realms/internal/realm"
)

// Each test here fails for as long as the scheduler differs from the design.

// B1. Limits of the newest catalogue hold, whatever older snapshot a request that
// was reading its body comes with.
func TestAnOlderSnapshotDoesNotLiftLimits(t *testing.T) {
	limitedOne := channel(1, "a", groupA, 0, 1, []string{"a1"})
	limitedOne.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, limitedOne)
	older := r.snap
	r.snap = realm.NewSnapshot(2, nil, nil, []*realm.Channel{func() *realm.Channel {
		ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
		ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
		return ch
	}()})
	older.Channels()[0].Endpoints[0].Credentials[0].Limits = realm.Limits{}
	p := r.begin(chatNeed)
	r.want(p, "a1")
	newest := r.snap
	r.snap = older
	late := r.begin(chatNeed)
	late.Close(r.now)
	r.snap = newest
	q := r.begin(chatNeed)
	if got := r.next(q); got != "queue 10s" {
		t.Errorf("beside a request that fills the credential the next step is %q, want the queue", got)
	}
	q.Close(r.now)
	p.Close(r.now)
	r.idle()
}

// B2. A last resort takes no more than the limits leave.
func TestTheLastResortKeepsLimits(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, ch)
	p := r.begin(chatNeed)
	r.want(p, "a1")
	r.report(p, overload)
	other := r.begin(chatNeed)
	r.want(other, "a1")
	r.pass(300 * time.Millisecond)
	if step := p.Next(r.now); step.Kind == StepAttempt {
		t.Errorf("%d requests at once on a credential that takes one", r.s.board.nodes[10000].inFlight)
	}
	p.Close(r.now)
	other.Close(r.now)
	r.idle()
}

// B3. "The same credential once more" takes no slot that went to somebody else.
func TestAskingTheSameAgainKeepsLimits(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, ch)
	p, q := r.begin(chatNeed), r.begin(chatNeed)
	r.want(p, "a1")
	r.want(q, "queue 10s")
	r.report(p, staleConn)
	p.Next(r.now)
	if n := r.s.board.nodes[10000].inFlight; n > 1 {
		t.Errorf("%d requests at once on a credential that takes one", n)
	}
	p.Close(r.now)
	q.Close(r.now)
	r.idle()
}

// B4. What another request was told meanwhile holds for "the same once more".
func TestAskingTheSameAgainHeedsWhatWasTold(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
	p, q := r.begin(chatNeed), r.begin(chatNeed)
	r.want(p, "a1")
	r.want(q, "a1")
	r.report(q, toldFor(time.Minute))
	q.Close(r.now)
	r.report(p, staleConn)
	if got := r.next(p); got == "a1" {
		t.Errorf("a1 is asked again although it said not to for a minute")
	}
	p.Close(r.now)
	r.idle()
}

// B5. "The same once more" is an attempt like any other for the budget.
func TestAskingTheSameAgainIsWithinTheAttempts(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
	p := r.begin(chatNeed)
	defer func() { p.Close(r.now) }()
	for n := range 10 {
		if r.next(p) != "a1" {
			return
		}
		if n >= policy.Attempts {
			t.Fatalf("attempt %d of %d was given", n+1, policy.Attempts)
		}
		r.report(p, staleConn)
	}
}

// B6. A slot of the queue is no way around the time in which attempts may start.
func TestTheQueueStartsNothingAfterTheFailoverTime(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"}, []string{"a2"}, []string{"a3"})
	for _, ep := range ch.Endpoints {
		ep.Credentials[0].Limits.Concurrent = 1
	}
	r := newRig(t, ch)
	p := r.begin(chatNeed)
	r.next(p)
	r.pass(20 * time.Second)
	r.report(p, timeout)
	r.next(p)
	r.pass(8 * time.Second)
	r.report(p, timeout)
	// The third is taken by now.
	blocker := r.begin(chatNeed)
	for {
		name := r.next(blocker)
		if name != p.attempt.Credential.Name && blocker.held {
			third := true
			for _, id := range p.tried {
				third = third && id != blocker.attempt.Credential.ID
			}
			if third {
				break
			}
		}
		r.report(blocker, realm.Outcome{Cause: realm.CauseAuth, Next: realm.NextOther})
	}
	step := p.Next(r.now)
	if step.Kind != StepQueue {
		t.Skipf("the step is %d: it does not queue", step.Kind)
	}
	r.pass(5 * time.Second) // 33 s after its start
	blocker.Close(r.now)
	if p.held {
		t.Errorf("attempt %d began %v after the request", p.number, r.now.Sub(p.started))
	}
	p.Close(r.now)
}

// B7. Nor around the share of retries.
func TestTheQueueKeepsTheShareOfRetries(t *testing.T) {
	slow := channel(1, "a", groupA, 0, 1, []string{"a1"}, []string{"a2"}, []string{"a3"}, []string{"a4"}, []string{"a5"}, []string{"a6"})
	slow.Settings.Attempts = 1
	full := channel(2, "b", groupA, -1, 1, []string{"b1"})
	full.Endpoints[0].Credentials[0].Limits.Concurrent = 6
	r := newRig(t, slow, full)
	var blockers, plans []*Plan
	for range 6 {
		p := r.begin(Need{User: 1, Groups: chatNeed.Groups, Model: "m", API: realm.APIChat, Channel: "b"})
		r.want(p, "b1")
		blockers = append(blockers, p)
	}
	for i := range 6 {
		p := r.begin(Need{User: 2 + realm.ID(i), Groups: chatNeed.Groups, Model: "m", API: realm.APIChat})
		r.next(p)
		r.report(p, refusal) // the channel takes one attempt of each
		r.want(p, "queue 10s")
		plans = append(plans, p)
	}
	for _, p := range blockers {
		p.Close(r.now)
		if most := max(minRetries, r.s.requests*policy.RetryShare/100); r.s.retrying > most {
			t.Fatalf("%d requests are on a retry, %d may", r.s.retrying, most)
		}
	}
	for _, p := range plans {
		p.Close(r.now)
	}
	r.idle()
}

// B8. A slot is offered to whoever can use it, however many before it cannot.
func TestAFreeSlotReachesWhoCanUseIt(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"x", "y"})
	for _, cr := range ch.Endpoints[0].Credentials {
		cr.Limits.Concurrent = 1
	}
	r := newRig(t, ch)
	var plans []*Plan
	bound := func(user, credential realm.ID) *Plan {
		need := chatNeed
		need.User, need.Credential = user, credential
		p := r.begin(need)
		plans = append(plans, p)
		return p
	}
	x, y := bound(1, 10000), bound(2, 10001)
	r.want(x, "x")
	r.want(y, "y")
	for i := range 10 {
		r.want(bound(realm.ID(10+i), 10000), "queue 10s")
	}
	waiting := bound(3, 10001)
	r.want(waiting, "queue 10s")
	y.Close(r.now)
	if !waiting.held {
		t.Error("y is free, one request waits for it, and is not woken")
	}
	for _, p := range plans {
		p.Close(r.now)
	}
	r.idle()
}

// B9. A freed slot wakes a request even where only our own caution (an open
// breaker, recovering, a failure beside it) keeps it away: it would be asked at
// once if it came now.
func TestAFreeSlotOfWhatIsOpenOrRecovering(t *testing.T) {
	for _, recovering := range []bool{false, true} {
		t.Run(fmt.Sprintf("recovering=%v", recovering), func(t *testing.T) {
			ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
			ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
			r := newRigWith(t, policy, func(n int) int { return n - 1 }, ch) // never in a ramp's share
			for range failuresInARow {
				r.want2(r.ask(chatNeed, timeout), "a1")
			}
			if recovering {
				r.pass(12 * time.Second)
				r.want2(r.ask(chatNeed, success), "a1")
				r.pass(time.Second)
			}
			p, q := r.begin(chatNeed), r.begin(chatNeed)
			r.want(p, "a1")
			r.want(q, "queue 10s")
			r.report(p, clientGone)
			p.Close(r.now)
			if !q.held {
				t.Error("the slot is free, and the request in the queue is not woken")
				late := r.begin(chatNeed)
				t.Logf("one that comes now: %s", r.next(late))
				late.Close(r.now)
			}
			q.Close(r.now)
			r.idle()
		})
	}
}

func (r *rig) want2(got, want string) {
	r.Helper()
	if got != want {
		r.Fatalf("the step is %q, want %q", got, want)
	}
}

// B10. Number may be read while the plan is in the queue. (Needs -race.)
func TestNumberWhileInTheQueue(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, ch)
	p, q := r.begin(chatNeed), r.begin(chatNeed)
	r.want(p, "a1")
	r.want(q, "queue 10s")
	var wg sync.WaitGroup
	wg.Go(func() { p.Close(r.now) })
	q.Number() // as the gateway does when the client leaves meanwhile
	wg.Wait()
	q.Close(r.now)
	r.idle()
}

// B11. A session whose channel is out of reach for good belongs to whoever serves
// it next.
func TestASessionLeavesADisabledChannel(t *testing.T) {
	build := func(version int64, enabled bool) *realm.Snapshot {
		a := channel(1, "a", groupA, 9, 1, []string{"a1"})
		a.Enabled = enabled
		b := channel(2, "b", groupA, 0, 1, []string{"b1", "b2", "b3", "b4"})
		return realm.NewSnapshot(version, nil, nil, []*realm.Channel{a, b})
	}
	r := newRig(t)
	r.snap = build(1, true)
	need := chatNeed
	need.Session = realm.RouteKey{1}
	r.want2(r.ask(need, success), "a1")
	r.snap = build(2, false)
	first := r.ask(need, success)
	for range 10 {
		p := r.begin(need)
		step := p.Next(r.now)
		if got := step.Attempt.Credential.Name; got != first || step.Attempt.Leaves {
			t.Errorf("the session, served by %s, is now served by %s (leaves: %v)", first, got, step.Attempt.Leaves)
			p.Close(r.now)
			break
		}
		r.report(p, success)
		p.Close(r.now)
	}
	r.idle()
}

// B12. A minute of sixty seconds: no window of that length holds more than the
// limit.
func TestRequestsPerMinuteInAnyWindow(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.RequestsPerMinute = 10
	r := newRig(t, ch)
	r.pass(900 * time.Millisecond)
	var times []time.Time
	for range 4000 {
		if r.ask(chatNeed, success) == "a1" {
			times = append(times, r.now)
		}
		r.pass(50 * time.Millisecond)
	}
	for i, at := range times {
		if i >= 10 && at.Sub(times[i-10]) < time.Minute {
			t.Fatalf("11 requests within %v, 10 a minute are allowed", at.Sub(times[i-10]))
		}
	}
}

// B13. Tokens that an attempt did not use are taken off where they were put:
// otherwise they are a credit later on.
func TestTokensGivenBackAreNoCredit(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.TokensPerMinute = 1000
	r := newRig(t, ch)
	need := chatNeed
	need.Tokens = 1000
	p := r.begin(need)
	r.want(p, "a1")
	r.pass(50 * time.Second)
	r.report(p, clientGone) // gives all of them back
	p.Close(r.now)
	r.pass(11 * time.Second)
	r.want2(r.ask(need, success), "a1")
	r.pass(time.Second)
	if got := r.ask(need, success); got == "a1" {
		t.Errorf("2,000 tokens in two seconds on a credential that takes 1,000 a minute")
	}
}

// B14. Failures of attempts from before the recovery do not count after it.
func TestFailuresFromBeforeTheRecovery(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
	var old []*Plan
	for range 6 {
		p := r.begin(chatNeed)
		r.want(p, "a1")
		old = append(old, p)
	}
	for range failuresInARow {
		r.ask(chatNeed, overload)
	}
	r.pass(15 * time.Second)
	r.want2(r.ask(chatNeed, success), "a1")
	r.pass(time.Second)
	for _, p := range old {
		r.report(p, overload)
		p.Close(r.now)
	}
	r.pass(time.Second)
	before := len(r.events)
	r.ask(chatNeed, overload)
	for _, e := range r.events[before:] {
		if e.Kind == MarkOpen {
			t.Error("one failure after the recovery opens the breaker again")
		}
	}
	r.idle()
}

// B15. What was away does not get everything when it is back, whatever the weights
// are counted in.
func TestNoCatchingUpWithLargeWeights(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"x", "y"})
	for _, cr := range ch.Endpoints[0].Credentials {
		cr.Weight = 100
	}
	r := newRig(t, ch)
	need := chatNeed
	for r.ask(need, toldFor(time.Minute)) != "x" {
	}
	r.pass(2 * time.Minute)
	r.s.Mend(r.snap, 1, 0, time.Now())
	p := r.begin(need)
	for r.next(p) != "x" {
		r.report(p, success)
		p.Close(r.now)
		p = r.begin(need)
	}
	r.report(p, toldFor(10*time.Minute))
	p.Close(r.now)
	for range 2000 {
		r.want2(r.ask(need, success), "y")
	}
	r.pass(20 * time.Minute)
	row := 0
	for range 1000 {
		if r.ask(need, success) != "x" {
			break
		}
		row++
	}
	if row > 2*behind {
		t.Errorf("after being away x serves %d requests in a row", row)
	}
}

// B17. A slot that other processes have freed is noticed.
func TestOthersFreeASlot(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, ch)
	r.ask(chatNeed, success)
	r.s.SetOthers(map[realm.ID]realm.Load{10000: {InFlight: 1}}, r.now)
	p := r.begin(chatNeed)
	r.want(p, "queue 10s")
	r.s.SetOthers(nil, r.now)
	if !p.held {
		t.Error("the slot is free, and the request in the queue is not woken")
	}
	p.Close(r.now)
	r.idle()
}

// B20. Requests that began at the very instant of the first word were under way
// with it.
func TestLimitsAtTheSameInstantCountOnce(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
	p, q := r.begin(chatNeed), r.begin(chatNeed)
	r.want(p, "a1")
	r.want(q, "a1")
	r.report(p, limited)
	r.report(q, limited)
	if got := r.told[1].Until.Sub(r.now); got != limitLeast {
		t.Errorf("the second word of two at the same instant holds for %v, want %v", got, limitLeast)
	}
	p.Close(r.now)
	q.Close(r.now)
}
