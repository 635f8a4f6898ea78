package catalog

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
)

// codexSpec is a channel of ChatGPT accounts in good order.
func codexSpec(groups ...string) ChannelSpec {
	return ChannelSpec{
		Name: "me", Type: realm.CodexOAuth, Enabled: true, Weight: 1, APIs: DefaultAPIs(realm.CodexOAuth),
		Groups: groups, Bindings: []realm.Binding{{Model: "gpt-5.5", Upstream: "gpt-5.5"}},
		Endpoints: []EndpointSpec{{Credentials: []CredentialSpec{{Name: "main", Enabled: true, Weight: 1}}}},
	}
}

func TestCheckChannelOfAccountsNamesEveryFault(t *testing.T) {
	set := func(name string) func(*ChannelSpec) {
		return func(s *ChannelSpec) { s.Settings.SetHeaders = map[string]realm.Secret{name: "test-value"} }
	}
	remove := func(name string) func(*ChannelSpec) {
		return func(s *ChannelSpec) { s.Settings.DeleteHeaders = []string{name} }
	}
	cases := []struct {
		name  string
		spoil func(*ChannelSpec)
		want  []string
	}{
		{"nothing", func(*ChannelSpec) {}, nil},
		{"no endpoint", func(s *ChannelSpec) { s.Endpoints = nil }, nil},
		{"an empty key", func(s *ChannelSpec) { s.Endpoints[0].Credentials[0].APIKey = new(realm.Secret) }, nil},
		{"one of its apis", func(s *ChannelSpec) { s.APIs = realm.APISet(realm.APIResponses) }, nil},
		{"no api", func(s *ChannelSpec) { s.APIs = 0 }, []string{"apis"}},
		{"every api", func(s *ChannelSpec) { s.APIs = realm.AllAPIs }, []string{"apis"}},
		{"another api", func(s *ChannelSpec) { s.APIs |= realm.APISet(realm.APIInputTokens) }, []string{"apis"}},
		{"base URL", func(s *ChannelSpec) { s.Endpoints[0].BaseURL = "https://one.example/v1" }, []string{"endpoints[0].base_url"}},
		{"two endpoints", func(s *ChannelSpec) { s.Endpoints = append(s.Endpoints, EndpointSpec{}) }, []string{"endpoints[1]"}},
		{"a key", func(s *ChannelSpec) { s.Endpoints[0].Credentials[0].APIKey = secret("key") }, []string{"endpoints[0].credentials[0].api_key"}},
		{
			"a credential twice",
			func(s *ChannelSpec) {
				s.Endpoints[0].Credentials = append(s.Endpoints[0].Credentials, CredentialSpec{Name: " main "})
			},
			[]string{"endpoints[0].credentials[1].name"},
		},
		{"probe", func(s *ChannelSpec) { s.Settings.Probe = time.Minute }, []string{"probe"}},
		{"a hashed user", func(s *ChannelSpec) { s.Settings.SafetyIdentifier = realm.SafetyHMAC }, []string{"safety_identifier"}},
		{"no user", func(s *ChannelSpec) { s.Settings.SafetyIdentifier = realm.SafetyDrop }, nil},
		{"statuses", func(s *ChannelSpec) { s.Settings.StatusMap = map[int]int{429: 503} }, []string{"status_map"}},
		{"authorization", set("authorization"), []string{"headers.set.authorization"}},
		{"another account", set("chatgpt-account-id"), []string{"headers.set.chatgpt-account-id"}},
		{"another client", set("Originator"), []string{"headers.set.Originator"}},
		{"a cookie", set("cookie"), []string{"headers.set.cookie"}},
		{"an attestation", set("x-oai-attestation"), []string{"headers.set.x-oai-attestation"}},
		{"a session", set("session_id"), []string{"headers.set.session_id"}},
		{"a turn", set("x-codex-turn-state"), []string{"headers.set.x-codex-turn-state"}},
		{"no account", remove("ChatGPT-Account-ID"), []string{"headers.delete[0]"}},
		{"no client", remove("originator"), []string{"headers.delete[0]"}},
		{"less of a client's own", remove("x-codex-turn-metadata"), nil},
		{"features", set("X-Codex-Beta-Features"), nil},
		{"the client's version", set("version"), nil},
		{
			"what stays possible",
			func(s *ChannelSpec) {
				minute := time.Minute
				s.Settings = realm.ChannelSettings{
					Timeouts: realm.Timeouts{Idle: &minute}, Attempts: 2, Limits: realm.Limits{Concurrent: 3}, Proxy: "http://proxy.example:3128",
					CAFile: "/etc/ssl/ours.pem", OnDisconnect: realm.DisconnectDrain, ServiceTier: realm.ServiceTier{Only: []string{"priority"}},
					Store: realm.StoreFalse, BodyEdits: []realm.BodyEdit{{Op: realm.BodyDelete, Path: "metadata"}},
				}
				s.Priority, s.Weight = 5, 3
				s.Endpoints[0].Credentials[0].Limits = realm.Limits{Concurrent: 1}
			},
			nil,
		},
		{
			"everything at once",
			func(s *ChannelSpec) {
				s.APIs, s.Endpoints[0].BaseURL, s.Settings.Probe = realm.AllAPIs, "x", time.Minute
			},
			[]string{"apis", "endpoints[0].base_url", "probe"},
		},
	}
	for _, c := range cases {
		spec := codexSpec("default")
		c.spoil(&spec)
		got, err := CheckChannel(spec)
		if d := cmp.Diff(c.want, fields(t, err)); d != "" {
			t.Errorf("%s: %v\n%s", c.name, err, d)
		}
		if err != nil && strings.Contains(err.Error(), "test-") {
			t.Errorf("%s: a secret is in the message: %v", c.name, err)
		}
		if again, err2 := CheckChannel(got); err == nil && (err2 != nil || cmp.Diff(got, again) != "") {
			t.Errorf("%s: what was clean is not clean: %v %s", c.name, err2, cmp.Diff(got, again))
		}
	}
}

