package declare

import (
	"strings"
	"testing"

	"realms/internal/catalog"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// What the store cannot read is said anew by a file that names it, is not guessed by
// one that does not, and is never exported as empty.
func TestFilesAndSecretsThatDoNotOpen(t *testing.T) {
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) {
			ring, err := secret.New(secret.NewKey(), nil)
			if err != nil {
				t.Fatal(err)
			}
			dsn := storetest.DSN(t, engine)
			s := storetest.OpenDSN(t, store.Options{DSN: dsn, Keys: ring})
			if _, err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			apply := func(settings, key string) error {
				doc, err := Read("f.yaml", []byte("channels:\n  - name: main\n    "+settings+
					"\n    models: [fast]\n    endpoints: [{base_url: https://one.example/v1, credentials: [{name: a, priority: 3"+key+"}]}]\n"), ReadOptions{})
				if err != nil {
					t.Fatal(err)
				}
				_, err = doc.Apply(t.Context(), Options{Store: s, Actor: "test"})
				return err
			}
			must := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			channel := func() (proxy string, readable, usable bool) {
				t.Helper()
				state, err := catalog.New(catalog.Options{Store: s}).State(t.Context())
				must(err)
				ch := state.Channel("main")
				return ch.Settings.Proxy.Reveal(), ch.Unreadable == nil, ch.Endpoints[0].Credentials[0].Usable()
			}
			exec := func(query string) {
				t.Helper()
				_, err := storetest.Raw(t, dsn).ExecContext(t.Context(), query)
				must(err)
			}
			const key, proxy, headers = ", api_key: test-a", `proxy: "http://proxy.example:3128"`, "headers: {set: {X-A: test-b}}"
			const full = proxy + "\n    " + headers
			must(apply(full, key))

			exec("UPDATE credentials SET api_key = 'test-planted'")
			if _, err := Export(t.Context(), s, ExportOptions{Secrets: true}); err == nil || !strings.Contains(err.Error(), `credential "a" of channel "main"`) || strings.Contains(err.Error(), "planted") {
				t.Errorf("exported with secrets: %v", err)
			}
			must(apply(full, ""))
			if _, _, usable := channel(); usable {
				t.Error("a file without the key has made its credential usable")
			}
			export(t, s, false)
			must(apply(full, key))
			if _, _, usable := channel(); !usable {
				t.Error("a file with the key has not mended its credential")
			}

			exec("UPDATE channels SET settings = REPLACE(settings, 'sealed:1:', 'sealed:1:x')")
			for _, settings := range []string{proxy, headers, "weight: 2"} {
				if err := apply(settings, key); err == nil || !strings.Contains(err.Error(), "say both here") {
					t.Errorf("%s: %v", settings, err)
				}
			}
			if _, err := Export(t.Context(), s, ExportOptions{}); err == nil || !strings.Contains(err.Error(), `channel "main"`) {
				t.Errorf("exported: %v", err)
			}
			if _, readable, usable := channel(); readable || usable {
				t.Errorf("a file that was refused has changed something: readable %v, usable %v", readable, usable)
			}
			must(apply(full, key))
			if proxy, readable, usable := channel(); proxy != "http://proxy.example:3128" || !readable || !usable {
				t.Errorf("declared anew: readable %v, usable %v", readable, usable)
			}
		})
	}
}
