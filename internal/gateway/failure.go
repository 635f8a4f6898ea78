package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// deadEnd adds up the failures of a request's attempts, to choose the one answer
// that is right when nothing is left to try (data-plane.md, "Errors").
type deadEnd struct {
	failures int
	missing  int           // of them: the upstream does not know the model
	limited  int           // of them: 429 or quota
	soonest  time.Duration // when the first limited one may be asked again
	last     realm.Cause
}

func (d *deadEnd) add(o *realm.Outcome) {
	d.failures++
	d.last = o.Cause
	switch o.Cause {
	case realm.CauseModelMissing:
		d.missing++
	case realm.CauseRateLimited, realm.CauseQuota:
		if wait := waitOf(o); d.limited == 0 || wait < d.soonest {
			d.soonest = wait
		}
		d.limited++
	default:
	}
}

// How long an upstream that names no time is taken to be limited.
const (
	untoldLimit = 5 * time.Second
	untoldQuota = 10 * time.Minute
)

func waitOf(o *realm.Outcome) time.Duration {
	switch {
	case o.Told:
		return o.Wait
	case o.Cause == realm.CauseQuota:
		return untoldQuota
	default:
		return untoldLimit
	}
}

// longWait is where a Retry-After stops being useful: no SDK waits longer.
const longWait = time.Minute

// err is the answer when every attempt failed.
func (d *deadEnd) err(model string) *realm.Error {
	switch {
	case d.missing == d.failures:
		return realm.AsError(modelNotFound(model))
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
