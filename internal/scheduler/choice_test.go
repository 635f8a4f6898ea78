package scheduler

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// shape is how a number of credentials may stand in a catalogue.
type shape struct {
	name  string
	build func(n int) []*realm.Channel
}

func label(i int) string { return fmt.Sprintf("c%05d", i) }

var shapes = []shape{
	{"one endpoint", func(n int) []*realm.Channel {
		names := make([]string, n)
		for i := range names {
			names[i] = label(i)
		}
		return []*realm.Channel{wide(1, "a", names)}
	}},
	{"an endpoint each", func(n int) []*realm.Channel {
		lists := make([][]string, n)
		for i := range lists {
			lists[i] = []string{label(i)}
		}
		return []*realm.Channel{wide(1, "a", lists...)}
	}},
	{"a channel each", func(n int) []*realm.Channel {
		list := make([]*realm.Channel, n)
		for i := range list {
			list[i] = wide(realm.ID(i+1), label(i), []string{label(i)})
		}
		return list
	}},
}

// wide is a channel with room for a thousand of anything in its ids.
func wide(id realm.ID, name string, endpoints ...[]string) *realm.Channel {
	ch := channel(id, name, groupA, 0, 1, endpoints...)
	for i, ep := range ch.Endpoints {
		ep.ID = id*1_000_000 + realm.ID(i)*1000
		for j, cr := range ep.Credentials {
			cr.ID = 1_000_000_000 + id*1_000_000 + realm.ID(i+j)
		}
	}
	return ch
}

// Every credential has its turn, wherever it stands; with a tenth of them told, the
// others do.
func TestAllOfAThousandHaveTheirTurn(t *testing.T) {
	for _, sh := range shapes {
		for _, size := range [][2]int{{1000, 0}, {1000, 100}, {100, 0}, {100, 30}} {
			n, away := size[0], size[1]
			t.Run(fmt.Sprintf("%s, %d of %d away", sh.name, away, n), func(t *testing.T) {
				const picks = 100_000
				r := newRig(t, sh.build(n)...)
				out := map[string]bool{}
				for _, id := range shuffled(r.snap)[:away] {
					need := chatNeed
					need.Credential = id
					name := r.snap.Credential(id).Name
					r.got(r.ask(need, toldFor(time.Hour)), name)
					out[name] = true
				}
				got := map[string]int{}
				for range picks {
					got[r.ask(chatNeed, success)]++
				}
				least, most := picks, 0
				for i := range n {
					k := got[label(i)]
					if out[label(i)] {
						if k > 0 {
							t.Fatalf("%s is told and was asked %d times", label(i), k)
						}
						continue
					}
					least, most = min(least, k), max(most, k)
				}
				mean := float64(picks) / float64(n-away)
				// Channels are drawn: five deviations. In a channel there are turns.
				room := 5 * math.Sqrt(mean)
				if sh.name != "a channel each" {
					room = max(0.03*mean, 40) // a few more or less, not a share
				}
				if float64(least) < mean-room || float64(most) > mean+room {
					t.Errorf("of %.0f requests each, the least had %d and the most %d", mean, least, most)
				}
				r.idle()
			})
		}
	}
}

// shuffled are the ids of all credentials in an order without a pattern, always the
// same one.
func shuffled(snap *realm.Snapshot) []realm.ID {
	ids := slices.Sorted(maps.Keys(credentials(snap)))
	rng := rand.New(rand.NewPCG(3, 4))
	rng.Shuffle(len(ids), func(i, j int) { ids[i], ids[j] = ids[j], ids[i] })
	return ids
}

func credentials(snap *realm.Snapshot) map[realm.ID]*realm.Credential {
	all := map[realm.ID]*realm.Credential{}
	for _, ch := range snap.Channels() {
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				all[cr.ID] = cr
			}
		}
	}
	return all
}

