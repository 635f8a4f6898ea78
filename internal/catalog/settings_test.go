package catalog

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
)

func span(d time.Duration) *time.Duration { return &d }

// everySetting differs from the default in every field, in the form that is stored.
func everySetting() realm.ChannelSettings {
	return realm.ChannelSettings{
		Timeouts: realm.Timeouts{Connect: span(time.Second), FirstByte: span(2 * time.Second), FirstEvent: span(0), Idle: span(90 * time.Second)},
		Attempts: 3, Limits: realm.Limits{Concurrent: 4, RequestsPerMinute: 60, TokensPerMinute: 1e9},
		Proxy: realm.Secret("socks5h://u:test-" + "word@proxy.example:1080"), CAFile: "/etc/ours.pem", Probe: time.Minute,
		OnDisconnect: realm.DisconnectDrain, ServiceTier: realm.ServiceTier{Only: []string{"flex", "default"}},
		Store: realm.StoreFalse, SafetyIdentifier: realm.SafetyHMAC,
		SetHeaders: map[string]realm.Secret{"X-A": realm.Secret("test-" + "header")}, DeleteHeaders: []string{"X-B", "X-C"},
		BodyEdits: []realm.BodyEdit{
			{Op: realm.BodySet, Path: "a.b", Value: json.RawMessage(`{"n":1}`), Models: []string{"gpt-*"}},
			{Op: realm.BodyDelete, Path: "c"},
			{Op: realm.BodyRename, Path: "d", To: "e"},
		},
		StatusMap: map[int]int{400: 503},
	}
}

func TestCheckSettingsCleans(t *testing.T) {
	spec := mainSpec()
	spec.Settings = everySetting()
	got, err := CheckChannel(spec)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(everySetting(), got.Settings); d != "" {
		t.Errorf("what is clean was changed:\n%s", d)
	}
	spec.Settings = realm.ChannelSettings{
		Proxy: "  ", OnDisconnect: realm.DisconnectCancel, Store: realm.StorePass, SafetyIdentifier: realm.SafetyPass,
		ServiceTier: realm.ServiceTier{Only: []string{}}, SetHeaders: map[string]realm.Secret{}, DeleteHeaders: []string{},
		BodyEdits: []realm.BodyEdit{}, StatusMap: map[int]int{},
	}
	if got, err = CheckChannel(spec); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(realm.ChannelSettings{}, got.Settings); d != "" {
		t.Errorf("defaults are not zero values:\n%s", d)
	}
	spec.Settings = realm.ChannelSettings{
		Proxy: " http://proxy.example:3128 ", ServiceTier: realm.ServiceTier{Only: []string{" flex "}},
		SetHeaders: map[string]realm.Secret{"x-a": "b c"}, DeleteHeaders: []string{"x-z", "OpenAI-Beta"},
		BodyEdits: []realm.BodyEdit{{Op: realm.BodySet, Path: "a", Value: json.RawMessage(" [ 1, \"<\" ]\n"), Models: []string{" m "}}},
	}
	if got, err = CheckChannel(spec); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(realm.ChannelSettings{
		Proxy: "http://proxy.example:3128", ServiceTier: realm.ServiceTier{Only: []string{"flex"}},
		SetHeaders: map[string]realm.Secret{"X-A": "b c"}, DeleteHeaders: []string{"Openai-Beta", "X-Z"},
		BodyEdits: []realm.BodyEdit{{Op: realm.BodySet, Path: "a", Value: json.RawMessage(`[1,"<"]`), Models: []string{"m"}}},
	}, got.Settings); d != "" {
		t.Error(d)
	}
	if spec.Settings.DeleteHeaders[0] != "x-z" || spec.Settings.BodyEdits[0].Models[0] != " m " || spec.Settings.ServiceTier.Only[0] != " flex " {
		t.Error("the caller's spec was written into")
	}
}

