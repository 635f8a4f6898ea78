package relay

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
)

// carriers are the ways in which a client names its session.
var carriers = []struct {
	name string
	ask  func(t *testing.T, s *scene, f form, session string) *answer
}{
	{"prompt_cache_key", func(t *testing.T, s *scene, f form, session string) *answer {
		f.body = strings.Replace(f.body, `"model"`, `"prompt_cache_key":"`+session+`","model"`, 1)
		return s.ask(t, f)
	}},
	{"session-id", byHeader("Session-Id")},
	{"session_id", byHeader("session_id")},
	{"conversation_id", byHeader("conversation_id")},
	{"x-session-affinity", byHeader("X-Session-Affinity")},
	{"prompt_cache_key before any header", func(t *testing.T, s *scene, f form, session string) *answer {
		f.body = strings.Replace(f.body, `"model"`, `"prompt_cache_key":"`+session+`","model"`, 1)
		return s.ask(t, f, "Session-Id", fmt.Sprint(len(s.requests())))
	}},
	{"session-id before the other headers", func(t *testing.T, s *scene, f form, session string) *answer {
		return s.ask(t, f, "Session-Id", session, "X-Session-Affinity", fmt.Sprint(len(s.requests())))
	}},
}

func byHeader(name string) func(t *testing.T, s *scene, f form, session string) *answer {
	return func(t *testing.T, s *scene, f form, session string) *answer { return s.ask(t, f, name, session) }
}

// last is the label of the credential that was asked last.
func (s *scene) last() string {
	all := strings.Fields(s.asked())
	return all[len(all)-1]
}

// A session's requests go to one account, however the client names it; sessions
// spread over the accounts.
func TestSessionsStayWithTheirAccount(t *testing.T) {
	t.Parallel()
	sessionsStay(t, newWorld(t, nil))
}

func sessionsStay(t *testing.T, w *world) {
	t.Helper()
	for i, c := range carriers {
		t.Run(c.name, func(t *testing.T) {
			s := w.scene(t, leg{keys: 4, edit: alike}, leg{keys: 4, edit: func(ch *spec) { alike(ch); ch.Priority = 100 }})
			used := map[string]bool{}
			for n := range 8 {
				session := fmt.Sprintf("%s-%d", s.model, n)
				var served []string
				for k := range 6 {
					f := forms[(i+k)%len(forms)]
					if a := c.ask(t, s, f, session); a.err != nil || a.StatusCode != http.StatusOK {
						t.Fatalf("%s: %v %+v", f.name, a.err, a.Response)
					}
					served = append(served, s.last())
				}
				if used[served[0]] = true; len(slices.Compact(slices.Clone(served))) != 1 {
					t.Errorf("%s was served by %q", session, served)
				}
			}
			if len(used) < 3 {
				t.Errorf("eight sessions are on %d accounts", len(used))
			}
		})
	}
}

// Without a session requests spread.
func TestRequestsWithoutASessionSpread(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{keys: 4, edit: alike})
	for range 16 {
		s.ask(t, chatWhole)
	}
	for label, n := range s.counted() {
		if n != 4 {
			t.Errorf("%s served %d of 16 requests", label, n)
		}
	}
}

// A session yields to whatever keeps its account from serving, within the request,
// and from then on belongs to the one that took over.
func TestSessionsYieldToFailures(t *testing.T) {
	t.Parallel()
	sessionsYield(t, newWorld)
}

