package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// publish replaces the catalogue by the one of failing with a change.
func (r *rig) publish(change func(a, b *realm.Channel)) {
	chs := failingChannels()
	if change != nil {
		change(chs[0], chs[1])
	}
	r.snap = realm.NewSnapshot(r.snap.Version+1, nil, nil, chs)
	r.begin(chatNeed).Close(r.now)
}

// What was learned of something is forgotten when it changes, and of nothing else.
func TestWhatAChangeForgets(t *testing.T) {
	out := func(a, _ *realm.Channel) { a.Endpoints[0].Credentials[0].State = realm.CredentialDisabled }
	outcomes := map[string]realm.Outcome{"path": noPath, "model": noModel, "page": firewall, "key": refusal}
	keeps := func(names ...string) []string { return names }
	for _, tt := range []struct {
		name    string
		changes []func(a, b *realm.Channel)
		want    []string // what is still known, of the four
	}{
		{"nothing", []func(a, b *realm.Channel){nil}, keeps("key", "model", "page", "path")},
		{"the other channel", []func(a, b *realm.Channel){func(_, b *realm.Channel) { b.Settings.Proxy = "http://p" }}, keeps("key", "model", "page", "path")},
		{"priority and weight", []func(a, b *realm.Channel){func(a, _ *realm.Channel) { a.Priority, a.Weight = 3, 7 }}, keeps("key", "model", "page", "path")},
		{"another key's secret", []func(a, b *realm.Channel){func(a, _ *realm.Channel) { a.Endpoints[0].Credentials[1].APIKey = "other" }}, keeps("key", "model", "page", "path")},
		{"the key's secret", []func(a, b *realm.Channel){func(a, _ *realm.Channel) { a.Endpoints[0].Credentials[0].APIKey = "new" }}, keeps("model", "page", "path")},
		{"the key is out of use, and mended", []func(a, b *realm.Channel){out, nil}, keeps("model", "page", "path")},
		{"its bindings", []func(a, b *realm.Channel){func(a, _ *realm.Channel) { a.Bindings[0].Upstream = "x" }}, keeps("key", "page")},
		{"its APIs", []func(a, b *realm.Channel){func(a, _ *realm.Channel) { a.APIs = realm.APISet(realm.APIChat) }}, keeps("key", "page")},
		{"its proxy", []func(a, b *realm.Channel){func(a, _ *realm.Channel) { a.Settings.Proxy = "http://p" }}, keeps("key")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, what := range []string{"key", "model", "page", "path"} {
				r := failing(t)
				r.snap = realm.NewSnapshot(1, nil, nil, failingChannels())
				r.hit(outcomes[what])
				for _, change := range tt.changes {
					r.publish(change)
				}
				if r.passedBy(chatNeed) != nil {
					got = append(got, what)
				}
				r.idle()
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("still known (-want +got):\n%s", diff)
			}
		})
	}
}

