package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// opens tells after which of the outcomes the breaker of a1's endpoint opens; 0:
// after none. They come so long after one another.
func opens(t *testing.T, gap time.Duration, outcomes ...realm.Outcome) int {
	t.Helper()
	r := failing(t)
	for i, o := range outcomes {
		r.hit(o)
		if r.events != nil {
			return i + 1
		}
		r.pass(gap)
	}
	return 0
}

func repeat(n int, list ...realm.Outcome) []realm.Outcome {
	var all []realm.Outcome
	for range n {
		all = append(all, list...)
	}
	return all
}

func TestWhenABreakerOpens(t *testing.T) {
	five := repeat(5, overload)
	cat := func(lists ...[]realm.Outcome) []realm.Outcome {
		var all []realm.Outcome
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for _, tt := range []struct {
		name     string
		gap      time.Duration
		outcomes []realm.Outcome
		want     int
	}{
		{"five in a row", 0, five, 5},
		{"five in a row, hours apart", 3 * time.Hour, five, 5},
		{"a success in between", 0, cat(repeat(4, overload), repeat(1, success), repeat(4, overload)), 0},
		{"a client's fault is a success of the upstream", 0, cat(repeat(4, overload), repeat(1, clientErr), repeat(4, overload)), 0},
		{"a client that leaves says nothing", 0, cat(repeat(4, overload), repeat(1, clientGone), five), 6},
		{"a 429 says nothing", time.Second, cat(repeat(4, overload), repeat(1, toldFor(0)), five), 6},
		{"half of twenty", 0, repeat(10, success, overload), 20},
		{"half of nineteen", 0, cat(repeat(9, success, overload), repeat(1, success)), 0},
		{"less than half", 0, repeat(30, success, success, overload), 0},
		{"half, but too few in a minute", 4 * time.Second, repeat(60, success, overload), 0},
		{"half, over most of a minute", 2 * time.Second, repeat(30, success, overload), 20},
		{"light ones weigh half", 0, cat(repeat(10, success), repeat(19, emptied)), 0},
		{"nothing but light ones", 0, repeat(20, emptied), 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := opens(t, tt.gap, tt.outcomes...); got != tt.want {
				t.Errorf("opens after %d, want %d", got, tt.want)
			}
		})
	}
}

// openFor fails a1's endpoint until it opens and tells for how long.
func (r *rig) openFor() time.Duration {
	r.Helper()
	before := len(r.events)
	for range failuresInARow {
		r.hit(connect)
		if len(r.events) > before {
			return r.events[before].For
		}
	}
	r.Fatal("the breaker does not open")
	return 0
}

func TestHowLongABreakerIsOpen(t *testing.T) {
	for seed := range uint64(50) {
		r := failing(t)
		r.s.o.Rand = rand.New(rand.NewPCG(seed, 0)).IntN
		for i, want := range []time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second, 30 * time.Second, 30 * time.Second} {
			got := r.openFor()
			if got < want*9/10 || got > want*11/10 {
				t.Errorf("time %d: open for %v, want %v ± 10 %%", i+1, got, want)
			}
			r.pass(got)
		}
	}
	// The extremes.
	for _, tt := range []struct {
		draw func(int) int
		want time.Duration
	}{{func(int) int { return 0 }, 9 * time.Second}, {func(n int) int { return n / 2 }, 10 * time.Second}, {func(n int) int { return n - 1 }, 11 * time.Second}} {
		r := failing(t)
		r.s.o.Rand = tt.draw
		if got := r.openFor().Round(time.Millisecond); got != tt.want {
			t.Errorf("open for %v, want %v", got, tt.want)
		}
	}
}

// While it is closed, what it did decays: one step a minute.
func TestABreakersHistoryDecays(t *testing.T) {
	for _, tt := range []struct {
		calm time.Duration
		want time.Duration
	}{
		{0, 27 * time.Second},
		{time.Minute - 1, 27 * time.Second},
		{time.Minute, 27 * time.Second}, // four times: the fourth decays to the third
		{2 * time.Minute, 18 * time.Second},
		{3*time.Minute - 1, 18 * time.Second},
		{3 * time.Minute, 9 * time.Second},
		{time.Hour, 9 * time.Second},
	} {
		r := failing(t) // draws 10 % less
		for range 3 {
			r.pass(r.openFor())
		}
		r.hit(success)
		r.pass(tt.calm)
		if got := r.openFor(); got != tt.want {
			t.Errorf("after %v of calm it opens for %v, want %v", tt.calm, got, tt.want)
		}
	}
}

