package relay

import (
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// stall is how long a client of these tests may take nothing.
const stall = 400 * time.Millisecond

// pour answers with n times the same piece, which is there only once in memory.
func pour(contentType, piece string, n int, end testkit.End) testkit.Fault {
	chunks := make([][]byte, n)
	for i := range chunks {
		chunks[i] = []byte(piece)[:len(piece):len(piece)]
	}
	return func(_ *testkit.Request, a *testkit.Answer) {
		a.Chunks, a.Framing, a.End = chunks, testkit.FrameClose, end
		a.Header.Set("Content-Type", contentType)
	}
}

// words is an event of about n bytes of text, of a stream for the path.
func words(path string, n int) string {
	text := strings.Repeat("w", n)
	if path == "/v1/responses" {
		return "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":4,\"delta\":\"" + text + "\"}\n\n"
	}
	return "data: {\"id\":\"c\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"" + text + "\"},\"finish_reason\":null}]}\n\n"
}

// slowForm is one kind of answer to a client that does not read.
type slowForm struct {
	name, path, body string
	fault            testkit.Fault
}

var slowForms = []slowForm{
	{"chat stream", "/v1/chat/completions", `{"model":"slow","stream":true,"messages":[]}`, pour("text/event-stream", words("/v1/chat/completions", 4<<10), 8<<10, testkit.EndStall)},
	{"responses stream", "/v1/responses", `{"model":"slow","stream":true,"input":"hello"}`, pour("text/event-stream", words("/v1/responses", 4<<10), 8<<10, testkit.EndStall)},
	{"bytes", "/v1/audio/speech", `{"model":"slow","input":"hello","voice":"x"}`, pour("audio/mpeg", strings.Repeat("\x01", 16<<10), 4<<10, testkit.EndStall)},
}

// slow gives its fault to the requests for the model of slowForms.
func slow(f testkit.Fault) testkit.Script {
	return func(r *testkit.Request) testkit.Fault {
		if r.Model == "slow" {
			return f
		}
		return nil
	}
}

// crawl asks, reads some bytes one by one, and then nothing more.
func crawl(t *testing.T, app *testapp.App, f slowForm, id string) *wire {
	t.Helper()
	w := dialWire(t, app, smallWindow)
	w.send(rawRequest(app, http.MethodPost, f.path, f.body, "X-Request-Id: "+id))
	_ = w.SetReadDeadline(time.Now().Add(atMost))
	one := make([]byte, 1)
	for range 20 {
		if _, err := io.ReadFull(w.TCPConn, one); err != nil {
			t.Fatalf("read a byte: %v", err)
		}
	}
	return w
}

// othersAreServed asks for streams beside those of slow clients.
func othersAreServed(t *testing.T, app *testapp.App) {
	t.Helper()
	for range 20 {
		begun := time.Now()
		a := app.Post(t, "/v1/chat/completions", chatStream)
		if took := time.Since(begun); a.StatusCode != http.StatusOK || !strings.HasSuffix(a.Body, "data: [DONE]\n\n") || took > time.Second {
			t.Fatalf("beside slow clients, after %v: %d %v %s", took, a.StatusCode, a.Err, a.Body)
		}
	}
}

// heap is the bytes in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// E-03: however much an upstream has to say, little of it waits here for a client
// that does not read. (The fake upstream's own memory counts in the measure.)
func TestStalledReaderHoldsLittle(t *testing.T) {
	const each = 16
	for _, f := range slowForms {
		t.Run(f.name, func(t *testing.T) {
			app, up := one(t, slow(f.fault))
			_ = crawl(t, app, f, "first").Close() // what stays for good is there now
			up.WaitRequests(t, 1)[0].WaitCancelled(t)
			othersAreServed(t, app)
			before := heap()
			for range each {
				crawl(t, app, f, "next")
			}
			othersAreServed(t, app)
			held := (heap() - before) / each
			t.Logf("%d KiB a stream", held>>10)
			if held > 256<<10 {
				t.Errorf("a stalled stream holds %d KiB, 256 are the most", held>>10)
			}
		})
	}
}

// E-03: a client that stops reading is let go after the stall, its upstream with
// it, and costs the others nothing.
func TestStalledReaderIsCut(t *testing.T) {
	const each = 4
	for _, f := range slowForms {
		t.Run(f.name, func(t *testing.T) {
			app, up := oneWith(t, slow(f.fault), func(c *config.Config) { c.Relay.WriteStall = stall })
			ids := make([]string, each)
			begun := time.Now()
			for i := range ids {
				ids[i] = "slow-" + strconv.Itoa(i)
				crawl(t, app, f, ids[i])
			}
			requests := up.WaitRequests(t, each)[:each]
			opened := time.Now()
			othersAreServed(t, app)
			for _, r := range requests {
				at := r.WaitCancelled(t)
				if at.Sub(begun) < stall/2 || at.Sub(opened) > 2*stall+cancelTime {
					t.Errorf("cut %v after the first asked and %v after the last, the stall is %v", at.Sub(begun), at.Sub(opened), stall)
				}
			}
			for id, row := range rowsOf(t, app, ids...) {
				if got := endingOf(row); got != (ending{realm.EndedClientGone, realm.CauseClientGone, http.StatusOK, 1}) {
					t.Errorf("row of %s: %+v", id, got)
				}
			}
		})
	}
}

// E-03: over HTTP/2 the stalled stream alone is cut, not its connection.
func TestStalledHTTP2StreamIsCutAlone(t *testing.T) {
	f := slowForms[0]
	app, up := oneWith(t, slow(f.fault), func(c *config.Config) { c.Relay.WriteStall = stall })
	app.Client = http2Client(t)
	res, err := app.Client.Do(app.Request(t, http.MethodPost, f.path, f.body))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	r := up.WaitRequests(t, 1)[0]
	othersAreServed(t, app)
	if cut := r.WaitCancelled(t).Sub(r.At); cut < stall/2 || cut > 2*stall+cancelTime {
		t.Errorf("cut after %v, the stall is %v", cut, stall)
	}
	if _, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Error("the stalled stream seems whole")
	}
	othersAreServed(t, app)
	if got := endingOf(app.Record(t, res)); got != (ending{realm.EndedClientGone, realm.CauseClientGone, http.StatusOK, 1}) {
		t.Errorf("row: %+v", got)
	}
}

