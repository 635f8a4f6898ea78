package relay

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"realms/internal/cluster"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/redistest"
)

// mishap is something that happens to Redis, and its end.
type mishap struct {
	name     string
	down, up func(*redistest.Server)
}

var mishaps = []mishap{
	{"stopped", (*redistest.Server).Stop, (*redistest.Server).Continue},
	{"killed", (*redistest.Server).Kill, (*redistest.Server).Restart},
	{
		"read-only",
		func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") },
		func(s *redistest.Server) { s.Do("REPLICAOF", "NO", "ONE") },
	},
	{
		"full",
		func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") },
		func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "0") },
	},
}

const (
	// lostToRedis is what the slowest requests may lose when Redis goes away.
	lostToRedis = 60 * time.Millisecond
	// backWithin is how soon sharing works again once Redis does.
	backWithin = 10 * time.Second
)

// C-05: whatever happens to Redis, no request fails or waits for it, and sharing
// comes back by itself, with what was told meanwhile.
func TestLosingRedis(t *testing.T) {
	t.Parallel()
	for _, m := range mishaps[:2] {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			rate, slack := 100, 60*time.Millisecond // tests run side by side here
			if raceEnabled {
				rate, slack = 40, time.Second
			}
			loseRedis(t, m, 1, rate, 200, lostToRedis+slack)
		})
	}
}

// The same as the row of the quality table has it: ten times each, 200 requests a
// second.
func TestNightlyLosingRedis(t *testing.T) {
	for _, m := range mishaps {
		t.Run(m.name, func(t *testing.T) { loseRedis(t, m, 10, 200, 200, lostToRedis) })
	}
}

// loseRedis drives so many requests a second through two processes, n in each phase
// of each round.
func loseRedis(t *testing.T, m mishap, rounds, rate, n int, most time.Duration) {
	t.Helper()
	redis := redistest.Start(t)
	f := shared(t, redis.URL(), 2)
	word := f.scene(t, leg{keys: 2, script: testkit.Always(limitedFor("30"))}, good)
	tr := f.drive(t, f.scene(t, leg{keys: 2, edit: alike}), rate)
	var back time.Duration
	for range rounds {
		tr.enter(phaseWith)
		tr.more(t, n)
		tr.enter(phaseWithout)
		m.down(redis)
		f.await(t, cluster.StateAway)
		alone(t, f, word)
		tr.more(t, n)
		tr.enter(phaseBack)
		m.up(redis)
		begun := time.Now()
		word.through(f.worlds[1]).holds(t, soon(backWithin), "a1 told rate_limited", "a2 told rate_limited")
		back = max(back, time.Since(begun))
		tr.more(t, n)
		f.connected(t)
		word.mend(t)
		word.through(f.worlds[1]).holds(t, soon(toldWithin))
	}
	t.Logf("sharing was back after %v at most", back)
	tr.judge(t, most)
}

// alone has the first process find out what the other does not hear of now.
func alone(t *testing.T, f *fleet, word *scene) {
	t.Helper()
	if got := word.serves(t, chatWhole); got != "a1 a2 b1" {
		t.Errorf("asked %q", got)
	}
	word.holds(t, 0, "a1 told rate_limited", "a2 told rate_limited")
	word.through(f.worlds[1]).holds(t, 0)
}

// A process starts without Redis, says so once, works alone, and shares as soon as
// there is one. The control socket tells which it is.
func TestRedisComesLater(t *testing.T) {
	t.Parallel()
	redis := redistest.Start(t)
	redis.Kill()
	f := newFleet(t, "mysql", redis.URL())
	for range 2 {
		f.join(t)
	}
	s := f.scene(t, failing(limitedFor("30")), good)
	other := s.through(f.worlds[1])
	for _, one := range []*scene{s, other} {
		if got := one.serves(t, inSession("late")); got != "a1 b1" {
			t.Errorf("alone it asked %q", got)
		}
		if got := one.w.health(t); got != cluster.StateAway {
			t.Errorf("health says %q", got)
		}
	}
	const away, connected = "redis is away", "redis is connected"
	for _, w := range f.worlds { // three attempts at least
		eventually(t, "attempts to connect", 10*time.Second, func() bool { return w.metric(t, "realms_cluster_errors_total") >= 3 })
	}
	redis.Restart()
	f.connected(t)
	for i, w := range f.worlds {
		if a, c := w.lines(t, away, ""), w.lines(t, connected, ""); a != 1 || c != 1 || w.health(t) != cluster.StateConnected {
			t.Errorf("process %d said %d times that Redis is away and %d times that it is there; health: %s", i, a, c, w.health(t))
		}
	}
	s = f.scene(t, failing(limitedFor("30")), good)
	s.serves(t, chatWhole)
	s.through(f.worlds[1]).holds(t, soon(toldWithin), "a1 told rate_limited")
}

