package relay

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// The times of a breaker (data-plane.md, "What a failure means").
const (
	openFirst = 10 * time.Second // the first time, give or take a tenth
	backAfter = 35 * time.Second // an upstream is in full use again so long after it recovered
	opensAt   = 5                // failures in a row
)

// ill is an upstream that can be healed.
type ill struct {
	well atomic.Bool
	with testkit.Fault
}

func (i *ill) script(*testkit.Request) testkit.Fault {
	if i.well.Load() {
		return nil
	}
	return i.with
}

// primary is a scene whose first upstream is ill at first.
type primary struct {
	*scene
	form   form
	sick   *ill
	opened time.Time
}

func (p *primary) serve(t *testing.T) {
	t.Helper()
	if a := p.ask(t, p.form); a.err != nil || a.StatusCode != http.StatusOK || a.body != relayed(p.sent()) {
		t.Fatalf("%s, asked %q: %v %+v", p.form.name, p.asked(), a.err, a.Response)
	}
}

// S15: the first upstream is down and twenty requests come. After five failures it
// is passed by; the other serves all. Once its time is over one request at a time
// finds out how it is, and it gets its requests back by and by.
func TestScorecardPrimaryDown(t *testing.T) {
	t.Parallel()
	down := goDown(t, newWorld(t, nil))
	each(t, down, isFoundWell)
	each(t, down, isBack)
}

// goDown makes primaries, one a form, side by side: the times of all run at once.
func goDown(t *testing.T, w *world) []*primary {
	t.Helper()
	var all []*primary
	for _, f := range forms {
		sick := &ill{with: testkit.Error(503, "server_error", "", "Down.")}
		all = append(all, &primary{scene: w.scene(t, leg{script: sick.script}, good), form: f, sick: sick})
	}
	each(t, all, goesDown)
	return all
}

func each(t *testing.T, all []*primary, step func(t *testing.T, p *primary)) {
	t.Helper()
	for _, p := range all {
		step(t, p)
	}
}

func goesDown(t *testing.T, p *primary) {
	t.Helper()
	for range 20 {
		p.serve(t)
	}
	p.opened = time.Now()
	want := strings.TrimSpace(strings.Repeat("a1 b1 ", opensAt) + strings.Repeat("b1 ", 20-opensAt))
	if p.asked() != want {
		t.Errorf("%s: asked %q, want %q", p.form.name, p.asked(), want)
	}
	if got := strings.Join(p.marks(t), ", "); got != "a open server_error" {
		t.Errorf("%s: marks %q", p.form.name, got)
	}
	p.sick.well.Store(true)
}

func isFoundWell(t *testing.T, p *primary) {
	t.Helper()
	eventually(t, "the first upstream to be asked again", openFirst*12/10, func() bool {
		p.serve(t)
		return p.counted()["a1"] > opensAt
	})
	if d := time.Since(p.opened); d < openFirst*8/10 {
		t.Errorf("%s: asked again %s after the breaker opened", p.form.name, d)
	}
	if got := strings.Join(p.marks(t), ", "); got != "a recovering server_error" {
		t.Errorf("%s: marks once it was found well: %q", p.form.name, got)
	}
}

func isBack(t *testing.T, p *primary) {
	t.Helper()
	eventually(t, "the first upstream to have all requests back", backAfter-openFirst, func() bool {
		before := len(p.requests())
		for range 5 {
			p.serve(t)
		}
		return strings.Join(strings.Fields(p.asked())[before:], " ") == "a1 a1 a1 a1 a1" && len(p.marks(t)) == 0
	})
}

