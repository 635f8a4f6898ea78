package relay

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// lacking is an upstream that has not the path of a form: it answers so with a fault.
func lacking(f form, fault testkit.Fault) testkit.Script {
	return func(r *testkit.Request) testkit.Fault {
		if r.Path == f.path {
			return fault
		}
		return nil
	}
}

// paths are those that the scene's upstreams were asked on, in order.
func (s *scene) paths() string {
	var list []string
	for _, r := range s.requests() {
		list = append(list, s.keys[r.Key]+" "+strings.TrimPrefix(r.Path, "/v1/"))
	}
	return strings.Join(list, ", ")
}

// converted fails unless an answer is one of the form's dialect with the upstream's
// text, which it was sent in the other.
func (s *scene) converted(t *testing.T, f form, a *answer) {
	t.Helper()
	if a.Response == nil || a.StatusCode != http.StatusOK || a.err != nil {
		t.Fatalf("%v %+v", a.err, a)
	}
	if got := said(t, f, a.body); got != "Hello from the fake upstream." {
		t.Errorf("the answer says %q", got)
	}
	(&world{converted: true}).whole(t, f, a.body)
}

var noMethod = testkit.Error(http.StatusMethodNotAllowed, "", "", "Method not allowed")

// A channel that turns out not to have the request's own path is asked at once in
// the other form, with the same credential, and by the next request straight away.
func TestAMissingPathIsConverted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, fault := range map[string]testkit.Fault{"404": noPath, "405": noMethod, "404 as a page": testkit.Page(http.StatusNotFound)} {
		for _, f := range forms {
			t.Run(name+", "+f.name, func(t *testing.T) {
				s := w.scene(t, leg{script: lacking(f, fault), keys: 2}, good)
				a := s.ask(t, f)
				s.converted(t, f, a)
				rec := w.Record(t, a.Response)
				if rec.Attempts != 2 || rec.Tries[0].Cause != realm.CauseAPIMissing || rec.Tries[1].Cause != realm.CauseOK ||
					rec.Tries[0].Credential != rec.Tries[1].Credential || rec.Usage != usageOf(testkit.DefaultTokens) {
					t.Errorf("row: %+v", rec)
				}
				a = s.ask(t, f)
				s.converted(t, f, a)
				if rec = w.Record(t, a.Response); rec.Attempts != 1 || len(rec.Tries) != 0 || rec.Usage != usageOf(testkit.DefaultTokens) {
					t.Errorf("the next row: %+v", rec)
				}
				there, other := f.path[len("/v1/"):], s.otherPath(f)
				if got, want := s.paths(), "a1 "+there+", a1 "+other+", a1 "+other; got != want {
					t.Errorf("asked %q, want %q", got, want)
				}
			})
		}
	}
}

func (s *scene) otherPath(f form) string {
	return (&world{converted: true}).heard(f).path[len("/v1/"):]
}

// What is known of one path says nothing of the other: requests of the other dialect
// go on as they are.
func TestAMissingPathSaysNothingOfTheOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range wholes {
		s := w.scene(t, leg{script: lacking(f, noPath)})
		other := wholes[0]
		if other == f {
			other = wholes[1]
		}
		for range 2 {
			s.converted(t, f, s.ask(t, f))
			if a := s.ask(t, other); a.StatusCode != http.StatusOK || a.body != relayed(s.sent()) {
				t.Errorf("%s: %d %s", other.name, a.StatusCode, a.body)
			}
		}
		own, theirs := f.path[len("/v1/"):], other.path[len("/v1/"):]
		if got, want := s.paths(), "a1 "+own+strings.Repeat(", a1 "+theirs, 4); got != want {
			t.Errorf("asked %q, want %q", got, want)
		}
	}
}

// Neither path is there: the next channel serves, and where there is none the client
// hears that no channel has it.
func TestNeitherPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for _, f := range forms {
		again := w.scene(t, failing(noPath))
		trials = append(trials,
			trial{name: "another, " + f.name, form: f, scene: w.scene(t, failing(noPath), good), want: ok("a1 a1 b1", "api_missing api_missing ok")},
			trial{name: "nobody, " + f.name, form: f, scene: again, want: unknownModel("a1 a1", "api_missing api_missing"), more: func(t *testing.T, _ *answer, _ realm.RequestRecord) {
				a := again.ask(t, f)
				if a.StatusCode != http.StatusNotFound || a.Header.Get("X-Realms-Attempts") > "0" || again.asked() != "a1 a1" {
					t.Errorf("the next request: %d, asked %q: %s", a.StatusCode, again.asked(), a.body)
				}
				judgeError(t, a, &want{kind: "invalid_request_error", code: "model_not_found", param: "model"})
			}},
			trial{
				name: "one, then a fault, " + f.name, form: f, scene: w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
					if r.Path == f.path {
						return noPath
					}
					return contextLength
				}}),
				want: want{
					status: 400, kind: "invalid_request_error", code: "context_length_exceeded", cause: realm.CauseClientError, asked: "a1 a1",
					causes: "api_missing client_error",
				},
			})
	}
	w.run(t, trials)
}

