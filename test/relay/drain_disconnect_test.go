package relay

import (
	"strings"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
)

func draining(ch *catalog.ChannelSpec) { ch.Settings.OnDisconnect = realm.DisconnectDrain }

// A channel that drains reads on when the client has left, so that the row has the
// usage that the upstream counts.
func TestADrainingChannelReadsOnForTheUsage(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, aDrainingChannelReadsOn)
}

func aDrainingChannelReadsOn(t *testing.T, w *world) {
	t.Helper()
	paced := testkit.All(testkit.Deltas(20), testkit.Pace(20*time.Millisecond))
	for _, f := range []form{chatEvents, respEvents} {
		t.Run(f.name, func(t *testing.T) {
			s := w.scene(t, leg{script: testkit.Always(paced), edit: draining})
			res, err := w.Client.Do(s.request(t, f))
			if err != nil {
				t.Fatal(err)
			}
			until(t, res.Body, `"delta":`)
			id := res.Header.Get("X-Request-Id")
			_ = res.Body.Close()
			rec := w.Record(t, res)
			if rec.ID.String() != id || rec.Ended != realm.EndedClientGone || rec.Cause != realm.CauseClientGone {
				t.Errorf("request %s ended as %s, %s; want it to be the client's leaving", id, rec.Ended, rec.Cause)
			}
			if u := rec.Usage; u.Source != realm.UsageUpstream || u.Output <= 0 {
				t.Errorf("usage %+v; want the upstream's own", u)
			}
			if s.asked() != "a1" || len(s.marks(t)) != 0 {
				t.Errorf("asked %s, held against somebody: %s", s.asked(), strings.Join(s.marks(t), ", "))
			}
		})
	}
}

// What recovers while nobody asks is found by a channel's own probes.
func TestAProbeFindsWhatHasRecovered(t *testing.T) {
	t.Parallel()
	const every = 10 * time.Second // the least that may be declared
	w := newWorld(t, nil)
	s := w.scene(t, leg{script: testkit.Always(testkit.ServerError()), edit: func(ch *catalog.ChannelSpec) {
		ch.Settings.Probe = every
	}})
	isOpen := func() bool { return strings.Contains(strings.Join(s.marks(t), ", "), "open ") }
	for range 5 {
		s.ask(t, chatWhole)
	}
	if !isOpen() {
		t.Fatalf("after five failures nothing is open: %s", strings.Join(s.marks(t), ", "))
	}
	s.ups[0].SetScript(nil)
	before := s.ups[0].Count()
	for deadline := time.Now().Add(3 * every); isOpen(); <-time.After(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the breaker is still open; %d probes came", s.ups[0].Count()-before)
		}
	}
	if s.ups[0].Count() == before {
		t.Error("the breaker closed, and nobody had asked")
	}
}
