package codex

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

func TestSignInByDevice(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p := r.process()
		if cr := p.cr("main"); cr.Usable() {
			t.Fatal("a credential without an account is in use")
		}
		in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
		p.must(err)
		if in.Kind != SignInDevice || in.UserCode == "" || !strings.HasPrefix(in.URL, r.fake.Issuer()) || in.Interval != time.Second ||
			in.Channel != "codex" || in.Credential != "main" || in.ExpiresAt.Sub(r.Now()) != 15*time.Minute {
			t.Errorf("%+v", in)
		}
		for range 2 {
			_, err = p.PollDevice(t.Context(), actor, in.State)
			wantError(t, "not confirmed", err, ErrPending)
		}
		r.fake.Confirm(t, in.UserCode)
		a, err := p.PollDevice(t.Context(), actor, in.State)
		p.must(err)
		if a.Channel != "codex" || a.Credential != "main" || !a.SignedIn || a.AccountID != codextest.AccountID || a.Email != "owner@example.com" ||
			a.Plan != "plus" || a.State != realm.CredentialOK || !a.SignedInAt.Equal(r.Now()) || len(a.Limits.Windows) != 2 {
			t.Errorf("%+v", a)
		}
		p.hear()
		if !p.cr("main").Usable() || p.cr("second").Usable() {
			t.Error("the credential is not in use, or another is")
		}
		id, err := p.identify()
		if err != nil || id.AccountID != codextest.AccountID || !r.fake.Accepts(id.AccessToken) || id.Version != p.row().Version {
			t.Errorf("%+v, %v", id, err)
		}
		want := []string{"codex_account.sign_in_begun", "codex_account.signed_in", "credential.signed_in"} // by name
		if d := cmp.Diff(want, p.audited()); d != "" {
			t.Error(d)
		}
		list, err := p.List(t.Context())
		if err != nil || len(list) != 2 || !list[0].SignedIn || list[1].SignedIn || list[1].Reason != catalog.ReasonNotSignedIn("codex", "second") {
			t.Errorf("%+v, %v", list, err)
		}
	})
}

