package relay

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// held are the first events of a stream that are no output, and how many.
func held(f form) int {
	if f.responses {
		return 4 // created, in_progress, an empty item, an empty part
	}
	return 1 // the role
}

// Every complete event goes out as soon as it is there, though the next one is
// half there too; what was held goes with the first output.
func TestEventsGoOutAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range streams {
		for name, split := range map[string]func(string) (string, string){
			"half an event":    func(e string) (string, string) { return e[:len(e)/2], e[len(e)/2:] },
			"all but its end":  func(e string) (string, string) { return e[:len(e)-1], e[len(e)-1:] },
			"its first letter": func(e string) (string, string) { return e[:1], e[1:] },
		} {
			t.Run(name+", "+f.name, func(t *testing.T) {
				p := newTap()
				defer p.end()
				s := w.scene(t, failing(p.fault()))
				chunks := texts(s.clean(t, f, testkit.Deltas(3)))
				first := held(f)
				sent := strings.Join(chunks[:first+1], "")
				done := make(chan struct{})
				go func() {
					defer close(done)
					head, _ := split(chunks[first+1])
					p.send(chunks[:first]...)
					p.send(chunks[first] + head) // the first output, and a part of what follows
				}()
				r := s.open(t, f)
				r.exactly(t, sent)
				<-done
				for i := first + 1; i < len(chunks)-1; i++ {
					_, tail := split(chunks[i])
					head, _ := split(chunks[i+1])
					p.send(tail + head)
					if strings.Contains(chunks[i], `"choices":[],"usage"`) {
						continue // withheld
					}
					sent += chunks[i]
					r.exactly(t, sent)
				}
				_, tail := split(chunks[len(chunks)-1])
				p.send(tail)
				p.end()
				sameText(t, "all", sent+chunks[len(chunks)-1], r.rest(t))
				if r.Header.Get("X-Accel-Buffering") != "no" || !strings.HasPrefix(r.Header.Get("Content-Type"), "text/event-stream") {
					t.Errorf("header: %v", r.Header)
				}
			})
		}
	}
}

// heldThenFail is a stream of n events without output and then a failure.
func heldThenFail(f form, n int, failure string) testkit.Fault {
	return func(r *testkit.Request, a *testkit.Answer) {
		all := a.Chunks
		a.Chunks = nil
		for i := range n {
			a.Chunks = append(a.Chunks, all[i%held(f)])
		}
		a.Chunks = append(a.Chunks, []byte(failure))
		a.Gap = 2 * time.Millisecond
	}
}

// A stream that fails before its first output fails over, and there is no trace of
// it; up to 16 events and 1 MiB are held for that. Past it the client has them.
func TestWhatIsHeldLeavesNoTrace(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, whatIsHeldLeavesNoTrace)
}

func whatIsHeldLeavesNoTrace(t *testing.T, w *world) {
	t.Helper()
	failures := map[form]string{}
	failure := map[bool]string{
		false: "data: {\"error\":{\"message\":\"Overloaded.\",\"type\":\"server_error\",\"code\":\"server_is_overloaded\"}}\n\n",
		true:  "event: error\ndata: {\"type\":\"error\",\"code\":\"server_is_overloaded\",\"message\":\"Overloaded.\",\"sequence_number\":2}\n\n",
	}
	for _, f := range streams {
		failures[f] = failure[w.heard(f).responses]
	}
	var trials []trial
	for _, f := range streams {
		for _, n := range []int{0, 1, 5, 16} {
			trials = append(trials, trial{
				name: fmt.Sprintf("%d events, %s", n, f.name), form: f,
				scene: w.scene(t, failing(heldThenFail(w.heard(f), n, failures[f])), good), want: ok("a1 b1", "server_error ok"),
			})
		}
		s := w.scene(t, failing(heldThenFail(w.heard(f), 40, failures[f])), good)
		trials = append(trials, trial{
			name: "40 events, " + f.name, form: f, scene: s,
			want: want{has: []string{""}, ended: realm.EndedFailed, cause: realm.CauseServerError},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				before, code := streamError(t, f, a.body)
				sent := s.sent()
				if w.same(t, "before the error", f, sent[:len(sent)-1], strings.TrimSuffix(before, failures[f])); code != "server_is_overloaded" {
					t.Errorf("code %q after %q", code, before)
				}
			},
		})
	}
	created := func(size int) testkit.Fault {
		return func(_ *testkit.Request, a *testkit.Answer) {
			a.Chunks = [][]byte{[]byte(strings.Replace(string(a.Chunks[0]), `"instructions":null`, `"instructions":"`+strings.Repeat("i", size)+`"`, 1)), []byte(failure[true])}
			a.Gap = 400 * time.Millisecond
		}
	}
	trials = append(trials, trial{
		name: "70 KB of instructions", form: w.heard(respEvents), scene: w.scene(t, failing(created(70<<10)), good), want: ok("a1 b1", "server_error ok"),
	}, trial{
		name: "1 MiB of instructions", form: respEvents, scene: w.scene(t, failing(created(mib)), good),
		want: want{has: []string{"response.created", "response.failed"}, ended: realm.EndedFailed, cause: realm.CauseServerError},
	})
	if w.converted {
		// The conversion begins the client's stream once, however often the upstream begins
		// its own, and repeats none of it: there is nothing that would not fit.
		for i := range trials {
			trials[i].want, trials[i].more = ok("a1 b1", "server_error ok"), nil
		}
	}
	w.run(t, trials)
}

