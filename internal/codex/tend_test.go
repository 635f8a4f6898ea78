package codex

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// fresh is an answer of the token endpoint with these fields.
func fresh(t *testing.T, fields map[string]string) testkit.Fault {
	t.Helper()
	body, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return testkit.Status(http.StatusOK, string(body))
}

// jwt is an access token of the account that nobody has given out.
func (r *rig) jwt(account string, more map[string]any) string {
	claims := map[string]any{"https://api.openai.com/auth": map[string]any{"chatgpt_account_id": account, "chatgpt_user_id": "user-0001"}}
	for name, v := range more {
		claims[name] = v
	}
	return r.fake.JWT(claims)
}

// What an answer lacks is still good.
func TestRenewalWithSomeOfTheTokens(t *testing.T) {
	for _, c := range []struct {
		name string
		omit []string
	}{{"all", nil}, {"no id token", []string{"id_token"}}, {"no refresh token", []string{"refresh_token"}}} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			r.signIn(p)
			before := p.row()
			r.fake.Omit(c.omit...)
			r.forward(tokenLife)
			id, err := p.identify()
			p.must(err)
			after := p.row()
			kept := map[string]bool{"id_token": after.Tokens.ID == before.Tokens.ID, "refresh_token": after.Tokens.Refresh == before.Tokens.Refresh}
			for _, name := range []string{"id_token", "refresh_token"} {
				if omitted := len(c.omit) == 1 && c.omit[0] == name; kept[name] != omitted {
					t.Errorf("%s was kept: %v", name, kept[name])
				}
			}
			want := *before
			want.Tokens, want.Version, want.RefreshedAt, want.ExpiresAt = after.Tokens, before.Version+1, r.Now(), r.Now().Add(tokenLife)
			if d := cmp.Diff(&want, after, cmp.Comparer(func(a, b realm.Secret) bool { return a == b })); d != "" {
				t.Error(d)
			}
			if !r.fake.Accepts(id.AccessToken) || !r.fake.Serves(after.Tokens.Refresh) {
				t.Error("a token that is stored does not serve")
			}
		})
	}
}

// A token that does not say when it ends is renewed after eight days, and nobody
// waits for that.
func TestTokensThatDoNotSayWhenTheyEnd(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	access := r.jwt(codextest.AccountID, nil)
	r.fake.Instead(codextest.PathToken, fresh(t, map[string]string{"access_token": access}))
	r.forward(tokenLife)
	blind, err := p.Identity(t.Context(), cr)
	if err != nil || blind.AccessToken.Reveal() != access || !p.row().ExpiresAt.IsZero() {
		t.Fatalf("ends at %v, %v", p.row().ExpiresAt, err)
	}
	r.forward(blindLife - time.Second)
	_, err = p.Identity(t.Context(), cr)
	p.must(err)
	p.settled()
	r.wantRefreshes(1)
	r.forward(time.Second)
	if id, err := p.Identity(t.Context(), cr); err != nil || id != blind {
		t.Errorf("version %d, %v", id.Version, err)
	}
	p.settled()
	r.wantRefreshes(2)
	if id, err := p.Identity(t.Context(), cr); err != nil || id.Version != blind.Version+1 {
		t.Errorf("version %d, %v", id.Version, err)
	}
}

// With a clock that is far ahead every token seems over; that is no reason to ask
// for one after the other.
func TestTokensThatAreOverWhenTheyCome(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	r.fake.SetAccessLife(-time.Hour)
	r.forward(tokenLife)
	for range 20 {
		_, err := p.Identity(t.Context(), cr)
		p.must(err)
		p.settled()
	}
	r.wantRefreshes(1)
}

// Tokens of another account in the answer are not the account's: nobody uses them.
func TestRenewalThatBringsAnotherAccount(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	before := p.row()
	r.fake.Instead(codextest.PathToken, fresh(t, map[string]string{
		"access_token": r.jwt("acc-0002", map[string]any{"exp": r.Now().Add(2 * tokenLife).Unix()}), "refresh_token": "rt-" + "other",
	}))
	r.forward(tokenLife)
	_, err := p.identify()
	wantError(t, "identity", err, ErrRefused)
	if row := p.row(); row.Tokens != before.Tokens || row.AccountID != before.AccountID || row.RefreshError == "" || p.cr("main").Usable() {
		t.Errorf("the row: %q, %s", row.RefreshError, row.AccountID)
	}
}