// Once a channel is known to lack the path, those of its tier that have it come first;
// it is asked, converted, when they cannot serve.
func TestNativeChannelsComeFirstInTheirTier(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			same := func(ch *spec) { ch.Priority = 7 }
			s := w.scene(t, leg{script: lacking(f, noPath), edit: same}, leg{edit: same})
			deadline := time.After(10 * time.Second)
			for !strings.Contains(s.asked(), "a1") { // drawn by weight, until it is known
				s.ask(t, f)
				select {
				case <-deadline:
					t.Fatal("the first channel is never asked")
				default:
				}
			}
			before := len(s.requests())
			for range 20 {
				s.ask(t, f)
			}
			if got := strings.Fields(s.asked())[before:]; slices.Contains(got, "a1") {
				t.Errorf("asked %q", got)
			}
			s.ups[1].SetScript(s.noting(testkit.Always(testkit.RateLimited("60"))))
			before = len(s.requests())
			s.converted(t, f, s.ask(t, f))
			if got := strings.Fields(s.asked())[before:]; !slices.Equal(got, []string{"b1", "a1"}) {
				t.Errorf("asked %q", got)
			}
		})
	}
}

// Tiers go before that: a converted channel of the first is asked before a native one
// of the second.
func TestConvertedChannelsKeepTheirTier(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range forms {
		s := w.scene(t, leg{apis: f.other()}, leg{apis: f.own()})
		s.converted(t, f, s.ask(t, f))
		if s.asked() != "a1" {
			t.Errorf("%s: asked %q", f.name, s.asked())
		}
	}
}

// A page may be a proxy's and pass; JSON is the upstream's word, and holds until
// somebody mends the channel, who has it asked natively again.
func TestAMissingPathIsMended(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, tt := range map[string]struct {
		fault testkit.Fault
		until time.Duration
	}{"JSON": {noPath, 0}, "a page": {testkit.Page(http.StatusNotFound), 10 * time.Minute}} {
		for _, f := range wholes {
			t.Run(name+", "+f.name, func(t *testing.T) {
				s := w.scene(t, leg{script: lacking(f, tt.fault)})
				begun := time.Now()
				s.ask(t, f)
				marks := w.channelState(t, s.names[0]).Marks
				if len(marks) != 1 || marks[0].Cause != realm.CauseAPIMissing {
					t.Fatalf("marks: %+v", marks)
				}
				switch until := marks[0].Until; {
				case tt.until == 0 && !until.IsZero():
					t.Errorf("until %s", until)
				case tt.until > 0 && (until.Sub(begun) < tt.until || until.Sub(begun) > tt.until+5*time.Second):
					t.Errorf("for %s, want %s", until.Sub(begun), tt.until)
				}
				s.ups[0].SetScript(s.noting(nil))
				s.ask(t, f)
				s.mend(t)
				if a := s.ask(t, f); a.StatusCode != http.StatusOK || a.body != relayed(s.sent()) {
					t.Errorf("mended: %d %s", a.StatusCode, a.body)
				}
				own, other := f.path[len("/v1/"):], s.otherPath(f)
				if got, want := s.paths(), "a1 "+own+", a1 "+other+", a1 "+other+", a1 "+own; got != want {
					t.Errorf("asked %q, want %q", got, want)
				}
			})
		}
	}
}

// Sessions stay with their account in whichever form it is asked.
func TestSessionsStayWhenConverted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	f := respWhole
	f.body = strings.Replace(f.body, `{`, `{"prompt_cache_key":"mine",`, 1)
	s := w.scene(t, leg{script: lacking(f, noPath), keys: 5, edit: alike})
	for range 12 {
		s.converted(t, f, s.ask(t, f))
	}
	first := strings.Fields(s.asked())[0]
	for _, label := range strings.Fields(s.asked()) {
		if label != first {
			t.Fatalf("asked %q", s.asked())
		}
	}
}
