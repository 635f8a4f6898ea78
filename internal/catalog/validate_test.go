package catalog

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

// fields lists the fields that an error, joined or not, is about.
func fields(t *testing.T, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	list := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		list = joined.Unwrap()
	}
	var names []string
	for _, err := range list {
		var e *realm.Error
		if !errors.As(err, &e) || e.Code != realm.CodeInvalid || e.Message == "" {
			t.Fatalf("not an invalid field: %v", err)
		}
		names = append(names, e.Field)
	}
	return names
}

func TestCleanBaseURL(t *testing.T) {
	good := map[string]string{
		"https://api.openai.com/v1":           "https://api.openai.com/v1",
		" https://api.openai.com/v1/ ":        "https://api.openai.com/v1",
		"http://127.0.0.1:11434":              "http://127.0.0.1:11434",
		"http://[::1]:8080/":                  "http://[::1]:8080",
		"HTTPS://API.Example.COM/Tenant/A//":  "https://api.example.com/Tenant/A",
		"https://host/a%2Fb/openai/v1":        "https://host/a%2Fb/openai/v1",
		"https://xn--bcher-kva.example/v1":    "https://xn--bcher-kva.example/v1",
		"http://[fe80::1%25eth0]/v1":          "http://[fe80::1%25eth0]/v1",
		"https://host.example./prefix/v1beta": "https://host.example./prefix/v1beta",
	}
	for in, want := range good {
		if got, err := CleanBaseURL("base_url", in); err != nil || got != want {
			t.Errorf("%q: got %q, %v; want %q", in, got, err, want)
		}
	}
	bad := []string{
		"", "api.openai.com/v1", "//api.openai.com", "/v1", "ftp://host/", "file:///etc/passwd", "http:", "https://", "https:///v1",
		"https://:443/v1", "http:host/v1", "https://host/v1?key=1", "https://host/v1?", "https://host/v1#top", "https://host/v1#",
		"https://user@host/v1", "https://user:word@host/v1", "https://host:0/v1", "https://host:65536/v1", "https://host:/v1",
		"https://host:http/v1", "https://ho st/v1", "https://host/a b", "https://host\\@other/v1", "https://host/a\nb", "https://höst/v1",
		"https://host/" + strings.Repeat("a", 1000), "https://[::1/v1", "https://host/%zz", "javascript:alert(1)",
	}
	for _, in := range bad {
		got, err := CleanBaseURL("endpoints[0].base_url", in)
		if err == nil {
			t.Errorf("%q was taken as %q", in, got)
			continue
		}
		if d := cmp.Diff([]string{"endpoints[0].base_url"}, fields(t, err)); d != "" {
			t.Errorf("%q: %s", in, d)
		}
	}
}

func TestBaseURLsPasswordStaysOutOfTheMessage(t *testing.T) {
	for _, in := range []string{"https://u:test-word@host/v1", "https://u:test-word@host:x/v1", "u:test-word@host", "ftp://u:test-word@host/%zz"} {
		if _, err := CleanBaseURL("base_url", in); err == nil || strings.Contains(err.Error(), "test-word") {
			t.Errorf("%q: %v", in, err)
		}
	}
}

func TestCheckGroup(t *testing.T) {
	got, err := CheckGroup(realm.Group{Name: " vip ", Multiplier: 1_500_000})
	if err != nil || got.Name != "vip" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = CheckGroup(realm.Group{Name: "", Multiplier: -1})
	if d := cmp.Diff([]string{"name", "multiplier"}, fields(t, err)); d != "" {
		t.Error(d)
	}
	if _, err := CheckGroup(realm.Group{Name: "a", Multiplier: maxMultiplier + 1}); err == nil {
		t.Error("a multiplier above the bound was taken")
	}
}

