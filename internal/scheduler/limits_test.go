package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// limitOn builds two channels, the first with limits on itself or its credential.
func limitOn(l realm.Limits, onChannel bool) []*realm.Channel {
	a, b := channel(1, "a", groupA, 9, 1, []string{"a1"}), channel(2, "b", groupA, 0, 1, []string{"b1"})
	if onChannel {
		a.Settings.Limits = l
	} else {
		a.Endpoints[0].Credentials[0].Limits = l
	}
	return []*realm.Channel{a, b}
}

// What is full is passed by, blames nobody and is no mark.
func TestWhatIsFullIsPassedBy(t *testing.T) {
	for _, onChannel := range []bool{false, true} {
		r := newRig(t, limitOn(realm.Limits{Concurrent: 2}, onChannel)...)
		p, q := r.begin(chatNeed), r.begin(chatNeed)
		r.want(p, "a1")
		r.want(q, "a1")
		for range 10 {
			r.got(r.ask(chatNeed, success), "b1")
		}
		if got := r.passedBy(chatNeed); got != nil {
			t.Errorf("marks: %v", got)
		}
		p.Close(r.now)
		r.got(r.ask(chatNeed, success), "a1")
		q.Close(r.now)
		r.idle()
	}
}

func TestRequestsPerMinute(t *testing.T) {
	for _, onChannel := range []bool{false, true} {
		r := newRig(t, limitOn(realm.Limits{RequestsPerMinute: 3}, onChannel)...)
		var got []string
		for range 14 {
			got = append(got, r.ask(chatNeed, success))
			r.pass(10 * time.Second)
		}
		want := []string{"a1", "a1", "a1", "b1", "b1", "b1", "b1", "a1", "a1", "a1", "b1", "b1", "b1", "b1"}
		// The running second may count whole: a minute is 60 to 61 s.
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		r.idle()
	}
}

// A failed attempt has been a request all the same, and used no tokens.
func TestTokensPerMinute(t *testing.T) {
	r := newRig(t, limitOn(realm.Limits{TokensPerMinute: 1000}, false)...)
	ask := func(tokens, spent int64, o realm.Outcome) string {
		need := chatNeed
		need.Tokens = tokens
		p := r.begin(need)
		defer func() { p.Close(r.now) }()
		name := r.next(p)
		if spent > 0 {
			p.Spent(spent, r.now)
		}
		r.report(p, o)
		return name
	}
	for _, tt := range []struct {
		tokens, spent int64
		o             realm.Outcome
		want          string
	}{
		{600, 0, overload, "a1"},    // given back
		{600, 0, clientGone, "a1"},  // given back
		{600, 300, success, "a1"},   // 300 used
		{600, 500, success, "a1"},   // 800 used
		{300, 300, success, "b1"},   // does not fit
		{200, 250, success, "a1"},   // 1,050 used: more than was thought
		{0, 0, success, "b1"},       // over
		{5000, 5000, success, "b1"}, // over
	} {
		if got := ask(tt.tokens, tt.spent, tt.o); got != tt.want {
			t.Fatalf("%d tokens go to %s, want %s", tt.tokens, got, tt.want)
		}
	}
	r.pass(62 * time.Second)
	if got := ask(5000, 5000, success); got != "a1" { // larger than the limit: alone
		t.Errorf("a request larger than the limit goes to %s", got)
	}
	if got := ask(1, 1, success); got != "b1" {
		t.Errorf("after it one more goes to %s", got)
	}
	r.pass(62 * time.Second)
	if got := ask(1, 1, success); got != "a1" {
		t.Errorf("a minute later a request goes to %s", got)
	}
	r.idle()
}

