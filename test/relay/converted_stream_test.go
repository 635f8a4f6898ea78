package relay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// chunks are a chat stream of these deltas, with usage and end.
func chunks(deltas ...string) testkit.Fault {
	var list []string
	for _, d := range deltas {
		list = append(list, `data: {"id":"chatcmpl-q","object":"chat.completion.chunk","created":1780000000,"model":"m","choices":[{"index":0,"delta":`+d+`,"finish_reason":null}]}`+"\n\n")
	}
	return testkit.Events(append(list,
		`data: {"id":"chatcmpl-q","object":"chat.completion.chunk","created":1780000000,"model":"m","choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`+"\n\n",
		"data: [DONE]\n\n")...)
}

// What chat upstreams do in their own ways arrives as a strict reader of Responses
// wants it.
func TestOddChatStreamsAreConverted(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	call := func(fields string) string { return `{"tool_calls":[` + fields + `]}` }
	var trials []trial
	for _, tt := range []struct {
		name  string
		fault testkit.Fault
		has   []string
	}{
		{"reasoning_content", chunks(`{"role":"assistant","content":null,"reasoning_content":"hm"}`, `{"reasoning_content":" so"}`, `{"content":"yes"}`), []string{
			"event: response.reasoning_text.delta\n", `"text":"hm so"`, `"text":"yes"`, `"type":"reasoning"`,
		}},
		{"reasoning alone", chunks(`{"reasoning":"hm"}`), []string{`"text":"hm"`}},
		{"calls without an index", chunks(call(`{"id":"c1","function":{"name":"f","arguments":"{\"a\":"}}`), call(`{"function":{"arguments":"1}"}}`)), []string{
			`"call_id":"c1"`, `"arguments":"{\"a\":1}"`,
		}},
		{"two calls in turn", chunks(call(`{"index":0,"id":"c1","function":{"name":"f","arguments":"{"}},{"index":1,"id":"c2","function":{"name":"g","arguments":"["}}`),
			call(`{"index":1,"function":{"arguments":"]"}}`), call(`{"index":0,"function":{"arguments":"}"}}`)), []string{
			`"arguments":"{}"`, `"arguments":"[]"`, `"call_id":"c1"`, `"call_id":"c2"`,
		}},
		{"content in parts", chunks(`{"content":[{"type":"text","text":"yes"}]}`), []string{`"text":"yes"`}},
		{"half a letter", chunks(`{"content":"a\ud83d"}`, `{"content":"\ude42b"}`), []string{`\ud83d\ude42b`}},
		{"a refusal", chunks(`{"refusal":"no"}`), []string{`event: response.refusal.delta`, `"refusal":"no"`}},
		{"comments", testkit.All(chunks(`{"content":"yes"}`), testkit.Comments()), []string{`"text":"yes"`}},
		{"no usage", testkit.All(testkit.Usage(testkit.UsageNone)), []string{`"usage":null`}},
	} {
		usage := realm.UsageUpstream
		if tt.name == "no usage" {
			usage = realm.UsageNone
		}
		trials = append(trials, trial{
			name: tt.name, form: respEvents, scene: w.scene(t, failing(tt.fault), good), want: want{has: tt.has, usage: usage},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) { w.whole(t, respEvents, a.body) },
		})
	}
	w.run(t, trials)
}

// respStream is a stream of Responses from these events (without their numbers).
func respStream(list ...string) testkit.Fault {
	var out []string
	for i, fields := range list {
		kind, rest, _ := strings.Cut(fields, " ")
		out = append(out, "event: "+kind+"\ndata: {\"type\":\""+kind+"\",\"sequence_number\":"+strconv.Itoa(i)+","+rest+"}\n\n")
	}
	return testkit.Events(out...)
}

const (
	createdFields = `response.created "response":{"id":"resp_1","object":"response","created_at":1780000000,"model":"m","status":"in_progress","output":[]}`
	searchFields  = `response.output_item.added "output_index":0,"item":{"type":"web_search_call","id":"ws_1","status":"in_progress"}`
	messageFields = `response.output_item.added "output_index":0,"item":{"type":"message","id":"msg_1","status":"in_progress","role":"assistant","content":[]}`
	deltaFields   = `response.output_text.delta "item_id":"msg_1","output_index":0,"content_index":0,"delta":"yes"`
)

func endFields(kind, status, more string) string {
	return kind + ` "response":{"id":"resp_1","object":"response","created_at":1780000000,"model":"m","status":"` + status + `","output":[],` + more + `"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`
}