func TestSignInByBrowser(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	in, err := p.StartBrowser(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	if in.Kind != SignInBrowser || in.UserCode != "" || in.ExpiresAt.Sub(r.Now()) != 30*time.Minute {
		t.Errorf("%+v", in)
	}
	// Another process may end it, as when the page and the command are not one.
	a, err := r.process().FinishBrowser(t.Context(), actor, r.fake.Authorize(t, in.URL))
	if err != nil || a.AccountID != codextest.AccountID || a.State != realm.CredentialOK {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestImportTakesOver(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	tokens := r.fake.SignIn(t, codextest.AccountID)
	a, err := p.Import(t.Context(), actor, Target{Channel: "codex", Credential: "main"}, r.fake.AuthFile(tokens, codextest.AccountID))
	if err != nil || a.State != realm.CredentialOK || a.Email != "owner@example.com" {
		t.Fatalf("%+v, %v", a, err)
	}
	r.wantRefreshes(1)
	if r.fake.Serves(tokens.Refresh) || !r.fake.Serves(p.row().Tokens.Refresh) {
		t.Error("the file's token serves still, or ours does not")
	}
	_, err = p.Import(t.Context(), actor, Target{Channel: "codex", Credential: "main"}, []byte(`{"OPENAI_API_KEY":"x"}`))
	if realm.AsError(err).Code != realm.CodeInvalid {
		t.Errorf("an API key: %v", err)
	}
}

// A file that is imported once more costs the sign-in nothing that came of it; one of
// a later sign-in is taken.
func TestImportOfTheSameFileAgain(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	main := Target{Channel: "codex", Credential: "main"}
	file := r.fake.AuthFile(r.fake.SignIn(t, codextest.AccountID), codextest.AccountID)
	r.forward(time.Minute)
	_, err := p.Import(t.Context(), actor, main, file)
	p.must(err)
	if _, err = p.Import(t.Context(), actor, main, file); realm.AsError(err).Reason != "taken_over" {
		t.Errorf("the same file: %v", err)
	}
	r.wantRefreshes(1)
	if !r.fake.Serves(p.row().Tokens.Refresh) {
		t.Error("the sign-in is over")
	}
	r.forward(time.Minute)
	if _, err := p.Import(t.Context(), actor, main, r.fake.AuthFile(r.fake.SignIn(t, codextest.AccountID), codextest.AccountID)); err != nil {
		t.Errorf("a later sign-in: %v", err)
	}
}

// A store that takes nothing costs no file its token.
func TestImportIntoAStoreThatTakesNothing(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	tokens := r.fake.SignIn(t, codextest.AccountID)
	_, err := storetest.Raw(t, r.dsn).ExecContext(t.Context(), "CREATE TRIGGER no BEFORE INSERT ON audit BEGIN SELECT RAISE(FAIL, 'disk full'); END")
	p.must(err)
	_, err = p.Import(t.Context(), actor, Target{Channel: "codex", Credential: "main"}, r.fake.AuthFile(tokens, codextest.AccountID))
	if err == nil || !r.fake.Serves(tokens.Refresh) {
		t.Errorf("%v; the file serves: %v", err, r.fake.Serves(tokens.Refresh))
	}
	r.wantRefreshes(0)
}

func twoAccounts() []codextest.Account {
	other := codextest.DefaultAccount()
	other.ID, other.UserID, other.Email = "acc-0002", "user-0002", "other@example.com"
	return []codextest.Account{codextest.DefaultAccount(), other}
}

// Whatever is not the sign-in that this actor began, once and in time, stores
// nothing.
func TestSignInsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, r *rig, p *process, in *SignIn) error
	}{
		{"another actor's callback", func(t *testing.T, r *rig, p *process, in *SignIn) error {
			_, err := p.FinishBrowser(t.Context(), "8", r.fake.Authorize(t, in.URL))
			return err
		}},
		{"another actor's poll", func(t *testing.T, r *rig, p *process, _ *SignIn) error {
			in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
			p.must(err)
			r.fake.Confirm(t, in.UserCode)
			_, err = p.PollDevice(t.Context(), "8", in.State)
			return err
		}},
		{"a poll of a browser's state", func(t *testing.T, _ *rig, p *process, in *SignIn) error {
			_, err := p.PollDevice(t.Context(), actor, in.State)
			return err
		}},
		{"an unknown state", func(t *testing.T, r *rig, p *process, in *SignIn) error {
			_, err := p.FinishBrowser(t.Context(), actor, swapped(t, r.fake.Authorize(t, in.URL), "state", strings.Repeat("s", 64)))
			return err
		}},
		{"another sign-in's code under the state of another credential", func(t *testing.T, r *rig, p *process, in *SignIn) error {
			other, err := p.StartBrowser(t.Context(), actor, Target{Channel: "codex", Credential: "second"})
			p.must(err)
			_, err = p.FinishBrowser(t.Context(), actor, swapped(t, r.fake.Authorize(t, in.URL), "state", other.State))
			return err
		}},
		{"a sign-in that is over", func(t *testing.T, r *rig, p *process, in *SignIn) error {
			callback := r.fake.Authorize(t, in.URL)
			r.forward(30 * time.Minute)
			_, err := p.FinishBrowser(t.Context(), actor, callback)
			return err
		}},
		{"a refusal by the person", func(t *testing.T, r *rig, p *process, in *SignIn) error {
			r.fake.Refuse(true)
			_, err := p.FinishBrowser(t.Context(), actor, r.fake.Authorize(t, in.URL))
			return err
		}},
		{"after the operator took acceptance back", func(t *testing.T, r *rig, p *process, in *SignIn) error {
			p.must(p.Disable(t.Context(), actor))
			_, err := p.FinishBrowser(t.Context(), actor, r.fake.Authorize(t, in.URL))
			return err
		}},
		{"a channel that has keys", func(t *testing.T, _ *rig, p *process, _ *SignIn) error {
			_, err := p.StartDevice(t.Context(), actor, Target{Channel: "nowhere"})
			return err
		}},
		{"a credential that is not named among two", func(t *testing.T, _ *rig, p *process, _ *SignIn) error {
			_, err := p.StartBrowser(t.Context(), actor, Target{Channel: "codex"})
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			in, err := p.StartBrowser(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
			p.must(err)
			err = c.run(t, r, p, in)
			var e *realm.Error
			if !errors.As(err, &e) {
				t.Errorf("%v, want a refusal in words", err)
			}
			rows, err := p.db.Read().CodexAccounts.List(t.Context())
			if err != nil || len(rows) != 0 {
				t.Errorf("%d accounts are stored, %v", len(rows), err)
			}
			if p.cr("main").Usable() || p.cr("second").Usable() {
				t.Error("a credential is in use")
			}
		})
	}
}

// swapped is an address with another value of a parameter.
func swapped(t *testing.T, address, name, value string) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// A state serves once, even if it comes many times at once.
func TestStateServesOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p := r.process()
		in, err := p.StartBrowser(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
		p.must(err)
		callback := r.fake.Authorize(t, in.URL)
		const tries = 8
		done := make(chan error, tries)
		for range tries {
			go func() {
				_, err := p.FinishBrowser(t.Context(), actor, callback)
				done <- err
			}()
		}
		good := 0
		for range tries {
			if err := <-done; err == nil {
				good++
			} else if realm.AsError(err).Code != realm.CodeNotFound {
				t.Error(err)
			}
		}
		if n := r.fake.Calls(codextest.PathToken); good != 1 || n != 1 {
			t.Errorf("%d were accepted, %d codes were sent", good, n)
		}
	})
}

