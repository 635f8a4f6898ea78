package codex

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// An account that replaces another is not used before its workspace was looked at,
// not even by another process.
func TestReplacedIsNotUsedUnchecked(t *testing.T) {
	accounts := twoAccounts()
	accounts[1].Override = "eu"
	r := newRig(t, "sqlite", accounts...)
	p, server := r.process(), r.process()
	r.signIn(p)
	server.hear()
	r.fake.Visit(accounts[1].ID)
	in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main", Replace: true})
	p.must(err)
	r.fake.Confirm(t, in.UserCode)
	looked := false
	r.fake.Hook(codextest.PathCheck, func(*testkit.Request) {
		looked = true
		server.hear()
		if cr := server.cr("main"); cr.Usable() || !catalog.NeedsSignIn(cr) {
			t.Errorf("while the workspace is being asked for: %s %q", cr.State, cr.StateReason)
		}
	})
	_, err = p.PollDevice(t.Context(), actor, in.State)
	r.fake.Hook(codextest.PathCheck, nil)
	if realm.AsError(err).Code != realm.CodeConflict || !looked {
		t.Errorf("looked %v, %v", looked, err)
	}
	if server.hear(); server.cr("main").Usable() {
		t.Error("it is used afterwards")
	}
}

// Whoever signs the same account in again is served all the while.
func TestSameAccountAgainStaysInUse(t *testing.T) {
	r := newRig(t, "sqlite")
	p, server := r.process(), r.process()
	r.signIn(p)
	r.fake.Hook(codextest.PathCheck, func(*testkit.Request) {
		if cr := server.cr("main"); !cr.Usable() {
			t.Errorf("while the workspace is being asked for: %q", cr.StateReason)
		}
	})
	r.signIn(p)
	r.fake.Hook(codextest.PathCheck, nil)
}

// Nobody but a sign-in's own verbs puts an account in use whose workspace is not
// known.
func TestMendDoesNotAdmit(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.fake.Instead(codextest.PathCheck, testkit.Status(http.StatusServiceUnavailable, ""))
	in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	r.fake.Confirm(t, in.UserCode)
	_, err = p.PollDevice(t.Context(), actor, in.State)
	if realm.AsError(err).Code != realm.CodeUnavailable {
		t.Errorf("signed in: %v", err)
	}
	_, _ = p.catalog.MendChannel(t.Context(), actor, "codex", "")
	if cr := p.cr("main"); cr.Usable() {
		t.Error("it is used though nobody has looked")
	}
	_, err = p.Refresh(t.Context(), actor, "codex", "main")
	if err != nil || !p.cr("main").Usable() {
		t.Errorf("refreshed: %v", err)
	}
}

// The file of somebody else of the same workspace is refused while it still serves.
func TestImportOfAnotherPersonOfTheWorkspace(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	row := p.row()
	p.must(p.db.Tx(t.Context(), func(x store.Repos) error {
		row.UserID, row.Version = "somebody-else", row.Version+1
		return x.CodexAccounts.Put(t.Context(), row)
	}))
	tokens := r.fake.SignIn(t, codextest.AccountID)
	_, err := p.Import(t.Context(), actor, Target{Channel: "codex", Credential: "main"}, r.fake.AuthFile(tokens, codextest.AccountID))
	if realm.AsError(err).Code != realm.CodeConflict {
		t.Error(err)
	}
	if n := r.fake.Calls(codextest.PathRevoke); n != 0 || !r.fake.Serves(tokens.Refresh) {
		t.Errorf("the file serves: %v; %d revoked", r.fake.Serves(tokens.Refresh), n)
	}
}

// Tokens that are renewed beside the verb that removes them are those that are
// revoked.
func TestRemoveBesideARenewal(t *testing.T) {
	r := newRig(t, "mysql")
	other := r.process()
	r.signIn(other)
	done := false
	var last realm.Secret
	p := r.traced(func(text string) {
		if strings.HasPrefix(text, "UPDATE versions SET version = version WHERE") && !done {
			done = true
			_, err := other.Refresh(t.Context(), actor, "codex", "main")
			other.must(err)
			last = other.row().Tokens.Refresh
		}
	})
	cr := p.cr("main")
	p.remove()
	other.hear()
	_, err := other.Identity(t.Context(), cr)
	wantError(t, "removed", err, ErrNotSignedIn)
	if n := r.fake.Calls(codextest.PathRevoke); n != 1 || !done {
		t.Errorf("%d revoked, renewed %v", n, done)
	}
	for _, q := range r.fake.Requests(codextest.PathRevoke) {
		if !strings.Contains(string(q.Body), last.Reveal()) {
			t.Error("another token was revoked than the last")
		}
	}
}

