package clients

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// counted is a running Realms behind a proxy that writes down what clients send.
type counted struct {
	*testapp.App
	base string // of the proxy, with /v1

	mu      sync.Mutex
	scenes  int
	arrived map[string][]string // token → "POST /v1/responses"
}

func startCounted(t *testing.T) *counted {
	t.Helper()
	w := &counted{arrived: map[string][]string{}}
	var log bytes.Buffer
	t.Cleanup(func() { // runs after the app's own, when nobody writes any more
		if t.Failed() {
			t.Logf("the log of Realms:\n%s", log.Bytes())
		}
	})
	w.App = testapp.Start(t, testapp.Options{Models: []realm.Model{{Name: modelGood, OwnedBy: "test", Enabled: true}}, Log: &log})
	target, err := url.Parse(w.URL)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{DisableCompression: true}
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     transport,
		FlushInterval: -1,
	}
	front := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		w.mu.Lock()
		w.arrived[token] = append(w.arrived[token], r.Method+" "+r.URL.Path)
		w.mu.Unlock()
		proxy.ServeHTTP(out, r)
	}))
	t.Cleanup(func() {
		front.Close()
		transport.CloseIdleConnections()
	})
	w.base = front.URL + "/v1"
	return w
}

// layout is where the three credentials of a scene stand.
type layout string

const (
	oneEndpoint   layout = "one endpoint"
	threeChannels layout = "three channels"
)

// scene is three credentials, asked in order, of which the last alone is good. It
// has a group and a token of its own, so that no other scene's failures are its.
type scene struct {
	w           *counted
	token       string
	user        realm.ID // the token's owner, who has no other
	trouble     trouble
	upstreams   []*testkit.Upstream
	unseen      int      // attempts that come to no upstream
	credentials []string // names, in the order in which they are to be asked
}

func (w *counted) scene(t *testing.T, where layout, tr trouble, streamed bool) *scene {
	t.Helper()
	w.mu.Lock()
	w.scenes++
	name := fmt.Sprintf("scene-%d", w.scenes)
	w.mu.Unlock()
	s := &scene{w: w, trouble: tr}
	s.enter(t, name)

	bad := testkit.All(testkit.Say("This", " is", " not the answer."), tr.fault)
	faults := []testkit.Fault{bad, bad, scripted}
	var keys []string
	byKey := map[string]testkit.Fault{}
	for i, fault := range faults {
		keys = append(keys, "test-"+rand.Text())
		byKey[keys[i]] = fault
		s.credentials = append(s.credentials, fmt.Sprintf("%s-key-%d", name, i+1))
	}
	var channels []catalog.ChannelSpec
	if where == oneEndpoint {
		channels = append(channels, testapp.Channel(name, s.upstream(t, testkit.ByKey(byKey)), keys...))
	} else {
		for i, key := range keys {
			at := s.upstream
			if tr.refused && i < 2 {
				at = s.refusal
			}
			channels = append(channels, testapp.Channel(fmt.Sprintf("%s-%d", name, i+1), at(t, testkit.ByKey(byKey)), key))
		}
	}
	left := s.credentials
	for i, ch := range channels {
		ch.Groups, ch.Priority = []string{name}, 100-i
		if tr.timeouts != nil {
			ch.Settings.Timeouts = tr.timeouts(streamed)
		}
		list := ch.Endpoints[0].Credentials
		for j := range list {
			list[j].Name, list[j].Priority = left[0], 100-j
			left = left[1:]
		}
		w.Declare(t, ch)
	}
	return s
}

// enter makes the scene's group, and a user and a token that reach no other.
func (s *scene) enter(t *testing.T, name string) {
	t.Helper()
	ctx := t.Context()
	if _, err := s.w.Catalog.UpsertGroup(ctx, "test", realm.Group{Name: name, Multiplier: 1_000_000}); err != nil {
		t.Fatal(err)
	}
	user := account.UserSpec{Name: name, Role: realm.RoleUser, Groups: []string{name}, Enabled: true}
	if _, err := s.w.Accounts.UpsertUser(ctx, "test", user); err != nil {
		t.Fatal(err)
	}
	text, token, err := s.w.Accounts.CreateToken(ctx, "test", account.TokenSpec{User: name, Name: "test"})
	if err != nil {
		t.Fatal(err)
	}
	s.token, s.user = text.Reveal(), token.UserID
}

