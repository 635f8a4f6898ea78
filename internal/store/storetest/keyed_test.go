package storetest_test

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/secret"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func keys(t testing.TB, master realm.Secret, previous ...realm.Secret) *secret.Keyring {
	t.Helper()
	return must[*secret.Keyring](t)(secret.New(master, previous))
}

// openKeyed opens a database with keys; the error is for whoever expects one.
func openKeyed(t testing.TB, dsn string, k *secret.Keyring) *store.Store {
	t.Helper()
	return storetest.OpenDSN(t, store.Options{DSN: dsn, Keys: k})
}

func migrated(t testing.TB, dsn string, k *secret.Keyring) *store.Store {
	t.Helper()
	s := openKeyed(t, dsn, k)
	must[[]string](t)(s.Migrate(t.Context()))
	return s
}

// refused opens a database that keys do not fit and gives the words about it.
func refused(t testing.TB, dsn string, k *secret.Keyring) string {
	t.Helper()
	began := time.Now()
	s, err := store.Open(t.Context(), store.Options{DSN: dsn, Keys: k})
	if err == nil {
		t.Fatal(errors.Join(errors.New("a store was opened with the wrong keys"), s.Close()))
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("refused after %v", took)
	}
	e := realm.AsError(err)
	if e.Code != realm.CodeUnavailable || e.Field != "security.master_key" {
		t.Errorf("refused with %v", err)
	}
	return e.Message
}

// kept is what was put into a store and must come out of it again.
type kept struct {
	*populated
	credentials []realm.Credential
	account     realm.CodexAccount
	signIn      store.CodexSignIn
	instance    string
}

// keep gives a store secrets of every kind, and n credentials beside.
func keep(t testing.TB, s *store.Store, n int) *kept {
	t.Helper()
	k := &kept{populated: populate(t, s), instance: word("instance")}
	k.account = realm.CodexAccount{
		Credential: k.credential.ID, AccountID: "account", Version: 1, SignedInAt: at,
		Tokens: realm.CodexTokens{ID: realm.Secret(word("id")), Access: realm.Secret(word("access")), Refresh: realm.Secret(word("refresh"))},
	}
	k.signIn = store.CodexSignIn{
		State: realm.Secret(word("state")), Kind: "device", Actor: "command", Credential: k.credential.ID, Secret: realm.Secret(word("verifier")), ExpiresAt: at,
	}
	write(t, s, func(r store.Repos) error {
		k.credentials = nil
		for i := range n {
			c := realm.Credential{EndpointID: k.endpoint.ID, Name: fmt.Sprintf("more-%d", i), APIKey: realm.Secret(word("key")), State: realm.CredentialOK}
			if err := r.Credentials.Insert(t.Context(), &c); err != nil {
				return err
			}
			k.credentials = append(k.credentials, c)
		}
		return errors.Join(
			r.CodexAccounts.Put(t.Context(), &k.account), r.CodexSignIns.Insert(t.Context(), &k.signIn),
			r.Settings.Set(t.Context(), store.InstanceSecret, k.instance),
		)
	})
	return k
}

// word is a secret that is like no other.
func word(what string) string { return "test-" + what + "-" + secret.NewKey().Reveal()[:20] }

// secrets is every text that must not be seen.
func (k *kept) secrets() []string {
	all := []string{
		k.credential.APIKey.Reveal(), k.channel.Settings.Proxy.Reveal(), k.channel.Settings.SetHeaders["X-A"].Reveal(), k.signIn.Secret.Reveal(),
		k.account.Tokens.ID.Reveal(), k.account.Tokens.Access.Reveal(), k.account.Tokens.Refresh.Reveal(), k.instance,
	}
	for _, c := range k.credentials {
		all = append(all, c.APIKey.Reveal())
	}
	return all
}

// check holds that everything comes out as it was put in.
func (k *kept) check(t testing.TB, s *store.Store) {
	t.Helper()
	r := s.Read()
	equal(t, "channel", must[*realm.Channel](t)(r.Channels.Get(t.Context(), k.channel.ID)), &k.channel)
	equal(t, "credential", must[*realm.Credential](t)(r.Credentials.Get(t.Context(), k.credential.ID)), &k.credential)
	equal(t, "account", must[*realm.CodexAccount](t)(r.CodexAccounts.Get(t.Context(), k.credential.ID)).Tokens, k.account.Tokens)
	equal(t, "sign-in", must[*store.CodexSignIn](t)(r.CodexSignIns.Get(t.Context(), k.signIn.State)).Secret, k.signIn.Secret)
	equal(t, "instance secret", must[string](t)(r.Settings.Get(t.Context(), store.InstanceSecret)), k.instance)
	for i := range k.credentials {
		equal(t, "credential", must[*realm.Credential](t)(r.Credentials.Get(t.Context(), k.credentials[i].ID)), &k.credentials[i])
	}
}

// traces are the forms in which a text may show in bytes: as it is, in hex, and in
// base64 wherever it begins in a group of three.
func traces(text string) []string {
	out := []string{text, hex.EncodeToString([]byte(text))}
	for lead := range 3 {
		// The groups that are made of the text alone.
		inner := text[(3-lead)%3:]
		out = append(out, base64.RawStdEncoding.EncodeToString([]byte(inner[:len(inner)/3*3])))
	}
	return out
}

// hidden holds that bytes show none of the secrets.
func (k *kept) hidden(t testing.TB, where, data string) {
	t.Helper()
	for _, text := range k.secrets() {
		for _, trace := range traces(text) {
			if strings.Contains(data, trace) {
				t.Errorf("%s holds a secret in the clear, as %q", where, trace)
			}
		}
	}
}

// files is what stands in a SQLite store's files; a backup's lines elsewhere.
func files(t testing.TB, dsn string) map[string]string {
	t.Helper()
	all := map[string]string{}
	lines := backup(t, storetest.OpenDSN(t, store.Options{DSN: dsn, KeepSealed: true}))
	all["backup"] = strings.Join(lines, "")
	if path, ok := strings.CutPrefix(dsn, "sqlite:"); ok {
		for _, file := range must[[]string](t)(filepath.Glob(path + "*")) {
			all[filepath.Base(file)] = string(must[[]byte](t)(os.ReadFile(file)))
		}
		if len(all) < 3 {
			t.Errorf("the files of %s were not found: %d", path, len(all))
		}
	}
	return all
}

func eachEngine(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Helper()
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) { test(t, storetest.DSN(t, engine)) })
	}
}