// However a response ends, a chat client hears of it as chat tells it.
func TestEndsOfResponsesAreConverted(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	cut := func(cause realm.Cause, usage realm.UsageSource) want {
		return want{has: []string{"yes"}, ended: realm.EndedFailed, cause: cause, usage: usage}
	}
	var trials []trial
	for _, tt := range []struct {
		name string
		last string
		want want
	}{
		{"completed", endFields("response.completed", "completed", ""), want{has: []string{`"finish_reason":"stop"`, "data: [DONE]\n\n"}}},
		{"done", endFields("response.done", "completed", ""), want{has: []string{`"finish_reason":"stop"`, "data: [DONE]\n\n"}}},
		{"too long", endFields("response.incomplete", "incomplete", `"incomplete_details":{"reason":"max_output_tokens"},`), want{has: []string{`"finish_reason":"length"`, "data: [DONE]\n\n"}}},
		{"filtered", endFields("response.incomplete", "incomplete", `"incomplete_details":{"reason":"content_filter"},`), want{has: []string{`"finish_reason":"content_filter"`, "data: [DONE]\n\n"}}},
		{"failed", endFields("response.failed", "failed", `"error":{"code":"server_error","message":"It broke."},`), cut(realm.CauseServerError, realm.UsageUpstream)},
		{"cancelled", endFields("response.cancelled", "cancelled", ""), cut(realm.CauseServerError, realm.UsageUpstream)},
		{"an error", `error "code":"server_error","message":"It broke."`, cut(realm.CauseServerError, realm.UsageNone)},
	} {
		s := w.scene(t, failing(respStream(createdFields, messageFields, deltaFields, tt.last)), good)
		first := w.scene(t, failing(respStream(createdFields, tt.last)), good)
		trials = append(trials, trial{
			name: tt.name, form: chatEvents, scene: s, want: tt.want,
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				if tt.want.ended != realm.EndedFailed {
					w.whole(t, chatEvents, a.body)
					return
				}
				if before, code := streamError(t, chatEvents, a.body); text(t, chatEvents, before) != "yes" || code == "" {
					t.Errorf("%q after %q", code, before)
				}
			},
		})
		if tt.want.ended == realm.EndedFailed {
			trials = append(trials, trial{name: tt.name + " at first", form: chatEvents, scene: first, want: ok("a1 b1", "server_error ok")})
		}
	}
	w.run(t, trials)
}

// A reason to finish that is a failure is one: another is asked, or the stream's own
// error ends what has begun; the row says so.
func TestReasonsThatAreFailures(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	ending := func(reason string, deltas ...string) testkit.Fault {
		return testkit.All(chunks(deltas...), testkit.Rewrite(func(e []byte) []byte {
			return []byte(strings.ReplaceAll(string(e), `"finish_reason":"stop"`, `"finish_reason":"`+reason+`"`))
		}))
	}
	whole := func(reason string) testkit.Fault {
		return testkit.Rewrite(func(e []byte) []byte {
			return []byte(strings.ReplaceAll(string(e), `"finish_reason":"stop"`, `"finish_reason":"`+reason+`"`))
		})
	}
	var trials []trial
	for _, reason := range []string{"error", "insufficient_system_resource"} {
		trials = append(trials,
			trial{name: reason + ", at first", form: respEvents, scene: w.scene(t, failing(ending(reason, `{"role":"assistant"}`)), good), want: ok("a1 b1", "server_error ok")},
			trial{name: reason + ", whole", form: respWhole, scene: w.scene(t, failing(whole(reason)), good), want: ok("a1 b1", "server_error ok")},
			trial{
				name: reason + ", later", form: respEvents, scene: w.scene(t, failing(ending(reason, `{"content":"yes"}`)), good),
				want: want{has: []string{"event: response.failed\n"}, ended: realm.EndedFailed, cause: realm.CauseServerError, usage: realm.UsageUpstream},
			})
	}
	w.run(t, trials)
}

// Silence is filled in the client's dialect, by the client's numbers.
func TestConvertedSilenceIsFilled(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, func(c *config.Config) { c.Relay.KeepAlive = 60 * time.Millisecond })
	for _, f := range streams {
		t.Run(f.name, func(t *testing.T) {
			p := newTap()
			defer p.end()
			s := w.scene(t, failing(p.fault()))
			chunks := texts(s.clean(t, w.heard(f), testkit.Deltas(4)))
			go p.send(chunks[:held(w.heard(f))+2]...) // two words
			r := s.open(t, f)
			sign := ": keepalive\n\n"
			if f.responses {
				sign = fmt.Sprintf("event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":%d}\n\n", held(f)+1)
			}
			r.until(t, "three signs of life", func(got string) bool { return strings.Count(got, sign) >= 3 })
			p.send(chunks[held(w.heard(f))+2:]...)
			p.end()
			got := r.rest(t)
			w.whole(t, f, got)
			sameText(t, "the text", "word0 word1 word2 word3 ", text(t, f, keepAlive.ReplaceAllString(got, "")))
			if rec := w.Record(t, r.Response); rec.Ended != realm.EndedCompleted || rec.Attempts != 1 {
				t.Errorf("row: %+v", rec)
			}
		})
	}
}

