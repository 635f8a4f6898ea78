package scheduler

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

const (
	groupA realm.ID = 1
	groupB realm.ID = 2
)

// channel builds one with an endpoint per list of credential names.
func channel(id realm.ID, name string, group realm.ID, priority, weight int, endpoints ...[]string) *realm.Channel {
	ch := &realm.Channel{
		ID: id, Name: name, Enabled: true, Priority: priority, Weight: weight, APIs: realm.AllAPIs,
		Groups: []realm.ID{group}, Bindings: []realm.Binding{{Model: "m", Upstream: "up-" + name}},
	}
	for i, names := range endpoints {
		ep := &realm.Endpoint{ID: id*100 + realm.ID(i)}
		for j, n := range names {
			ep.Credentials = append(ep.Credentials, &realm.Credential{
				ID: ep.ID*100 + realm.ID(j), Name: n, Enabled: true, State: realm.CredentialOK, Weight: 1,
			})
		}
		ch.Endpoints = append(ch.Endpoints, ep)
	}
	return ch
}

func snapshot(channels ...*realm.Channel) *realm.Snapshot {
	return realm.NewSnapshot(1, nil, []*realm.Model{{Name: "m", Enabled: true}}, channels)
}

func first(int) int { return 0 }

// policy is the default one.
var policy = Policy{Attempts: 6, FailoverTime: 30 * time.Second, RetryShare: 20, MaxWait: 5 * time.Second, QueueSize: 20, QueueTime: 10 * time.Second}

var refusal = realm.Outcome{Cause: realm.CauseAuth, Scope: realm.ScopeCredential, Next: realm.NextOther}

// clock is a time that moves when it is told to.
type clock struct{ now time.Time }

