package relay

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// keeping is an account that keeps what it answers: its ids bear the key's label.
// A request to make something is refused to the keys in busy.
func keeping(s **scene, busy string) testkit.Script {
	return func(r *testkit.Request) testkit.Fault {
		label := (*s).keys[r.Key]
		if r.Path == respWhole.path && strings.Contains(busy, label) && r.JSON()["previous_response_id"] == nil {
			return testkit.RateLimited("30")
		}
		return testkit.Rewrite(func(b []byte) []byte {
			return []byte(strings.NewReplacer("resp_fake", "resp_"+label+(*s).model, "msg_fake", "msg_"+label+(*s).model).Replace(string(b)))
		})
	}
}

// archive is a scene of two channels of two accounts, of which only the second of
// the first has time, and the id of what it made.
func (w *world) archive(t *testing.T, f form) (s *scene, id string) {
	t.Helper()
	s = w.scene(t, leg{script: keeping(&s, "a1"), keys: 2}, leg{script: keeping(&s, ""), keys: 2})
	a := s.ask(t, f)
	id = "resp_a2" + s.model
	if a.StatusCode != http.StatusOK || !strings.Contains(a.body, id) || s.asked() != "a1 a2" {
		t.Fatalf("made by %q: %d %s", s.asked(), a.StatusCode, a.body)
	}
	return s, id
}

// objectRoutes are what can be done to a kept response.
var objectRoutes = []struct{ operation, method, path, query, has string }{
	{"responses.get", http.MethodGet, "", "?include=x&key=k1&token=t1&access_token=a1&z=%20", `"object":"response"`},
	{"responses.input_items", http.MethodGet, "/input_items", "?limit=2&after=item_1", `"object":"list"`},
	{"responses.cancel", http.MethodPost, "/cancel", "", `"object":"response"`},
	{"responses.delete", http.MethodDelete, "", "", `"deleted":true`},
}

// What was made on one account is asked of that account alone, by its maker alone.
func TestObjectsLiveOnOneAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	mine := w.Token
	stranger := w.userToken(t, "stranger", realm.DefaultGroup)
	for _, f := range []form{respWhole, respEvents} {
		s, id := w.archive(t, f)
		for _, route := range objectRoutes {
			t.Run(route.operation+" after "+f.name, func(t *testing.T) {
				path := "/v1/responses/" + id + route.path
				before := len(s.requests())
				w.Token = stranger
				theirs := w.do(w.Request(t, route.method, path, ""))
				unknown := w.do(w.Request(t, route.method, "/v1/responses/resp_unknown"+route.path, ""))
				w.Token = mine
				if len(s.requests()) != before {
					t.Errorf("an upstream was asked for a stranger: %q", s.asked())
				}
				same := strings.NewReplacer(id, "ID", "resp_unknown", "ID", theirs.Header.Get("X-Request-Id"), "R", unknown.Header.Get("X-Request-Id"), "R")
				if theirs.StatusCode != http.StatusNotFound || unknown.StatusCode != http.StatusNotFound || same.Replace(theirs.body) != same.Replace(unknown.body) {
					t.Errorf("another user's: %d %s; an unknown one: %d %s", theirs.StatusCode, theirs.body, unknown.StatusCode, unknown.body)
				}
				judgeError(t, theirs, &want{kind: "invalid_request_error", code: "not_found"})

				a := w.do(w.Request(t, route.method, path+route.query, ""))
				if a.StatusCode != http.StatusOK || !strings.Contains(a.body, route.has) {
					t.Fatalf("%d %s", a.StatusCode, a.body)
				}
				sameText(t, "body", string(s.sent()[0]), a.body)
				all := s.requests()
				r := all[len(all)-1]
				query := "limit=2&after=item_1"
				if strings.Contains(route.query, "key=") {
					query = "include=x&z=%20"
				} else if route.query == "" {
					query = ""
				}
				if len(all) != before+1 || s.keys[r.Key] != "a2" || r.Method != route.method || r.Path != path || r.Query != query || len(r.Body) != 0 {
					t.Errorf("%d requests came; the last as %s: %s %s?%s %q", len(all)-before, s.keys[r.Key], r.Method, r.Path, r.Query, r.Body)
				}
			})
		}
		t.Run("rows after "+f.name, func(t *testing.T) {
			answers := make([]*answer, len(objectRoutes))
			for i, route := range objectRoutes {
				answers[i] = w.do(w.Request(t, route.method, "/v1/responses/"+id+route.path, ""))
			}
			for i, route := range objectRoutes {
				rec := w.Record(t, answers[i].Response)
				if rec.Operation != route.operation || rec.Ended != realm.EndedCompleted || rec.Attempts != 1 || rec.Status != 200 || rec.Credential == 0 {
					t.Errorf("%s: row %+v", route.operation, rec)
				}
			}
		})
	}
}