// Shares of channels, endpoints and credentials by weight, over 100,000 picks,
// while some are away.
func TestSharesWithSomeAway(t *testing.T) {
	build := func() []*realm.Channel {
		list := []*realm.Channel{
			channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 0, 3, []string{"b1", "b2", "b3"}),
			channel(3, "c", groupA, 0, 6, []string{"c1"}, []string{"c2", "c3"}), channel(4, "d", groupA, 0, 10, []string{"d1"}),
		}
		for i, cr := range list[1].Endpoints[0].Credentials {
			cr.Weight = i + 1
		}
		return list
	}
	for _, tt := range []struct {
		name string
		away map[realm.ID]realm.Outcome
		want map[string]float64 // of all picks
	}{
		{"all are well", nil, map[string]float64{
			"a1": 0.05, "b1": 0.025, "b2": 0.05, "b3": 0.075, "c1": 0.1, "c2": 0.1, "c3": 0.1, "d1": 0.5,
		}},
		{"a channel is away", map[realm.ID]realm.Outcome{40000: toldFor(time.Hour)}, map[string]float64{
			"a1": 0.1, "b1": 0.05, "b2": 0.1, "b3": 0.15, "c1": 0.2, "c2": 0.2, "c3": 0.2,
		}},
		{"an endpoint and a credential are away", map[realm.ID]realm.Outcome{30000: firewall, 20002: refusal}, map[string]float64{
			"a1": 0.05, "b1": 0.05, "b2": 0.1, "c2": 0.15, "c3": 0.15, "d1": 0.5,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, build()...)
			for id, o := range tt.away {
				need := chatNeed
				need.Credential = id
				r.ask(need, o)
			}
			const picks = 100_000
			got := map[string]int{}
			for range picks {
				got[r.ask(chatNeed, success)]++
			}
			for name, n := range got {
				want := tt.want[name]
				if share := float64(n) / picks; math.Abs(share-want) > 0.03*want {
					t.Errorf("%s served %.4f, want %.4f ± 3 %%", name, share, want)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("served by %v", got)
			}
		})
	}
}

// Least load first: what is under way counts by weight.
func TestLeastLoad(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"x", "y", "z"})
	ch.Endpoints[0].Credentials[1].Weight = 2
	ch.Endpoints[0].Credentials[2].Weight = 3
	r := newRig(t, ch)
	got := map[string]int{}
	for range 600 {
		got[r.next(r.begin(chatNeed))]++ // none of them ends
	}
	if diff := cmp.Diff(map[string]int{"x": 100, "y": 200, "z": 300}, got); diff != "" {
		t.Errorf("under way (-want +got):\n%s", diff)
	}

	two := channel(1, "a", groupA, 0, 1, []string{"x1", "x2", "x3"}, []string{"y1"})
	r = newRig(t, two)
	got = map[string]int{}
	for range 400 { // an endpoint weighs what its credentials do
		got[r.next(r.begin(chatNeed))[:1]]++
	}
	if diff := cmp.Diff(map[string]int{"x": 300, "y": 100}, got); diff != "" {
		t.Errorf("endpoints (-want +got):\n%s", diff)
	}
}

