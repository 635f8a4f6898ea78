package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func many(n int) *realm.Channel { return shapes[1].build(n)[0] }

func TestAttempts(t *testing.T) {
	for _, most := range []int{1, 3, 6} {
		pol := policy
		pol.Attempts = most
		r := newRigWith(t, pol, first, many(20))
		p := r.begin(chatNeed)
		n := 0
		for ; p.Next(r.now).Kind == StepAttempt; n++ {
			r.report(p, refusal)
		}
		if n != most {
			t.Errorf("%d attempts, want %d", n, most)
		}
		if v := p.Verdict(r.now); v.Spent != BudgetAttempts {
			t.Errorf("the verdict is %+v", v)
		}
		p.Close(r.now)
		r.idle()
	}
}

func TestAttemptsOfAChannel(t *testing.T) {
	one := channel(1, "a", groupA, 9, 1, []string{"a1", "a2", "a3", "a4"})
	one.Settings.Attempts = 2
	r := newRigWith(t, policy, first, one, channel(2, "b", groupA, 0, 1, []string{"b1", "b2"}))
	got := course(r.s, r.snap, chatNeed, &r.clock, nil)
	if diff := cmp.Diff([]string{"a1", "a2", "b1", "b2"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	// The last resort counts too.
	alone := channel(1, "a", groupA, 9, 1, []string{"a1"})
	alone.Settings.Attempts = 1
	r = newRigWith(t, policy, first, alone)
	if diff := cmp.Diff([]string{"a1"}, course(r.s, r.snap, chatNeed, &r.clock, map[string]realm.Outcome{"a1": overload})); diff != "" {
		t.Errorf("a last resort (-want +got):\n%s", diff)
	}
	r.idle()
}

// No attempt begins later than the time for it; one is always allowed after the
// first, however long that took.
func TestFailoverTime(t *testing.T) {
	for _, tt := range []struct {
		name  string
		takes []time.Duration // of each attempt
		want  int             // attempts
	}{
		{"the first takes all of it", []time.Duration{5 * time.Minute, time.Second}, 2},
		{"within it", []time.Duration{10 * time.Second, 10 * time.Second, 9 * time.Second, 9 * time.Second}, 4},
		{"to the instant", []time.Duration{10 * time.Second, 20*time.Second - 1, time.Second}, 3},
		{"just past it", []time.Duration{10 * time.Second, 20 * time.Second, time.Second}, 2},
	} {
		r := newRigWith(t, policy, first, many(20))
		p := r.begin(chatNeed)
		n := 0
		for ; p.Next(r.now).Kind == StepAttempt; n++ {
			r.pass(tt.takes[min(n, len(tt.takes)-1)])
			r.report(p, timeout)
		}
		if n != tt.want {
			t.Errorf("%s: %d attempts, want %d", tt.name, n, tt.want)
		}
		if v := p.Verdict(r.now); n < policy.Attempts && v.Spent != BudgetTime {
			t.Errorf("%s: the verdict is %+v", tt.name, v)
		}
		p.Close(r.now)
		r.idle()
	}
}

// Three requests may be on a retry however few there are, then a fifth of all.
func TestTheShareOfRetries(t *testing.T) {
	for _, tt := range []struct{ requests, may int }{{1, 1}, {3, 3}, {10, 3}, {20, 4}, {100, 20}, {1000, 200}} {
		r := newRig(t, many(1000))
		var plans []*Plan
		for range tt.requests {
			p := r.begin(chatNeed)
			if p.Next(r.now).Kind != StepAttempt {
				t.Fatal("a first attempt is not given")
			}
			plans = append(plans, p)
		}
		retrying := 0
		for _, p := range plans {
			r.report(p, forbidden)
			switch step := p.Next(r.now); step.Kind {
			case StepAttempt:
				retrying++
			case StepWait:
				if step.Wait != retryPause {
					t.Errorf("it waits %v for its share", step.Wait)
				}
			case StepNone, StepQueue:
				t.Errorf("the step is %+v", step)
			}
		}
		if want := min(tt.may, tt.requests); retrying != want {
			t.Errorf("of %d requests %d are on a retry, want %d", tt.requests, retrying, want)
		}
		// Who has waited for long enough is told why.
		last := plans[len(plans)-1]
		if tt.requests > 3 {
			steps := 0
			for step := last.Next(r.now); step.Kind == StepWait; step = last.Next(r.now) {
				r.pass(step.Wait)
				steps++
			}
			if v := last.Verdict(r.now); v.Spent != BudgetRetries || steps < 90 || steps > 100 {
				t.Errorf("after %d waits the verdict is %+v", steps, v)
			}
		}
		for _, p := range plans {
			p.Close(r.now)
		}
		r.idle()
	}
}

// A request that waits for its share has it as soon as another's retry ends.
func TestTheShareOfRetriesComesBack(t *testing.T) {
	r := newRig(t, many(100))
	var plans []*Plan
	for range minRetries + 1 {
		p := r.begin(chatNeed)
		p.Next(r.now)
		r.report(p, forbidden)
		plans = append(plans, p)
	}
	for _, p := range plans[:minRetries] {
		if p.Next(r.now).Kind != StepAttempt {
			t.Fatal("no retry")
		}
	}
	last := plans[minRetries]
	if step := last.Next(r.now); step.Kind != StepWait {
		t.Fatalf("the step is %+v", step)
	}
	r.report(plans[0], success)
	r.pass(retryPause)
	if step := last.Next(r.now); step.Kind != StepAttempt {
		t.Errorf("the step is %+v", step)
	}
	for _, p := range plans {
		p.Close(r.now)
	}
	r.idle()
}

// Only told ones are left: it waits if the time comes soon enough, in all no longer
// than it may.
func TestMaxWait(t *testing.T) {
	for _, tt := range []struct {
		name string
		told []time.Duration // of a1, a2
		want []string
	}{
		{"soon", []time.Duration{3 * time.Second, time.Minute}, []string{"wait 3s", "a1"}},
		{"the sooner one", []time.Duration{4 * time.Second, 2 * time.Second}, []string{"wait 2s", "a2"}},
		{"to the instant", []time.Duration{5 * time.Second, time.Minute}, []string{"wait 5s", "a1"}},
		{"too late", []time.Duration{5*time.Second + 1, time.Minute}, []string{"none"}},
	} {
		r := newRigWith(t, policy, first, channel(1, "a", groupA, 0, 1, []string{"a1", "a2"}))
		for i, d := range tt.told {
			need := chatNeed
			need.Credential = 10000 + realm.ID(i)
			r.ask(need, toldFor(d))
		}
		p := r.begin(chatNeed)
		for _, want := range tt.want {
			step := p.Next(r.now)
			switch {
			case want == "none" && step.Kind == StepNone:
				if v := p.Verdict(r.now); v.Limited != 2 || v.Blocked != 2 || v.Soonest != tt.told[0] {
					t.Errorf("%s: the verdict is %+v", tt.name, v)
				}
			case step.Kind == StepAttempt && step.Attempt.Credential.Name == want:
			case step.Kind == StepWait && want == "wait "+step.Wait.String():
				r.pass(step.Wait)
			default:
				t.Errorf("%s: the step is %+v, want %s", tt.name, step, want)
			}
		}
		p.Close(r.now)
		r.idle()
	}
}

// All waits of a request together are bounded.
func TestMaxWaitIsInAll(t *testing.T) {
	r := newRigWith(t, policy, first, channel(1, "a", groupA, 0, 1, []string{"a1", "a2"}))
	for i, d := range []time.Duration{3 * time.Second, 7 * time.Second} {
		need := chatNeed
		need.Credential = 10000 + realm.ID(i)
		r.ask(need, toldFor(d))
	}
	p := r.begin(chatNeed)
	r.want(p, "wait 3s")
	r.pass(3 * time.Second)
	r.want(p, "a1")
	r.report(p, forbidden)
	r.want(p, "none") // a2 is free in 4 s, 2 s are left
	p.Close(r.now)
	r.idle()
}

// A passing fault may be over in a moment: the first that had one is asked once
// more, last, once.
func TestTheLastResort(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    realm.Outcome
		want []string
	}{
		{"500", overload, []string{"a1", "a2", "wait 250ms", "a1", "none"}},
		{"connect", connect, []string{"a1", "a2", "wait 250ms", "a1", "none"}},
		{"a short 429", toldFor(2 * time.Second), []string{"a1", "a2", "wait 2s", "a1", "none"}},
		{"a long 429", toldFor(20 * time.Second), []string{"a1", "a2", "none"}},
		{"a 429 without a time", limited, []string{"a1", "a2", "none"}},
		{"a time-out", timeout, []string{"a1", "a2", "none"}},
		{"a refused key", refusal, []string{"a1", "a2", "none"}},
	} {
		r := newRigWith(t, policy, first, channel(1, "a", groupA, 0, 1, []string{"a1"}, []string{"a2"}))
		p := r.begin(chatNeed)
		for _, want := range tt.want {
			step := p.Next(r.now)
			got := map[StepKind]string{StepNone: "none", StepWait: "wait " + step.Wait.String(), StepQueue: "queue"}[step.Kind]
			if step.Kind == StepAttempt {
				got = step.Attempt.Credential.Name
				o := refusal
				if got == "a1" {
					o = tt.o
				}
				r.report(p, o)
			}
			if step.Kind == StepWait {
				r.pass(step.Wait)
			}
			if got != want {
				t.Errorf("%s: the step is %s, want %s", tt.name, got, want)
			}
		}
		p.Close(r.now)
		r.idle()
	}
}

// Requests that were under way together are told to wait until different instants: each
// waits for the last of them, unless that is too far.
func TestTheLastResortWaitsForWhatOthersWereTold(t *testing.T) {
	for _, tt := range []struct {
		name  string
		later time.Duration // what the other is told, a tenth of a second after the first
		want  []string
	}{
		{"as long", 4 * time.Second, []string{"wait 4s", "a1", "none"}},
		{"less", time.Second, []string{"wait 3.9s", "a1", "none"}},
		{"too long", time.Minute, []string{"none"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRigWith(t, policy, first, channel(1, "a", groupA, 0, 1, []string{"a1"}))
			p, other := r.begin(chatNeed), r.begin(chatNeed)
			r.want(p, "a1")
			r.want(other, "a1")
			r.report(p, toldFor(4*time.Second))
			r.pass(100 * time.Millisecond)
			r.report(other, toldFor(tt.later))
			other.Close(r.now)
			for _, want := range tt.want {
				step := p.Next(r.now)
				switch {
				case want == "none" && step.Kind == StepNone:
				case step.Kind == StepAttempt && step.Attempt.Credential.Name == want:
					r.report(p, toldFor(4*time.Second))
				case step.Kind == StepWait && want == "wait "+step.Wait.String():
					r.pass(step.Wait)
				default:
					t.Fatalf("the step is %+v, want %s", step, want)
				}
			}
			p.Close(r.now)
			r.idle()
		})
	}
}

// Close gives back everything, at any moment, as often as it is called.
func TestCloseAtAnyMoment(t *testing.T) {
	for steps := range 6 {
		r := newRig(t, narrow(1))
		block := r.begin(of(9))
		p := new(Plan)
		p.Close(r.now) // never begun
		if steps == 0 {
			r.s.Begin(p, r.snap, of(1), r.now)
			p.Close(r.now)
		} else {
			r.s.Begin(p, r.snap, of(1), r.now)
		}
		if steps == 2 {
			r.want(block, "a1")
			r.want(p, "queue 10s")
		}
		if steps > 2 {
			r.want(p, "a1")
		}
		if steps > 3 {
			p.Committed(r.now)
		}
		if steps > 4 {
			r.report(p, success)
			r.report(p, success) // told twice
		}
		p.Close(r.now)
		p.Close(r.now)
		p.Committed(r.now)
		r.report(p, connect)
		p.Spent(5, r.now)
		block.Close(r.now)
		r.idle()
		if marks := r.passedBy(chatNeed); marks != nil {
			t.Errorf("after %d steps: %v", steps, marks)
		}
	}
}

// A last resort takes no more than the limits leave.
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

// "The same credential once more" takes no slot that went to somebody else.
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

// What another request was told meanwhile holds for "the same once more".
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

// "The same once more" is an attempt like any other for the budget.
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
