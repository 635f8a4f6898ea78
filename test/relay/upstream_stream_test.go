package relay

import (
	"slices"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// cutAfter is what must come of a stream that the upstream did not finish, after
// output began: the first n events as they were, the stream's own error, nobody
// else asked.
func cutAfter(f form, n int, ended realm.Ended, cause realm.Cause, code string) (want, func(*testing.T, *scene, *answer)) {
	w := want{has: []string{""}, ended: ended, cause: cause}
	return w, func(t *testing.T, s *scene, a *answer) {
		t.Helper()
		before, got := streamError(t, f, a.body)
		whole := testkit.Compose(s.requests()[0], testkit.Reply{})
		s.w.same(t, "before the error", f, whole.Chunks[:n], before)
		if got != code {
			t.Errorf("the error's code is %q, want %q", got, code)
		}
	}
}

// silence is idle's time in the test of it.
const silence = 500 * time.Millisecond

// D-03: an upstream that falls silent in the middle is left when idle's time is
// over, give or take a second; the client hears of it and nobody else is asked.
func TestSilenceInTheMiddleOfAStream(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) { c.Relay.Timeouts.Idle = silence }, silenceInTheMiddleOfAStream)
}

func silenceInTheMiddleOfAStream(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, f := range streams {
		n := 6 // past the first text
		want, more := cutAfter(f, n, realm.EndedTimeout, realm.CauseTimeout, "timeout")
		s := w.scene(t, failing(testkit.StallAfter(n)), good)
		trials = append(trials, trial{
			name: f.name, scene: s, form: f, want: want,
			more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
				more(t, s, a)
				if rec.Duration < silence || rec.Duration > silence+time.Second {
					t.Errorf("it took %s, want %s and at most a second", rec.Duration, silence)
				}
				s.ups[0].Requests()[0].WaitCancelled(t)
			},
		})
	}
	for _, f := range wholes {
		s := w.scene(t, failing(testkit.CutBytes(100, testkit.EndStall)), good)
		trials = append(trials, trial{
			name: f.name, scene: s, form: f, want: ok("a1 b1", "timeout ok"), // nothing was committed
			more: func(t *testing.T, _ *answer, _ realm.RequestRecord) { s.ups[0].Requests()[0].WaitCancelled(t) },
		})
	}
	w.run(t, trials)
}

// slowIdle is idle's time for streams that are slow.
const slowIdle = 400 * time.Millisecond

// D-04: slow is not silent. Bytes in drips and events far between, with comments
// in between that are relayed, go on below idle's time; above it they are cut.
func TestSlowStreamsAreNotSilent(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) { c.Relay.Timeouts.Idle = slowIdle }, slowStreamsAreNotSilent)
}

func slowStreamsAreNotSilent(t *testing.T, w *world) {
	t.Helper()
	short := testkit.Say("slow", " text")
	var trials []trial
	for _, f := range forms {
		trials = append(trials, trial{
			name: "drips, " + f.name, form: f, scene: w.scene(t, failing(testkit.All(short, drops(20, slowIdle/10))), good),
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) { tookLongerThan(t, a, slowIdle/2) },
		})
	}
	for _, f := range streams {
		trials = append(trials, trial{
			name: "comments, " + f.name, form: f, scene: w.scene(t, failing(testkit.All(short, testkit.Comments(), testkit.Pace(slowIdle/4))), good),
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				tookLongerThan(t, a, 2*slowIdle)
				if n := strings.Count(a.body, ": still here\n\n"); n < 6 && !w.converted { // a conversion has comments of its own
					t.Errorf("%d of the comments came through", n)
				}
			},
		})
		s := w.scene(t, failing(testkit.Pace(slowIdle*3/2)), good)
		trials = append(trials, trial{
			name: "too far between, " + f.name, form: f, scene: s,
			want: want{has: []string{""}, ended: realm.EndedTimeout, cause: realm.CauseTimeout},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				before, code := streamError(t, f, a.body)
				if w.beginning(t, f, s.sent(), before); text(t, f, before) != "Hello" || code != "timeout" {
					t.Errorf("%s after %q", code, before)
				}
			},
		})
	}
	w.run(t, trials)
}

// drops sends the body in n pieces, a pause between.
func drops(n int, pause time.Duration) testkit.Fault {
	return testkit.All(testkit.InOnePiece(), func(_ *testkit.Request, a *testkit.Answer) {
		a.Chunks, a.Gap = slices.Collect(slices.Chunk(a.Chunks[0], len(a.Chunks[0])/n)), pause
	})
}

func tookLongerThan(t *testing.T, a *answer, d time.Duration) {
	t.Helper()
	if a.took < d {
		t.Errorf("it took %s: not slow enough to prove anything", a.took)
	}
}

func framedBy(how testkit.Framing) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) { a.Framing = how }
}

// shorter declares a hundred bytes more than come.
func shorter(n int) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) {
		a.Chunks = a.Chunks[:n]
		a.Framing, a.End = testkit.FrameLength, testkit.EndFIN
		for _, c := range a.Chunks {
			a.Declared += int64(len(c))
		}
		a.Declared += 100
	}
}

// D-05: however a stream is cut after output began, it is told from one that is
// complete: no [DONE] is made up, the row says so, and nobody else is asked.
func TestCutStreamsAreNotComplete(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, cutStreamsAreNotComplete)
}

