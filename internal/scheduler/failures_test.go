package scheduler

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// failing is the catalogue of these tests: a channel of two endpoints and one that
// stands beside it, both with two models.
func failing(t *testing.T) *rig {
	t.Helper()
	r := newRigWith(t, policy, first, failingChannels()...)
	r.begin(chatNeed).Close(r.now) // the snapshot is adopted
	return r
}

func failingChannels() []*realm.Channel {
	list := []*realm.Channel{
		channel(1, "a", groupA, 9, 1, []string{"a1", "a2"}, []string{"a3"}),
		channel(2, "b", groupA, 0, 1, []string{"b1"}),
	}
	for _, ch := range list {
		ch.Bindings = []realm.Binding{{Model: "m"}, {Model: "n"}}
	}
	return list
}

// passedBy names the credentials that are told or open for a need.
func (r *rig) passedBy(need Need) []string {
	var names []string
	b := r.s.board
	for i := range b.channels {
		bc := &b.channels[i]
		for _, l := range bc.levels {
			for j := range l.endpoints {
				for k := range l.endpoints[j].credentials {
					c := choice{0, nil, bc, &l.endpoints[j], &l.endpoints[j].credentials[k], need.API}
					if r.s.health(&c, &need, r.now).kind >= blockOpen {
						names = append(names, c.credential.cr.Name)
					}
				}
			}
		}
	}
	return names
}

// hit has the credential a1 fail for model m over the chat API.
func (r *rig) hit(o realm.Outcome) {
	r.Helper()
	need := chatNeed
	need.Credential = 10000
	r.got(r.ask(need, o), "a1")
}

func TestWhatAFailureMeans(t *testing.T) {
	const forever = 100 * 365 * 24 * time.Hour
	final := refusal
	final.Final = true
	unrenewed := refusal
	unrenewed.Light, unrenewed.Wait = true, 7*time.Second
	quotaTold := quota
	quotaTold.Told, quotaTold.Wait = true, 3*time.Hour
	a1, ep, all := []string{"a1"}, []string{"a1", "a2"}, []string{"a1", "a2", "a3"}
	tests := []struct {
		name  string
		o     realm.Outcome
		times int
		// Who is passed by for the same model and API, for another model, and for
		// another API; and for how long.
		same, model, api []string
		d                time.Duration
	}{
		{"connection refused", connect, 5, ep, ep, ep, 9 * time.Second}, // 10 s less 10 %, as the test draws
		{"connection refused, four times", connect, 4, nil, nil, nil, 0},
		{"no header in time", timeout, 5, ep, ep, ep, 9 * time.Second},
		{"401", refusal, 1, a1, a1, a1, time.Minute},
		{"401 that may pass", unrenewed, 1, a1, a1, a1, 7 * time.Second},
		{"401 of a closed account", final, 1, a1, a1, a1, forever},
		{"403 as a page", firewall, 1, ep, ep, ep, time.Minute},
		{"any other 403", forbidden, 1, a1, nil, a1, 10 * time.Minute},
		{"429 with a time", toldFor(7 * time.Second), 1, a1, nil, a1, 7 * time.Second},
		{"429 with no time left", toldFor(0), 1, a1, nil, a1, leastTold},
		{"429 with days", toldFor(7 * 24 * time.Hour), 1, a1, nil, a1, 7 * 24 * time.Hour},
		{"429 without a time", limited, 1, a1, nil, a1, 5 * time.Second},
		{"insufficient quota", quota, 1, a1, a1, a1, 10 * time.Minute},
		{"quota with a time", quotaTold, 1, a1, a1, a1, 3 * time.Hour},
		{"500", overload, 5, ep, nil, ep, 9 * time.Second},
		{"500, four times", overload, 4, nil, nil, nil, 0},
		{"200 that is none", badAnswer, 5, ep, nil, ep, 9 * time.Second},
		{"model not found", noModel, 1, all, nil, all, 10 * time.Minute},
		{"no such path", noPath, 1, all, all, nil, forever},
		{"empty", emptied, 19, nil, nil, nil, 0},
		{"nothing but empty", emptied, 20, ep, nil, ep, 9 * time.Second},
		{"the client's own fault", clientErr, 30, nil, nil, nil, 0},
		{"the client went away", clientGone, 30, nil, nil, nil, 0},
		{"a stale connection", realm.Outcome{Cause: realm.CauseStaleConn, Next: realm.NextStop}, 30, nil, nil, nil, 0},
		{"a field of ours", realm.Outcome{Cause: realm.CauseField, Next: realm.NextWithoutField}, 30, nil, nil, nil, 0},
	}
	model, api := chatNeed, chatNeed
	model.Model, api.API = "n", realm.APIResponses
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := failing(t)
			for range tt.times {
				r.hit(tt.o)
			}
			look := func() [3][]string { return [3][]string{r.passedBy(chatNeed), r.passedBy(model), r.passedBy(api)} }
			want := [3][]string{tt.same, tt.model, tt.api}
			if diff := cmp.Diff(want, look()); diff != "" {
				t.Fatalf("right after it: who is passed by (same, other model, other API; -want +got):\n%s", diff)
			}
			if tt.d == 0 {
				return
			}
			r.pass(tt.d - 1)
			if diff := cmp.Diff(want, look()); diff != "" {
				t.Errorf("just before %v (-want +got):\n%s", tt.d, diff)
			}
			if tt.d == forever {
				return
			}
			r.pass(1)
			if diff := cmp.Diff([3][]string{}, look()); diff != "" {
				t.Errorf("after %v (-want +got):\n%s", tt.d, diff)
			}
			r.idle()
		})
	}
}

