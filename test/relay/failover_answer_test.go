package relay

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// What upstreams say when they fail.
var (
	noModel = testkit.Error(404, "invalid_request_error", "model_not_found", "The model does not exist.")
	noKey   = testkit.Error(401, "invalid_request_error", "invalid_api_key", "Incorrect API key.")
	noPower = testkit.Error(403, "permission_error", "policy", "You are not allowed to use this.")
	noMoney = testkit.Error(429, "insufficient_quota", "insufficient_quota", "You exceeded your current quota.")
	unpaid  = testkit.Error(402, "billing", "payment_required", "Payment required.")
	teapot  = testkit.Error(418, "teapot", "", "I am a teapot.")
	noPath  = testkit.Status(404, `{"error":{"message":"Invalid URL (POST /v1/responses)","type":"invalid_request_error","param":null,"code":null}}`)
)

// tooMany is the answer when every upstream is limited for so long.
func tooMany(asked, causes, seconds string) want {
	w := failed(http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded", asked, causes)
	w.header["Retry-After"] = seconds
	w.header["X-Should-Retry"] = ""
	if seconds == "" {
		w.header["X-Should-Retry"] = "false"
	}
	return w
}

// unknownModel is the answer when no upstream knows the model.
func unknownModel(asked, causes string) want {
	w := failed(http.StatusNotFound, "invalid_request_error", "model_not_found", asked, causes)
	w.param = "model"
	w.header["X-Should-Retry"] = "false"
	return w
}

// What the client is told when all attempts failed depends on all of them, and is
// never an upstream's trouble with its operator.
func TestTheAnswerWhenAllAttemptsFailed(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) {
		c.Relay.Timeouts.FirstByte, c.Relay.Timeouts.FirstByteWhole = 200*time.Millisecond, 200*time.Millisecond
	}, theAnswerWhenAllAttemptsFailed)
}