func TestCheckSettingsNamesEveryFault(t *testing.T) {
	body := func(e realm.BodyEdit) func(*realm.ChannelSettings) {
		return func(s *realm.ChannelSettings) { s.BodyEdits = append(s.BodyEdits, e) }
	}
	set := func(path, value string) realm.BodyEdit {
		return realm.BodyEdit{Op: realm.BodySet, Path: path, Value: json.RawMessage(value)}
	}
	header := func(name, value string) func(*realm.ChannelSettings) {
		return func(s *realm.ChannelSettings) { s.SetHeaders = map[string]realm.Secret{name: realm.Secret(value)} }
	}
	proxy := func(text string) func(*realm.ChannelSettings) {
		return func(s *realm.ChannelSettings) { s.Proxy = realm.Secret(text) }
	}
	type spoil = func(*realm.ChannelSettings)
	cases := []struct {
		name  string
		spoil spoil
		want  []string
	}{
		{"nothing", func(*realm.ChannelSettings) {}, nil},
		{"negative times", func(s *realm.ChannelSettings) {
			s.Timeouts = realm.Timeouts{Connect: span(-1), FirstByte: span(-1), FirstEvent: span(-1), Idle: span(200 * time.Hour)}
		}, []string{"timeouts.connect", "timeouts.first_byte", "timeouts.first_event", "timeouts.idle"}},
		{"no time at all", func(s *realm.ChannelSettings) {
			s.Timeouts = realm.Timeouts{Connect: span(0), FirstByte: span(0), FirstEvent: span(0), Idle: span(0)}
		}, []string{"timeouts.connect", "timeouts.first_byte"}},
		{"attempts", func(s *realm.ChannelSettings) { s.Attempts = -1 }, []string{"attempts"}},
		{"many attempts", func(s *realm.ChannelSettings) { s.Attempts = 101 }, []string{"attempts"}},
		{"limits", func(s *realm.ChannelSettings) {
			s.Limits = realm.Limits{Concurrent: -1, RequestsPerMinute: -1, TokensPerMinute: -1}
		}, []string{"limits.concurrent", "limits.rpm", "limits.tpm"}},
		{"ca_file", func(s *realm.ChannelSettings) { s.CAFile = "a\x00b" }, []string{"ca_file"}},
		{"hasty probe", func(s *realm.ChannelSettings) { s.Probe = 9 * time.Second }, []string{"probe"}},
		{"negative probe", func(s *realm.ChannelSettings) { s.Probe = -time.Minute }, []string{"probe"}},
		{"words", func(s *realm.ChannelSettings) {
			s.OnDisconnect, s.Store, s.SafetyIdentifier = "wait", "true", "md5"
		}, []string{"on_disconnect", "store", "safety_identifier"}},
		{"tiers", func(s *realm.ChannelSettings) {
			s.ServiceTier = realm.ServiceTier{Drop: true, Only: []string{"a", "a", ""}}
		}, []string{"service_tier", "service_tier[1]", "service_tier[2]"}},
		{"proxy's scheme", proxy("ftp://u:test-word@h:1"), []string{"proxy"}},
		{"proxy without scheme", proxy("u:test-word@h:1"), []string{"proxy"}},
		{"proxy without host", proxy("http://u:test-word@:3128"), []string{"proxy"}},
		{"proxy's port", proxy("http://u:test-word@h:99999"), []string{"proxy"}},
		{"proxy's word", proxy("http://u:test-%zz@h:1"), []string{"proxy"}},
		{"proxy's space", proxy("http://u:test- word@h:1"), []string{"proxy"}},
		{"proxy's path", proxy("http://u:test-word@h:1/path"), []string{"proxy"}},
		{"header's name", header("X A", "v"), []string{"headers.set.X A"}},
		{"no header's name", header("", "v"), []string{"headers.set."}},
		{"header's line", header("X-A", "test-a\r\nX-B: c"), []string{"headers.set.X-A"}},
		{"header beyond ASCII", header("X-A", "test-ü"), []string{"headers.set.X-A"}},
		{"header's space", header("X-A", " test-"), []string{"headers.set.X-A"}},
		{"empty header", header("X-A", ""), []string{"headers.set.X-A"}},
		{"header twice", func(s *realm.ChannelSettings) {
			s.SetHeaders = map[string]realm.Secret{"X-A": "1", "x-a": "2"}
			s.DeleteHeaders = []string{"X-B", "x-b", "X-A"}
		}, []string{"headers.set.x-a", "headers.delete[1]", "headers.delete[2]"}},
		{"statuses", func(s *realm.ChannelSettings) { s.StatusMap = map[int]int{200: 503, 400: 600, 599: 400} }, []string{"status_map.200", "status_map.400"}},
		{"edit of nothing", body(realm.BodyEdit{}), []string{"body[0].path", "body[0].op"}},
		{"edit's path", func(s *realm.ChannelSettings) {
			for _, path := range []string{".a", "a.", "a..b", "a\nb", strings.Repeat("a", 501)} {
				body(set(path, "1"))(s)
			}
		}, []string{"body[0].path", "body[1].path", "body[2].path", "body[3].path", "body[4].path"}},
		{"what Realms goes by", func(s *realm.ChannelSettings) {
			body(set("model", `"x"`))(s)
			body(realm.BodyEdit{Op: realm.BodyDelete, Path: "stream"})(s)
			body(realm.BodyEdit{Op: realm.BodyRename, Path: "model", To: "m"})(s)
			body(realm.BodyEdit{Op: realm.BodyRename, Path: "m", To: "model"})(s)
			body(set("model.x", "1"))(s)
			body(set("x.model", "1"))(s) // somebody else's
			body(realm.BodyEdit{Op: realm.BodyRename, Path: "x.m", To: "stream"})(s)
			body(set("stream_options", "{}"))(s)
		}, []string{"body[0].path", "body[1].path", "body[2].path", "body[3].to", "body[4].path"}},
		{"set's value", func(s *realm.ChannelSettings) {
			body(set("a", ""))(s)
			body(set("a", "{a: 1}"))(s)
			body(set("a", "null"))(s)
			body(realm.BodyEdit{Op: realm.BodyDelete, Path: "a", Value: json.RawMessage("1")})(s)
		}, []string{"body[0].value", "body[1].value", "body[3].value"}},
		{"rename's name", func(s *realm.ChannelSettings) {
			body(realm.BodyEdit{Op: realm.BodyRename, Path: "a"})(s)
			body(realm.BodyEdit{Op: realm.BodyRename, Path: "a", To: "b.c"})(s)
			body(realm.BodyEdit{Op: realm.BodyRename, Path: "a.b", To: "b"})(s)
			body(realm.BodyEdit{Op: realm.BodyDelete, Path: "a", To: "b"})(s)
		}, []string{"body[0].to", "body[1].to", "body[2].to", "body[3].to"}},
		{"edit's models", body(realm.BodyEdit{Op: realm.BodyDelete, Path: "a", Models: []string{"a*b", "m", "m", ""}}), []string{"body[0].models[0]", "body[0].models[2]", "body[0].models[3]"}},
	}
	for _, name := range append([]string{
		"Connection", "Content-Length", "Expect", "Host", "Idempotency-Key", "Keep-Alive", "Proxy-Authorization",
		"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "X-Idempotency-Key",
	}, fixedHeaders...) {
		cases = append(cases, struct {
			name  string
			spoil spoil
			want  []string
		}{name, func(s *realm.ChannelSettings) {
			header(strings.ToLower(name), "v")(s)
			s.DeleteHeaders = []string{name}
		}, []string{"headers.set." + strings.ToLower(name), "headers.delete[0]"}})
	}
	for _, c := range cases {
		spec := mainSpec()
		c.spoil(&spec.Settings)
		_, err := CheckChannel(spec)
		if d := cmp.Diff(c.want, fields(t, err)); d != "" {
			t.Errorf("%s: %v\n%s", c.name, err, d)
		}
		if err != nil && strings.Contains(err.Error(), "test-") {
			t.Errorf("%s: a secret is in the message: %v", c.name, err)
		}
	}
}

