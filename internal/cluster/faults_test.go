package cluster_test

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/cluster"
	"realms/internal/realm"
	"realms/internal/testkit/redistest"
)

// asker asks for bindings all the time, as requests do, and measures.
type asker struct {
	mu    sync.Mutex
	took  []time.Duration
	stall time.Duration // the longest that the machine itself let anybody wait
	done  sync.WaitGroup
	stop  context.CancelFunc
}

// ask begins with four askers, each every 5 ms: 800 questions a second.
func ask(t testing.TB, p *process) *asker {
	a := &asker{}
	ctx, cancel := context.WithCancel(context.Background())
	a.stop = cancel
	for i := range 4 {
		a.done.Go(func() {
			tick := time.NewTicker(5 * time.Millisecond)
			defer tick.Stop()
			for ctx.Err() == nil {
				began := time.Now()
				p.Bound(context.Background(), realm.RouteKey{1, byte(i)})
				took := time.Since(began)
				a.mu.Lock()
				a.took = append(a.took, took)
				a.mu.Unlock()
				<-tick.C
			}
		})
	}
	a.done.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			<-time.After(cluster.BoundTimeout)
			late := time.Since(began) - cluster.BoundTimeout
			a.mu.Lock()
			a.stall = max(a.stall, late)
			a.mu.Unlock()
		}
	})
	t.Cleanup(a.end)
	return a
}

func (a *asker) end() {
	a.stop()
	a.done.Wait()
}

// judge holds every question against what a request may lose to Redis.
func (a *asker) judge(t testing.TB) {
	t.Helper()
	a.end()
	slices.Sort(a.took)
	n := len(a.took)
	p50, p99, worst := a.took[n/2], a.took[n*99/100], a.took[n-1]
	t.Logf("%d questions: median %v, p99 %v, longest %v; the machine stalled for %v", n, p50, p99, worst, a.stall)
	if worst > 150*time.Millisecond+a.stall {
		t.Errorf("the longest question took %v", worst)
	}
	if !race && p99 > 60*time.Millisecond {
		t.Errorf("p99 %v", p99)
	}
}

// Whatever happens to Redis, no question takes long, and all comes back.
func TestFaults(t *testing.T) {
	faults := []struct {
		name     string
		rounds   int
		down, up func(*redistest.Server)
	}{
		{"stopped", 10, (*redistest.Server).Stop, (*redistest.Server).Continue},
		{"killed", 10, (*redistest.Server).Kill, (*redistest.Server).Restart},
		{
			"full", 10,
			func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "1") },
			func(s *redistest.Server) { s.Do("CONFIG", "SET", "maxmemory", "0") },
		},
		{
			"read-only", 10,
			func(s *redistest.Server) { s.Do("REPLICAOF", "127.0.0.1", "1") },
			func(s *redistest.Server) { s.Do("REPLICAOF", "NO", "ONE") },
		},
		{ // everybody is thrown out, time and again
			"cut", 3,
			func(s *redistest.Server) {
				s.Do("CLIENT", "KILL", "TYPE", "pubsub")
				s.Do("CLIENT", "KILL", "TYPE", "normal")
			},
			func(*redistest.Server) {},
		},
	}
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			t.Parallel()
			rounds := fault.rounds
			if race || testing.Short() {
				rounds = 3
			}
			s, prefix := redistest.Start(t), redistest.Prefix()
			a, b := connected(t, s.URL(), prefix), connected(t, s.URL(), prefix)
			asker := ask(t, b)
			ask(t, a) // a link that is not asked is found out later
			var back time.Duration
			for i := range rounds {
				load := map[realm.ID]realm.Load{1: {InFlight: i + 1}}
				a.load(load)
				b.loads(t, load)
				fault.down(s)
				began := time.Now()
				told := cooldown(time.Minute)
				a.Tell(told) // while it is down: it is said later
				b.Tell(cooldown(time.Minute))
				if fault.name != "cut" {
					a.await(t, cluster.StateAway)
					b.await(t, cluster.StateAway)
					b.loads(t, nil)
					if took := time.Since(began); took > 2*time.Second {
						t.Errorf("found out after %v", took)
					}
				}
				fault.up(s)
				began = time.Now()
				a.await(t, cluster.StateConnected)
				b.await(t, cluster.StateConnected)
				b.hears(t, told)
				key := realm.RouteKey{byte(i), 9}
				a.Bind(key, 7, time.Minute, false)
				until(t, 10*time.Second, "a binding", func() bool { _, ok := b.Bound(t.Context(), key); return ok })
				back = max(back, time.Since(began))
			}
			t.Logf("back after %v at most", back)
			if back > 10*time.Second {
				t.Errorf("back after %v", back)
			}
			asker.judge(t)
			// Once each time; a machine that stalls may make it more times than rounds.
			gone, came := strings.Count(b.logged(), `"redis is away`), strings.Count(b.logged(), `"redis is connected`)
			if fault.name != "cut" && gone < rounds || gone > came {
				t.Errorf("%d lines say that it is away, %d that it is there, of %d rounds", gone, came, rounds)
			}
		})
	}
}

