package scheduler

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// narrow is a channel whose only credential takes so many at once.
func narrow(n int) *realm.Channel {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.Concurrent = n
	return ch
}

func of(user realm.ID) Need {
	n := chatNeed
	n.User = user
	return n
}

// A freed slot goes to the user with the least under way, and of that user to the
// request that came first.
func TestTheQueueIsFairByUser(t *testing.T) {
	r := newRig(t, narrow(3))
	var under []*Plan
	for range 3 {
		p := r.begin(of(1))
		r.want(p, "a1")
		under = append(under, p)
	}
	var order []string
	queue := map[string]*Plan{}
	wait := func(user realm.ID, n int) {
		name := fmt.Sprintf("%d/%d", user, n)
		queue[name] = r.begin(of(user))
		r.want(queue[name], "queue 10s")
	}
	for i := range 4 { // user 1's flood comes first
		wait(1, i)
	}
	for i := range 2 {
		wait(2, i)
	}
	wait(3, 0)
	for range 7 {
		under[0].Close(r.now)
		under = under[1:]
		for name, p := range queue {
			if p.held {
				order = append(order, name)
				delete(queue, name)
				r.want(p, "a1")
				under = append(under, p)
			}
		}
	}
	if diff := cmp.Diff([]string{"2/0", "3/0", "1/0", "2/1", "1/1", "1/2", "1/3"}, order); diff != "" {
		t.Errorf("served (-want +got):\n%s", diff)
	}
	for _, p := range under {
		p.Close(r.now)
	}
	r.idle()
}

// Twenty of one user may wait; the bound of one is nobody else's.
func TestTheQueueIsBoundedByUser(t *testing.T) {
	r := newRig(t, narrow(1))
	p := r.begin(of(1))
	r.want(p, "a1")
	plans := []*Plan{p}
	for range policy.QueueSize {
		p := r.begin(of(1))
		r.want(p, "queue 10s")
		r.want(p, "queue 10s") // asked again, it keeps its place
		plans = append(plans, p)
	}
	late := r.begin(of(1))
	r.want(late, "none")
	if v := late.Verdict(r.now); !v.Crowded || v.Limited != 1 || v.Soonest != slotTime {
		t.Errorf("the verdict is %+v", v)
	}
	other := r.begin(of(2))
	r.want(other, "queue 10s")
	plans[3].Close(r.now) // one leaves
	again := r.begin(of(1))
	r.want(again, "queue 10s")
	for _, p := range append(plans, late, other, again) {
		p.Close(r.now)
	}
	r.idle()
}

func TestTheQueuesTime(t *testing.T) {
	r := newRig(t, narrow(1))
	p, q := r.begin(of(1)), r.begin(of(2))
	r.want(p, "a1")
	r.want(q, "queue 10s")
	r.pass(9 * time.Second)
	r.want(q, "queue 1s")
	r.pass(time.Second)
	r.want(q, "none")
	if v := q.Verdict(r.now); !v.Crowded {
		t.Errorf("the verdict is %+v", v)
	}
	q.Close(r.now)
	p.Close(r.now)
	r.idle()
}

// A request in the queue leaves it for another tier's slot at once, and never waits
// while anything at all is free.
func TestTheQueueIsForWhenAllAreFull(t *testing.T) {
	second := channel(2, "b", groupA, -5, 1, []string{"b1"})
	second.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, narrow(1), second)
	p, q, w := r.begin(of(1)), r.begin(of(2)), r.begin(of(3))
	r.want(p, "a1")
	r.want(q, "b1")
	r.want(w, "queue 10s")
	step := w.Next(r.now)
	q.Close(r.now)
	select {
	case <-step.Turn:
	default:
		t.Error("its turn has not come")
	}
	r.want(w, "b1")
	w.Close(r.now)
	p.Close(r.now)
	r.idle()
}

