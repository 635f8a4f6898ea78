package relay

import (
	"fmt"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// refusing answers like an upstream that does not know a field: only a body
// without it is served.
func refusing(field, code string) testkit.Script {
	return func(r *testkit.Request) testkit.Fault {
		if _, ok := r.JSON()[field]; !ok {
			return nil
		}
		return testkit.Status(400, testkit.ErrorBody("invalid_request_error", code, field, fmt.Sprintf("Unsupported parameter: '%s' is not supported with this model.", field)))
	}
}

// bodies are what the upstreams of a scene were sent.
func (s *scene) bodies() []string {
	var list []string
	for _, r := range s.requests() {
		list = append(list, string(r.Body))
	}
	return list
}

// C-FO-06: the usage that we ask for in the client's place is ours: an upstream
// that refuses it is asked once more without it, and from then on without it, until
// the channel changes.
func TestRefusedStreamOptionsAreRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{script: refusing("stream_options", "unknown_parameter")}, good)
	rows := []struct{ asked, causes string }{{"a1 a1", "field ok"}, {"a1 a1 a1", ""}, {"a1 a1 a1 a1", ""}}
	for i, row := range rows {
		tr := trial{scene: s, form: chatEvents, want: ok(row.asked, row.causes)}
		tr.want.usage = realm.UsageNone // the upstream tells none
		t.Run(fmt.Sprint(i+1), func(t *testing.T) { tr.judge(t, s.ask(t, chatEvents)) })
	}
	for i, body := range s.bodies() {
		if strings.Contains(body, "stream_options") != (i == 0) {
			t.Errorf("request %d: %s", i+1, body)
		}
	}
	// What the client itself asks for is its own.
	own := chatEvents
	own.body = strings.Replace(own.body, `"stream":true`, `"stream":true,"stream_options":{"include_usage":true}`, 1)
	other := w.scene(t, leg{script: refusing("stream_options", "unknown_parameter")}, good)
	w.run(t, []trial{{
		name: "the client's own", scene: other, form: own, want: want{status: 400, kind: "invalid_request_error", code: "unknown_parameter", param: "stream_options", cause: realm.CauseClientError},
	}})
	ch := testapp.Channel(s.names[0], s.ups[0].BaseURL, s.key("a1"))
	ch.Priority, ch.Bindings = 100, []realm.Binding{{Model: s.model}}
	ch.Endpoints[0].Credentials[0].Name, ch.Endpoints[0].Credentials[0].Priority = "credential-1", 100
	ch.Weight = 7
	w.Declare(t, ch)
	s.ask(t, chatEvents)
	if list := s.bodies(); len(list) != 6 || !strings.Contains(list[4], "stream_options") {
		t.Errorf("%d requests after the channel changed: %q", len(list), list)
	}
}

// C-FO-06: a field of the compat list that an upstream refuses is left out once;
// any other is the client's, and so is its refusal.
func TestUnsupportedParameters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	with := func(f form, fields string) form {
		f.body = strings.Replace(f.body, `{"model":"%s"`, `{"model":"%s",`+fields, 1)
		return f
	}
	var trials []trial
	for _, f := range forms {
		for _, field := range []string{"temperature", "top_p"} {
			s := w.scene(t, leg{script: refusing(field, "unsupported_parameter"), keys: 2}, good)
			trials = append(trials, trial{
				name: field + ", " + f.name, form: with(f, `"big":12345678901234567890,"`+field+`" : 0.5, "x":{}`), scene: s, want: ok("a1 a1", "field ok"),
				more: func(t *testing.T, _ *answer, _ realm.RequestRecord) {
					list := s.bodies()
					if sameText(t, "the second body", strings.Replace(list[0], `,"`+field+`" : 0.5`, "", 1), list[1]); !strings.Contains(list[1], "12345678901234567890") {
						t.Error("a big number was changed")
					}
				},
			})
		}
		trials = append(trials, trial{
			name: "another field, " + f.name, form: with(f, `"metadata":{}`), scene: w.scene(t, leg{script: refusing("metadata", "unsupported_parameter")}, good),
			want: want{status: 400, kind: "invalid_request_error", code: "unsupported_parameter", param: "metadata", cause: realm.CauseClientError},
		})
	}
	stubborn := testkit.Always(testkit.Status(400, testkit.ErrorBody("invalid_request_error", "unsupported_parameter", "temperature", "Unsupported parameter: 'temperature'.")))
	trials = append(trials, trial{
		name: "refused again without it", form: with(chatWhole, `"temperature":1`), scene: w.scene(t, leg{script: stubborn}, good),
		want: want{status: 400, kind: "invalid_request_error", code: "unsupported_parameter", param: "temperature", cause: realm.CauseClientError, asked: "a1 a1", causes: "field client_error"},
	})
	s := w.scene(t, leg{script: refusing("max_tokens", "unsupported_parameter")}, good)
	trials = append(trials, trial{
		name: "a limit is renamed, never lost", form: with(chatWhole, `"max_tokens":77`), scene: s, want: ok("a1 a1", "field ok"),
		more: func(t *testing.T, _ *answer, _ realm.RequestRecord) {
			hasWord(t, s.bodies()[1], `"max_completion_tokens":77`)
		},
	})
	w.run(t, trials)
}