func (s *scene) upstream(t *testing.T, script testkit.Script) string {
	t.Helper()
	up := testkit.NewUpstream(t, testkit.Options{Script: script})
	s.upstreams = append(s.upstreams, up)
	return up.BaseURL
}

// refusal is where nobody listens.
func (s *scene) refusal(t *testing.T, _ testkit.Script) string {
	t.Helper()
	s.unseen++
	return testkit.Refused(t)
}

// gateway is the scene as clients are pointed at it.
func (s *scene) gateway() *gateway { return &gateway{URL: s.w.base, Token: s.token} }

// arrived is what the clients of the scene's token have sent so far.
func (s *scene) arrived() []string {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	return slices.Clone(s.w.arrived[s.token])
}

// story is what a request's row says of it.
type story struct {
	Status        int
	Ended         realm.Ended
	Cause         realm.Cause
	Input, Output int64
	Attempts      int
	Asked         []string // the credentials, in order
	Causes        []realm.Cause
}

// ideal is the story of a request that the good credential served: after the two bad
// ones, or at once.
func (s *scene) ideal(f form, failures int) story {
	want := story{
		Status: http.StatusOK, Ended: realm.EndedCompleted, Cause: realm.CauseOK, Input: f.input, Output: f.output,
		Attempts: failures + 1, Asked: s.credentials[2-failures:], Causes: []realm.Cause{realm.CauseOK},
	}
	for range failures {
		want.Causes = slices.Insert(want.Causes, 0, s.trouble.cause)
	}
	return want
}

// stories waits for n rows of the scene's user and returns all, the oldest first.
func (s *scene) stories(t *testing.T, n int) []story {
	t.Helper()
	ctx := t.Context()
	var rows []realm.RequestRecord
	testkit.Poll(t, "the rows of the scene", func() bool {
		var err error
		rows, err = s.w.Store.Read().Requests.List(ctx, store.RequestPage{User: s.user})
		if err != nil {
			t.Fatalf("list the requests: %v", err)
		}
		return len(rows) >= n
	})
	slices.Reverse(rows) // they came newest first
	snap := s.w.Catalog.Snapshot()
	var all []story
	for _, row := range rows {
		row, err := s.w.Store.Read().Requests.Get(ctx, row.ID)
		if err != nil {
			t.Fatalf("read the request: %v", err)
		}
		one := story{
			Status: row.Status, Ended: row.Ended, Cause: row.Cause, Attempts: row.Attempts,
			Input: row.Usage.Input, Output: row.Usage.Output,
		}
		tries := row.Tries
		if tries == nil { // there was one, and the row is its own
			tries = []realm.AttemptRecord{{Credential: row.Credential, Cause: row.Cause}}
		}
		for _, try := range tries {
			name := "none"
			if cr := snap.Credential(try.Credential); cr != nil {
				name = cr.Name
			}
			one.Asked, one.Causes = append(one.Asked, name), append(one.Causes, try.Cause)
		}
		all = append(all, one)
	}
	return all
}

// judge wants exactly these requests from the clients, and a row for each.
func (s *scene) judge(t *testing.T, path string, want ...story) {
	t.Helper()
	posts := slices.DeleteFunc(s.arrived(), func(line string) bool { return !strings.HasPrefix(line, "POST ") })
	if diff := cmp.Diff(slices.Repeat([]string{"POST " + path}, len(want)), posts); diff != "" {
		t.Errorf("what the client sent (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, s.stories(t, len(want))); diff != "" {
		t.Errorf("the rows (-want +got):\n%s", diff)
	}
	attempts, asked := -s.unseen, 0
	for _, one := range want {
		attempts += one.Attempts
	}
	for _, up := range s.upstreams {
		asked += up.Count()
	}
	if asked != attempts {
		t.Errorf("%d requests came to the upstreams, not %d", asked, attempts)
	}
}
