package relay

import (
	"bytes"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

func TestMain(m *testing.M) {
	// net/http tells the process's own log what an upstream sends unasked, and how
	// the fakes' handshakes failed.
	log.SetOutput(io.Discard)
	flag.Parse()
	if at := flag.Lookup("test.parallel"); at.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) && !raceEnabled {
		_ = at.Value.Set(strconv.Itoa(2 * runtime.GOMAXPROCS(0))) // they mostly wait
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(binary.remove))
}

// form is one way to ask for an answer.
type form struct {
	name, path, body string // %s in the body is the model
	stream           bool
	responses        bool
}

var (
	chatWhole  = form{name: "chat", path: "/v1/chat/completions", body: `{"model":"%s","messages":[{"role":"user","content":"hello"}]}`}
	chatEvents = form{name: "chat stream", path: "/v1/chat/completions", stream: true, body: `{"model":"%s","stream":true,"messages":[{"role":"user","content":"hello"}]}`}
	respWhole  = form{name: "responses", path: "/v1/responses", responses: true, body: `{"model":"%s","input":"hello"}`}
	respEvents = form{name: "responses stream", path: "/v1/responses", responses: true, stream: true, body: `{"model":"%s","stream":true,"input":"hello"}`}

	forms   = []form{chatWhole, chatEvents, respWhole, respEvents}
	wholes  = []form{chatWhole, respWhole}
	streams = []form{chatEvents, respEvents}
)

// The dialects that a channel may speak.
const (
	chatAlone      = realm.APISet(realm.APIChat)
	responsesAlone = realm.APISet(realm.APIResponses)
)

// own is the form's dialect alone: a channel of it is never asked converted.
func (f form) own() realm.APISet {
	if f.responses {
		return responsesAlone
	}
	return chatAlone
}

// other is the dialect that the form must be converted to.
func (f form) other() realm.APISet { return (chatAlone | responsesAlone) &^ f.own() }

// world is one running app. Each scene in it has a model, channels and upstreams
// of its own, so that what one teaches the relay says nothing to another.
type world struct {
	*testapp.App
	log journal
	// converted: every channel speaks only the dialect that its client does not.
	converted bool

	mu      sync.Mutex
	scenes  int
	secrets []string
}

// newWorld starts an app whose token is a plain user's: what it sees is what a
// customer sees. Nothing that it ever logs may hold a key.
func newWorld(t testing.TB, configure func(*config.Config)) *world {
	t.Helper()
	return newWorldFor(t, realm.RoleUser, configure)
}

func newWorldFor(t testing.TB, role realm.Role, configure func(*config.Config)) *world {
	t.Helper()
	return startWorld(t, testapp.Options{Role: role, Configure: configure})
}

func startWorld(t testing.TB, o testapp.Options) *world {
	t.Helper()
	w, configure := &world{}, o.Configure
	o.Log, o.Configure = &w.log, func(c *config.Config) {
		c.Relay.RetryShare = 100 // trials run side by side, each as if it were alone
		if configure != nil {
			configure(c)
		}
	}
	w.App = testapp.Start(t, o)
	w.secrets = append(w.secrets, w.Token)
	t.Cleanup(func() {
		if err := w.Stop(); err != nil {
			t.Errorf("stop the app: %v", err)
		}
		w.noSecret(t, "the log", w.log.String())
	})
	return w
}

// noSecret fails if a text holds a key of any scene, or the client's token.
func (w *world) noSecret(t testing.TB, where, text string) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, secret := range w.secrets {
		if i := strings.Index(text, secret); i >= 0 {
			t.Errorf("%s holds a secret: …%s…", where, text[max(0, i-80):min(len(text), i+len(secret)+80)])
		}
	}
}

// journal is a log that can be read while it is written.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// leg is one channel of a scene. The first is asked first, its first key first.
type leg struct {
	script testkit.Script
	up     testkit.Options // of its upstream, but for the script
	at     string          // a base URL instead of an upstream
	keys   int             // how many credentials; 0: one
	apis   realm.APISet    // 0: all
	as     string          // the upstream's name for the model; "": the same
	edit   func(*catalog.ChannelSpec)
}

// failing is a leg with the same fault for everybody.
func failing(f testkit.Fault) leg { return leg{script: testkit.Always(f)} }

// good is a leg with nothing wrong.
var good leg

// scene is a model and the channels that offer it.
type scene struct {
	w     *world
	model string
	ups   []*testkit.Upstream // nil where a leg names a base URL
	names []string            // of the channels
	keys  map[string]string   // key → "a1": the first leg's first

	mu   sync.Mutex
	said map[*testkit.Request][][]byte // what the upstreams meant to answer

	waiting []spec       // channels that are not declared yet
	apis    realm.APISet // what they speak in a converted world
}