// A request goes on to what the scope leaves, in the order of the table.
func TestWhoIsNext(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    realm.Outcome
		want []string
	}{
		{"credential", refusal, []string{"a1", "a3", "a2", "b1"}}, // the least loaded endpoint first
		{"credential, limited", toldFor(time.Hour), []string{"a1", "a3", "a2", "b1"}},
		{"endpoint", timeout, []string{"a1", "a3", "b1", "a2"}},
		{"endpoint × model", badAnswer, []string{"a1", "a3", "b1", "a2"}},
		{"a page", firewall, []string{"a1", "a3", "b1"}},
		{"channel × model", noModel, []string{"a1", "b1"}},
		{"channel × API", noPath, []string{"a1", "b1"}},
		{"the client's own fault", clientErr, []string{"a1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := failing(t)
			got := course(r.s, r.snap, chatNeed, &r.clock, map[string]realm.Outcome{"a1": tt.o, "a3": refusal})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			r.idle()
		})
	}
}

func TestLimitsWithoutATimeDouble(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    realm.Outcome
		want []time.Duration
	}{
		{"429", limited, []time.Duration{5 * time.Second, 10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute}},
		{"quota", quota, []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := failing(t)
			for round := range 2 {
				for i, want := range tt.want {
					r.hit(tt.o)
					if got := r.told[len(r.told)-1].Until.Sub(r.now); got != want {
						t.Errorf("round %d: word %d holds for %v, want %v", round, i+1, got, want)
					}
					r.pass(want)
				}
				r.hit(success) // and it begins anew
			}
		})
	}
}

func TestLimitsThatWereUnderWayTogetherCountOnce(t *testing.T) {
	for _, o := range []realm.Outcome{limited, quota} {
		r := failing(t)
		need := chatNeed
		need.Credential = 10000
		var plans []*Plan
		for range 10 {
			p := r.begin(need)
			r.want(p, "a1")
			plans = append(plans, p)
		}
		r.pass(time.Millisecond)
		var first time.Time
		for i, p := range plans {
			r.report(p, o)
			p.Close(r.now)
			if until := r.told[len(r.told)-1].Until; i == 0 {
				first = until
			} else if !until.Equal(first) {
				t.Errorf("%s: the word of %d requests together holds until %v, of the first until %v", o.Cause, i+1, until, first)
			}
			r.pass(100 * time.Millisecond)
		}
		r.idle()
	}
}

