package relay

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/redistest"
	"realms/internal/testkit/testapp"
)

// What is shared, processes know within so much.
const (
	toldWithin  = time.Second     // an upstream's word, and its end
	loadsWithin = time.Second     // what is under way: two beats, and what a busy machine adds
	outWithin   = 2 * time.Second // what is stored
)

var deactivated = testkit.Error(401, "invalid_request_error", "account_deactivated", "This account is deactivated.")

// alike gives all credentials of a leg the same priority, so that requests spread.
func alike(ch *catalog.ChannelSpec) {
	for i := range ch.Endpoints[0].Credentials {
		ch.Endpoints[0].Credentials[i].Priority = 0
	}
}

// limited gives every credential of a leg limits.
func limited(l realm.Limits) func(*catalog.ChannelSpec) {
	return func(ch *catalog.ChannelSpec) {
		for i := range ch.Endpoints[0].Credentials {
			ch.Endpoints[0].Credentials[i].Limits = l
		}
	}
}

// What one process was told, the others heed at once, and one that comes later
// learns it. So with its end.
func TestToldIsShared(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	f := shared(t, url, 2)
	for _, tt := range []struct {
		name  string
		fault testkit.Fault
		want  string
	}{
		{"429 for 30 s", limitedFor("30"), "a1 told rate_limited"},
		{"no quota", noMoney, "a1 told quota"},
		{"403", noPower, "a1 told forbidden"},
		{"a firewall", testkit.Cloudflare(), "a told blocked"},
		{"no model", noModel, "a told model_missing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := f.scene(t, failing(tt.fault), good)
			other := s.through(f.worlds[1])
			if got := s.serves(t, chatWhole); got != "a1 b1" {
				t.Fatalf("asked %q", got)
			}
			other.holds(t, soon(toldWithin), tt.want)
			late := s.through(f.join(t))
			late.holds(t, soon(3*time.Second), tt.want)
			for _, s := range []*scene{other, late} {
				if got := s.serves(t, chatEvents); got != "b1" {
					t.Errorf("another process asked %q", got)
				}
			}
			other.mend(t)
			s.holds(t, soon(toldWithin))
			late.holds(t, soon(toldWithin))
			if got := s.serves(t, chatWhole); got != "a1 b1" {
				t.Errorf("after it was mended: asked %q", got)
			}
			other.holds(t, soon(toldWithin), tt.want) // it may be told again
			s.mend(t)
			other.holds(t, soon(toldWithin))
			if err := late.w.Stop(); err != nil {
				t.Error(err)
			}
			f.worlds = f.worlds[:2]
		})
	}
}

// The times that a process hears are those that the other was told.
func TestToldTimesAreShared(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	s := f.scene(t, failing(limitedFor("30")), good)
	other := s.through(f.worlds[1])
	s.serves(t, chatWhole)
	other.holds(t, soon(toldWithin), "a1 told rate_limited")
	here, there := s.credential(t, "a1").Marks[0].Until, other.credential(t, "a1").Marks[0].Until
	if d := there.Sub(here).Abs(); d > time.Second || time.Until(here) < 25*time.Second {
		t.Errorf("until %s here, %s there", here, there)
	}
}

// Whoever mends a channel mends it everywhere, even where it had been found out
// apart: what was said of an API holds until then.
func TestMendingIsShared(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	s := f.scene(t, leg{script: testkit.Always(noPath), apis: chatAlone}, good)
	other := s.through(f.worlds[1])
	s.serves(t, chatWhole)
	s.holds(t, 0, "a told api_missing chat")
	other.serves(t, chatWhole)
	other.holds(t, 0, "a told api_missing chat")
	other.mend(t)
	s.holds(t, soon(toldWithin))
}

// What was said of a key is not held against the next one, neither by those who
// were there nor by one that comes later.
func TestANewKeyIsNotBlamed(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	s := f.scene(t, failing(limitedFor("600")), good)
	s.serves(t, chatWhole)
	s.through(f.worlds[1]).holds(t, soon(toldWithin), "a1 told rate_limited")
	s.ups[0].SetScript(nil)
	marker := f.scene(t, failing(limitedFor("600")), good)
	marker.serves(t, chatWhole)
	spec := testapp.Channel(s.names[0], s.ups[0].BaseURL, s.mint(0, 1)...)
	spec.Priority, spec.Bindings = 100, []realm.Binding{{Model: s.model}}
	spec.Endpoints[0].Credentials[0].Name = "credential-1"
	f.worlds[0].Declare(t, spec)
	marker.through(f.join(t)).holds(t, soon(3*time.Second), "a1 told rate_limited") // it has read what there is
	for i, w := range f.worlds {
		f.knows(t, w, s)
		if got := s.through(w).serves(t, chatWhole); got != "a1" {
			t.Errorf("process %d asked %q; marks: %q", i, got, s.through(w).marks(t))
		}
	}
}