func TestAPIsOfChannelTypes(t *testing.T) {
	for kind, want := range map[realm.ChannelType]string{
		realm.CodexOAuth:       "responses,compact",
		realm.OpenAICompatible: realm.AllAPIs.String(),
		"unknown":              realm.AllAPIs.String(),
	} {
		if got := DefaultAPIs(kind).String(); got != want {
			t.Errorf("%s: got %s, want %s", kind, got, want)
		}
	}
}

// account finds a credential of the channel "me" as it was published.
func (f *fixture) account(name string) *realm.Credential {
	f.t.Helper()
	return f.credential("me", "", name)
}

func TestChannelOfAccounts(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		spec := codexSpec("default")
		done, err := f.UpsertChannel(t.Context(), "test", spec)
		f.must(err)
		var shown []string
		for _, c := range done[len(done)-1].Fields {
			if strings.HasPrefix(c.Field, "endpoints") || c.Field == "apis" {
				shown = append(shown, c.Field+": "+c.After)
			}
		}
		const reason = "not signed in: run `realms codex login me/main`"
		wanted := []string{
			"apis: [responses, compact]",
			"endpoints[ChatGPT]: new",
			"endpoints[ChatGPT].credentials[main]: new",
			"endpoints[ChatGPT].credentials[main].state: out_of_use",
		}
		if d := cmp.Diff(wanted, shown); d != "" {
			t.Error(d)
		}
		cr := f.account("main")
		if cr.Usable() || cr.StateReason != reason || !cr.StateSince.Equal(at) || cr.APIKey != "" || cr.Endpoint.BaseURL != "" {
			t.Errorf("got %+v", cr)
		}
		if d := cmp.Diff(spec, f.spec("me")); d != "" {
			t.Error(d)
		}
		version := f.version()
		if got := f.put(spec); got != nil || f.version() != version {
			t.Errorf("the same again: %v", got)
		}
		spec.Endpoints[0].Credentials = append(spec.Endpoints[0].Credentials, CredentialSpec{Name: "other", Weight: 1})
		if got := f.put(spec); len(got) != 1 {
			t.Errorf("one more: %v", got)
		}
		if f.account("main").ID != cr.ID || f.account("other").StateReason != ReasonNotSignedIn("me", "other") {
			t.Error("one more credential made the first anew, or was signed in")
		}
		spec.Endpoints = nil
		if got := f.put(spec); len(got) != 1 || len(f.Snapshot().Channel("me").Endpoints) != 0 {
			t.Errorf("none any more: %v", got)
		}
	})
}

// TestDeclaringAnAccountAgain holds that who is signed in stays so, whatever is
// declared anew of the channel.
func TestDeclaringAnAccountAgain(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		spec := codexSpec("default")
		f.put(spec)
		id := f.account("main").ID
		f.inner(func(x Inner) ([]store.Mutation, error) { return x.CredentialSignedIn(t.Context(), id) })
		spec.Priority, spec.Endpoints[0].Credentials[0].Priority = 3, 4
		spec.Endpoints[0].Credentials[0].APIKey = new(realm.Secret)
		f.put(spec)
		if cr := f.account("main"); cr.ID != id || !cr.Usable() || cr.Priority != 4 || !cr.StateSince.IsZero() {
			t.Errorf("got %+v", cr)
		}
		f.must(f.CredentialOutOfUse(t.Context(), f.account("main"), "402 deactivated_workspace"))
		spec.Endpoints[0].Credentials[0].Priority = 5
		f.put(spec)
		if cr := f.account("main"); cr.Usable() || cr.StateReason != "402 deactivated_workspace" {
			t.Errorf("got %+v", cr)
		}
	})
}

