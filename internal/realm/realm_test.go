package realm

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestIDsSortByTimeAndKeepIt(t *testing.T) {
	now := Epoch.Add(300 * 24 * time.Hour).Add(123 * time.Millisecond)
	var last ID
	for i := range 1000 {
		at := now.Add(time.Duration(i) * time.Millisecond)
		id := NewID(at)
		if id <= last {
			t.Fatalf("id %d of a later millisecond is not greater than %d", id, last)
		}
		if !id.Time().Equal(at) {
			t.Fatalf("time %s, want %s", id.Time(), at)
		}
		last = id
	}
	end := Epoch.Add((1<<41 - 1) * time.Millisecond)
	if id := NewID(end); id <= 0 || !id.Time().Equal(end) {
		t.Errorf("the last id %d does not fit a signed BIGINT", id)
	}
}

func TestIDsAreStringsInJSON(t *testing.T) {
	in := map[ID]ID{math.MaxInt64: 9007199254740993}
	text, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"9223372036854775807":"9007199254740993"}`; string(text) != want {
		t.Errorf("JSON %s, want %s", text, want)
	}
	var out map[ID]ID
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(in, out); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for _, bad := range []string{`"x"`, `"-1"`, `"0"`, `""`, `"9223372036854775808"`} {
		var id ID
		if json.Unmarshal([]byte(bad), &id) == nil {
			t.Errorf("%s was read as id %d", bad, id)
		}
	}
}

func TestRequestIDs(t *testing.T) {
	at := time.UnixMilli(1469922850259)
	id := NewRequestID(at, 0x4a30, 0x1122334455667788)
	if !strings.HasPrefix(id.String(), "01ARZ3NDEK") { // the ULID specification's own example of a time is 01ARZ3NDEK for 1469922850259
		t.Errorf("text %s does not begin with the time", id)
	}
	if !id.Time().Equal(at) {
		t.Errorf("time %s, want %s", id.Time(), at)
	}
	for _, text := range []string{id.String(), strings.ToLower(id.String())} {
		back, err := ParseRequestID(text)
		if err != nil || back != id {
			t.Errorf("%s was read as %s, %v", text, back, err)
		}
	}
	for _, bad := range []string{"", "x", strings.Repeat("U", 26), "8" + strings.Repeat("0", 25), id.String() + "0"} {
		if got, err := ParseRequestID(bad); err == nil {
			t.Errorf("%q was read as %s", bad, got)
		}
	}
	if a, b := NewRequestID(at, 1, 2), NewRequestID(at.Add(time.Millisecond), 0, 0); a.String() >= b.String() {
		t.Errorf("%s of an earlier millisecond does not sort before %s", a, b)
	}
}

func TestMoneyIsExact(t *testing.T) {
	for text, want := range map[string]Money{
		"0": 0, "1.25": 1_250_000_000, "0.125": 125_000_000, "10": 10_000_000_000, ".5": 500_000_000, "3.": 3_000_000_000,
		"0.000000001": 1, "9223372036.854775807": math.MaxInt64,
	} {
		got, err := ParseMoney(text)
		if err != nil || got != want {
			t.Errorf("%q is %d, %v; want %d", text, got, err, want)
		}
		if back, err := ParseMoney(got.String()); err != nil || back != got {
			t.Errorf("%q prints as %q, which reads as %d, %v", text, got, back, err)
		}
	}
	for _, bad := range []string{"", ".", "-1", "+1", "1e3", "0.0000000001", "9223372036.854775808", "1,5", " 1", "NaN", "0x1"} {
		if got, err := ParseMoney(bad); err == nil {
			t.Errorf("%q was read as %d", bad, got)
		}
	}
	if got := Money(math.MinInt64 + 1).String(); got != "-9223372036.854775807" {
		t.Errorf("the least amount prints as %s", got)
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	text := strings.Repeat("hush", 3)
	s := Secret(text)
	out, err := json.Marshal(map[string]any{"a": s, "b": struct{ S Secret }{s}})
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("message", "secret", s, "group", struct{ S Secret }{s})
	for _, printed := range []string{fmt.Sprintf("%s %v %+v %#v %q", s, s, s, s, s), string(out), log.String()} {
		if strings.Contains(printed, text) {
			t.Errorf("the secret shows in %s", printed)
		}
	}
	if s.Reveal() != text {
		t.Error("Reveal does not give the text")
	}
}

func TestAPIs(t *testing.T) {
	all, err := ParseAPIs(nil)
	if err != nil || all != AllAPIs || len(all.Names()) != 10 {
		t.Errorf("no names give %v, %v; want all ten", all, err)
	}
	some, err := ParseAPIs([]string{"chat", "responses"})
	if err != nil || !some.Has(APIChat) || !some.Has(APIResponses) || some.Has(APIImages) {
		t.Errorf("two names give %v, %v", some, err)
	}
	if _, err := ParseAPIs([]string{"chats"}); err == nil {
		t.Error("an unknown name was taken")
	}
}

func TestRoutes(t *testing.T) {
	const groupA, groupB ID = 1, 2
	usable := func() []*Endpoint {
		return []*Endpoint{{Credentials: []*Credential{{ID: NewID(time.Now()), Enabled: true, State: CredentialOK}}}}
	}
	snap := NewSnapshot(1, []*Group{{ID: groupA}, {ID: groupB}},
		[]*Model{{Name: "exact", Enabled: true}, {Name: "off"}, {Name: "listed", Enabled: true}},
		[]*Channel{
			{Name: "x", Enabled: true, Priority: 5, Groups: []ID{groupA}, Bindings: []Binding{{Model: "exact", Upstream: "theirs"}, {Model: "off", Upstream: "off"}}, Endpoints: usable()},
			{Name: "any", Enabled: true, Priority: 1, Groups: []ID{groupA}, Bindings: []Binding{{Model: AnyModel, Upstream: AnyModel}}, Endpoints: usable()},
			{Name: "b", Enabled: true, Groups: []ID{groupB}, Bindings: []Binding{{Model: "other", Upstream: "other"}}, Endpoints: usable()},
			{Name: "disabled", Groups: []ID{groupB}, Bindings: []Binding{{Model: AnyModel, Upstream: AnyModel}}, Endpoints: usable()},
		})
	show := func(r *Route, name string) string {
		if r == nil {
			return "none"
		}
		var parts []string
		for _, tier := range r.Tiers {
			for _, c := range tier.Candidates {
				parts = append(parts, fmt.Sprintf("%d:%s=%s", tier.Priority, c.Channel.Name, c.Upstream(name)))
			}
		}
		return strings.Join(parts, " ")
	}
	for _, tt := range []struct {
		group ID
		model string
		open  bool
		want  string
	}{
		{groupA, "exact", false, "5:x=theirs 1:any=exact"},
		{groupA, "unheard", false, "1:any=unheard"},
		{groupA, "other", false, "1:any=other"},
		{groupB, "other", false, "0:b=other"},
		{groupB, "unheard", false, "none"},
		{groupB, "unheard", true, "0:b=unheard"},
	} {
		if got := show(snap.Route(tt.group, tt.model, tt.open), tt.model); got != tt.want {
			t.Errorf("group %d, model %s, open %v: %s, want %s", tt.group, tt.model, tt.open, got, tt.want)
		}
	}
	if diff := cmp.Diff([]string{"exact", "listed"}, snap.Offered([]ID{groupA}, false)); diff != "" {
		t.Errorf("offered to group A (-want +got):\n%s", diff)
	}
	if got := snap.Offered([]ID{groupB}, false); got != nil {
		t.Errorf("offered to group B: %v", got)
	}
}

func TestPatternRoutes(t *testing.T) {
	const group ID = 1
	snap := NewSnapshot(1, []*Group{{ID: group}}, nil, []*Channel{
		{Name: "exact", Enabled: true, Groups: []ID{group}, Bindings: []Binding{{Model: "my-one", Upstream: "one"}}},
		{Name: "mine", Enabled: true, Groups: []ID{group}, Bindings: []Binding{{Model: "my-*", Upstream: "*"}, {Model: "my-own-*", Upstream: "org/*-v2"}}},
		{Name: "wide", Enabled: true, Groups: []ID{group}, Bindings: []Binding{{Model: "m*", Upstream: "m*"}, {Model: "my-two", Upstream: "second"}}},
	})
	for model, want := range map[string]string{
		"my-one":     "exact=one mine=one wide=my-one",
		"my-two":     "mine=two wide=second",
		"my-three":   "mine=three wide=my-three",
		"my-own-one": "mine=org/one-v2 wide=my-own-one",
		"mine":       "wide=mine",
		"yours":      "",
	} {
		var got []string
		if r := snap.Route(group, model, false); r != nil {
			for _, c := range r.Tiers[0].Candidates {
				got = append(got, c.Channel.Name+"="+c.Upstream(model))
			}
		}
		if diff := cmp.Diff(want, strings.Join(got, " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", model, diff)
		}
	}
}

func TestOfferedLeavesOutTheOperatorsAccounts(t *testing.T) {
	key := &Credential{ID: 5, Enabled: true, State: CredentialOK}
	channel := func(name string, kind ChannelType, model string) *Channel {
		return &Channel{
			Name: name, Type: kind, Enabled: true, APIs: AllAPIs, Groups: []ID{1},
			Bindings:  []Binding{{Model: model}, {Model: "both"}},
			Endpoints: []*Endpoint{{Credentials: []*Credential{key}}},
		}
	}
	snap := NewSnapshot(1, nil,
		[]*Model{{Name: "own", Enabled: true}, {Name: "keys", Enabled: true}, {Name: "both", Enabled: true}},
		[]*Channel{channel("a", CodexOAuth, "own"), channel("b", OpenAICompatible, "keys")})
	for accounts, want := range map[bool][]string{false: {"both", "keys"}, true: {"both", "keys", "own"}} {
		if diff := cmp.Diff(want, snap.Offered([]ID{1}, accounts)); diff != "" {
			t.Errorf("accounts %v (-want +got):\n%s", accounts, diff)
		}
	}
}

func TestLimitsOf(t *testing.T) {
	account, keys := &Channel{Type: CodexOAuth}, &Channel{Type: OpenAICompatible}
	few := &Credential{Limits: Limits{Concurrent: 2, RequestsPerMinute: 7}}
	for _, tt := range []struct {
		ch   *Channel
		cr   *Credential
		want Limits
	}{
		{keys, &Credential{}, Limits{}},
		{keys, few, few.Limits},
		{account, few, few.Limits},
		{account, &Credential{Limits: Limits{RequestsPerMinute: 7}}, Limits{Concurrent: CodexConcurrent, RequestsPerMinute: 7}},
	} {
		if got := tt.ch.LimitsOf(tt.cr); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.ch.Type, got, tt.want)
		}
	}
	if account.KeepsState() || !keys.KeepsState() {
		t.Error("accounts keep no answers, others do")
	}
}
