package scheduler

import (
	"math/rand/v2"
	"testing"
	"time"

	"realms/internal/realm"
)

// The one request that tries whether an open breaker may close does so in whichever
// form it is; one that is withdrawn leaves it to the next.
func TestProbesInTheOtherForm(t *testing.T) {
	r := newRigWith(t, policy, first, speaking(1, "a", responsesAlone, 9, 1, "a1"), speaking(2, "b", chatAlone, 0, 1, "b1"))
	for range failuresInARow {
		r.forms(eitherNeed(), map[string]realm.Outcome{"a1 responses": badAnswer, "b1 chat": success})
	}
	r.pass(time.Minute) // half-open
	p := r.begin(eitherNeed())
	if got := r.form(p); got != "a1 responses" || len(p.probes) != 1 {
		t.Fatalf("%q with %d probes", got, len(p.probes))
	}
	p.Withdraw(r.now)
	if got := r.form(p); got != "b1 chat" || len(p.probes) != 0 {
		t.Errorf("withdrawn: %q with %d probes", got, len(p.probes))
	}
	r.report(p, success)
	p.Close(r.now)
	if got := r.forms(eitherNeed(), map[string]realm.Outcome{"a1 responses": success}); got != "a1 responses" {
		t.Errorf("the next: %q", got)
	}
	r.idle()
}

// An attempt that is withdrawn was none: its slot, its number, its part of all limits
// are there again, and the request is not given another that it cannot make.
func TestWithdraw(t *testing.T) {
	converted := speaking(1, "a", responsesAlone, 9, 1, "a1", "a2", "a3")
	converted.Settings.Limits = realm.Limits{Concurrent: 1, RequestsPerMinute: 2, TokensPerMinute: 100}
	converted.Settings.Attempts = 1
	pol := policy
	pol.Attempts = 2
	r := newRigWith(t, pol, first, converted, speaking(2, "b", realm.AllAPIs, 0, 1, "b1", "b2"))
	need := eitherNeed()
	need.Tokens = 60
	for range 10 {
		p := r.begin(need)
		if got := r.form(p); got[0] != 'a' {
			t.Fatalf("%q: what was withdrawn counts", got)
		}
		p.Withdraw(r.now)
		if got := r.form(p); got != "b1 chat" || p.attempt.Number != 1 {
			t.Fatalf("%q as attempt %d", got, p.attempt.Number)
		}
		r.report(p, refusal)
		if got := r.form(p); got != "none" && got != "b2 chat" {
			t.Fatalf("%q", got)
		}
		p.Close(r.now)
		r.s.Mend(r.snap, 2, 0, r.now)
	}
	p := r.begin(need)
	p.Withdraw(r.now) // nothing is held
	p.Close(r.now)
	r.idle()
}

// Withdrawn in its repeat: the attempt before it stays, the one after it is numbered
// behind that.
func TestWithdrawAfterAMissingPath(t *testing.T) {
	ch := speaking(1, "a", realm.AllAPIs, 9, 1, "a1", "a2")
	ch.Settings.Attempts = 2
	r := newRigWith(t, policy, first, ch, speaking(2, "b", responsesAlone, 5, 1, "b1"), speaking(3, "c", chatAlone, 0, 1, "c1"))
	p := r.begin(eitherNeed())
	r.want(p, "a1")
	r.report(p, noPath)
	if got := r.form(p); got != "a1 responses" || p.attempt.Number != 2 {
		t.Fatalf("%q as %d", got, p.attempt.Number)
	}
	p.Withdraw(r.now)
	if got := r.form(p); got != "c1 chat" || p.attempt.Number != 2 {
		t.Errorf("%q as %d", got, p.attempt.Number)
	}
	r.report(p, success)
	p.Close(r.now)
	p = r.begin(eitherNeed())
	if got := r.form(p); got != "a2 responses" {
		t.Errorf("the next request: %q", got)
	}
	p.Close(r.now)
	r.idle()
}