// It is not there when the process starts, and comes later.
func TestLateRedis(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Kill()
	p := start(t, s.URL(), "")
	told := cooldown(time.Minute)
	p.Tell(told)
	until(t, 5*time.Second, "two tries", func() bool { return p.metric(t, "realms_cluster_errors_total", "") >= 2 })
	if got := p.State(); got != cluster.StateAway {
		t.Errorf("state %q", got)
	}
	s.Restart()
	p.await(t, cluster.StateConnected)
	connected(t, s.URL(), "").hears(t, told)
}

// One that does not take what is written is no use, though it reads and hears.
func TestReadOnlyFromTheStart(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	s.Do("REPLICAOF", "127.0.0.1", "1")
	p := start(t, s.URL(), "")
	until(t, 5*time.Second, "two refusals", func() bool { return p.metric(t, "realms_cluster_errors_total", "refused") >= 2 })
	if text := p.logged(); strings.Contains(text, "connected") {
		t.Errorf("logged %s", text)
	}
}

// Another password than Redis has is as if it were away, and is said in the log
// without it.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	s := redistest.Start(t)
	right, wrong := rand.Text(), rand.Text()
	s.Do("CONFIG", "SET", "requirepass", right)
	p := start(t, (&url.URL{Scheme: "redis", User: url.UserPassword("", wrong), Host: s.Addr}).String(), "")
	until(t, 5*time.Second, "a refusal", func() bool { return p.metric(t, "realms_cluster_errors_total", "refused") > 0 })
	if got := p.State(); got != cluster.StateAway {
		t.Errorf("state %q", got)
	}
	connected(t, (&url.URL{Scheme: "redis", User: url.UserPassword("", right), Host: s.Addr}).String(), "")
	if text := p.logged(); !strings.Contains(text, "WRONGPASS") || strings.Contains(text, wrong) {
		t.Errorf("logged %s", text)
	}
}

// A reply that is lost leaves nobody knowing whether the command was done. Nothing
// here is counted up, so that doing it again changes nothing.
func TestLostReplies(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proxy := newCutter(t, l, url, 10)
	a, b := start(t, "redis://"+proxy.Addr().String(), prefix), connected(t, url, prefix)
	load := map[realm.ID]realm.Load{1: {InFlight: 3, Requests: 50, Tokens: 7000}}
	a.load(load)
	rounds := 60
	if race {
		rounds = 20
	}
	for i := range rounds {
		told := cooldown(time.Minute)
		a.Tell(told)
		a.Bind(realm.RouteKey{byte(i), 1}, told.ID, time.Minute, false)
		b.hears(t, told)
		if got, ok := b.Bound(t.Context(), realm.RouteKey{byte(i), 1}); ok && got != told.ID {
			t.Errorf("bound to %d, want %d", got, told.ID)
		}
	}
	b.loads(t, load)
	b.locked(func() {
		if got := b.most[1]; got != load[1] {
			t.Errorf("others had %+v at one time, which is more than %+v", got, load[1])
		}
	})
	if n := proxy.cut.Load(); n < 5 {
		t.Errorf("only %d replies were lost", n)
	}
}

// Over TLS and over a socket of the machine.
func TestTransports(t *testing.T) {
	t.Parallel()
	url, prefix := redistest.URL(t), redistest.Prefix()
	witness := connected(t, url, prefix)
	certified := httptest.NewTLSServer(nil)
	t.Cleanup(certified.Close)
	secure, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: certified.TLS.Certificates, MinVersion: tls.VersionTLS12})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "redis.sock")
	local, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	newCutter(t, secure, url, 0)
	newCutter(t, local, url, 0)
	for _, address := range []string{"rediss://" + secure.Addr().String() + "?skip_verify=true", "unix://" + path} {
		told := cooldown(time.Minute)
		connected(t, address, prefix).Tell(told)
		witness.hears(t, told)
	}
	stranger := start(t, "rediss://"+secure.Addr().String(), prefix)
	until(t, 5*time.Second, "a refusal", func() bool { return stranger.metric(t, "realms_cluster_errors_total", "connection") > 0 })
	if got := stranger.State(); got != cluster.StateAway {
		t.Errorf("state %q with a certificate that nobody vouches for", got)
	}
}
