package scheduler

import (
	"testing"
	"time"

	"realms/internal/realm"
)

// oneAPI is a channel of one credential that speaks one API.
func oneAPI(id realm.ID, name string, priority int, api realm.API) *realm.Channel {
	ch := channel(id, name, groupA, priority, 1, []string{name + "1"})
	ch.APIs = realm.APISet(api)
	return ch
}

// responsesNeed is what a Responses request needs that can be converted.
func responsesNeed() Need {
	n := chatNeed
	n.API, n.Converted = realm.APIResponses, realm.APIChat
	return n
}

// openBreakerOf fails a channel until it is passed by.
func (r *rig) openBreakerOf(name string) {
	r.Helper()
	need := responsesNeed()
	need.Channel = name
	for range 5 {
		r.got(r.ask(need, overload), name+"1")
	}
}

// What was withdrawn was never asked: another that is only passed by may be.
func TestAWithdrawnAttemptIsNotTheLastResort(t *testing.T) {
	r := newRigWith(t, policy, first, oneAPI(1, "conv", 9, realm.APIChat), oneAPI(2, "nat", 0, realm.APIResponses))
	r.openBreakerOf("conv")
	r.pass(time.Second)
	r.openBreakerOf("nat")
	p := r.begin(responsesNeed())
	r.want(p, "conv1") // both are open: the one whose time ends first
	p.Withdraw(r.now)
	r.want(p, "nat1")
	p.Close(r.now)
	r.idle()
}

// A session whose account cannot serve it in its own form finds another, and stays
// there: what that one encrypts is kept.
func TestASessionLeavesWhatCannotServeIt(t *testing.T) {
	r := newRigWith(t, policy, first, oneAPI(1, "conv", 9, realm.APIChat), oneAPI(2, "nat", 0, realm.APIResponses))
	need := responsesNeed()
	need.Session = realm.RouteKey{9}
	r.got(r.ask(need, realm.Outcome{Cause: realm.CauseOK}), "conv1")
	p := r.begin(need)
	r.want(p, "conv1")
	p.Withdraw(r.now)
	r.want(p, "nat1")
	p.Committed(r.now)
	r.report(p, realm.Outcome{Cause: realm.CauseOK})
	p.Close(r.now)
	p = r.begin(need)
	step := p.Next(r.now)
	if step.Attempt.Credential.Name != "nat1" || step.Attempt.Leaves {
		t.Errorf("then %s, leaving %v", step.Attempt.Credential.Name, step.Attempt.Leaves)
	}
	p.Close(r.now)
	r.idle()
}

// What no other account can read was not made by a channel that cannot make it.
func TestAConvertedAccountBindsNothingHard(t *testing.T) {
	r := newRigWith(t, policy, first, oneAPI(1, "conv", 9, realm.APIChat), oneAPI(2, "nat", 0, realm.APIResponses))
	need := responsesNeed()
	need.Session = realm.RouteKey{9}
	r.got(r.ask(need, realm.Outcome{Cause: realm.CauseOK}), "conv1")
	need.Hard, need.Converted = true, 0
	r.got(r.ask(need, realm.Outcome{Cause: realm.CauseOK}), "nat1")
	r.idle()
}