// A converted stream that has nothing to say is begun in silence too: with a comment
// if nothing of the client's has been made, and it can go on from there.
func TestConvertedSilentCommit(t *testing.T) {
	t.Parallel()
	const silent = 150 * time.Millisecond
	w := newConvertedWorld(t, func(c *config.Config) { c.Relay.SilentCommit, c.Relay.KeepAlive = silent, 250*time.Millisecond })
	for _, f := range streams {
		up := w.heard(f)
		for n := range held(up) + 1 {
			for _, ends := range []string{"well", "cut"} {
				t.Run(fmt.Sprintf("%s, %d held, ends %s", f.name, n, ends), func(t *testing.T) {
					t.Parallel()
					p := newTap()
					defer p.end()
					s := w.scene(t, failing(p.fault()), good)
					all := texts(s.clean(t, up, testkit.Deltas(2)))
					go p.send(": hello\n\n" + strings.Join(all[:n], ""))
					r := s.open(t, f)
					r.until(t, "the comment", func(got string) bool { return strings.HasSuffix(got, ": waiting\n\n") })
					if ends == "well" {
						p.send(all[n:]...)
						p.end()
						got := r.rest(t)
						if w.whole(t, f, got); said(t, f, got) != "word0 word1 " {
							t.Errorf("the stream: %s", got)
						}
						return
					}
					p.end()
					if _, code := streamError(t, f, r.rest(t)); code != "upstream_cut" {
						t.Errorf("code %q", code)
					}
					if rec := w.Record(t, r.Response); s.asked() != "a1" || rec.Attempts != 1 || rec.Ended != realm.EndedUpstreamCut {
						t.Errorf("asked %q, row %+v", s.asked(), rec)
					}
				})
			}
		}
	}
}

// The client's own kind of error ends a stream that was cut: with the response's id
// and the number that comes next.
func TestConvertedStreamsEndAsTheirOwn(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	var trials []trial
	for _, f := range streams {
		s := w.scene(t, failing(testkit.Cut(6, testkit.EndFIN)), good)
		trials = append(trials, trial{
			name: f.name, form: f, scene: s, want: want{has: []string{""}, ended: realm.EndedUpstreamCut, cause: realm.CauseUpstreamCut},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				before, code := streamError(t, f, a.body)
				last := events(a.body)[len(events(a.body))-1]
				if code != "upstream_cut" {
					t.Errorf("code %q", code)
				}
				if f.responses {
					hasWord(t, last.data, fmt.Sprintf(`"sequence_number":%d,"response":{"id":"resp_fake"`, len(events(before))))
				}
			},
		})
	}
	w.run(t, trials)
}

// Before its first output a stream fails over between channels of both kinds, and
// leaves no trace.
func TestFailoverBetweenForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	faults := map[string]struct {
		fault  testkit.Fault
		causes string
	}{
		"500":          {testkit.ServerError(), "server_error ok"},
		"cut at first": {testkit.Cut(1, testkit.EndFIN), "bad_answer ok"},
		"an error at first": {testkit.All(testkit.Cut(1, testkit.EndClean), func(_ *testkit.Request, a *testkit.Answer) {
			a.Chunks = append(a.Chunks, []byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"message\":\"Overloaded.\",\"type\":\"server_error\",\"code\":\"server_error\"}}\n\n"))
		}), "server_error ok"},
	}
	var trials []trial
	for name, fault := range faults {
		for _, f := range streams {
			for _, from := range []realm.APISet{f.own(), f.other()} {
				s := w.scene(t, leg{apis: from, script: testkit.Always(fault.fault)}, leg{apis: (chatAlone | responsesAlone) &^ from, script: testkit.Always(testkit.Say("from", " b"))})
				want := ok("a1 b1", fault.causes)
				want.has = []string{""}
				trials = append(trials, trial{
					name: fmt.Sprintf("%s, %s, first %s", name, f.name, from), form: f, scene: s, want: want,
					more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
						(&world{converted: from == f.own()}).same(t, "body", f, s.sent(), a.body)
						if rec.Usage != usageOf(testkit.DefaultTokens) {
							t.Errorf("usage: %+v", rec.Usage)
						}
					},
				})
			}
		}
	}
	w.run(t, trials)
}