// What one process does with an account the others know.
func TestOtherProcessesFollow(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p, other, late := r.process(), r.process(), r.process()
		r.signIn(p)
		cr := p.cr("main")
		other.hear()
		first, err := other.Identity(t.Context(), cr)
		other.must(err)
		// One whose feed lags reads the row at the first use.
		if id, err := late.Identity(t.Context(), cr); err != nil || id != first {
			t.Errorf("without the feed: version %d, %v", id.Version, err)
		}
		r.forward(time.Hour)
		_, err = p.Refresh(t.Context(), actor, "codex", "main")
		p.must(err)
		other.hear()
		second, err := other.Identity(t.Context(), cr)
		if err != nil || second.Version != first.Version+1 {
			t.Errorf("renewed elsewhere: version %d, %v", second.Version, err)
		}
		if id, err := late.Renew(t.Context(), cr, first); err != nil || id != second {
			t.Errorf("a 401 of what was renewed elsewhere: version %d, %v", id.Version, err)
		}
		r.wantRefreshes(1)
		p.remove()
		other.hear()
		_, err = other.Identity(t.Context(), cr)
		wantError(t, "removed elsewhere", err, ErrNotSignedIn)
	})
}

// What the relay learns of an account for good is about the tokens that it had.
func TestRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p := r.process()
		r.signIn(p)
		cr := p.cr("main")
		r.forward(time.Minute)
		before, err := p.Identity(t.Context(), cr)
		p.must(err)
		_, err = p.Refresh(t.Context(), actor, "codex", "main")
		p.must(err)
		p.must(p.Refused(t.Context(), cr, "late", before.Version))
		if !p.cr("main").Usable() {
			t.Error("a late refusal took the credential out of use")
		}
		after, err := p.Identity(t.Context(), cr)
		p.must(err)
		for _, reason := range []string{"the workspace is closed", "again"} {
			p.must(p.Refused(t.Context(), cr, reason, after.Version))
			now := p.cr("main")
			if now.Usable() || now.StateReason != catalog.ReasonSignIn("the workspace is closed", "codex", "main") {
				t.Errorf("%s: %q", now.State, now.StateReason)
			}
		}
		if p.catalog.Snapshot().Credential(cr.ID).Usable() {
			t.Error("the snapshot does not know")
		}
		p.remove()
		p.must(p.Refused(t.Context(), cr, "of an account that is gone", after.Version))
		if reason := p.cr("main").StateReason; reason != catalog.ReasonNotSignedIn("codex", "main") {
			t.Errorf("%q", reason)
		}
	})
}

func TestObserve(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p, other := r.process(), r.process()
		r.signIn(p)
		cr := p.cr("main")
		before := p.row()
		resets := r.Now().Add(time.Hour)
		p.Observe(cr.ID, realm.CodexLimits{Windows: []realm.CodexWindow{
			{Length: 5 * time.Hour, UsedPercent: 80, ResetsAt: resets},
			{Limit: "spark", Length: time.Hour, UsedPercent: 1, ResetsAt: resets},
		}})
		r.forward(time.Minute)
		p.Observe(cr.ID, realm.CodexLimits{Plan: "pro", Windows: []realm.CodexWindow{{Limit: "spark", Length: time.Hour, UsedPercent: 2, ResetsAt: resets}}})
		p.Observe(cr.ID, realm.CodexLimits{}) // an answer that said nothing
		p.Observe(cr.ID+1, realm.CodexLimits{Plan: "pro"})
		want := map[string]float64{"": 80, "spark": 2}
		check := func(what string, a *Account) {
			t.Helper()
			for _, w := range a.Limits.Windows {
				if w.Seconds != int64(7*24*time.Hour/time.Second) && w.UsedPercent != want[w.Limit] {
					t.Errorf("%s: %q of %v is at %v", what, w.Limit, w.Length(), w.UsedPercent)
				}
			}
			if len(a.Limits.Windows) != 3 || a.Limits.Plan != "pro" || !a.Limits.At.Equal(r.Now()) {
				t.Errorf("%s: %+v", what, a.Limits)
			}
		}
		list, err := p.List(t.Context())
		p.must(err)
		check("at once", list[0])
		p.tend(t.Context())
		list, err = other.List(t.Context())
		other.must(err)
		check("stored", list[0])
		after := p.row()
		if d := cmp.Diff(before, after, cmp.Comparer(func(a, b realm.Secret) bool { return a == b }), cmpopts.IgnoreFields(realm.CodexAccount{}, "Limits")); d != "" {
			t.Error(d)
		}
		r.forward(2 * time.Hour) // what has reset is not kept beside what is new
		p.Observe(cr.ID, realm.CodexLimits{Plan: "pro", Windows: []realm.CodexWindow{{Length: 5 * time.Hour, UsedPercent: 3, ResetsAt: r.Now().Add(time.Hour)}}})
		list, err = p.List(t.Context())
		p.must(err)
		if n := len(list[0].Limits.Windows); n != 2 {
			t.Errorf("%d windows: %+v", n, list[0].Limits.Windows)
		}
	})
}

