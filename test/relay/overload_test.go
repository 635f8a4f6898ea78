package relay

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// What a process takes when much is asked of it, measured on the real program.
func TestProcessStaysWithinItsBounds(t *testing.T) {
	program := build(t)
	t.Run("memory of idle streams", func(t *testing.T) { idleStreams(t, program) })
	t.Run("open files", func(t *testing.T) { openFiles(t, program) })
}

// F-05, a tenth of it: a stream that says nothing costs little, and its end gives
// back what it took.
func idleStreams(t *testing.T, program string) {
	const most, n = 110 << 10, 1000
	up := testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(testkit.StallAfter(5))})
	p := serve(t, program, up.BaseURL, 20_000)
	warm, _ := openStreams(t, p.App, 50)
	closeAll(warm)
	testkit.Poll(t, "the first streams to end", func() bool { return p.metric(t, "realms_requests_in_flight") == 0 })
	memory, goroutines := p.memory(t), p.metric(t, "go_goroutines")
	streams, ids := openStreams(t, p.App, n)
	each := (p.memory(t) - memory) / n
	t.Logf("%d KiB and %.1f goroutines a stream, %d MiB before", each>>10, (p.metric(t, "go_goroutines")-goroutines)/n, memory>>20)
	if each > most {
		t.Errorf("an idle stream takes %d KiB, %d are the most", each>>10, most>>10)
	}
	begun := time.Now()
	closeAll(streams)
	for _, r := range up.Requests() {
		r.WaitCancelled(t)
	}
	if took := time.Since(begun); took > 2*time.Second {
		t.Errorf("the upstreams heard after %v that nobody waits", took)
	}
	testkit.Poll(t, "the goroutines to end", func() bool { return p.metric(t, "go_goroutines") <= goroutines+10 })
	up.SetScript(nil)
	body := bodyOf(1 << 20) // work makes the collector run, which is idle in an idle process
	testkit.Poll(t, "the memory to come back", func() bool {
		w := dialWire(t, p.App)
		defer func() { _ = w.Close() }()
		w.send(rawRequest(p.App, http.MethodPost, "/v1/responses", body))
		return w.answer(http.MethodPost).StatusCode == http.StatusOK && p.memory(t) <= 2*memory
	})
	t.Logf("%d MiB %v later", p.memory(t)>>20, time.Since(begun))
	if row := p.row(t, ids[n-1]); row.Ended != realm.EndedClientGone {
		t.Errorf("row: %+v", endingOf(row))
	}
}

func closeAll(list []*wire) {
	for _, w := range list {
		_ = w.Close()
	}
}

// F-07: with few files the program refuses connections at a limit of its own. It
// never runs out of files, does not spin, goes on serving, and recovers.
func openFiles(t *testing.T, program string) {
	const files, accepted = 256, (256 - 64) / 2
	up := testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(testkit.StallAfter(5))})
	p := serve(t, program, up.BaseURL, files)
	streams, ids := openStreams(t, p.App, accepted)
	begun, worked := time.Now(), p.cpu(t)
	var refused []*wire
	for time.Since(begun) < 500*time.Millisecond || len(refused) < 100 {
		w := dialWire(t, p.App)
		a := w.answer(http.MethodGet)
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || !strings.Contains(a.Body, `"error":{`) || !w.ended() {
			t.Fatalf("connection %d past the limit: %d %v %s", len(refused), a.StatusCode, a.Header, a.Body)
		}
		if refused = append(refused, w); p.files(t) > files-8 {
			t.Fatalf("%d files of %d are open", p.files(t), files)
		}
		<-time.After(2 * time.Millisecond)
	}
	if share := float64(p.cpu(t)-worked) / float64(time.Since(begun)); share > 0.5 {
		t.Errorf("refusing %d connections took %.0f %% of a processor", len(refused), 100*share)
	}
	closeAll(streams)
	up.SetScript(nil)
	testkit.Poll(t, "the program to accept again", func() bool {
		w := dialWire(t, p.App)
		defer func() { _ = w.Close() }()
		w.send(rawRequest(p.App, http.MethodPost, "/v1/chat/completions", chatBody))
		return w.answer(http.MethodPost).StatusCode == http.StatusOK
	})
	for _, id := range ids {
		if row := p.row(t, id); endingOf(row) != (ending{realm.EndedClientGone, realm.CauseClientGone, http.StatusOK, 1}) {
			t.Errorf("row of %s: %+v", id, endingOf(row))
		}
	}
	for _, complaint := range []string{"too many open files", "accept"} {
		if strings.Contains(p.log.String(), complaint) {
			t.Errorf("the log complains: %s", p.log)
		}
	}
}