func newClock() *clock { return &clock{time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) pass(d time.Duration) time.Time {
	c.now = c.now.Add(d)
	return c.now
}

// course carries a request to its end and says whom it asked. Credentials without
// an outcome refuse the key.
func course(s *Scheduler, snap *realm.Snapshot, need Need, c *clock, outcomes map[string]realm.Outcome) []string {
	var p Plan
	s.Begin(&p, snap, need, c.now)
	defer func() { p.Close(c.now) }()
	var got []string
	for {
		step := p.Next(c.now)
		switch step.Kind {
		case StepNone:
			return got
		case StepWait, StepQueue:
			c.pass(step.Wait)
			continue
		case StepAttempt:
		}
		name := step.Attempt.Credential.Name
		got = append(got, name)
		o, ok := outcomes[name]
		if !ok {
			o = refusal
		}
		p.Report(&o, 0, c.now)
		if o.Next == realm.NextStop {
			return got
		}
	}
}

func TestPlanOrder(t *testing.T) {
	two := []*realm.Channel{
		channel(1, "low", groupA, 1, 1, []string{"low1"}),
		channel(2, "high", groupA, 9, 1, []string{"h1", "h2"}, []string{"h3"}),
	}
	endpoint := realm.Outcome{Cause: realm.CauseConnect, Scope: realm.ScopeEndpoint, Next: realm.NextOther}
	passing := realm.Outcome{Cause: realm.CauseServerError, Scope: realm.ScopeEndpointModel, Next: realm.NextOther, Passing: true}
	chanModel := realm.Outcome{Cause: realm.CauseModelMissing, Scope: realm.ScopeChannelModel, Next: realm.NextOther}
	late := passing
	late.Wait = time.Hour
	tests := []struct {
		name     string
		snap     *realm.Snapshot
		need     Need
		outcomes map[string]realm.Outcome
		want     []string
	}{
		{"priority, then every credential once", snapshot(two...), Need{Groups: []realm.ID{groupA}}, nil, []string{"h1", "h3", "h2", "low1"}},
		{"an endpoint's failure puts its other credentials last", snapshot(two...), Need{Groups: []realm.ID{groupA}}, map[string]realm.Outcome{"h1": endpoint}, []string{"h1", "h3", "low1", "h2"}},
		{"a channel's failure passes all of it by", snapshot(two...), Need{Groups: []realm.ID{groupA}}, map[string]realm.Outcome{"h1": chanModel}, []string{"h1", "low1"}},
		{"a passing fault is tried once more, last", snapshot(two...), Need{Groups: []realm.ID{groupA}}, map[string]realm.Outcome{"h1": passing}, []string{"h1", "h3", "low1", "h2", "h1"}},
		{"not after a wait too long", snapshot(two...), Need{Groups: []realm.ID{groupA}}, map[string]realm.Outcome{"h1": late}, []string{"h1", "h3", "low1", "h2"}},
		{"one channel asked for", snapshot(two...), Need{Groups: []realm.ID{groupA}, Channel: "low"}, nil, []string{"low1"}},
		{"one credential bound", snapshot(two...), Need{Groups: []realm.ID{groupA}, Credential: 20100}, nil, []string{"h3"}},
		{"another group's channels are out of reach", snapshot(two...), Need{Groups: []realm.ID{groupB}}, nil, nil},
		{
			"groups in order", snapshot(channel(1, "a", groupA, 9, 1, []string{"a1"}), channel(2, "b", groupB, 1, 1, []string{"b1"})),
			Need{Groups: []realm.ID{groupB, groupA}},
			nil,
			[]string{"b1", "a1"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := New(Options{Rand: first, Policy: policy})
			tt.need.Model, tt.need.API = "m", realm.APIChat
			if diff := cmp.Diff(tt.want, course(s, tt.snap, tt.need, newClock(), tt.outcomes)); diff != "" {
				t.Errorf("attempts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPlanRepeatsTheSameCredentialWhenAsked(t *testing.T) {
	s, c := New(Options{Rand: first, Policy: policy}), newClock()
	var p Plan
	s.Begin(&p, snapshot(channel(1, "a", groupA, 0, 1, []string{"a1", "a2"})), Need{Groups: []realm.ID{groupA}, Model: "m", API: realm.APIChat}, c.now)
	defer p.Close(c.now)
	one := p.Next(c.now).Attempt
	p.Report(&realm.Outcome{Cause: realm.CauseStaleConn, Next: realm.NextSameCredential}, 0, c.now)
	two := p.Next(c.now).Attempt
	if two.Credential != one.Credential || two.Number != 2 {
		t.Fatalf("second attempt is %s number %d, want %s number 2", two.Credential.Name, two.Number, one.Credential.Name)
	}
	p.Report(&refusal, 0, c.now)
	three := p.Next(c.now).Attempt
	if three.Credential == one.Credential || three.Model != "up-a" {
		t.Fatalf("third attempt is %+v, want the other credential", three)
	}
}

func TestSharesFollowWeight(t *testing.T) {
	snap := snapshot(
		channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 0, 3, []string{"b1"}),
		channel(3, "c", groupA, 0, 6, []string{"c1"}), channel(4, "idle", groupA, 0, 0, []string{"i1"}))
	s, c := New(Options{Rand: rand.New(rand.NewPCG(1, 2)).IntN, Policy: policy}), newClock()
	const picks = 100_000
	got := map[string]float64{}
	for range picks {
		for _, name := range course(s, snap, Need{Groups: []realm.ID{groupA}, Model: "m", API: realm.APIChat}, c, allGood) {
			got[name[:1]]++
		}
	}
	for name, want := range map[string]float64{"a": 0.1, "b": 0.3, "c": 0.6, "i": 0} {
		if share := got[name] / picks; math.Abs(share-want) > 0.03*want {
			t.Errorf("channel %s served %.4f of the picks, want %.2f ± 3 %%", name, share, want)
		}
	}
}

var (
	success = realm.Outcome{Cause: realm.CauseOK, Status: 200}
	allGood = map[string]realm.Outcome{"a1": success, "b1": success, "c1": success, "i1": success}
)

func TestWeightZeroServesWhenTheOthersAreExhausted(t *testing.T) {
	s := New(Options{Rand: first, Policy: policy})
	got := course(s, snapshot(channel(1, "a-idle", groupA, 0, 0, []string{"i1"}), channel(2, "b", groupA, 0, 1, []string{"b1"}),
		channel(3, "c-idle", groupA, 0, 0, []string{"i2"})), Need{Groups: []realm.ID{groupA}, Model: "m", API: realm.APIChat}, newClock(), nil)
	if diff := cmp.Diff([]string{"b1", "i1", "i2"}, got); diff != "" {
		t.Errorf("attempts (-want +got):\n%s", diff)
	}
}

func TestLack(t *testing.T) {
	chatOnly := channel(1, "a", groupA, 0, 1, []string{"a1"})
	chatOnly.APIs = realm.APISet(realm.APIChat)
	out := channel(1, "a", groupA, 0, 1, []string{"a1"})
	out.Endpoints[0].Credentials[0].State = realm.CredentialDisabled
	for name, tt := range map[string]struct {
		ch   *realm.Channel
		need Need
		want Lack
	}{
		"unknown model":   {chatOnly, Need{Groups: []realm.ID{groupA}, Model: "x", API: realm.APIChat}, LackModel},
		"another group's": {chatOnly, Need{Groups: []realm.ID{groupB}, Model: "m", API: realm.APIChat}, LackModel},
		"api not spoken":  {chatOnly, Need{Groups: []realm.ID{groupA}, Model: "m", API: realm.APIImages}, LackAPI},
		"all keys out":    {out, Need{Groups: []realm.ID{groupA}, Model: "m", API: realm.APIChat}, LackCredential},
		"no such channel": {chatOnly, Need{Groups: []realm.ID{groupA}, Model: "m", API: realm.APIChat, Channel: "zz"}, LackModel},
	} {
		s, c := New(Options{Rand: first, Policy: policy}), newClock()
		var p Plan
		s.Begin(&p, snapshot(tt.ch), tt.need, c.now)
		if step := p.Next(c.now); step.Kind != StepNone {
			t.Errorf("%s: step %v was given", name, step)
		}
		if got := p.Verdict(c.now).Lack; got != tt.want {
			t.Errorf("%s: lack %d, want %d", name, got, tt.want)
		}
		p.Close(c.now)
	}
}

func TestAnUntroubledChoiceAllocatesNothing(t *testing.T) {
	snap := snapshot(channel(1, "a", groupA, 0, 1, []string{"a1", "a2"}), channel(2, "b", groupA, 0, 1, []string{"b1"}))
	s, c := New(Options{Rand: rand.IntN, Policy: policy}), newClock()
	groups := []realm.ID{groupA}
	p := new(Plan)
	one := func() {
		s.Begin(p, snap, Need{Groups: groups, Model: "m", API: realm.APIChat}, c.now)
		if step := p.Next(c.now); step.Kind != StepAttempt {
			t.Fatal("no attempt")
		}
		p.Report(&success, time.Millisecond, c.now)
		p.Close(c.now)
	}
	for range 100 {
		one() // everything is known by then
	}
	if n := testing.AllocsPerRun(100, one); n > 0 {
		t.Errorf("a choice allocates %v times", n)
	}
}