func sessionsYield(t *testing.T, start starter) {
	t.Helper()
	w := start(t, func(c *config.Config) {
		c.Relay.Timeouts.FirstByte, c.Relay.Timeouts.FirstByteWhole = 400*time.Millisecond, 400*time.Millisecond
	})
	faults := map[string]testkit.Fault{
		"429": testkit.RateLimited("60"), "401": noKey, "403": noPower, "500": testkit.ServerError(), "a cut": testkit.Reset(), "silence": testkit.Hang(),
		"a firewall": testkit.Cloudflare(), "a page": testkit.Page(200), "no model": noModel, "no quota": noMoney, "a closed account": deactivated,
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := w.scene(t, leg{keys: 2}, leg{keys: 2})
			f := inSession(s.model)
			if got := s.serves(t, f); got != "a1" {
				t.Fatalf("asked %q", got)
			}
			bad := testkit.ByKey(map[string]testkit.Fault{s.key("a1"): fault})
			s.ups[0].SetScript(s.noting(bad))
			got := strings.Fields(s.serves(t, f))
			to := got[len(got)-1] // a cut of a kept connection is nobody's fault at first
			if got[0] != "a1" || to == "a1" {
				t.Fatalf("asked %q", got)
			}
			s.ups[0].SetScript(s.noting(nil))
			s.mend(t) // as good as ever: it has lost the session all the same
			for range 4 {
				if again := s.serves(t, f); again != to {
					t.Errorf("asked %q, the session went to %s", again, to)
				}
			}
			if other := s.serves(t, inSession("not "+s.model)); other != "a1" && name != "a closed account" {
				t.Errorf("another session: asked %q", other)
			}
		})
	}
}

// A session's name is its user's own: the same name of another user is another
// session.
func TestSessionsAreTheirUsersOwn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{keys: 2, script: func(r *testkit.Request) testkit.Fault {
		if r.Header.Get("User-Agent") == "unlucky" {
			return testkit.RateLimited("60")
		}
		return nil
	}}, good)
	neighbour := "Bearer " + w.userToken(t, "neighbour", realm.DefaultGroup)
	f := inSession(s.model)
	if s.serves(t, f) != "a1" {
		t.Fatalf("asked %q", s.asked())
	}
	s.ask(t, f, "Authorization", neighbour)
	s.ask(t, f, "User-Agent", "unlucky") // it leaves both accounts of the first channel
	if got := s.asked(); got != "a1 a1 a1 a2 b1" {
		t.Fatalf("asked %q", got)
	}
	s.mend(t)
	s.ask(t, f, "Authorization", neighbour)
	s.ask(t, f)
	if got := s.asked(); got != "a1 a1 a1 a2 b1 a1 b1" {
		t.Errorf("asked %q: the neighbour's session is at a1, the first user's at b1", got)
	}
}

// An account that is only busy is passed by and keeps the session.
func TestABusyAccountKeepsItsSessions(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, limits := range map[string]realm.Limits{"at once": {Concurrent: 1}, "a minute": {RequestsPerMinute: 2}} {
		t.Run(name, func(t *testing.T) {
			held := newGate(t)
			s := w.scene(t, leg{keys: 2, edit: limited(limits)})
			f := inSession(s.model)
			if s.serves(t, f) != "a1" {
				t.Fatalf("asked %q", s.asked())
			}
			s.ups[0].SetScript(s.noting(testkit.Always(held.hold)))
			busy := s.begin(t, inSession("not "+s.model))
			s.ups[0].WaitRequests(t, 2)
			s.ups[0].SetScript(s.noting(nil))
			if got := s.serves(t, f); s.last() != "a2" || got != "a2" {
				t.Errorf("asked %q beside a busy a1", got)
			}
			held.open()
			if a := <-busy; a.err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("%v %+v", a.err, a.Response)
			}
			if got := s.marks(t); len(got) != 0 {
				t.Errorf("what is busy is blamed: %q", got)
			}
			if want := map[string]string{"at once": "a1", "a minute": "a2"}[name]; s.serves(t, f) != want {
				t.Errorf("afterwards: asked %q", s.last())
			}
			w.settles(t)
		})
	}
}

// An account that is gone has no sessions, nor when it comes back.
func TestSessionsDoNotOutliveTheirAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	s := w.scene(t, leg{keys: 2}, good)
	f := inSession(s.model)
	served := []string{s.serves(t, f)}
	enable := func(on bool) {
		w.edit(t, s.names[0], func(ch *spec) { ch.Endpoints[0].Credentials[0].Enabled = on })
	}
	enable(false)
	served = append(served, s.serves(t, f))
	enable(true)
	served = append(served, s.serves(t, f), s.serves(t, inSession("not "+s.model)))
	if got := strings.Join(served, " "); got != "a1 a2 a2 a1" {
		t.Errorf("served by %q", got)
	}
}

const (
	encrypted  = `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"CIPHER"}`
	plain      = `{"type":"reasoning","id":"rs_2","summary":[]}`
	compaction = `{"type":"compaction","id":"cmp_1","encrypted_content":"CIPHER"}`
	question   = `{"type":"message","role":"user","content":"and now?"}`
)

