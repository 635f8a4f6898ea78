package relay

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// position is where a request's User-Agent, which reaches the upstream, asks the
// first upstream to cut its answer.
func position(r *testkit.Request) int {
	n, err := strconv.Atoi(strings.TrimPrefix(r.Header.Get("User-Agent"), "cut/"))
	if err != nil {
		return -1
	}
	return n
}

// C-FO-01: whatever byte an upstream's stream is cut at. Before its first output
// the other upstream answers, and there is no trace of the first; from then on
// nobody else is asked, and the client has the beginning of that one stream.
func TestNoFailoverAfterTheFirstByte(t *testing.T) {
	t.Parallel()
	for _, f := range streams {
		t.Run(f.name, func(t *testing.T) {
			inLayouts(t, nil, func(t *testing.T, w *world) {
				t.Helper()
				step := 1
				if w.converted { // every byte is looked at as it comes up; going down, events are what matters
					step = 5
				}
				cutEverywhere(t, w, f, testkit.EndFIN, sparse(step))
				cutEverywhere(t, w, f, testkit.EndReset, sparse(5*step))
			})
		})
	}
}

func cutEverywhere(t *testing.T, w *world, f form, end testkit.End, step int) {
	t.Helper()
	alpha, beta := testkit.Say("alpha", " one"), testkit.Say("beta", " two")
	s := w.scene(t, leg{script: func(r *testkit.Request) testkit.Fault {
		if n := position(r); n >= 0 {
			return testkit.All(alpha, testkit.CutBytes(n, end))
		}
		return alpha
	}}, failing(beta))
	whole, other := s.clean(t, w.heard(f), alpha), s.clean(t, w.heard(f), beta)
	s.declare(t, f)
	first := 0 // where the first output ends
	for _, c := range whole {
		if first += len(c); bytes.Contains(c, []byte("alpha")) {
			break
		}
	}
	all := bytes.Join(whole, nil)
	answers := make([]*answer, (len(all)+step-1)/step)
	inParallel(len(answers), 4, func(i int) {
		s.mend(t)
		answers[i] = s.ask(t, f, "User-Agent", fmt.Sprintf("cut/%d", i*step))
	})
	for i, a := range answers {
		cut := i * step
		if a.err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("cut at %d: %v, %+v", cut, a.err, a.Response)
		}
		rec := w.Record(t, a.Response)
		if strings.Contains(a.body, "beta") {
			w.same(t, fmt.Sprintf("cut at %d", cut), f, other, a.body)
			w.whole(t, f, a.body)
			// A reset may throw away what came before it.
			if cut >= first && end == testkit.EndFIN || rec.Attempts != 2 || rec.Ended != realm.EndedCompleted {
				t.Errorf("cut at %d of %d (output at %d): the other upstream answered; row: %+v", cut, len(all), first, rec)
			}
			continue
		}
		before, code := streamError(t, f, a.body)
		complete := [][]byte{all[:bytes.LastIndex(all[:cut], []byte("\n\n"))+2]}
		if w.beginning(t, f, complete, before); end == testkit.EndFIN {
			w.same(t, fmt.Sprintf("cut at %d", cut), f, complete, before)
		}
		if !strings.Contains(before, "alpha") || code != "upstream_cut" {
			t.Errorf("cut at %d of %d: code %q after %q", cut, len(all), code, before)
		}
		if rec.Attempts != 1 || rec.Ended != realm.EndedUpstreamCut || rec.Cause != realm.CauseUpstreamCut {
			t.Errorf("cut at %d of %d: row %+v", cut, len(all), rec)
		}
	}
	judgeCounts(t, w, s, answers)
}

// judgeCounts wants as many requests at the upstreams as the rows have attempts.
func judgeCounts(t *testing.T, w *world, s *scene, answers []*answer) {
	t.Helper()
	attempts := 0
	for _, a := range answers {
		attempts += w.Record(t, a.Response).Attempts
	}
	if got := s.ups[0].Count() + s.ups[1].Count(); got != attempts || s.ups[0].Count() != len(answers) {
		t.Errorf("%d requests came upstream, %d of them to the first; %d attempts in %d rows", got, s.ups[0].Count(), attempts, len(answers))
	}
}

// clean is what an upstream says in answer to a form when nothing goes wrong.
func (s *scene) clean(t *testing.T, f form, reply testkit.Fault) [][]byte {
	t.Helper()
	r := &testkit.Request{Path: f.path, Method: http.MethodPost, Model: s.model, Stream: f.stream, IncludeUsage: f.stream && !f.responses}
	a := testkit.Compose(r, testkit.Reply{})
	reply(r, a)
	return a.Chunks
}

// tree is three channels of three endpoints of three credentials: the order in
// which they are asked is known, and what each says is chosen by its key.
type tree struct {
	scene  *scene
	faults map[string]testkit.Fault
	want   want
}

// C-FO-02: before the first byte the request goes on from credential to credential,
// endpoint to endpoint and channel to channel, each failure putting out of question
// what it tells about and no more. All 27 places of the first good one.
func TestFailoverOverThreeLevels(t *testing.T) {
	t.Parallel()
	inLayouts(t, nil, func(t *testing.T, w *world) { t.Helper(); failoverOverThreeLevels(t, w, 1) })
}

// failoverOverThreeLevels tries every so manieth of the places.
func failoverOverThreeLevels(t *testing.T, w *world, every int) {
	t.Helper()
	var trials []trial
	for i := range 3 {
		for j := range 3 {
			for k := range 3 {
				if (i+j+k)%every != 0 {
					continue
				}
				f := forms[(i+j+k)%len(forms)]
				tr := plant(t, w, i, j, k)
				trials = append(trials, trial{name: fmt.Sprintf("%d %d %d, %s", i, j, k, f.name), form: f, scene: tr.scene, want: tr.want})
			}
		}
	}
	w.run(t, trials)
}

