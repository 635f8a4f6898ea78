package relay

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// fault16 is one of the sixteen faults of a public scorecard for gateways: how the
// upstreams of a scene are at fault, and what must come of a request.
type fault16 struct {
	name  string
	forms []form
	legs  func(f form) []leg
	want  func(f form) want
	more  func(t *testing.T, s *scene, f form, a *answer, rec realm.RequestRecord)
}

// The limits of time that the faults are shown against.
const (
	scoreFirstByte = 400 * time.Millisecond // to a stream's header, and to a whole answer
	scoreFirst     = 600 * time.Millisecond // to its first event
	scoreIdle      = 800 * time.Millisecond
)

// timed gives a channel those limits; a model of it may have its own.
func timed(l leg) leg {
	l.edit = func(ch *catalog.ChannelSpec) {
		ch.Settings.Timeouts = realm.Timeouts{FirstByte: new(scoreFirstByte), Idle: new(scoreIdle)}
		ch.Bindings[0].Timeouts = realm.Timeouts{FirstEvent: new(scoreFirst)}
	}
	return l
}

func legsOf(legs ...leg) func(form) []leg { return func(form) []leg { return legs } }

func always(w want) func(form) want { return func(form) want { return w } }

// took wants an answer after so long, and not much later.
func took(least time.Duration) func(*testing.T, *scene, form, *answer, realm.RequestRecord) {
	return func(t *testing.T, _ *scene, _ form, a *answer, _ realm.RequestRecord) {
		if a.took < least || a.took > least+2*time.Second {
			t.Errorf("it took %s, want %s and little more", a.took, least)
		}
	}
}

// brokenOff wants what the last upstream said, then the stream's own error.
func brokenOff(code string) func(*testing.T, *scene, form, *answer, realm.RequestRecord) {
	return func(t *testing.T, s *scene, f form, a *answer, _ realm.RequestRecord) {
		before, got := streamError(t, f, a.body)
		if s.w.same(t, "before the error", f, s.sent(), before); got != code {
			t.Errorf("code %q, want %q", got, code)
		}
	}
}

var (
	contextLength = testkit.Error(400, "invalid_request_error", "context_length_exceeded", "Your input exceeds the context window of this model.")
	filtered      = testkit.Error(400, "invalid_request_error", "content_filter", "The prompt was filtered: violence (high).")
	noPrefill     = testkit.Error(400, "invalid_request_error", "prefill_not_supported", "The last message must not be the assistant's.")
	limitedFor    = testkit.RateLimited
)

// scoreFailover are the faults that another upstream, or the same later, makes good.
var scoreFailover = []fault16{
	{
		"S01 429 with Retry-After 2", forms, legsOf(leg{script: testkit.Sequence(limitedFor("2"))}),
		always(ok("a1 a1", "rate_limited ok")), took(2 * time.Second),
	},
	{
		"S02 429 forever, another channel", forms, legsOf(failing(limitedFor("")), good),
		always(ok("a1 b1", "rate_limited ok")), took(0),
	},
	{
		"S02 429 forever, everywhere", forms, func(form) []leg {
			var legs []leg
			for range 8 {
				legs = append(legs, failing(limitedFor("30")))
			}
			return legs
		},
		always(tooMany("a1 b1 c1 d1 e1 f1", strings.TrimSpace(strings.Repeat("rate_limited ", 6)), "30")), took(0),
	},
	{
		"S03 500 once", forms, legsOf(leg{script: testkit.Sequence(testkit.ServerError())}),
		always(ok("a1 a1", "server_error ok")), took(0),
	},
	{
		"S04 503 forever, another channel", forms, legsOf(failing(testkit.Error(503, "server_error", "", "Overloaded.")), good),
		always(ok("a1 b1", "server_error ok")), took(0),
	},
	{
		"S04 503 forever, everywhere", forms, legsOf(failing(testkit.Page(503)), failing(testkit.Page(503))),
		always(overloaded("a1 b1 a1", "server_error server_error server_error")), took(0),
	},
	{
		"S05 reset before the header, another channel", forms, legsOf(failing(testkit.Reset()), good),
		always(ok("a1 b1", "connect ok")), took(0),
	},
	{
		"S05 reset before the header, once", forms, legsOf(leg{script: testkit.Sequence(testkit.Reset())}),
		always(ok("a1 a1", "connect ok")), took(0),
	},
	{
		"S06 accepts, never answers", forms, legsOf(timed(failing(testkit.Hang())), good),
		always(ok("a1 b1", "timeout ok")), took(scoreFirstByte),
	},
	{
		"S07 the first token after long, and a limit", streams, legsOf(timed(failing(testkit.SlowFirst(10*time.Second))), good),
		always(ok("a1 b1", "timeout ok")), took(scoreFirst),
	},
	{
		"S07 the first token after long, and no limit", streams, legsOf(failing(testkit.SlowFirst(1500*time.Millisecond)), good),
		always(want{}), took(1500 * time.Millisecond),
	},
	{
		"S07 a whole answer after long", wholes, legsOf(failing(testkit.Slow(1500*time.Millisecond)), good),
		always(want{}), took(1500 * time.Millisecond),
	},
	{
		"S08 a whole answer cut", wholes, legsOf(failing(testkit.CutBytes(120, testkit.EndReset)), good),
		always(ok("a1 b1", "bad_answer ok")), took(0),
	},
	{
		"S09 a whole answer stalls", wholes, legsOf(timed(failing(testkit.CutBytes(120, testkit.EndStall))), good),
		always(ok("a1 b1", "timeout ok")), took(scoreIdle),
	},
	{
		"S10 malformed at first", streams, legsOf(failing(testkit.Malformed(1)), good),
		always(ok("a1 b1", "bad_answer ok")), took(0),
	},
	{
		"S10 a malformed whole answer", wholes, legsOf(failing(testkit.BrokenJSON()), good),
		always(ok("a1 b1", "bad_answer ok")), took(0),
	},
}

