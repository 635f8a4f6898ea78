package scheduler

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// sticking is a catalogue in which everything is alike, and a session in it that
// was served by the named credential.
func sticking(t *testing.T) (*rig, Need, string) {
	t.Helper()
	chs := failingChannels()
	chs[1].Priority = 9
	chs[1].Endpoints[0].Credentials = append(chs[1].Endpoints[0].Credentials, &realm.Credential{ID: 20001, Name: "b2", Enabled: true, State: realm.CredentialOK, Weight: 1})
	r := newRig(t, chs...)
	need := chatNeed
	need.Session = realm.RouteKey{1, 2, 3}
	return r, need, r.ask(need, success)
}

// id finds a credential by name.
func (r *rig) id(name string) realm.ID {
	r.Helper()
	for id, cr := range credentials(r.snap) {
		if cr.Name == name {
			return id
		}
	}
	r.Fatalf("there is no %s", name)
	return 0
}

// stays asks ten times.
func (r *rig) stays(need Need, name string) {
	r.Helper()
	for range 10 {
		r.got(r.ask(need, success), name)
	}
}

func TestASessionStays(t *testing.T) {
	r, need, home := sticking(t)
	for range 100 { // renewed by each success
		r.pass(StickyTime - 1)
		r.got(r.ask(need, success), home)
	}
	other := need
	other.Session = realm.RouteKey{4}
	got := map[string]bool{}
	for i := range 50 {
		other.Session[1] = byte(i)
		got[r.ask(other, success)] = true
	}
	if len(got) < 5 {
		t.Errorf("fifty sessions are served by %v alone", got)
	}
	r.pass(30 * time.Minute)
	if r.s.known(need.Session, r.now) {
		t.Error("it is bound for longer than its time")
	}
	got = map[string]bool{}
	for range 30 {
		p := r.begin(need)
		got[r.next(p)] = true
		if p.attempt.Leaves {
			t.Error("a session whose time is over leaves an account")
		}
		p.Close(r.now)
	}
	if len(got) < 3 {
		t.Errorf("after its time it still goes to %v", got)
	}
	r.idle()
}

// Any failure makes it yield at once, and whoever serves then has it from there on.
func TestASessionYieldsToFailure(t *testing.T) {
	for _, o := range []realm.Outcome{connect, timeout, overload, badAnswer, refusal, quota, forbidden, firewall, toldFor(time.Minute), limited, noModel, noPath, emptied} {
		t.Run(string(o.Cause), func(t *testing.T) {
			r, need, home := sticking(t)
			p := r.begin(need)
			r.want(p, home)
			r.report(p, o)
			step := p.Next(r.now)
			if step.Kind != StepAttempt || step.Attempt.Credential.Name == home {
				t.Fatalf("after a failure the next step is %+v", step)
			}
			if !step.Attempt.Leaves {
				t.Error("the second attempt leaves the account, and does not say so")
			}
			next := step.Attempt.Credential.Name
			r.report(p, success)
			p.Close(r.now)
			r.stays(need, next)
			p = r.begin(need)
			if r.want(p, next); p.attempt.Leaves {
				t.Error("at home again it leaves an account")
			}
			p.Close(r.now)
			if got := len(r.bound); got < 2 || r.bound[got-1] != r.id(next) {
				t.Errorf("told of the bindings %v", r.bound)
			}
			r.idle()
		})
	}
}

// It yields as well to what others have found out.
func TestASessionYieldsToWhatIsKnown(t *testing.T) {
	for _, o := range []realm.Outcome{connect, overload, refusal, quota, toldFor(time.Hour), firewall, noModel} {
		r, need, home := sticking(t)
		bound := chatNeed
		bound.Credential = r.id(home)
		for range failuresInARow {
			r.ask(bound, o)
		}
		next := r.ask(need, success)
		if next == home {
			t.Errorf("%s: it is asked", o.Cause)
		}
		r.stays(need, next)
	}
}