// plant makes a tree whose first i channels, then j endpoints, then k credentials
// are bad.
func plant(t *testing.T, w *world, i, j, k int) *tree {
	t.Helper()
	tr := &tree{faults: map[string]testkit.Fault{}, scene: w.scene(t)}
	s := tr.scene
	script := s.noting(func(r *testkit.Request) testkit.Fault { return tr.faults[r.Key] })
	var asked, causes []string
	visit := func(key string, cause realm.Cause, fault testkit.Fault) {
		asked, causes = append(asked, s.keys[key]), append(causes, string(cause))
		tr.faults[key] = fault
	}
	for c := range 3 {
		var specs []catalog.ChannelSpec
		for e := range 3 {
			up := testkit.NewUpstream(t, testkit.Options{Script: script})
			keys := s.mint(len(s.ups), 3)
			s.ups, s.names = append(s.ups, up), append(s.names, fmt.Sprintf("hidden-tree-%s-%d", s.model, c))
			specs = append(specs, testapp.Channel("", up.BaseURL, keys...))
			switch {
			case c < i && e == 0:
				visit(keys[0], realm.CauseModelMissing, testkit.Error(404, "invalid_request_error", "model_not_found", "No such model."))
			case c == i && e < j:
				visit(keys[0], realm.CauseServerError, testkit.ServerError())
			case c == i && e == j:
				for _, key := range keys[:k] {
					visit(key, realm.CauseAuth, testkit.Error(401, "invalid_request_error", "invalid_api_key", "No."))
				}
				visit(keys[k], realm.CauseOK, nil)
			}
		}
		ch := endpoints(s.names[len(s.names)-1], specs...)
		ch.Priority, ch.Bindings = 100-c, []realm.Binding{{Model: s.model}}
		s.put(t, ch)
	}
	tr.want = ok(strings.Join(asked, " "), strings.Join(causes, " "))
	const most = 6
	if len(asked) > most { // the good one is out of reach
		tr.want = overloaded(strings.Join(asked[:most], " "), strings.Join(causes[:most], " "))
	}
	if len(asked) == 1 {
		tr.want.causes = ""
	}
	return tr
}

// endpoints makes one channel of several: its endpoints and their credentials in
// order of preference.
func endpoints(name string, specs ...catalog.ChannelSpec) catalog.ChannelSpec {
	ch := specs[0]
	ch.Name = name
	for _, spec := range specs[1:] {
		ch.Endpoints = append(ch.Endpoints, spec.Endpoints...)
	}
	for i := range ch.Endpoints {
		for j := range ch.Endpoints[i].Credentials {
			cr := &ch.Endpoints[i].Credentials[j]
			cr.Name, cr.Priority = fmt.Sprintf("credential-%d", j+1), 1000-100*i-j
		}
	}
	return ch
}

// Groups are asked in the token's order, and no other group is, ever.
func TestGroupsAreExhaustedInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	ctx := t.Context()
	for _, name := range []string{"first", "second", "others"} {
		if _, err := w.Catalog.UpsertGroup(ctx, "test", realm.Group{Name: name, Multiplier: 1_000_000}); err != nil {
			t.Fatal(err)
		}
	}
	s := w.scene(t)
	for i, group := range []string{"second", "first", "others"} {
		up := testkit.NewUpstream(t, testkit.Options{Script: s.noting(testkit.Always(testkit.ServerError()))})
		s.ups, s.names = append(s.ups, up), append(s.names, "hidden-group-"+group)
		ch := testapp.Channel(s.names[i], up.BaseURL, s.mint(i, 1)...)
		ch.Groups, ch.Bindings = []string{group}, []realm.Binding{{Model: s.model}}
		ch.Priority = i // the last in order has the highest
		w.Declare(t, ch)
	}
	w.Token = w.userToken(t, "customer", "first", "second")
	w.run(t, []trial{{name: "chat", form: chatWhole, scene: s, want: overloaded("b1 a1 b1", "server_error server_error server_error")}})
}

// budgetTime is failover's time in the test of it.
const budgetTime = 300 * time.Millisecond

// No attempt starts when failover's time is over; the second always may, so that
// one time-out does not end a request. Nor is there one more than attempts.
func TestTheBudgetOfAttempts(t *testing.T) {
	t.Parallel()
	inLayouts(t, func(c *config.Config) {
		c.Relay.FailoverTime, c.Relay.Attempts = budgetTime, 4
		c.Relay.Timeouts.FirstByte, c.Relay.Timeouts.FirstByteWhole = 2*budgetTime, 2*budgetTime
	}, theBudgetOfAttempts)
}

func theBudgetOfAttempts(t *testing.T, w *world) {
	t.Helper()
	slow := failing(testkit.All(testkit.ServerError(), testkit.Slow(budgetTime*2/3)))
	quick := failing(testkit.ServerError())
	var trials []trial
	for _, f := range forms {
		trials = append(trials,
			trial{name: "time, " + f.name, form: f, scene: w.scene(t, slow, slow, good), want: overloaded("a1 b1", "server_error server_error")},
			trial{name: "time, but for the second, " + f.name, form: f, scene: w.scene(t, failing(testkit.Hang()), good), want: ok("a1 b1", "timeout ok")},
			trial{name: "time, after the second, " + f.name, form: f, scene: w.scene(t, failing(testkit.Hang()), quick, good), want: overloaded("a1 b1", "timeout server_error")},
			trial{name: "attempts, " + f.name, form: f, scene: w.scene(t, quick, quick, quick, quick, good), want: overloaded("a1 b1 c1 d1", "server_error server_error server_error server_error")})
	}
	w.run(t, trials)
}