// One request finds out while the others go elsewhere.
func TestOneProbe(t *testing.T) {
	r := newRigWith(t, policy, first, channel(1, "a", groupA, 9, 1, []string{"a1"}), channel(2, "b", groupA, 0, 1, []string{"b1"}))
	for range failuresInARow {
		r.got(r.ask(chatNeed, connect), "a1")
	}
	r.got(r.ask(chatNeed, success), "b1")
	r.pass(9*time.Second - 1)
	r.got(r.ask(chatNeed, success), "b1")
	r.pass(1)
	probe := r.begin(chatNeed)
	r.want(probe, "a1")
	for range 20 {
		r.got(r.ask(chatNeed, success), "b1")
	}
	r.report(probe, clientGone) // it has not found out: the next one does
	probe.Close(r.now)
	probe = r.begin(chatNeed)
	r.want(probe, "a1")
	r.got(r.ask(chatNeed, success), "b1")
	r.report(probe, connect)
	r.want(probe, "b1")
	probe.Close(r.now)
	r.pass(18*time.Second - 1)
	r.got(r.ask(chatNeed, success), "b1")
	r.pass(1)
	probe = r.begin(chatNeed)
	r.want(probe, "a1")
	probe.Committed(r.now) // a stream that goes on for long
	r.pass(rampTime)
	r.got(r.ask(chatNeed, success), "a1")
	probe.Close(r.now)
	kinds := []MarkKind{}
	for _, e := range r.events {
		kinds = append(kinds, e.Kind)
	}
	if diff := cmp.Diff([]MarkKind{MarkOpen, MarkOpen, MarkRecovering}, kinds); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	r.idle()
}

// One channel alone is never refused by us, open or half-open.
func TestOneAloneIsNeverRefused(t *testing.T) {
	r := newRigWith(t, policy, first, channel(1, "a", groupA, 9, 1, []string{"a1"}))
	for range 60 {
		r.got(r.ask(chatNeed, connect), "a1")
		r.pass(3 * time.Second)
	}
	var plans []*Plan
	for range 10 { // whatever probes there are
		p := r.begin(chatNeed)
		r.want(p, "a1")
		plans = append(plans, p)
	}
	for _, p := range plans {
		p.Close(r.now)
	}
	r.idle()
}

func TestFailStaticTakesTheOneNearestItsEnd(t *testing.T) {
	r := newRigWith(t, policy, first, channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 9, 1, []string{"b1"}), channel(3, "c", groupA, 5, 1, []string{"c1"}))
	for _, id := range []realm.ID{20000, 10000, 30000} { // so they open, seconds apart
		need := chatNeed
		need.Credential = id
		for range failuresInARow {
			r.ask(need, connect)
		}
		r.pass(2 * time.Second)
	}
	r.got(r.ask(chatNeed, clientGone), "b1")
	// What was told is no candidate, however near.
	need := chatNeed
	need.Credential = 20000
	r.got(r.ask(need, toldFor(4*time.Second)), "b1")
	r.got(r.ask(chatNeed, clientGone), "a1")
	r.idle()
}

// A success of an attempt from before it opened says nothing of now; one that was
// asked since does.
func TestWhatClosesABreaker(t *testing.T) {
	r := failing(t)
	need := chatNeed
	need.Credential = 10000
	old := r.begin(need)
	r.want(old, "a1")
	r.pass(time.Second)
	r.openFor()
	r.report(old, success)
	old.Close(r.now)
	if r.passedBy(chatNeed) == nil {
		t.Error("an answer to a request from before closes the breaker")
	}
	r.pass(time.Second)
	r.hit(success)
	if got := r.passedBy(chatNeed); got != nil {
		t.Errorf("after an answer to a request from since: %v", got)
	}
}

