package codextest

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/testkit"
)

// The paths, as hooks and counts name them.
const (
	PathAuthorize   = "/oauth/authorize"
	PathToken       = "/oauth/token"
	PathRevoke      = "/oauth/revoke"
	PathUserCode    = "/api/accounts/deviceauth/usercode"
	PathDeviceToken = "/api/accounts/deviceauth/token"
	PathDevicePage  = "/codex/device"

	PathCheck     = "/backend-api/wham/accounts/check"
	PathUsage     = "/backend-api/wham/usage"
	PathResponses = "/backend-api/codex/responses"
	PathCompact   = "/backend-api/codex/responses/compact"
	PathModels    = "/backend-api/codex/models"
)

// ClientID is the only client that the issuer knows.
const ClientID = "app_EMoamEEZ73f0CkXaXp7hrann"

// Options configure a Fake; the zero value is a healthy one with one account.
type Options struct {
	// Accounts are the people; nil: DefaultAccount alone. The first one signs in.
	Accounts []Account
	// AccessLife is how long access tokens last; 0: 10 days.
	AccessLife time.Duration
	// Now is the clock of tokens and windows; nil: time.Now.
	Now func() time.Time
	// Interval is the device flow's, as JSON; empty: "1", a text as the issuer has it.
	Interval string
	// NoDevice: sign-in by device code is not enabled.
	NoDevice bool
	// Script chooses what a model says, and what goes wrong while it does; it is
	// asked when a request of PathResponses is good, and their Numbers count those.
	Script testkit.Script
	// EmptyOutput leaves the output of response.completed empty, as the backend may.
	EmptyOutput bool
}

// Fake is a running issuer and backend.
type Fake struct {
	// Server is what listens. Its requests are those of both.
	Server *testkit.Upstream

	options Options
	key     []byte // signs the tokens
	ended   chan struct{}

	mu      sync.Mutex
	people  []*Account
	visitor string // who signs in next
	refuses bool   // the visitor says no
	life    time.Duration
	omit    map[string]bool
	script  testkit.Script
	turns   int // good requests of PathResponses
	tokens  tokens
	codes   map[string]*code
	devices map[string]*device // by their id
	knobs   map[string]*knob
}

// Start runs a Fake until the test ends.
func Start(t testing.TB, o Options) *Fake {
	t.Helper()
	if o.Accounts == nil {
		o.Accounts = []Account{DefaultAccount()}
	}
	if o.AccessLife == 0 {
		o.AccessLife = 10 * 24 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Interval == "" {
		o.Interval = `"1"`
	}
	f := &Fake{
		options: o, key: []byte(random(32)), ended: make(chan struct{}), life: o.AccessLife, script: o.Script,
		tokens: newTokens(), codes: map[string]*code{}, devices: map[string]*device{}, knobs: map[string]*knob{},
	}
	for _, a := range o.Accounts {
		f.people = append(f.people, &a)
	}
	f.visitor = f.people[0].ID
	f.Server = testkit.NewUpstream(t, testkit.Options{Script: testkit.Always(f.serve)})
	t.Cleanup(func() { close(f.ended) }) // before the server's end, which waits for its requests
	return f
}

// Issuer is the base URL of the sign-ins.
func (f *Fake) Issuer() string { return f.Server.URL }

// Backend is the base URL that ends in /backend-api.
func (f *Fake) Backend() string { return f.Server.URL + "/backend-api" }

// handler answers one request by editing a.
type handler func(*Fake, *testkit.Request, *testkit.Answer)

// routes are all there is. Another path is not found.
var routes = map[string]handler{
	"GET " + PathAuthorize:    (*Fake).authorize,
	"POST " + PathToken:       (*Fake).token,
	"POST " + PathRevoke:      (*Fake).revoke,
	"POST " + PathUserCode:    (*Fake).userCode,
	"POST " + PathDeviceToken: (*Fake).deviceToken,
	"GET " + PathDevicePage:   (*Fake).devicePage,

	"GET " + PathCheck:      (*Fake).check,
	"GET " + PathUsage:      (*Fake).usage,
	"POST " + PathResponses: (*Fake).responses,
	"POST " + PathCompact:   (*Fake).compact,
	"GET " + PathModels:     (*Fake).models,
}

// serve is the script of the server.
func (f *Fake) serve(r *testkit.Request, a *testkit.Answer) {
	k := f.arrive(r)
	defer f.leave(r)
	if k.gate != nil {
		select {
		case <-k.gate:
		case <-f.ended:
		}
	}
	if k.hook != nil {
		k.hook(r)
	}
	if k.instead != nil {
		k.instead(asModelRequest(r), a)
		return
	}
	if h := routes[r.Method+" "+r.Path]; h != nil {
		h(f, r, a)
	} else {
		answer(a, http.StatusNotFound, `{"detail":"Not Found"}`)
	}
	if k.after != nil {
		k.after(asModelRequest(r), a)
	}
}

// answer makes a JSON answer of a.
func answer(a *testkit.Answer, status int, body string, header ...string) {
	testkit.Status(status, body, header...)(nil, a)
}

// asModelRequest is the request under the path by which testkit knows what to
// compose.
func asModelRequest(r *testkit.Request) *testkit.Request {
	path := r.Path
	if strings.HasPrefix(path, PathResponses) {
		path = "/v1/responses"
	}
	return &testkit.Request{
		Number: r.Number, Method: r.Method, Path: path, Query: r.Query, Host: r.Host, Proto: r.Proto, Header: r.Header,
		Body: r.Body, Key: r.Key, At: r.At, Reused: r.Reused, Model: r.Model, Stream: r.Stream, IncludeUsage: r.IncludeUsage,
	}
}

// random is a text of n random bytes.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}
