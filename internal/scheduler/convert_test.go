package scheduler

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

const (
	chatAlone      = realm.APISet(realm.APIChat)
	responsesAlone = realm.APISet(realm.APIResponses)
)

// eitherNeed is what a chat request needs that can be put in the other form.
func eitherNeed() Need {
	need := chatNeed
	need.Converted = realm.APIResponses
	return need
}

// speaking is a channel of one credential each endpoint, of these dialects.
func speaking(id realm.ID, name string, apis realm.APISet, priority, weight int, names ...string) *realm.Channel {
	ch := channel(id, name, groupA, priority, weight, names)
	ch.APIs = apis
	return ch
}

// form is the present attempt as "a1 chat".
func (r *rig) form(p *Plan) string {
	step := p.Next(r.now)
	if step.Kind != StepAttempt {
		return r.word(step)
	}
	return step.Attempt.Credential.Name + " " + step.Attempt.API.String()
}

func (r *rig) word(step Step) string {
	switch step.Kind {
	case StepWait:
		return "wait"
	case StepQueue:
		return "queue"
	case StepAttempt, StepNone:
	}
	return "none"
}

// forms carries a request to its end; outcomes are by "a1 chat", others refuse the
// key.
func (r *rig) forms(need Need, outcomes map[string]realm.Outcome) string {
	p := r.begin(need)
	defer func() { p.Close(r.now) }()
	var list []string
	for {
		form := r.form(p)
		if form == "none" || form == "wait" || form == "queue" {
			return strings.Join(list, ", ")
		}
		list = append(list, form)
		o, ok := outcomes[form]
		if !ok {
			o = refusal
		}
		r.report(p, o)
		if o.Next == realm.NextStop || o.Cause == realm.CauseOK {
			return strings.Join(list, ", ")
		}
	}
}

// A tier is exhausted before the next, whatever it speaks; within it, those that need
// no conversion come first.
func TestNativeComesBeforeConvertedWithinATier(t *testing.T) {
	for _, tt := range []struct {
		name string
		list []*realm.Channel
		want string
	}{
		{"within", []*realm.Channel{
			speaking(1, "a", responsesAlone, 5, 1000, "a1", "a2"), speaking(2, "b", chatAlone, 5, 1, "b1"), speaking(3, "c", realm.AllAPIs, 5, 0, "c1"),
		}, "b1 chat, c1 chat, a1 responses, a2 responses"},
		{"not across", []*realm.Channel{
			speaking(1, "a", responsesAlone, 9, 1, "a1"), speaking(2, "b", chatAlone, 5, 1, "b1"), speaking(3, "c", realm.AllAPIs, 1, 1, "c1"),
		}, "a1 responses, b1 chat, c1 chat"},
		{"neither", []*realm.Channel{
			speaking(1, "a", realm.APISet(realm.APIEmbeddings), 9, 1, "a1"), speaking(2, "b", responsesAlone, 5, 1, "b1"),
		}, "b1 responses"},
	} {
		r := newRigWith(t, policy, first, tt.list...)
		if got := r.forms(eitherNeed(), nil); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
		native := eitherNeed()
		native.Converted = 0
		r = newRig(t, tt.list...)
		if got := r.forms(native, nil); strings.Contains(got, "responses") {
			t.Errorf("%s, and nothing is converted: %q", tt.name, got)
		}
		r.idle()
	}
}

// One group is exhausted before the next, converted channels too.
func TestConvertedChannelsComeBeforeTheNextGroup(t *testing.T) {
	other := speaking(2, "b", chatAlone, 9, 1, "b1")
	other.Groups = []realm.ID{groupB}
	r := newRig(t, speaking(1, "a", responsesAlone, 0, 1, "a1"), other)
	need := eitherNeed()
	need.Groups = []realm.ID{groupA, groupB}
	if got := r.forms(need, nil); got != "a1 responses, b1 chat" {
		t.Errorf("%q", got)
	}
}

// Weights share the requests out among the native ones, and where they are away among
// the converted ones.
func TestWeightsHoldWithinEachForm(t *testing.T) {
	list := []*realm.Channel{
		speaking(1, "a", chatAlone, 0, 3, "a1"), speaking(2, "b", realm.AllAPIs, 0, 1, "b1"),
		speaking(3, "c", responsesAlone, 0, 6, "c1"), speaking(4, "d", responsesAlone, 0, 2, "d1"),
	}
	r := newRig(t, list...)
	const picks = 8000
	share := func() map[string]int {
		got := map[string]int{}
		for range picks {
			p := r.begin(eitherNeed())
			got[r.form(p)] += 100
			r.report(p, success)
			p.Close(r.now)
		}
		for k := range got {
			got[k] = (got[k]/picks + 2) / 5 * 5 // to 5 %
		}
		return got
	}
	if diff := cmp.Diff(map[string]int{"a1 chat": 75, "b1 chat": 25}, share()); diff != "" {
		t.Errorf("native (-want +got):\n%s", diff)
	}
	for _, id := range []string{"a1", "b1"} {
		need := chatNeed
		need.Credential = r.id(id)
		r.got(r.ask(need, toldFor(time.Hour)), id)
	}
	if diff := cmp.Diff(map[string]int{"c1 responses": 75, "d1 responses": 25}, share()); diff != "" {
		t.Errorf("converted (-want +got):\n%s", diff)
	}
	r.idle()
}