// What was told holds, whatever else is learned in the meantime: a shorter word, a
// success that was under way.
func TestNothingShortensWhatWasTold(t *testing.T) {
	r := failing(t)
	need := chatNeed
	need.Credential = 10000
	var plans []*Plan
	for range 4 {
		p := r.begin(need)
		r.want(p, "a1")
		plans = append(plans, p)
	}
	for i, o := range []realm.Outcome{toldFor(time.Minute), toldFor(time.Second), success, limited} {
		r.report(plans[i], o)
		plans[i].Close(r.now)
	}
	r.pass(time.Minute - 1)
	if diff := cmp.Diff([]string{"a1"}, r.passedBy(chatNeed)); diff != "" {
		t.Errorf("just before a minute (-want +got):\n%s", diff)
	}
	r.pass(1)
	if got := r.passedBy(chatNeed); got != nil {
		t.Errorf("after it: %v", got)
	}
}

// Told is never asked, whoever needs it: the session, an object that lives there, a
// channel asked for by name, the last of all.
func TestToldIsAskedForNobody(t *testing.T) {
	session, bound, named := chatNeed, chatNeed, chatNeed
	session.Session = realm.RouteKey{9}
	bound.Credential = 10000
	named.Channel = "a"
	for name, need := range map[string]Need{"a session": session, "an object": bound, "a channel's name": named, "anyone": chatNeed} {
		for _, o := range []realm.Outcome{toldFor(time.Hour), refusal, quota, forbidden, firewall, noModel, noPath} {
			r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
			r.got(r.ask(session, success), "a1")
			r.got(r.ask(bound, o), "a1")
			for range 20 {
				if got := r.ask(need, success); got != "none" {
					t.Errorf("%s after %s: the step is %q", name, o.Cause, got)
					break
				}
				r.pass(time.Second)
			}
			r.idle()
		}
	}
}

func TestARefusedKey(t *testing.T) {
	named := refusal
	named.Err = errors.New("invalid_api_key")
	final := named
	final.Final = true
	// Two requests are under way together; the second word comes so much later.
	for _, tt := range []struct {
		name   string
		second realm.Outcome
		after  time.Duration
		want   []string
	}{
		{"at once", named, 0, nil},
		{"within 10 s", named, 10*time.Second - 1, nil},
		{"after 10 s", named, 10 * time.Second, []string{"a1: invalid_api_key"}},
		{"final, at once", final, 0, []string{"a1: invalid_api_key"}},
	} {
		r := failing(t)
		need := chatNeed
		need.Credential = 10000
		p, q, late := r.begin(need), r.begin(need), r.begin(need)
		r.want(p, "a1")
		r.want(q, "a1")
		r.want(late, "a1")
		r.report(p, named)
		r.pass(tt.after)
		r.report(q, tt.second)
		if diff := cmp.Diff(tt.want, r.out); diff != "" {
			t.Errorf("%s: out of use (-want +got):\n%s", tt.name, diff)
		}
		if tt.want != nil { // and once only
			r.pass(time.Hour)
			r.report(late, tt.second)
			if len(r.out) != 1 {
				t.Errorf("%s: told %d times: %v", tt.name, len(r.out), r.out)
			}
			if diff := cmp.Diff([]string{"a1"}, r.passedBy(chatNeed)); diff != "" {
				t.Errorf("%s: an hour later (-want +got):\n%s", tt.name, diff)
			}
		}
		for _, p := range []*Plan{p, q, late} {
			p.Close(r.now)
		}
		r.idle()
	}
}

