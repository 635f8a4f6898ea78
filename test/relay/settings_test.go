package relay

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// What a channel's settings change in a request on its way up, and in what an answer
// means.
func TestAChannelsSettingsReachItsUpstream(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const full = `{"model":"%s","messages":[{"role":"user","content":"hello"}],"service_tier":"priority","store":true,` +
		`"safety_identifier":"theirs","seed":9007199254740993,"extra":{"a":1,"b":2}}`
	for _, tt := range []struct {
		name   string
		edit   func(*realm.ChannelSettings)
		change func(map[string]any) // of the body as it was sent
		header map[string]string    // at the upstream; "": not there
	}{
		{"nothing", func(*realm.ChannelSettings) {}, func(map[string]any) {}, nil},
		{
			"service tier dropped", func(s *realm.ChannelSettings) { s.ServiceTier.Drop = true },
			func(b map[string]any) { delete(b, "service_tier") }, nil,
		},
		{
			"another service tier alone", func(s *realm.ChannelSettings) { s.ServiceTier.Only = []string{"flex"} },
			func(b map[string]any) { delete(b, "service_tier") }, nil,
		},
		{"its service tier", func(s *realm.ChannelSettings) { s.ServiceTier.Only = []string{"flex", "priority"} }, func(map[string]any) {}, nil},
		{"never stored", func(s *realm.ChannelSettings) { s.Store = realm.StoreFalse }, func(b map[string]any) { b["store"] = false }, nil},
		{
			"no safety identifier", func(s *realm.ChannelSettings) { s.SafetyIdentifier = realm.SafetyDrop },
			func(b map[string]any) { delete(b, "safety_identifier") }, nil,
		},
		{
			"headers", func(s *realm.ChannelSettings) {
				s.SetHeaders = map[string]realm.Secret{"X-Team": "blue"}
				s.DeleteHeaders = []string{"User-Agent"}
			},
			func(map[string]any) {},
			map[string]string{"X-Team": "blue", "User-Agent": ""},
		},
		{
			"body edits", func(s *realm.ChannelSettings) {
				s.BodyEdits = []realm.BodyEdit{
					{Op: realm.BodySet, Path: "extra.c", Value: json.RawMessage(`[3]`)},
					{Op: realm.BodyDelete, Path: "extra.a"},
					{Op: realm.BodyRename, Path: "extra.b", To: "d"},
					{Op: realm.BodySet, Path: "temperature", Value: json.RawMessage(`0.5`), Models: []string{"another-*"}},
				}
			},
			func(b map[string]any) {
				b["extra"] = map[string]any{"c": []any{json.Number("3")}, "d": json.Number("2")}
			}, nil,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.scene(t, leg{edit: func(ch *catalog.ChannelSpec) { tt.edit(&ch.Settings) }})
			f := form{path: "/v1/chat/completions", body: full}
			if a := s.ask(t, f); a.Response == nil || a.StatusCode != http.StatusOK {
				t.Fatalf("answer %+v", a)
			}
			want := decoded(t, strings.ReplaceAll(full, "%s", s.model))
			tt.change(want)
			got := s.requests()[0]
			if diff := cmp.Diff(want, decoded(t, string(got.Body))); diff != "" {
				t.Errorf("body (-want +got):\n%s", diff)
			}
			for name, value := range tt.header {
				if is := got.Header.Get(name); is != value && (value != "" || is != "realms") {
					t.Errorf("header %s is %q, want %q", name, is, value)
				}
			}
		})
	}
}

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var m map[string]any
	if err := d.Decode(&m); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return m
}

// The pseudonym of a user is the same each time, another user's is another, and it
// is not the client's to choose.
func TestAUsersPseudonym(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{edit: func(ch *catalog.ChannelSpec) { ch.Settings.SafetyIdentifier = realm.SafetyHMAC }})
	other := w.userToken(t, "someone-else", realm.DefaultGroup)
	f := form{path: "/v1/responses", body: `{"model":"%s","input":"hello","safety_identifier":"chosen"}`}
	for _, header := range [][]string{nil, nil, {"Authorization", "Bearer " + other}} {
		if a := s.ask(t, f, header...); a.Response == nil || a.StatusCode != http.StatusOK {
			t.Fatalf("answer %+v", a)
		}
	}
	var ids []string
	for _, r := range s.requests() {
		id, _ := decoded(t, string(r.Body))["safety_identifier"].(string)
		ids = append(ids, id)
	}
	if len(ids) != 3 || len(ids[0]) != 64 || ids[0] != ids[1] || ids[1] == ids[2] || strings.Contains(strings.Join(ids, " "), "chosen") {
		t.Errorf("the three requests carried %q", ids)
	}
}

// A mapped status is treated as the one it is mapped to, in both directions.
func TestStatusMap(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	mapped := func(from, to int) func(*catalog.ChannelSpec) {
		return func(ch *catalog.ChannelSpec) { ch.Settings.StatusMap = map[int]int{from: to} }
	}
	busy := testkit.Error(http.StatusBadRequest, "invalid_request_error", "busy", "The server is busy.")
	theirs := testkit.Error(http.StatusInternalServerError, "invalid_request_error", "bad_input", "That is not right.")
	w.run(t, []trial{
		{name: "400 is 503", form: chatWhole, scene: w.scene(t, leg{script: testkit.Always(busy), edit: mapped(400, 503)}, good), want: ok("a1 b1", "server_error ok")},
		{name: "500 is 400", form: chatWhole, scene: w.scene(t, leg{script: testkit.Always(theirs), edit: mapped(500, 400)}, good), want: want{
			status: http.StatusBadRequest, kind: "invalid_request_error", code: "bad_input", cause: realm.CauseClientError, ended: realm.EndedFailed,
		}},
	})
}

// A channel that never stores is no place for what must be stored.
func TestWhatMustBeStoredGoesWhereItIsKept(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	never := func(ch *catalog.ChannelSpec) { ch.Settings.Store = realm.StoreFalse }
	f := form{path: "/v1/responses", body: `{"model":"%s","input":"hello","store":true}`}
	if s := w.scene(t, leg{edit: never}, good); true {
		if a := s.ask(t, f); a.Response == nil || a.StatusCode != http.StatusOK || s.asked() != "b1" {
			t.Errorf("asked %s, want the one that keeps it", s.asked())
		}
	}
	s := w.scene(t, leg{edit: never})
	a := s.ask(t, f)
	if a.Response == nil || a.StatusCode != http.StatusBadRequest || !strings.Contains(a.body, `"param":"store"`) || s.asked() != "" {
		t.Errorf("status %v, body %s, asked %q; want a 400 that names the field", a.StatusCode, a.body, s.asked())
	}
}