// A slot whose request has left goes on to the next, and is nobody's loss.
func TestASlotIsPassedOn(t *testing.T) {
	r := newRig(t, narrow(1))
	p := r.begin(of(1))
	r.want(p, "a1")
	var queue []*Plan
	for i := range 5 {
		q := r.begin(of(realm.ID(10 + i)))
		r.want(q, "queue 10s")
		queue = append(queue, q)
	}
	queue[2].Close(r.now) // left before its turn
	r.report(p, success)
	p.Close(r.now)
	for i, want := range []int{0, 1, 3, 4} {
		if !queue[want].held {
			t.Fatalf("slot %d has not reached request %d", i, want)
		}
		queue[want].Close(r.now) // left while its turn came
	}
	r.idle()
}

// A flood of one user starves nobody: real waiting, with real goroutines.
func TestAFloodStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Options{Rand: first, Policy: policy})
		snap := snapshot(narrow(4))
		type result struct {
			user realm.ID
			took time.Duration
			ok   bool
		}
		results := make(chan result, 2000)
		run := func(user realm.ID) {
			began := time.Now()
			var p Plan
			s.Begin(&p, snap, of(user), began)
			defer func() { p.Close(time.Now()) }()
			for {
				switch step := p.Next(time.Now()); step.Kind {
				case StepAttempt:
					results <- result{user, time.Since(began), true}
					time.Sleep(time.Second)
					p.Report(&success, 0, time.Now())
					return
				case StepQueue:
					select {
					case <-time.After(step.Wait):
					case <-step.Turn:
					}
				case StepWait, StepNone:
					results <- result{user, time.Since(began), false}
					return
				}
			}
		}
		for range 60 { // 10 a second of user 1, twice and a half what there is; 1 a second of each other
			for range 10 {
				go run(1)
			}
			go run(2)
			go run(3)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		close(results)
		served, refused := map[realm.ID]int{}, map[realm.ID]int{}
		for res := range results {
			if !res.ok {
				refused[res.user]++
				continue
			}
			served[res.user]++
			if res.user != 1 && res.took > 2*time.Second {
				t.Errorf("user %d waits %v behind the flood", res.user, res.took)
			}
		}
		if served[2] != 60 || served[3] != 60 || refused[2]+refused[3] > 0 || served[1] < 100 {
			t.Errorf("served %v, refused %v", served, refused)
		}
		if left := leftovers(s); left != "" {
			t.Error(left)
		}
	})
}

// A slot of the queue is no way around the time in which attempts may start.
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
	need := chatNeed // what it has not tried is taken
	for _, id := range []realm.ID{10000, 10100, 10200} {
		if !slices.Contains(p.tried, id) {
			need.Credential = id
		}
	}
	blocker := r.begin(need)
	if step := blocker.Next(r.now); step.Kind != StepAttempt {
		t.Fatalf("the third credential is not free: %+v", step)
	}
	r.want(p, "queue 250ms") // it looks again soon, for its share of retries
	r.pass(5 * time.Second)  // 33 s after its start
	blocker.Close(r.now)
	if p.held {
		t.Errorf("attempt %d began %v after the request", p.number, r.now.Sub(p.started))
	}
	p.Close(r.now)
}

// Nor around the share of retries.
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
		r.want(p, "queue 250ms")
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

// A slot is offered to whoever can use it, however many before it cannot.
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

// A freed slot wakes a request even where only our own caution (an open
// breaker, recovering, a failure beside it) keeps it away: it would be asked at
// once if it came now.
func TestAFreeSlotOfWhatIsOpenOrRecovering(t *testing.T) {
	for _, recovering := range []bool{false, true} {
		t.Run(fmt.Sprintf("recovering=%v", recovering), func(t *testing.T) {
			ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
			ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
			r := newRigWith(t, policy, func(n int) int { return n - 1 }, ch) // never in a ramp's share
			for range failuresInARow {
				r.got(r.ask(chatNeed, timeout), "a1")
			}
			if recovering {
				r.pass(12 * time.Second)
				r.got(r.ask(chatNeed, success), "a1")
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

// Number may be read while the plan is in the queue. (Needs -race.)
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

// A slot that other processes have freed is noticed.
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
