package cluster

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func told(id realm.ID, until time.Time) realm.Cooldown {
	return realm.Cooldown{Scope: realm.ScopeCredential, ID: id, Until: until, Cause: realm.CauseQuota}
}

// What could not be written waits, but never replaces what was said since.
func TestOutboxKeepsTheLastWord(t *testing.T) {
	now := time.Now()
	o := newOutbox(newMetrics(nil))
	first, second := realm.RouteKey{1}, realm.RouteKey{2}
	o.tell(told(1, now.Add(time.Hour)))
	o.tell(told(2, now.Add(time.Hour)))
	o.tell(told(3, now.Add(-time.Second)))
	o.bind(first, binding{7, now.Add(time.Hour), false})
	o.bind(second, binding{7, now.Add(-time.Second), false})
	o.announce()
	b := o.take()
	if again := o.take(); !again.empty() {
		t.Errorf("taken twice: %+v", again)
	}
	o.tell(told(1, time.Time{}))
	o.bind(first, binding{8, now.Add(time.Hour), false})
	o.giveBack(b)
	o.giveBack(batch{}) // nothing was taken, nothing is lost
	b = o.take()
	b.prune(now)
	wantTells := map[topic]realm.Cooldown{}
	for _, d := range []realm.Cooldown{told(1, time.Time{}), told(2, now.Add(time.Hour))} {
		wantTells[topicOf(&d)] = d
	}
	if diff := cmp.Diff(wantTells, b.tells, cmp.AllowUnexported(topic{})); diff != "" {
		t.Errorf("cool-downs (-want +got):\n%s", diff)
	}
	wantBinds := map[realm.RouteKey]binding{first: {8, now.Add(time.Hour), false}}
	if diff := cmp.Diff(wantBinds, b.binds, cmp.AllowUnexported(binding{})); diff != "" {
		t.Errorf("bindings (-want +got):\n%s", diff)
	}
	if !b.notice {
		t.Error("the notice was lost")
	}
}

// While Redis is away for long, what is over makes room for what is new.
func TestOutboxPrunes(t *testing.T) {
	now := time.Now()
	o := newOutbox(newMetrics(nil))
	for i := range realm.ID(maxTells) {
		o.tell(told(i+1, now.Add(time.Minute)))
	}
	o.prune(now)
	if len(o.tells) != maxTells {
		t.Errorf("%d are left of what still holds", len(o.tells))
	}
	o.prune(now.Add(time.Hour))
	if len(o.tells) != 0 {
		t.Errorf("%d are left of what is over", len(o.tells))
	}
}

// The learner reads a key, a message takes it back, and only then is the learner's
// word passed on: the message counts.
func TestLearnerYieldsToNews(t *testing.T) {
	var heard []realm.Cooldown
	c := &Cluster{o: Options{Prefix: "p", Process: "me", Hear: func(d realm.Cooldown) { heard = append(heard, d) }}, metrics: newMetrics(nil)}
	l := &link{c: c, newer: map[topic]bool{}}
	now := time.Now()
	d := told(1, now.Add(time.Minute))
	key := c.coolKey(topicOf(&d))
	value, _ := encodeCooldown("other", &d, now)
	d.Until = time.Time{}
	end, _ := encodeCooldown("other", &d, now)
	if !l.receiveCooldown(end) || !l.learned(key, value, time.Minute) {
		t.Error("taken for garbage")
	}
	if len(heard) != 1 || !heard[0].Until.IsZero() {
		t.Errorf("heard %+v, want the end alone", heard)
	}
	l.newer = nil
	l.learned(key, value, 30*time.Second)
	if len(heard) != 2 || time.Until(heard[1].Until).Round(time.Second) != 30*time.Second {
		t.Errorf("heard %+v, want what Redis says is left", heard)
	}
}
