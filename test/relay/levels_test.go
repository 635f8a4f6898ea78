package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// grove makes two channels of two endpoints of three credentials each, all asked in
// order. Endpoints are the scene's legs: a and b are the first channel's, c and d
// the second's.
func (w *world) grove(t testing.TB, script testkit.Script) *scene {
	t.Helper()
	s := w.scene(t)
	for c := range 2 {
		var specs []spec
		for range 2 {
			up := testkit.NewUpstream(t, testkit.Options{Script: s.noting(script)})
			keys := s.mint(len(s.ups), 3)
			s.ups, s.names = append(s.ups, up), append(s.names, fmt.Sprintf("hidden-grove-%s-%d", s.model, c))
			specs = append(specs, testapp.Channel("", up.BaseURL, keys...))
		}
		ch := endpoints(s.names[len(s.names)-1], specs...)
		ch.Priority, ch.Bindings, ch.APIs = 100-c, []realm.Binding{{Model: s.model}}, chatAlone
		variants(&ch)
		w.Declare(t, ch)
	}
	return s
}

// Each failure puts out of use what it tells about, and no more, for the requests
// that follow too: of two channels of two endpoints of three credentials.
func TestWhatAFailureKeepsOutOfUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, tt := range []struct {
		name  string
		fault testkit.Fault
		where string // labels that begin so are at fault
		// What is asked by the first request, by a later one, and by one for another
		// model.
		first, later, other string
		times               int // until later holds; 0: at once
	}{
		{"a key", noKey, "a1", "a1 a2", "a2", "a2", 0},
		{"all keys of an endpoint", noKey, "a", "a1 a2 a3 b1", "b1", "b1", 0},
		{"a key's model", noPower, "a1", "a1 a2", "a2", "a1 a2", 0},
		{"a key's limit", testkit.RateLimited("60"), "a1", "a1 a2", "a2", "a1 a2", 0},
		{"a key's quota", noMoney, "a1", "a1 a2", "a2", "a2", 0},
		{"an endpoint's firewall", testkit.Cloudflare(), "a", "a1 b1", "b1", "b1", 0},
		{"an endpoint's model", testkit.ServerError(), "a", "a1 b1", "b1", "a1 b1", opensAt - 1},
		{"an endpoint's answer", testkit.Page(200), "a", "a1 b1", "b1", "a1 b1", opensAt - 1},
		{"both endpoints", testkit.ServerError(), "ab", "a1 b1 c1", "c1", "a1 b1 c1", opensAt - 1},
		{"the channel's model", noModel, "ab", "a1 c1", "c1", "a1 c1", 0},
		{"the channel's API", noPath, "ab", "a1 c1", "c1", "c1", 0},
		{"a key of each endpoint", noKey, "a1 b1 c1", "a1 a2", "a2", "a2", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var s *scene
			s = w.grove(t, func(r *testkit.Request) testkit.Fault {
				label := s.keys[r.Key]
				if strings.Contains(tt.where, label) || !strings.ContainsAny(tt.where, "123") && strings.Contains(tt.where, label[:1]) {
					return tt.fault
				}
				return nil
			})
			if got := s.serves(t, chatWhole); got != tt.first {
				t.Fatalf("the first request asked %q, want %q", got, tt.first)
			}
			for range tt.times {
				s.serves(t, chatWhole)
			}
			if got := s.serves(t, chatWhole); got != tt.later {
				t.Errorf("a later one asked %q, want %q; marks %q", got, tt.later, s.marks(t))
			}
			before := len(s.requests())
			a := s.askFor(t, s.model+"-else", chatWhole)
			if got := strings.Join(strings.Fields(s.asked())[before:], " "); a.StatusCode != http.StatusOK || got != tt.other {
				t.Errorf("one for another model: %d, asked %q, want %q", a.StatusCode, got, tt.other)
			}
		})
	}
}

// An endpoint that cannot be reached is passed by for every model once that is known;
// where it is the channel's first, its second serves.
func TestAnUnreachableEndpoint(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.grove(t, nil)
	s.ups[0].Close()
	for i := range opensAt {
		if a := s.askFor(t, fmt.Sprintf("%s-%d", s.model, i), chatWhole); a.StatusCode != http.StatusOK || s.last() != "b1" {
			t.Fatalf("%d, asked %q", a.StatusCode, s.asked())
		}
	}
	if got := s.marks(t); !strings.Contains(strings.Join(got, ","), "open connect") {
		t.Fatalf("marks: %q", got)
	}
	a := s.ask(t, chatWhole)
	if rec := w.Record(t, a.Response); a.StatusCode != http.StatusOK || rec.Attempts != 1 {
		t.Errorf("%d after %d attempts", a.StatusCode, rec.Attempts)
	}
}

// Within a priority requests are shared out by weight, to the endpoint first; one of
// weight 0 serves when no other can.
func TestCredentialsShareByWeight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	weights := []int{5, 2, 1, 0}
	s := w.scene(t, leg{keys: 4, edit: func(ch *spec) {
		alike(ch)
		for i := range ch.Endpoints[0].Credentials {
			ch.Endpoints[0].Credentials[i].Weight = weights[i]
		}
	}})
	const rounds = 30
	for i := range 8 * rounds {
		s.ask(t, forms[i%len(forms)])
	}
	for i, weight := range weights {
		label := fmt.Sprintf("a%d", i+1)
		if n := s.counted()[label]; n < weight*rounds*97/100 || n > weight*rounds*103/100 {
			t.Errorf("%s of weight %d served %d of %d requests", label, weight, n, 8*rounds)
		}
	}
	faults := map[string]testkit.Fault{s.key("a1"): noKey, s.key("a2"): noKey, s.key("a3"): noKey}
	s.ups[0].SetScript(s.noting(testkit.ByKey(faults)))
	if got := strings.Fields(s.serves(t, chatWhole)); got[len(got)-1] != "a4" {
		t.Errorf("asked %q", got)
	}
}

// A channel's endpoints share its requests by the weights of their credentials.
func TestEndpointsShareByWeight(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.grove(t, nil)
	w.edit(t, s.names[0], func(ch *spec) {
		for i := range ch.Endpoints {
			for j := range ch.Endpoints[i].Credentials {
				cr := &ch.Endpoints[i].Credentials[j]
				cr.Priority, cr.Weight = 0, i*2+1 // 3 on the first endpoint, 9 on the second
			}
		}
	})
	const rounds = 20
	for range 12 * rounds {
		s.ask(t, chatWhole)
	}
	for label, n := range s.counted() {
		want := map[byte]int{'a': rounds, 'b': 3 * rounds}[label[0]]
		if n < want*9/10 || n > want*11/10 {
			t.Errorf("%s served %d of %d requests, want %d", label, n, 12*rounds, want)
		}
	}
}
