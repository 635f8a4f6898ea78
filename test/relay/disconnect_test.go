package relay

import (
	"context"
	"io"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// cancelTime is how soon an upstream must know that nobody waits any more.
const cancelTime = 250 * time.Millisecond

// moment is how far an answer has come when its client leaves.
type moment struct {
	name, path, body string
	fault            testkit.Fault
	await            string // what the client has read by then; empty: nothing
	status           int    // that went out
	told             bool   // the upstream had told the usage by then
}

// beforeEnd sends all but the terminal event, and then nothing.
var beforeEnd = testkit.All(testkit.NoDone(), func(_ *testkit.Request, a *testkit.Answer) { a.End = testkit.EndStall })

const usageStream = `{"model":"gpt-5.5","stream":true,"stream_options":{"include_usage":true},"messages":[]}`

var moments = []moment{
	{"whole, before the header", "/v1/chat/completions", chatBody, testkit.Hang(), "", 0, false},
	{"whole, amid its body", "/v1/responses", responsesBody, testkit.CutBytes(40, testkit.EndStall), "", 0, false},
	{"stream, before the header", "/v1/chat/completions", chatStream, testkit.Hang(), "", 0, false},
	{"stream, before an event", "/v1/responses", responsesStream, testkit.StallAfter(0), "", 0, false},
	{"stream, while events are held", "/v1/responses", responsesStream, testkit.StallAfter(2), "", 0, false},
	{"chat stream, after its first word", "/v1/chat/completions", chatStream, testkit.StallAfter(2), "Hello", http.StatusOK, false},
	{"chat stream, before its end", "/v1/chat/completions", usageStream, beforeEnd, `"usage":{`, http.StatusOK, true},
	{"responses stream, after its first word", "/v1/responses", responsesStream, testkit.StallAfter(5), `"delta":"Hello"`, http.StatusOK, false},
	{"responses stream, before its end", "/v1/responses", responsesStream, beforeEnd, "event: response.output_item.done", http.StatusOK, false},
}

// caller asks, waits for the moment, and gives the way to leave.
type caller func(t *testing.T, app *testapp.App, m moment, id string) (leave func())

func callWire(leave func(*wire)) caller {
	return func(t *testing.T, app *testapp.App, m moment, id string) func() {
		w := dialWire(t, app)
		w.send(rawRequest(app, http.MethodPost, m.path, m.body, "X-Request-Id: "+id))
		if m.await != "" {
			until(t, w.head(http.MethodPost).Body, m.await)
		}
		return func() { leave(w) }
	}
}

// callH2 leaves by resetting its stream; the connection stays.
func callH2(client *http.Client) caller {
	return func(t *testing.T, app *testapp.App, m moment, id string) func() {
		ctx, cancel := context.WithCancel(t.Context())
		req := app.Request(t, http.MethodPost, m.path, m.body, "X-Request-Id", id).WithContext(ctx)
		begun, left := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(left)
			res, err := client.Do(req)
			if err == nil {
				defer func() { _ = res.Body.Close() }()
				if m.await != "" {
					until(t, res.Body, m.await)
				}
				close(begun)
				_, _ = io.Copy(io.Discard, res.Body)
			}
		}()
		if m.await != "" {
			<-begun
		}
		return func() { cancel(); <-left }
	}
}

