package codex

import (
	"errors"
	"testing"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit/codextest"
)

// spoil writes something over an account's tokens, as nothing of Realms does.
func (r *rig) spoil(credential realm.ID) {
	r.t.Helper()
	db := storetest.Raw(r.t, r.dsn)
	if _, err := db.ExecContext(r.t.Context(), "UPDATE codex_accounts SET tokens = '{broken' WHERE credential_id = ?", credential); err != nil {
		r.t.Fatal(err)
	}
}

// Tokens that cannot be read keep nobody but their credential from being used, and
// every verb that does without them works.
func TestTokensThatCannotBeRead(t *testing.T) {
	eachEngine(t, func(t *testing.T, r *rig) {
		p := r.process()
		r.signIn(p)
		r.signInFor(p, Target{Channel: "codex", Credential: "second"})
		cr := p.cr("main")
		r.spoil(cr.ID)

		q := r.process() // it loads
		p.hear()
		for _, one := range []*process{p, q} {
			if id, err := one.Identity(t.Context(), one.cr("second")); err != nil || !r.fake.Accepts(id.AccessToken) {
				t.Errorf("the other credential: %v", err)
			}
			for range 2 {
				_, err := one.Identity(t.Context(), cr)
				wantError(t, "the spoilt one", err, ErrRefused)
			}
		}
		if now := q.cr("main"); now.Usable() || !catalog.NeedsSignIn(now) {
			t.Errorf("%s: %q", now.State, now.StateReason)
		}
		list, err := q.List(t.Context())
		if err != nil || len(list) != 2 || list[0].AccountID != codextest.AccountID {
			t.Errorf("%d listed, %v", len(list), err)
		}
		_, err = q.Refresh(t.Context(), actor, "codex", "main")
		wantError(t, "refreshed", err, ErrRefused)
		r.signIn(q)
		if id, err := q.Identity(t.Context(), q.cr("main")); err != nil || !r.fake.Accepts(id.AccessToken) {
			t.Errorf("signed in again: %v", err)
		}
		r.spoil(cr.ID)
		last := r.process()
		unrevoked, err := last.Remove(t.Context(), actor, "codex", "main")
		last.must(err)
		if unrevoked == nil {
			t.Error("nobody is told that the provider takes them still")
		}
		if now := last.cr("main"); now.StateReason != catalog.ReasonNotSignedIn("codex", "main") {
			t.Errorf("removed: %q", now.StateReason)
		}
	})
}

// A proxy that cannot be read is not gone round.
func TestChannelThatCannotBeRead(t *testing.T) {
	r := newRig(t, "sqlite")
	p := r.process()
	for _, c := range []struct {
		channel *realm.Channel
		calls   int
	}{{&realm.Channel{Unreadable: errors.New("damaged")}, 0}, {&realm.Channel{}, 1}} {
		_ = p.client(c.channel).Revoke(t.Context(), "test-"+"token")
		if n := r.fake.Calls(codextest.PathRevoke); n != c.calls {
			t.Errorf("%d requests went out, want %d", n, c.calls)
		}
	}
}