// An object's account is asked alone, whatever it says; what it says of the object
// is the client's to hear.
func TestNobodyElseIsAskedForAnObject(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	gone := testkit.ErrorBody("invalid_request_error", "", "", "No such response.")
	tests := []struct {
		name   string
		fault  testkit.Fault
		status int
		body   string
		asked  int
	}{
		{"unknown to the upstream", testkit.Status(404, gone), 404, gone, 1},
		{"the client's fault", testkit.Status(400, gone), 400, gone, 1},
		{"trouble", testkit.ServerError(), 503, "", 1},
		{"limited", testkit.RateLimited("9"), 429, "", 1},
		{"a key that is no longer good", noKey, 503, "", 1},
		{"nonsense", testkit.Page(200), 503, "", 1},
	}
	for _, tt := range tests {
		s, id := w.archive(t, respWhole)
		before := len(s.requests())
		s.ups[0].SetScript(s.noting(testkit.Always(tt.fault)))
		for _, route := range objectRoutes {
			t.Run(tt.name+", "+route.operation, func(t *testing.T) {
				s.mend(t)
				n := len(s.requests())
				a := w.do(w.Request(t, route.method, "/v1/responses/"+id+route.path, ""))
				if a.StatusCode != tt.status || tt.body != "" && a.body != tt.body {
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
				if got := strings.Fields(s.asked())[n:]; len(got) != tt.asked || got[0] != "a2" {
					t.Errorf("asked: %q", got)
				}
			})
		}
		if len(s.requests()) == before {
			t.Errorf("%s: nobody was asked", tt.name)
		}
	}
}

// What the client asked not to keep is not remembered.
func TestWhatIsNotStoredIsNotRemembered(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range []form{respWhole, respEvents} {
		f.body = strings.Replace(f.body, `"input"`, `"store":false,"input"`, 1)
		s, id := w.archive(t, f)
		a := w.do(w.Request(t, http.MethodGet, "/v1/responses/"+id, ""))
		if a.StatusCode != http.StatusNotFound || s.asked() != "a1 a2" {
			t.Errorf("%s: %d, asked %q", f.name, a.StatusCode, s.asked())
		}
	}
}

// A response is known as soon as its stream has shown its id, so that it can be
// cancelled while it is written.
func TestAResponseIsKnownWhileItIsStreamed(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p := newTap()
	defer p.end()
	s := w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
		if r.Path == respWhole.path {
			return p.fault()
		}
		return nil
	}})
	chunks := texts(s.clean(t, respEvents, testkit.Deltas(2)))
	go p.send(chunks[:5]...)
	r := s.open(t, respEvents)
	r.until(t, "the first output", func(got string) bool { return strings.Contains(got, "output_text.delta") })
	a := w.do(w.Request(t, http.MethodPost, "/v1/responses/resp_fake/cancel", ""))
	if a.StatusCode != http.StatusOK || s.asked() != "a1 a1" {
		t.Errorf("%d %s; asked %q", a.StatusCode, a.body, s.asked())
	}
	p.send(chunks[5:]...)
	p.end()
	sameText(t, "the stream", strings.Join(chunks, ""), r.rest(t))
}

