package settings

import (
	"testing"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func TestCodexIsAcceptedByItsOwnVerb(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		s, elsewhere := open(t, db, false), open(t, db, true)
		want := func(accepted bool) {
			t.Helper()
			if s.State().CodexAccepted() != accepted {
				t.Errorf("accepted: %v", !accepted)
			}
		}
		want(false)
		for _, set := range []struct {
			accepted bool
			changes  int
		}{{false, 0}, {true, 1}, {true, 0}, {false, 1}, {true, 1}} {
			done, err := s.SetCodexAccepted(t.Context(), "test", set.accepted)
			if err != nil || len(done) != set.changes {
				t.Errorf("%v: %d changes, %v", set.accepted, len(done), err)
			}
			want(set.accepted)
		}
		rows, err := db.Read().Audit.List(t.Context(), store.AuditPage{})
		if err != nil || len(rows) != 3 || rows[0].ObjectName != "codex_accepted" || rows[0].Verb != "setting.set" || rows[0].Actor != "test" {
			t.Errorf("audit: %+v, %v", rows, err)
		}
		changes, err := db.Read().Changes.Since(t.Context(), 0, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := elsewhere.Apply(t.Context(), changes); err != nil || !elsewhere.State().CodexAccepted() {
			t.Errorf("another process does not know: %v", err)
		}
		if _, err := s.Set(t.Context(), "test", "codex_accepted", "true"); realm.AsError(err).Code != realm.CodeNotFound {
			t.Errorf("anybody can set it by the way: %v", err)
		}
	})
}

// Whatever is not a plain yes is a no.
func TestCodexValuesThatNobodyWrote(t *testing.T) {
	db := storetest.SQLite(t)
	for _, value := range []string{"", "1", "TRUE", "yes"} {
		err := db.Tx(t.Context(), func(r store.Repos) error { return r.Settings.Set(t.Context(), "codex_accepted", value) })
		if err != nil {
			t.Fatal(err)
		}
		if open(t, db, false).State().CodexAccepted() {
			t.Errorf("%q is taken for a yes", value)
		}
	}
}