func TestASuccessRedeemsARefusedKey(t *testing.T) {
	r := failing(t)
	for range 5 {
		r.hit(refusal)
		r.pass(time.Minute)
		r.hit(success)
		r.pass(time.Minute)
	}
	if r.out != nil {
		t.Errorf("a key that works in between is out of use: %v", r.out)
	}
	r.hit(refusal)
	r.pass(time.Minute)
	r.hit(forbidden) // says nothing of the key
	r.pass(10 * time.Minute)
	r.hit(refusal)
	if len(r.out) != 1 {
		t.Errorf("two refusals with no success in between: %v", r.out)
	}
}

// A firewall's page is never the key's fault.
func TestAPageNeverPutsAKeyOutOfUse(t *testing.T) {
	for _, o := range []realm.Outcome{firewall, forbidden} {
		r := failing(t)
		for range 10 {
			r.hit(o)
			r.pass(10 * time.Minute)
		}
		if r.out != nil {
			t.Errorf("%s: %v", o.Cause, r.out)
		}
	}
}

// Other processes hear what an upstream has said, and nothing of our own guesses.
func TestWhatIsToldToOthers(t *testing.T) {
	for _, tt := range []struct {
		o    realm.Outcome
		want []realm.Cooldown
	}{
		{toldFor(7 * time.Second), []realm.Cooldown{{Scope: realm.ScopeCredentialModel, ID: 10000, Name: "m", Cause: realm.CauseRateLimited}}},
		{refusal, []realm.Cooldown{{Scope: realm.ScopeCredential, ID: 10000, Cause: realm.CauseAuth}}},
		{firewall, []realm.Cooldown{{Scope: realm.ScopeEndpoint, ID: 100, Cause: realm.CauseBlocked}}},
		{noModel, []realm.Cooldown{{Scope: realm.ScopeChannelModel, ID: 1, Name: "m", Cause: realm.CauseModelMissing}}},
		{connect, nil},
		{overload, nil},
		{clientErr, nil},
	} {
		r := failing(t)
		for range failuresInARow {
			if tt.want == nil || r.told == nil {
				r.hit(tt.o)
			}
		}
		for i := range r.told {
			if !r.told[i].Until.After(r.now) {
				t.Errorf("%s: until %v", tt.o.Cause, r.told[i].Until)
			}
			if got, want := r.told[i].Print, r.s.board.nodes[r.told[i].ID].fingerprint(nil); got != want || got == 0 {
				t.Errorf("%s: told of %d, which is %d", tt.o.Cause, got, want)
			}
			r.told[i].Until, r.told[i].Print = time.Time{}, 0
		}
		if diff := cmp.Diff(tt.want, r.told); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.o.Cause, diff)
		}
	}
}

// A 404 for the model in one channel is no blame for its endpoints and keys.
func TestAMissingModelBlamesNobodyElse(t *testing.T) {
	r := failing(t)
	r.hit(noModel)
	for _, ch := range r.s.State(r.snap, r.now) {
		for _, ep := range ch.Endpoints {
			if len(ep.Marks) != 0 || slices.ContainsFunc(ep.Credentials, func(c CredentialState) bool { return len(c.Marks) != 0 }) {
				t.Errorf("%s has marks: %+v", ch.Name, ep)
			}
		}
		if want := map[string]int{"a": 1, "b": 0}[ch.Name]; len(ch.Marks) != want {
			t.Errorf("%s has %d marks, want %d", ch.Name, len(ch.Marks), want)
		}
	}
}

// Requests that began at the very instant of the first word were under way
// with it.
func TestLimitsAtTheSameInstantCountOnce(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
	p, q := r.begin(chatNeed), r.begin(chatNeed)
	r.want(p, "a1")
	r.want(q, "a1")
	r.report(p, limited)
	r.report(q, limited)
	if got := r.told[1].Until.Sub(r.now); got != limitLeast {
		t.Errorf("the second word of two at the same instant holds for %v, want %v", got, limitLeast)
	}
	p.Close(r.now)
	q.Close(r.now)
}
