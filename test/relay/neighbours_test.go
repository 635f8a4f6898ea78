package relay

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/account"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// pace calls do so often a second, for so long, each call in a goroutine of its own,
// and waits for all.
func pace(rate int, long time.Duration, do func(i int)) {
	var wg sync.WaitGroup
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	begun := time.Now()
	for i := 0; time.Since(begun) < long; i++ {
		wg.Go(func() { do(i) })
		<-tick.C
	}
	wg.Wait()
}

// tally adds up how requests ended.
type tally struct {
	mu     sync.Mutex
	status map[int]int // 0: no answer
	took   []time.Duration
	first  string // what the first said that was not served
}

func (n *tally) add(a *answer) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.status == nil {
		n.status = map[int]int{}
	}
	code := 0
	if a.Response != nil && a.err == nil {
		code = a.StatusCode
	}
	if n.status[code]++; code != http.StatusOK && n.first == "" {
		n.first = fmt.Sprintf("%d %v %.300s", code, a.err, a.body)
	}
	n.took = append(n.took, a.took)
}

// all wants every request served.
func (n *tally) all(t *testing.T, who string) {
	t.Helper()
	if n.status[http.StatusOK] != len(n.took) || len(n.took) == 0 {
		t.Errorf("%s: %v; the first that failed: %s", who, n.status, n.first)
	}
}

// p99 is the time that all but a hundredth took at most.
func (n *tally) p99() time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	slices.Sort(n.took)
	return n.took[len(n.took)*99/100]
}

// F-02: one user floods accounts that have few slots, another asks ten times a
// second: that one is never refused, and waits for a slot to be free and not for the
// other's queue to be served.
func TestANoisyNeighbour(t *testing.T) {
	t.Parallel()
	const each, slots = 40 * time.Millisecond, 4
	w := newWorld(t, func(c *config.Config) { c.Relay.RetryShare = 20 })
	s := w.scene(t, leg{keys: 2, script: testkit.Always(testkit.Slow(each)), edit: limited(realm.Limits{Concurrent: slots / 2})})
	quiet := "Bearer " + w.userToken(t, "quiet", realm.DefaultGroup)
	ask := func(n *tally, header ...string) { n.add(s.ask(t, chatWhole, header...)) }
	var alone, beside, noisy tally
	pace(10, 2*time.Second, func(int) { ask(&alone, "Authorization", quiet) })
	var both sync.WaitGroup
	both.Go(func() { pace(1000/sparse(1), 4*time.Second, func(int) { ask(&noisy) }) })
	both.Go(func() { pace(10, 4*time.Second, func(int) { ask(&beside, "Authorization", quiet) }) })
	both.Wait()
	alone.all(t, "alone")
	beside.all(t, "beside the flood")
	t.Logf("the flood: %v; p99 of the quiet one: %v alone, %v beside it", noisy.status, alone.p99(), beside.p99())
	// A slot is free after one answer at the latest; what is more is a busy machine's.
	if most := alone.p99() + 2*each + 400*time.Millisecond; beside.p99() > most {
		t.Errorf("p99 beside the flood is %v, want %v", beside.p99(), most)
	}
	if noisy.status[http.StatusTooManyRequests] == 0 || noisy.status[0] > 0 {
		t.Errorf("the flood was none: %v, %s", noisy.status, noisy.first)
	}
	w.settles(t)
}

// Turns go to the user who has least under way: of three with as much to ask, each
// gets a third.
func TestTurnsAreFairByUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{script: testkit.Always(testkit.Slow(10 * time.Millisecond)), edit: limited(realm.Limits{Concurrent: 3})})
	ends := time.Now().Add(3 * time.Second)
	served := make([]atomic.Int64, 3)
	var wg sync.WaitGroup
	for i := range served {
		token := "Bearer " + w.userToken(t, fmt.Sprintf("user-%d", i), realm.DefaultGroup)
		for range []int{4, 12, 18}[i] { // however many ask at once
			wg.Go(func() {
				for time.Now().Before(ends) {
					if a := s.ask(t, chatWhole, "Authorization", token); a.err == nil && a.StatusCode == http.StatusOK {
						served[i].Add(1)
					} else {
						t.Errorf("%v %+v", a.err, a.Response)
					}
				}
			})
		}
	}
	wg.Wait()
	total := served[0].Load() + served[1].Load() + served[2].Load()
	for i := range served {
		if n := served[i].Load(); n < total*25/100 || n > total*42/100 {
			t.Errorf("user %d was served %d of %d times", i, n, total)
		}
	}
}

