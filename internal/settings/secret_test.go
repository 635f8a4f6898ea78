package settings

import (
	"bytes"
	"encoding/base64"
	"sync"
	"testing"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func TestInstanceSecretIsMadeOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, db *store.Store) {
		const processes = 8
		secrets := make([][]byte, processes)
		var wg sync.WaitGroup
		for i := range processes {
			wg.Go(func() {
				secret, err := New(Options{Store: db}).InstanceSecret(t.Context())
				if err != nil {
					t.Error(err)
				}
				secrets[i] = secret
			})
		}
		wg.Wait()
		for _, secret := range secrets {
			if len(secret) != 32 || !bytes.Equal(secret, secrets[0]) {
				t.Fatalf("%d bytes, or another secret than the first", len(secret))
			}
		}
		if bytes.Equal(secrets[0], make([]byte, 32)) {
			t.Error("the secret is nothing but zeros")
		}
		rows, err := db.Read().Audit.List(t.Context(), store.AuditPage{})
		if err != nil || len(rows) != 0 {
			t.Errorf("the audit tells of it: %v, %v", rows, err)
		}
	})
}

func TestInstanceSecretIsNoSetting(t *testing.T) {
	db := storetest.SQLite(t)
	s := open(t, db, false)
	secret, err := s.InstanceSecret(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set(t.Context(), "test", store.InstanceSecret, "true"); realm.AsError(err).Code != realm.CodeNotFound {
		t.Errorf("it can be set: %v", err)
	}
	for _, name := range names() {
		if name == store.InstanceSecret {
			t.Error("it is listed among the settings")
		}
	}
	if err := s.Load(t.Context()); err != nil {
		t.Error(err)
	}
	again, err := open(t, db, true).InstanceSecret(t.Context())
	if err != nil || !bytes.Equal(secret, again) {
		t.Errorf("the second process has another one: %v", err)
	}
}

func TestInstanceSecretThatIsDamaged(t *testing.T) {
	for _, text := range []string{"", "no base64!", base64.StdEncoding.EncodeToString(make([]byte, 31))} {
		db := storetest.SQLite(t)
		err := db.Tx(t.Context(), func(r store.Repos) error { return r.Settings.Set(t.Context(), store.InstanceSecret, text) })
		if err != nil {
			t.Fatal(err)
		}
		if secret, err := New(Options{Store: db}).InstanceSecret(t.Context()); err == nil {
			t.Errorf("%q gives %d bytes", text, len(secret))
		}
	}
}
