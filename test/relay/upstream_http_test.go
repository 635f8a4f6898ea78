package relay

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// D-02: an upstream that accepts and never answers is left after the limit to the
// header, give or take a tenth, and asked no more.
func TestSilenceBeforeTheHeaderFailsOver(t *testing.T) { // not parallel: it measures
	const limit = time.Second
	w := newWorld(t, func(c *config.Config) {
		c.Relay.Timeouts.FirstByte, c.Relay.Timeouts.FirstByteWhole = limit, limit
	})
	faults := []struct {
		name  string
		fault testkit.Fault
	}{
		{"nothing", testkit.Hang()},
		{"a header that never ends", dripRaw("HTTP/1.1 200 OK\r\nX-Slow: ", "s", 50*time.Millisecond)},
		{"interim answers only", dripRaw("", "HTTP/1.1 100 Continue\r\n\r\n", 250*time.Millisecond)},
	}
	timely := func(t *testing.T, took time.Duration) {
		most := limit * 11 / 10
		if raceEnabled { // its timers run late
			most = limit * 3 / 2
		}
		if took < limit*9/10 || took > most {
			t.Errorf("given up after %s, want %s and a tenth", took, limit)
		}
	}
	var trials []trial
	for _, fault := range faults {
		for _, f := range forms {
			trials = append(trials, trial{
				name: fault.name + ", " + f.name, scene: w.scene(t, failing(fault.fault), good), form: f, want: ok("a1 b1", "timeout ok"),
				more: func(t *testing.T, _ *answer, rec realm.RequestRecord) { timely(t, rec.Tries[0].Duration) },
			}, trial{
				name: fault.name + " anywhere, " + f.name, scene: w.scene(t, failing(fault.fault)), form: f, want: late(f, "a1", "timeout"),
				more: func(t *testing.T, _ *answer, rec realm.RequestRecord) { timely(t, rec.Duration) },
			})
		}
	}
	for i := range trials {
		more := trials[i].more
		trials[i].more = func(t *testing.T, a *answer, rec realm.RequestRecord) {
			more(t, a, rec)
			trials[i].scene.ups[0].Requests()[0].WaitDone(t) // or the exchange would still be there
		}
	}
	w.run(t, trials)
}

// dripRaw sends head and then more, for ever, a pause between.
func dripRaw(head, more string, pause time.Duration) testkit.Fault {
	return writing(func(w io.Writer) error {
		_, err := io.WriteString(w, head)
		tick := time.NewTicker(pause)
		defer tick.Stop()
		for err == nil {
			<-tick.C
			_, err = io.WriteString(w, more)
		}
		return err
	})
}

func writing(write func(io.Writer) error) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) { a.Raw = write }
}

// D-09: interim answers are nobody's business; a flood of them and a protocol
// that nobody asked for are no answer.
func TestInterimAnswers(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, interimAnswers)
}

func interimAnswers(t *testing.T, w *world) {
	t.Helper()
	faults := []struct {
		name  string
		fault testkit.Fault
		alone string // causes of the attempts where there is no other channel
	}{
		{"100 three times", testkit.Interim(http.StatusContinue, 3), ""},
		{"103 twenty times", testkit.Interim(http.StatusEarlyHints, 20), ""},
		{"103 for ever", testkit.InterimFlood(), "bad_answer bad_answer"},
		{"101", testkit.SwitchingProtocols(), "bad_answer"},
	}
	var trials []trial
	for _, fault := range faults {
		for _, f := range forms {
			want := want{}
			if fault.alone != "" {
				want = ok("a1 b1", "bad_answer ok")
			}
			trials = append(trials, trial{
				name: fault.name + ", " + f.name, scene: w.scene(t, failing(fault.fault), good), form: f, want: want,
				more: func(t *testing.T, a *answer, _ realm.RequestRecord) {
					if a.took > time.Second {
						t.Errorf("it took %s", a.took)
					}
				},
			})
			if fault.alone != "" {
				trials = append(trials, trial{
					name: fault.name + " anywhere, " + f.name, scene: w.scene(t, failing(fault.fault)), form: f,
					want: unusable(f, again("a1", fault.alone), fault.alone),
				})
			}
		}
	}
	w.run(t, trials)
}

// tooMuchHeader are headers that no upstream needs (D-10).
var tooMuchHeader = []struct {
	name  string
	fault testkit.Fault
}{
	{"20 MiB in one line", writing(func(w io.Writer) error {
		_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nX-Padding: ")
		block := bytes.Repeat([]byte("p"), 16<<10)
		for sent := 0; err == nil && sent < 20*mib; sent += len(block) {
			_, err = w.Write(block)
		}
		return err
	})},
	{"10,000 lines", testkit.Flood("HTTP/1.1 200 OK\r\n"+strings.Repeat("X-Line: v\r\n", 10_000), "\r\n")},
	{"lines for ever", testkit.HeaderFlood()},
	{"a carriage return in a value", testkit.HeaderCR()},
}