// turn is a later request of the scene's own session: its input has these items.
func (s *scene) turn(f form, items ...string) form {
	f.body = strings.Replace(f.body, `"input":"hello"`, `"prompt_cache_key":"`+s.model+`","input":[`+strings.Join(items, ",")+`]`, 1)
	return f
}

// What one account has encrypted another cannot read: an attempt that leaves the
// session's account goes without it.
func TestLeavingAnAccountDropsWhatItEncrypted(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range []form{respWhole, respEvents} {
		t.Run(f.name, func(t *testing.T) {
			s := w.scene(t, leg{keys: 2}, good)
			later := s.turn(f, encrypted, plain, question)
			state := []string{"X-Codex-Turn-State", "the-state"}
			sees := func(r *testkit.Request) string {
				var parts []string
				for _, part := range []string{"CIPHER", "rs_1", "rs_2", "and now?"} {
					if strings.Contains(string(r.Body), part) {
						parts = append(parts, part)
					}
				}
				return strings.Join(append(parts, r.Header.Get("X-Codex-Turn-State")), " ")
			}
			s.ask(t, later, state...)
			s.ask(t, later, state...)
			s.ups[0].SetScript(s.noting(testkit.ByKey(map[string]testkit.Fault{s.key("a1"): testkit.RateLimited("60")})))
			s.ask(t, later, state...) // it leaves a1
			s.ask(t, later, state...) // it belongs to a2 now
			if s.asked() != "a1 a1 a1 a2 a2" {
				t.Fatalf("asked %q", s.asked())
			}
			with, without := "CIPHER rs_1 rs_2 and now? the-state", "rs_2 and now? "
			for i, want := range []string{with, with, with, without, with} {
				if got := sees(s.requests()[i]); got != want {
					t.Errorf("request %d saw %q, want %q:\n%s", i+1, got, want, s.requests()[i].Body)
				}
			}
		})
	}
}

// An upstream that cannot read what is encrypted is asked once more without it.
func TestEncryptedContentThatIsRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	var trials []trial
	for _, f := range []form{respWhole, respEvents} {
		s := w.scene(t, leg{script: testkit.Sequence(testkit.Error(400, "invalid_request_error", "invalid_encrypted_content", "The encrypted content could not be verified."))}, good)
		trials = append(trials, trial{
			name: f.name, form: s.turn(f, encrypted, plain, question), scene: s, want: ok("a1 a1", "field ok"),
			more: func(t *testing.T, _ *answer, _ realm.RequestRecord) {
				first, second := string(s.requests()[0].Body), string(s.requests()[1].Body)
				if !strings.Contains(first, "rs_1") || strings.Contains(second, "rs_1") || strings.Contains(second, "CIPHER") ||
					!strings.Contains(second, "rs_2") || !strings.Contains(second, "and now?") {
					t.Errorf("first\n%s\nthen\n%s", first, second)
				}
			},
		})
	}
	w.run(t, trials)
}

// What an account has compacted it alone can go on from: no other is asked, and the
// client is told so.
func TestCompactionBindsHard(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range []form{respWhole, respEvents} {
		t.Run(f.name, func(t *testing.T) {
			s := w.scene(t, leg{keys: 2}, good)
			s.ask(t, s.turn(f, question))
			s.ups[0].SetScript(s.noting(testkit.ByKey(map[string]testkit.Fault{s.key("a1"): testkit.RateLimited("40")})))
			later := s.turn(f, compaction, question)
			a := s.ask(t, later)
			if s.asked() != "a1 a1" || a.StatusCode != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "40" {
				t.Errorf("asked %q: %d %s", s.asked(), a.StatusCode, a.body)
			}
			a = s.ask(t, later)
			if s.asked() != "a1 a1" || a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("asked %q: %d %v %s", s.asked(), a.StatusCode, a.Header, a.body)
			}
			hasWord(t, a.body, "no other account can serve it")
			s.ups[0].SetScript(s.noting(nil))
			s.mend(t)
			if got := s.serves(t, later); got != "a1" {
				t.Errorf("asked %q once the account was back", got)
			}
		})
	}
}