// After an outage an upstream gets a growing share, and never a herd.
func TestSlowStart(t *testing.T) {
	catalogues := map[string]func() []*realm.Channel{
		"channels": func() []*realm.Channel {
			return []*realm.Channel{channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 0, 1, []string{"b1"})}
		},
		"endpoints": func() []*realm.Channel {
			return []*realm.Channel{channel(1, "a", groupA, 0, 1, []string{"a1"}, []string{"b1"})}
		},
		"by priority": func() []*realm.Channel {
			return []*realm.Channel{channel(1, "a", groupA, 9, 1, []string{"a1"}), channel(2, "b", groupA, 0, 1, []string{"b1"})}
		},
	}
	for name, build := range catalogues {
		for _, cause := range []string{"open", "told"} {
			t.Run(name+" "+cause, func(t *testing.T) {
				r := newRig(t, build()...)
				bound := chatNeed
				bound.Credential = 10000
				if cause == "told" {
					r.ask(bound, toldFor(30*time.Second))
					for range 1000 {
						r.got(r.ask(chatNeed, success), "b1")
						r.pass(30 * time.Millisecond)
					}
				} else {
					for range failuresInARow {
						r.ask(bound, connect)
					}
					for range 1000 {
						r.got(r.ask(chatNeed, success), "b1")
						r.pass(8 * time.Millisecond)
					}
					r.pass(5 * time.Second)
					r.ask(bound, success)
				}
				var shares []float64
				for range 12 { // a second each, 1,000 requests a second, each takes 20 ms
					n := 0
					var under []*Plan
					for range 1000 {
						p := r.begin(chatNeed)
						if r.next(p) == "a1" {
							n++
						}
						if under = append(under, p); len(under) > 20 {
							r.report(under[0], success)
							under[0].Close(r.now)
							under = under[1:]
						}
						r.pass(time.Millisecond)
					}
					for _, p := range under {
						r.report(p, success)
						p.Close(r.now)
					}
					shares = append(shares, float64(n)/1000)
				}
				if shares[0] > 0.1 {
					t.Errorf("%.3f of the first second's requests go to what has just recovered", shares[0])
				}
				if shares[0] == 0 {
					t.Error("it gets nothing in the first second")
				}
				for i, s := range shares {
					if most := float64(i+1)/10 + 0.05; s > most {
						t.Errorf("second %d: a share of %.3f, at most %.2f is expected", i+1, s, most)
					}
				}
				if end := shares[11]; name == "by priority" && end < 0.99 || name != "by priority" && (end < 0.45 || end > 0.55) {
					t.Errorf("in the end its share is %.3f (%v)", end, shares)
				}
				r.idle()
			})
		}
	}
}

// Failures of attempts from before the recovery do not count after it.
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
	r.got(r.ask(chatNeed, success), "a1")
	r.pass(time.Second)
	before := len(r.events)
	for _, p := range old {
		r.report(p, overload)
		p.Close(r.now)
	}
	r.pass(time.Second)
	r.ask(chatNeed, overload)
	for _, e := range r.events[before:] {
		if e.Kind == MarkOpen {
			t.Error("failures from before, and one since, open the breaker again")
		}
	}
	r.idle()
}

// An endpoint that answers was reached, whatever it says: what we guess of its
// connection is over, what we guess of a model is not.
func TestAnAnswerReachesTheEndpoint(t *testing.T) {
	unauthorized := refusal
	unauthorized.Status = 401
	for _, o := range []realm.Outcome{overload, badAnswer, toldFor(time.Second), unauthorized, noModel, clientErr, success} {
		r := failing(t)
		r.openFor()
		r.hit(o)
		if len(r.events) != 2 || r.events[1].Kind != MarkRecovering || r.events[1].Model != "" {
			t.Errorf("after %s the events are %+v", o.Cause, r.events)
		}
	}
	// What is not an answer changes nothing.
	for _, o := range []realm.Outcome{timeout, clientGone} {
		r := failing(t)
		r.openFor()
		r.hit(o)
		if len(r.events) != 1 {
			t.Errorf("after %s: %+v", o.Cause, r.events)
		}
	}
	// And an answer of a failing model does not close that.
	r := failing(t)
	for range failuresInARow {
		r.hit(overload)
	}
	r.hit(toldFor(time.Second))
	r.pass(2 * time.Second)
	if diff := cmp.Diff([]string{"a1", "a2"}, r.passedBy(chatNeed)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// Of open ones a request asks one, or a storm would cost as many attempts as there
// are endpoints.
func TestOneOpenCandidateARequest(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}, []string{"a2"}, []string{"a3"}), channel(2, "b", groupA, 0, 1, []string{"b1"}))
	for _, id := range []realm.ID{10000, 10100, 10200, 20000} {
		need := chatNeed
		need.Credential = id
		for range failuresInARow {
			r.ask(need, timeout)
		}
	}
	for range 5 {
		if got := course(r.s, r.snap, chatNeed, &r.clock, map[string]realm.Outcome{"a1": timeout, "a2": timeout, "a3": timeout, "b1": timeout}); len(got) != 1 {
			t.Errorf("asked %v", got)
		}
	}
	r.idle()
}