// D-10: headers without measure are cut, and cost no memory.
func TestHeadersWithoutMeasureAreCut(t *testing.T) {
	w := newWorld(t, nil)
	var trials []trial
	for _, fault := range tooMuchHeader {
		for _, f := range forms {
			trials = append(trials, trial{
				name: fault.name + ", " + f.name, scene: w.scene(t, failing(fault.fault), good), form: f,
				want: ok("a1 b1", "bad_answer ok"),
			})
		}
	}
	// The trailer follows after the answer. In a stream all has been said by then.
	trailer := testkit.TrailerFlood(mib)
	for _, f := range streams {
		trials = append(trials, trial{name: "1 MiB of trailers, " + f.name, scene: w.scene(t, failing(trailer), good), form: f})
	}
	for _, f := range wholes {
		trials = append(trials, trial{
			name: "1 MiB of trailers, " + f.name, scene: w.scene(t, failing(trailer), good), form: f, want: ok("a1 b1", "bad_answer ok"),
		})
	}
	w.run(t, trials)
	for _, fault := range tooMuchHeader {
		s := w.scene(t, failing(fault.fault))
		grewAtMost(t, fault.name, peakMemory(t, func() { s.ask(t, chatWhole) }), 2)
	}
}

// D-11: a redirect is no answer and is never followed: nothing comes to where it
// points, least of all the key.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, redirectsAreNotFollowed)
}

func redirectsAreNotFollowed(t *testing.T, w *world) {
	t.Helper()
	trap := testkit.NewUpstream(t, testkit.Options{})
	_, port, err := net.SplitHostPort(strings.TrimPrefix(trap.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	var trials []trial
	for _, status := range []int{301, 302, 303, 307, 308, 300, 304} {
		for where, location := range map[string]string{
			"metadata": "http://169.254.169.254/latest/meta-data/", "loopback": trap.BaseURL + "/chat/completions",
			"file": "file:///etc/passwd", "host": "http://localhost:" + port + "/", "no scheme": "//localhost:" + port + "/",
		} {
			f := forms[len(trials)%len(forms)]
			trials = append(trials, trial{
				name:  fmt.Sprintf("%d to %s, %s", status, where, f.name),
				scene: w.scene(t, failing(testkit.Redirect(status, location)), good), form: f, want: ok("a1 b1", "bad_answer ok"),
			}, trial{
				name:  fmt.Sprintf("%d to %s anywhere, %s", status, where, f.name),
				scene: w.scene(t, failing(testkit.Redirect(status, location))), form: f, want: unusable(f, "a1", "bad_answer"),
			})
		}
	}
	w.run(t, trials)
	if n := trap.Connections(); n != 0 {
		t.Errorf("%d connections came to where the redirects point", n)
	}
}

// D-16: what is no HTTP answer is not passed on, and its connection not used again.
func TestBrokenHTTP(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, brokenHTTP)
}

func brokenHTTP(t *testing.T, w *world) {
	t.Helper()
	faults := []struct {
		name  string
		fault testkit.Fault
		alone string // causes of the attempts where there is no other channel; "": the answer is good
	}{
		{"status 999", testkit.StrangeStatus(999), "bad_answer"},
		{"status 299", testkit.StrangeStatus(299), "bad_answer"},
		{"204 with a body", testkit.NoContentWithBody(), "bad_answer"},
		{"more than the length says", testkit.ExtraBytes(), ""},
		{"two lengths", testkit.TwoLengths(), "bad_answer bad_answer"},
		{"HTTP/0.9", testkit.HTTP09(), "bad_answer bad_answer"},
	}
	var trials []trial
	for _, fault := range faults {
		for _, f := range forms {
			name := fault.name + ", " + f.name
			if fault.alone == "" {
				trials = append(trials, trial{name: name, scene: w.scene(t, failing(fault.fault)), form: f})
				continue
			}
			trials = append(trials,
				trial{name: name, scene: w.scene(t, failing(fault.fault), good), form: f, want: ok("a1 b1", "bad_answer ok")},
				trial{name: name + " anywhere", scene: w.scene(t, failing(fault.fault)), form: f, want: unusable(f, again("a1", fault.alone), fault.alone)})
		}
	}
	for i := range trials {
		trials[i].more = func(t *testing.T, _ *answer, _ realm.RequestRecord) {
			s, f := trials[i].scene, trials[i].form
			if strings.HasPrefix(trials[i].name, "status") {
				return // well-formed: the connection is good
			}
			s.ask(t, f)
			up := s.ups[0]
			if last := up.Requests()[up.Count()-1]; last.Reused {
				t.Error("the next request came on the same connection")
			}
		}
	}
	w.run(t, trials)
}
