package storetest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

func TestRoundTrip(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		ctx, r := t.Context(), s.Read()

		equal(t, "group", must[*realm.Group](t)(r.Groups.Get(ctx, p.group.ID)), &p.group)
		equal(t, "group by name", must[*realm.Group](t)(r.Groups.ByName(ctx, " vip ")), &p.group)
		equal(t, "model", must[*realm.Model](t)(r.Models.ByName(ctx, "gpt-5.5")), &p.model)
		equal(t, "model by id", must[*realm.Model](t)(r.Models.Get(ctx, p.model.ID)), &p.model)
		equal(t, "channel", must[*realm.Channel](t)(r.Channels.ByName(ctx, "openai-main")), &p.channel)
		equal(t, "channel by id", must[*realm.Channel](t)(r.Channels.Get(ctx, p.channel.ID)), &p.channel)
		equal(t, "channels", must[[]*realm.Channel](t)(r.Channels.List(ctx)), []*realm.Channel{&p.channel})
		equal(t, "endpoint", must[*realm.Endpoint](t)(r.Endpoints.Get(ctx, p.endpoint.ID)), &p.endpoint)
		equal(t, "endpoints", must[[]*realm.Endpoint](t)(r.Endpoints.ByChannel(ctx, p.channel.ID)), []*realm.Endpoint{&p.endpoint})
		equal(t, "credential", must[*realm.Credential](t)(r.Credentials.Get(ctx, p.credential.ID)), &p.credential)
		equal(t, "credentials", must[[]*realm.Credential](t)(r.Credentials.ByEndpoint(ctx, p.endpoint.ID)), []*realm.Credential{&p.credential})
		equal(t, "user", must[*realm.User](t)(r.Users.ByName(ctx, "owner")), &p.user)
		equal(t, "users", must[[]*realm.User](t)(r.Users.List(ctx)), []*realm.User{&p.user})
		equal(t, "token", must[*realm.Token](t)(r.Tokens.ByHash(ctx, p.token.Hash)), &p.token)
		equal(t, "tokens", must[[]*realm.Token](t)(r.Tokens.ByUser(ctx, p.user.ID)), []*realm.Token{&p.token})
	})
}

func TestDefaultGroup(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		g := must[*realm.Group](t)(s.Read().Groups.ByName(t.Context(), realm.DefaultGroup))
		if g.Multiplier != realm.OnePPM {
			t.Errorf("multiplier %v, want 1", g.Multiplier)
		}
		if _, err := realm.ParseID(g.ID.String()); err != nil {
			t.Errorf("its id is none: %v", err)
		}
	})
}

// Empty and absent lists are not the same: no models, or all of them.
func TestAbsentAndEmptyLists(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		for _, lists := range []struct{ compat, models []string }{{nil, nil}, {[]string{}, []string{}}} {
			p.model.Price, p.model.Compat, p.token.Models = nil, lists.compat, lists.models
			p.token.Groups, p.token.Networks, p.token.ExpiresAt = nil, nil, time.Time{}
			write(t, s, func(r store.Repos) error {
				return errors.Join(r.Models.Update(t.Context(), &p.model), r.Tokens.Update(t.Context(), &p.token))
			})
			equal(t, "model", must[*realm.Model](t)(s.Read().Models.Get(t.Context(), p.model.ID)), &p.model)
			equal(t, "token", must[*realm.Token](t)(s.Read().Tokens.Get(t.Context(), p.token.ID)), &p.token)
		}
	})
}

func TestUpdate(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		ctx := t.Context()
		p.group.Multiplier = 2
		p.channel.Name, p.channel.Enabled, p.channel.APIs = "renamed", false, realm.APISet(realm.APIChat)
		p.channel.Groups, p.channel.Bindings = []realm.ID{p.group.ID}, []realm.Binding{{Model: "only", Upstream: "one"}}
		p.endpoint.BaseURL, p.endpoint.Position = "http://127.0.0.1:1/v1", 0
		p.credential.APIKey, p.credential.State, p.credential.StateReason, p.credential.StateSince = "", realm.CredentialOK, "", time.Time{}
		p.user.Role, p.user.Groups = realm.RoleUser, nil
		update := func(r store.Repos) error {
			return errors.Join(r.Groups.Update(ctx, &p.group), r.Channels.Update(ctx, &p.channel), r.Endpoints.Update(ctx, &p.endpoint),
				r.Credentials.Update(ctx, &p.credential), r.Users.Update(ctx, &p.user))
		}
		write(t, s, update)
		write(t, s, update) // an update that changes nothing finds its row all the same

		r := s.Read()
		equal(t, "group", must[*realm.Group](t)(r.Groups.Get(ctx, p.group.ID)), &p.group)
		equal(t, "channel", must[*realm.Channel](t)(r.Channels.Get(ctx, p.channel.ID)), &p.channel)
		equal(t, "endpoint", must[*realm.Endpoint](t)(r.Endpoints.Get(ctx, p.endpoint.ID)), &p.endpoint)
		equal(t, "credential", must[*realm.Credential](t)(r.Credentials.Get(ctx, p.credential.ID)), &p.credential)
		equal(t, "user", must[*realm.User](t)(r.Users.Get(ctx, p.user.ID)), &p.user)
	})
}

func TestMissingRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		const none = realm.ID(42)
		verbs := map[string]func(r store.Repos) error{
			"get group":         func(r store.Repos) error { _, err := r.Groups.Get(ctx, none); return err },
			"get model":         func(r store.Repos) error { _, err := r.Models.ByName(ctx, "none"); return err },
			"get channel":       func(r store.Repos) error { _, err := r.Channels.ByName(ctx, "none"); return err },
			"get endpoint":      func(r store.Repos) error { _, err := r.Endpoints.Get(ctx, none); return err },
			"get credential":    func(r store.Repos) error { _, err := r.Credentials.Get(ctx, none); return err },
			"get user":          func(r store.Repos) error { _, err := r.Users.ByName(ctx, "none"); return err },
			"get token":         func(r store.Repos) error { _, err := r.Tokens.ByHash(ctx, realm.TokenHash{}); return err },
			"get request":       func(r store.Repos) error { _, err := r.Requests.Get(ctx, realm.RequestID{1}); return err },
			"get object":        func(r store.Repos) error { _, err := r.Objects.Get(ctx, "resp_1", none); return err },
			"get setting":       func(r store.Repos) error { _, err := r.Settings.Get(ctx, "none"); return err },
			"update group":      func(r store.Repos) error { return r.Groups.Update(ctx, &realm.Group{ID: none, Name: "n"}) },
			"update model":      func(r store.Repos) error { return r.Models.Update(ctx, &realm.Model{ID: none, Name: "n"}) },
			"update channel":    func(r store.Repos) error { return r.Channels.Update(ctx, &realm.Channel{ID: none, Name: "n"}) },
			"update endpoint":   func(r store.Repos) error { return r.Endpoints.Update(ctx, &realm.Endpoint{ID: none}) },
			"update credential": func(r store.Repos) error { return r.Credentials.Update(ctx, &realm.Credential{ID: none, Name: "n"}) },
			"update user":       func(r store.Repos) error { return r.Users.Update(ctx, &realm.User{ID: none, Name: "n"}) },
			"update token":      func(r store.Repos) error { return r.Tokens.Update(ctx, &realm.Token{ID: none, Name: "n"}) },
			"delete group":      func(r store.Repos) error { return r.Groups.Delete(ctx, none) },
			"delete model":      func(r store.Repos) error { return r.Models.Delete(ctx, none) },
			"delete channel":    func(r store.Repos) error { return r.Channels.Delete(ctx, none) },
			"delete endpoint":   func(r store.Repos) error { return r.Endpoints.Delete(ctx, none) },
			"delete credential": func(r store.Repos) error { return r.Credentials.Delete(ctx, none) },
			"delete user":       func(r store.Repos) error { return r.Users.Delete(ctx, none) },
			"delete token":      func(r store.Repos) error { return r.Tokens.Delete(ctx, none) },
			"delete object":     func(r store.Repos) error { return r.Objects.Delete(ctx, "resp_1", none) },
			"delete setting":    func(r store.Repos) error { return r.Settings.Delete(ctx, "none") },
		}
		for name, verb := range verbs {
			if err := s.Tx(ctx, verb); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("%s: %v, want ErrNotFound", name, err)
			}
		}
	})
}

func TestNames(t *testing.T) {
	long := strings.Repeat("界", 190)
	tests := map[string]struct {
		name string
		want error // nil: taken up
		kept string
	}{
		"trimmed":            {name: "  spaced\t", kept: "spaced"},
		"other case":         {name: "VIP", kept: "VIP"},
		"accent":             {name: "víp", kept: "víp"},
		"longest":            {name: long, kept: long},
		"inner space":        {name: "v ip", kept: "v ip"},
		"taken":              {name: "vip", want: store.ErrDuplicate},
		"taken but a space":  {name: "vip ", want: store.ErrDuplicate},
		"empty":              {name: " \n", want: errInvalid},
		"too long":           {name: long + "x", want: errInvalid},
		"not UTF-8":          {name: "a\xff", want: errInvalid},
		"a NUL in the midst": {name: "a\x00b", want: errInvalid},
	}
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		populate(t, s)
		for name, tt := range tests {
			g := realm.Group{Name: tt.name}
			err := s.Tx(t.Context(), func(r store.Repos) error { g.ID = 0; return r.Groups.Insert(t.Context(), &g) })
			var re *realm.Error
			switch {
			case errors.Is(tt.want, errInvalid):
				if !errors.As(err, &re) || re.Code != realm.CodeInvalid || re.Field != "name" {
					t.Errorf("%s: %v, want an error about the field name", name, err)
				}
			case !errors.Is(err, tt.want):
				t.Errorf("%s: %v, want %v", name, err, tt.want)
			case tt.want == nil:
				equal(t, name, must[*realm.Group](t)(s.Read().Groups.ByName(t.Context(), tt.kept)), &g)
			}
		}
	})
}