// A session stays with its account whichever process a request comes to. A name
// that another user chose is another session.
func TestSessionsAreShared(t *testing.T) {
	t.Parallel()
	url := redistest.URL(t)
	f := shared(t, url, 2)
	s := f.scene(t, leg{keys: 8, edit: alike})
	var names, here, there, others []string
	for i := range 8 {
		names = append(names, fmt.Sprintf("session-%d", i))
		here = append(here, s.serves(t, inSession(names[i])))
	}
	eventually(t, "the sessions to be written", soon(loadsWithin), func() bool {
		keys, err := redistest.Do(url, "KEYS", f.prefix+":bind:*")
		return err == nil && len(keys.([]any)) == len(names)
	})
	token := f.worlds[0].userToken(t, "neighbour", realm.DefaultGroup)
	neighbour := s.through(f.worlds[1])
	eventually(t, "the neighbour to be known", soon(outWithin), func() bool {
		return f.worlds[1].do(f.worlds[1].Request(t, http.MethodGet, "/v1/models", "", "Authorization", "Bearer "+token)).StatusCode == http.StatusOK
	})
	for _, name := range names {
		a := neighbour.ask(t, inSession(name), "Authorization", "Bearer "+token)
		if a.StatusCode != http.StatusOK {
			t.Fatalf("the neighbour: %s", a.Status)
		}
		all := strings.Fields(s.asked())
		others = append(others, all[len(all)-1])
		there = append(there, s.through(f.worlds[1]).serves(t, inSession(name)))
	}
	if !slices.Equal(here, there) {
		t.Errorf("served by\n%q, and through another process by\n%q", here, there)
	}
	if slices.Equal(here, others) {
		t.Errorf("another user's sessions are served by the same, %q", others)
	}
}

// A limit of concurrency is one for all processes: what one has under way, another
// passes by or waits for, and gets when it ends.
func TestConcurrencyIsShared(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	far, near := newGate(t), newGate(t)
	defer far.open()
	defer near.open()
	s := f.scene(t,
		leg{script: testkit.Sequence(far.hold, far.hold), edit: limited(realm.Limits{Concurrent: 2})},
		leg{edit: limited(realm.Limits{Concurrent: 1})})
	other := s.through(f.worlds[1])
	held := []<-chan *answer{s.begin(t, chatEvents), s.begin(t, chatEvents)}
	s.ups[0].WaitRequests(t, 2)
	eventually(t, "the other process to pass by", soon(loadsWithin), func() bool { return other.serves(t, chatWhole) == "b1" })
	for range 5 {
		if got := other.serves(t, chatWhole); got != "b1" {
			t.Errorf("asked %q beside two of two", got)
		}
	}
	if got := other.marks(t); len(got) > 0 {
		t.Errorf("what is full is blamed: %q", got)
	}
	s.ups[1].SetScript(testkit.Always(near.hold))
	count := s.ups[1].Count()
	held = append(held, other.begin(t, chatEvents))
	s.ups[1].WaitRequests(t, count+1)
	first := s.ups[0].Count()
	waiting := other.begin(t, chatWhole) // everything is full
	select {
	case a := <-waiting:
		t.Fatalf("it did not wait: %v %+v", a.err, a.Response)
	case <-time.After(300 * time.Millisecond):
	}
	far.open()
	freed := time.Now()
	if a := <-waiting; a.err != nil || a.StatusCode != http.StatusOK || time.Since(freed) > soon(loadsWithin) || s.ups[0].Count() != first+1 {
		t.Errorf("%v %+v, %s after the slots were free; asked %q", a.err, a.Response, time.Since(freed), s.asked())
	}
	near.open()
	for _, done := range held {
		if a := <-done; a.err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("held: %v %+v", a.err, a.Response)
		}
	}
	f.worlds[0].settles(t)
	f.worlds[1].settles(t)
}

