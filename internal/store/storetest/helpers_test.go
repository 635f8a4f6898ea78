package storetest_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
)

// at is an instant as the store keeps it.
var at = time.Date(2026, 5, 6, 7, 8, 9, 123e6, time.UTC)

// write runs fn in a transaction that must succeed.
func write(t testing.TB, s *store.Store, fn func(r store.Repos) error) {
	t.Helper()
	if err := s.Tx(t.Context(), fn); err != nil {
		t.Fatalf("transaction: %v", err)
	}
}

// must is for what a test only needs.
func must[T any](t testing.TB) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func equal(t testing.TB, what string, got, want any) {
	t.Helper()
	prefixes := cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })
	if diff := cmp.Diff(want, got, prefixes); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// size is n, or less of it under the race detector.
func size(n int) int {
	if storetest.Race {
		return max(n/10, 2)
	}
	return n
}

func dollars(t testing.TB, text string) *realm.Money {
	t.Helper()
	m := must[realm.Money](t)(realm.ParseMoney(text))
	return &m
}

func everyTimeout() realm.Timeouts {
	connect, first, event, none := 1500*time.Millisecond, 20*time.Second+1, 5*time.Minute, time.Duration(0)
	return realm.Timeouts{Connect: &connect, FirstByte: &first, FirstEvent: &event, Idle: &none}
}

// everySetting has a value in every field.
func everySetting() realm.ChannelSettings {
	return realm.ChannelSettings{
		Timeouts: everyTimeout(), Attempts: 3, Limits: realm.Limits{Concurrent: 1, RequestsPerMinute: 2, TokensPerMinute: 3},
		Proxy: realm.Secret("http://u:test-" + "word@proxy.example:3128"), CAFile: "/etc/ssl/ours.pem", Probe: time.Minute,
		OnDisconnect: realm.DisconnectDrain, ServiceTier: realm.ServiceTier{Drop: true, Only: []string{"flex"}},
		Store: realm.StoreFalse, SafetyIdentifier: realm.SafetyHMAC,
		SetHeaders: map[string]realm.Secret{"X-A": realm.Secret("test-" + "header"), "X-B": "b"}, DeleteHeaders: []string{"X-C"},
		BodyEdits: []realm.BodyEdit{
			{Op: realm.BodySet, Path: "a.b", Value: []byte(`{"<&>":[1,18446744073709551616,"\u2028 界"]}`), Models: []string{"gpt-*"}},
			{Op: realm.BodySet, Path: "n", Value: []byte("null")},
			{Op: realm.BodyDelete, Path: "c"},
			{Op: realm.BodyRename, Path: "d", To: "e"},
		},
		StatusMap: map[int]int{400: 503, 403: 429},
	}
}

// populated adds one of everything and returns what was added.
type populated struct {
	group      realm.Group
	model      realm.Model
	channel    realm.Channel
	endpoint   realm.Endpoint
	credential realm.Credential
	user       realm.User
	token      realm.Token
}

func populate(t testing.TB, s *store.Store) *populated {
	t.Helper()
	p := &populated{
		group: realm.Group{Name: "vip", Multiplier: 1_500_000},
		model: realm.Model{
			Name: "gpt-5.5", OwnedBy: "openai", Enabled: true, MaxOutputTokens: 128_000,
			Price:  &realm.Price{Input: dollars(t, "1.25"), CachedInput: dollars(t, "0.125"), Output: dollars(t, "10")},
			Compat: []string{"no_sampling"},
		},
		channel: realm.Channel{
			Name: "openai-main", Type: realm.OpenAICompatible, Enabled: true, Priority: -3, Weight: 7, APIs: realm.AllAPIs,
			Bindings: []realm.Binding{{Model: "zeta", Upstream: "z"}, {Model: "alpha", Upstream: "a", Timeouts: everyTimeout()}, {Model: "*", Upstream: "*"}},
			Settings: everySetting(),
		},
		endpoint: realm.Endpoint{BaseURL: "https://api.example.com/v1", Position: 2},
		credential: realm.Credential{
			Name: "main", APIKey: realm.Secret("test-" + "key"), Enabled: true, Priority: 1, Weight: 2,
			Limits: realm.Limits{Concurrent: 4, RequestsPerMinute: 60, TokensPerMinute: 5_000_000_000},
			State:  realm.CredentialDisabled, StateReason: "401 from the upstream", StateSince: at,
		},
		user: realm.User{Name: "owner", Role: realm.RoleRoot, Enabled: true},
		token: realm.Token{
			Name: "laptop", Hash: realm.TokenHash{1, 2, 255}, Hint: "rlm_abcd", Models: []string{"gpt-5.5"},
			Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}, ExpiresAt: at.Add(time.Hour), CreatedAt: at,
		},
	}
	write(t, s, func(r store.Repos) error {
		c := *p
		return add(t, r, &c, p)
	})
	return p
}

// add inserts c and, when all went well, keeps it in p.
func add(t testing.TB, r store.Repos, c, p *populated) error {
	ctx := t.Context()
	if err := r.Groups.Insert(ctx, &c.group); err != nil {
		return err
	}
	if err := r.Models.Insert(ctx, &c.model); err != nil {
		return err
	}
	c.channel.Groups = []realm.ID{1, c.group.ID}
	if err := r.Channels.Insert(ctx, &c.channel); err != nil {
		return err
	}
	c.endpoint.ChannelID = c.channel.ID
	if err := r.Endpoints.Insert(ctx, &c.endpoint); err != nil {
		return err
	}
	c.credential.EndpointID = c.endpoint.ID
	if err := r.Credentials.Insert(ctx, &c.credential); err != nil {
		return err
	}
	c.user.Groups = []realm.ID{c.group.ID, 1}
	if err := r.Users.Insert(ctx, &c.user); err != nil {
		return err
	}
	c.token.UserID, c.token.Groups = c.user.ID, []realm.ID{1, c.group.ID}
	if err := r.Tokens.Insert(ctx, &c.token); err != nil {
		return err
	}
	*p = *c
	return nil
}