var errInvalid = errors.New("refused as invalid")

// What belongs to a thing goes with it; what refers to it keeps it.
func TestReferences(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		p := populate(t, s)
		ctx := t.Context()
		refused := map[string]func(r store.Repos) error{
			"a group that is named":    func(r store.Repos) error { return r.Groups.Delete(ctx, p.group.ID) },
			"a user with tokens":       func(r store.Repos) error { return r.Users.Delete(ctx, p.user.ID) },
			"endpoint without channel": func(r store.Repos) error { return r.Endpoints.Insert(ctx, &realm.Endpoint{ChannelID: 42}) },
			"channel without group": func(r store.Repos) error {
				return r.Channels.Insert(ctx, &realm.Channel{Name: "c", Groups: []realm.ID{42}})
			},
			"token without user": func(r store.Repos) error { return r.Tokens.Insert(ctx, &realm.Token{UserID: 42, Name: "t"}) },
		}
		for name, verb := range refused {
			if err := s.Tx(ctx, verb); !errors.Is(err, store.ErrReference) {
				t.Errorf("%s: %v, want ErrReference", name, err)
			}
		}
		if _, err := s.Read().Channels.ByName(ctx, "c"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("a refused channel is there: %v", err)
		}
		write(t, s, func(r store.Repos) error { return r.Channels.Delete(ctx, p.channel.ID) })
		for name, get := range map[string]func() error{
			"endpoint":   func() error { _, err := s.Read().Endpoints.Get(ctx, p.endpoint.ID); return err },
			"credential": func() error { _, err := s.Read().Credentials.Get(ctx, p.credential.ID); return err },
		} {
			if err := get(); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("the %s outlived its channel: %v", name, err)
			}
		}
	})
}

func TestSettings(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for _, value := range []string{`true`, `true`, `{"a":"界"}`} {
			write(t, s, func(r store.Repos) error { return r.Settings.Set(ctx, "feature_disable_models", value) })
			equal(t, "setting", must[string](t)(s.Read().Settings.Get(ctx, "feature_disable_models")), value)
		}
		write(t, s, func(r store.Repos) error { return r.Settings.Set(ctx, "other", "1") })
		equal(t, "all", must[map[string]string](t)(s.Read().Settings.All(ctx)), map[string]string{"feature_disable_models": `{"a":"界"}`, "other": "1"})
		write(t, s, func(r store.Repos) error { return r.Settings.Delete(ctx, "other") })
		if _, err := s.Read().Settings.Get(ctx, "other"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("deleted setting: %v", err)
		}
		err := s.Tx(ctx, func(r store.Repos) error { return r.Settings.Set(ctx, "big", strings.Repeat("x", 70_000)) })
		if realm.AsError(err).Code != realm.CodeInvalid {
			t.Errorf("a value that MySQL cannot hold: %v", err)
		}
	})
}

func TestAudit(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var want []store.AuditEntry
		for i := range 5 {
			e := store.AuditEntry{
				ID: realm.ID(100 + i), At: at.Add(time.Duration(i) * time.Second), Actor: "command", Verb: "channel.update",
				ObjectKind: store.KindChannel, ObjectID: realm.ID(i), ObjectName: "openai-main", Detail: []byte(`{"weight":1}`),
			}
			write(t, s, func(r store.Repos) error { return r.Audit.Insert(ctx, &e) })
			want = append([]store.AuditEntry{e}, want...)
		}
		first := must[[]store.AuditEntry](t)(s.Read().Audit.List(ctx, store.AuditPage{Limit: 3}))
		rest := must[[]store.AuditEntry](t)(s.Read().Audit.List(ctx, store.AuditPage{Before: first[2].ID}))
		equal(t, "entries", append(first, rest...), want)

		e := store.AuditEntry{Actor: strings.Repeat("a", 500), ObjectName: "\xff", Detail: []byte(`"` + strings.Repeat("x", 70_000) + `"`)}
		write(t, s, func(r store.Repos) error { e.ID = 0; return r.Audit.Insert(ctx, &e) })
		got := must[[]store.AuditEntry](t)(s.Read().Audit.List(ctx, store.AuditPage{Limit: 1}))
		if string(got[0].Detail) != `{"omitted":"too long"}` || e.At.IsZero() {
			t.Errorf("an entry that does not fit: %+v", got[0])
		}
	})
}

func TestReadRefusesToWrite(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		insert := func(r store.Repos) error { return r.Groups.Insert(context.Background(), &realm.Group{Name: "g"}) }
		if err := insert(s.Read()); err == nil {
			t.Error("the pool wrote")
		}
		if err := s.View(t.Context(), insert); err == nil {
			t.Error("a view wrote")
		}
	})
}
