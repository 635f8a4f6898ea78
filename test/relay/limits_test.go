package relay

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// channelLimited gives a whole channel limits.
func channelLimited(l realm.Limits) func(*spec) {
	return func(ch *spec) { ch.Settings.Limits = l }
}

// What has its requests at once is passed by, without blame, and serves again as
// soon as one of them ends.
func TestFullOnesArePassedBy(t *testing.T) {
	t.Parallel()
	fullOnesArePassedBy(t, newWorld(t, nil))
}

func fullOnesArePassedBy(t *testing.T, w *world) {
	t.Helper()
	for name, tt := range map[string]struct {
		edit  func(*spec)
		asked string
	}{
		"credentials": {limited(realm.Limits{Concurrent: 1}), "a1 a2 b1 a1"},
		"a channel":   {channelLimited(realm.Limits{Concurrent: 2}), "a1 a1 b1 a1"},
	} {
		for _, f := range forms {
			t.Run(name+", "+f.name, func(t *testing.T) {
				held := newGate(t)
				s := w.scene(t, leg{keys: 2, edit: tt.edit, script: testkit.Sequence(held.hold, held.hold)}, good)
				first := s.begin(t, f)
				s.ups[0].WaitRequests(t, 1)
				second := s.begin(t, f)
				s.ups[0].WaitRequests(t, 2)
				if got := s.serves(t, f); got != "b1" {
					t.Errorf("asked %q beside full ones", got)
				}
				if got := s.marks(t); len(got) != 0 {
					t.Errorf("blamed: %q", got)
				}
				if n := w.channelState(t, s.names[0]).InFlight; n != 2 {
					t.Errorf("%d are in flight", n)
				}
				held.open()
				for _, done := range []<-chan *answer{first, second} {
					if a := <-done; a.err != nil || a.StatusCode != http.StatusOK {
						t.Errorf("%v %+v", a.err, a.Response)
					}
				}
				testkit.Poll(t, "the slots", func() bool { return w.channelState(t, s.names[0]).InFlight == 0 })
				if s.serves(t, f); s.asked() != tt.asked {
					t.Errorf("asked %q, want %q", s.asked(), tt.asked)
				}
			})
		}
	}
}

// Requests and tokens of the last minute: what has had its share is passed by; when
// all have, the client is told when to come again and nobody is asked.
func TestRatesOfAMinute(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	each := int64(testkit.DefaultTokens.Input + testkit.DefaultTokens.Output)
	for name, tt := range map[string]struct {
		edit  func(*spec)
		asked string
	}{
		"requests of a credential": {limited(realm.Limits{RequestsPerMinute: 3}), "a1 a1 a1 a2 a2 a2"},
		"requests of a channel":    {channelLimited(realm.Limits{RequestsPerMinute: 3}), "a1 a1 a1"},
		"tokens of a credential":   {limited(realm.Limits{TokensPerMinute: 2*each + 4}), "a1 a1 a2 a2"},
		"tokens of a channel":      {channelLimited(realm.Limits{TokensPerMinute: 2*each + 4}), "a1 a1"},
	} {
		for _, f := range forms {
			t.Run(name+", "+f.name, func(t *testing.T) {
				s := w.scene(t, leg{keys: 2, edit: tt.edit})
				want := strings.Fields(tt.asked)
				for range want {
					s.serves(t, f)
				}
				for range 3 {
					a := s.ask(t, f)
					seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
					if a.StatusCode != http.StatusTooManyRequests || err != nil || seconds < 30 || seconds > 60 {
						t.Errorf("%d, Retry-After %q: %s", a.StatusCode, a.Header.Get("Retry-After"), a.body)
					}
				}
				if s.asked() != tt.asked {
					t.Errorf("asked %q, want %q", s.asked(), tt.asked)
				}
				if got := s.marks(t); len(got) != 0 {
					t.Errorf("blamed: %q", got)
				}
			})
		}
	}
}

// A request that failed has used no tokens.
func TestFailuresUseNoTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{edit: limited(realm.Limits{TokensPerMinute: 60}), script: testkit.Sequence(contextLength, contextLength, contextLength, contextLength, contextLength)})
	for range 5 {
		s.ask(t, chatWhole)
	}
	if got := s.serves(t, chatWhole); got != "a1" {
		t.Errorf("asked %q", got)
	}
}

// Where everything is full a request waits for its turn, as long as it may, and as
// many of one user's as may; the others are told to come again.
func TestTheQueue(t *testing.T) {
	t.Parallel()
	const waits, most = 3, 700 * time.Millisecond
	w := newWorld(t, func(c *config.Config) { c.Relay.Queue.Waiting, c.Relay.Queue.Time = waits, most })
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			held := newGate(t)
			s := w.scene(t, leg{edit: limited(realm.Limits{Concurrent: 1}), script: testkit.Sequence(held.hold)})
			first := s.begin(t, f)
			s.ups[0].WaitRequests(t, 1)
			begun := time.Now()
			var waiting []<-chan *answer
			for range waits + 2 {
				waiting = append(waiting, s.begin(t, f))
			}
			refused, late := 0, 0
			for _, done := range waiting {
				a := <-done
				if a.err != nil || a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "1" {
					t.Errorf("%v %+v", a.err, a.Response)
				}
				if a.took < most {
					refused++
				} else {
					late++
				}
			}
			if refused != 2 || late != waits || time.Since(begun) > most+2*time.Second {
				t.Errorf("%d were refused at once, %d after %s", refused, late, time.Since(begun))
			}
			next := s.begin(t, f)
			<-time.After(most / 4) // it waits by now, or is served at once
			held.open()
			for _, done := range []<-chan *answer{first, next} {
				if a := <-done; a.err != nil || a.StatusCode != http.StatusOK {
					t.Errorf("%v %+v", a.err, a.Response)
				}
			}
			if s.asked() != "a1 a1" {
				t.Errorf("asked %q", s.asked())
			}
			w.settles(t)
		})
	}
}
