package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"time"

	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/upstream"
)

// execute is steps 4 to 7: attempt after attempt, until one is committed or
// nothing is left.
func (x *exchange) execute(ctx context.Context) {
	if x.op.Object {
		x.executeBound(ctx)
		return
	}
	x.plan = x.g.o.Scheduler.Plan(x.snap, x.need)
	for {
		a, wait, ok := x.plan.Next()
		if !ok || !x.mayStart(a.Number, wait) {
			break
		}
		if wait > 0 && !sleep(ctx, wait) {
			x.gone(ctx)
			return
		}
		f := x.attempt(ctx, a)
		if f == nil {
			return
		}
		x.plan.Report(&f.Outcome)
		if x.empty != nil && f.Outcome.Cause != realm.CauseEmpty && f.Outcome.Ends() {
			break // one other credential was asked, and has nothing better
		}
	}
	x.exhausted()
}

// executeBound asks the one credential that holds the object of the path. There
// is nobody to fail over to; only a stale connection is worth a second try.
func (x *exchange) executeBound(ctx context.Context) {
	cr := x.snap.Credential(x.need.Credential)
	a := realm.Attempt{Number: 1, Channel: cr.Endpoint.Channel, Endpoint: cr.Endpoint, Credential: cr}
	for _, g := range x.need.Groups {
		if slices.Contains(a.Channel.Groups, g) {
			a.Group = g
			break
		}
	}
	f := x.attempt(ctx, a)
	if f != nil && f.Outcome.Next == realm.NextSameCredential {
		a.Number = 2
		f = x.attempt(ctx, a)
	}
	if f != nil {
		x.exhausted()
	}
}

// mayStart keeps the request within its budget of attempts and time, the wait
// before the attempt counted. A second attempt is always allowed, so that one
// time-out does not end a request.
func (x *exchange) mayStart(number int, wait time.Duration) bool {
	if number > x.g.o.Relay.Attempts {
		return false
	}
	return number <= 2 || time.Since(x.started)+wait < x.g.o.Relay.FailoverTime
}

// attempt makes one exchange. Nil means that the request has its end; otherwise
// nothing was committed and the failure says what it taught.
func (x *exchange) attempt(ctx context.Context, a realm.Attempt) *upstream.Failure {
	begun := time.Now()
	ex := x.exchangeFor(&a)
	ex.FreshConn = a.Number > 1 && len(x.tries) > 0 && x.tries[len(x.tries)-1].Cause == realm.CauseStaleConn
	res, f := x.g.o.Upstream.Do(ctx, ex)
	try := realm.AttemptRecord{
		Number: a.Number, StartedAt: begun, Channel: a.Channel.ID, Endpoint: a.Endpoint.ID,
		Credential: a.Credential.ID, Model: a.Model,
	}
	x.tries = append(x.tries, try)
	x.rec.Group = a.Group
	if f == nil {
		x.lastTry().Status, x.lastTry().FirstByte = res.Status, res.FirstByte
		f = x.relay(ctx, ex, res)
	}
	if f == nil {
		return nil
	}
	x.learn(ex, f)
	x.closeTry(f, begun)
	if f.Outcome.Next == realm.NextStop && (x.empty == nil || f.Outcome.Cause != realm.CauseClientError) {
		x.stop(ctx, f)
		return nil
	}
	return f
}

// exchangeFor builds what goes to the upstream: the client's request with this
// attempt's edits.
func (x *exchange) exchangeFor(a *realm.Attempt) *upstream.Exchange {
	ex := &upstream.Exchange{
		Attempt: *a, API: x.op.API, Method: x.op.Method, Path: x.call.Path, Object: x.op.Object, RawQuery: x.call.RawQuery,
		Header: x.call.Header, Hops: x.hops, LimitHeaders: x.g.o.SelfMode,
		Timeouts: upstream.Timeouts{Connect: x.g.o.Relay.Connect, FirstByte: x.g.o.Relay.FirstWhole, Idle: x.g.o.Relay.Idle},
	}
	if x.req == nil {
		return ex
	}
	ex.ContentType = "application/json" // as it was read, whatever it came as
	if x.req.Form != nil {
		ex.ContentType = x.call.ContentType
	}
	if x.req.Stream {
		ex.Stream = true
		ex.Timeouts.FirstByte, ex.Timeouts.FirstEvent = x.g.o.Relay.FirstByte, x.g.o.Relay.FirstEvent
	}
	rw := x.rewrite(a)
	ex.AddedFields = x.req.AddedFields(rw)
	r := x.edited(rw)
	ex.Body, ex.Length = r, int64(r.Len())
	return ex
}