func TestCheckModel(t *testing.T) {
	price, tooMuch, negative := realm.Money(1_250_000_000), maxPrice+1, realm.Money(-1)
	if _, err := CheckModel(realm.Model{Name: "gpt-*"}); err == nil {
		t.Error("a pattern was taken as a model")
	}
	got, err := CheckModel(realm.Model{
		Name: " openai/gpt-5.5:free ", OwnedBy: " openai ", MaxOutputTokens: 128_000,
		Price: &realm.Price{Input: &price}, Compat: []string{"max_completion_tokens", "no_sampling", "developer_role"},
	})
	if err != nil || got.Name != "openai/gpt-5.5:free" || got.OwnedBy != "openai" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = CheckModel(realm.Model{
		Name: "*", OwnedBy: "a\x01", MaxOutputTokens: -1,
		Price: &realm.Price{Input: &tooMuch, Reasoning: &negative}, Compat: []string{"no_sampling", "nothing"},
	})
	want := []string{"name", "owned_by", "max_output_tokens", "price.input", "price.reasoning", "compat[1]"}
	if d := cmp.Diff(want, fields(t, err)); d != "" {
		t.Error(d)
	}
}

func secret(name string) *realm.Secret {
	s := realm.Secret("test-" + name)
	return &s
}

// mainSpec is a channel in good order.
func mainSpec() ChannelSpec {
	return ChannelSpec{
		Name: "main", Type: realm.OpenAICompatible, Enabled: true, Priority: 10, Weight: 1, APIs: realm.AllAPIs,
		Groups:   []string{"default"},
		Bindings: []realm.Binding{{Model: "gpt-5.5"}, {Model: "fast", Upstream: "gpt-5.5-mini"}},
		Endpoints: []EndpointSpec{{
			BaseURL:     "https://one.example/v1",
			Credentials: []CredentialSpec{{Name: "a", APIKey: secret("a"), Enabled: true, Weight: 1}},
		}},
	}
}

func TestCheckChannelCleans(t *testing.T) {
	spec := mainSpec()
	spec.Name, spec.Groups = " main\t", []string{" default "}
	spec.Bindings = []realm.Binding{{Model: " a "}, {Model: "b", Upstream: " c "}, {Model: "*"}, {Model: "d", Upstream: "*"}, {Model: "my-*", Upstream: " * "}, {Model: "our-*"}, {Model: "its-*", Upstream: "x-*-y"}}
	spec.Endpoints[0].BaseURL = "https://ONE.example/v1/"
	spec.Endpoints[0].Credentials[0].Name = " a "
	got, err := CheckChannel(spec)
	if err != nil {
		t.Fatal(err)
	}
	want := mainSpec()
	want.Bindings = []realm.Binding{{Model: "a", Upstream: "a"}, {Model: "b", Upstream: "c"}, {Model: "*", Upstream: "*"}, {Model: "d", Upstream: "d"}, {Model: "my-*", Upstream: "*"}, {Model: "our-*", Upstream: "our-*"}, {Model: "its-*", Upstream: "x-*-y"}}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if spec.Endpoints[0].BaseURL != "https://ONE.example/v1/" || spec.Groups[0] != " default " {
		t.Error("the caller's spec was written into")
	}
}

