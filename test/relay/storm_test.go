package relay

import (
	"fmt"
	"net/http"
	"runtime"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/testkit"
)

// storm is a world with the share of retries that the configuration has by itself.
func storm(t *testing.T, use func(*config.Config)) *world {
	t.Helper()
	return newWorld(t, func(c *config.Config) {
		c.Relay.RetryShare = config.Default().Relay.RetryShare
		if use != nil {
			use(c)
		}
	})
}

// crowd counts the requests that an upstream has at once.
type crowd struct{ now, most atomic.Int64 }

// behind counts requests while a gate holds their answers, and for a while after it.
func (c *crowd) behind(g *gate, d time.Duration) testkit.Fault {
	return func(r *testkit.Request, a *testkit.Answer) {
		n := c.now.Add(1)
		defer c.now.Add(-1)
		for most := c.most.Load(); n > most && !c.most.CompareAndSwap(most, n); most = c.most.Load() {
		}
		g.hold(r, a)
		<-time.After(d)
	}
}

// C-FO-04: when all requests fail at once, a fifth of them at a time tries another
// upstream; the others wait for their share and are served as well.
func TestRetriesAreAShareOfRequests(t *testing.T) {
	t.Parallel()
	for _, n := range []int{10, 1000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := storm(t, nil)
			var second crowd
			fail, serve := newGate(t), newGate(t)
			s := w.scene(t, leg{script: testkit.Always(testkit.ServerError())}, failing(second.behind(serve, 20*time.Millisecond)))
			s.ups[0].SetScript(testkit.Always(func(r *testkit.Request, a *testkit.Answer) {
				fail.hold(r, a)
				testkit.ServerError()(r, a)
			}))
			var served tally
			done := make(chan struct{})
			go func() {
				defer close(done)
				inParallel(n, n, func(i int) { served.add(s.ask(t, forms[i%len(forms)])) })
			}()
			eventually(t, "all to be under way", time.Minute, func() bool { return s.ups[0].Count() == n })
			fail.open()
			share := max(3, int64(n)*20/100)
			eventually(t, "as many retries as may be at once", 20*time.Second, func() bool { return second.now.Load() == share })
			serve.open()
			<-done
			served.all(t, "after the first upstream failed")
			if most := second.most.Load(); most != share {
				t.Errorf("%d retries at once, %d may", most, share)
			}
			w.settles(t)
		})
	}
}

// C-FO-08: an upstream that comes back gets few requests at first, and its share by
// and by; the shares of peers are by their weights.
func TestNoHerdOnRecovery(t *testing.T) {
	t.Parallel()
	const rate, tries = 150, 3
	w := newWorld(t, nil)
	for i := range tries {
		s, first, second := recovery(t, w, rate)
		t.Logf("%d of %d requests in the first second", second, first)
		if first < rate/2 && i < tries-1 {
			continue // a machine too busy to send them: nothing is proven
		}
		if first < rate/2 || second > first/10+2 {
			t.Errorf("%d of %d requests went to it in the first second", second, first)
		}
		eventually(t, "it to have recovered", backAfter-openFirst, func() bool {
			s.ask(t, chatWhole)
			return len(s.marks(t)) == 0
		})
		from := s.ups[0].Count()
		inParallel(2000, 8, func(int) { s.ask(t, chatWhole) })
		if n := s.ups[0].Count() - from; n < 2000*45/100 || n > 2000*55/100 { // over five times what chance does
			t.Errorf("%d of 2000 requests went to it, half are its share", n)
		}
		return
	}
}