// keepAlive is what the relay adds to a stream in silence.
var keepAlive = regexp.MustCompile(`: keepalive\n\n|: waiting\n\n|event: keepalive\ndata: \{"type":"keepalive","sequence_number":\d+\}\n\n`)

// Silence after commit is filled: with a comment, and on Responses, once
// response.created has passed, with a data event that bears the last number.
func TestSilenceAfterCommitIsFilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *config.Config) { c.Relay.KeepAlive = 60 * time.Millisecond })
	for _, f := range streams {
		t.Run(f.name, func(t *testing.T) {
			p := newTap()
			defer p.end()
			s := w.scene(t, failing(p.fault()))
			chunks := texts(s.clean(t, f, testkit.Deltas(4)))
			go p.send(chunks[:held(f)+2]...)
			r := s.open(t, f)
			sign := ": keepalive\n\n"
			if f.responses {
				sign = fmt.Sprintf("event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":%d}\n\n", held(f)+1)
			}
			r.until(t, "three signs of life", func(got string) bool { return strings.Count(got, sign) >= 3 })
			p.send(chunks[held(f)+2:]...)
			p.end()
			got := r.rest(t)
			sameText(t, "without the signs", strings.Join(withoutUsage(chunks), ""), keepAlive.ReplaceAllString(got, ""))
			if rec := w.Record(t, r.Response); rec.Ended != realm.EndedCompleted || rec.Attempts != 1 {
				t.Errorf("row: %+v", rec)
			}
		})
	}
}

func withoutUsage(chunks []string) []string {
	var list []string
	for _, c := range chunks {
		if !strings.Contains(c, `"choices":[],"usage":{`) {
			list = append(list, c)
		}
	}
	return list
}

// A stream that has its header and nothing to say is begun after silent_commit:
// what is held goes out with a comment, and failover is over.
func TestSilentCommit(t *testing.T) {
	t.Parallel()
	const silent = 200 * time.Millisecond
	w := newWorld(t, func(c *config.Config) { c.Relay.SilentCommit, c.Relay.KeepAlive = silent, 250*time.Millisecond })
	var rows []func(t *testing.T)
	for _, f := range streams {
		for n := range held(f) + 1 {
			t.Run(fmt.Sprintf("%s, %d held", f.name, n), func(t *testing.T) {
				s, r := beginInSilence(t, w, f, n, silent)
				rows = append(rows, func(t *testing.T) {
					rec := w.Record(t, r.Response)
					if s.asked() != "a1" || rec.Attempts != 1 || rec.Ended != realm.EndedUpstreamCut || rec.FirstByte < silent {
						t.Errorf("asked %q, row %+v", s.asked(), rec)
					}
				})
			})
		}
	}
	for _, row := range rows {
		row(t)
	}
}

