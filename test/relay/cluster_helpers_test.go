package relay

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/cluster"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/redistest"
	"realms/internal/testkit/testapp"
)

// soon is how long processes may take to hear of each other.
func soon(d time.Duration) time.Duration {
	if raceEnabled {
		return 4 * d
	}
	return d
}

// fleet is several processes over one store and, mostly, one Redis.
type fleet struct {
	dsn, redis, prefix string
	worlds             []*world
}

// newFleet is one without a process; without a Redis if the URL is empty.
func newFleet(t testing.TB, engine, redis string) *fleet {
	t.Helper()
	return &fleet{dsn: storetest.DSN(t, engine), redis: redis, prefix: redistest.Prefix()}
}

// shared is a fleet of n processes on MariaDB that Redis connects.
func shared(t testing.TB, redis string, n int) *fleet {
	t.Helper()
	f := newFleet(t, "mysql", redis)
	for range n {
		f.join(t)
	}
	f.connected(t)
	return f
}

// join starts one more process. The first makes the token that serves with all.
func (f *fleet) join(t testing.TB) *world {
	t.Helper()
	w, token := &world{}, ""
	if len(f.worlds) > 0 {
		token = f.worlds[0].Token
	}
	w.App = testapp.Start(t, testapp.Options{Role: realm.RoleUser, Token: token, Log: &w.log, Configure: func(c *config.Config) {
		c.DB.DSN = config.DSN(f.dsn)
		c.Redis.URL, c.Redis.Prefix = config.RedisURL(f.redis), f.prefix
		c.Relay.RetryShare = 100
	}})
	w.secrets = append(w.secrets, w.Token)
	f.worlds = append(f.worlds, w)
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Errorf("stop the app: %v", err)
		}
		f.worlds[0].noSecret(t, "the log", w.log.String()) // it knows them all
	})
	return w
}

// connected waits until every process has Redis.
func (f *fleet) connected(t testing.TB) { t.Helper(); f.await(t, cluster.StateConnected) }

func (f *fleet) await(t testing.TB, state cluster.State) {
	t.Helper()
	for _, w := range f.worlds {
		eventually(t, "Redis to be "+string(state), 10*time.Second, func() bool { return w.Cluster.State() == state })
	}
}

// scene is one that every process knows of. Its requests go to the first.
func (f *fleet) scene(t testing.TB, legs ...leg) *scene {
	t.Helper()
	s := f.worlds[0].scene(t, legs...)
	for _, w := range f.worlds {
		f.knows(t, w, s)
	}
	return s
}

// knows waits until a process has the scene's channels as the first has them.
func (f *fleet) knows(t testing.TB, w *world, s *scene) {
	t.Helper()
	want := f.worlds[0].Catalog.Snapshot().Version
	testkit.Poll(t, "the catalogue of another process", func() bool { return w.Catalog.Snapshot().Version >= want })
	for _, name := range s.names {
		w.channelState(t, name)
	}
}

// through is the scene as it is reached through another process.
func (s *scene) through(w *world) *scene {
	return &scene{w: w, model: s.model, ups: s.ups, names: s.names, keys: s.keys}
}

// serves asks for a good answer, and tells with which keys upstreams were asked for
// it. Nobody else may ask for the scene's model meanwhile.
func (s *scene) serves(t testing.TB, f form) string {
	t.Helper()
	before := len(s.requests())
	if a := s.ask(t, f); a.err != nil || a.StatusCode != http.StatusOK {
		t.Fatalf("%v %+v, asked %q: %s", a.err, a.Response, s.asked(), a.body)
	}
	return strings.Join(strings.Fields(s.asked())[before:], " ")
}

// holds waits until a process holds just this against the scene's upstreams.
func (s *scene) holds(t testing.TB, most time.Duration, want ...string) {
	t.Helper()
	var got []string
	begun := time.Now()
	for got = s.marks(t); !slices.Equal(got, want); got = s.marks(t) {
		if time.Since(begun) > most {
			t.Fatalf("marks after %s (-want +got):\n%s", most, cmp.Diff(want, got))
		}
		<-time.After(5 * time.Millisecond)
	}
}

// inSession is a form whose requests belong to a session.
func inSession(name string) form {
	return form{name: "in a session", path: "/v1/responses", responses: true, body: fmt.Sprintf(`{"model":"%%s","input":"hello","prompt_cache_key":%q}`, name)}
}