// recovery lets one of two peers fail and come back, and tells how many requests there
// were in the first second after its first success, and how many of them it got.
func recovery(t *testing.T, w *world, rate int) (s *scene, first, second int) {
	t.Helper()
	sick := &ill{with: testkit.ServerError()}
	peer := func(ch *spec) { ch.Priority = 100 }
	s = w.scene(t, leg{script: sick.script, edit: peer}, leg{edit: peer})
	down := s.ups[0]
	eventually(t, "the breaker to open", 5*time.Second, func() bool {
		s.ask(t, chatWhole)
		return len(s.marks(t)) > 0
	})
	sick.well.Store(true)
	before := down.Count()
	var all, its atomic.Int64
	var back atomic.Pointer[time.Time]
	var served tally
	pace(rate, openFirst*11/10+4*time.Second, func(i int) {
		served.add(s.ask(t, forms[i%len(forms)]))
		if back.Load() == nil && down.Count() > before {
			now := time.Now()
			if back.CompareAndSwap(nil, &now) {
				return
			}
		}
		if at := back.Load(); at != nil && time.Since(*at) < time.Second {
			all.Add(1)
			its.Store(int64(down.Count() - before))
		}
	})
	served.all(t, "while one was passed by and came back")
	if back.Load() == nil {
		t.Fatal("it did not come back")
	}
	return s, int(all.Load()), int(its.Load())
}

// C-FO-03: with all upstreams down, a storm of requests is not multiplied once the
// breakers are open, and when it is over nothing of it is left.
func TestHeavyAllUpstreamsDown(t *testing.T) {
	onEngines(t, func(t *testing.T, use func(*config.Config)) {
		const rate, long = 200, 25 * time.Second
		w := storm(t, use)
		down := []testkit.Fault{testkit.ServerError(), testkit.Reset(), testkit.Page(502)}
		s := w.scene(t, failing(down[0]), failing(down[1]), failing(down[2]))
		goroutines := runtime.NumGoroutine()
		var early, late tally
		pace(rate, 2*time.Second, func(i int) { early.add(s.ask(t, forms[i%len(forms)])) })
		memory := heapAfterGC()
		asked := len(s.requests())
		pace(rate, long, func(i int) { late.add(s.ask(t, forms[i%len(forms)])) })
		attempts, requests := len(s.requests())-asked, len(late.took)
		t.Logf("%d attempts of %d requests; before: %d of %d; %v", attempts, requests, asked, len(early.took), late.status)
		if attempts > requests*12/10 {
			t.Errorf("%d attempts of %d requests", attempts, requests)
		}
		if late.status[http.StatusOK] > 0 || late.status[0] > 0 {
			t.Errorf("answers: %v", late.status)
		}
		w.settles(t)
		w.Client.CloseIdleConnections()
		for _, up := range s.ups {
			up.CloseIdle()
		}
		eventually(t, "the goroutines to end", 30*time.Second, func() bool { return runtime.NumGoroutine() <= goroutines+30 })
		// The fakes and the log keep every request; what is left beside that is little.
		if grew := heapAfterGC() - memory; grew > int64(requests)*16<<10 {
			t.Errorf("the heap grew by %d KiB", grew>>10)
		}
		for _, up := range s.ups {
			up.SetScript(nil)
		}
		healed := time.Now()
		eventually(t, "requests to be served again", backAfter, func() bool { return s.ask(t, chatWhole).StatusCode == http.StatusOK })
		if d := time.Since(healed); d > backAfter {
			t.Errorf("served again after %s", d)
		}
	})
}

func heapAfterGC() int64 {
	debug.FreeOSMemory()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// D-14: a key's first 401 leaves it alone for a minute; the next one after that
// takes it out of use.
func TestHeavyASecondRefusalAMinuteLater(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{keys: 2, script: func(r *testkit.Request) testkit.Fault { return nil }})
	s.ups[0].SetScript(s.noting(testkit.ByKey(map[string]testkit.Fault{s.key("a1"): noKey})))
	if got := s.serves(t, chatWhole); got != "a1 a2" {
		t.Fatalf("asked %q", got)
	}
	refused := time.Now()
	eventually(t, "the second 401", 75*time.Second, func() bool {
		s.serves(t, chatWhole)
		return s.counted()["a1"] == 2
	})
	if d := time.Since(refused); d < 59*time.Second {
		t.Errorf("asked again after %s", d)
	}
	isOutOfUse(t, s, "a1")
	for range 5 {
		s.serves(t, chatWhole)
	}
	if n := s.counted()["a1"]; n != 2 || !strings.HasSuffix(s.asked(), "a2 a2 a2 a2 a2") {
		t.Errorf("asked %d times", n)
	}
}
