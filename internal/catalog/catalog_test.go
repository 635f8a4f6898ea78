package catalog

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

var at = realm.Epoch.Add(1000 * time.Hour)

func now() time.Time { return at }

// fixture is a service over a store of its own.
type fixture struct {
	*Service
	t  *testing.T
	db *store.Store
}

func newFixture(t *testing.T, engine string) *fixture {
	t.Helper()
	db := storetest.Open(t, engine)
	f := &fixture{Service: New(Options{Store: db, Now: now}), t: t, db: db}
	f.must(f.Load(t.Context()))
	return f
}

func onEveryEngine(t *testing.T, test func(t *testing.T, f *fixture)) {
	t.Helper()
	for _, engine := range storetest.Engines(t) {
		t.Run(engine, func(t *testing.T) { test(t, newFixture(t, engine)) })
	}
}

func (f *fixture) must(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// put upserts a channel and gives the verbs that were recorded.
func (f *fixture) put(spec ChannelSpec) []string {
	f.t.Helper()
	done, err := f.UpsertChannel(f.t.Context(), "test", spec)
	f.must(err)
	return verbs(done)
}

func verbs(done []store.Mutation) []string {
	var list []string
	for _, m := range done {
		list = append(list, m.Kind+"."+m.Verb+" "+m.Name)
	}
	return list
}

func (f *fixture) spec(name string) ChannelSpec {
	f.t.Helper()
	state, err := f.State(f.t.Context())
	f.must(err)
	ch := state.Channel(name)
	if ch == nil {
		f.t.Fatalf("there is no channel %q", name)
	}
	return state.Spec(ch)
}

func (f *fixture) credential(channel, url, name string) *realm.Credential {
	f.t.Helper()
	for _, ep := range f.Snapshot().Channel(channel).Endpoints {
		for _, cr := range ep.Credentials {
			if ep.BaseURL == url && cr.Name == name {
				return cr
			}
		}
	}
	f.t.Fatalf("channel %q has no credential %q on %s", channel, name, url)
	return nil
}

func (f *fixture) version() int64 {
	f.t.Helper()
	v, err := f.db.Read().Changes.Version(f.t.Context())
	f.must(err)
	return v
}

// audit is every row, oldest first, checked to hold no secret.
func (f *fixture) audit() []store.AuditEntry {
	f.t.Helper()
	rows, err := f.db.Read().Audit.List(f.t.Context(), store.AuditPage{Limit: 1000})
	f.must(err)
	for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
		rows[i], rows[j] = rows[j], rows[i]
	}
	for _, r := range rows {
		if strings.Contains(string(r.Detail), "test-") {
			f.t.Errorf("a secret is in the audit: %s", r.Detail)
		}
	}
	return rows
}

// want checks an error's code and fields.
func want(t *testing.T, err error, code realm.Code, fieldNames ...string) {
	t.Helper()
	var e *realm.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want %s", err, code)
	}
	if code == realm.CodeInvalid {
		if d := cmp.Diff(fieldNames, fields(t, err)); d != "" {
			t.Error(d)
		}
	}
}

func TestUpsertChannelWritesWhatIsDeclared(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		spec := mainSpec()
		spec.Bindings = append(spec.Bindings, realm.Binding{Model: realm.AnyModel}, realm.Binding{Model: "my-*", Upstream: "*"})
		got := f.put(spec)
		if d := cmp.Diff([]string{"model.create gpt-5.5", "model.create fast", "channel.create main"}, got); d != "" {
			t.Error(d)
		}
		wanted, _ := CheckChannel(spec)
		wanted.Endpoints[0].Credentials[0].APIKey = nil
		if d := cmp.Diff(wanted, f.spec("main")); d != "" {
			t.Error(d)
		}
		m := f.Snapshot().Model("fast")
		if m == nil || !m.Enabled || m.Price != nil {
			t.Errorf("the bound model became %+v", m)
		}
		for _, pattern := range []string{realm.AnyModel, "my-*"} {
			if f.Snapshot().Model(pattern) != nil {
				t.Errorf("the pattern %s became a model", pattern)
			}
		}
		cr := f.credential("main", "https://one.example/v1", "a")
		if cr.APIKey.Reveal() != "test-a" || !cr.Usable() {
			t.Errorf("the credential is usable: %v", cr.Usable())
		}
		if f.Snapshot().Version != f.version() {
			t.Errorf("the snapshot is of version %d, the store of %d", f.Snapshot().Version, f.version())
		}
	})
}