// closeTry writes down how the attempt ended.
func (x *exchange) closeTry(f *upstream.Failure, begun time.Time) {
	try := x.lastTry()
	try.Duration = time.Since(begun)
	try.Cause = f.Outcome.Cause
	if f.Outcome.Status != 0 {
		try.Status = f.Outcome.Status
	}
	if f.FirstByte != 0 {
		try.FirstByte = f.FirstByte
	}
	if f.Outcome.Err != nil {
		try.Error = oneLine(f.Outcome.Err.Error())
	}
	x.g.metrics.attempts.WithLabelValues(string(try.Cause)).Inc()
	if f.Outcome.Next == realm.NextOther {
		x.deadEnd.add(&f.Outcome)
	}
}

func (x *exchange) lastTry() *realm.AttemptRecord { return &x.tries[len(x.tries)-1] }

// stop ends the request with what the upstream said of the client's own fault, or
// quietly when the client is gone.
func (x *exchange) stop(ctx context.Context, f *upstream.Failure) {
	if f.Outcome.Cause == realm.CauseClientGone || f.Outcome.Cause == realm.CauseTimeout {
		x.gone(ctx)
		return
	}
	body, header := f.Body, f.Header
	if !hasErrorObject(body) {
		body, header = errorObject(&f.Error), http.Header{"Content-Type": {"application/json"}}
	}
	x.rec.Status, x.rec.Error = f.Outcome.Status, x.lastTry().Error
	x.settle(realm.EndedFailed, realm.CauseClientError)
	x.begin()
	x.client.Begin(f.Outcome.Status, header, false, int64(len(body)))
	_ = x.client.Write(body) // the client may be gone; the record is closed
}

// exhausted ends a request for which nothing is left to try.
func (x *exchange) exhausted() {
	if x.empty != nil {
		x.deliverEmpty()
		return
	}
	var err *realm.Error
	if x.deadEnd.failures > 0 {
		err = x.deadEnd.err(x.need.Model)
	} else {
		err = x.noCandidate()
	}
	x.fail(err, realm.EndedFailed, x.lastCause())
}

func (x *exchange) lastCause() realm.Cause {
	if len(x.tries) == 0 {
		return realm.CauseRefused
	}
	return x.lastTry().Cause
}

// noCandidate explains a plan that had nothing to give.
func (x *exchange) noCandidate() *realm.Error {
	if x.need.Credential != 0 {
		return realm.AsError(accountAway())
	}
	switch x.plan.Lack() {
	case scheduler.LackAPI:
		return &realm.Error{Code: realm.CodeModelNotFound, Field: "model", Message: "No channel that offers this model serves " + x.op.Method + " /v1" + x.op.Path + "."}
	case scheduler.LackModel:
		return realm.AsError(modelNotFound(x.need.Model))
	case scheduler.LackCredential, scheduler.LackNothing:
	}
	return &realm.Error{Code: realm.CodeOverloaded, RetryAfter: 30 * time.Second, Message: "No upstream for this model is in use at the moment."}
}

// ErrStopping is the cause with which a request's context is ended because the
// process leaves; any other end of it is the client's.
var ErrStopping = errors.New("realms is stopping")

const messageStopping = "Realms is stopping; send the request again."

func stopping(ctx context.Context) bool { return errors.Is(context.Cause(ctx), ErrStopping) }

// gone ends a request whose context has ended before anything was committed.
func (x *exchange) gone(ctx context.Context) {
	if stopping(ctx) {
		x.fail(&realm.Error{Code: realm.CodeUnavailable, RetryAfter: time.Second, Message: messageStopping},
			realm.EndedInterrupted, realm.CauseRefused)
		return
	}
	if pastDeadline(ctx) {
		x.late()
		return
	}
	x.clientGone()
}

// clientGone ends a request that nobody waits for.
func (x *exchange) clientGone() {
	x.settle(realm.EndedClientGone, realm.CauseClientGone)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