// The usage that the client did not ask for is withheld, and nothing else; what it
// asked for it gets as the upstream wrote it.
func TestUsageIsAskedForAndWithheld(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	options := map[string]string{
		`"stream":true`: "", `"stream":true,"stream_options":null`: "", `"stream":true,"stream_options":{"include_usage":false}`: "",
		`"stream_options" : { "include_obfuscation":false },"stream":true`: "", `"stream":true,"stream_options":{"include_usage":true}`: "shown",
	}
	var trials []trial
	for option, shown := range options {
		f := chatEvents
		f.body = strings.Replace(f.body, `"stream":true`, option, 1)
		s := w.scene(t, good)
		tr := trial{name: option, form: f, scene: s}
		if shown != "" {
			tr.want.has = []string{`"choices":[],"usage":{`}
		}
		tr.more = func(t *testing.T, a *answer, rec realm.RequestRecord) {
			r := s.requests()[0]
			if !r.IncludeUsage || strings.Contains(option, "obfuscation") != strings.Contains(string(r.Body), `"include_obfuscation":false`) {
				t.Errorf("the upstream was sent %s", r.Body)
			}
			if want := strings.Join(texts(s.sent()), ""); shown != "" {
				sameText(t, "body", want, a.body)
			}
			if !strings.Contains(a.body, `"usage":null`) || rec.Usage.Cached != int64(testkit.DefaultTokens.Cached) || rec.Usage.Reasoning != int64(testkit.DefaultTokens.Reasoning) {
				t.Errorf("usage %+v", rec.Usage)
			}
		}
		trials = append(trials, tr)
	}
	// The only usage there is stands in a chunk with choices: that is no chunk of ours.
	trials = append(trials, trial{name: "beside the finish", form: chatEvents, scene: w.scene(t, failing(testkit.Usage(testkit.UsageWithFinish))), want: want{has: []string{`"usage":{"prompt_tokens"`}}})
	w.run(t, trials)
}

// nothing answers without any output.
func nothing(f form) testkit.Fault {
	switch {
	case f.responses && f.stream:
		return testkit.Events("event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{\"id\":\"resp_e\",\"object\":\"response\",\"status\":\"in_progress\"}}\n\n",
			"event: response.completed\ndata: {\"type\":\"response.completed\",\"sequence_number\":1,\"response\":{\"id\":\"resp_e\",\"object\":\"response\",\"status\":\"completed\",\"output\":[],\"usage\":{\"input_tokens\":3,\"output_tokens\":0,\"total_tokens\":3}}}\n\n")
	case f.responses:
		return testkit.Body("application/json", `{"id":"resp_e","object":"response","status":"completed","output":[],"usage":{"input_tokens":3,"output_tokens":0,"total_tokens":3}}`)
	case f.stream:
		return testkit.Say()
	default:
		return testkit.Body("application/json", `{"id":"chatcmpl-e","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}}`)
	}
}

// An answer without any output is worth one other credential, and no more; if that
// has nothing better it goes out as it came.
func TestEmptyAnswers(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, emptyAnswers)
}

func emptyAnswers(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, f := range forms {
		empty := nothing(w.heard(f))
		if w.heard(f) == chatEvents {
			empty = testkit.Events(
				"data: {\"id\":\"e\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n",
				"data: {\"id\":\"e\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
				"data: {\"id\":\"e\",\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3}}\n\n", "data: [DONE]\n\n")
		}
		asItCame := func(asked, causes string) want {
			return want{asked: asked, causes: causes, cause: realm.CauseEmpty}
		}
		kept := func(causes string) want { // the first upstream's, though another was asked last
			w := asItCame("a1 b1", causes)
			w.has = []string{""}
			return w
		}
		first := func(s *scene) func(t *testing.T, a *answer, rec realm.RequestRecord) {
			return func(t *testing.T, a *answer, rec realm.RequestRecord) {
				s.mu.Lock()
				sent := s.said[s.ups[0].Requests()[0]]
				s.mu.Unlock()
				w.same(t, "body", f, sent, a.body)
				if rec.Usage.Input != 3 || rec.Credential != rec.Tries[0].Credential {
					t.Errorf("row: %+v", rec)
				}
			}
		}
		failedAfter := w.scene(t, failing(empty), failing(testkit.ServerError()), good)
		faultAfter := w.scene(t, failing(empty), failing(testkit.Error(400, "invalid_request_error", "", "No.")), good)
		trials = append(trials,
			trial{name: "another has more, " + f.name, form: f, scene: w.scene(t, failing(empty), good), want: ok("a1 b1", "empty ok")},
			trial{name: "nobody else, " + f.name, form: f, scene: w.scene(t, failing(empty)), want: kept("")},
			trial{name: "both, " + f.name, form: f, scene: w.scene(t, failing(empty), failing(empty), good), want: asItCame("a1 b1", "empty empty")},
			trial{name: "the other failed, " + f.name, form: f, scene: failedAfter, want: kept("empty server_error"), more: first(failedAfter)},
			trial{name: "the other refused it, " + f.name, form: f, scene: faultAfter, want: kept("empty client_error"), more: first(faultAfter)})
		trials[len(trials)-4].want.asked = "a1"
	}
	// More events than are held from one read to the next, all in one.
	many := testkit.All(testkit.Events(strings.Repeat("data: {\"choices\":[{\"index\":0,\"delta\":{}}]}\n\n", 20),
		"data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
		"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":0,\"total_tokens\":3}}\n\n", "data: [DONE]\n\n"), testkit.InOnePiece())
	trials = append(trials, trial{name: "many events at once", form: w.heard(chatEvents), scene: w.scene(t, failing(many), good), want: ok("a1 b1", "empty ok")})
	w.run(t, trials)
}

// response.done ends a stream as response.completed does.
func TestResponseDoneIsAnEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	renamed := testkit.Rewrite(func(e []byte) []byte {
		return []byte(strings.ReplaceAll(string(e), "response.completed", "response.done"))
	})
	w.run(t, []trial{{name: "done", form: respEvents, scene: w.scene(t, failing(renamed), good), more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
		hasWord(t, a.body, "event: response.done\n")
	}}})
}