func TestUpsertTheSameAgainWritesNothing(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		price := realm.Money(1)
		model := realm.Model{Name: "m", OwnedBy: "o", Enabled: true, MaxOutputTokens: 5, Price: &realm.Price{Output: &price}, Compat: []string{}}
		group := realm.Group{Name: "vip", Multiplier: 1_500_000}
		apply := func() (all []store.Mutation) {
			for _, verb := range []func() ([]store.Mutation, error){
				func() ([]store.Mutation, error) { return f.UpsertGroup(t.Context(), "test", group) },
				func() ([]store.Mutation, error) { return f.UpsertModel(t.Context(), "test", model) },
				func() ([]store.Mutation, error) { return f.UpsertChannel(t.Context(), "test", mainSpec()) },
			} {
				done, err := verb()
				f.must(err)
				all = append(all, done...)
			}
			return all
		}
		if len(apply()) != 5 {
			t.Fatal("group, model, two bound models and channel are five mutations")
		}
		version, audit := f.version(), len(f.audit())
		if done := apply(); len(done) != 0 {
			t.Errorf("the second time: %v", done)
		}
		if f.version() != version || len(f.audit()) != audit {
			t.Error("the second time wrote a change or an audit row")
		}
		state, err := f.State(t.Context())
		f.must(err)
		if d := cmp.Diff(&model, state.Model("m"), cmpopts.IgnoreFields(realm.Model{}, "ID")); d != "" {
			t.Error(d)
		}
	})
}

func TestUpsertModelTellsPresetFromNoCompat(t *testing.T) {
	f := newFixture(t, "sqlite")
	for _, compat := range [][]string{nil, {}, {"no_sampling"}, nil} {
		done, err := f.UpsertModel(t.Context(), "test", realm.Model{Name: "m", Enabled: true, Compat: compat})
		f.must(err)
		if len(done) != 1 {
			t.Errorf("%#v: %d mutations", compat, len(done))
		}
		if got := f.Snapshot().Model("m").Compat; (got == nil) != (compat == nil) || len(got) != len(compat) {
			t.Errorf("%#v came back as %#v", compat, got)
		}
	}
}

func TestUpsertChannelKeepsAndMendsSecrets(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		const url = "https://one.example/v1"
		f.put(mainSpec())
		f.must(f.CredentialOutOfUse(t.Context(), f.credential("main", url, "a"), "account deactivated"))

		keep := mainSpec()
		keep.Endpoints[0].Credentials[0].APIKey = nil
		keep.Endpoints[0].Credentials[0].Priority = 3
		f.put(keep)
		cr := f.credential("main", url, "a")
		if cr.APIKey.Reveal() != "test-a" || cr.Priority != 3 || cr.State != realm.CredentialDisabled {
			t.Errorf("without an api_key: priority %d, state %s, or another secret", cr.Priority, cr.State)
		}

		same := keep
		same.Endpoints[0].Credentials[0].APIKey = secret("a")
		if got := f.put(same); got != nil {
			t.Errorf("the same secret again: %v", got)
		}

		renew := mainSpec()
		renew.Endpoints[0].Credentials[0].APIKey = secret("b")
		done, err := f.UpsertChannel(t.Context(), "test", renew)
		f.must(err)
		state := store.FieldChange{Field: "endpoints[" + url + "].credentials[a].state", Before: "out_of_use", After: "ok"}
		if !slices.Contains(done[0].Fields, state) {
			t.Errorf("the audit does not tell that the credential is in use again: %+v", done[0].Fields)
		}
		cr = f.credential("main", url, "a")
		if cr.APIKey.Reveal() != "test-b" || !cr.Usable() || cr.StateReason != "" || !cr.StateSince.IsZero() {
			t.Errorf("a new secret: %s %q", cr.State, cr.StateReason)
		}
		f.audit()
	})
}