func TestProxiesThatAreTaken(t *testing.T) {
	for _, text := range []string{"http://p", "https://p.example:8443/", "socks5://[::1]:1080", "socks5h://u:p%40ss@10.0.0.1:1080"} {
		spec := mainSpec()
		spec.Settings.Proxy = realm.Secret(text)
		if got, err := CheckChannel(spec); err != nil || got.Settings.Proxy.Reveal() != text {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSettingsAreStoredAndPublished(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		f.put(mainSpec())
		spec := mainSpec()
		spec.Settings = everySetting()
		spec.Bindings[1].Timeouts.FirstEvent = span(10 * time.Minute)
		spec.Endpoints[0].Credentials[0].Limits = realm.Limits{Concurrent: 2, TokensPerMinute: 7}
		done, err := f.UpsertChannel(t.Context(), "test", spec)
		f.must(err)
		const cr = "endpoints[https://one.example/v1].credentials[a].limits."
		wanted := []store.FieldChange{
			{Field: "models[fast].timeouts.first_event", After: "10m"},
			{Field: "settings.timeouts.connect", After: "1s"},
			{Field: "settings.timeouts.first_byte", After: "2s"},
			{Field: "settings.timeouts.first_event", After: "0s"},
			{Field: "settings.timeouts.idle", After: "1m30s"},
			{Field: "settings.attempts", Before: "0", After: "3"},
			{Field: "settings.limits.concurrent", Before: "0", After: "4"},
			{Field: "settings.limits.rpm", Before: "0", After: "60"},
			{Field: "settings.limits.tpm", Before: "0", After: "1000000000"},
			{Field: "settings.proxy", After: "set"},
			{Field: "settings.ca_file", After: "/etc/ours.pem"},
			{Field: "settings.probe", Before: "0s", After: "1m"},
			{Field: "settings.on_disconnect", Before: "cancel", After: "drain"},
			{Field: "settings.service_tier", Before: "pass", After: "[flex, default]"},
			{Field: "settings.store", Before: "pass", After: "false"},
			{Field: "settings.safety_identifier", Before: "pass", After: "hmac"},
			{Field: "settings.headers.set[X-A]", After: "set"},
			{Field: "settings.headers.delete", Before: "[]", After: "[X-B, X-C]"},
			{Field: "settings.body", Before: "[]", After: `[{"op":"set","path":"a.b","value":{"n":1},"models":["gpt-*"]}, {"op":"delete","path":"c"}, {"op":"rename","path":"d","to":"e"}]`},
			{Field: "settings.status_map", Before: "[]", After: "[400→503]"},
			{Field: cr + "concurrent", Before: "0", After: "2"},
			{Field: cr + "tpm", Before: "0", After: "7"},
		}
		if d := cmp.Diff(wanted, done[0].Fields); d != "" {
			t.Error(d)
		}
		if done := f.put(spec); done != nil {
			t.Errorf("the same again: %v", done)
		}
		f.must(f.Load(t.Context()))
		ch := f.Snapshot().Channel("main")
		if d := cmp.Diff(everySetting(), ch.Settings); d != "" {
			t.Error(d)
		}
		b, _ := ch.Offers("fast")
		if b.Timeouts.FirstEvent == nil || *b.Timeouts.FirstEvent != 10*time.Minute {
			t.Errorf("the binding's time-outs are %+v", b.Timeouts)
		}
		if l := ch.Endpoints[0].Credentials[0].Limits; l != spec.Endpoints[0].Credentials[0].Limits {
			t.Errorf("the credential's limits are %+v", l)
		}
		again := f.spec("main")
		if done := f.put(again); done != nil {
			t.Errorf("the channel's own spec: %v", done)
		}
		f.put(mainSpec()) // a spec is whole
		if d := cmp.Diff(realm.ChannelSettings{}, f.Snapshot().Channel("main").Settings); d != "" {
			t.Error(d)
		}
		f.audit()
	})
}

func TestSecretsOfSettingsShowThatTheyChanged(t *testing.T) {
	f := newFixture(t, "sqlite")
	spec := mainSpec()
	for i, step := range []struct {
		proxy, header realm.Secret
		want          string
	}{
		{"http://test-a", "", "settings.proxy:→set"},
		{"http://test-b", "test-1", "settings.proxy:set→changed settings.headers.set[X-A]:→set"},
		{"http://test-b", "test-2", "settings.headers.set[X-A]:set→changed"},
		{"", "", "settings.proxy:set→ settings.headers.set[X-A]:set→"},
	} {
		spec.Settings = realm.ChannelSettings{Proxy: step.proxy}
		if step.header != "" {
			spec.Settings.SetHeaders = map[string]realm.Secret{"X-A": step.header}
		}
		if i == 0 {
			f.put(mainSpec())
		}
		done, err := f.UpsertChannel(t.Context(), "test", spec)
		f.must(err)
		var got []string
		for _, c := range done[0].Fields {
			got = append(got, fmt.Sprintf("%s:%s→%s", c.Field, c.Before, c.After))
		}
		if d := cmp.Diff(step.want, strings.Join(got, " ")); d != "" {
			t.Error(d)
		}
	}
	f.audit()
}

// A refusal that comes late, about a key that has been renewed since, must not put
// the new one out of use.
func TestCredentialOutOfUseIsAboutTheKeyThatWasSeen(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		const url = "https://one.example/v1"
		f.put(mainSpec())
		old := f.credential("main", url, "a")
		renew := mainSpec()
		renew.Endpoints[0].Credentials[0].APIKey = secret("b")
		f.put(renew)
		version := f.version()
		f.must(f.CredentialOutOfUse(t.Context(), old, "401"))
		if cr := f.credential("main", url, "a"); !cr.Usable() || f.version() != version {
			t.Errorf("the new key is %s: %s", cr.State, cr.StateReason)
		}
		f.must(f.CredentialOutOfUse(t.Context(), f.credential("main", url, "a"), "401"))
		if cr := f.credential("main", url, "a"); cr.Usable() {
			t.Error("the refused key is in use")
		}
	})
}