func (w *world) scene(t testing.TB, legs ...leg) *scene {
	t.Helper()
	w.mu.Lock()
	w.scenes++
	n := w.scenes
	w.mu.Unlock()
	s := &scene{w: w, model: fmt.Sprintf("model-%d", n), keys: map[string]string{}, said: map[*testkit.Request][][]byte{}}
	for i, l := range legs {
		base := l.at
		var up *testkit.Upstream
		if base == "" {
			l.up.Script = s.noting(l.script)
			up = testkit.NewUpstream(t, l.up)
			base = up.BaseURL
		}
		ch := testapp.Channel(fmt.Sprintf("hidden-channel-%d-%d", n, i), base, s.mint(i, l.keys)...)
		ch.Priority = 100 - i
		ch.Bindings = []realm.Binding{{Model: s.model, Upstream: l.as}}
		if l.apis != 0 {
			ch.APIs = l.apis
		}
		for j := range ch.Endpoints[0].Credentials {
			ch.Endpoints[0].Credentials[j].Name = fmt.Sprintf("credential-%d", j+1)
			ch.Endpoints[0].Credentials[j].Priority = 100 - j
		}
		if l.edit != nil {
			l.edit(&ch)
		}
		s.put(t, ch)
		s.ups, s.names = append(s.ups, up), append(s.names, ch.Name)
	}
	return s
}

// mint makes a leg's keys, which exist nowhere else.
func (s *scene) mint(leg, n int) []string {
	var keys []string
	for i := range max(n, 1) {
		key := "test-" + rand.Text()
		keys = append(keys, key)
		s.keys[key] = fmt.Sprintf("%c%d", 'a'+leg, i+1)
	}
	s.w.mu.Lock()
	s.w.secrets = append(s.w.secrets, keys...)
	s.w.mu.Unlock()
	return keys
}

// key is the key with a label.
func (s *scene) key(label string) string {
	for key, l := range s.keys {
		if l == label {
			return key
		}
	}
	return ""
}

// requests are those that came to the scene's upstreams, in order.
func (s *scene) requests() []*testkit.Request {
	var all []*testkit.Request
	for _, up := range s.ups {
		if up != nil {
			all = append(all, up.Requests()...)
		}
	}
	slices.SortStableFunc(all, func(a, b *testkit.Request) int { return a.At.Compare(b.At) })
	return all
}

// asked says with which keys the upstreams were asked: "a1 a2 b1".
func (s *scene) asked() string {
	var labels []string
	for _, r := range s.requests() {
		labels = append(labels, s.keys[r.Key])
	}
	return strings.Join(labels, " ")
}

// noting is a script that remembers what it made of each answer.
func (s *scene) noting(script testkit.Script) testkit.Script {
	return func(r *testkit.Request) testkit.Fault {
		var fault testkit.Fault
		if script != nil {
			fault = script(r)
		}
		return func(r *testkit.Request, a *testkit.Answer) {
			if fault != nil {
				fault(r, a)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			s.said[r] = slices.Clone(a.Chunks)
		}
	}
}

// sent is what the last upstream asked had to say, chunk by chunk.
func (s *scene) sent() [][]byte {
	all := s.requests()
	if len(all) == 0 {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.said[all[len(all)-1]]
}

// relayed is what a client gets of chunks: all but the usage of a chat stream,
// which it did not ask for.
func relayed(chunks [][]byte) string {
	var b strings.Builder
	for _, e := range bytes.SplitAfter(bytes.Join(chunks, nil), []byte("\n\n")) {
		if !bytes.Contains(e, []byte(`"choices":[],"usage":{`)) {
			b.Write(e)
		}
	}
	return b.String()
}

// answer is what a client got.
type answer struct {
	*http.Response // nil when none came
	body           string
	err            error // of the request, or of reading the body
	took           time.Duration
}

// do sends a request and reads the whole answer. It may be called from any
// goroutine.
func (w *world) do(req *http.Request) *answer {
	begun := time.Now()
	res, err := w.Client.Do(req)
	if err != nil {
		return &answer{err: err, took: time.Since(begun)}
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return &answer{Response: res, body: string(body), err: err, took: time.Since(begun)}
}

// request asks for the scene's model.
func (s *scene) request(t testing.TB, f form, header ...string) *http.Request {
	t.Helper()
	s.declare(t, f)
	return s.w.Request(t, http.MethodPost, f.path, strings.ReplaceAll(f.body, "%s", s.model), header...)
}

func (s *scene) ask(t testing.TB, f form, header ...string) *answer {
	t.Helper()
	return s.w.do(s.request(t, f, header...))
}

// mend has the relay forget what it learned of the scene's upstreams, for tests that
// repeat a failure. At most four requests at a time may be made so: with five, one's
// failures would add up between another's mending and its first attempt.
func (s *scene) mend(t testing.TB) {
	t.Helper()
	for _, name := range s.names {
		s.w.Mend(t, name)
	}
}

// inParallel calls do for 0 to n-1, some at a time, and waits for all.
func inParallel(n, atOnce int, do func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range min(n, atOnce) {
		wg.Go(func() {
			for i := range next {
				do(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// userToken makes a user of these groups, in order, and a token of theirs.
func (w *world) userToken(t testing.TB, user string, groups ...string) string {
	t.Helper()
	_, err := w.Accounts.UpsertUser(t.Context(), "test", account.UserSpec{Name: user, Role: realm.RoleUser, Groups: groups, Enabled: true})
	if err != nil {
		t.Fatalf("declare the user %s: %v", user, err)
	}
	token := w.NewToken(t, account.TokenSpec{User: user, Name: "test", Groups: groups})
	w.mu.Lock()
	w.secrets = append(w.secrets, token)
	w.mu.Unlock()
	return token
}
