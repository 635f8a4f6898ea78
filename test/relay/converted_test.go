package relay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// with is a form with more fields before its others.
func (f form) with(fields string) form {
	f.body = strings.Replace(f.body, `{`, `{`+fields+`,`, 1)
	return f
}

// called is the call of a function in an answer: name, id and arguments.
func called(t *testing.T, f form, answer string) string {
	t.Helper()
	type function struct{ Name, Arguments string }
	type call struct {
		ID       string
		Function function
	}
	type item struct {
		Type, Name, Arguments string
		CallID                string `json:"call_id"`
	}
	name, id, arguments := "", "", ""
	read := func(text string) {
		var e struct {
			Choices []struct {
				Message, Delta struct {
					ToolCalls []call `json:"tool_calls"`
				}
			}
			Output   []item
			Response struct{ Output []item }
		}
		if err := json.Unmarshal([]byte(text), &e); err != nil {
			t.Fatalf("%v: %s", err, text)
		}
		for _, c := range e.Choices {
			for _, one := range append(c.Message.ToolCalls, c.Delta.ToolCalls...) {
				name, id, arguments = name+one.Function.Name, id+one.ID, arguments+one.Function.Arguments
			}
		}
		for _, it := range append(e.Output, e.Response.Output...) {
			if it.Type == "function_call" {
				name, id, arguments = it.Name, it.CallID, it.Arguments
			}
		}
	}
	if !f.stream {
		read(answer)
	}
	for _, e := range events(answer) {
		if f.stream && e.data != "[DONE]" {
			read(e.data)
		}
	}
	return name + " " + id + " " + arguments
}

const (
	chatTool = `"tools":[{"type":"function","function":{"name":"weather","parameters":{"type":"object","properties":{"town":{"type":"string"}}}}}]`
	respTool = `"tools":[{"type":"function","name":"weather","parameters":{"type":"object","properties":{"town":{"type":"string"}}}}]`
)

// A call of a tool comes to the client as its dialect has it, and the upstream was
// offered the tool as its own has it.
func TestConvertedToolCalls(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	reply := testkit.Reply{Call: &testkit.Call{Name: "weather", Arguments: `{"town":"Köln \"am\" Rhein","big":12345678901234567890}`}}
	var trials []trial
	for _, f := range forms {
		tools, heard := chatTool, respTool
		if f.responses {
			tools, heard = respTool, chatTool
		}
		s := w.scene(t, failing(testkit.With(reply)))
		trials = append(trials, trial{
			name: f.name, form: f.with(tools), scene: s, want: want{has: []string{""}},
			more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
				w.whole(t, f, a.body)
				sameText(t, "the call", "weather call_fake "+reply.Call.Arguments, called(t, f, a.body))
				sent := strings.ReplaceAll(string(s.requests()[0].Body), `,"strict":false`, "")
				hasWord(t, sent, heard)
				if !f.responses {
					hasWord(t, a.body, `"finish_reason":"tool_calls"`)
				}
				if rec.Usage != usageOf(testkit.DefaultTokens) {
					t.Errorf("usage: %+v", rec.Usage)
				}
			},
		})
	}
	w.run(t, trials)
}

// What a tool gave goes up beside its call.
func TestConvertedToolResults(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	chat, resp := chatWhole, respWhole
	chat.body = `{"model":"%s",` + chatTool + `,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Rain?"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"town\":\"x\"}"}}]},{"role":"tool","tool_call_id":"c1","content":"wet"}]}`
	resp.body = `{"model":"%s",` + respTool + `,"instructions":"Be brief.","input":[{"role":"user","content":"Rain?"},{"type":"function_call","call_id":"c1","name":"weather","arguments":"{\"town\":\"x\"}"},{"type":"function_call_output","call_id":"c1","output":"wet"}]}`
	for _, tt := range []struct {
		form  form
		parts []string
	}{
		{chat, []string{
			`{"type":"function_call","call_id":"c1","name":"weather","arguments":"{\"town\":\"x\"}"}`, `{"type":"function_call_output","call_id":"c1","output":"wet"}`, "Be brief.",
		}},
		{resp, []string{`"tool_calls":[{"id":"c1","type":"function","function":{"name":"weather","arguments":"{\"town\":\"x\"}"}}]`, `"tool_call_id":"c1"`, `"content":"wet"`, `{"role":"system","content":"Be brief."}`}},
	} {
		s := w.scene(t, good)
		s.converted(t, tt.form, s.ask(t, tt.form))
		for _, part := range tt.parts {
			hasWord(t, string(s.requests()[0].Body), part)
		}
	}
}