func TestUpsertChannelRefusesANewCredentialWithoutAKeyAndWritesNothing(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.put(mainSpec())
		version := f.version()
		spec := mainSpec()
		spec.Priority = 99
		spec.Bindings = append(spec.Bindings, realm.Binding{Model: "new-model"})
		spec.Endpoints[0].Credentials = append(spec.Endpoints[0].Credentials, CredentialSpec{Name: "b"}, CredentialSpec{Name: "c"})
		_, err := f.UpsertChannel(t.Context(), "test", spec)
		want(t, err, realm.CodeInvalid, "endpoints[0].credentials[1].api_key", "endpoints[0].credentials[2].api_key")
		if got := f.spec("main"); got.Priority != 10 || len(got.Bindings) != 2 || f.version() != version {
			t.Errorf("a part of the refused channel was written: %+v", got)
		}
	})
}

func TestUpsertChannelMakesEndpointsExact(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.put(mainSpec())
		first := f.credential("main", "https://one.example/v1", "a").ID
		spec := mainSpec()
		spec.Endpoints = []EndpointSpec{
			{BaseURL: "https://two.example/v1", Credentials: []CredentialSpec{{Name: "a", APIKey: secret("two"), Enabled: true, Weight: 1}}},
			spec.Endpoints[0],
		}
		spec.Endpoints[1].Credentials = append(spec.Endpoints[1].Credentials,
			CredentialSpec{Name: "z", APIKey: secret("z"), Enabled: true, Priority: 5, Weight: 1})
		f.put(spec)
		eps := f.Snapshot().Channel("main").Endpoints
		if len(eps) != 2 || eps[0].BaseURL != "https://two.example/v1" || eps[1].Credentials[0].Name != "z" {
			t.Errorf("order of endpoints or of credentials by priority: %v %v", eps[0].BaseURL, eps[1].Credentials[0].Name)
		}
		if got := f.credential("main", "https://one.example/v1", "a").ID; got != first {
			t.Error("a credential that stayed has another id")
		}
		spec.Endpoints = spec.Endpoints[:1]
		f.put(spec)
		if f.Snapshot().Credential(first) != nil || len(f.Snapshot().Channel("main").Endpoints) != 1 {
			t.Error("the endpoint that is not declared is still there")
		}
		creds, err := f.db.Read().Credentials.List(t.Context())
		f.must(err)
		if len(creds) != 1 {
			t.Errorf("%d credentials are stored, want 1", len(creds))
		}
	})
}

func TestUpsertChannelNamesMissingGroups(t *testing.T) {
	f := newFixture(t, "sqlite")
	spec := mainSpec()
	spec.Groups = []string{"a", "default", "b"}
	_, err := f.UpsertChannel(t.Context(), "test", spec)
	want(t, err, realm.CodeInvalid, "groups[0]", "groups[2]")
}

func TestMutationsTellWhatChanged(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.put(mainSpec())
	spec := mainSpec()
	spec.Priority, spec.Groups, spec.APIs = -1, nil, realm.APISet(realm.APIChat)
	spec.Bindings = []realm.Binding{{Model: "fast"}}
	spec.Endpoints[0].Credentials[0].APIKey = secret("b")
	spec.Endpoints[0].Credentials[0].Enabled = false
	done, err := f.UpsertChannel(t.Context(), "test", spec)
	f.must(err)
	const label = "endpoints[https://one.example/v1].credentials[a]."
	wanted := []store.FieldChange{
		{Field: "priority", Before: "10", After: "-1"},
		{Field: "apis", Before: "[" + strings.Join(realm.AllAPIs.Names(), ", ") + "]", After: "[chat]"},
		{Field: "groups", Before: "[default]", After: "[]"},
		{Field: "models", Before: "[fast→gpt-5.5-mini, gpt-5.5]", After: "[fast]"},
		{Field: label + "api_key", Before: "set", After: "changed"},
		{Field: label + "enabled", Before: "true", After: "false"},
	}
	if d := cmp.Diff(wanted, done[0].Fields); d != "" {
		t.Error(d)
	}
	rows := f.audit()
	last := rows[len(rows)-1]
	if last.Actor != "test" || last.Verb != "channel.update" || last.ObjectName != "main" || last.ObjectID != done[0].ID {
		t.Errorf("audit row %+v", last)
	}
}

