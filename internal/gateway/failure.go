package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
	"realms/internal/scheduler"
)

// deadEnd adds up the failures of a request's attempts, to choose the one answer
// that is right when nothing is left to try (data-plane.md, "Errors").
type deadEnd struct {
	failures int
	missing  int           // of them: the upstream does not know the model
	pathless int           // of them: the upstream does not have the path
	limited  int           // of them: 429 or quota
	accounts int           // of the limited: the operator's own accounts
	soonest  time.Duration // when the first limited one may be asked again
	last     realm.Cause
}

// add takes in an attempt that failed, and for how long its upstream is away, which
// may be an account of the operator's.
func (d *deadEnd) add(cause realm.Cause, away time.Duration, account bool) {
	d.failures++
	d.last = cause
	switch cause {
	case realm.CauseModelMissing:
		d.missing++
	case realm.CauseAPIMissing:
		d.pathless++
	case realm.CauseRateLimited, realm.CauseQuota:
		if d.limited == 0 || away < d.soonest {
			d.soonest = away
		}
		d.limited++
		if account {
			d.accounts++
		}
	default:
	}
}

// longWait is where a Retry-After stops being useful: no SDK waits longer.
const longWait = time.Minute

// join takes in the candidates that were not asked because of what they said to
// earlier requests.
func (d *deadEnd) join(v *scheduler.Verdict) {
	if v.Limited > 0 && (d.limited == 0 || v.Soonest < d.soonest) {
		d.soonest = v.Soonest
	}
	d.failures += v.Blocked
	d.missing += v.Missing
	d.pathless += v.Pathless
	d.limited += v.Limited
	d.accounts += v.Accounts
}

// nothingLeft is the answer when no attempt served the request and none is left.
func (x *exchange) nothingLeft(v *scheduler.Verdict) *realm.Error {
	asked := x.deadEnd.failures > 0
	if v.Bound && !asked && x.refusal != nil {
		return x.refusal
	}
	if v.Bound && !asked {
		return accountAway(v.Soonest)
	}
	x.deadEnd.join(v)
	switch d := &x.deadEnd; {
	case v.Crowded && !asked:
		return &realm.Error{Code: realm.CodeRateLimited, RetryAfter: time.Second, Message: "Every upstream for this model is busy and too many of your requests wait already; try again in 1 s."}
	case d.failures == d.pathless && x.refusal != nil:
		return x.refusal
	case d.failures == 0:
		return x.noCandidate(v.Lack)
	case d.pathless == d.failures && x.need.State:
		return x.keptNowhere()
	case d.pathless == d.failures:
		return x.noCandidate(scheduler.LackAPI)
	case d.missing == d.failures-d.pathless:
		return modelNotFound(x.need.Model)
	default:
		return d.err()
	}
}

// noCandidate explains a plan that had nothing to give.
func (x *exchange) noCandidate(lack scheduler.Lack) *realm.Error {
	switch lack {
	case scheduler.LackAPI:
		return &realm.Error{Code: realm.CodeModelNotFound, Field: "model", Message: "No channel that offers this model serves " + x.op.Method + " /v1" + x.op.Path + "."}
	case scheduler.LackModel:
		return modelNotFound(x.need.Model)
	case scheduler.LackState:
		return x.keptNowhere()
	case scheduler.LackCredential, scheduler.LackNothing:
	}
	return &realm.Error{Code: realm.CodeOverloaded, RetryAfter: 30 * time.Second, Message: "No upstream for this model is in use at the moment."}
}

// keptNowhere is the answer when a request builds on what no channel keeps.
func (x *exchange) keptNowhere() *realm.Error {
	if x.stateField == "store" {
		return realm.Invalid("store", "No channel that offers this model keeps responses: leave `store` out or set it to false.")
	}
	return realm.Invalid(x.stateField, "No channel that offers this model keeps responses: leave `"+x.stateField+"` out and send the whole conversation in `input`.")
}

// err is the answer when every attempt failed.
func (d *deadEnd) err() *realm.Error {
	d.failures -= d.pathless // another form of the request, or another channel, failed otherwise
	switch {
	case d.accounts == d.failures && d.soonest >= longWait:
		return &realm.Error{Code: realm.CodePlanLimit, RetryAfter: d.soonest, Message: fmt.Sprintf(
			"The account's plan is used up; it is filled up again in %s.", d.soonest.Round(time.Second))}
	case d.limited == d.failures && d.soonest >= longWait:
		return &realm.Error{Code: realm.CodeRateLimited, Message: fmt.Sprintf(
			"Every upstream for this model has reached its limit; the first is free again in %s.", d.soonest.Round(time.Second))}
	case d.limited == d.failures:
		wait := max(d.soonest, time.Second)
		return &realm.Error{Code: realm.CodeRateLimited, RetryAfter: wait, Message: fmt.Sprintf(
			"Every upstream for this model is limited at the moment; try again in %d s.", int(math.Ceil(wait.Seconds())))}
	case d.last == realm.CauseTimeout:
		return &realm.Error{Code: realm.CodeUpstreamTimeout, RetryAfter: time.Second, Message: "No upstream answered in time; try again."}
	case d.last == realm.CauseBadAnswer || d.last == realm.CauseUpstreamCut:
		return &realm.Error{Code: realm.CodeUpstreamBad, RetryAfter: time.Second, Message: "The upstream's answer was not usable; try again."}
	default:
		return &realm.Error{Code: realm.CodeOverloaded, RetryAfter: time.Second, Message: "No upstream could serve this request; try again."}
	}
}

// hasErrorObject tells whether an upstream's error body has OpenAI's shape, so
// that it can go to the client as it is.
func hasErrorObject(body []byte) bool {
	if body == nil {
		return false
	}
	doc, err := rawjson.Scan(body, nil)
	if err != nil {
		return false
	}
	raw, ok := doc.Get("error")
	return ok && rawjson.IsObject(raw)
}

// reworded puts what was translated of an error into its body, and leaves the rest of it
// as the upstream has written it.
func reworded(body []byte, theirs, said *openai.UpstreamError) []byte {
	doc, err := rawjson.Scan(body, nil)
	if err != nil {
		return errorObject(said)
	}
	edits := rawjson.Edits{Doc: &doc}
	for _, field := range [...]struct{ path, theirs, said string }{
		{"error.param", theirs.Param, said.Param}, {"error.message", theirs.Message, said.Message},
	} {
		if field.theirs == field.said {
			continue
		}
		if err := edits.Set(field.path, rawjson.AppendString(nil, field.said)); err != nil {
			return errorObject(said)
		}
	}
	return edits.Apply(nil)
}

// errorObject puts an upstream's error into OpenAI's shape.
func errorObject(e *openai.UpstreamError) []byte {
	orNull := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	body, err := json.Marshal(map[string]any{"error": map[string]any{
		"message": e.Message, "type": e.Type, "param": orNull(e.Param), "code": orNull(e.Code),
	}})
	if err != nil { // strings always encode
		return []byte(`{"error":{"message":"The upstream refused the request.","type":"invalid_request_error","param":null,"code":null}}`)
	}
	return body
}
