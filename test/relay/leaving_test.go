package relay

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// departures are what requests are at when their clients leave. Each has four
// scenes in it: an answer that does not begin, one that stops in the middle, a wait
// for a slot, and a wait for an upstream's time to come.
type departures struct {
	silent, halting, full, limited *scene
}

func newDepartures(t *testing.T, w *world) *departures {
	t.Helper()
	return &departures{
		silent: w.scene(t, failing(testkit.Hang()), good), halting: w.scene(t, failing(stallMidway), good),
		full:    w.scene(t, leg{script: testkit.Always(testkit.Hang()), edit: limited(realm.Limits{Concurrent: 1})}),
		limited: w.scene(t, failing(testkit.RateLimited("4"))),
	}
}

// stallMidway sends a part of an answer.
func stallMidway(r *testkit.Request, a *testkit.Answer) {
	if r.Stream {
		testkit.StallAfter(6)(r, a)
		return
	}
	testkit.CutBytes(100, testkit.EndStall)(r, a)
}

// Clients that leave at any moment blame nobody, are not asked for, hold no slot and
// no place in a queue, and leave nothing running.
func TestClientsThatLeaveAtRandom(t *testing.T) {
	const clients = 1000
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, nil)
	d := newDepartures(t, w)
	scenes := []*scene{d.silent, d.halting, d.full, d.limited}
	before := runtime.NumGoroutine()
	after := make([]time.Duration, clients)
	for i := range after {
		after[i] = time.Duration(random.IntN(120)) * time.Millisecond
	}
	inParallel(clients, 64, func(i int) {
		ctx, cancel := context.WithTimeout(t.Context(), after[i])
		defer cancel()
		s, f := scenes[i%4], forms[i/4%4]
		a := s.w.do(s.request(t, f).WithContext(ctx))
		refused := a.Response != nil && a.StatusCode == http.StatusTooManyRequests && s == d.full // its queue is full
		if !refused && !errors.Is(a.err, context.DeadlineExceeded) {
			t.Errorf("%s of %s: %v %+v %.200s", f.name, s.model, a.err, a.Response, a.body)
		}
	})
	w.settles(t)
	for _, s := range scenes {
		want := ""
		if s == d.limited {
			want = "a1 told rate_limited" // as the upstream said
		}
		if got := strings.Join(s.marks(t), ", "); got != want {
			t.Errorf("marks of %s: %q, want %q", s.model, got, want)
		}
		for _, up := range s.ups[1:] {
			if up.Count() > 0 {
				t.Errorf("another upstream of %s was asked %d times", s.model, up.Count())
			}
		}
		for _, ch := range s.names {
			for _, cr := range w.channelState(t, ch).Endpoints[0].Credentials {
				if cr.Last5.Attempts > 0 && s != d.limited {
					t.Errorf("a client that left counts for an upstream of %s: %+v", s.model, cr.Last5)
				}
			}
		}
	}
	// Nobody is in the queue any more: the next in it is served as soon as there is a slot.
	d.full.ups[0].SetScript(d.full.noting(nil))
	if got := d.full.serves(t, chatWhole); got == "" {
		t.Error("nobody was asked")
	}
	for _, r := range append(d.silent.requests(), d.halting.requests()...) {
		r.WaitCancelled(t)
	}
	w.Client.CloseIdleConnections()
	for _, s := range scenes {
		for _, up := range s.ups {
			up.CloseIdle()
		}
	}
	testkit.Poll(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before+20 })
}