// What a process has under way on a channel counts elsewhere, too, where the channel
// is heard of later than the load.
func TestConcurrencyOfANewChannelIsShared(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	for i := range 3 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			g := newGate(t)
			defer g.open()
			s := f.worlds[0].scene(t, leg{script: testkit.Sequence(g.hold), edit: limited(realm.Limits{Concurrent: 1})}, good)
			held := s.begin(t, chatEvents)
			s.ups[0].WaitRequests(t, 1)
			f.knows(t, f.worlds[1], s)
			other := s.through(f.worlds[1])
			eventually(t, "the other process to pass by", soon(loadsWithin), func() bool { return other.serves(t, chatWhole) == "b1" })
			g.open()
			if a := <-held; a.err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("held: %v %+v", a.err, a.Response)
			}
		})
	}
}

// A limit of a minute is one for all processes. It may be overstepped by what all
// begin while they do not know of each other: each says what it has four times a
// second and adds up as often, so that is half a second. Without sharing it would
// be twice the limit.
func TestRatesAreShared(t *testing.T) {
	t.Parallel()
	const (
		most      = 30
		every     = 50 * time.Millisecond // a request, to each process in turn
		blind     = 500 * time.Millisecond
		slack     = 5 // of a busy machine
		overstep  = int(blind/every) + slack
		unshared  = 2 * most
		questions = 90
	)
	f := shared(t, redistest.URL(t), 2)
	s := f.scene(t, leg{edit: limited(realm.Limits{RequestsPerMinute: most})}, good)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for i := range questions {
		<-tick.C
		if got := s.through(f.worlds[i%2]).serves(t, forms[i/2%len(forms)]); got != "a1" && got != "b1" {
			t.Fatalf("request %d asked %q", i, got)
		}
	}
	n := s.counted()["a1"]
	t.Logf("%d requests where %d a minute are allowed", n, most)
	if n < most || n > most+overstep || most+overstep >= unshared {
		t.Errorf("%d requests, want %d to %d", n, most, most+overstep)
	}
	for _, w := range f.worlds {
		if got := s.through(w).marks(t); len(got) > 0 {
			t.Errorf("what is full is blamed: %q", got)
		}
	}
}

// A key that is refused for good is stored, told once, and asked by nobody; a new
// one is asked by all.
func TestOutOfUseIsShared(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	s := f.scene(t, failing(deactivated), good)
	id := s.credential(t, "a1").ID
	if got := s.serves(t, chatWhole); got != "a1 b1" {
		t.Fatalf("asked %q", got)
	}
	for _, w := range f.worlds {
		one := s.through(w)
		eventually(t, "the credential to be out of use", soon(outWithin), func() bool {
			return one.credential(t, "a1").State == realm.CredentialDisabled
		})
		if got := one.serves(t, respEvents); got != "b1" {
			t.Errorf("asked %q", got)
		}
	}
	stored, err := f.worlds[0].Store.Read().Credentials.Get(t.Context(), id)
	if err != nil || stored.State != realm.CredentialDisabled || !strings.Contains(stored.StateReason, "account_deactivated") {
		t.Errorf("stored: %v %+v", err, stored)
	}
	const warning = "credential out of use until it is mended"
	eventually(t, "the warning", soon(outWithin), func() bool { return f.worlds[0].lines(t, warning, s.names[0]) > 0 })
	if here, there := f.worlds[0].lines(t, warning, s.names[0]), f.worlds[1].lines(t, warning, s.names[0]); here != 1 || there != 0 {
		t.Errorf("warned %d times, and %d times by the process that only heard of it", here, there)
	}
	if n := f.audited(t, id); n != 1 {
		t.Errorf("%d audit rows", n)
	}
}

// When several processes find it out at the same time, it is written down once.
func TestOutOfUseIsFoundOutTogether(t *testing.T) {
	t.Parallel()
	f := shared(t, redistest.URL(t), 2)
	s := f.scene(t, failing(deactivated), good)
	inParallel(20, 10, func(i int) {
		if a := s.through(f.worlds[i%2]).ask(t, forms[i%len(forms)]); a.err != nil || a.StatusCode != http.StatusOK {
			t.Errorf("%v %+v", a.err, a.Response)
		}
	})
	for _, w := range f.worlds {
		eventually(t, "the credential to be out of use", soon(outWithin), func() bool {
			return s.through(w).credential(t, "a1").State == realm.CredentialDisabled
		})
	}
	if n := f.audited(t, s.credential(t, "a1").ID); n != 1 {
		t.Errorf("%d audit rows", n)
	}
}

// audited is how often the audit says that a credential went out of use.
func (f *fleet) audited(t testing.TB, id realm.ID) (n int) {
	t.Helper()
	rows, err := f.worlds[0].Store.Read().Audit.List(t.Context(), store.AuditPage{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if row.ObjectID == id && strings.HasSuffix(row.Verb, "out_of_use") {
			n++
		}
	}
	return n
}
