package cluster_test

import (
	"bytes"
	"context"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"realms/internal/cluster"
	"realms/internal/realm"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// process is a Cluster that runs, and what it was told.
type process struct {
	*cluster.Cluster
	registry *prometheus.Registry
	stop     func() // waits until Run has returned

	mu      sync.Mutex // stands for the scheduler's
	heard   []realm.Cooldown
	others  map[realm.ID]realm.Load
	most    map[realm.ID]realm.Load // of others, at any time
	own     map[realm.ID]realm.Load
	changes int
	log     bytes.Buffer
}

// Write is a line of the log.
func (p *process) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

func (p *process) logged() (text string) {
	p.locked(func() { text = p.log.String() })
	return text
}

// start runs one until the test ends.
func start(t testing.TB, url, prefix string) *process {
	t.Helper()
	p := &process{registry: prometheus.NewRegistry(), most: map[realm.ID]realm.Load{}}
	c, err := cluster.New(cluster.Options{
		URL: url, Prefix: prefix, Registry: p.registry, Log: slog.New(slog.NewJSONHandler(p, nil)),
		Hear: func(d realm.Cooldown) { p.mu.Lock(); defer p.mu.Unlock(); p.heard = append(p.heard, d) },
		Loads: func() map[realm.ID]realm.Load {
			p.mu.Lock()
			defer p.mu.Unlock()
			return maps.Clone(p.own)
		},
		Others: func(o map[realm.ID]realm.Load) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.others = o
			for id, l := range o {
				m := p.most[id]
				p.most[id] = realm.Load{InFlight: max(m.InFlight, l.InFlight), Requests: max(m.Requests, l.Requests), Tokens: max(m.Tokens, l.Tokens)}
			}
		},
		Changed: func() { p.mu.Lock(); defer p.mu.Unlock(); p.changes++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Cluster = c
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	p.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(3 * time.Second):
			t.Error("Run did not return")
		}
	})
	t.Cleanup(func() { p.stop() })
	return p
}

// connected is start, once Redis is there.
func connected(t testing.TB, url, prefix string) *process {
	t.Helper()
	p := start(t, url, prefix)
	p.await(t, cluster.StateConnected)
	return p
}

func (p *process) await(t testing.TB, want cluster.State) {
	t.Helper()
	until(t, 10*time.Second, "state "+string(want), func() bool { return p.State() == want })
}

func (p *process) locked(f func()) { p.mu.Lock(); defer p.mu.Unlock(); f() }

func (p *process) load(own map[realm.ID]realm.Load) { p.locked(func() { p.own = own }) }

// loads waits for what others have under way.
func (p *process) loads(t testing.TB, want map[realm.ID]realm.Load) {
	t.Helper()
	until(t, 6*time.Second, "the others' loads", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return maps.Equal(p.others, want)
	})
}

// last is the last word about something.
func (p *process) last(about realm.Cooldown) (d realm.Cooldown, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, h := range p.heard {
		if h.Scope == about.Scope && h.ID == about.ID && h.Name == about.Name {
			d, ok = h, true
		}
	}
	return d, ok
}

// hears waits for a cool-down, and holds it against what was told.
func (p *process) hears(t testing.TB, told realm.Cooldown) {
	t.Helper()
	until(t, 10*time.Second, "a cool-down", func() bool {
		d, ok := p.last(told)
		return ok && d.Until.IsZero() == told.Until.IsZero()
	})
	d, _ := p.last(told)
	if told.Until.IsZero() {
		return
	}
	if off := d.Until.Sub(told.Until).Abs(); off > 2*time.Second || d.Cause != told.Cause {
		t.Errorf("heard %v because of %q, %v off", d.Until, d.Cause, off)
	}
}

// metric is the sum of a metric over a label's value, or over all for "".
func (p *process) metric(t testing.TB, name, label string) (sum float64) {
	t.Helper()
	families, err := p.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if label == "" || l.GetValue() == label {
					sum += m.GetCounter().GetValue()
				}
			}
			sum += m.GetGauge().GetValue()
		}
	}
	return sum
}

func until(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(limit)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not come within %v", what, limit)
		}
	}
}

// cooldown is one about a made-up credential.
func cooldown(d time.Duration) realm.Cooldown {
	return realm.Cooldown{
		Scope: realm.ScopeCredentialModel, ID: realm.NewID(time.Now()), Name: "gpt-x",
		Until: time.Now().Add(d), Cause: realm.CauseRateLimited,
	}
}