// A schema for the answer goes up letter by letter.
func TestConvertedSchemas(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	const schema = `{"type":"object", "properties":{"n":{"type":"integer","maximum":12345678901234567890}},"required":["n"],"additionalProperties":false}`
	const answered = `{"n":7}`
	chat := `"response_format":{"type":"json_schema","json_schema":{"name":"number","strict":true,"schema":` + schema + `}}`
	resp := `"text":{"format":{"type":"json_schema","name":"number","strict":true,"schema":` + schema + `}}`
	for _, f := range forms {
		s := w.scene(t, failing(testkit.Say(answered)))
		fields, word := chat, `"text":{"format":`
		if f.responses {
			fields, word = resp, `"response_format":{"type":"json_schema","json_schema":`
		}
		a := s.ask(t, f.with(fields))
		if w.whole(t, f, a.body); said(t, f, a.body) != answered {
			t.Errorf("%s: %s", f.name, a.body)
		}
		for _, part := range []string{word, `"schema":` + schema, `"name":"number"`, `"strict":true`} {
			hasWord(t, string(s.requests()[0].Body), part)
		}
	}
}

// The client sees the usage in its own dialect, the row has it once; a chat client
// that did not ask for it sees none in a stream.
func TestConvertedUsage(t *testing.T) {
	t.Parallel()
	w := newConvertedWorld(t, nil)
	tokens := testkit.Tokens{Input: 4321, Cached: 1234, Output: 99, Reasoning: 77}
	const (
		chat = `"usage":{"prompt_tokens":4321,"completion_tokens":99,"total_tokens":4420,"prompt_tokens_details":{"cached_tokens":1234,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":77}}`
		resp = `"usage":{"input_tokens":4321,"input_tokens_details":{"cached_tokens":1234,"cache_write_tokens":0},"output_tokens":99,"output_tokens_details":{"reasoning_tokens":77},"total_tokens":4420}`
	)
	asking := chatEvents.with(`"stream_options":{"include_usage":true}`)
	var trials []trial
	for _, tt := range []struct {
		form form
		has  string
	}{{chatWhole, chat}, {asking, `"choices":[],"service_tier":"default",` + chat}, {chatEvents, ""}, {respWhole, resp}, {respEvents, resp}} {
		trials = append(trials, trial{
			name: tt.form.name, form: tt.form, scene: w.scene(t, failing(testkit.With(testkit.Reply{Tokens: tokens}))), want: want{has: []string{tt.has}},
			more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
				if rec.Usage != usageOf(tokens) {
					t.Errorf("usage: %+v", rec.Usage)
				}
				if tt.has == "" && strings.Contains(a.body, "usage") {
					t.Errorf("a usage that was not asked for: %s", a.body)
				}
			},
		})
	}
	w.run(t, trials)
}

