package relay

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// D-07: an event of 4 MiB is legitimate and comes through as it is.
func TestGiantEventsComeThrough(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, giantEventsComeThrough)
}

func giantEventsComeThrough(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, f := range streams {
		for _, size := range []int{64<<10 - 300, 64 << 10, 256 << 10, 4 * mib} {
			trials = append(trials, trial{name: f.name, form: f, scene: w.scene(t, failing(testkit.GiantEvent(size)))})
		}
	}
	w.run(t, trials)
}

// endless is a stream whose nth event begins so and never ends; limit bounds what
// the fake sends before it gives up. It is written by hand to cost no memory here.
func endless(n int, begin string, limit int) testkit.Fault {
	const size = 64 << 10
	block := framedChunk(bytes.Repeat([]byte("a"), size))
	return func(_ *testkit.Request, a *testkit.Answer) {
		first := append(slices.Clone(a.Chunks[:n]), []byte(begin))
		a.Raw = func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for _, c := range first {
				_, _ = w.Write(framedChunk(c))
			}
			for sent := 0; err == nil && sent < limit; sent += size {
				_, err = w.Write(block)
			}
			return err
		}
	}
}

func framedChunk(b []byte) []byte { return fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b) }

const (
	chatHead = `data: {"choices":[{"index":0,"delta":{"content":"`
	respHead = "event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","sequence_number":9,"delta":"`
)

// D-07: a line of 64 MiB is cut. Before output began another upstream is asked;
// after it, or once the client has a piece of it, the stream ends with its error.
func TestEndlessEventsAreCut(t *testing.T) {
	w := newWorld(t, nil)
	const line = 64 * mib
	cut := want{has: []string{"upstream_cut"}, ended: realm.EndedUpstreamCut, cause: realm.CauseUpstreamCut}
	tests := []struct {
		name, head string
		form       form
		after      int
		want       want
	}{
		{"chat, in its first output", chatHead, chatEvents, 1, cut},
		{"chat, later", chatHead, chatEvents, 3, cut},
		{"chat, what may be the usage", `data: {"usage":{"x":"`, chatEvents, 3, cut},
		{"chat, what may be the usage, before output", `data: {"usage":{"x":"`, chatEvents, 1, ok("a1 b1", "bad_answer ok")},
		{"responses, in its first output", respHead, respEvents, 2, cut},
		{"responses, later", respHead, respEvents, 6, cut},
		{"responses, what may be the end, before output", "data: {\"a\":\"", respEvents, 2, ok("a1 b1", "bad_answer ok")},
	}
	var trials []trial
	for _, tt := range tests {
		trials = append(trials, trial{
			name: tt.name, form: tt.form, scene: w.scene(t, failing(endless(tt.after, tt.head, line)), good), want: tt.want,
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				if tt.want.cause == realm.CauseUpstreamCut {
					_, code := streamError(t, tt.form, a.body)
					if code != "upstream_cut" {
						t.Errorf("code %q", code)
					}
				}
			},
		})
	}
	w.run(t, trials)
	for _, tt := range tests {
		s := w.scene(t, failing(endless(tt.after, tt.head, line)))
		grewAtMost(t, tt.name, peakMemory(t, func() { w.discard(t, s.request(t, tt.form)) }), 48)
	}
}

// discard reads an answer without keeping it.
func (w *world) discard(t *testing.T, req *http.Request) {
	t.Helper()
	res, err := w.Client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, _ = io.Copy(io.Discard, res.Body) // cut short by intent
}

// D-08: gzip is undone although nobody asked for it; any other encoding, or what
// is none, is no answer.
func TestContentEncodings(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, contentEncodings)
}

