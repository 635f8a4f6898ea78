package relay

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
)

// pause is a way in which an upstream asks to be left alone, and for how long it is.
type pause struct {
	name  string
	fault func() testkit.Fault
	least time.Duration
	most  time.Duration
	cause realm.Cause
}

func limitedBy(retryAfter string) func() testkit.Fault {
	return func() testkit.Fault { return testkit.RateLimited(retryAfter) }
}

func fixed(f testkit.Fault) func() testkit.Fault { return func() testkit.Fault { return f } }

func resetsIn(kind string, seconds int) testkit.Fault {
	return testkit.Status(429, `{"error":{"type":"`+kind+`","message":"The limit has been reached.","resets_in_seconds":`+strconv.Itoa(seconds)+`}}`)
}

var pauses = []pause{
	{"Retry-After 1", limitedBy("1"), time.Second, time.Second, realm.CauseRateLimited},
	{"Retry-After 2.5", limitedBy("2.5"), 2500 * time.Millisecond, 2500 * time.Millisecond, realm.CauseRateLimited},
	{
		"a date", func() testkit.Fault {
			return testkit.RateLimited(time.Now().Add(3 * time.Second).UTC().Format(http.TimeFormat))
		},
		time.Second, 3 * time.Second, realm.CauseRateLimited,
	},
	{"a date that has passed", limitedBy("Mon, 02 Jan 2006 15:04:05 GMT"), 0, time.Second, realm.CauseRateLimited},
	{"-5", limitedBy("-5"), 5 * time.Second, 5 * time.Second, realm.CauseRateLimited},
	{"garbage", limitedBy("in a while"), 5 * time.Second, 5 * time.Second, realm.CauseRateLimited},
	{"nothing", limitedBy(""), 5 * time.Second, 5 * time.Second, realm.CauseRateLimited},
	{"1e9", limitedBy("1e9"), 10 * time.Minute, 10 * time.Minute, realm.CauseRateLimited},
	{"1000000000", limitedBy("1000000000"), 10 * time.Minute, 10 * time.Minute, realm.CauseRateLimited},
	{
		"a used-up limit's reset",
		fixed(testkit.All(testkit.RateLimited(""), testkit.Header("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m30s"))),
		90 * time.Second, 90 * time.Second, realm.CauseRateLimited,
	},
	{"a limit by its body", fixed(resetsIn("rate_limit_error", 86_400)), 10 * time.Minute, 10 * time.Minute, realm.CauseRateLimited},
	{"a window by its body", fixed(resetsIn("usage_limit_reached", 86_400)), 24 * time.Hour, 24 * time.Hour, realm.CauseRateLimited},
	{"a window of a month", fixed(resetsIn("usage_limit_reached", 30*86_400)), 7 * 24 * time.Hour, 7 * 24 * time.Hour, realm.CauseRateLimited},
	{"a quota", fixed(noMoney), 10 * time.Minute, 10 * time.Minute, realm.CauseQuota},
	{"a quota under 402", fixed(unpaid), 10 * time.Minute, 10 * time.Minute, realm.CauseQuota},
	{"a quota for a time", fixed(testkit.All(noMoney, testkit.Header("Retry-After", "120"))), 2 * time.Minute, 2 * time.Minute, realm.CauseQuota},
}

// paused is a scene whose first credential was told to pause by its first request.
type paused struct {
	*scene
	pause
	form form
}

// D-12: a credential whose upstream said how long is left alone for so long, to the
// moment; nobody notices while another can serve.
func TestLimitedCredentialsAreLeftAlone(t *testing.T) {
	t.Parallel()
	limitedAreLeftAlone(t, newWorld(t, nil))
}

func limitedAreLeftAlone(t *testing.T, w *world) {
	t.Helper()
	var all []*paused
	for i, p := range pauses {
		s := w.scene(t, leg{keys: 2, script: func(r *testkit.Request) testkit.Fault {
			if r.Number == 1 {
				return p.fault()
			}
			return nil
		}})
		all = append(all, &paused{scene: s, pause: p, form: forms[i%len(forms)]})
	}
	for _, step := range []func(t *testing.T, p *paused){isLeftAlone, isAskedAgain} { // their times run at once
		for _, p := range all {
			step(t, p)
		}
	}
}

func isLeftAlone(t *testing.T, p *paused) {
	t.Helper()
	for i := range 6 {
		if a := p.ask(t, p.form); a.err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%s, request %d: %v %+v", p.name, i, a.err, a.Response)
		}
	}
	refused := p.requests()[0].At
	if m := p.credential(t, "a1").Marks; p.least > time.Second && (len(m) != 1 || m[0].Kind != "told" || m[0].Cause != p.cause ||
		m[0].Until.Sub(refused) < p.least || m[0].Until.Sub(refused) > p.most+time.Second) {
		t.Errorf("%s: marks %+v at %s, want %s from then on", p.name, m, refused, p.most)
	}
}