// midway is after output began: eight of forty words.
const midway = 12

// ended16 is the row of a stream that its upstream did not finish.
func ended16(ended realm.Ended, cause realm.Cause) func(form) want {
	return always(want{has: []string{""}, ended: ended, cause: cause})
}

// scoreStreams are the faults of streams that have begun.
var scoreStreams = []fault16{
	{
		"S08 cut at 40 of 60", streams, legsOf(failing(testkit.All(testkit.Deltas(60), testkit.Cut(40, testkit.EndFIN))), good),
		ended16(realm.EndedUpstreamCut, realm.CauseUpstreamCut), brokenOff("upstream_cut"),
	},
	{
		"S09 stalls in the middle", streams, legsOf(timed(failing(testkit.All(testkit.Deltas(40), testkit.StallAfter(midway)))), good),
		ended16(realm.EndedTimeout, realm.CauseTimeout), func(t *testing.T, s *scene, f form, a *answer, rec realm.RequestRecord) {
			brokenOff("timeout")(t, s, f, a, rec)
			took(scoreIdle)(t, s, f, a, rec)
			s.ups[0].SetScript(s.noting(nil))
			next := s.ask(t, f)
			if s.w.same(t, "the next answer", f, s.sent(), next.body); next.err != nil || s.asked() != "a1 a1" {
				t.Errorf("the next request: %v, asked %q: %.300s", next.err, s.asked(), next.body)
			}
		},
	},
	{
		"S11 no [DONE]",
		[]form{chatEvents},
		legsOf(failing(testkit.NoDone()), good),
		always(want{has: []string{""}}), func(t *testing.T, s *scene, f form, a *answer, rec realm.RequestRecord) {
			took(0)(t, s, f, a, rec)
			s.w.same(t, "the stream", f, append(s.sent(), []byte("data: [DONE]\n\n")), a.body)
			s.w.whole(t, f, a.body)
			if rec.Usage != usageOf(testkit.DefaultTokens) {
				t.Errorf("usage %+v", rec.Usage)
			}
		},
	},
	{
		"S11 the connection stays open after the end", streams,
		legsOf(failing(func(_ *testkit.Request, a *testkit.Answer) { a.End = testkit.EndStall }), good),
		always(want{}), func(t *testing.T, s *scene, f form, a *answer, rec realm.RequestRecord) {
			took(0)(t, s, f, a, rec)
			if rec.Usage != usageOf(testkit.DefaultTokens) {
				t.Errorf("usage %+v", rec.Usage)
			}
		},
	},
	{
		"S14 cut, and the other would refuse the beginning", streams,
		legsOf(failing(testkit.All(testkit.Deltas(40), testkit.Cut(midway, testkit.EndReset), testkit.Pace(time.Millisecond))), failing(noPrefill)),
		ended16(realm.EndedUpstreamCut, realm.CauseUpstreamCut), func(t *testing.T, s *scene, f form, a *answer, _ realm.RequestRecord) {
			before, code := streamError(t, f, a.body)
			if s.w.beginning(t, f, s.sent(), before); !strings.Contains(before, "word0") || code != "upstream_cut" {
				t.Errorf("code %q after %q", code, before)
			}
		},
	},
}