func cutStreamsAreNotComplete(t *testing.T, w *world) {
	t.Helper()
	cuts := []struct {
		name string
		of   func(n int) testkit.Fault
	}{
		{"FIN without the last chunk", func(n int) testkit.Fault { return testkit.Cut(n, testkit.EndFIN) }},
		{"a clean end", func(n int) testkit.Fault { return testkit.Cut(n, testkit.EndClean) }},
		{"a body that ends with its connection", func(n int) testkit.Fault {
			return testkit.All(testkit.Cut(n, testkit.EndClean), framedBy(testkit.FrameClose))
		}},
		{"a short length", shorter},
		{"half an event", func(n int) testkit.Fault {
			return testkit.All(testkit.Cut(n+1, testkit.EndFIN), func(_ *testkit.Request, a *testkit.Answer) {
				a.Chunks[n] = a.Chunks[n][:len(a.Chunks[n])-1]
			})
		}},
	}
	var trials []trial
	for _, cut := range cuts {
		for _, f := range streams {
			for _, n := range []int{5, 6} {
				want, more := cutAfter(f, n, realm.EndedUpstreamCut, realm.CauseUpstreamCut, "upstream_cut")
				s := w.scene(t, failing(cut.of(n)), good)
				trials = append(trials, trial{
					name: cut.name + ", " + f.name, form: f, scene: s, want: want,
					more: func(t *testing.T, a *answer, _ realm.RequestRecord) { more(t, s, a) },
				})
			}
		}
	}
	w.run(t, trials)
}

// D-05, S11: a chat stream that ends cleanly without [DONE] is complete if all its
// choices had their finish_reason, and gets one; otherwise it was cut.
func TestMissingDone(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, missingDone)
}

func missingDone(t *testing.T, w *world) {
	t.Helper()
	two := chatEvents
	two.body = strings.Replace(two.body, `"stream"`, `"n":2,"stream"`, 1)
	chat, resp := w.heard(chatEvents), w.heard(respEvents) // whose upstreams speak so
	end := "data: [DONE]\n\n"
	if w.converted {
		end = "event: response.completed\n"
	}
	ends := map[string]testkit.Fault{"clean": testkit.NoDone(), "by the connection": testkit.All(testkit.NoDone(), framedBy(testkit.FrameClose))}
	var trials []trial
	for name, cut := range ends {
		s := w.scene(t, failing(cut), good)
		trials = append(trials, trial{
			name: "all choices finished, " + name, form: chat, scene: s, want: want{has: []string{end}},
			more: func(t *testing.T, a *answer, rec realm.RequestRecord) {
				w.same(t, "body", chat, append(s.sent(), []byte("data: [DONE]\n\n")), a.body)
				w.whole(t, chat, a.body)
				if rec.Usage.Input != int64(testkit.DefaultTokens.Input) || rec.Usage.Output != int64(testkit.DefaultTokens.Output) {
					t.Errorf("usage: %+v", rec.Usage)
				}
				if a.took > time.Second {
					t.Errorf("it took %s", a.took)
				}
			},
		}, trial{
			name: "responses never completed, " + name, form: resp, scene: w.scene(t, failing(cut), good),
			want: want{has: []string{"upstream_cut"}, ended: realm.EndedUpstreamCut, cause: realm.CauseUpstreamCut},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) { streamError(t, resp, a.body) },
		})
		if w.converted { // which there is for one choice alone
			continue
		}
		trials = append(trials, trial{
			name: "one of two choices finished, " + name, form: two, scene: w.scene(t, failing(cut), good),
			want: want{has: []string{"upstream_cut"}, ended: realm.EndedUpstreamCut, cause: realm.CauseUpstreamCut, usage: realm.UsageUpstream},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) { streamError(t, two, a.body) },
		})
	}
	// The connection dies: nobody knows what else was to come.
	torn := testkit.All(testkit.NoDone(), func(_ *testkit.Request, a *testkit.Answer) { a.End = testkit.EndFIN })
	trials = append(trials, trial{
		name: "all choices finished, torn", form: chat, scene: w.scene(t, failing(torn), good),
		want: want{has: []string{"upstream_cut"}, ended: realm.EndedUpstreamCut, cause: realm.CauseUpstreamCut, usage: realm.UsageUpstream},
		more: func(t *testing.T, a *answer, _ realm.RequestRecord) { streamError(t, chat, a.body) },
	})
	w.run(t, trials)
}

// D-05: a whole answer that is cut was never begun: another is asked.
func TestCutWholeAnswersFailOver(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, cutWholeAnswersFailOver)
}

func cutWholeAnswersFailOver(t *testing.T, w *world) {
	t.Helper()
	cuts := map[string]testkit.Fault{
		"FIN": testkit.CutBytes(200, testkit.EndFIN), "RST": testkit.CutBytes(200, testkit.EndReset), "a short length": testkit.ShortBody(),
		"no last chunk": testkit.All(framedBy(testkit.FrameChunked), testkit.Cut(1, testkit.EndFIN)),
		"half of it":    testkit.All(framedBy(testkit.FrameClose), testkit.CutBytes(200, testkit.EndClean)),
	}
	var trials []trial
	for name, cut := range cuts {
		for _, f := range wholes {
			trials = append(trials, trial{name: name + ", " + f.name, form: f, scene: w.scene(t, failing(cut), good), want: ok("a1 b1", "bad_answer ok")})
			alone := unusable(f, "a1 a1", "bad_answer bad_answer")
			if name == "half of it" { // nobody can know that it was cut: it is broken JSON
				alone = unusable(f, "a1", "bad_answer")
			}
			trials = append(trials, trial{name: name + " anywhere, " + f.name, form: f, scene: w.scene(t, failing(cut)), want: alone})
		}
	}
	w.run(t, trials)
}