func TestChannelTypeNeverChanges(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.put(codexSpec("default"))
	f.put(mainSpec())
	version := f.version()
	other, account := mainSpec(), codexSpec("default")
	other.Name, account.Name = "me", "main"
	for _, spec := range []ChannelSpec{other, account} {
		_, err := f.UpsertChannel(t.Context(), "test", spec)
		want(t, err, realm.CodeConflict)
		if !strings.Contains(err.Error(), "another name") {
			t.Errorf("it does not say what to do: %v", err)
		}
	}
	if f.version() != version {
		t.Error("a refused change was made in part")
	}
}

// inner runs inner verbs in a transaction and publishes what they did.
func (f *fixture) inner(verb func(Inner) ([]store.Mutation, error)) ([]store.Mutation, error) {
	f.t.Helper()
	return f.edit(f.t.Context(), "test", verb)
}

func TestSignedInAndOut(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.put(codexSpec("default"))
		f.put(mainSpec())
		id := f.account("main").ID
		in := func(x Inner) ([]store.Mutation, error) { return x.CredentialSignedIn(t.Context(), id) }
		out := func(reason string) func(Inner) ([]store.Mutation, error) {
			return func(x Inner) ([]store.Mutation, error) { return x.CredentialSignedOut(t.Context(), id, reason) }
		}
		ended := ReasonSignIn("the sign-in has ended (refresh_token_reused)", "me", "main")
		for i, step := range []struct {
			verb   func(Inner) ([]store.Mutation, error)
			told   string
			reason string
		}{
			{in, "signed_in", ""},
			{in, "", ""},
			{out(ended), "signed_out", ended},
			{out(ended), "", ended},
			{out(""), "signed_out", ReasonNotSignedIn("me", "main")},
			{in, "signed_in", ""},
		} {
			done, err := f.inner(step.verb)
			f.must(err)
			told := ""
			if len(done) == 1 {
				told = done[0].Verb
			}
			cr := f.account("main")
			if told != step.told || cr.StateReason != step.reason || cr.Usable() != (step.reason == "") || cr.StateSince.IsZero() != (step.reason == "") {
				t.Errorf("step %d: %q, %s since %v: %q", i, told, cr.State, cr.StateSince, cr.StateReason)
			}
		}
		rows := f.audit()
		if last := rows[len(rows)-1]; last.Verb != "credential.signed_in" || last.Actor != "test" {
			t.Errorf("audit row %+v", last)
		}
		keyed := f.credential("main", "https://one.example/v1", "a").ID
		_, err := f.inner(func(x Inner) ([]store.Mutation, error) { return x.CredentialSignedIn(t.Context(), keyed) })
		want(t, err, realm.CodeInvalid, "credential")
		_, err = f.inner(func(x Inner) ([]store.Mutation, error) { return x.CredentialSignedOut(t.Context(), 42, "") })
		want(t, err, realm.CodeNotFound)
	})
}

func TestMendingCannotSignIn(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		spec := codexSpec("default")
		spec.Endpoints[0].Credentials = append(spec.Endpoints[0].Credentials, CredentialSpec{Name: "other", Enabled: true, Weight: 1})
		f.put(spec)
		_, err := f.MendChannel(t.Context(), "test", "me", "main")
		want(t, err, realm.CodeConflict)
		if !strings.Contains(err.Error(), "`realms codex login me/main`") {
			t.Errorf("it does not say what to do: %v", err)
		}
		_, err = f.CredentialMended(t.Context(), "test", f.account("main").ID)
		want(t, err, realm.CodeConflict)

		// Of a whole channel, what can be mended is.
		f.inner(func(x Inner) ([]store.Mutation, error) {
			return x.CredentialSignedIn(t.Context(), f.account("other").ID)
		})
		f.must(f.CredentialOutOfUse(t.Context(), f.account("other"), "402 deactivated_workspace"))
		done, err := f.MendChannel(t.Context(), "test", "me", "")
		f.must(err)
		if d := cmp.Diff([]string{"credential.mended other"}, verbs(done)); d != "" {
			t.Error(d)
		}
		if f.account("main").Usable() || !f.account("other").Usable() {
			t.Error("the wrong one was mended")
		}
	})
}

