package gateway

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"realms/internal/protocol/convert"
	"realms/internal/realm"
	"realms/internal/scheduler"
	"realms/internal/upstream"
)

// execute is steps 4 to 7: attempt after attempt, until one is committed or
// nothing is left.
func (x *exchange) execute(ctx context.Context) {
	x.findSession(ctx)
	x.g.o.Scheduler.Begin(&x.plan, x.snap, x.need, time.Now())
	defer func() { x.plan.Close(time.Now()) }()
	for {
		if ctx.Err() != nil {
			x.gone(ctx)
			return
		}
		step := x.plan.Next(time.Now())
		switch step.Kind {
		case scheduler.StepAttempt:
			if err := x.take(step.Attempt.API); err != nil {
				if x.plan.Withdraw(time.Now()); x.unfit(err) {
					return
				}
				continue
			}
			f := x.attempt(ctx, step.Attempt)
			if f == nil {
				return
			}
			if x.empty == nil || f.Outcome.Cause == realm.CauseEmpty || !f.Outcome.Ends() {
				continue
			}
			// One other credential was asked, and has nothing better.
		case scheduler.StepWait, scheduler.StepQueue:
			if x.empty != nil {
				break // an answer is there: better none of another than a late one
			}
			if await(ctx, step) {
				continue
			}
			x.gone(ctx)
			return
		case scheduler.StepNone:
		}
		x.exhausted()
		return
	}
}

// findSession asks the other processes for the account of a session that is new to
// this one.
func (x *exchange) findSession(ctx context.Context) {
	if x.g.o.FindSession == nil {
		return
	}
	for range 2 { // the session's own account, then perhaps the one for this model
		key, unknown := x.g.o.Scheduler.Unbound(x.snap, &x.need, time.Now())
		if !unknown {
			return
		}
		id, ok := x.g.o.FindSession(ctx, key)
		if !ok {
			return
		}
		x.g.o.Scheduler.Rebind(key, id, time.Now())
	}
}

// attempt makes one exchange. Nil means that the request has its end; otherwise
// nothing was committed and the failure says what it taught.
func (x *exchange) attempt(ctx context.Context, a realm.Attempt) *upstream.Failure {
	begun := time.Now()
	x.channel = a.Channel
	ex := x.exchangeFor(&a)
	ex.FreshConn = a.Number > 1 && len(x.tries) > 0 && x.tries[len(x.tries)-1].Cause == realm.CauseStaleConn
	up, done := upstreamContext(ctx, a.Channel)
	defer done()
	res, f := x.send(up, ex)
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
	x.renew(ctx, ex, f)
	x.closeTry(f, begun, x.report(&f.Outcome))
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
		Attempt: *a, API: x.form.op.API, Method: x.op.Method, Path: x.form.path, Object: x.op.Object, RawQuery: x.call.RawQuery,
		Header: x.call.Header, Hops: x.hops, LimitHeaders: x.g.o.SelfMode,
		Timeouts: x.g.o.Relay.timeouts(a, false),
	}
	req := x.form.req
	if req == nil {
		return ex
	}
	ex.ContentType = "application/json" // as it was read, whatever it came as
	if req.Form != nil {
		ex.ContentType = x.call.ContentType
	}
	if req.Stream || x.collects(a.Channel) {
		ex.Stream = true
		ex.Timeouts = x.g.o.Relay.timeouts(a, true)
	}
	rw := x.rewrite(a)
	ex.AddedFields = req.AddedFields(rw)
	ex.AddedFields = append(ex.AddedFields, x.addedByConversion()...)
	r := x.edited(rw)
	ex.Body, ex.Length = r, int64(r.Len())
	return ex
}

// unfit remembers that the request cannot be put in another form. True: that was
// our own fault, and the request has its end.
func (x *exchange) unfit(err error) bool {
	e := realm.AsError(err)
	if e.Code == realm.CodeInvalid {
		x.refusal = e
		return false
	}
	if e.Code != realm.CodeInternal {
		x.fail(e, realm.EndedRefused, realm.CauseRefused)
		return true
	}
	x.g.o.Log.Error("request failed", "request_id", x.call.ID.String(), "error", err)
	x.fail(e, realm.EndedFailed, realm.CauseInternal)
	return true
}

// closeTry writes down how the attempt ended, after which its upstream is away for
// so long.
func (x *exchange) closeTry(f *upstream.Failure, begun time.Time, away time.Duration) {
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
		x.deadEnd.add(f.Outcome.Cause, away, x.channel.Type == realm.CodexOAuth)
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
	body, header, said := f.Body, f.Header, f.Error
	if x.form.conv != nil {
		said = convert.ClientError(x.form.conv, said)
	}
	switch {
	case x.channel.Type == realm.CodexOAuth, !hasErrorObject(body): // that backend has three shapes
		body, header = errorObject(&said), http.Header{"Content-Type": {"application/json"}}
	case said != f.Error:
		body = reworded(body, &f.Error, &said)
	}
	status := cmp.Or(f.Status, f.Outcome.Status)
	x.rec.Status, x.rec.Error = status, x.lastTry().Error
	x.settle(realm.EndedFailed, realm.CauseClientError)
	x.begin()
	x.client.Begin(status, header, false, int64(len(body)))
	_ = x.client.Write(body) // the client may be gone; the record is closed
}

// exhausted ends a request for which nothing is left to try.
func (x *exchange) exhausted() {
	if x.empty != nil {
		x.deliverEmpty()
		return
	}
	v := x.plan.Verdict(time.Now())
	if v.Spent != "" {
		x.g.metrics.spent.WithLabelValues(string(v.Spent)).Inc()
	}
	x.fail(x.nothingLeft(&v), realm.EndedFailed, x.lastCause())
}

func (x *exchange) lastCause() realm.Cause {
	if len(x.tries) == 0 {
		return realm.CauseRefused
	}
	return x.lastTry().Cause
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

// await waits as a step says. False: the request's context ended first.
func await(ctx context.Context, step scheduler.Step) bool {
	t := time.NewTimer(step.Wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-step.Turn: // nil, and so never, where only time is waited for
	case <-ctx.Done():
		return false
	}
	return true
}