// A window that is said to reset after more than its own length is not waited for so
// long, whether an answer says it or a row that is there already.
func TestResetsBeyondTheirWindows(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	wrong := func() realm.CodexLimits {
		return realm.CodexLimits{At: r.Now(), Windows: []realm.CodexWindow{{Length: time.Hour, UsedPercent: 100, ResetsAt: r.Now().Add(1000 * time.Hour)}}}
	}
	check := func(what string, p *process) {
		t.Helper()
		list, err := p.List(t.Context())
		p.must(err)
		if w := list[0].Limits.Windows; len(w) == 0 || !w[0].ResetsAt.Equal(r.Now().Add(time.Hour)) {
			t.Errorf("%s: %+v", what, w)
		}
	}
	r.forward(time.Minute)
	p.must(p.db.Tx(t.Context(), func(rep store.Repos) error {
		return rep.CodexAccounts.SetLimits(t.Context(), cr.ID, codextest.AccountID, wrong())
	}))
	check("stored", p)
	late := r.process()
	if w := late.limitsOf(cr.ID).Windows; len(w) != 1 || !w[0].ResetsAt.Equal(r.Now().Add(time.Hour)) {
		t.Errorf("read: %+v", w)
	}
	r.forward(time.Minute)
	p.Observe(cr.ID, wrong())
	check("observed", p)
}

// Tokens are renewed before they are over, whether requests come or not; usage is
// asked for while requests come alone.
func TestTend(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	asked := r.fake.Calls(codextest.PathUsage)
	wantAsked := func(more int) {
		t.Helper()
		if n := r.fake.Calls(codextest.PathUsage) - asked; n != more {
			t.Errorf("asked for usage %d times, want %d", n, more)
		}
	}
	r.forward(time.Hour)
	p.tend(t.Context())
	wantAsked(0) // nobody uses it
	_, err := p.Identity(t.Context(), cr)
	p.must(err)
	p.tend(t.Context())
	p.tend(t.Context())
	wantAsked(1)
	r.forward(usageTime / 2)
	_, err = p.Identity(t.Context(), cr)
	p.must(err)
	p.Observe(cr.ID, realm.CodexLimits{Plan: "plus"})
	r.forward(usageTime - time.Second)
	p.tend(t.Context())
	wantAsked(1) // an answer has told
	_, err = p.Identity(t.Context(), cr)
	p.must(err)
	r.forward(time.Second)
	p.tend(t.Context())
	wantAsked(2)

	r.forward(p.row().ExpiresAt.Add(-renewAhead - time.Second).Sub(r.Now()))
	p.tend(t.Context())
	p.settled()
	r.wantRefreshes(0)
	r.forward(time.Second)
	p.must(p.Disable(t.Context(), actor))
	p.tend(t.Context())
	p.settled()
	r.wantRefreshes(0)
	p.must(p.Enable(t.Context(), actor))
	p.tend(t.Context())
	p.settled()
	r.wantRefreshes(1)
}

// A sign-in that has ended goes out of use with its access token, whether requests come
// or not: operators see it before they need it.
func TestTendTakesWhatHasEndedOutOfUse(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	r.fake.EndRefresh(codextest.AccountID, "refresh_token_expired")
	for _, c := range []struct {
		at     time.Duration
		usable bool
	}{{tokenLife - renewAhead, true}, {renewAhead - time.Second, true}, {time.Second, false}} {
		r.forward(c.at)
		p.tend(t.Context())
		p.settled()
		if cr := p.cr("main"); cr.Usable() != c.usable {
			t.Errorf("%s before its end: %s %q", p.row().ExpiresAt.Sub(r.Now()), cr.State, cr.StateReason)
		}
	}
	r.wantRefreshes(1)
}

