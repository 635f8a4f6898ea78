package relay

import (
	"io"
	"strings"
	"testing"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// unending is a stream that repeats an event behind its first ones for so many bytes,
// and has no end. It costs no memory here.
func unending(n int, event string, limit int) testkit.Fault {
	return func(_ *testkit.Request, a *testkit.Answer) {
		first := a.Chunks[:n]
		block := framedChunk([]byte(strings.Repeat(event, 1+(32<<10)/len(event))))
		a.Raw = func(w io.Writer) error {
			_, err := io.WriteString(w, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
			for _, c := range first {
				_, _ = w.Write(framedChunk(c))
			}
			for sent := 0; err == nil && sent < limit; sent += len(block) {
				_, err = w.Write(block)
			}
			return err
		}
	}
}

// A converted stream that does not end costs as much memory as limits.event_bytes lets
// it: a Responses client is told all of it once more at its end, so it is a failure
// past that; for a Chat client nothing is kept, and it goes on.
func TestUnendingStreamsAreBounded(t *testing.T) {
	const sent = 64 * mib
	word := strings.Repeat("a", 1000)
	w := newConvertedWorld(t, func(c *config.Config) { c.Limits.EventBytes = 2 * mib })
	for name, tt := range map[string]struct {
		form  form
		after int
		event string
		ended realm.Ended
		code  string
		grew  int64
	}{
		"a Responses client": {respEvents, 1, chatHead + word + `"}}]}` + "\n\n", realm.EndedFailed, "server_is_overloaded", 24},
		"a Chat client":      {chatEvents, 4, respHead + word + `"}` + "\n\n", realm.EndedUpstreamCut, "upstream_cut", 32},
	} {
		t.Run(name, func(t *testing.T) {
			s := w.scene(t, failing(unending(tt.after, tt.event, sent)))
			a := s.ask(t, tt.form)
			if _, code := streamError(t, tt.form, a.body); code != tt.code || !strings.Contains(a.body, word) {
				t.Errorf("code %q after %d bytes", code, len(a.body))
			}
			if rec := w.Record(t, a.Response); rec.Ended != tt.ended || rec.Attempts != 1 {
				t.Errorf("row: %+v", rec)
			}
			grewAtMost(t, name, peakMemory(t, func() { w.discard(t, s.request(t, tt.form)) }), tt.grew)
		})
	}
}