// A credential's priority comes before its load, within its channel; its weight 0 is
// for when nothing else is left.
func TestPriorityOfCredentials(t *testing.T) {
	build := func() *realm.Channel {
		ch := channel(1, "a", groupA, 0, 1, []string{"p5", "p9"}, []string{"q9", "q5", "zero"})
		list := append(slices.Clone(ch.Endpoints[0].Credentials), ch.Endpoints[1].Credentials...)
		for i, p := range []int{5, 9, 9, 5, 5} {
			list[i].Priority = p
		}
		list[4].Weight = 0
		return ch
	}
	r := newRigWith(t, policy, first, build())
	got := course(r.s, r.snap, chatNeed, &r.clock, nil)
	slices.Sort(got[:2])
	slices.Sort(got[2:4])
	if diff := cmp.Diff([]string{"p9", "q9", "p5", "q5", "zero"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r = newRig(t, build())
	for range 1000 {
		p := r.begin(chatNeed) // however much is under way there
		if name := r.next(p); name != "p9" && name != "q9" {
			t.Fatalf("%s is asked while those of priority 9 are well", name)
		}
	}
}

// The order of everything: groups, then the session, then priority, then weight.
func TestOrderOfTheChoice(t *testing.T) {
	r := newRigWith(t, policy, first,
		channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 9, 1, []string{"b1"}),
		channel(3, "c", groupB, 99, 1, []string{"c1"}), channel(4, "d", groupB, 0, 0, []string{"d1"}))
	need := chatNeed
	need.Session = realm.RouteKey{1}
	only := need
	only.Channel = "a"
	r.got(r.ask(only, success), "a1")
	r.got(r.ask(need, success), "a1") // the session before priority
	other := chatNeed
	r.got(r.ask(other, success), "b1")
	need.Groups = []realm.ID{groupB, groupA}
	r.got(r.ask(need, clientErr), "c1") // groups before the session
	got := course(r.s, r.snap, Need{Groups: []realm.ID{groupB, groupA}, Model: "m", API: realm.APIChat}, &r.clock, nil)
	if diff := cmp.Diff([]string{"c1", "d1", "b1", "a1"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A probe of one endpoint asks that one and no other.
func TestOneEndpointAlone(t *testing.T) {
	r := failing(t)
	need := chatNeed
	need.Channel, need.Endpoint = "a", 101
	for range failuresInARow * 3 {
		r.got(r.ask(need, connect), "a3") // open or not
	}
	got := course(r.s, r.snap, need, &r.clock, nil)
	if diff := cmp.Diff([]string{"a3"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.idle()
}

// What an attempt carries.
func TestTheAttempt(t *testing.T) {
	ten := 10 * time.Second
	ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
	ch.Bindings = []realm.Binding{{Model: "m", Upstream: "up"}, {Model: "my-*", Upstream: "*", Timeouts: realm.Timeouts{FirstEvent: &ten}}}
	r := newRig(t, ch)
	for _, tt := range []struct {
		need     Need
		model    string
		timeouts realm.Timeouts
	}{
		{Need{Model: "m"}, "up", realm.Timeouts{}},
		{Need{Model: "my-gpt"}, "gpt", realm.Timeouts{FirstEvent: &ten}},
		{Need{Model: "else", Open: true}, "else", realm.Timeouts{}},
		{Need{Credential: 10000}, "", realm.Timeouts{}},
	} {
		tt.need.Groups, tt.need.API = chatNeed.Groups, realm.APIChat
		p := r.begin(tt.need)
		step := p.Next(r.now)
		if step.Kind != StepAttempt {
			t.Errorf("%+v: no attempt", tt.need)
			continue
		}
		a := step.Attempt
		if a.Number != 1 || a.Group != groupA || a.Channel.Name != "a" || a.Endpoint.ID != 100 || a.Model != tt.model || a.Leaves {
			t.Errorf("%+v: the attempt is %+v", tt.need, a)
		}
		if diff := cmp.Diff(tt.timeouts, a.Timeouts); diff != "" {
			t.Errorf("%+v: timeouts (-want +got):\n%s", tt.need, diff)
		}
		p.Close(r.now)
	}
	r.idle()
}

// What was away does not get everything when it is back, whatever the weights
// are counted in.
func TestNoCatchingUpWithLargeWeights(t *testing.T) {
	ch := channel(1, "a", groupA, 0, 1, []string{"x", "y"})
	for _, cr := range ch.Endpoints[0].Credentials {
		cr.Weight = 100
	}
	r := newRig(t, ch)
	need := chatNeed
	for r.ask(need, toldFor(time.Minute)) != "x" {
	}
	r.pass(2 * time.Minute)
	r.s.Mend(r.snap, 1, 0, time.Now())
	p := r.begin(need)
	for r.next(p) != "x" {
		r.report(p, success)
		p.Close(r.now)
		p = r.begin(need)
	}
	r.report(p, toldFor(10*time.Minute))
	p.Close(r.now)
	for range 2000 {
		r.got(r.ask(need, success), "y")
	}
	r.pass(20 * time.Minute)
	row := 0
	for range 1000 {
		if r.ask(need, success) != "x" {
			break
		}
		row++
	}
	if row > 2*behind {
		t.Errorf("after being away x serves %d requests in a row", row)
	}
}

// Where the draw keeps hitting what is away, those that are left still share by
// weight.
func TestSharesOfTheFewThatAreLeft(t *testing.T) {
	list := []*realm.Channel{channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 0, 3, []string{"b1"}), channel(3, "z", groupA, 0, 6, []string{"z1"})}
	for i := range 30 {
		list = append(list, channel(realm.ID(10+i), "heavy"+label(i), groupA, 0, 1000, []string{label(i)}))
	}
	r := newRig(t, list...)
	for id, cr := range credentials(r.snap) {
		if cr.Name[0] == 'c' {
			need := chatNeed
			need.Credential = id
			r.got(r.ask(need, toldFor(time.Hour)), cr.Name)
		}
	}
	const picks = 100_000
	got := map[string]int{}
	for range picks {
		got[r.ask(chatNeed, success)]++
	}
	for name, want := range map[string]float64{"a1": 0.1, "b1": 0.3, "z1": 0.6} {
		if share := float64(got[name]) / picks; math.Abs(share-want) > 0.03*want {
			t.Errorf("%s served %.4f, want %.4f ± 3 %%", name, share, want)
		}
	}
}