// When only rates keep it away, a request waits for the second that is known.
func TestWaitingForAMinuteToPass(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Endpoints[0].Credentials[0].Limits.RequestsPerMinute = 2
	r := newRig(t, ch)
	r.got(r.ask(chatNeed, success), "a1")
	r.pass(30 * time.Second)
	r.got(r.ask(chatNeed, success), "a1")
	p := r.begin(chatNeed)
	r.want(p, "none")
	v := p.Verdict(r.now)
	if v.Limited != 1 || v.Soonest < 30*time.Second || v.Soonest > 31*time.Second {
		t.Errorf("the verdict is %+v", v)
	}
	p.Close(r.now)
	r.pass(27 * time.Second)
	p = r.begin(chatNeed)
	step := p.Next(r.now)
	if step.Kind != StepWait || step.Wait < 3*time.Second || step.Wait > 4400*time.Millisecond {
		t.Fatalf("the step is %+v", step)
	}
	r.pass(step.Wait)
	r.want(p, "a1")
	p.Close(r.now)
	r.idle()
}

// What other processes have under way counts.
func TestOthersCount(t *testing.T) {
	for _, tt := range []struct {
		limit realm.Limits
		load  realm.Load
		want  string
	}{
		{realm.Limits{Concurrent: 3}, realm.Load{InFlight: 2}, "a1"},
		{realm.Limits{Concurrent: 3}, realm.Load{InFlight: 3}, "b1"},
		{realm.Limits{RequestsPerMinute: 3}, realm.Load{Requests: 2}, "a1"},
		{realm.Limits{RequestsPerMinute: 3}, realm.Load{Requests: 3}, "b1"},
		{realm.Limits{TokensPerMinute: 100}, realm.Load{Tokens: 60}, "a1"},
		{realm.Limits{TokensPerMinute: 100}, realm.Load{Tokens: 61}, "b1"},
	} {
		for _, onChannel := range []bool{false, true} {
			r := newRig(t, limitOn(tt.limit, onChannel)...)
			need := chatNeed
			need.Tokens = 40
			r.begin(need).Close(r.now)
			id := realm.ID(10000)
			if onChannel {
				id = 1
			}
			r.s.SetOthers(map[realm.ID]realm.Load{id: tt.load}, r.now)
			r.got(r.ask(need, clientGone), tt.want)
			r.s.SetOthers(nil, r.now) // gone: only our own counts
			r.got(r.ask(need, clientGone), "a1")
			r.idle()
		}
	}
}

func TestLoads(t *testing.T) {
	r := newRig(t, limitOn(realm.Limits{Concurrent: 5}, false)...)
	need := chatNeed
	need.Tokens = 10
	p, q := r.begin(need), r.begin(need)
	r.want(p, "a1")
	r.want(q, "a1")
	q.Spent(4, r.now)
	r.report(q, success)
	q.Close(r.now)
	if diff := cmp.Diff(map[realm.ID]realm.Load{10000: {InFlight: 1, Requests: 2, Tokens: 14}}, r.s.Loads(r.now)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.pass(62 * time.Second)
	if diff := cmp.Diff(map[realm.ID]realm.Load{10000: {InFlight: 1}}, r.s.Loads(r.now)); diff != "" {
		t.Errorf("a minute later (-want +got):\n%s", diff)
	}
	p.Close(r.now)
	r.idle()
}

// Limits that change hold from then on, for what is under way too.
func TestLimitsThatChange(t *testing.T) {
	r := newRig(t, limitOn(realm.Limits{}, false)...)
	p := r.begin(chatNeed)
	r.want(p, "a1")
	r.snap = realm.NewSnapshot(2, nil, nil, limitOn(realm.Limits{Concurrent: 1}, false))
	r.got(r.ask(chatNeed, success), "b1")
	r.snap = realm.NewSnapshot(3, nil, nil, limitOn(realm.Limits{Concurrent: 2}, false))
	r.got(r.ask(chatNeed, success), "a1")
	p.Close(r.now)
	r.idle()
}

// A minute of sixty seconds: no window of that length holds more than the
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

// Tokens that an attempt did not use are taken off where they were put:
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
	r.got(r.ask(need, success), "a1")
	r.pass(time.Second)
	if got := r.ask(need, success); got == "a1" {
		t.Errorf("2,000 tokens in two seconds on a credential that takes 1,000 a minute")
	}
}