// bulkhead has n requests hang on one channel, and asks another.
func bulkhead(t *testing.T, n int) {
	t.Helper()
	w := newWorld(t, func(c *config.Config) { c.Relay.RetryShare = 20 })
	hangs, well := w.scene(t, failing(testkit.Hang())), w.scene(t, leg{script: testkit.Always(testkit.Slow(5 * time.Millisecond))})
	var alone, beside tally
	ask := func(n *tally) func(i int) {
		return func(i int) { n.add(well.ask(t, forms[i%len(forms)])) }
	}
	inParallel(200, 4, ask(&alone))
	stuck := w.clients(t)
	for i := range n {
		stuck.begin(hangs, streams[i%len(streams)])
	}
	eventually(t, "all to hang", time.Minute, func() bool { return hangs.ups[0].Count() == n })
	inParallel(200, 4, ask(&beside))
	// Another's failure still finds its second attempt.
	failing := w.scene(t, failing(testkit.ServerError()), good)
	if got := failing.serves(t, chatWhole); got != "a1 b1" {
		t.Errorf("asked %q", got)
	}
	alone.all(t, "alone")
	beside.all(t, "beside what hangs")
	t.Logf("p99 %v alone, %v beside %d that hang", alone.p99(), beside.p99(), n)
	if most := 2*alone.p99() + 250*time.Millisecond; beside.p99() > most {
		t.Errorf("p99 beside what hangs is %v, want %v", beside.p99(), most)
	}
	stuck.leave()
	w.settles(t)
}

// F-03: requests that hang on one channel do not hurt another.
func TestBulkhead(t *testing.T) {
	t.Parallel()
	bulkhead(t, 150)
}

func TestHeavyBulkhead(t *testing.T) { bulkhead(t, 1000) }

// F-12: a flood of tokens that are none keeps nobody out who has one.
func TestAFloodOfWrongTokens(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, good)
	var alone, beside, flood tally
	ask := func(n *tally) func(int) {
		return func(i int) { n.add(s.ask(t, forms[i%len(forms)])) }
	}
	pace(50, time.Second, ask(&alone))
	var both sync.WaitGroup
	stop := make(chan struct{})
	both.Go(func() {
		inParallel(8, 8, func(k int) {
			for i := k; ; i++ {
				wrong := []string{rand.Text(), "rlm_" + rand.Text(), account.MintToken().Reveal()}[i%3]
				select {
				case <-stop:
					return
				default:
					flood.add(s.ask(t, chatWhole, "Authorization", "Bearer "+wrong))
				}
			}
		})
	})
	pace(50, 3*time.Second, ask(&beside))
	close(stop)
	both.Wait()
	alone.all(t, "alone")
	beside.all(t, "beside the flood")
	t.Logf("the flood: %v; p99 %v alone, %v beside it", flood.status, alone.p99(), beside.p99())
	if flood.status[http.StatusUnauthorized] != len(flood.took) {
		t.Errorf("the flood: %v, %s", flood.status, flood.first)
	}
	if most := 2*alone.p99() + 300*time.Millisecond; beside.p99() > most {
		t.Errorf("p99 beside the flood is %v, want %v", beside.p99(), most)
	}
	if got := len(s.requests()); got != len(alone.took)+len(beside.took) {
		t.Errorf("%d requests reached the upstream of %d", got, len(alone.took)+len(beside.took))
	}
}