func contentEncodings(t *testing.T, w *world) {
	t.Helper()
	var trials []trial
	for _, f := range forms {
		s := w.scene(t, failing(testkit.Gzip()), good)
		trials = append(trials, trial{
			name: "gzip, " + f.name, form: f, scene: s, want: want{has: []string{""}},
			more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
				w.same(t, "body", f, testkit.Compose(s.requests()[0], testkit.Reply{}).Chunks, a.body)
				if e := a.Header.Get("Content-Encoding"); e != "" {
					t.Errorf("Content-Encoding %q", e)
				}
			},
		})
		for name, fault := range map[string]testkit.Fault{
			"br": testkit.Encoded("br"), "zstd": testkit.Encoded("zstd"), "deflate": testkit.Encoded("deflate"),
			"no gzip at all": testkit.Encoded("gzip"), "gzip twice": testkit.All(testkit.Gzip(), testkit.Encoded("gzip, gzip")),
		} {
			trials = append(trials,
				trial{name: name + ", " + f.name, form: f, scene: w.scene(t, failing(fault), good), want: ok("a1 b1", "bad_answer ok")},
				trial{name: name + " anywhere, " + f.name, form: f, scene: w.scene(t, failing(fault)), want: unusable(f, "a1", "bad_answer")})
		}
	}
	w.run(t, trials)
}

// D-08: 260 KB that inflate to 256 MiB take no memory and come to an end. In a
// stream they are one event, which may take limits.event_bytes, and a third of that
// while its buffer grows.
func TestGzipBombs(t *testing.T) {
	w := newWorld(t, nil)
	size := int64(256 * mib)
	if raceEnabled {
		size = 80 * mib // still more than is inflated
	}
	bomb := testkit.GzipBomb(size)
	for _, f := range forms {
		s := w.scene(t, failing(bomb))
		limit := int64(16)
		if f.stream {
			limit = int64(w.Config.Limits.EventBytes) * 3 / 2 / mib
		}
		grewAtMost(t, f.name, peakMemory(t, func() { w.discard(t, s.request(t, f)) }), limit)
	}
	// A stream of blank lines has no event that could commit it.
	w.run(t, []trial{{
		name: "stream", form: chatEvents, scene: w.scene(t, failing(bomb), good), want: ok("a1 b1", "bad_answer ok"),
	}})
	a := w.scene(t, failing(bomb), good).ask(t, chatWhole)
	if a.err == nil || len(a.body) > 64*mib {
		t.Errorf("%d bytes and %v: a bomb is no whole answer", len(a.body), a.err)
	}
	if rec := w.Record(t, a.Response); rec.Ended != realm.EndedUpstreamCut || rec.Attempts != 1 {
		t.Errorf("row: %+v", rec)
	}
}

// padded is a good whole answer with n bytes of text.
func padded(n int) testkit.Fault { return testkit.Say(strings.Repeat("x", n)) }

// A whole answer is held up to 1 MiB, and fails over; a larger one is passed on as
// it comes, its usage read from its end.
func TestLargeWholeAnswers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for _, f := range wholes {
		for _, size := range []int{mib - 4096, mib, 3 * mib} {
			for name, framing := range map[string]testkit.Framing{"length": testkit.FrameLength, "chunked": testkit.FrameChunked} {
				trials = append(trials, trial{
					name: f.name + ", " + name, form: f, scene: w.scene(t, failing(testkit.All(padded(size), framedBy(framing))), good),
					more: func(t *testing.T, _ *answer, rec realm.RequestRecord) {
						if rec.Usage.Input != int64(testkit.DefaultTokens.Input) || rec.Usage.Output != int64(testkit.DefaultTokens.Output) {
							t.Errorf("usage: %+v", rec.Usage)
						}
					},
				})
			}
		}
		trials = append(trials, trial{
			name: f.name + ", cut below 1 MiB", form: f, want: ok("a1 b1", "bad_answer ok"),
			scene: w.scene(t, failing(testkit.All(padded(3*mib), testkit.CutBytes(mib-1, testkit.EndFIN))), good),
		})
	}
	w.run(t, trials)
	for _, f := range wholes {
		s := w.scene(t, failing(testkit.All(padded(3*mib), testkit.CutBytes(2*mib, testkit.EndFIN))), good)
		a := s.ask(t, f)
		if a.err == nil || a.StatusCode != http.StatusOK || !strings.HasPrefix(string(s.sent()[0]), a.body) || s.asked() != "a1" {
			t.Errorf("%s: %v, %d bytes; asked: %s", f.name, a.err, len(a.body), s.asked())
		}
		rec := w.Record(t, a.Response)
		if rec.Ended != realm.EndedUpstreamCut || rec.Cause != realm.CauseUpstreamCut || rec.Attempts != 1 || rec.Usage.Source != realm.UsageNone {
			t.Errorf("%s: row %+v", f.name, rec)
		}
	}
}
