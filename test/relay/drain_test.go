package relay

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// leaving is a request that is open when the app is told to stop.
type leaving struct {
	name string
	res  *http.Response // nil when none came
	body string
	err  error

	begun chan struct{} // closed when it has come as far as was awaited
}

// begin asks in the background, and notes when a text has come.
func begin(t *testing.T, client *http.Client, req *http.Request, await string, wg *sync.WaitGroup) *leaving {
	t.Helper()
	l := &leaving{begun: make(chan struct{})}
	wg.Go(func() {
		once := sync.OnceFunc(func() { close(l.begun) })
		defer once()
		if await == "" {
			once()
		}
		if l.res, l.err = client.Do(req); l.err != nil {
			return
		}
		defer func() { _ = l.res.Body.Close() }()
		if await != "" {
			l.body = until(t, l.res.Body, await)
			once()
		}
		var rest []byte
		rest, l.err = io.ReadAll(l.res.Body)
		l.body += string(rest)
	})
	return l
}

// afterStop reads rows from the store that a stopped app has left.
func afterStop(t *testing.T, app *testapp.App) store.Repos {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{DSN: app.Config.StoreDSN()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	return st.Read()
}

// H-01: told to stop, the app takes no new connection and lets every open answer
// come to its own end.
func TestStopLetsOpenAnswersEnd(t *testing.T) {
	const each = 50
	app, up := oneWith(t, func(r *testkit.Request) testkit.Fault {
		if r.Stream {
			return testkit.Pace(70 * time.Millisecond)
		}
		return testkit.Slow(500 * time.Millisecond)
	}, func(c *config.Config) { c.Server.Drain = 20 * time.Second })
	idle := dialWire(t, app)
	idle.send(rawRequest(app, http.MethodGet, "/v1/models", ""))
	idle.answer(http.MethodGet)
	h2 := http2Client(t)
	var wg sync.WaitGroup
	open := map[*leaving]string{}
	for range each {
		open[begin(t, app.Client, app.Request(t, http.MethodPost, "/v1/chat/completions", chatStream), "Hello", &wg)] = "data: [DONE]\n\n"
		open[begin(t, app.Client, app.Request(t, http.MethodPost, "/v1/responses", responsesStream), "Hello", &wg)] = "event: response.completed\n"
		open[begin(t, h2, app.Request(t, http.MethodPost, "/v1/chat/completions", chatStream), "Hello", &wg)] = "data: [DONE]\n\n"
		open[begin(t, app.Client, app.Request(t, http.MethodPost, "/v1/responses", responsesBody), "", &wg)] = `"status":"completed"`
	}
	for l := range open {
		<-l.begun
	}
	up.WaitRequests(t, 4*each)
	begun, stopped := time.Now(), make(chan error, 1)
	go func() { stopped <- app.Stop() }()
	testkit.Poll(t, "new connections to be refused", func() bool {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(t.Context(), "tcp", strings.TrimPrefix(app.URL, "http://"))
		if err != nil {
			return true
		}
		_ = c.Close()
		return false
	})
	if took := time.Since(begun); took > time.Second {
		t.Errorf("new connections are refused after %v", took)
	}
	if !idle.ended() {
		t.Error("an idle connection lives on")
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped before the answers had ended: %v", err)
	default:
	}
	wg.Wait()
	if err := <-stopped; err != nil || time.Since(begun) > 5*time.Second {
		t.Errorf("stopped after %v: %v", time.Since(begun), err)
	}
	rows := afterStop(t, app)
	for l, end := range open {
		if l.err != nil || l.res.StatusCode != http.StatusOK || !strings.Contains(l.body, end) {
			t.Errorf("an open answer: %v %s", l.err, l.body)
			continue
		}
		id, _ := realm.ParseRequestID(l.res.Header.Get("X-Request-Id"))
		if row, err := rows.Requests.Get(t.Context(), id); err != nil || endingOf(row) != (ending{realm.EndedCompleted, realm.CauseOK, 200, 1}) || row.Usage.Source != realm.UsageUpstream {
			t.Errorf("row: %v %+v %+v", err, endingOf(row), row.Usage)
		}
	}
}

// H-02: what outlasts the drain is ended in its own words, and settled.
func TestDrainEndsWhatOutlastsIt(t *testing.T) {
	const drain = 300 * time.Millisecond
	sound := strings.Repeat("\x01", 32<<10)
	app, up := oneWith(t, func(r *testkit.Request) testkit.Fault {
		switch {
		case r.Path == "/v1/audio/speech":
			return pour("audio/mpeg", sound, 8, testkit.EndStall)
		case r.Model == "slow":
			return slowForms[0].fault
		case r.Model == "silent" || !r.Stream:
			return testkit.Hang()
		case r.Model == "held":
			return testkit.StallAfter(1)
		}
		return testkit.StallAfter(5)
	}, func(c *config.Config) { c.Server.Drain = drain })
	overloaded := fault{503, "server_error", "server_is_overloaded", ""}
	unavailable := fault{503, "server_error", "unavailable", ""}
	tests := []struct {
		name, path, body, await string
		end                     string // of a committed stream
		fault                   fault  // of what was not committed
	}{
		{"chat stream", "/v1/chat/completions", chatStream, "Hello", `"code":"interrupted"}}` + "\n\n", fault{}},
		{"responses stream", "/v1/responses", responsesStream, "Hello", `"incomplete_details":null,"output":[],"usage":null}}` + "\n\n", fault{}},
		{"bytes", "/v1/audio/speech", `{"model":"tts","input":"x","voice":"y"}`, "\x01", "cut", fault{}},
		{"chat", "/v1/chat/completions", chatBody, "", "", unavailable},
		{"responses", "/v1/responses", responsesBody, "", "", overloaded},
		{"chat stream without a header", "/v1/chat/completions", `{"model":"silent","stream":true,"messages":[]}`, "", "", unavailable},
		{"responses stream without a header", "/v1/responses", `{"model":"silent","stream":true,"input":"x"}`, "", "", overloaded},
		{"responses stream, events held", "/v1/responses", `{"model":"held","stream":true,"input":"x"}`, "", "", overloaded},
	}
	h2 := http2Client(t)
	var wg sync.WaitGroup
	open := map[*leaving]int{}
	for i, tt := range tests {
		for proto, client := range map[string]*http.Client{"HTTP/1.1": app.Client, "HTTP/2": h2} {
			l := begin(t, client, app.Request(t, http.MethodPost, tt.path, tt.body, "X-Request-Id", "drained"), tt.await, &wg)
			l.name = tt.name + " over " + proto
			open[l] = i
		}
	}
	for l := range open {
		<-l.begun
	}
	const deaf = 5
	for range deaf {
		crawl(t, app, slowForms[0], "stalled") // takes nothing, not even an error
		hold(t, app, 100, "X-Request-Id: uploading")
	}
	requests := up.WaitRequests(t, 2*len(tests)+deaf)
	begun := time.Now()
	if err := app.Stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if took := time.Since(begun); took < drain || took > drain+2*time.Second {
		t.Errorf("stopped after %v, the drain is %v", took, drain)
	}
	wg.Wait()
	for _, r := range requests {
		r.WaitCancelled(t)
	}
	for l, i := range open {
		checkDrained(t, l, tests[i].end, tests[i].fault)
	}
	rows, err := afterStop(t, app).Requests.List(context.Background(), store.RequestPage{})
	if err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, r := range rows {
		count[r.ClientRequestID]++
		switch {
		case r.ClientRequestID != "drained":
		case r.Ended != realm.EndedInterrupted || r.Attempts != 1 || (r.Status != 200 && r.Status != 503):
			t.Errorf("row: %+v of %s", endingOf(r), r.Model)
		}
	}
	if count["drained"] != len(open) || count["stalled"] != deaf || count["uploading"] != deaf {
		t.Errorf("rows: %v, want one of each request", count)
	}
}

func checkDrained(t *testing.T, l *leaving, end string, want fault) {
	t.Helper()
	switch {
	case l.res == nil:
		t.Errorf("%s: no answer: %v", l.name, l.err)
	case end == "cut":
		if l.err == nil || errors.Is(l.err, context.Canceled) {
			t.Errorf("%s: a cut answer of %d bytes seems whole", l.name, len(l.body))
		}
	case end != "":
		if l.err != nil || l.res.StatusCode != 200 || !strings.HasSuffix(l.body, end) || !strings.Contains(l.body, "Realms is stopping") || strings.Contains(l.body, "[DONE]") {
			t.Errorf("%s: %v %s", l.name, l.err, l.body)
		}
	default:
		isFault(t, &testapp.Answer{Response: l.res, Body: l.body, Err: l.err}, want)
		if l.res.Header.Get("Retry-After") == "" {
			t.Errorf("%s: no Retry-After", l.name)
		}
	}
}
