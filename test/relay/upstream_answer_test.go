package relay

import (
	"net/http"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// notAnAnswer are 200s that are not what they say (D-06).
var notAnAnswer = []struct {
	name  string
	fault testkit.Fault
	forms []form
}{
	{"HTML", testkit.Page(http.StatusOK), forms},
	{"HTML that says it is JSON", testkit.Body("application/json", "<html><body>hello</body></html>"), forms},
	{"HTML that says it is events", testkit.Body("text/event-stream", "<html><body>hello</body></html>"), forms},
	{"HTML without a type", testkit.All(testkit.Page(http.StatusOK), testkit.Header("Content-Type", "")), forms},
	{"empty", testkit.EmptyBody(), forms},
	{"empty JSON", testkit.Body("application/json", ""), forms},
	{"broken JSON", testkit.BrokenJSON(), forms},
	{"an array", testkit.Array(), forms},
	{"a number", testkit.Body("application/json", "7"), forms},
	{"null", testkit.Body("application/json", "null"), forms},
	{"another object", testkit.Body("application/json", `{"hello":"world"}`), forms},
	{"JSON and more", testkit.Body("application/json", `{"id":"x","object":"response","output":[],"choices":[]}{}`), forms},
	{"JSON where events were asked for", testkit.Body("application/json", `{"id":"chatcmpl-1","choices":[{"index":0,"message":{"content":"hi"}}]}`), streams},
	{"events where none were asked for", testkit.Events("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":null}]}\n\n", "data: [DONE]\n\n"), wholes},
	{"a first event that is broken", testkit.Malformed(0), streams},
	{"a second event that is broken", testkit.Malformed(1), streams},
	{"an event that is an array", testkit.Insert(1, "data: [{\"choices\":[]}]\n\n"), streams},
	{"an event that is a number", testkit.Insert(1, "data: 7\n\n"), streams},
	{"an event that is text", testkit.Insert(1, "data: hello\n\n"), streams},
	{"an event without a body", testkit.Events("event: response.created\n\n"), streams},
	{"invalid UTF-8 in an event", testkit.Insert(1, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\xff\xfe\"}}]}\n\n"), []form{chatEvents}},
	{"comments alone", testkit.Events(": hello\n\n", ": still here\n\n"), streams},
}

// D-06: a 200 that is no answer, found out before anything went to the client, is
// a failure like another; the client never hears of it.
func TestNonsenseFailsOver(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, nonsenseFailsOver)
}

func nonsenseFailsOver(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, fault := range notAnAnswer {
		for _, f := range fault.forms {
			f = w.heard(f) // the forms are the upstream's
			trials = append(trials,
				trial{name: fault.name + ", " + f.name, form: f, scene: w.scene(t, failing(fault.fault), good), want: ok("a1 b1", "bad_answer ok")},
				trial{name: fault.name + " anywhere, " + f.name, form: f, scene: w.scene(t, failing(fault.fault)), want: unusable(f, "a1", "bad_answer")})
		}
	}
	w.run(t, trials)
}

// D-06: after output began, nonsense ends the stream with its own error.
func TestNonsenseAfterOutputEndsTheStream(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, nonsenseAfterOutputEndsTheStream)
}

func nonsenseAfterOutputEndsTheStream(t *testing.T, w *world) {
	t.Helper()
	nonsense := map[string]string{
		"broken JSON": "data: {\"choices\":[{\"delta\":{\n\n", "an array": "data: [1]\n\n", "a page": "data: <html>\n\n",
		"deep": "data: {\"a\":" + deep(600) + "}\n\n",
	}
	var trials []trial
	for name, raw := range nonsense {
		for _, f := range streams {
			const n = 6
			want, more := cutAfter(f, n, realm.EndedUpstreamCut, realm.CauseUpstreamCut, "upstream_cut")
			s := w.scene(t, failing(testkit.Insert(n, raw)), good)
			trials = append(trials, trial{
				name: name + ", " + f.name, form: f, scene: s, want: want,
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) { more(t, s, a) },
			})
		}
	}
	w.run(t, trials)
}

func deep(n int) string {
	b := make([]byte, 0, 2*n)
	for range n {
		b = append(b, '[')
	}
	for range n {
		b = append(b, ']')
	}
	return string(b)
}

// inside is an error that comes with a status of success, in every form's way.
func inside(kind, code, message string) testkit.Fault {
	return func(r *testkit.Request, a *testkit.Answer) {
		body := testkit.ErrorBody(kind, code, "", message)
		switch {
		case !r.Stream:
			testkit.Body("application/json", body)(r, a)
		case r.Path == respEvents.path:
			testkit.FailedEvent(code, message)(r, a)
		default:
			testkit.Events("data: "+body+"\n\n")(r, a)
		}
	}
}

// An error inside a 200 means what it would have meant under the status that it
// deserved: the upstream's trouble goes to another, a client's fault to the client
// with its real status.
func TestErrorInsideSuccess(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, errorInsideSuccess)
}

