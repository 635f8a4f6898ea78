package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// Each channel is asked for the model by its own name for it; the answer's model is
// the upstream's, and nothing else of the body changes.
func TestModelsAreMappedForEachChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for _, f := range forms {
		s := w.scene(t, leg{as: "their-name", script: testkit.Always(testkit.ServerError())}, leg{as: "other/name"})
		odd := f
		odd.body = strings.Replace(f.body, `{"model":"%s"`, `{ "z":[1,  2],"model" : "%s" ,"big":123456789012345678901234567890`, 1)
		trials = append(trials, trial{
			name: f.name, form: odd, scene: s, want: ok("a1 b1", "server_error ok"),
			more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
				hasWord(t, a.body, `"model":"other/name"`)
				for i, name := range []string{"their-name", "other/name"} {
					got := strings.Replace(s.bodies()[i], `,"stream_options":{"include_usage":true}`, "", 1)
					sameText(t, "body", strings.ReplaceAll(odd.body, "%s", name), got)
				}
				if rec.UpstreamModel != "other/name" || rec.Tries[0].Model != "their-name" {
					t.Errorf("row: %+v", rec)
				}
			},
		})
	}
	w.run(t, trials)
}

// A name that the catalogue lacks and that ends in an effort means the base model;
// the effort is set unless the body sets one; exact names win.
func TestTheNamesSuffixIsAnEffort(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{as: "up"})
	exact := w.scene(t, leg{as: "up"})
	for _, name := range []string{s.model, exact.model, exact.model + "-high"} {
		if _, err := w.Catalog.UpsertModel(t.Context(), "test", realm.Model{Name: name, Enabled: true, Compat: []string{}}); err != nil {
			t.Fatal(err)
		}
	}
	ch := testapp.Channel("hidden-exact", exact.ups[0].BaseURL, exact.mint(0, 1)...)
	ch.Bindings = []realm.Binding{{Model: exact.model + "-high", Upstream: "exactly-high"}}
	w.Declare(t, ch)
	tests := []struct {
		name, suffix, set, chat, responses string // what the upstream must be sent
	}{
		{"none", "", "", ``, ``},
		{"high", "-high", "", `,"reasoning_effort":"high"`, `,"reasoning":{"effort":"high"}`},
		{"minimal", "-minimal", "", `,"reasoning_effort":"minimal"`, `,"reasoning":{"effort":"minimal"}`},
		{"xhigh", "-xhigh", "", `,"reasoning_effort":"xhigh"`, `,"reasoning":{"effort":"xhigh"}`},
		{"the body's own", "-high", "own", `,"reasoning_effort":"low"`, `,"reasoning":{"effort":"low"}`},
	}
	for _, tt := range tests {
		for _, f := range wholes {
			t.Run(tt.name+", "+f.name, func(t *testing.T) {
				set := map[bool]string{false: tt.chat, true: tt.responses}[f.responses]
				asked := strings.ReplaceAll(f.body, "%s", s.model+tt.suffix)
				want := strings.TrimSuffix(strings.ReplaceAll(f.body, "%s", "up"), "}") + set + "}"
				if tt.set != "" {
					asked = strings.TrimSuffix(asked, "}") + set + "}"
				}
				a := w.do(w.Request(t, http.MethodPost, f.path, asked))
				if a.StatusCode != http.StatusOK {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				list := s.bodies()
				sameText(t, "body", want, list[len(list)-1])
			})
		}
	}
	a := w.do(w.Request(t, http.MethodPost, chatWhole.path, strings.ReplaceAll(chatWhole.body, "%s", exact.model+"-high")))
	list := exact.bodies()
	if a.StatusCode != http.StatusOK || !strings.Contains(list[len(list)-1], `"model":"exactly-high"`) || strings.Contains(list[len(list)-1], "effort") {
		t.Errorf("the exact name: %d, %q", a.StatusCode, list)
	}
	if rec := w.Record(t, w.do(w.Request(t, http.MethodPost, chatWhole.path, strings.ReplaceAll(chatWhole.body, "%s", s.model+"-low"))).Response); rec.Model != s.model {
		t.Errorf("the row's model is %q", rec.Model)
	}
}

