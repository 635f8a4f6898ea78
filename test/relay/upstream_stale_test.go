package relay

import (
	"fmt"
	"net/http"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// D-17: a kept connection that the upstream has closed meanwhile costs one more
// attempt on a new one, and nothing else: the upstream sees one request for each
// attempt that was recorded, whatever the client says of idempotency.
func TestStaleConnections(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, staleConnections)
}

func staleConnections(t *testing.T, w *world) {
	t.Helper()
	type course struct {
		name    string
		form    form
		scene   *scene
		answers []*answer
	}
	var courses []course
	for name, cut := range map[string]testkit.Fault{"FIN": testkit.Hangup(), "RST": testkit.Reset()} {
		for _, f := range forms {
			courses = append(courses, course{name: name + ", " + f.name, form: f, scene: w.scene(t, leg{script: testkit.OnReused(cut)}, good)})
		}
	}
	inParallel(len(courses), len(courses), func(i int) {
		c := &courses[i]
		for n := range 250 / sparse(1) { // every second one meets a dead connection
			c.answers = append(c.answers, c.scene.ask(t, c.form, "Idempotency-Key", fmt.Sprint(n), "X-Idempotency-Key", fmt.Sprint(n)))
		}
	})
	for _, c := range courses {
		t.Run(c.name, func(t *testing.T) { judgeStale(t, c.scene, c.form, c.answers) })
	}
}

func judgeStale(t *testing.T, s *scene, f form, answers []*answer) {
	t.Helper()
	attempts, retried := 0, 0
	for i, a := range answers {
		if a.Response == nil || a.StatusCode != http.StatusOK || a.err != nil {
			t.Fatalf("request %d: %v, %+v", i, a.err, a)
		}
		s.w.same(t, fmt.Sprintf("answer %d", i), f, s.sent(), a.body)
		rec := s.w.Record(t, a.Response)
		attempts += rec.Attempts
		if rec.Attempts == 1 && rec.Cause == realm.CauseOK {
			continue
		}
		retried++
		if rec.Attempts != 2 || len(rec.Tries) != 2 || rec.Tries[0].Cause != realm.CauseStaleConn || rec.Tries[1].Cause != realm.CauseOK ||
			rec.Tries[0].Credential != rec.Tries[1].Credential || rec.Ended != realm.EndedCompleted {
			t.Errorf("row of request %d: %+v", i, rec)
		}
	}
	if got := s.ups[0].Count(); got != attempts || s.ups[1].Count() != 0 {
		t.Errorf("the upstreams saw %d and %d requests, %d attempts are recorded", got, s.ups[1].Count(), attempts)
	}
	if retried < len(answers)/3 {
		t.Errorf("%d of %d requests met a dead connection: the test is none", retried, len(answers))
	}
	for _, r := range s.requests() {
		for _, header := range []string{"Idempotency-Key", "X-Idempotency-Key"} {
			if r.Header.Get(header) != "" {
				t.Errorf("%s reached the upstream", header)
			}
		}
	}
}

// S05: a new connection that dies before it answers is no stale one: the fault is
// the endpoint's, and another is asked.
func TestDeathOfANewConnectionFailsOver(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, deathOfANewConnectionFailsOver)
}

func deathOfANewConnectionFailsOver(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for name, cut := range map[string]testkit.Fault{"FIN": testkit.Hangup(), "RST": testkit.Reset()} {
		for _, f := range forms {
			trials = append(trials,
				trial{name: name + ", " + f.name, scene: w.scene(t, failing(cut), good), form: f, want: ok("a1 b1", "connect ok")},
				trial{name: name + " anywhere, " + f.name, scene: w.scene(t, failing(cut)), form: f, want: overloaded("a1 a1", "connect connect")})
		}
	}
	w.run(t, trials)
}

// The retry after a stale connection is one: a new connection that is dead too
// goes the way of other failures.
func TestStaleThenDeadFailsOver(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, staleThenDeadFailsOver)
}

func staleThenDeadFailsOver(t *testing.T, w *world) {
	t.Helper()
	warm := func(r *testkit.Request) testkit.Fault {
		if r.Number == 1 {
			return nil
		}
		return testkit.Reset()
	}
	var trials []trial
	for _, f := range forms {
		s := w.scene(t, leg{script: warm}, good)
		s.ask(t, f)
		trials = append(trials, trial{name: f.name, scene: s, form: f, want: ok("a1 a1 a1 b1", "stale_connection connect ok")})
	}
	w.run(t, trials)
}