func errorInsideSuccess(t *testing.T, w *world) {
	t.Helper()
	troubles := []struct{ kind, code, cause string }{
		{"server_error", "server_error", "server_error"},
		{"server_error", "server_is_overloaded", "server_error"},
		{"rate_limit_error", "rate_limit_exceeded", "rate_limited"},
		{"insufficient_quota", "insufficient_quota", "quota"},
		{"invalid_request_error", "invalid_api_key", "auth"},
		{"invalid_request_error", "model_not_found", "model_missing"},
		{"", "", "server_error"},
	}
	faults := []struct{ kind, code string }{
		{"invalid_request_error", "context_length_exceeded"},
		{"invalid_request_error", "content_filter"},
		{"invalid_request_error", "invalid_prompt"},
	}
	var trials []trial
	for _, f := range forms {
		for _, e := range troubles {
			trials = append(trials, trial{
				name: "trouble " + e.code + ", " + f.name, form: f,
				scene: w.scene(t, failing(inside(e.kind, e.code, "Not now.")), good), want: ok("a1 b1", e.cause+" ok"),
			})
		}
		for _, e := range faults {
			trials = append(trials, trial{
				name: "fault " + e.code + ", " + f.name, form: f,
				scene: w.scene(t, failing(inside(e.kind, e.code, "You cannot ask that.")), good),
				want:  want{status: http.StatusBadRequest, kind: e.kind, code: e.code, cause: realm.CauseClientError},
				more:  func(t *testing.T, a *answer, _ realm.RequestRecord) { hasWord(t, a.body, "You cannot ask that.") },
			})
		}
	}
	w.run(t, trials)
}

// failsAfter is a good stream whose nth event is a failure.
func failsAfter(n int, kind, code string) testkit.Fault {
	return func(r *testkit.Request, a *testkit.Answer) {
		output := a.Chunks[:n:n]
		inside(kind, code, "It broke.")(r, a)
		a.Chunks = append(output, a.Chunks[len(a.Chunks)-1])
	}
}

// A failure after output began is the client's to see as the upstream told it,
// unless it is between the operator and the upstream.
func TestFailureAfterOutput(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, failureAfterOutput)
}

func failureAfterOutput(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, f := range streams {
		for code, cause := range map[string]realm.Cause{
			"server_error": realm.CauseServerError, "rate_limit_exceeded": realm.CauseRateLimited, "content_filter": realm.CauseClientError,
		} {
			s := w.scene(t, failing(failsAfter(6, "", code)), good)
			trials = append(trials, trial{
				name: code + ", " + f.name, form: f, scene: s, want: want{has: []string{"It broke."}, ended: realm.EndedFailed, cause: cause},
				more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
					w.same(t, "body", f, s.sent(), a.body)
					if w.converted {
						streamError(t, f, a.body)
					}
					hasWord(t, rec.Error, "It broke.")
				},
			})
		}
		for code, cause := range map[string]realm.Cause{"insufficient_quota": realm.CauseQuota, "invalid_api_key": realm.CauseAuth} {
			s := w.scene(t, failing(failsAfter(6, "", code)), good)
			trials = append(trials, trial{
				name: code + ", " + f.name, form: f, scene: s, want: want{has: []string{"upstream_cut"}, ended: realm.EndedFailed, cause: cause},
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
					before, shown := streamError(t, f, a.body)
					if w.same(t, "before the error", f, s.sent()[:6], before); shown == code || strings.Contains(a.body, "It broke.") {
						t.Errorf("the operator's trouble went to the client: %s", a.body)
					}
				},
			})
		}
	}
	w.run(t, trials)
}

// breaksOff is a chat answer whose only choice says that its upstream failed: after
// the output that it has, without an error event, and with its [DONE].
func breaksOff(reason, output string) testkit.Fault {
	return func(r *testkit.Request, a *testkit.Answer) {
		if !r.Stream {
			testkit.Body("application/json", `{"id":"gen-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"`+output+`"},"finish_reason":"`+reason+`"}]}`)(r, a)
			return
		}
		delta := func(content, finish string) string {
			return `data: {"id":"gen-1","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"` + content + `"},"finish_reason":` + finish + "}]}\n\n"
		}
		usage := `data: {"id":"gen-1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":1,"total_tokens":8}}` + "\n\n"
		testkit.Events(delta(output, "null"), delta("", `"`+reason+`"`), usage, "data: [DONE]\n\n")(r, a)
	}
}

// A chat answer whose finish_reason is that its upstream failed is a failure: another
// is asked while nothing is out, and after output the client hears of it instead of
// [DONE], with the tokens counted.
func TestChatAnswersThatBreakOff(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, chatAnswersThatBreakOff)
}

func chatAnswersThatBreakOff(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, f := range forms {
		if w.heard(f).responses {
			continue
		}
		for _, reason := range []string{"error", "insufficient_system_resource"} {
			trials = append(trials, trial{
				name: reason + " at once, " + f.name, form: f,
				scene: w.scene(t, failing(breaksOff(reason, "")), good), want: ok("a1 b1", "server_error ok"),
			})
			if !f.stream { // nothing is out before all of it is
				trials = append(trials, trial{
					name: reason + ", " + f.name, form: f,
					scene: w.scene(t, failing(breaksOff(reason, "Hello")), good), want: ok("a1 b1", "server_error ok"),
				})
				continue
			}
			s := w.scene(t, failing(breaksOff(reason, "Hello")), good)
			trials = append(trials, trial{
				name: reason + " after output, " + f.name, form: f, scene: s,
				want: want{has: []string{"Hello"}, ended: realm.EndedFailed, cause: realm.CauseServerError, usage: realm.UsageUpstream},
				more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
					before, _ := streamError(t, f, a.body)
					if text(t, f, before) != "Hello" || strings.Contains(a.body, "[DONE]") {
						t.Errorf("the client got %s", a.body)
					}
					if rec.Usage.Input != 7 || rec.Usage.Output != 1 {
						t.Errorf("usage %+v", rec.Usage)
					}
				},
			})
		}
	}
	w.run(t, trials)
}