// A request that goes on from a response, or names another object, goes to the
// account that has it and to no other.
func TestReferencesBindTheRequest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	references := map[string]string{
		"previous response": `"previous_response_id":"%s"`,
		"item reference":    `"previous_response_id":null,"include":[],"input":[{"type":"item_reference","id":"%s"}]`,
		"item without type": `"previous_response_id":null,"input":[{"id":"%s"}]`,
	}
	for name, field := range references {
		for _, f := range []form{respWhole, respEvents} {
			t.Run(name+", "+f.name, func(t *testing.T) {
				s, id := w.archive(t, f)
				if name != "previous response" {
					id = strings.Replace(id, "resp_", "msg_", 1)
				}
				bound := f
				bound.body = strings.Replace(f.body, `"input":"hello"`, fmt.Sprintf(field, id), 1)
				s.ups[0].SetScript(s.noting(keeping(&s, "")))
				if a := s.ask(t, bound); a.StatusCode != http.StatusOK || s.asked() != "a1 a2 a2" {
					t.Errorf("%d %s; asked %q", a.StatusCode, a.body, s.asked())
				}
				s.ups[0].SetScript(s.noting(testkit.Always(testkit.Error(401, "", "", "No."))))
				a := s.ask(t, bound)
				if a.StatusCode != http.StatusServiceUnavailable || s.asked() != "a1 a2 a2 a2" {
					t.Errorf("%d %s; asked %q", a.StatusCode, a.body, s.asked())
				}
			})
		}
	}
}

// Ids that Realms has not seen are the one owner's own in self mode, and nobody's
// otherwise; another user's is the same.
func TestUnknownReferences(t *testing.T) {
	t.Parallel()
	for _, self := range []bool{true, false} {
		w := newWorld(t, func(c *config.Config) {
			c.SelfMode.Enable = self
			c.Upstream.AllowPrivateNetworks = new(true)
		})
		s, theirs := w.archive(t, respWhole)
		s.mend(t)
		w.Token = w.userToken(t, "stranger", realm.DefaultGroup)
		for _, id := range []string{"resp_unknown", theirs} {
			before := len(s.requests())
			bound := respWhole
			bound.body = strings.Replace(respWhole.body, `"input"`, `"previous_response_id":"`+id+`","input"`, 1)
			a := s.ask(t, bound)
			asked := strings.Fields(s.asked())[before:]
			if self {
				if a.StatusCode != http.StatusOK || len(asked) != 1 || asked[0] != "a1" {
					t.Errorf("self mode, %s: %d %s; asked %q", id, a.StatusCode, a.body, asked)
				}
				continue
			}
			if a.StatusCode != http.StatusBadRequest || len(asked) != 0 {
				t.Errorf("%s: %d; asked %q", id, a.StatusCode, asked)
			}
			judgeError(t, a, &want{kind: "invalid_request_error", code: "previous_response_not_found", param: "previous_response_id"})
		}
	}
}

// Whose an object is outlives the process.
func TestObjectsOutliveTheProcess(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "kept.db")
	keep := func(c *config.Config) { c.DB.DSN = config.DSN("sqlite:" + file) }
	w := newWorld(t, keep)
	s, id := w.archive(t, respWhole)
	if err := w.Stop(); err != nil {
		t.Fatal(err)
	}
	again := newWorld(t, keep)
	before := len(s.requests())
	a := again.do(again.Request(t, http.MethodGet, "/v1/responses/"+id, ""))
	if asked := strings.Fields(s.asked())[before:]; a.StatusCode != http.StatusOK || len(asked) != 1 || asked[0] != "a2" {
		t.Errorf("%d %s; asked %q", a.StatusCode, a.body, asked)
	}
	// Out of use, it is missed and not unknown; the other account is no help.
	if _, err := again.Catalog.SetChannelEnabled(t.Context(), "test", s.names[0], false); err != nil {
		t.Fatal(err)
	}
	if a = again.do(again.Request(t, http.MethodGet, "/v1/responses/"+id, "")); a.StatusCode != http.StatusServiceUnavailable || len(s.requests()) != before+1 {
		t.Errorf("%d %s; asked %q", a.StatusCode, a.body, s.asked())
	}
	judgeError(t, a, &want{kind: "server_error", code: "server_is_overloaded"})
}