// A half-open breaker lets one request through; the others go elsewhere meanwhile,
// and if it fails, the upstream is left alone for twice as long.
func TestOneProbeAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, failing(testkit.ServerError()), good)
	for range opensAt {
		s.ask(t, chatWhole)
	}
	fail, probed := make(chan struct{}), make(chan struct{})
	s.ups[0].SetScript(s.noting(testkit.Always(func(r *testkit.Request, a *testkit.Answer) {
		<-fail
		testkit.ServerError()(r, a)
	})))
	before := s.counted()["a1"]
	eventually(t, "the breaker to be half open", openFirst*12/10, func() bool {
		return strings.Join(s.marks(t), ",") == "a half_open server_error"
	})
	go func() {
		defer close(probed)
		s.ask(t, chatWhole)
	}()
	testkit.Poll(t, "the probe", func() bool { return s.counted()["a1"] == before+1 })
	inParallel(50, 10, func(int) {
		if a := s.ask(t, chatWhole); a.err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("beside the probe: %v %+v", a.err, a.Response)
		}
	})
	if n := s.counted()["a1"]; n != before+1 {
		t.Errorf("%d requests found out, want one", n-before)
	}
	close(fail)
	<-probed
	state := s.w.channelState(t, s.names[0]).Endpoints[0].Marks
	if len(state) == 0 || state[0].Kind != "open" || time.Until(state[0].Until) < openFirst*17/10 {
		t.Errorf("marks after the probe failed: %+v", state)
	}
}

// D-13: with no other upstream, an open breaker refuses nobody: each request asks
// the one there is, once.
func TestTheOnlyUpstreamIsAlwaysAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for _, f := range forms {
		sick := &ill{with: testkit.ServerError()}
		s := w.scene(t, leg{script: sick.script})
		for i := 0; i < 2*opensAt; i++ {
			s.ask(t, f)
		}
		if got := s.marks(t); len(got) != 1 || got[0] != "a open server_error" {
			t.Errorf("%s: marks %q", f.name, got)
		}
		before := len(s.requests())
		if a := s.ask(t, f); a.StatusCode != http.StatusServiceUnavailable || len(s.requests()) != before+1 {
			t.Errorf("%s: %d, and it was asked %d times", f.name, a.StatusCode, len(s.requests())-before)
		}
		sick.well.Store(true)
		trials = append(trials, trial{name: f.name, form: f, scene: s, want: want{asked: strings.TrimSpace(strings.Repeat("a1 ", before+2))}})
	}
	w.run(t, trials) // the first after it is well again succeeds
}

// bursty is a scene whose first upstream fails some requests for a time.
type bursty struct {
	*scene
	name             string
	requests, opened int // how many were made, and which opened a breaker
}

// D-13, scaled down: all requests fail, or half of them, or all in some seconds and
// none in others. Where another upstream is well nobody notices; once the breaker is
// open few requests cost a second attempt; the upstream is back soon after it
// recovered.
func TestBurstsOfServerErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	begun := time.Now()
	var all []*bursty
	for name, fails := range map[string]func(n int) bool{
		"all":      func(int) bool { return true },
		"half":     func(n int) bool { return n%2 == 0 },
		"in turns": func(int) bool { return time.Since(begun)/time.Second%2 == 0 },
	} {
		all = append(all, &bursty{name: name, scene: w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
			if fails(r.Number) {
				return testkit.ServerError()
			}
			return nil
		}}, good)})
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for ; time.Since(begun) < 6*time.Second; <-tick.C {
		for _, s := range all {
			s.serve(t)
		}
	}
	for _, s := range all {
		attempts := len(s.scene.requests())
		t.Logf("%s: a breaker opened at request %d; %d attempts of %d requests", s.name, s.opened, attempts, s.requests)
		if s.opened < opensAt || s.opened > 2*20 || attempts > s.requests*12/10 {
			t.Errorf("%s: a breaker opened at request %d; %d attempts of %d requests", s.name, s.opened, attempts, s.requests)
		}
		s.ups[0].SetScript(s.noting(nil))
	}
	healed := time.Now()
	for _, s := range all {
		eventually(t, "the first upstream to have all requests back", backAfter-time.Since(healed), func() bool {
			before := len(s.scene.requests())
			for range 5 {
				s.serve(t)
			}
			return strings.Join(strings.Fields(s.asked())[before:], " ") == "a1 a1 a1 a1 a1"
		})
	}
	t.Logf("back %s after they were well", time.Since(healed).Round(time.Second))
}