// What is under way stays counted from one catalogue to the next, what it learns
// then still counts, and what left the catalogue takes nothing with it.
func TestAttemptsAcrossCatalogues(t *testing.T) {
	r := failing(t)
	need := chatNeed
	need.Credential = 10000
	p := r.begin(need)
	r.want(p, "a1")
	r.publish(func(a, _ *realm.Channel) { a.Priority = 0 })
	if n := r.s.State(r.snap, r.now)[0].Endpoints[0].Credentials[0].InFlight; n != 1 {
		t.Errorf("%d in flight after a change, want 1", n)
	}
	r.report(p, toldFor(time.Minute))
	p.Close(r.now)
	if diff := cmp.Diff([]string{"a1"}, r.passedBy(chatNeed)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	gone := r.begin(Need{Groups: chatNeed.Groups, Model: "m", API: realm.APIChat, Credential: 10001})
	r.want(gone, "a2")
	r.publish(func(a, _ *realm.Channel) { a.Endpoints[0].Credentials = a.Endpoints[0].Credentials[:1] })
	r.report(gone, refusal)
	gone.Close(r.now)
	r.idle()
	r.publish(nil)
	r.idle()
}

// A request that began with the catalogue of before goes on with it.
func TestAnOlderCatalogue(t *testing.T) {
	r := failing(t)
	old := r.snap
	r.publish(func(a, _ *realm.Channel) { a.Enabled = false })
	latest := r.snap
	r.snap = old
	p := r.begin(chatNeed)
	r.want(p, "a1")
	r.snap = latest
	if got := r.ask(chatNeed, success); got != "b1" {
		t.Errorf("beside it, a new one is served by %q", got)
	}
	if n := r.s.State(latest, r.now)[0].InFlight; n != 1 {
		t.Errorf("%d in flight, want 1", n)
	}
	p.Close(r.now)
	r.idle()
}

func TestMend(t *testing.T) {
	for _, tt := range []struct {
		name          string
		channel, mend realm.ID
		o             realm.Outcome
		want          []string
		parts         int // about which others are told that nothing holds any more
	}{
		{"the credential", 1, 10000, refusal, nil, 1},
		{"another credential", 1, 10001, refusal, []string{"a1"}, 1},
		{"its channel", 1, 0, refusal, nil, 6},
		{"another channel", 2, 0, refusal, []string{"a1"}, 3},
		{"the credential, but its endpoint is", 1, 10000, firewall, []string{"a1", "a2"}, 1},
		{"the channel, and its endpoint is", 1, 0, firewall, nil, 6},
		{"the channel, and its breaker is", 1, 0, connect, nil, 6},
		{"the channel, and its path is", 1, 0, noPath, nil, 6},
		{"the channel, and its model is", 1, 0, noModel, nil, 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := failing(t)
			for range failuresInARow {
				if r.passedBy(chatNeed) == nil {
					r.hit(tt.o)
				}
			}
			r.told = nil
			r.s.Mend(r.snap, tt.channel, tt.mend, r.now)
			if diff := cmp.Diff(tt.want, r.passedBy(chatNeed)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			parts := map[realm.ID]bool{}
			for _, c := range r.told {
				if !c.Until.IsZero() || c.Print == 0 {
					t.Errorf("others are told %+v", c)
				}
				if c.Name == realm.AnyModel {
					parts[c.ID] = true
				}
			}
			if len(parts) != tt.parts {
				t.Errorf("others are told of %v", parts)
			}
			if tt.want == nil { // and nothing of it lingers
				r.stays(Need{Groups: chatNeed.Groups, Model: "m", API: realm.APIChat, Credential: 10000}, "a1")
			}
			r.idle()
		})
	}
}

// A mended key is given another chance of the same length.
func TestAMendedKeyIsNotOnItsLastChance(t *testing.T) {
	r := failing(t)
	r.hit(refusal)
	r.pass(30 * time.Second)
	r.s.Mend(r.snap, 1, 10000, r.now)
	r.hit(refusal)
	if r.out != nil {
		t.Errorf("its first refusal since puts it out of use: %v", r.out)
	}
}

// What another process was told holds here for as long, and is told no further.
func TestHear(t *testing.T) {
	r := failing(t)
	word := realm.Cooldown{Scope: realm.ScopeCredentialModel, ID: 10000, Name: "m", Until: r.now.Add(time.Minute), Cause: realm.CauseRateLimited}
	r.hear(word)
	if diff := cmp.Diff([]string{"a1"}, r.passedBy(chatNeed)); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	other := chatNeed
	other.Model = "n"
	if got := r.passedBy(other); got != nil {
		t.Errorf("for another model %v are passed by", got)
	}
	shorter := word
	shorter.Until = r.now.Add(time.Second)
	r.hear(shorter) // does not shorten it
	late := word
	late.Until = r.now.Add(-time.Second)
	r.hear(late)
	unknown := word
	unknown.ID = 999
	r.s.Hear(unknown, r.now)
	r.pass(time.Minute - 1)
	if diff := cmp.Diff([]string{"a1"}, r.passedBy(chatNeed)); diff != "" {
		t.Errorf("just before its time (-want +got):\n%s", diff)
	}
	r.pass(1)
	if got := r.passedBy(chatNeed); got != nil {
		t.Errorf("after its time %v", got)
	}
	if r.told != nil {
		t.Errorf("told further: %+v", r.told)
	}

	word.Until = r.now.Add(time.Hour)
	r.hear(word)
	other.Model = "m"
	r.hear(realm.Cooldown{Scope: realm.ScopeEndpoint, ID: 101, Until: r.now.Add(time.Hour), Cause: realm.CauseBlocked})
	r.hear(realm.Cooldown{Scope: word.Scope, ID: word.ID, Name: "m"}) // not any more
	if diff := cmp.Diff([]string{"a3"}, r.passedBy(chatNeed)); diff != "" {
		t.Errorf("after one is taken back (-want +got):\n%s", diff)
	}
	// A word heard is no strike of ours.
	r.hear(realm.Cooldown{Scope: word.Scope, ID: word.ID, Name: "m", Until: r.now.Add(time.Second), Cause: realm.CauseRateLimited})
	r.pass(time.Second)
	r.hit(limited)
	if got := r.told[len(r.told)-1].Until.Sub(r.now); got != limitLeast {
		t.Errorf("our first 429 holds for %v, want %v", got, limitLeast)
	}
	r.idle()
}

// hear has the scheduler hear a word about what it knows now.
func (r *rig) hear(c realm.Cooldown) {
	c.Print = r.s.board.nodes[c.ID].fingerprint(nil)
	r.s.Hear(c, r.now)
}

// Two processes: what one is told the other hears, as long as both mean the same.
func TestTwoProcesses(t *testing.T) {
	changed := func(version int64) *realm.Snapshot {
		chs := failingChannels()
		chs[0].Endpoints[0].Credentials[0].APIKey = "another"
		chs[1].Settings.Proxy = "http://proxy"
		return realm.NewSnapshot(version, nil, nil, chs)
	}
	for _, tt := range []struct {
		name string
		o    realm.Outcome
		of   string // whom it befalls
		want []string
		kept []string // once this process, which has the changed catalogue, hears it
	}{
		{"a key", refusal, "a1", []string{"a1"}, nil},
		{"a limit", toldFor(time.Hour), "a1", []string{"a1"}, nil},
		{"another key", refusal, "a2", []string{"a2"}, []string{"a2"}},
		{"a page", firewall, "a1", []string{"a1", "a2"}, []string{"a1", "a2"}},
		{"a model", noModel, "a3", []string{"a1", "a2", "a3"}, []string{"a1", "a2", "a3"}},
		{"a page of the changed channel", firewall, "b1", []string{"b1"}, nil},
		{"a model of the changed channel", noModel, "b1", []string{"b1"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one, two, late := failing(t), failing(t), failing(t)
			for _, r := range []*rig{one, two} {
				r.snap = realm.NewSnapshot(1, nil, nil, failingChannels())
				r.begin(chatNeed).Close(r.now)
			}
			late.snap = changed(2)
			late.begin(chatNeed).Close(late.now)
			tell := func(from, to *rig) {
				for _, c := range from.told {
					to.s.Hear(c, to.now)
				}
			}
			one.hit2(tt.of, tt.o)
			tell(one, two)
			if diff := cmp.Diff(tt.want, two.passedBy(chatNeed)); diff != "" {
				t.Fatalf("the other one (-want +got):\n%s", diff)
			}
			tell(one, late)
			if diff := cmp.Diff(tt.kept, late.passedBy(chatNeed)); diff != "" {
				t.Errorf("one with a changed catalogue (-want +got):\n%s", diff)
			}
			one.told = nil
			for _, id := range []realm.ID{1, 2} {
				one.s.Mend(one.snap, id, 0, one.now)
			}
			tell(one, two)
			if got := two.passedBy(chatNeed); got != nil {
				t.Errorf("after it was mended by one the other one has %v", got)
			}
			// What a change disproves is taken back from those who do not know of it yet.
			one.hit2(tt.of, tt.o)
			tell(one, two)
			one.told = nil
			one.snap = changed(2)
			one.begin(chatNeed).Close(one.now)
			tell(one, two)
			if diff := cmp.Diff(tt.kept, two.passedBy(chatNeed)); diff != "" {
				t.Errorf("after a change (-want +got):\n%s", diff)
			}
			for _, r := range []*rig{one, two, late} {
				r.idle()
			}
		})
	}
}

// The marks an operator sees.
func TestStateShowsMarks(t *testing.T) {
	r := failing(t)
	r.hit(toldFor(time.Minute))
	r.hit2("a3", noModel)
	for range failuresInARow {
		r.hit2("b1", overload)
	}
	r.hit2("b1", quota)
	state := func() map[string][]Mark {
		got := map[string][]Mark{}
		put := func(name string, marks []Mark) {
			if marks != nil {
				got[name] = marks
			}
		}
		for _, ch := range r.s.State(r.snap, r.now) {
			put(ch.Name, ch.Marks)
			for _, ep := range ch.Endpoints {
				put(ch.Name+"/"+ep.Credentials[0].Name+"…", ep.Marks)
				for _, cr := range ep.Credentials {
					put(cr.Name, cr.Marks)
				}
			}
		}
		return got
	}
	at := func(d time.Duration) time.Time { return newClock().now.Add(d) }
	told := func(name string, cause realm.Cause, until time.Time) Mark {
		return Mark{MarkTold, name, cause, at(0), until}
	}
	for _, tt := range []struct {
		after time.Duration
		want  map[string][]Mark
	}{
		{0, map[string][]Mark{
			"a":     {told("m", realm.CauseModelMissing, at(10*time.Minute))},
			"a1":    {told("m", realm.CauseRateLimited, at(time.Minute))},
			"b/b1…": {{MarkOpen, "m", realm.CauseServerError, at(0), at(9 * time.Second)}},
			"b1":    {told("", realm.CauseQuota, at(10*time.Minute))},
		}},
		{10 * time.Second, map[string][]Mark{
			"a":     {told("m", realm.CauseModelMissing, at(10*time.Minute))},
			"a1":    {told("m", realm.CauseRateLimited, at(time.Minute))},
			"b/b1…": {{MarkHalfOpen, "m", realm.CauseServerError, at(0), time.Time{}}},
			"b1":    {told("", realm.CauseQuota, at(10*time.Minute))},
		}},
		{65 * time.Second, map[string][]Mark{
			"a":     {told("m", realm.CauseModelMissing, at(10*time.Minute))},
			"a1":    {{MarkRecovering, "m", realm.CauseRateLimited, at(time.Minute), at(70 * time.Second)}},
			"b/b1…": {{MarkHalfOpen, "m", realm.CauseServerError, at(0), time.Time{}}},
			"b1":    {told("", realm.CauseQuota, at(10*time.Minute))},
		}},
		{time.Hour, map[string][]Mark{
			"b/b1…": {{MarkHalfOpen, "m", realm.CauseServerError, at(0), time.Time{}}},
		}},
	} {
		r.now = at(tt.after)
		if diff := cmp.Diff(tt.want, state()); diff != "" {
			t.Errorf("after %v (-want +got):\n%s", tt.after, diff)
		}
	}
}

// hit2 has a credential fail, by its name.
func (r *rig) hit2(name string, o realm.Outcome) {
	r.Helper()
	need := chatNeed
	need.Credential = r.id(name)
	r.got(r.ask(need, o), name)
}

// Success share and time to first byte of the last 5 and 60 minutes.
func TestStateShowsShares(t *testing.T) {
	r := failing(t)
	end := func(o realm.Outcome, firstByte time.Duration) {
		need := chatNeed
		need.Credential = 10000
		p := r.begin(need)
		r.want(p, "a1")
		p.Report(&o, firstByte, r.now)
		p.Close(r.now)
	}
	end(success, 100*time.Millisecond)
	end(overload, 0)
	r.pass(30 * time.Minute)
	end(success, 300*time.Millisecond)
	end(clientErr, 500*time.Millisecond)
	end(emptied, 400*time.Millisecond)
	end(clientGone, 0)
	end(staleConn, 0)
	look := func() [2]Share {
		cr := r.s.State(r.snap, r.now)[0].Endpoints[0].Credentials[0]
		return [2]Share{cr.Last5, cr.Last60}
	}
	want := [2]Share{{2, 2, 350}, {4, 3, 266}}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.pass(5 * time.Minute)
	want[0] = Share{}
	if diff := cmp.Diff(want, look()); diff != "" {
		t.Errorf("five minutes later (-want +got):\n%s", diff)
	}
	r.pass(25 * time.Minute)
	if diff := cmp.Diff([2]Share{{}, {2, 2, 350}}, look()); diff != "" {
		t.Errorf("half an hour later (-want +got):\n%s", diff)
	}
	r.pass(2 * time.Hour)
	if diff := cmp.Diff([2]Share{}, look()); diff != "" {
		t.Errorf("two hours later (-want +got):\n%s", diff)
	}
}

// Limits of the newest catalogue hold, whatever older snapshot a request that
// was reading its body comes with.
func TestAnOlderSnapshotDoesNotLiftLimits(t *testing.T) {
	limitedOne := channel(1, "a", groupA, 0, 1, []string{"a1"})
	limitedOne.Endpoints[0].Credentials[0].Limits.Concurrent = 1
	r := newRig(t, limitedOne)
	older := r.snap
	r.snap = realm.NewSnapshot(2, nil, nil, []*realm.Channel{func() *realm.Channel {
		ch := channel(1, "a", groupA, 0, 1, []string{"a1"})
		ch.Endpoints[0].Credentials[0].Limits.Concurrent = 1
		return ch
	}()})
	older.Channels()[0].Endpoints[0].Credentials[0].Limits = realm.Limits{}
	p := r.begin(chatNeed)
	r.want(p, "a1")
	newest := r.snap
	r.snap = older
	late := r.begin(chatNeed)
	late.Close(r.now)
	r.snap = newest
	q := r.begin(chatNeed)
	if got := r.next(q); got != "queue 10s" {
		t.Errorf("beside a request that fills the credential the next step is %q, want the queue", got)
	}
	q.Close(r.now)
	p.Close(r.now)
	r.idle()
}