// Whoever waits for a slot gets the one that is withdrawn.
func TestWithdrawnSlotsAreServed(t *testing.T) {
	ch := speaking(1, "a", responsesAlone, 0, 1, "a1")
	ch.Settings.Limits = realm.Limits{Concurrent: 1}
	r := newRig(t, ch)
	holder, waiting := r.begin(eitherNeed()), r.begin(eitherNeed())
	if got := r.form(holder); got != "a1 responses" {
		t.Fatal(got)
	}
	step := waiting.Next(r.now)
	if step.Kind != StepQueue {
		t.Fatalf("%+v", step)
	}
	holder.Withdraw(r.now)
	select {
	case <-step.Turn:
	default:
		t.Error("nobody was told")
	}
	if got := r.form(waiting); got != "a1 responses" {
		t.Errorf("%q", got)
	}
	holder.Close(r.now)
	waiting.Close(r.now)
	r.idle()
}

// Whatever becomes of requests in two forms, nothing stays behind, no credential is
// asked twice in one form, and no form comes that the channel does not speak.
func TestFormsAtRandom(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	list := []*realm.Channel{
		speaking(1, "a", realm.AllAPIs, 5, 1, "a1", "a2"), speaking(2, "b", chatAlone, 5, 1, "b1"),
		speaking(3, "c", responsesAlone, 5, 2, "c1", "c2"), speaking(4, "d", realm.AllAPIs, 0, 1, "d1"),
	}
	outcomes := []realm.Outcome{success, noPath, noPath, refusal, overload, badAnswer, limited, clientErr, connect}
	r := newRig(t, list...)
	for range 3000 {
		need := eitherNeed()
		if random.IntN(2) == 0 {
			need.API, need.Converted = need.Converted, need.API
		}
		need.Session[0] = byte(random.IntN(4))
		p, seen, withdrawn := r.begin(need), map[string]bool{}, false
		for step := p.Next(r.now); step.Kind == StepAttempt; step = p.Next(r.now) {
			a := step.Attempt
			form := a.Credential.Name + " " + a.API.String()
			if seen[form] && !p.spareUsed {
				t.Fatalf("%s is asked again", form)
			}
			seen[form] = true
			if !a.Channel.APIs.Has(a.API) || withdrawn && a.API != need.API {
				t.Fatalf("%s, withdrawn %v", form, withdrawn)
			}
			if a.API != need.API && random.IntN(3) == 0 {
				p.Withdraw(r.now)
				withdrawn = true
				delete(seen, form)
				continue
			}
			o := outcomes[random.IntN(len(outcomes))]
			r.report(p, o)
			if o.Next == realm.NextStop || o.Cause == realm.CauseOK {
				break
			}
		}
		p.Close(r.now)
		if random.IntN(20) == 0 {
			r.s.Mend(r.snap, realm.ID(1+random.IntN(4)), 0, r.now)
		}
		r.pass(time.Duration(random.IntN(3)) * time.Second)
	}
	r.idle()
}

// A choice between two forms allocates nothing.
func TestFormsAllocateNothing(t *testing.T) {
	var list []*realm.Channel
	for i := range 50 {
		apis := []realm.APISet{chatAlone, responsesAlone, realm.AllAPIs}[i%3]
		ch := wide(realm.ID(i+1), label(i), []string{label(i)})
		ch.APIs = apis
		list = append(list, ch)
	}
	snap := snapshot(list...)
	s := New(Options{Rand: rand.New(rand.NewPCG(1, 2)).IntN, Policy: policy})
	now, p := newClock().now, new(Plan)
	one := func() {
		s.Begin(p, snap, eitherNeed(), now)
		if p.Next(now).Kind != StepAttempt {
			t.Fatal("no attempt")
		}
		p.Report(&success, time.Millisecond, now)
		p.Close(now)
	}
	for range 200 {
		one()
	}
	if n := testing.AllocsPerRun(100, one); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