// What is only busy keeps its sessions, and so does what does not offer the model.
func TestWhatKeepsASession(t *testing.T) {
	limit := func(l realm.Limits) func(*rig, string) {
		return func(r *rig, home string) {
			r.s.board.nodes[r.id(home)].limit(l)
		}
	}
	for _, tt := range []struct {
		name string
		away func(r *rig, home string) // and what brings it back
		back func(r *rig, home string)
		need func(*Need)
	}{
		{name: "full", away: func(r *rig, home string) {
			limit(realm.Limits{Concurrent: 1})(r, home)
			need := chatNeed
			need.Credential = r.id(home)
			r.want(r.begin(need), home)
		}, back: limit(realm.Limits{})},
		{name: "its minute is used up", away: func(r *rig, home string) {
			limit(realm.Limits{RequestsPerMinute: 1})(r, home)
			need := chatNeed
			need.Credential = r.id(home)
			r.got(r.ask(need, success), home)
		}, back: limit(realm.Limits{})},
		{name: "another model", away: func(r *rig, _ string) {}, back: func(*rig, string) {}, need: func(n *Need) { n.Model = "only" }},
		{name: "another API", away: func(r *rig, _ string) {}, back: func(*rig, string) {}, need: func(n *Need) { n.API = realm.APIResponses }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			chs := failingChannels()
			chs[0].APIs = realm.APISet(realm.APIChat)
			chs[1].Bindings = append(chs[1].Bindings, realm.Binding{Model: "only"})
			r := newRig(t, chs...)
			need := chatNeed
			need.Session = realm.RouteKey{1}
			home := r.ask(need, success)
			other := need
			if tt.need != nil {
				tt.need(&other)
			}
			tt.away(r, home)
			for range 5 {
				p := r.begin(other)
				step := p.Next(r.now)
				if step.Kind != StepAttempt || step.Attempt.Credential.Name == home || tt.need == nil && !step.Attempt.Leaves {
					t.Fatalf("while it is away the step is %+v", step)
				}
				r.report(p, success)
				p.Close(r.now)
			}
			tt.back(r, home)
			r.stays(need, home)
		})
	}
}

// A client's own fault, and a client that leaves, change nothing.
func TestWhatNeitherBindsNorYields(t *testing.T) {
	r, need, home := sticking(t)
	for _, o := range []realm.Outcome{clientErr, clientGone} {
		r.got(r.ask(need, o), home)
		r.stays(need, home)
	}
	fresh := need
	fresh.Session = realm.RouteKey{99}
	r.ask(fresh, clientErr)
	r.ask(fresh, overload)
	if r.s.known(fresh.Session, r.now) {
		t.Error("an attempt that served nothing has bound a session")
	}
	p := r.begin(fresh)
	r.next(p)
	p.Committed(r.now)
	if !r.s.known(fresh.Session, r.now) {
		t.Error("an answer that has begun has not bound its session")
	}
	p.Close(r.now)
}

func TestHardSessions(t *testing.T) {
	r, need, home := sticking(t)
	need.Hard = true
	got := course(r.s, r.snap, need, &r.clock, nil)
	if diff := cmp.Diff([]string{home}, got); diff != "" {
		t.Errorf("a session that no other account can serve (-want +got):\n%s", diff)
	}
	p := r.begin(need)
	r.want(p, "none")
	if v := p.Verdict(r.now); !v.Bound || v.Blocked != 1 {
		t.Errorf("the verdict is %+v", v)
	}
	p.Close(r.now)
	fresh := need
	fresh.Session = realm.RouteKey{77}
	if got := course(r.s, r.snap, fresh, &r.clock, nil); len(got) < 3 {
		t.Errorf("hard, but bound to nobody: %v", got)
	}
	r.idle()
}

// Another process's word binds, and its time begins then.
func TestRebind(t *testing.T) {
	r, need, home := sticking(t)
	key := realm.RouteKey{5}
	need.Session = key
	if r.s.known(key, r.now) {
		t.Fatal("it is bound already")
	}
	r.s.Rebind(key, r.id(home), r.now)
	r.pass(StickyTime - 1)
	if !r.s.known(key, r.now) {
		t.Error("it is not bound")
	}
	r.got(r.ask(need, success), home)
	r.s.Rebind(key, 12345, r.now) // of a credential that is unknown here
	next := r.ask(need, success)
	r.stays(need, next)
	if want := []realm.ID{r.id(next)}; r.bound[len(r.bound)-1] != want[0] {
		t.Errorf("bound to %v", r.bound)
	}
}

