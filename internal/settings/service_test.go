package settings

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func open(t *testing.T, db *store.Store, selfMode bool) *Service {
	t.Helper()
	s := New(Options{Store: db, SelfMode: selfMode})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// off lists what a state has off.
func off(s FeatureState) []Feature {
	var list []Feature
	for _, f := range Features() {
		if !s.Enabled(f) {
			list = append(list, f)
		}
	}
	return list
}

func wantOff(t *testing.T, s *Service, want ...Feature) {
	t.Helper()
	if d := cmp.Diff(want, off(s.State())); d != "" {
		t.Error(d)
	}
}

func TestSetTakesEffectHereAndElsewhere(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		s, elsewhere := open(t, db, false), open(t, db, false)
		wantOff(t, s)
		from, err := db.Read().Changes.Version(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done, err := s.SetFeature(t.Context(), "test", Models, false)
		if err != nil || len(done) != 1 {
			t.Fatalf("%v, %v", done, err)
		}
		wantOff(t, s, Models)
		wantOff(t, elsewhere)
		changes, err := db.Read().Changes.Since(t.Context(), from, 10)
		if err != nil {
			t.Fatal(err)
		}
		if err := elsewhere.Apply(t.Context(), []store.Change{{Kind: store.KindToken}}); err != nil {
			t.Fatal(err)
		}
		wantOff(t, elsewhere)
		if err := elsewhere.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
		wantOff(t, elsewhere, Models)
		wantOff(t, open(t, db, true), Models, Billing, Tickets)

		value, err := db.Read().Settings.Get(t.Context(), "feature_disable_models")
		if err != nil || value != "true" {
			t.Errorf("stored as %q, %v", value, err)
		}
		rows, err := db.Read().Audit.List(t.Context(), store.AuditPage{})
		if err != nil || len(rows) != 1 || rows[0].Verb != "setting.set" || rows[0].ObjectName != "feature_disable_models" || rows[0].Actor != "test" {
			t.Errorf("audit %+v, %v", rows, err)
		}
		if done, err := s.SetFeature(t.Context(), "test", Models, false); err != nil || len(done) != 0 {
			t.Errorf("the same again: %v, %v", done, err)
		}
		if _, err := s.SetFeature(t.Context(), "test", Models, true); err != nil {
			t.Fatal(err)
		}
		wantOff(t, s)
	})
}

func TestSetRefusesWhatItDoesNotKnow(t *testing.T) {
	s := open(t, storetest.SQLite(t), true)
	_, err := s.Set(t.Context(), "test", "feature_disable_nothing", "true")
	if e := realm.AsError(err); err == nil || e.Code != realm.CodeNotFound || !strings.Contains(e.Message, "feature_disable_web_usage") {
		t.Errorf("got %v", err)
	}
	_, err = s.Set(t.Context(), "test", "feature_disable_models", "maybe")
	if e := realm.AsError(err); err == nil || e.Code != realm.CodeInvalid || e.Field != "value" {
		t.Errorf("got %v", err)
	}
	if _, err := s.SetFeature(t.Context(), "test", Billing, true); err != nil {
		t.Fatal(err)
	}
	wantOff(t, s, Billing, Tickets)
}

func TestStoreAwayFallsBackToTheLastKnownThenToTheConfiguration(t *testing.T) {
	db := storetest.SQLite(t)
	s := open(t, db, false)
	if _, err := s.SetFeature(t.Context(), "test", WebUsage, false); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Load(t.Context()); err == nil {
		t.Fatal("a closed store could be read")
	}
	wantOff(t, s, WebUsage)
	for selfMode, want := range map[bool][]Feature{false: nil, true: {Billing, Tickets}} {
		fresh := New(Options{Store: db, SelfMode: selfMode})
		if err := fresh.Load(t.Context()); err == nil {
			t.Fatal("a closed store could be read")
		}
		wantOff(t, fresh, want...)
	}
}

func TestAValueThatSetDidNotWriteIsIgnoredAndLogged(t *testing.T) {
	db := storetest.SQLite(t)
	err := db.Tx(t.Context(), func(r store.Repos) error {
		for name, value := range map[string]string{"feature_disable_models": "often", "feature_disable_web_usage": "1", "something": "true"} {
			if err := r.Settings.Set(t.Context(), name, value); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	s := New(Options{Store: db, Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantOff(t, s, WebUsage)
	if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "feature_disable_models") {
		t.Errorf("logged %q", got)
	}
}
