package gateway

import (
	"time"

	"realms/internal/realm"
	"realms/internal/upstream"
)

// report tells the scheduler how the present attempt ended, and hears for how long
// that keeps others from it. What it was told before stands.
func (x *exchange) report(o *realm.Outcome) time.Duration {
	if x.op.Object {
		told := *o
		told.Passing = false // what acts on an object is not made twice
		o = &told
	}
	var firstByte time.Duration
	if len(x.tries) > 0 {
		firstByte = x.lastTry().FirstByte
	}
	return x.plan.Report(o, firstByte, time.Now())
}

// spend tells the scheduler what the present attempt has used, where that is known.
func (x *exchange) spend(u realm.Usage) {
	if u.Source != realm.UsageNone {
		x.plan.Spent(max(u.Input, 0)+max(u.Output, 0), time.Now())
	}
}

// spoke tells the scheduler that the upstream has produced something after all,
// where silence had committed its answer before.
func (x *exchange) spoke() {
	x.mu.Lock()
	silent := x.silent
	x.mu.Unlock()
	if silent {
		x.plan.Committed(time.Now())
	}
}

// reportEnd tells the scheduler of an attempt whose answer has gone out.
func (x *exchange) reportEnd(rec *realm.RequestRecord) {
	if x.plan.Number() == 0 {
		return
	}
	x.spend(rec.Usage)
	o := ended(rec)
	x.report(&o)
}

// ended is what the end of a committed answer says of its upstream.
func ended(rec *realm.RequestRecord) realm.Outcome {
	switch {
	case rec.Cause == realm.CauseOK:
		return realm.Outcome{Cause: realm.CauseOK, Status: rec.Status}
	case rec.Cause == realm.CauseEmpty:
		return upstream.EmptyAnswer(rec.Status)
	case rec.Ended == realm.EndedUpstreamCut, rec.Ended == realm.EndedTimeout && rec.FirstByte != 0:
		return realm.Outcome{Cause: rec.Cause, Scope: realm.ScopeEndpointModel, Status: rec.Status}
	default:
		return realm.Outcome{Cause: rec.Cause, Status: rec.Status} // nobody's fault
	}
}