// E-03: slow is not stalled. A client that goes on reading gets all of its answer,
// however long that takes.
func TestSteadySlowReaderGetsAll(t *testing.T) {
	const patient = 3 * stall / 2
	text := strings.Repeat("0123456789abcdef", 24<<10)
	app, _ := oneWith(t, testkit.Always(testkit.Say(text, text)), func(c *config.Config) { c.Relay.WriteStall = patient })
	for _, tt := range []struct {
		name, path, body string
	}{
		{"chat", "/v1/chat/completions", chatBody},
		{"chat stream", "/v1/chat/completions", chatStream},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := dialWire(t, app, smallWindow)
			w.send(rawRequest(app, http.MethodPost, tt.path, tt.body, "X-Request-Id: "+tt.name))
			res := w.head(http.MethodPost)
			pace := time.NewTicker(8 * time.Millisecond)
			defer pace.Stop()
			begun := time.Now()
			got, err := io.ReadAll(&paced{res.Body, pace.C})
			if err != nil || strings.Count(string(got), text) < 1 {
				t.Errorf("after %v and %d bytes: %v", time.Since(begun), len(got), err)
			}
			if time.Since(begun) < patient {
				t.Errorf("all was there after %v: that proves nothing", time.Since(begun))
			}
			row := rowsOf(t, app, tt.name)[tt.name]
			if got := endingOf(row); got != (ending{realm.EndedCompleted, realm.CauseOK, http.StatusOK, 1}) {
				t.Errorf("row: %+v", got)
			}
		})
	}
}

// E-03: the stall is the client's. An upstream may be silent for longer between two
// pieces of its answer, and nobody is cut.
func TestQuietUpstreamIsNoStall(t *testing.T) {
	sound := strings.Repeat("\x01", 200<<10)
	quiet := func(r *testkit.Request) testkit.Fault {
		if r.Path == "/v1/audio/speech" {
			return testkit.All(pour("audio/mpeg", sound, 3, testkit.EndClean), testkit.Pace(3*stall/8))
		}
		return testkit.All(testkit.Say("one", "two"), testkit.Pace(3*stall/8))
	}
	app, _ := oneWith(t, quiet, func(c *config.Config) { c.Relay.WriteStall = stall / 4 })
	for proto, client := range map[string]*http.Client{"HTTP/1.1": app.Client, "HTTP/2.0": http2Client(t)} {
		for _, tt := range []struct{ name, path, body, end string }{
			{"stream", "/v1/chat/completions", chatStream, "data: [DONE]\n\n"},
			{"bytes", "/v1/audio/speech", `{"model":"tts","input":"hello","voice":"x"}`, sound + sound + sound},
		} {
			t.Run(tt.name+" over "+proto, func(t *testing.T) {
				t.Parallel()
				res, err := client.Do(app.Request(t, http.MethodPost, tt.path, tt.body))
				if err != nil {
					t.Fatal(err)
				}
				defer func() { _ = res.Body.Close() }()
				got, err := io.ReadAll(res.Body)
				if err != nil || res.Proto != proto || !strings.HasSuffix(string(got), tt.end) {
					t.Errorf("%s %d: %d bytes, %v", res.Proto, res.StatusCode, len(got), err)
				}
				if row := app.Record(t, res); row.Ended != realm.EndedCompleted {
					t.Errorf("row: %+v", endingOf(row))
				}
			})
		}
	}
}

// paced reads at most 8 KiB a tick.
type paced struct {
	io.Reader
	tick <-chan time.Time
}

func (p *paced) Read(b []byte) (int, error) {
	<-p.tick
	return p.Reader.Read(b[:min(len(b), 8<<10)])
}
