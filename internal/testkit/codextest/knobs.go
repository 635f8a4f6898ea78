package codextest

import (
	"sync"
	"testing"
	"time"

	"realms/internal/testkit"
)

// knob is what a test has set for a path.
type knob struct {
	hook    func(*testkit.Request)
	gate    chan struct{}
	instead []testkit.Fault // the next requests' answers, first come first served
	always  testkit.Fault
	after   []testkit.Fault
	waiting int // requests that are being answered now
}

// turn is what one request meets.
type turn struct {
	hook           func(*testkit.Request)
	gate           chan struct{}
	instead, after testkit.Fault
}

func (f *Fake) knob(path string) *knob {
	if f.knobs[path] == nil {
		f.knobs[path] = &knob{}
	}
	return f.knobs[path]
}

func (f *Fake) arrive(r *testkit.Request) turn {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.knob(r.Path)
	k.waiting++
	t := turn{hook: k.hook, gate: k.gate, instead: k.always}
	if len(k.instead) > 0 {
		t.instead, k.instead = k.instead[0], k.instead[1:]
	}
	if t.instead == nil && len(k.after) > 0 {
		t.after, k.after = k.after[0], k.after[1:]
	}
	return t
}

func (f *Fake) leave(r *testkit.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.knob(r.Path).waiting--
}

// Instead answers the next requests of a path with these faults, one each; a nil
// one is answered well. Nothing else happens: no token is spent.
func (f *Fake) Instead(path string, faults ...testkit.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.knob(path)
	k.instead = append(k.instead, faults...)
}

// Always answers all further requests of a path with the fault; nil ends it.
func (f *Fake) Always(path string, fault testkit.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.knob(path).always = fault
}

// After does all that the next requests of a path ask for and then spoils their
// answers, one each: with testkit.Reset() a refresh token is spent and nobody learns
// the next one.
func (f *Fake) After(path string, faults ...testkit.Fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := f.knob(path)
	k.after = append(k.after, faults...)
}

// Hook is called for each further request of a path before it is answered, from
// many goroutines; nil ends it.
func (f *Fake) Hook(path string, hook func(*testkit.Request)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.knob(path).hook = hook
}

// Block holds the answers of a path back until release is called. It may be called
// again.
func (f *Fake) Block(path string) (release func()) {
	gate := make(chan struct{})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.knob(path).gate = gate
	var once sync.Once
	return func() {
		once.Do(func() {
			close(gate)
			f.mu.Lock()
			defer f.mu.Unlock()
			if k := f.knob(path); k.gate == gate {
				k.gate = nil
			}
		})
	}
}

// Waiting returns when n requests of a path are being answered at once, and ends
// the test if that does not happen in time.
func (f *Fake) Waiting(t testing.TB, path string, n int) {
	t.Helper()
	testkit.Poll(t, "requests of "+path, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.knob(path).waiting >= n
	})
}

// Requests are those of a path that came so far.
func (f *Fake) Requests(path string) []*testkit.Request {
	var list []*testkit.Request
	for _, r := range f.Server.Requests() {
		if r.Path == path {
			list = append(list, r)
		}
	}
	return list
}

// Calls is the number of requests of a path that came so far.
func (f *Fake) Calls(path string) int { return len(f.Requests(path)) }

// SetScript changes Options.Script for the requests to come.
func (f *Fake) SetScript(s testkit.Script) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.script = s
}

// SetAccessLife changes how long the access tokens to come last.
func (f *Fake) SetAccessLife(d time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.life = d
}

// Omit leaves fields out of what the token endpoint answers from now on. Without
// "refresh_token" a refresh does not spend the one that it was asked with.
func (f *Fake) Omit(fields ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.omit = map[string]bool{}
	for _, field := range fields {
		f.omit[field] = true
	}
}