func TestReasonsOfSignIns(t *testing.T) {
	long := strings.Repeat("渠", 190)
	for _, c := range []struct{ why, channel, credential, want string }{
		{"not signed in", "me", "main", "not signed in: run `realms codex login me/main`"},
		{"ended\n(x)", "two words", "it's", "ended (x): run `realms codex login 'two words/it'\\''s'`"},
		{"`" + long, "a", "b", "'" + long[:3*(maxWhy-2)] + "…: run `realms codex login a/b`"},
	} {
		got := ReasonSignIn(c.why, c.channel, c.credential)
		if got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
		for _, state := range []realm.CredentialState{realm.CredentialOK, realm.CredentialDisabled} {
			if NeedsSignIn(&realm.Credential{State: state, StateReason: got}) != (state == realm.CredentialDisabled) {
				t.Errorf("%s: %s", state, got)
			}
		}
	}
	if IsSignInReason("401 token_invalidated: Try signing in again.") {
		t.Error("an upstream's words are taken for a reason of ours")
	}
}

func TestCodexCredential(t *testing.T) {
	f := newFixture(t, "sqlite")
	find := func(channel, credential string) (*realm.Credential, error) {
		var cr *realm.Credential
		_, err := f.inner(func(x Inner) (_ []store.Mutation, err error) {
			cr, err = x.CodexCredential(t.Context(), channel, credential)
			return nil, err
		})
		return cr, err
	}
	spec := codexSpec("default")
	f.put(spec)
	f.put(mainSpec())
	for _, name := range []string{"", "main", " main "} {
		cr, err := find("me", name)
		f.must(err)
		if cr.Name != "main" || cr.Endpoint.Channel.Name != "me" {
			t.Errorf("%q: got %+v", name, cr)
		}
	}
	_, err := find("me", "other")
	want(t, err, realm.CodeNotFound)
	_, err = find("none", "")
	want(t, err, realm.CodeNotFound)
	_, err = find("main", "a")
	want(t, err, realm.CodeInvalid, "channel")
	spec.Endpoints[0].Credentials = append(spec.Endpoints[0].Credentials, CredentialSpec{Name: "other"})
	f.put(spec)
	_, err = find("me", "")
	want(t, err, realm.CodeInvalid, "credential")
	if !strings.Contains(err.Error(), "me/main, me/other") {
		t.Errorf("it does not name them: %v", err)
	}
	spec.Endpoints[0].Credentials = nil
	f.put(spec)
	_, err = find("me", "")
	want(t, err, realm.CodeNotFound)
}

func TestAccountsAreSharedWithNobody(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		for _, g := range []string{"mine", "ours"} {
			_, err := f.UpsertGroup(t.Context(), "test", realm.Group{Name: g, Multiplier: realm.OnePPM})
			f.must(err)
		}
		state, err := f.State(t.Context())
		f.must(err)
		id := func(name string) realm.ID { return state.Group(name).ID }
		f.must(f.db.Tx(t.Context(), func(r store.Repos) error {
			for _, u := range []*realm.User{
				{Name: "me", Role: realm.RoleRoot, Enabled: true, Groups: []realm.ID{id("mine"), id("ours")}},
				{Name: "eve", Role: realm.RoleAdmin, Enabled: true, Groups: []realm.ID{id("mine")}},
				{Name: "bob", Role: realm.RoleUser, Enabled: true, Groups: []realm.ID{id("ours")}},
				{Name: "cid", Role: realm.RoleUser, Groups: []realm.ID{id("default")}},
			} {
				if err := r.Users.Insert(t.Context(), u); err != nil {
					return err
				}
			}
			return nil
		}))
		f.put(codexSpec("mine"))
		keyed := mainSpec()
		keyed.Groups = []string{"default", "mine", "ours"}
		f.put(keyed) // one with keys is for everybody
		version := f.version()
		for group, user := range map[string]string{"ours": `"bob"`, "default": `"cid"`} {
			for _, enabled := range []bool{true, false} {
				spec := codexSpec("mine", group)
				spec.Enabled = enabled
				_, err := f.UpsertChannel(t.Context(), "test", spec)
				want(t, err, realm.CodeConflict)
				for _, word := range []string{`"me"`, `"` + group + `"`, user, "user set"} {
					if !strings.Contains(err.Error(), word) {
						t.Errorf("%s: %s is not named: %v", group, word, err)
					}
				}
			}
		}
		if f.version() != version || !slices.Equal(f.spec("me").Groups, []string{"mine"}) {
			t.Error("a refused change was made in part")
		}
	})
}