// The compat list edits only what is there: a reasoning model's preset, or the
// model's own list.
func TestCompatEdits(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, good)
	ch := testapp.Channel("hidden-compat", s.ups[0].BaseURL, s.mint(0, 1)...)
	ch.Bindings = []realm.Binding{{Model: "gpt-5.5"}, {Model: "gpt-4.1"}, {Model: "plain"}}
	w.Declare(t, ch)
	plain := realm.Model{Name: "plain", Enabled: true, Compat: []string{"max_completion_tokens"}}
	if _, err := w.Catalog.UpsertModel(t.Context(), "test", plain); err != nil {
		t.Fatal(err)
	}
	tests := []struct{ name, path, body, want string }{
		{
			"preset, chat", chatWhole.path, `{"model":"gpt-5.5","max_tokens":5,"temperature":0.1,"top_p":1,"messages":[{"role":"system","content":"be \"system\""},{"role":"user","content":"x"}]}`,
			`{"model":"gpt-5.5","max_completion_tokens":5,"messages":[{"role":"developer","content":"be \"system\""},{"role":"user","content":"x"}]}`,
		},
		{
			"preset, responses", respWhole.path, `{"model":"gpt-5.5","max_output_tokens":5,"temperature":0.1,"input":[{"role":"system","content":"s"},{"role":"user","content":"x"}]}`,
			`{"model":"gpt-5.5","max_output_tokens":5,"input":[{"role":"developer","content":"s"},{"role":"user","content":"x"}]}`,
		},
		{"no preset", chatWhole.path, `{"model":"gpt-4.1","max_tokens":5,"temperature":0.1,"messages":[{"role":"system","content":"s"}]}`, ""},
		{"its own list", chatWhole.path, `{"temperature":0.1,"max_tokens":5,"model":"plain","messages":[]}`, `{"temperature":0.1,"max_completion_tokens":5,"model":"plain","messages":[]}`},
		{"nothing to edit", chatWhole.path, `{"model":"gpt-5.5","messages":[]}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := tt.want
			if want == "" {
				want = tt.body
			}
			a := w.do(w.Request(t, http.MethodPost, tt.path, tt.body))
			list := s.bodies()
			if a.StatusCode != http.StatusOK || len(list) == 0 {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			sameText(t, "body", want, list[len(list)-1])
		})
	}
}

// X-Realms-Channel chooses a channel, for administrators alone.
func TestAnAdministratorMayChooseTheChannel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, good, good, failing(testkit.ServerError()))
	w.run(t, []trial{{
		name: "not a customer", form: chatWhole, scene: s, header: []string{"X-Realms-Channel", s.names[1]},
		want: want{status: 403, kind: "permission_error", code: "forbidden", asked: "-", causes: "-", ended: realm.EndedRefused, cause: realm.CauseRefused, header: map[string]string{"X-Should-Retry": "false"}},
	}})
}

// The same with an administrator's token.
func TestTheChosenChannelAloneIsAsked(t *testing.T) {
	t.Parallel()
	for _, role := range []realm.Role{realm.RoleAdmin, realm.RoleRoot} {
		w := newWorldFor(t, role, nil)
		var trials []trial
		for i, want := range []want{{asked: "a1"}, {asked: "b1"}, overloaded("c1 c1", "server_error server_error")} {
			s := w.scene(t, good, good, failing(testkit.ServerError()))
			trials = append(trials, trial{name: fmt.Sprint(role, i), form: chatWhole, scene: s, header: []string{"X-Realms-Channel", s.names[i]}, want: want})
		}
		trials = append(trials, trial{
			name: fmt.Sprint(role, " unknown"), form: chatWhole, scene: w.scene(t, good), header: []string{"X-Realms-Channel", "nobody"},
			want: want{status: 400, kind: "invalid_request_error", asked: "-", causes: "-", ended: realm.EndedRefused, cause: realm.CauseRefused},
		})
		w.run(t, trials)
	}
}

// Relays that point at each other end: the hops are counted up and refused above
// three.
func TestHopsEndALoop(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for sent, arrived := range map[string]string{"": "1", "0": "1", "1": "2", "3": "4"} {
		s := w.scene(t, good)
		trials = append(trials, trial{
			name: "hops " + sent, form: chatWhole, scene: s, header: []string{"X-Realms-Hops", sent},
			more: func(t *testing.T, _ *answer, _ realm.RequestRecord) {
				if got := s.requests()[0].Header.Get("X-Realms-Hops"); got != arrived {
					t.Errorf("hops upstream: %q, want %q", got, arrived)
				}
			},
		})
	}
	refused := want{kind: "invalid_request_error", asked: "-", causes: "-", ended: realm.EndedRefused, cause: realm.CauseRefused}
	for sent, status := range map[string]int{"4": 508, "99": 508, "-1": 400, "many": 400} {
		refused.status, refused.code = status, map[int]string{508: "loop_detected"}[status]
		trials = append(trials, trial{name: "hops " + sent, form: chatWhole, scene: w.scene(t, good), header: []string{"X-Realms-Hops", sent}, want: refused})
	}
	w.run(t, trials)
	// A real loop: the app is its own upstream.
	loop := newWorld(t, func(c *config.Config) { c.Relay.Attempts = 1 })
	s := loop.scene(t)
	ch := testapp.Channel("hidden-loop", loop.URL+"/v1", loop.Token)
	ch.Bindings = []realm.Binding{{Model: s.model}}
	loop.Declare(t, ch)
	if a := s.ask(t, chatWhole); a.StatusCode < 500 {
		t.Errorf("a loop ended with %d %s", a.StatusCode, a.body)
	}
}