// beginInSilence has an upstream that sends n events without output and then
// nothing, for as long as it takes to see what the relay makes of it.
func beginInSilence(t *testing.T, w *world, f form, n int, silent time.Duration) (*scene, *reader) {
	t.Helper()
	p := newTap()
	defer p.end()
	s := w.scene(t, failing(p.fault()), good)
	events := strings.Join(texts(s.clean(t, f, testkit.Deltas(2)))[:n], "")
	go p.send(": hello\n\n" + events)
	begun := time.Now()
	r := s.open(t, f)
	if took := time.Since(begun); took < silent || took > silent+250*time.Millisecond {
		t.Errorf("begun after %s", took)
	}
	r.exactly(t, ": hello\n\n"+events+": waiting\n\n")
	sign := ": keepalive\n\n"
	if f.responses && n > 0 {
		sign = fmt.Sprintf("event: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":%d}\n\n", n-1)
	}
	r.until(t, "two signs of life", func(got string) bool { return strings.Count(got, sign) >= 2 })
	p.end() // without an end of its own: it fails, and that is no other's business
	before, code := streamError(t, f, r.rest(t))
	if code != "upstream_cut" || keepAlive.ReplaceAllString(before, "") != ": hello\n\n"+events {
		t.Errorf("code %q after %q", code, before)
	}
	return s, r
}

// Nothing is begun in silence while no upstream has answered, nor ever for a whole
// answer; and 0 means never.
func TestNoSilentCommitWithoutAStream(t *testing.T) {
	t.Parallel()
	limits := func(silent time.Duration) func(c *config.Config) {
		return func(c *config.Config) {
			c.Relay.SilentCommit, c.Relay.KeepAlive = silent, 20*time.Millisecond
			c.Relay.Timeouts.FirstByte, c.Relay.Timeouts.FirstEvent, c.Relay.Timeouts.Idle = 400*time.Millisecond, 400*time.Millisecond, 400*time.Millisecond
		}
	}
	soon, never := newWorld(t, limits(100*time.Millisecond)), newWorld(t, limits(0))
	var trials []trial
	for _, f := range streams {
		trials = append(trials, trial{
			name: "no header, " + f.name, form: f, scene: soon.scene(t, failing(testkit.Hang()), failing(testkit.ServerError())),
			want: overloaded("a1 b1 b1", "timeout server_error server_error"),
		})
	}
	for _, f := range wholes {
		trials = append(trials, trial{
			name: "a whole answer, " + f.name, form: f, scene: soon.scene(t, failing(testkit.CutBytes(40, testkit.EndStall)), failing(testkit.SlowFirst(300*time.Millisecond))),
			want: ok("a1 b1", "timeout ok"),
		})
	}
	soon.run(t, trials)
	trials = nil
	for _, f := range streams {
		trials = append(trials, trial{name: "never, " + f.name, form: f, scene: never.scene(t, failing(testkit.StallAfter(1)), good), want: ok("a1 b1", "timeout ok")})
	}
	never.run(t, trials)
}

// firstLimit is first_event's time in the test of it.
const firstLimit = 400 * time.Millisecond

// S07: an upstream whose stream has begun and says nothing of substance is left
// after first_event, whatever else it sends; once output came, that limit is over.
func TestFirstEventLimit(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) { c.Relay.Timeouts.FirstEvent = firstLimit }, firstEventLimit)
}

func firstEventLimit(t *testing.T, w *world) {
	t.Helper()
	chatter := func(_ *testkit.Request, a *testkit.Answer) {
		head := a.Chunks[0]
		a.Chunks = nil
		for range 30 {
			a.Chunks = append(a.Chunks, []byte(": processing\n\n"))
		}
		a.Chunks[0], a.Gap = head, 50*time.Millisecond
	}
	timely := func(t *testing.T, _ *answer, rec realm.RequestRecord) {
		if took := rec.Tries[0].Duration; took < firstLimit || took > firstLimit*3/2 {
			t.Errorf("given up after %s", took)
		}
	}
	var trials []trial
	for _, f := range streams {
		trials = append(trials,
			trial{name: "silence, " + f.name, form: f, scene: w.scene(t, failing(testkit.StallAfter(1)), good), want: ok("a1 b1", "timeout ok"), more: timely},
			trial{name: "nothing but a header, " + f.name, form: f, scene: w.scene(t, failing(testkit.StallAfter(0)), good), want: ok("a1 b1", "timeout ok"), more: timely},
			trial{name: "comments, " + f.name, form: f, scene: w.scene(t, failing(chatter), good), want: ok("a1 b1", "timeout ok"), more: timely},
			trial{name: "anywhere, " + f.name, form: f, scene: w.scene(t, failing(chatter)), want: late(f, "a1", "timeout")},
			trial{name: "in time, then slow, " + f.name, form: f, scene: w.scene(t, failing(testkit.All(testkit.Say("a", "b"), testkit.Pace(firstLimit/5))))})
	}
	w.run(t, trials)
}