func TestDeleteGroup(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		_, err := f.UpsertGroup(ctx, "test", realm.Group{Name: "vip", Multiplier: realm.OnePPM})
		f.must(err)
		spec := mainSpec()
		spec.Groups = []string{"vip"}
		f.put(spec)
		_, err = f.DeleteGroup(ctx, "test", "vip")
		want(t, err, realm.CodeConflict)
		spec.Groups = nil
		f.put(spec)

		state, err := f.State(ctx)
		f.must(err)
		u := &realm.User{Name: "u", Role: realm.RoleUser, Enabled: true, Groups: []realm.ID{state.Group("vip").ID}}
		f.must(f.db.Tx(ctx, func(r store.Repos) error { return r.Users.Insert(ctx, u) }))
		_, err = f.DeleteGroup(ctx, "test", "vip")
		want(t, err, realm.CodeConflict)
		u.Enabled = false
		f.must(f.db.Tx(ctx, func(r store.Repos) error { return r.Users.Update(ctx, u) }))
		done, err := f.DeleteGroup(ctx, "test", "vip")
		f.must(err)
		if d := cmp.Diff([]string{"user.update u", "group.delete vip"}, verbs(done)); d != "" {
			t.Error(d)
		}
		_, err = f.DeleteGroup(ctx, "test", "vip")
		want(t, err, realm.CodeNotFound)
		_, err = f.DeleteGroup(ctx, "test", realm.DefaultGroup)
		want(t, err, realm.CodeConflict)
	})
}

func TestDeleteModelAndChannel(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.put(mainSpec())
		_, err := f.DeleteModel(ctx, "test", "fast")
		want(t, err, realm.CodeConflict)
		done, err := f.DeleteChannel(ctx, "test", "main")
		f.must(err)
		if d := cmp.Diff([]string{"channel.delete main"}, verbs(done)); d != "" {
			t.Error(d)
		}
		if f.Snapshot().Channel("main") != nil {
			t.Error("the channel is still published")
		}
		if _, err = f.DeleteModel(ctx, "test", "fast"); err != nil || f.Snapshot().Model("fast") != nil {
			t.Errorf("the model is still there: %v", err)
		}
		for _, verb := range []func(context.Context, string, string) ([]store.Mutation, error){f.DeleteChannel, f.DeleteModel} {
			_, err := verb(ctx, "test", "none")
			want(t, err, realm.CodeNotFound)
		}
		r := f.db.Read()
		endpoints, err := r.Endpoints.List(ctx)
		f.must(err)
		creds, err := r.Credentials.List(ctx)
		f.must(err)
		if len(endpoints)+len(creds) != 0 {
			t.Errorf("%d endpoints and %d credentials outlive their channel", len(endpoints), len(creds))
		}
	})
}

func TestSetChannelEnabled(t *testing.T) {
	f := newFixture(t, "sqlite")
	f.put(mainSpec())
	group := f.Snapshot().Channel("main").Groups[0]
	for _, step := range []struct {
		enabled bool
		verbs   []string
	}{{true, nil}, {false, []string{"channel.disable main"}}, {false, nil}, {true, []string{"channel.enable main"}}} {
		done, err := f.SetChannelEnabled(t.Context(), "test", "main", step.enabled)
		f.must(err)
		if d := cmp.Diff(step.verbs, verbs(done)); d != "" {
			t.Error(d)
		}
		if got := f.Snapshot().Route(group, "fast", false) != nil; got != step.enabled {
			t.Errorf("enabled %v: a route is there: %v", step.enabled, got)
		}
	}
	if got := f.spec("main"); len(got.Bindings) != 2 || len(got.Groups) != 1 {
		t.Errorf("enabling lost bindings or groups: %+v", got)
	}
	_, err := f.SetChannelEnabled(t.Context(), "test", "none", true)
	want(t, err, realm.CodeNotFound)
}
