package codex

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// Failures that may pass: the token goes on while it lasts, and the issuer is not
// asked more often than the back-off allows.
func TestTransientFailures(t *testing.T) {
	for name, fault := range map[string]testkit.Fault{
		"overloaded": codextest.Overloaded(),
		"challenge":  codextest.Challenge(),
		"cut":        testkit.Cut(0, testkit.EndReset),
		"nonsense":   testkit.Status(http.StatusOK, "[]"),
		"rate limit": testkit.Status(http.StatusTooManyRequests, "{}"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p := r.process()
			r.signIn(p)
			cr := p.cr("main")
			r.fake.Always(codextest.PathToken, fault)
			r.forward(almostOver)
			for range 20 {
				_, err := p.Identity(t.Context(), cr)
				p.must(err)
				p.settled()
			}
			r.wantRefreshes(1)
			for n := 2; n <= 4; n++ {
				r.forward(retryFirst << (n - 2))
				_, err := p.Identity(t.Context(), cr)
				p.must(err)
				p.settled()
				r.wantRefreshes(n)
			}
			r.forward(time.Hour) // over
			for range 20 {
				_, err := p.Identity(t.Context(), cr)
				if e := realm.AsError(err); err == nil || e.Code != realm.CodeUnavailable || errors.Is(err, ErrRefused) {
					t.Fatalf("with a token that is over: %v", err)
				}
			}
			r.wantRefreshes(5)
			if row := p.row(); row.RefreshError != "" || !p.cr("main").Usable() {
				t.Errorf("it was taken for good: %q", row.RefreshError)
			}
			r.fake.Always(codextest.PathToken, nil)
			r.forward(retryLast)
			id, err := p.Identity(t.Context(), cr)
			if err != nil || !r.fake.Accepts(id.AccessToken) {
				t.Errorf("once it has passed: %v", err)
			}
		})
	}
}

// A refusal for good is noted once; the credential goes out of use when its access
// token does, and the issuer is not asked again by anybody.
func TestPermanentFailures(t *testing.T) {
	for _, code := range []string{"refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated", "something_new"} {
		t.Run(code, func(t *testing.T) {
			r := newRig(t, "sqlite")
			p, other := r.process(), r.process()
			r.signIn(p)
			other.hear()
			cr := p.cr("main")
			r.fake.Always(codextest.PathToken, codextest.RefreshRefused(code))
			r.forward(almostOver)
			for range 5 {
				_, err := p.Identity(t.Context(), cr)
				p.must(err)
				p.settled()
			}
			if row := p.row(); row.RefreshError == "" || !p.cr("main").Usable() {
				t.Errorf("noted %q, in use %v", row.RefreshError, p.cr("main").Usable())
			}
			r.forward(time.Hour)
			for _, q := range []*process{p, other} {
				for range 5 {
					_, err := q.Identity(t.Context(), cr)
					wantError(t, "with a token that is over", err, ErrRefused)
				}
			}
			if now := p.cr("main"); now.Usable() || !strings.Contains(now.StateReason, "realms codex login codex/main") {
				t.Errorf("%s: %q", now.State, now.StateReason)
			}
			r.wantRefreshes(1)
			want := []string{
				"codex_account.refused", "codex_account.sign_in_begun", "codex_account.signed_in", "credential.signed_in", "credential.signed_out",
			}
			if d := cmp.Diff(want, p.audited()); d != "" {
				t.Error(d)
			}
			r.fake.Always(codextest.PathToken, nil)
			r.signIn(p)
			if _, err := p.Identity(t.Context(), cr); err != nil || !p.cr("main").Usable() {
				t.Errorf("signed in again: %v", err)
			}
		})
	}
}

func TestPermanentFailureAfter401(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	r.signIn(p)
	cr := p.cr("main")
	used, err := p.identify()
	p.must(err)
	r.fake.EndRefresh(codextest.AccountID, "refresh_token_invalidated")
	for range 3 {
		_, err = p.Renew(t.Context(), cr, used)
		wantError(t, "renewed", err, ErrRefused)
	}
	r.wantRefreshes(1)
	if now := p.cr("main"); now.Usable() || !catalog.NeedsSignIn(now) {
		t.Errorf("%s: %q", now.State, now.StateReason)
	}
	_, err = p.Refresh(t.Context(), actor, "codex", "main")
	wantError(t, "refreshed by hand", err, ErrRefused)
	r.wantRefreshes(1)
}