// Another account's tokens do not take the place of those that are there, unless
// that was asked for; they are given back.
func TestAnotherAccount(t *testing.T) {
	r := newRig(t, "sqlite", twoAccounts()...)
	p := r.process()
	r.signIn(p)
	before := p.row()
	r.fake.Visit("acc-0002")
	for _, replace := range []bool{false, true} {
		in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main", Replace: replace})
		p.must(err)
		r.fake.Confirm(t, in.UserCode)
		a, err := p.PollDevice(t.Context(), actor, in.State)
		if !replace {
			if e := realm.AsError(err); e.Code != realm.CodeConflict || !strings.Contains(e.Message, "--replace") {
				t.Errorf("%v, %v", a, err)
			}
			if d := cmp.Diff(before, p.row()); d != "" {
				t.Errorf("it changed what is there: %s", d)
			}
			if n := r.fake.Calls(codextest.PathRevoke); n != 1 {
				t.Errorf("%d revoked: the tokens of the other account are about", n)
			}
			continue
		}
		if err != nil || a.AccountID != "acc-0002" || p.row().Version <= before.Version {
			t.Errorf("%+v, %v", a, err)
		}
		if r.fake.Serves(before.Tokens.Refresh) {
			t.Error("the account that was replaced is still signed in at the provider")
		}
	}
	file := r.fake.AuthFile(r.fake.SignIn(t, codextest.AccountID), codextest.AccountID)
	_, err := p.Import(t.Context(), actor, Target{Channel: "codex", Credential: "main"}, file)
	if realm.AsError(err).Code != realm.CodeConflict {
		t.Errorf("import of another account: %v", err)
	}
	r.wantRefreshes(0) // its token was not used up
}