// E-01: whenever and however a client leaves, the upstream hears of it at once,
// nobody else is asked, nobody is blamed, and the row says whose doing it was.
func TestDisconnectCancelsTheUpstreamAndBlamesNobody(t *testing.T) {
	const times = 12
	main, spare := testkit.NewUpstream(t, testkit.Options{}), testkit.NewUpstream(t, testkit.Options{})
	first := testapp.Channel("main", main.BaseURL, "key-a")
	first.Priority = 10
	app := testapp.Start(t, testapp.Options{Channels: []catalog.ChannelSpec{first, testapp.Channel("spare", spare.BaseURL, "key-b")}})
	h2 := http2Client(t)
	before := runtime.NumGoroutine()
	var late []time.Duration
	want := map[string]moment{}
	for how, call := range map[string]caller{
		"fin": callWire(func(w *wire) { _ = w.Close() }), "rst": callWire((*wire).reset), "h2": callH2(h2),
	} {
		for i, m := range moments {
			main.SetScript(testkit.Always(m.fault))
			for n := range times {
				id := how + "-" + strconv.Itoa(i) + "-" + strconv.Itoa(n)
				want[id] = m
				seen := main.Count()
				leave := call(t, app, m, id)
				r := main.WaitRequests(t, seen+1)[seen]
				left := time.Now()
				leave()
				if d := r.WaitCancelled(t).Sub(left); d > cancelTime {
					late = append(late, d)
				}
			}
		}
	}
	if most := len(want) / 100; len(late) > most {
		t.Errorf("%d of %d upstreams heard of it later than %v, %d may on a busy machine: %v", len(late), len(want), cancelTime, most, late)
	}
	rows := rowsOf(t, app, slices.Collect(maps.Keys(want))...)
	for id, m := range want {
		row := rows[id]
		if got := endingOf(row); got != (ending{realm.EndedClientGone, realm.CauseClientGone, m.status, 1}) {
			t.Errorf("row of %s (%s): %+v", id, m.name, got)
		}
		usage := realm.Usage{Input: -1, Output: -1, Source: realm.UsageNone}
		if m.told {
			usage = realm.Usage{Input: 11, Cached: 2, Output: 7, Reasoning: 3, Source: realm.UsageUpstream}
		}
		if row.Usage != usage {
			t.Errorf("row of %s (%s): usage %+v, want %+v", id, m.name, row.Usage, usage)
		}
	}
	if main.Count() != len(want) || spare.Count() != 0 {
		t.Errorf("%d requests for %d clients, %d of them to another upstream", main.Count(), len(want), spare.Count())
	}
	main.SetScript(nil)
	if a := app.Post(t, "/v1/chat/completions", chatBody); a.StatusCode != http.StatusOK || spare.Count() != 0 {
		t.Errorf("the next request: %d %s, the upstream that was left seems blamed", a.StatusCode, a.Body)
	}
	h2.CloseIdleConnections()
	app.Client.CloseIdleConnections()
	testkit.Poll(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before+10 })
}

// E-01: that a client leaves is seen on the connection only once its body was read
// to the last byte, however it is encoded.
func TestDisconnectIsSeenBehindEveryEncodingOfTheBody(t *testing.T) {
	app, up := one(t, testkit.Always(testkit.Hang()))
	for _, encoding := range []string{"identity", "gzip", "zstd", "br"} {
		for _, framing := range []string{"length", "chunks"} {
			t.Run(encoding+" in "+framing, func(t *testing.T) {
				seen := up.Count()
				w := dialWire(t, app)
				body := string(encoded(t, encoding, chatBody))
				if framing == "chunks" {
					w.send(rawRequest(app, http.MethodPost, "/v1/chat/completions", chunked(body, 7),
						"Transfer-Encoding: chunked", "Content-Type: application/json", "Content-Encoding: "+encoding))
				} else {
					w.send(rawRequest(app, http.MethodPost, "/v1/chat/completions", body, "Content-Encoding: "+encoding))
				}
				r := up.WaitRequests(t, seen+1)[seen]
				_ = w.Close()
				r.WaitCancelled(t)
				if string(r.Body) != chatBody {
					t.Errorf("the upstream got %q", r.Body)
				}
			})
		}
	}
}

// E-01: nor does a body that nobody wants hide it.
func TestDisconnectIsSeenBehindAnUnwantedBody(t *testing.T) {
	app, up := one(t, nil)
	if a := app.Post(t, "/v1/responses", responsesBody); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.Body)
	}
	up.SetScript(testkit.Always(testkit.Hang()))
	for n, request := range []string{
		rawRequest(app, http.MethodPost, "/v1/responses/resp_fake/cancel", `{}`),
		rawRequest(app, http.MethodGet, "/v1/responses/resp_fake", chunked("{}", 1), "Transfer-Encoding: chunked"),
	} {
		w := dialWire(t, app)
		w.send(request)
		r := up.WaitRequests(t, n+2)[n+1]
		_ = w.Close()
		r.WaitCancelled(t)
		if len(r.Body) != 0 {
			t.Errorf("the upstream got %q", r.Body)
		}
	}
}

// encoded is a body under a Content-Encoding.
func encoded(t testing.TB, encoding, body string) []byte {
	t.Helper()
	var b strings.Builder
	var w io.WriteCloser
	switch encoding {
	case "gzip":
		w = gzip.NewWriter(&b)
	case "br":
		w = brotli.NewWriter(&b)
	case "zstd":
		z, err := zstd.NewWriter(&b)
		if err != nil {
			t.Fatal(err)
		}
		w = z
	default:
		return []byte(body)
	}
	if _, err := io.WriteString(w, body); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return []byte(b.String())
}