// What lacks the request's own path is asked once in the other form, with the same
// credential; what lacks that too is passed by.
func TestAMissingPathIsAskedInTheOtherForm(t *testing.T) {
	list := func() []*realm.Channel {
		return []*realm.Channel{speaking(1, "a", realm.AllAPIs, 5, 1, "a1", "a2"), speaking(2, "b", chatAlone, 0, 1, "b1")}
	}
	page := noPath
	page.Told, page.Wait = true, 10*time.Minute
	for _, tt := range []struct {
		name        string
		outcomes    map[string]realm.Outcome
		first, next string
	}{
		{"it has the other", map[string]realm.Outcome{"a1 chat": noPath, "a1 responses": success}, "a1 chat, a1 responses", "a2 responses, a1 responses"},
		{"a page", map[string]realm.Outcome{"a1 chat": page, "a1 responses": success}, "a1 chat, a1 responses", "a2 responses, a1 responses"},
		{"it has neither", map[string]realm.Outcome{"a1 chat": noPath, "a1 responses": noPath, "b1 chat": success}, "a1 chat, a1 responses, b1 chat", "b1 chat"},
		{"the key is refused then", map[string]realm.Outcome{"a1 chat": noPath, "a2 responses": success}, "a1 chat, a1 responses, a2 responses", "a2 responses"},
		{"the key has no path either", map[string]realm.Outcome{"a2 chat": noPath, "b1 chat": success}, "a1 chat, a2 chat, a2 responses, b1 chat", "b1 chat"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRigWith(t, policy, first, list()...)
			if got := r.forms(eitherNeed(), tt.outcomes); got != tt.first {
				t.Errorf("first %q, want %q", got, tt.first)
			}
			good := but(tt.outcomes, "a2 responses", refusal)
			if tt.next == "a2 responses" {
				good = but(tt.outcomes, "a2 responses", success)
			}
			if got := r.forms(eitherNeed(), good); got != tt.next {
				t.Errorf("then %q, want %q", got, tt.next)
			}
			r.idle()
		})
	}
}

// but is a copy with another outcome.
func but(of map[string]realm.Outcome, form string, o realm.Outcome) map[string]realm.Outcome {
	list := map[string]realm.Outcome{form: o}
	for k, v := range of {
		if k != form {
			list[k] = v
		}
	}
	return list
}

// A page is believed for its time, and then the channel is asked as before.
func TestAPageInPlaceOfAPathIsForgotten(t *testing.T) {
	page := noPath
	page.Told, page.Wait = true, 10*time.Minute
	r := newRig(t, speaking(1, "a", realm.AllAPIs, 0, 1, "a1"))
	well := map[string]realm.Outcome{"a1 chat": page, "a1 responses": success}
	r.forms(eitherNeed(), well)
	r.pass(10*time.Minute - 1)
	if got := r.forms(eitherNeed(), well); got != "a1 responses" {
		t.Errorf("just before its end: %q", got)
	}
	r.pass(1)
	if got := r.forms(eitherNeed(), well); got != "a1 chat, a1 responses" {
		t.Errorf("after it: %q", got)
	}
	r.forms(eitherNeed(), map[string]realm.Outcome{"a1 chat": noPath})
	r.pass(365 * 24 * time.Hour)
	r.s.Mend(r.snap, 1, 0, r.now)
	if got := r.forms(eitherNeed(), map[string]realm.Outcome{"a1 chat": success}); got != "a1 chat" {
		t.Errorf("once it is mended: %q", got)
	}
}