// A store that is away for a moment when a sign-in's tokens come costs nothing.
func TestStoreIsAwayForAMomentAtASignIn(t *testing.T) {
	for _, away := range []time.Duration{100 * time.Millisecond, time.Minute} {
		r := newRig(t, "sqlite")
		p, other := r.process(), r.process()
		p.writeTime = 2 * time.Second
		if away > p.writeTime {
			p.writeTime = 50 * time.Millisecond
		}
		in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
		p.must(err)
		r.fake.Confirm(t, in.UserCode)
		hold, held, over := make(chan struct{}), make(chan struct{}), make(chan struct{})
		p.before(func(q *http.Request) {
			if q.URL.Path != codextest.PathToken {
				return
			}
			go func() {
				defer close(over)
				_ = other.db.Tx(t.Context(), func(store.Repos) error { close(held); <-hold; return nil })
			}()
			<-held
		})
		timer := time.AfterFunc(min(away, time.Second), func() { close(hold) })
		defer timer.Stop()
		_, err = p.PollDevice(t.Context(), actor, in.State)
		<-over
		if away < p.writeTime {
			if err != nil || !p.cr("main").Usable() {
				t.Errorf("away for %v: %v", away, err)
			}
			continue
		}
		if e := realm.AsError(err); e.Code != realm.CodeUnavailable || !strings.Contains(e.Message, "again") {
			t.Errorf("away for too long: %v", err)
		}
		if n := r.fake.Calls(codextest.PathRevoke); n != 1 {
			t.Errorf("%d revoked", n)
		}
	}
}

// What the issuer gave for a sign-in that another has taken the place of is given
// back.
func TestRenewalThatComesTooLate(t *testing.T) {
	r := newRig(t, "sqlite")
	p, other := r.process(), r.process()
	r.signIn(p)
	cr := p.cr("main")
	r.forward(tokenLife)
	in, err := other.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	r.fake.Confirm(t, in.UserCode)
	var once sync.Once
	late := fresh(t, map[string]string{
		"access_token":  r.jwt(codextest.AccountID, map[string]any{"exp": r.Now().Add(tokenLife).Unix()}),
		"refresh_token": "rt-" + "late",
	})
	p.before(func(*http.Request) {
		once.Do(func() {
			_, err := other.PollDevice(t.Context(), actor, in.State)
			other.must(err)
			// The old sign-in was revoked by that; the issuer may not know yet.
			r.fake.Instead(codextest.PathToken, late)
		})
	})
	id, err := p.Identity(t.Context(), cr)
	if err != nil || !r.fake.Accepts(id.AccessToken) {
		t.Errorf("version %d, %v", id.Version, err)
	}
	p.Close()
	revoked := r.fake.Requests(codextest.PathRevoke)
	if len(revoked) != 2 || !strings.Contains(string(revoked[1].Body), "late") {
		t.Errorf("%d revoked", len(revoked))
	}
	if !r.fake.Serves(other.row().Tokens.Refresh) {
		t.Error("the new sign-in was ended")
	}
}

// Of two that sign in at once, what is said of one's workspace admits no other's.
func TestWorkspaceOfAnotherSignIn(t *testing.T) {
	accounts := twoAccounts()
	accounts[1].Override = "eu"
	r := newRig(t, "sqlite", accounts...)
	p, other := r.process(), r.process()
	var begun atomic.Bool
	r.fake.Hook(codextest.PathCheck, func(*testkit.Request) {
		if begun.Swap(true) {
			return // it is the other's own
		}
		r.fake.Visit(accounts[1].ID)
		in, err := other.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main", Replace: true})
		p.must(err)
		r.fake.Confirm(t, in.UserCode)
		_, err = other.PollDevice(t.Context(), actor, in.State)
		if realm.AsError(err).Code != realm.CodeConflict {
			t.Errorf("the other one: %v", err)
		}
	})
	in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	r.fake.Confirm(t, in.UserCode)
	_, err = p.PollDevice(t.Context(), actor, in.State)
	if realm.AsError(err).Code != realm.CodeConflict || p.cr("main").Usable() {
		t.Errorf("in use %v, %v", p.cr("main").Usable(), err)
	}
	if row := p.row(); row.AccountID != accounts[1].ID {
		t.Errorf("the row is of %s", row.AccountID)
	}
}