func TestMendChannel(t *testing.T) {
	onEveryEngine(t, func(t *testing.T, f *fixture) {
		spec := mainSpec()
		spec.Endpoints = append(spec.Endpoints, EndpointSpec{BaseURL: "https://two.example/v1", Credentials: []CredentialSpec{
			{Name: "a", APIKey: secret("2"), Enabled: true, Weight: 1}, {Name: "b", APIKey: secret("3"), Enabled: true, Weight: 1},
		}})
		f.put(spec)
		for _, c := range []struct {
			credential string
			want       []string
		}{
			{"", []string{"credential.mended a", "credential.mended a", "credential.mended b"}},
			{"a", []string{"credential.mended a", "credential.mended a"}},
			{" b ", []string{"credential.mended b"}},
		} {
			for _, ep := range f.Snapshot().Channel("main").Endpoints {
				for _, cr := range ep.Credentials {
					f.must(f.CredentialOutOfUse(t.Context(), cr, "401"))
				}
			}
			done, err := f.MendChannel(t.Context(), "test", "main", c.credential)
			f.must(err)
			if d := cmp.Diff(c.want, verbs(done)); d != "" {
				t.Errorf("%q: %s", c.credential, d)
			}
			_, err = f.MendChannel(t.Context(), "test", "main", "")
			f.must(err)
			if done, err = f.MendChannel(t.Context(), "test", "main", ""); err != nil || len(done) != 0 {
				t.Errorf("a whole channel was mended: %v, %v", done, err)
			}
		}
		_, err := f.MendChannel(t.Context(), "test", "none", "")
		want(t, err, realm.CodeNotFound)
		_, err = f.MendChannel(t.Context(), "test", "main", "none")
		want(t, err, realm.CodeNotFound)
	})
}