func (s *bursty) serve(t *testing.T) {
	t.Helper()
	s.requests++
	if a := s.ask(t, forms[s.requests%len(forms)]); a.err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%s, request %d: %v %+v", s.name, s.requests, a.err, a.Response)
	}
	if s.opened == 0 && len(s.marks(t)) > 0 {
		s.opened = s.requests
	}
}

// What each failure marks, as operators see it.
func TestFailuresAreVisible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, tt := range []struct {
		name  string
		fault testkit.Fault
		times int
		want  string
		until time.Duration // give or take a second
	}{
		{"401", noKey, 1, "a1 told auth", time.Minute},
		{"403", noPower, 1, "a1 told forbidden", 10 * time.Minute},
		{"a firewall", testkit.Cloudflare(), 1, "a told blocked", time.Minute},
		{"429 for 30 s", testkit.RateLimited("30"), 1, "a1 told rate_limited", 30 * time.Second},
		{"429", testkit.RateLimited(""), 1, "a1 told rate_limited", 5 * time.Second},
		{"no quota", noMoney, 1, "a1 told quota", 10 * time.Minute},
		{"402", unpaid, 1, "a1 told quota", 10 * time.Minute},
		{"no model", noModel, 1, "a told model_missing", 10 * time.Minute},
		{"no path", noPath, 1, "a told api_missing chat", 0},
		{"500 four times", testkit.ServerError(), 4, "", 0},
		{"500 five times", testkit.ServerError(), 5, "a open server_error", openFirst},
		{"reset five times", testkit.Reset(), 5, "a open connect", openFirst},
		{"a page five times", testkit.Page(200), 5, "a open bad_answer", openFirst},
		{"a client's fault", contextLength, 8, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := w.scene(t, leg{script: testkit.Always(tt.fault), apis: chatAlone}, good)
			for range tt.times {
				s.ask(t, chatWhole)
			}
			got := strings.Join(s.marks(t), ", ")
			if got != tt.want {
				t.Fatalf("marks %q, want %q; asked %q", got, tt.want, s.asked())
			}
			if tt.want == "" {
				return
			}
			ch := w.channelState(t, s.names[0])
			m := append(append(ch.Marks, ch.Endpoints[0].Marks...), ch.Endpoints[0].Credentials[0].Marks...)[0]
			if left := time.Until(m.Until); tt.until > 0 && (left < tt.until*9/10-2*time.Second || left > tt.until*11/10) || tt.until == 0 && !m.Until.IsZero() {
				t.Errorf("until %s from now, want %s", left, tt.until)
			}
			before := len(s.requests())
			if a := s.ask(t, chatWhole); a.StatusCode != http.StatusOK || strings.Join(strings.Fields(s.asked())[before:], " ") != "b1" {
				t.Errorf("the next request: %d, asked %q", a.StatusCode, s.asked())
			}
		})
	}
}

// Shares of the last five minutes, as operators see them.
func TestSharesAreVisible(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{script: testkit.Sequence(nil, testkit.ServerError(), nil, testkit.ServerError(), contextLength)}, good)
	for range 6 {
		s.ask(t, chatWhole)
	}
	a, b := s.credential(t, "a1"), s.credential(t, "b1")
	if got := fmt.Sprint(a.Last5.Attempts, a.Last5.Succeeded, a.Last60.Attempts, b.Last5.Attempts, b.Last5.Succeeded); got != "5 3 5 2 2" { // a fault of the client's says nothing of either
		t.Errorf("attempts and successes: %s", got)
	}
	if a.State != realm.CredentialOK || a.InFlight != 0 {
		t.Errorf("state: %+v", a)
	}
}
