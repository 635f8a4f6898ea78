package scheduler

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// Names of models are the clients' to make up: what is remembered of them is
// bounded, and what has to go takes its trouble with it.
func TestMarksAreBounded(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}), channel(2, "b", groupA, 9, 1, []string{"b1"}))
	need := chatNeed
	need.Open, need.Credential = true, 10000
	late := need
	late.Model = "the last"
	for i := range maxRemembered + 1000 {
		need.Model = fmt.Sprint("made up ", i)
		o := toldFor(time.Hour)
		if i%2 == 0 {
			o = forbidden
		}
		r.got(r.ask(need, o), "a1")
	}
	if n := len(r.s.marks.entries); n != maxRemembered || r.s.marks.order.Len() != n {
		t.Errorf("%d marks are remembered (%d in order), %d are allowed", n, r.s.marks.order.Len(), maxRemembered)
	}
	if n := r.s.board.nodes[10000].marks; n != maxRemembered {
		t.Errorf("%d are counted, %d are there", n, maxRemembered)
	}
	r.idle()
	// What was used of late is still known; what went is asked again.
	need.Model = fmt.Sprint("made up ", maxRemembered+999)
	r.got(r.ask(need, success), "none")
	need.Model = "made up 0"
	r.got(r.ask(need, success), "a1")
	r.pass(2 * time.Hour)
	r.idle()
	r.s.Mend(r.snap, 1, 0, r.now)
	r.idle()
	if n := r.s.board.nodes[10000].marks; n != 0 {
		t.Errorf("%d are counted when all is mended", n)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	r := newRig(t, channel(1, "a", groupA, 0, 1, []string{"a1"}))
	key := func(i int) (k realm.RouteKey) {
		binary.BigEndian.PutUint64(k[:], uint64(i)+1)
		return k
	}
	need := chatNeed
	for i := range maxRemembered + 1000 {
		need.Session = key(i)
		r.ask(need, success)
		if i%1000 == 0 { // one that is used stays
			need.Session = key(0)
			r.ask(need, success)
		}
	}
	if n := len(r.s.bindings.entries); n != maxRemembered {
		t.Errorf("%d sessions are remembered, %d are allowed", n, maxRemembered)
	}
	for i, want := range map[int]bool{0: true, 1: false, 500: false, maxRemembered + 999: true} {
		if got := r.s.boundTo(key(i), r.now) != 0; got != want {
			t.Errorf("session %d is bound: %v, want %v", i, got, want)
		}
	}
}

func TestLRU(t *testing.T) {
	var l lru[int, string]
	var gone []string
	l.init(3, func(v string) { gone = append(gone, v) })
	look := func() []string {
		var got []string
		l.all(func(k int, v string) { got = append(got, fmt.Sprint(k, v)) })
		return got
	}
	for i, v := range []string{"a", "b", "c"} {
		l.put(i, v)
	}
	l.get(0)
	l.put(3, "d")
	l.put(2, "C")
	if diff := cmp.Diff([]string{"2C", "3d", "0a"}, look()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	l.deleteIf(func(k int, v string) bool { return v == "d" || k == 0 })
	if diff := cmp.Diff([]string{"2C"}, look()); diff != "" {
		t.Errorf("after a deletion (-want +got):\n%s", diff)
	}
	if _, ok := l.get(3); ok || len(gone) != 3 || gone[0] != "b" {
		t.Errorf("gone are %v", gone)
	}
}

// What was told and keeps requests away is in use: names that are made up meanwhile
// do not push it out.
func TestWhatKeepsRequestsAwayIsRemembered(t *testing.T) {
	for _, names := range []int{1, 20} { // of models that a1 was told about
		r := newRig(t, channel(1, "a", groupA, 9, 1, []string{"a1"}), channel(2, "b", groupA, 0, 1, []string{"b1"}))
		told := chatNeed
		told.Open = true
		for i := range names {
			told.Model = fmt.Sprint("told ", i)
			r.got(r.ask(told, toldFor(time.Hour)), "a1")
		}
		made := told
		made.Channel = "b"
		for i := range maxRemembered + 1000 {
			made.Model = fmt.Sprint("made up ", i)
			r.ask(made, success)
			if i%100 == 0 {
				r.got(r.ask(told, success), "b1")
			}
		}
	}
}