// An account whose workspace is served elsewhere is never used; one whose workspace
// is not known is not used until it is.
func TestWorkspace(t *testing.T) {
	for _, c := range []struct {
		name   string
		edit   func(a *codextest.Account)
		reason string
	}{
		{"region", func(a *codextest.Account) { a.Override = "us" }, "bound to a region"},
		{"origin", func(a *codextest.Account) { a.Origin = "https://eu.example.com" }, "bound to a region"},
		{"deactivated", func(a *codextest.Account) { a.Deactivated = true }, "run `realms codex login"},
		{"not listed", func(a *codextest.Account) { a.Unlisted = true }, "does not list"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			r.fake.Change(codextest.AccountID, c.edit)
			in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
			p.must(err)
			r.fake.Confirm(t, in.UserCode)
			_, err = p.PollDevice(t.Context(), actor, in.State)
			if realm.AsError(err).Code != realm.CodeConflict {
				t.Errorf("signed in: %v", err)
			}
			if cr := p.cr("main"); cr.Usable() || !strings.Contains(cr.StateReason, c.reason) || !catalog.NeedsSignIn(cr) {
				t.Errorf("%s: %q", cr.State, cr.StateReason)
			}
		})
		t.Run(c.name+" later", func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			r.signIn(p)
			r.fake.Change(codextest.AccountID, c.edit)
			r.forward(9*24*time.Hour + 23*time.Hour + 59*time.Minute)
			_, err := p.identify()
			p.must(err)
			testkit.Poll(t, "the credential to go out of use", func() bool { return !p.cr("main").Usable() })
			if cr := p.cr("main"); !strings.Contains(cr.StateReason, c.reason) {
				t.Errorf("%s: %q", cr.State, cr.StateReason)
			}
		})
	}
}

func TestWorkspaceThatCannotBeChecked(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.fake.Instead(codextest.PathCheck, codextest.Challenge())
	in, err := p.StartDevice(t.Context(), actor, Target{Channel: "codex", Credential: "main"})
	p.must(err)
	r.fake.Confirm(t, in.UserCode)
	_, err = p.PollDevice(t.Context(), actor, in.State)
	if e := realm.AsError(err); e.Code != realm.CodeUnavailable || !strings.Contains(e.Message, "Cloudflare") {
		t.Errorf("signed in: %v", err)
	}
	if cr := p.cr("main"); cr.Usable() || !strings.Contains(cr.StateReason, "try codex refresh") {
		t.Errorf("%s: %q", cr.State, cr.StateReason)
	}
	a, err := p.Refresh(t.Context(), actor, "codex", "main")
	if err != nil || a.State != realm.CredentialOK || a.Reason != "" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestRemove(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	old := p.row()
	p.must(p.Disable(t.Context(), actor)) // it works all the same
	p.remove()
	if r.fake.Serves(old.Tokens.Refresh) {
		t.Error("the provider was not told")
	}
	if cr := p.cr("main"); cr.Usable() || cr.StateReason != catalog.ReasonNotSignedIn("codex", "main") {
		t.Errorf("%s: %q", cr.State, cr.StateReason)
	}
	if _, err := p.identify(); !errors.Is(err, ErrNotAccepted) {
		t.Errorf("while accounts are not accepted: %v", err)
	}
	p.must(p.Enable(t.Context(), actor))
	_, err := p.identify()
	wantError(t, "identity", err, ErrNotSignedIn)
	_, err = p.Remove(t.Context(), actor, "codex", "main")
	wantError(t, "removed again", err, ErrNotSignedIn)
	_, err = p.Refresh(t.Context(), actor, "codex", "main")
	wantError(t, "refreshed", err, ErrNotSignedIn)
	_, err = p.Usage(t.Context(), actor, "codex", "main")
	wantError(t, "asked for usage", err, ErrNotSignedIn)
	// What was signed in again is not mistaken for what was there.
	r.forward(time.Millisecond)
	r.signIn(p)
	if v := p.row().Version; v <= old.Version {
		t.Errorf("version %d after %d", v, old.Version)
	}
}