// What a channel and a model change in a request they change in the converted one: the
// model's name there, the effort of the name's suffix, the compat list.
func TestConvertedRequestsAreEdited(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{as: "their-name"})
	both := []realm.Binding{{Model: s.model, Upstream: "their-name"}, {Model: "gpt-5.5"}}
	for i, apis := range []realm.APISet{chatAlone, responsesAlone} {
		ch := testapp.Channel(s.names[0], s.ups[0].BaseURL, s.mint(0, 1)...)
		ch.APIs, ch.Bindings = apis, both
		ch.Settings.BodyEdits = []realm.BodyEdit{{Op: realm.BodySet, Path: "user", Value: json.RawMessage(`"operator"`)}}
		w.Declare(t, ch)
		if _, err := w.Catalog.UpsertModel(t.Context(), "test", realm.Model{Name: s.model, Enabled: true, Compat: []string{}}); err != nil {
			t.Fatal(err)
		}
		tests := [][]struct{ path, body, want string }{{
			{respWhole.path, `{"model":"%s-high","input":"x"}`, `{"model":"their-name","reasoning_effort":"high"}`},
			{respWhole.path, `{"model":"%s-high","input":"x","reasoning":{"effort":"low"}}`, `{"model":"their-name","reasoning_effort":"low"}`},
			{respWhole.path, `{"model":"gpt-5.5","instructions":"i","input":"x","temperature":0.5,"max_output_tokens":50}`, `{"model":"gpt-5.5","max_completion_tokens":50}`},
		}, {
			{chatWhole.path, `{"model":"%s-high","messages":[{"role":"user","content":"x"}]}`, `{"model":"their-name","reasoning":{"effort":"high"}}`},
			{chatWhole.path, `{"model":"%s-high","messages":[{"role":"user","content":"x"}],"reasoning_effort":"low"}`, `{"model":"their-name","reasoning":{"effort":"low"}}`},
			{chatWhole.path, `{"model":"gpt-5.5","messages":[{"role":"system","content":"i"},{"role":"user","content":"x"}],"temperature":0.5,"max_tokens":50}`, `{"model":"gpt-5.5","max_output_tokens":50}`},
		}}[i]
		for _, tt := range tests {
			a := w.do(w.Request(t, http.MethodPost, tt.path, strings.ReplaceAll(tt.body, "%s", s.model)))
			if a.StatusCode != http.StatusOK {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			list := s.requests()
			got := list[len(list)-1].JSON()
			if got["user"] != "operator" {
				t.Errorf("the operator's edit is missing: %v", got)
			}
			role := fmt.Sprint(got["messages"], got["input"])
			if strings.Contains(tt.body, `gpt-5.5`) && !strings.Contains(role, "developer") {
				t.Errorf("the preset's role is missing: %v", got)
			}
			for _, key := range []string{"user", "messages", "input", "store", "include"} {
				delete(got, key)
			}
			if diff := cmp.Diff(decoded(t, tt.want), decoded(t, asJSON(t, got))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", tt.body, diff)
			}
		}
	}
}

func asJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A field without a form in the other dialect is refused by name, where no channel
// has the request's own; wherever one has, in the tier, below it or in another group,
// the request goes there.
func TestFieldsThatCannotBeConverted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	if _, err := w.Catalog.UpsertGroup(t.Context(), "test", realm.Group{Name: "second", Multiplier: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	w.Token = w.userToken(t, "customer", realm.DefaultGroup, "second")
	var trials []trial
	for _, tt := range []struct {
		form   form
		fields string
		param  string
	}{
		{chatWhole, `"stop":["x"]`, "stop"},
		{chatEvents, `"n":2`, "n"},
		{chatWhole, `"logit_bias":{"1":2}`, "logit_bias"},
		{chatEvents, `"audio":{"voice":"x","format":"mp3"}`, "audio"},
		{respEvents, `"tools":[{"type":"file_search","vector_store_ids":["vs_1"]}]`, "tools[0].type"},
		{respWhole, `"tools":[{"type":"code_interpreter","container":{"type":"auto"}}]`, "tools[0].type"},
		{respWhole, `"prompt":{"id":"pmpt_1"}`, "prompt"},
	} {
		f := tt.form.with(tt.fields)
		refused := want{status: 400, kind: "invalid_request_error", param: tt.param, asked: "-", causes: "-", cause: realm.CauseRefused}
		elsewhere := func(ch *spec) { ch.Groups = []string{"second"} }
		alike := func(ch *spec) { ch.Priority = 3 }
		trials = append(trials,
			trial{name: tt.param + ", nobody", form: f, scene: w.scene(t, leg{apis: f.other(), keys: 2}, leg{apis: f.other()}), want: refused},
			trial{name: tt.param + ", below", form: f, scene: w.scene(t, leg{apis: f.other()}, leg{apis: f.own()}), want: want{asked: "b1"}},
			trial{name: tt.param + ", beside", form: f, scene: w.scene(t, leg{apis: f.other(), edit: alike}, leg{apis: f.own(), edit: alike}), want: want{asked: "b1"}},
			trial{name: tt.param + ", in another group", form: f, scene: w.scene(t, leg{apis: f.other()}, leg{apis: f.own(), edit: elsewhere}), want: want{asked: "b1"}},
			trial{name: tt.param + ", and the native one fails", form: f, scene: w.scene(t, leg{apis: f.other()}, leg{apis: f.own(), script: testkit.Always(testkit.RateLimited("9"))}), want: tooMany("b1", "rate_limited", "9")},
			trial{name: tt.param + ", and the native one lacks the path", form: f, scene: w.scene(t, leg{apis: f.other()}, leg{apis: f.own(), script: testkit.Always(noPath)}), want: want{
				status: 400, kind: "invalid_request_error", param: tt.param, asked: "b1", cause: realm.CauseAPIMissing,
			}},
			trial{name: tt.param + ", and the path is missing", form: f, scene: w.scene(t, failing(noPath)), want: want{
				status: 400, kind: "invalid_request_error", param: tt.param, asked: "a1", cause: realm.CauseAPIMissing,
			}})
	}
	for i := range trials {
		s := trials[i].scene
		trials[i].more = func(t *testing.T, _ *answer, _ realm.RequestRecord) {
			if m := s.marks(t); len(m) > 1 {
				t.Errorf("marks: %q", m)
			}
		}
	}
	w.run(t, trials)
	w.settles(t)
}

// No conversion keeps anything upstream: what asks for that goes to a channel that
// does, and else is refused by name.
func TestNoConversionKeepsState(t *testing.T) {
	t.Parallel()
	w := newWorldFor(t, realm.RoleRoot, nil)
	var trials []trial
	for field, fields := range map[string]string{"store": `"store":true`, "previous_response_id": `"previous_response_id":"resp_foreign"`, "conversation": `"conversation":"conv_foreign"`} {
		for _, plain := range []form{respWhole, respEvents} {
			f := plain.with(fields)
			trials = append(trials,
				trial{name: field + ", nobody, " + f.name, form: f, scene: w.scene(t, leg{apis: chatAlone}), want: want{
					status: 400, kind: "invalid_request_error", param: field, asked: "-", causes: "-", cause: realm.CauseRefused,
				}},
				trial{name: field + ", below, " + f.name, form: f, scene: w.scene(t, leg{apis: chatAlone}, leg{apis: responsesAlone}), want: want{asked: "b1"}})
		}
	}
	for i := range trials {
		trials[i].more = func(t *testing.T, a *answer, _ realm.RequestRecord) {
			if a.StatusCode == http.StatusBadRequest && strings.Contains(a.body, "model") && !strings.Contains(a.body, "keeps responses") {
				t.Errorf("the message does not say what to do: %s", a.body)
			}
		}
	}
	w.run(t, trials)
}

// The ids of a converted answer name nothing upstream: they cannot be fetched nor
// built on, and are not remembered.
func TestConvertedAnswersAreNoObjects(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) {
		c.SelfMode.Enable = false
		c.Upstream.AllowPrivateNetworks = new(true)
	})
	for _, f := range []form{respWhole, respEvents} {
		s := w.scene(t, leg{apis: chatAlone}, leg{apis: responsesAlone, script: testkit.Always(testkit.ServerError())})
		s.converted(t, f, s.ask(t, f))
		if a := w.do(w.Request(t, http.MethodGet, "/v1/responses/resp_fake", "")); a.StatusCode != http.StatusNotFound {
			t.Errorf("fetched: %d %s", a.StatusCode, a.body)
		}
		later := s.ask(t, f.with(`"previous_response_id":"resp_fake"`))
		judgeError(t, later, &want{kind: "invalid_request_error", code: "previous_response_not_found", param: "previous_response_id"})
		if s.asked() != "a1" {
			t.Errorf("asked %q", s.asked())
		}
	}
}