func isAskedAgain(t *testing.T, p *paused) {
	t.Helper()
	if p.most < 10*time.Second {
		eventually(t, p.name+": the credential to be asked again", p.most+15*time.Second, func() bool {
			p.ask(t, p.form)
			return p.counted()["a1"] > 1
		})
	}
	refused := p.requests()[0].At
	for i, r := range p.requests() {
		if after := r.At.Sub(refused); i > 0 && p.keys[r.Key] == "a1" && after < p.least {
			t.Errorf("%s: asked again after %s, want %s", p.name, after, p.least)
		}
	}
}

// D-12: the client hears of limits only when all credentials have one; then nobody
// is asked, and it is told the soonest time.
func TestTheClientHearsOfLimitsWhenAllHaveOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, f := range forms {
		t.Run(f.name, func(t *testing.T) {
			times := map[int]string{1: "40", 2: "9", 3: "25"}
			s := w.scene(t, leg{keys: 3, edit: variants, script: func(r *testkit.Request) testkit.Fault { return testkit.RateLimited(times[r.Number]) }})
			first := s.ask(t, f)
			judgeError(t, first, &want{kind: "rate_limit_error", code: "rate_limit_exceeded"})
			if first.StatusCode != 429 || first.Header.Get("Retry-After") != "9" || s.asked() != "a1 a2 a3" {
				t.Errorf("%d, Retry-After %q, asked %q", first.StatusCode, first.Header.Get("Retry-After"), s.asked())
			}
			for range 10 {
				a := s.ask(t, f)
				seconds, err := strconv.Atoi(a.Header.Get("Retry-After"))
				if a.StatusCode != 429 || err != nil || seconds < 1 || seconds > 9 || a.Header.Get("X-Realms-Attempts") > "0" {
					t.Errorf("%d %v: %s", a.StatusCode, a.Header, a.body)
				}
			}
			if s.asked() != "a1 a2 a3" {
				t.Errorf("asked %q", s.asked())
			}
			// A limit of one model says nothing of another.
			s.ups[0].SetScript(nil)
			if a := s.askFor(t, s.model+"-else", f); a.StatusCode != http.StatusOK {
				t.Errorf("another model: %d %s", a.StatusCode, a.body)
			}
		})
	}
}

// outOfUse tells whether the store says that a credential must not be used.
func (s *scene) outOfUse(t testing.TB, label string) (reason string, ok bool) {
	t.Helper()
	cr := s.credential(t, label)
	return cr.Reason, cr.State == realm.CredentialDisabled
}

// auditOf are the audit rows of a credential, as "actor verb".
func (s *scene) auditOf(t testing.TB, id realm.ID) []string {
	t.Helper()
	list, err := s.w.Store.Read().Audit.List(t.Context(), store.AuditPage{Limit: 1000})
	if err != nil {
		t.Fatalf("read the audit: %v", err)
	}
	var of []string
	for _, e := range list {
		if e.ObjectID == id && strings.Contains(e.Verb, "out_of_use") {
			of = append(of, e.Actor+" "+e.Verb+" "+string(e.Detail))
		}
	}
	return of
}

// D-14: an account that its upstream says is closed is out of use at once, in the
// store and for every process, until it is mended; the audit and the log say so.
func TestClosedAccountsAreOutOfUse(t *testing.T) {
	t.Parallel()
	onEngines(t, func(t *testing.T, use func(*config.Config)) {
		start := func(t testing.TB, _ func(*config.Config)) *world { t.Helper(); return newWorld(t, use) }
		closedAreOutOfUse(t, start(t, nil), start)
	})
}

func closedAreOutOfUse(t *testing.T, w *world, start starter) {
	t.Helper()
	for i, fault := range []testkit.Fault{
		testkit.Error(401, "invalid_request_error", "account_deactivated", "The OpenAI account associated with this API key has been deactivated."),
		testkit.Error(403, "invalid_request_error", "account_deactivated", "Deactivated."),
		testkit.Error(401, "", "token_revoked", "Encountered invalidated oauth token."),
		testkit.Error(402, "", "deactivated_workspace", "This workspace was deactivated."),
	} {
		s := w.scene(t, leg{keys: 2, script: testkit.Sequence(fault)})
		for range 5 {
			if a := s.ask(t, forms[i]); a.err != nil || a.StatusCode != http.StatusOK {
				t.Fatalf("fault %d: %v %+v", i, a.err, a.Response)
			}
		}
		isOutOfUse(t, s, "a1")
		restartedLeaves(t, s, start)
		w.mended(t, s, forms[i])
	}
}