// lines are those of a log that say something about a channel; "": about anything.
func (w *world) lines(t testing.TB, message, channel string) (n int) {
	t.Helper()
	for text := range strings.Lines(w.log.String()) {
		var line struct{ Msg, Channel string }
		if err := json.Unmarshal([]byte(text), &line); err != nil {
			t.Fatalf("log: %v: %s", err, text)
		}
		if strings.HasPrefix(line.Msg, message) && (channel == "" || line.Channel == channel) {
			n++
		}
	}
	return n
}

// gate holds upstreams' answers back until it is opened. Made before the scene whose
// answers it holds, it must be opened before that ends: by defer.
type gate struct {
	shut chan struct{}
	open func()
}

func newGate(t testing.TB) *gate {
	g := &gate{shut: make(chan struct{})}
	g.open = sync.OnceFunc(func() { close(g.shut) })
	t.Cleanup(g.open)
	return g
}

func (g *gate) hold(*testkit.Request, *testkit.Answer) { <-g.shut }

// begin sends a request whose answer comes later.
func (s *scene) begin(t testing.TB, f form) <-chan *answer {
	t.Helper()
	done := make(chan *answer, 1)
	req := s.request(t, f)
	go func() { done <- s.w.do(req) }()
	return done
}

// traffic is a steady stream of requests over all processes of a fleet, each in a
// session that nobody knows, so that Redis is asked about every one.
type traffic struct {
	phase atomic.Int32
	mu    sync.Mutex
	took  [3][]time.Duration // by the phase in which the request began
	fails []string
	ended sync.WaitGroup
	stop  func()
}

// The phases of traffic.
const (
	phaseWith    = iota // Redis is there
	phaseWithout        // it is not, or this is still being found out
	phaseBack           // it is there again, or this is still being found out
)

// drive begins with so many requests a second.
func (f *fleet) drive(t testing.TB, s *scene, rate int) *traffic {
	t.Helper()
	tr, end := &traffic{}, make(chan struct{})
	tr.stop = sync.OnceFunc(func() { close(end); tr.ended.Wait() })
	tr.ended.Go(func() {
		tick := time.NewTicker(time.Second / time.Duration(rate))
		defer tick.Stop()
		for i := 0; ; i++ {
			select {
			case <-tick.C:
				one := s.through(f.worlds[i%len(f.worlds)])
				req := one.request(t, inSession(rand.Text()))
				tr.ended.Go(func() { tr.note(int(tr.phase.Load()), one.w.do(req)) })
			case <-end:
				return
			}
		}
	})
	t.Cleanup(tr.stop)
	return tr
}

func (tr *traffic) note(phase int, a *answer) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.took[phase] = append(tr.took[phase], a.took)
	switch {
	case a.err != nil:
		tr.fails = append(tr.fails, a.err.Error())
	case a.StatusCode != http.StatusOK:
		tr.fails = append(tr.fails, a.Status+" "+a.body)
	}
}

// enter begins a phase.
func (tr *traffic) enter(phase int32) { tr.phase.Store(phase) }

// more waits for n more answers in the present phase.
func (tr *traffic) more(t testing.TB, n int) {
	t.Helper()
	phase := tr.phase.Load()
	count := func() int {
		tr.mu.Lock()
		defer tr.mu.Unlock()
		return len(tr.took[phase])
	}
	n += count()
	eventually(t, "answers", time.Minute, func() bool { return count() >= n })
}

// judge ends it. Nobody may have failed, and losing Redis may have cost the slowest
// hundredth no more than most.
func (tr *traffic) judge(t testing.TB, most time.Duration) {
	t.Helper()
	tr.stop()
	if n := len(tr.fails); n > 0 {
		t.Errorf("%d requests failed, the first: %s", n, tr.fails[0])
	}
	var p99 [3]time.Duration
	for phase, took := range tr.took {
		slices.Sort(took)
		p99[phase] = took[len(took)*99/100]
		t.Logf("phase %d: %d requests, median %v, p99 %v, longest %v", phase, len(took), took[len(took)/2], p99[phase], took[len(took)-1])
	}
	for _, phase := range []int{phaseWithout, phaseBack} {
		if added := p99[phase] - p99[phaseWith]; added > most {
			t.Errorf("phase %d: p99 is %v longer than with Redis", phase, added)
		}
	}
}