// An attempt in the other form counts: a channel that may be asked once is not asked
// twice, nor is the request given one more attempt than it may have.
func TestTheOtherFormCounts(t *testing.T) {
	ch := speaking(1, "a", realm.AllAPIs, 5, 1, "a1", "a2")
	ch.Settings.Attempts = 1
	r := newRigWith(t, policy, first, ch, speaking(2, "b", chatAlone, 0, 1, "b1"))
	if got := r.forms(eitherNeed(), map[string]realm.Outcome{"a1 chat": noPath}); got != "a1 chat, b1 chat" {
		t.Errorf("one attempt a channel: %q", got)
	}
	pol := policy
	pol.Attempts = 1
	r = newRigWith(t, pol, first, speaking(1, "a", realm.AllAPIs, 5, 1, "a1"))
	p := r.begin(eitherNeed())
	r.want(p, "a1")
	r.report(p, noPath)
	if got := r.form(p); got != "none" || p.Verdict(r.now).Spent != BudgetAttempts {
		t.Errorf("one attempt a request: %q, %+v", got, p.Verdict(r.now))
	}
	p.Close(r.now)
	r.idle()
}

// A session keeps its account in whichever form it is asked.
func TestASessionKeepsItsAccountInEitherForm(t *testing.T) {
	r := newRig(t, speaking(1, "a", realm.AllAPIs, 5, 1, "a1", "a2", "a3", "a4"), speaking(2, "b", chatAlone, 5, 1, "b1"))
	need := eitherNeed()
	need.Session = realm.RouteKey{1}
	need.Channel = "a"
	p := r.begin(need)
	home := r.next(p)
	r.report(p, noPath)
	r.want(p, home)
	r.report(p, success)
	p.Close(r.now)
	need.Channel = ""
	for range 20 {
		p := r.begin(need)
		if got := r.form(p); got != home+" responses" || p.attempt.Leaves {
			t.Fatalf("%q, leaves %v; its account is %s", got, p.attempt.Leaves, home)
		}
		r.report(p, success)
		p.Close(r.now)
	}
	other := need // what comes as Responses goes to it as it is
	other.API, other.Converted = realm.APIResponses, realm.APIChat
	if got := r.forms(other, map[string]realm.Outcome{home + " responses": success}); got != home+" responses" {
		t.Errorf("in the other dialect: %q", got)
	}
	r.idle()
}

// What needs an upstream that keeps the answer is never converted.
func TestWhatMustBeKeptIsNeverConverted(t *testing.T) {
	need := Need{User: 7, Groups: []realm.ID{groupA}, Model: "m", API: realm.APIResponses, Converted: realm.APIChat, State: true}
	r := newRigWith(t, policy, first, speaking(1, "a", chatAlone, 9, 1, "a1"), speaking(2, "b", realm.AllAPIs, 0, 1, "b1"))
	if got := r.forms(need, map[string]realm.Outcome{"b1 responses": noPath}); got != "b1 responses" {
		t.Errorf("%q", got)
	}
	need.Session = realm.RouteKey{1}
	r = newRig(t, speaking(1, "a", chatAlone, 9, 1, "a1"))
	p := r.begin(need)
	if got := r.form(p); got != "none" || p.Verdict(r.now).Lack != LackState {
		t.Errorf("%q, %+v", got, p.Verdict(r.now))
	}
	p.Close(r.now)
}

// A request that is bound to a credential is asked there in the form it has.
func TestABoundRequestIsConverted(t *testing.T) {
	r := newRig(t, speaking(1, "a", responsesAlone, 0, 1, "a1", "a2"), speaking(2, "b", chatAlone, 9, 1, "b1"))
	need := eitherNeed()
	need.Credential = r.id("a2")
	if got := r.forms(need, nil); got != "a2 responses" {
		t.Errorf("%q", got)
	}
}

// What is learned of one API says nothing of the other: marks, and what operators see.
func TestMarksAreOfTheAPIThatWasUsed(t *testing.T) {
	r := newRigWith(t, policy, first, speaking(1, "a", realm.AllAPIs, 0, 1, "a1"))
	r.forms(eitherNeed(), map[string]realm.Outcome{"a1 chat": noPath, "a1 responses": noPath})
	if got := r.passedBy(chatNeed); !slices.Equal(got, []string{"a1"}) {
		t.Errorf("chat: %q", got)
	}
	other := chatNeed
	other.API = realm.APIResponses
	if got := r.passedBy(other); !slices.Equal(got, []string{"a1"}) {
		t.Errorf("responses: %q", got)
	}
	other.API = realm.APIEmbeddings
	if got := r.passedBy(other); got != nil {
		t.Errorf("embeddings: %q", got)
	}
	var marks []string
	for _, m := range r.s.State(r.snap, r.now)[0].Marks {
		marks = append(marks, string(m.Cause)+" "+m.For)
	}
	slices.Sort(marks)
	if !slices.Equal(marks, []string{"api_missing chat", "api_missing responses"}) {
		t.Errorf("marks %q", marks)
	}
	p := r.begin(eitherNeed())
	if v := p.Verdict(r.now); v.Pathless != 1 || v.Blocked != 1 {
		t.Errorf("the verdict is %+v", v)
	}
	p.Close(r.now)
	r.idle()
}