// isOutOfUse waits for the store to say so, and sees who is told.
func isOutOfUse(t *testing.T, s *scene, label string) {
	t.Helper()
	testkit.Poll(t, "the credential to be out of use", func() bool { _, out := s.outOfUse(t, label); return out })
	if reason, _ := s.outOfUse(t, label); reason == "" || strings.Contains(reason, s.key(label)) {
		t.Errorf("the reason is %q", reason)
	}
	id := s.credential(t, label).ID
	if rows := s.auditOf(t, id); len(rows) != 1 {
		t.Errorf("audit: %q", rows)
	}
	testkit.Poll(t, "the log to warn of it", func() bool {
		return strings.Contains(s.w.log.String(), `"level":"WARN","msg":"credential out of use`)
	})
	if n := s.counted()[label]; n > 2 {
		t.Errorf("it was asked %d times: %q", n, s.asked())
	}
}

// restartedLeaves starts another process over the same store: it does not try the
// credential either.
func restartedLeaves(t *testing.T, s *scene, start starter) {
	t.Helper()
	again := start(t, nil)
	before := len(s.requests())
	for range 3 {
		if a := again.do(again.Request(t, http.MethodPost, chatWhole.path, strings.ReplaceAll(chatWhole.body, "%s", s.model))); a.StatusCode != http.StatusOK {
			t.Errorf("the other process: %d %s", a.StatusCode, a.body)
		}
	}
	if got := strings.Join(strings.Fields(s.asked())[before:], " "); got != "a2 a2 a2" {
		t.Errorf("the other process asked %q", got)
	}
	if err := again.Stop(); err != nil {
		t.Error(err)
	}
}

// mended has an operator put the first credential back into use.
func (w *world) mended(t *testing.T, s *scene, f form) {
	t.Helper()
	if _, err := w.Catalog.MendChannel(t.Context(), "test", s.names[0], ""); err != nil {
		t.Fatalf("mend: %v", err)
	}
	s.mend(t)
	before := len(s.requests())
	if a := s.ask(t, f); a.StatusCode != http.StatusOK || strings.Join(strings.Fields(s.asked())[before:], " ") != "a1" {
		t.Errorf("once it was mended: %d, asked %q", a.StatusCode, strings.Fields(s.asked())[before:])
	}
}

// D-14: two words that the key is refused, ten seconds apart, take it out of use;
// two at once do not.
func TestRefusedKeysAreOutOfUseOnTheSecondWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	const apart = 11 * time.Second
	for name, after := range map[string]time.Duration{"at once": 300 * time.Millisecond, "later": apart} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := w.scene(t, leg{keys: 2, script: func(r *testkit.Request) testkit.Fault {
				switch r.Number {
				case 1:
					return testkit.All(noKey, testkit.Slow(after))
				case 2:
					return noKey
				}
				return nil
			}})
			first := make(chan *answer, 1)
			go func() { first <- s.ask(t, chatWhole) }()
			s.ups[0].WaitRequests(t, 1)
			for range 3 {
				if a := s.ask(t, chatWhole); a.err != nil || a.StatusCode != http.StatusOK {
					t.Errorf("%v %+v", a.err, a.Response)
				}
			}
			if a := <-first; a.err != nil || a.StatusCode != http.StatusOK {
				t.Errorf("%v %+v", a.err, a.Response)
			}
			if after == apart {
				isOutOfUse(t, s, "a1")
			} else if _, out := s.outOfUse(t, "a1"); out || s.marks(t)[0] != "a1 told auth" {
				t.Errorf("out of use: %v, marks %q", out, s.marks(t))
			}
			if got, want := s.asked(), "a1 a1 a2 a2 a2 a2"; got != want {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	}
}

// D-14: a firewall's page says nothing of a key, however often it comes, nor does a
// policy's 403.
func TestFirewallsTakeNoKeyOutOfUse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for _, fault := range []testkit.Fault{testkit.Cloudflare(), testkit.Page(403), testkit.Page(401), noPower} {
		s := w.scene(t, leg{keys: 2, script: testkit.Always(fault)})
		for range 12 {
			s.ask(t, chatWhole)
			s.mend(t)
		}
		for _, label := range []string{"a1", "a2"} {
			if reason, out := s.outOfUse(t, label); out {
				t.Errorf("%s is out of use: %s", label, reason)
			}
			if rows := s.auditOf(t, s.credential(t, label).ID); len(rows) != 0 {
				t.Errorf("audit: %q", rows)
			}
		}
	}
}