// Whoever keeps something against an account's tokens hears when it has others, and
// when it is another one.
func TestRenewedAndChangedAreTold(t *testing.T) {
	r := newRig(t, "sqlite", twoAccounts()...)
	p, server := r.process(), r.process()
	var versions []int64
	changed := 0
	id := p.cr("main").ID
	server.o.Renewed = func(credential realm.ID, version int64) {
		if credential == id {
			versions = append(versions, version)
		}
	}
	server.o.Changed = func(realm.ID) { changed++ }
	want := func(news, others int) {
		t.Helper()
		server.hear()
		server.hear() // nothing is told twice
		if len(versions) != news || changed != others || versions[news-1] != p.row().Version {
			t.Errorf("told of the versions %v and %d other accounts; want %d and %d, the last version %d", versions, changed, news, others, p.row().Version)
		}
	}
	r.signIn(p)
	want(1, 0)
	r.forward(time.Second)
	_, err := p.Refresh(t.Context(), actor, "codex", "main")
	p.must(err)
	want(2, 0)
	r.forward(time.Second)
	r.signIn(p)
	want(3, 0)
	r.forward(time.Second)
	r.fake.Visit("acc-0002")
	r.signInFor(p, Target{Channel: "codex", Credential: "main", Replace: true})
	want(4, 1)
}

// An account whose credential was deleted is revoked by whoever knew it.
func TestTendRevokesWhatIsGone(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	refresh := p.row().Tokens.Refresh
	_, err := p.catalog.DeleteChannel(t.Context(), actor, "codex")
	p.must(err)
	p.tend(t.Context())
	if !r.fake.Serves(refresh) {
		t.Error("it was revoked at the first look")
	}
	p.tend(t.Context())
	if r.fake.Serves(refresh) {
		t.Error("the account is still signed in at the provider")
	}
	for range 2 {
		p.tend(t.Context())
	}
	if n := r.fake.Calls(codextest.PathRevoke); n != 1 {
		t.Errorf("%d revoked", n)
	}
}

// A store that was replaced by an older one is right, whether this process was told
// or finds out.
func TestStoreThatWasReplaced(t *testing.T) {
	for _, told := range []bool{true, false} {
		r := newRig(t, "sqlite")
		p := r.process()
		r.signIn(p)
		cr, old := p.cr("main"), p.row()
		_, err := p.Refresh(t.Context(), actor, "codex", "main")
		p.must(err)
		old.Tokens = r.fake.SignIn(t, codextest.AccountID)
		p.must(p.db.Tx(t.Context(), func(rep store.Repos) error {
			if err := rep.CodexAccounts.Delete(t.Context(), cr.ID); err != nil {
				return err
			}
			return rep.CodexAccounts.Put(t.Context(), old)
		}))
		want := old.Version
		if told {
			p.must(p.Load(t.Context()))
		} else {
			r.forward(tokenLife)
			want++
		}
		if id, err := p.Identity(t.Context(), cr); err != nil || id.Version != want || !r.fake.Accepts(id.AccessToken) {
			t.Errorf("told %v: version %d, want %d, %v", told, id.Version, want, err)
		}
	}
}

func TestRunStoresWhatWasObserved(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	r.forward(time.Second)
	p.Observe(p.cr("main").ID, realm.CodexLimits{Plan: "pro"})
	cancel()
	p.must(<-done)
	if plan := p.row().Limits.Plan; plan != "pro" {
		t.Errorf("the plan is %q", plan)
	}
}

func TestSweep(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	in, err := p.StartBrowser(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	for _, c := range []struct {
		wait time.Duration
		gone bool
	}{{browserLife + signInKept, false}, {time.Second, true}} {
		r.forward(c.wait)
		p.sweep(t.Context())
		if _, err := p.db.Read().CodexSignIns.Get(t.Context(), realm.Secret(in.State)); (err != nil) != c.gone {
			t.Errorf("gone %v: %v", c.gone, err)
		}
	}
}