// health is the state of the cluster as the control socket tells it.
func (w *world) health(t testing.TB) cluster.State {
	t.Helper()
	control := controlOf(w.Config.ControlSocket())
	defer control.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://realms/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := control.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var health struct{ Cluster cluster.State }
	if err := json.NewDecoder(res.Body).Decode(&health); err != nil {
		t.Fatal(err)
	}
	return health.Cluster
}

// metric is the sum of a counter over its labels.
func (w *world) metric(t testing.TB, name string) (sum float64) {
	t.Helper()
	families, err := w.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

// What failover is made of works over either store, with Redis and without: then
// each process finds out for itself what it would have been told.
func TestFailoverEverywhere(t *testing.T) {
	t.Parallel()
	for _, engine := range storetest.Engines(t) {
		for _, with := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, Redis %t", engine, with), func(t *testing.T) {
				t.Parallel()
				url, state := "", cluster.StateAlone
				if with {
					url, state = redistest.URL(t), cluster.StateConnected
				}
				f := newFleet(t, engine, url)
				f.join(t)
				f.join(t)
				f.await(t, state)
				t.Run("told", func(t *testing.T) { coreTold(t, f, with) })
				t.Run("breaker", func(t *testing.T) { coreBreaker(t, f) })
				t.Run("sticky", func(t *testing.T) { coreSticky(t, f, with) })
			})
		}
	}
}

// coreTold: a limited key is left for another, and not asked before its time.
func coreTold(t *testing.T, f *fleet, with bool) {
	t.Helper()
	s := f.scene(t, leg{keys: 2})
	limitedKey := s.key("a1")
	s.ups[0].SetScript(s.noting(func(r *testkit.Request) testkit.Fault {
		if r.Key == limitedKey {
			return limitedFor("30")
		}
		return nil
	}))
	for i, w := range f.worlds {
		one, first := s.through(w), "a1 a2"
		if with && i > 0 {
			one.holds(t, soon(toldWithin), "a1 told rate_limited")
			first = "a2"
		}
		if got := one.serves(t, forms[0]); got != first {
			t.Errorf("process %d asked %q, want %q", i, got, first)
		}
		for _, f := range forms {
			if got := one.serves(t, f); got != "a2" {
				t.Errorf("process %d, %s: asked %q", i, f.name, got)
			}
		}
		one.holds(t, 0, "a1 told rate_limited")
	}
}

// coreBreaker: what fails is passed by; each process finds that out for itself.
func coreBreaker(t *testing.T, f *fleet) {
	t.Helper()
	s := f.scene(t, failing(testkit.ServerError()), good)
	for i, w := range f.worlds {
		one := s.through(w)
		for n := range 2 * opensAt {
			want := "a1 b1"
			if n >= opensAt {
				want = "b1"
			}
			if got := one.serves(t, forms[n%len(forms)]); got != want {
				t.Errorf("process %d, request %d: asked %q, want %q", i, n, got, want)
			}
		}
		one.holds(t, 0, "a open server_error")
	}
}

// coreSticky: a session stays with a key until that is told, then with another.
func coreSticky(t *testing.T, f *fleet, with bool) {
	t.Helper()
	s := f.scene(t, leg{keys: 6, edit: alike})
	session := inSession("core")
	home := s.serves(t, session)
	same := func(one *scene, what string) {
		t.Helper()
		for range 5 {
			if got := one.serves(t, session); got != home {
				t.Errorf("%s: asked %q, want %q", what, got, home)
			}
		}
	}
	same(s, "the session")
	other := s.through(f.worlds[1])
	if with {
		eventually(t, "the session to be written", soon(toldWithin), func() bool {
			keys, err := redistest.Do(f.redis, "KEYS", f.prefix+":bind:*")
			return err == nil && len(keys.([]any)) == 1
		})
		same(other, "through another process")
	} else {
		there := other.serves(t, session)
		for range 5 {
			if got := other.serves(t, session); got != there {
				t.Errorf("a process of its own: asked %q, want %q", got, there)
			}
		}
	}
	left := s.key(home)
	s.ups[0].SetScript(s.noting(func(r *testkit.Request) testkit.Fault {
		if r.Key == left {
			return limitedFor("30")
		}
		return nil
	}))
	got := strings.Fields(s.serves(t, session))
	if len(got) != 2 || got[0] != home || got[1] == home {
		t.Fatalf("once it is limited: asked %q, was at %s", got, home)
	}
	home = got[1]
	same(s, "where it went")
}