// An answer of more than a MiB is converted in one piece, up to limits.event_bytes;
// what is larger is no answer.
func TestLargeAnswersAreConverted(t *testing.T) {
	t.Parallel()
	const most = 4 * mib
	w := newConvertedWorld(t, func(c *config.Config) { c.Limits.EventBytes = most })
	var trials []trial
	for _, f := range wholes {
		for _, size := range []int{mib - 4096, mib + 1, 3 * mib} {
			trials = append(trials, trial{
				name: fmt.Sprintf("%s, %d", f.name, size), form: f, scene: w.scene(t, failing(padded(size)), good),
				more: func(t *testing.T, _ *answer, rec realm.RequestRecord) {
					if rec.Usage != usageOf(testkit.DefaultTokens) {
						t.Errorf("usage: %+v", rec.Usage)
					}
				},
			})
		}
		trials = append(trials,
			trial{name: f.name + ", too large", form: f, scene: w.scene(t, failing(padded(most+1)), good), want: ok("a1 b1", "bad_answer ok")},
			trial{name: f.name + ", cut past a MiB", form: f, want: ok("a1 b1", "bad_answer ok"), scene: w.scene(t, failing(testkit.All(padded(3*mib), testkit.CutBytes(2*mib, testkit.EndFIN))), good)})
	}
	w.run(t, trials)
}

// An upstream that refuses stream_options is asked without it from then on, though it
// is the conversion that has put it there.
func TestConvertedRefusedStreamOptions(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	s := w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
		if strings.Contains(string(r.Body), "stream_options") {
			return testkit.Status(http.StatusBadRequest, testkit.ErrorBody("invalid_request_error", "unknown_parameter", "stream_options", "Unknown parameter: 'stream_options'."))
		}
		return nil
	}}, good)
	for range 3 {
		a := s.ask(t, respEvents)
		w.same(t, "body", respEvents, s.sent(), a.body)
	}
	if s.asked() != "a1 a1 a1 a1" {
		t.Errorf("asked %q", s.asked())
	}
}

// What one account has encrypted goes back to it alone, in whichever dialect the
// client keeps it.
func TestConvertedEncryptedReasoning(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	f := chatWhole
	f.body = `{"model":"%s","prompt_cache_key":"mine","messages":[{"role":"user","content":"x"},{"role":"assistant","content":"y","reasoning_details":[{"type":"reasoning.encrypted","id":"rs_1","data":"CIPHER","format":"openai-responses-v1"}]},{"role":"user","content":"and now?"}]}`
	s := w.scene(t, leg{keys: 2})
	s.converted(t, f, s.ask(t, f))
	s.ups[0].SetScript(s.noting(testkit.ByKey(map[string]testkit.Fault{s.key("a1"): testkit.RateLimited("60")})))
	s.converted(t, f, s.ask(t, f)) // it leaves a1
	s.converted(t, f, s.ask(t, f)) // it belongs to a2 now
	if s.asked() != "a1 a1 a2 a2" {
		t.Fatalf("asked %q", s.asked())
	}
	for i, has := range []bool{true, true, false, true} {
		body := string(s.requests()[i].Body)
		if strings.Contains(body, "CIPHER") != has || !strings.Contains(body, "and now?") {
			t.Errorf("request %d: %s", i+1, body)
		}
	}
}

// What an upstream does that the client's dialect has no place for commits nothing: if
// it fails then, another serves, and the client gets no trace of it.
func TestWhatLeavesNothingCommitsNothing(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, func(c *config.Config) { c.Relay.Timeouts.Idle = 300 * time.Millisecond })
	searching := []string{createdFields, searchFields, `response.web_search_call.searching "output_index":0,"item_id":"ws_1"`}
	ends := map[string]struct {
		fault  testkit.Fault
		causes string
	}{
		"failed": {respStream(append(searching[:3:3], endFields("response.failed", "failed", `"error":{"code":"server_error","message":"It broke."},`))...), "server_error ok"},
		"cut":    {testkit.All(respStream(searching...), func(_ *testkit.Request, a *testkit.Answer) { a.End = testkit.EndFIN }), "bad_answer ok"},
		"broken": {testkit.All(respStream(searching...), testkit.Malformed(3)), "bad_answer ok"},
		"silent": {testkit.All(respStream(searching...), func(_ *testkit.Request, a *testkit.Answer) { a.End = testkit.EndStall }), "timeout ok"},
	}
	var trials []trial
	for name, end := range ends {
		trials = append(trials, trial{name: name, form: chatEvents, scene: w.scene(t, failing(end.fault), good), want: ok("a1 b1", end.causes)})
	}
	w.run(t, trials)
}