// clientOwn wants the upstream's own words, byte for byte.
func clientOwn(code string, fault testkit.Fault) func(form) want {
	a := &testkit.Answer{}
	fault(nil, a)
	return always(want{
		status: 400, kind: "invalid_request_error", code: code, cause: realm.CauseClientError, body: string(a.Chunks[0]),
	})
}

// scoreAnswers are the faults that only the client can mend, and what it costs when
// another upstream served.
var scoreAnswers = []fault16{
	{"S12 400 context length", forms, legsOf(failing(contextLength), good), clientOwn("context_length_exceeded", contextLength), took(0)},
	{"S13 400 content filter", forms, legsOf(failing(filtered), good), clientOwn("content_filter", filtered), took(0)},
	{
		"S16 what a fail-over costs", forms, func(form) []leg {
			other := testkit.With(testkit.Reply{Model: "the-other-2026", Tokens: testkit.Tokens{Input: 1234, Cached: 200, Output: 56, Reasoning: 7}})
			return []leg{{script: testkit.Always(testkit.ServerError()), as: "the-first"}, {script: testkit.Always(other), as: "the-other"}}
		},
		always(ok("a1 b1", "server_error ok")), costs,
	},
}

// costs wants the tokens, the model and the channel of the upstream that served, once.
func costs(t *testing.T, s *scene, _ form, a *answer, rec realm.RequestRecord) {
	served := s.w.Catalog.Snapshot().Channel(s.names[1])
	if rec.Usage != usageOf(testkit.Tokens{Input: 1234, Cached: 200, Output: 56, Reasoning: 7}) || rec.UpstreamModel != "the-other" ||
		rec.Channel != served.ID || rec.Credential != served.Endpoints[0].Credentials[0].ID {
		t.Errorf("row: %+v", rec)
	}
	if !strings.Contains(a.body, `"model":"the-other-2026"`) || strings.Contains(a.body, "the-first") {
		t.Errorf("the answer does not say which model served: %.500s", a.body)
	}
	if rec.Tries[0].Model != "the-first" || rec.Tries[1].Model != "the-other" {
		t.Errorf("attempts: %+v", rec.Tries)
	}
	rows := 0
	for _, r := range s.w.rows(t) {
		if r.Model == s.model {
			rows++
		}
	}
	if rows != 1 {
		t.Errorf("%d rows for one request", rows)
	}
}

// The sixteen faults of the scorecard, all but S15, on both APIs, streamed and not.
func TestScorecard(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, scorecard)
}

func scorecard(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, list := range [][]fault16{scoreFailover, scoreStreams, scoreAnswers} {
		for _, s := range list {
			trials = append(trials, s.trials(t, w)...)
		}
	}
	w.run(t, trials)
	w.settles(t)
}

func (s *fault16) trials(t *testing.T, w *world) []trial {
	t.Helper()
	var list []trial
	for _, f := range s.forms {
		f = w.heard(f) // the forms are the upstreams'
		scene := w.scene(t, s.legs(f)...)
		list = append(list, trial{
			name: s.name + ", " + f.name, form: f, scene: scene, want: s.want(f),
			more: func(t *testing.T, a *answer, rec realm.RequestRecord) { s.more(t, scene, f, a, rec) },
		})
	}
	return list
}

// S10: what is malformed in the middle of a stream is left out or ends it with an
// error, and never looks like a whole answer that lacks nothing.
func TestScorecardMalformedInTheMiddle(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, malformedInTheMiddle)
}

func malformedInTheMiddle(t *testing.T, w *world) {
	t.Helper()
	for _, f := range streams {
		t.Run(f.name, func(t *testing.T) {
			s := w.scene(t, failing(testkit.All(testkit.Deltas(40), testkit.Malformed(midway))), good)
			a := s.ask(t, f)
			for _, e := range events(a.body) {
				if e.data != "[DONE]" && !json.Valid([]byte(e.data)) {
					t.Errorf("a broken event came through: %q", e.data)
				}
			}
			before, code := streamError(t, f, a.body)
			if w.beginning(t, f, s.sent()[:midway], before); !strings.Contains(before, "word0") || code == "" || s.asked() != "a1" {
				t.Errorf("asked %q; code %q after %q", s.asked(), code, before)
			}
		})
	}
}