// A session whose channel is out of reach for good belongs to whoever serves
// it next.
func TestASessionLeavesADisabledChannel(t *testing.T) {
	build := func(version int64, enabled bool) *realm.Snapshot {
		a := channel(1, "a", groupA, 9, 1, []string{"a1"})
		a.Enabled = enabled
		b := channel(2, "b", groupA, 0, 1, []string{"b1", "b2", "b3", "b4"})
		return realm.NewSnapshot(version, nil, nil, []*realm.Channel{a, b})
	}
	r := newRig(t)
	r.snap = build(1, true)
	need := chatNeed
	need.Session = realm.RouteKey{1}
	r.got(r.ask(need, success), "a1")
	r.snap = build(2, false)
	first := r.ask(need, success)
	for range 10 {
		p := r.begin(need)
		step := p.Next(r.now)
		if got := step.Attempt.Credential.Name; got != first || step.Attempt.Leaves {
			t.Errorf("the session, served by %s, is now served by %s (leaves: %v)", first, got, step.Attempt.Leaves)
			p.Close(r.now)
			break
		}
		r.report(p, success)
		p.Close(r.now)
	}
	r.idle()
}

// For a model that its account does not have, a session has another account, and
// stays with both.
func TestASessionOfTwoModels(t *testing.T) {
	build := func(t *testing.T) (*rig, Need, Need, string) {
		a := channel(1, "a", groupA, 9, 1, []string{"a1", "a2", "a3"})
		b := channel(2, "b", groupA, 0, 1, []string{"b1", "b2", "b3", "b4"})
		b.Bindings = []realm.Binding{{Model: "only"}}
		r := newRig(t, a, b)
		one := chatNeed
		one.Session = realm.RouteKey{1}
		two := one
		two.Model = "only"
		return r, one, two, r.ask(one, success)
	}
	r, one, two, home := build(t)
	other := r.ask(two, success)
	for range 10 {
		r.got(r.ask(two, success), other)
		r.got(r.ask(one, success), home)
	}
	t.Run("leaves", func(t *testing.T) {
		r, _, two, home := build(t)
		p := r.begin(two)
		if step := p.Next(r.now); !step.Attempt.Leaves {
			t.Errorf("from %s to %s: what %s has encrypted goes along", home, step.Attempt.Credential.Name, home)
		}
		p.Close(r.now)
	})
	t.Run("hard", func(t *testing.T) {
		r, _, two, home := build(t)
		two.Hard = true
		if got := r.ask(two, success); got != "none" {
			t.Errorf("only %s can serve it, and %s is asked", home, got)
		}
	})
}

// A channel that has gone to another group is out of its sessions' reach, and one
// that is disabled serves nobody, not even what lives there.
func TestASessionLeavesAChannelOfAnotherGroup(t *testing.T) {
	chs := failingChannels()
	chs[1].Endpoints[0].Credentials = append(chs[1].Endpoints[0].Credentials, &realm.Credential{ID: 20001, Name: "b2", Enabled: true, State: realm.CredentialOK, Weight: 1})
	r := newRig(t, chs...)
	need := chatNeed
	need.Session = realm.RouteKey{1}
	home := r.ask(need, success)
	bound := chatNeed
	bound.Credential = r.id(home)
	r.publish(func(a, b *realm.Channel) {
		a.Groups = []realm.ID{groupB}
		b.Endpoints[0].Credentials = append(b.Endpoints[0].Credentials, &realm.Credential{ID: 20001, Name: "b2", Enabled: true, State: realm.CredentialOK, Weight: 1})
	})
	r.stays(need, r.ask(need, success))
	r.got(r.ask(bound, success), "none")
	bound.Model = "" // about an object alone
	r.got(r.ask(bound, success), "none")
	r.publish(func(a, _ *realm.Channel) { a.Enabled = false })
	r.got(r.ask(bound, success), "none")
	r.publish(nil)
	r.got(r.ask(bound, success), home)
}