// However long the request is that a converted stream begins with, it is no output:
// what breaks off behind it is another upstream's to answer.
func TestLongRequestsFailOver(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, func(t *testing.T, w *world) {
		for _, n := range []int{100 << 10, 600 << 10, 2 << 20} {
			s := w.scene(t, failing(testkit.Cut(1, testkit.EndFIN)), good)
			a := s.ask(t, respEvents.with(`"instructions":"`+strings.Repeat("x", n)+`"`))
			if got := s.asked(); got != "a1 b1" || !strings.Contains(a.body, "response.completed") {
				t.Errorf("%d KiB: asked %q; the answer has %d bytes", n>>10, got, len(a.body))
			}
		}
	})
}

// A field that only the conversion has put into a request is taken out again where an
// upstream refuses it; the client hears nothing of it.
func TestRefusedFieldsOfTheConversion(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	for _, field := range []string{"include", "store"} {
		s := w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
			if strings.Contains(string(r.Body), `"`+field+`":`) {
				return testkit.Status(http.StatusBadRequest, testkit.ErrorBody("invalid_request_error", "unsupported_parameter", field, "Unsupported parameter."))
			}
			return nil
		}})
		a := s.ask(t, chatWhole.with(`"reasoning_effort":"low"`))
		if a.StatusCode != http.StatusOK || s.asked() != "a1 a1" {
			t.Errorf("%s: %d %s, asked %q", field, a.StatusCode, a.body, s.asked())
		}
	}
}

// What an upstream says of a field names it as the client knows it. What says of none
// goes on byte for byte.
func TestRefusalsNameTheClientsField(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	for _, tt := range []struct {
		form               form
		param, said, field string
		words              string
	}{
		{chatWhole.with(`"max_tokens":99`), "max_output_tokens", "'max_output_tokens' is too large.", "max_tokens", "'max_tokens' is too large."},
		{respWhole.with(`"max_output_tokens":99`), "max_completion_tokens", "'max_completion_tokens' is too large.", "max_output_tokens", "'max_output_tokens' is too large."},
		{respWhole, "user", "Nobody is called so.", "user", "Nobody is called so."},
	} {
		body := testkit.ErrorBody("invalid_request_error", "invalid_value", tt.param, tt.said)
		s := w.scene(t, failing(testkit.Status(http.StatusBadRequest, body)))
		a := s.ask(t, tt.form)
		var got struct {
			Error struct{ Message, Type, Param, Code string }
		}
		if err := json.Unmarshal([]byte(a.body), &got); err != nil || a.StatusCode != http.StatusBadRequest {
			t.Fatalf("%s: %d %s", tt.param, a.StatusCode, a.body)
		}
		if e := got.Error; e.Param != tt.field || e.Message != tt.words || e.Type != "invalid_request_error" || e.Code != "invalid_value" {
			t.Errorf("%s: %s", tt.param, a.body)
		}
		if tt.field == tt.param && a.body != body {
			t.Errorf("%s: the client got %s", tt.param, a.body)
		}
	}
}

// What is not the conversion's own to leave out stays in, and the client is told: a
// field of its own in another form, and what keeps an answer from being kept, unless the
// upstream does not know it.
func TestRefusalsOfWhatStays(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	for _, tt := range []struct {
		form              form
		code, param, said string
		field             string
	}{
		{chatWhole.with(`"logprobs":true`), "unsupported_parameter", "include", "Unsupported parameter.", "logprobs"},
		{chatWhole, "invalid_value", "metadata", "The 'metadata' parameter is only allowed when 'store' is enabled.", "metadata"},
		{chatWhole, "invalid_value", "tools", "Files must be in a vector store.", "tools"},
		{chatWhole, "invalid_value", "store", "'store' must be true for this project.", "store"},
		{chatWhole, "unsupported_parameter", "metadata", "Unsupported parameter: 'metadata' needs store.", "metadata"},
	} {
		s := w.scene(t, failing(testkit.Status(http.StatusBadRequest, testkit.ErrorBody("invalid_request_error", tt.code, tt.param, tt.said))))
		a := s.ask(t, tt.form)
		if a.StatusCode != http.StatusBadRequest || s.asked() != "a1" || !strings.Contains(a.body, `"param":"`+tt.field+`"`) {
			t.Errorf("%s: %d %s, asked %q", tt.said, a.StatusCode, a.body, s.asked())
		}
	}
}