func theAnswerWhenAllAttemptsFailed(t *testing.T, w *world) {
	t.Helper()
	limited := testkit.RateLimited
	tests := []struct {
		name   string
		faults []testkit.Fault
		want   func(f form) want
	}{
		{"no model", []testkit.Fault{noModel, noModel}, func(form) want { return unknownModel("a1 b1", "model_missing model_missing") }},
		{
			"no model by words",
			[]testkit.Fault{testkit.Error(400, "invalid_request_error", "", "The model `x` does not exist")},
			func(form) want { return unknownModel("a1", "model_missing") },
		},
		{
			"limited, the soonest counts",
			[]testkit.Fault{limited("20"), limited("7"), limited("59")},
			func(form) want { return tooMany("a1 b1 c1", "rate_limited rate_limited rate_limited", "7") },
		},
		{
			"limited for a minute",
			[]testkit.Fault{limited("60"), limited("3600")},
			func(form) want { return tooMany("a1 b1", "rate_limited rate_limited", "") },
		},
		{
			"limited without a time",
			[]testkit.Fault{limited(""), limited("")},
			func(form) want { return tooMany("a1 b1", "rate_limited rate_limited", "5") },
		},
		{
			"limited until a time that is no time",
			[]testkit.Fault{limited("-5"), limited("soon")},
			func(form) want { return tooMany("a1 b1", "rate_limited rate_limited", "5") },
		},
		{
			"limited by its headers",
			[]testkit.Fault{testkit.All(limited(""), testkit.Header("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "8s"))},
			func(form) want { return tooMany("a1", "rate_limited", "8") },
		},
		{
			"limited by its body",
			[]testkit.Fault{testkit.Status(429, `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","resets_in_seconds":13872}}`)},
			func(form) want { return tooMany("a1", "rate_limited", "") },
		},
		{"no quota", []testkit.Fault{noMoney, unpaid}, func(form) want { return tooMany("a1 b1", "quota quota", "") }},
		{"no quota for a time", []testkit.Fault{testkit.All(noMoney, testkit.Header("Retry-After", "3600"))}, func(form) want { return tooMany("a1", "quota", "") }},
		{"no key", []testkit.Fault{noKey, noKey}, func(form) want { return overloaded("a1 b1", "auth auth") }},
		{"forbidden", []testkit.Fault{noPower}, func(form) want { return overloaded("a1", "forbidden") }},
		{"a firewall", []testkit.Fault{testkit.Cloudflare(), testkit.Page(403)}, func(form) want { return overloaded("a1 b1", "blocked blocked") }},
		{
			"5xx",
			[]testkit.Fault{testkit.Error(500, "server_error", "", ""), testkit.Error(529, "overloaded_error", "", ""), testkit.Page(502)},
			func(form) want {
				return overloaded("a1 b1 c1 a1", "server_error server_error server_error server_error")
			},
		},
		{"nonsense", []testkit.Fault{testkit.Page(200), testkit.Page(400)}, func(f form) want { return unusable(f, "a1 b1", "bad_answer bad_answer") }},
		{"a status of its own", []testkit.Fault{teapot}, func(f form) want { return unusable(f, "a1", "bad_answer") }},
		{"silence", []testkit.Fault{testkit.Hang(), testkit.Hang()}, func(f form) want { return late(f, "a1 b1", "timeout timeout") }},
		{"no path", []testkit.Fault{noPath, testkit.Error(405, "", "", "Method not allowed")}, func(form) want { return unknownModel("a1 b1", "api_missing api_missing") }},
		{"no model, then nonsense", []testkit.Fault{noModel, testkit.Page(200)}, func(f form) want { return unusable(f, "a1 b1", "model_missing bad_answer") }},
		{"limited, then no model", []testkit.Fault{limited("9"), noModel}, func(form) want { return overloaded("a1 b1", "rate_limited model_missing") }},
		{"limited, then no key", []testkit.Fault{limited("9"), noKey}, func(form) want { return overloaded("a1 b1", "rate_limited auth") }},
		{"silence, then no key", []testkit.Fault{testkit.Hang(), noKey}, func(form) want { return overloaded("a1 b1", "timeout auth") }},
		{"no key, then silence", []testkit.Fault{noKey, testkit.Hang()}, func(f form) want { return late(f, "a1 b1", "auth timeout") }},
	}
	var trials []trial
	for _, tt := range tests {
		for _, f := range forms {
			var legs []leg
			for _, fault := range tt.faults {
				legs = append(legs, leg{script: testkit.Always(fault), apis: f.own()})
			}
			trials = append(trials, trial{
				name: tt.name + ", " + f.name, form: f, scene: w.scene(t, legs...), want: tt.want(f),
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
					hasWord(t, a.body, a.Header.Get("X-Request-Id"))
					for _, word := range []string{"Just a moment", "<html", "Incorrect API key", "You exceeded", "Payment required", "insufficient_quota", "teapot"} {
						if strings.Contains(a.body, word) {
							t.Errorf("the upstream's own trouble went to the client: %s", a.body)
						}
					}
				},
			})
		}
	}
	w.run(t, trials)
}

// S01, S03: a fault that passes is worth one more attempt after the time that the
// upstream named, if that is short, when nobody else is left.
func TestAPassingFaultIsTriedOnceMore(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, aPassingFaultIsTriedOnceMore)
}

func aPassingFaultIsTriedOnceMore(t *testing.T, w *world) {
	t.Helper()
	tests := []struct {
		name, causes string
		fault        testkit.Fault
		wait         time.Duration
	}{
		{"500 once", "server_error ok", testkit.ServerError(), 0},
		{"cut once", "connect ok", testkit.Reset(), 0},
		{"429 for a second", "rate_limited ok", testkit.RateLimited("1"), time.Second},
		{"429 that is over", "rate_limited ok", testkit.RateLimited("0"), 0},
	}
	var trials []trial
	for _, tt := range tests {
		for _, f := range forms {
			trials = append(trials, trial{
				name: tt.name + ", " + f.name, form: f, scene: w.scene(t, leg{script: testkit.Sequence(tt.fault)}), want: ok("a1 a1", tt.causes),
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
					if a.took < tt.wait || a.took > tt.wait+3*time.Second {
						t.Errorf("it took %s, the upstream said %s", a.took, tt.wait)
					}
				},
			})
		}
	}
	w.run(t, trials)
}

// A failure puts out of question what it tells about, and no more.
func TestWhatAFailurePutsOutOfQuestion(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	tests := []struct {
		name, asked, causes string
		fault               testkit.Fault
	}{
		{"the key", "a1 a2", "auth ok", noKey},
		{"the key and the model", "a1 a2", "forbidden ok", noPower},
		{"the key's limit", "a1 a2", "rate_limited ok", testkit.RateLimited("30")},
		{"the key's quota", "a1 a2", "quota ok", noMoney},
		{"the endpoint", "a1 b1", "blocked ok", testkit.Cloudflare()},
		{"the endpoint and the model", "a1 b1", "server_error ok", testkit.ServerError()},
		{"the endpoint's answer", "a1 b1", "bad_answer ok", testkit.Page(200)},
		{"the channel and the model", "a1 b1", "model_missing ok", noModel},
		{"the channel and the API", "a1 b1", "api_missing ok", noPath},
		{"a conflict without words", "a1 b1", "server_error ok", testkit.Status(409, "")},
		{"a timeout of its own", "a1 b1", "server_error ok", testkit.Error(408, "", "", "Timeout.")},
	}
	var trials []trial
	for _, tt := range tests {
		for _, f := range forms {
			first := func(r *testkit.Request) testkit.Fault {
				if r.Number == 1 {
					return tt.fault
				}
				return nil
			}
			trials = append(trials, trial{
				name: tt.name + ", " + f.name, form: f, scene: w.scene(t, leg{script: first, keys: 2, apis: f.own()}, good), want: ok(tt.asked, tt.causes),
			})
		}
	}
	w.run(t, trials)
}