func TestCheckChannelNamesEveryFault(t *testing.T) {
	cases := []struct {
		name  string
		spoil func(*ChannelSpec)
		want  []string
	}{
		{"nothing", func(*ChannelSpec) {}, nil},
		{"an empty channel", func(s *ChannelSpec) { s.Groups, s.Bindings, s.Endpoints = nil, nil, nil }, nil},
		{"no key is needed", func(s *ChannelSpec) { s.Endpoints[0].Credentials[0].APIKey = new(realm.Secret) }, nil},
		{"no name", func(s *ChannelSpec) { s.Name = " " }, []string{"name"}},
		{"long name", func(s *ChannelSpec) { s.Name = strings.Repeat("a", 191) }, []string{"name"}},
		{"type", func(s *ChannelSpec) { s.Type = "openai" }, []string{"type"}},
		{"priority", func(s *ChannelSpec) { s.Priority = -1_000_001 }, []string{"priority"}},
		{"weight", func(s *ChannelSpec) { s.Weight = -1 }, []string{"weight"}},
		{"heavy", func(s *ChannelSpec) { s.Weight = 1_000_001 }, []string{"weight"}},
		{"no api", func(s *ChannelSpec) { s.APIs = 0 }, []string{"apis"}},
		{"unknown api", func(s *ChannelSpec) { s.APIs = 1 << 15 }, []string{"apis"}},
		{"group twice", func(s *ChannelSpec) { s.Groups = []string{"a", "a "} }, []string{"groups[1]"}},
		{"empty group", func(s *ChannelSpec) { s.Groups = []string{"a", "", ""} }, []string{"groups[1]", "groups[2]"}},
		{"model twice", func(s *ChannelSpec) { s.Bindings[1].Model = " gpt-5.5" }, []string{"models[1].name"}},
		{"no model", func(s *ChannelSpec) { s.Bindings[0].Model = "" }, []string{"models[0].name"}},
		{"bad upstream", func(s *ChannelSpec) { s.Bindings[1].Upstream = "a\nb" }, []string{"models[1].upstream"}},
		{"pattern twice", func(s *ChannelSpec) { s.Bindings[0].Model, s.Bindings[1].Model = "a*", "a*" }, []string{"models[1].name"}},
		{"star in the middle", func(s *ChannelSpec) { s.Bindings[0].Model, s.Bindings[1].Model = "a*b", "**" }, []string{"models[0].name", "models[1].name"}},
		{"star of nothing", func(s *ChannelSpec) { s.Bindings[1].Upstream = "x-*" }, []string{"models[1].upstream"}},
		{"two stars of one", func(s *ChannelSpec) { s.Bindings[1] = realm.Binding{Model: "a*", Upstream: "*-*"} }, []string{"models[1].upstream"}},
		{"a model's time", func(s *ChannelSpec) { s.Bindings[1].Timeouts.Connect = new(time.Duration) }, []string{"models[1].timeouts.connect"}},
		{
			"the same URL, written in another way",
			func(s *ChannelSpec) {
				s.Endpoints = append(s.Endpoints, EndpointSpec{BaseURL: "HTTPS://one.EXAMPLE/v1/"})
			},
			[]string{"endpoints[1].base_url"},
		},
		{
			"two bad URLs",
			func(s *ChannelSpec) { s.Endpoints = []EndpointSpec{{BaseURL: "x"}, {BaseURL: "x"}} },
			[]string{"endpoints[0].base_url", "endpoints[1].base_url"},
		},
		{
			"credentials",
			func(s *ChannelSpec) {
				s.Endpoints[0].Credentials = append(s.Endpoints[0].Credentials,
					CredentialSpec{Name: "a", APIKey: secret("line\n"), Priority: 1_000_001, Weight: -1, Limits: realm.Limits{RequestsPerMinute: -1}})
			},
			[]string{
				"endpoints[0].credentials[1].name", "endpoints[0].credentials[1].priority",
				"endpoints[0].credentials[1].weight", "endpoints[0].credentials[1].limits.rpm", "endpoints[0].credentials[1].api_key",
			},
		},
		{
			"everything at once",
			func(s *ChannelSpec) { s.Name, s.Type, s.Endpoints[0].BaseURL = "", "x", "" },
			[]string{"name", "type", "endpoints[0].base_url"},
		},
	}
	for _, c := range cases {
		spec := mainSpec()
		c.spoil(&spec)
		_, err := CheckChannel(spec)
		if d := cmp.Diff(c.want, fields(t, err)); d != "" {
			t.Errorf("%s: %v\n%s", c.name, err, d)
		}
		if err != nil && strings.Contains(err.Error(), "test-") {
			t.Errorf("%s: a secret is in the message: %v", c.name, err)
		}
	}
}

func TestOneLine(t *testing.T) {
	cases := map[string]string{
		"":                       "",
		"account deactivated":    "account deactivated",
		" two\r\n lines\t":       "two lines",
		"bad \xff bytes":         "bad bytes",
		strings.Repeat("渠", 190): strings.Repeat("渠", 190),
		strings.Repeat("渠", 191): strings.Repeat("渠", 189) + "…",
	}
	for in, want := range cases {
		if got := oneLine(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
