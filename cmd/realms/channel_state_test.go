package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/server"
)

// at is a time of the day that the tests below happen in, on this machine's clock.
func at(hour, minute, second int) time.Time {
	return time.Date(2026, 11, 22, hour, minute, second, 0, time.Local)
}

// troubled is an installation with every kind of trouble.
func troubled() *server.Channels {
	day, hour := server.Share{Attempts: 210, Succeeded: 206, FirstByteMS: 420}, server.Share{Attempts: 2310, Succeeded: 2310, FirstByteMS: 1234}
	return &server.Channels{At: at(12, 2, 28), Live: true, Channels: []server.ChannelState{
		{Name: "azure", Enabled: true, InFlight: 12, Endpoints: []server.EndpointState{
			{BaseURL: "https://eu.example.com/openai/v1", InFlight: 12, Credentials: []server.CredentialState{
				{Name: "main", Enabled: true, State: realm.CredentialOK, InFlight: 12, Last5: day, Last60: hour},
			}},
			{
				BaseURL: "https://us.example.com/openai/v1",
				Marks:   []server.Mark{{Kind: server.MarkOpen, Cause: realm.CauseConnect, Until: at(12, 2, 36)}},
				Credentials: []server.CredentialState{
					{Name: "main", Enabled: true, State: realm.CredentialOK, Last60: server.Share{Attempts: 17}},
				},
			},
		}},
		{Name: "openai", Enabled: true, InFlight: 3, Marks: []server.Mark{
			{Kind: server.MarkTold, For: "chat", Cause: realm.CauseAPIMissing},
		}, Endpoints: []server.EndpointState{
			{BaseURL: "https://api.openai.com/v1", Marks: []server.Mark{{Kind: server.MarkHalfOpen, For: "gpt-5.5", Cause: realm.CauseServerError}}, Credentials: []server.CredentialState{
				{Name: "alice", Enabled: true, State: realm.CredentialOK, InFlight: 3, Last5: day, Last60: hour, Marks: []server.Mark{
					{Kind: server.MarkRecovering, Cause: realm.CauseServerError, Until: at(12, 3, 28)},
					{Kind: server.MarkTold, For: "gpt-5.5", Cause: realm.CauseRateLimited, Until: at(12, 3, 10)},
					{Kind: server.MarkTold, For: "gpt-4.1", Cause: realm.CauseForbidden, Until: at(12, 12, 28).AddDate(0, 0, 6)},
				}},
				{Name: "bob", Enabled: true, State: realm.CredentialDisabled, Since: at(1, 12, 3), Reason: "401 invalid_api_key: Incorrect API key provided, see the dashboard"},
				{Name: "carol", State: realm.CredentialOK},
			}},
		}},
		{Name: "spare", Enabled: true, Endpoints: []server.EndpointState{
			{BaseURL: "https://spare.example.com/v1", Credentials: []server.CredentialState{
				{Name: "main", Enabled: true, State: realm.CredentialOK, Marks: []server.Mark{{Kind: server.MarkTold, Cause: realm.CauseQuota, Until: at(12, 22, 28)}}},
			}},
		}},
		{Name: "test", Endpoints: []server.EndpointState{}},
	}}
}

func TestLiveTable(t *testing.T) {
	want := []string{
		"CHANNEL    IN FLIGHT  LAST 5 MIN          LAST 60 MIN           STATE",
		"azure      12                                                   ok",
		"  https://eu.example.com/openai/v1",
		"    main   12         98% of 210, 420 ms  100% of 2310, 1.23 s  ok",
		"  https://us.example.com/openai/v1                              open until 12:02:36 (connect, 8 s)",
		"    main   0          –                   0% of 17              ok",
		"openai     3                                                    told for chat until mended (api_missing)",
		"  https://api.openai.com/v1                                     half-open for gpt-5.5 (server_error)",
		"    alice  3          98% of 210, 420 ms  100% of 2310, 1.23 s  told for gpt-4.1 until 2026-11-28 12:12 (forbidden, 6 days)",
		"                                                                told for gpt-5.5 until 12:03:10 (rate_limited, 42 s)",
		"                                                                recovering until 12:03:28 (server_error, 60 s)",
		"    bob    0          –                   –                     out of use since 01:12:03 (401 invalid_api_key: Incorr…)",
		"    carol  0          –                   –                     disabled",
		"spare      0                                                    NOT USABLE: none of its credentials may be asked now",
		"  https://spare.example.com/v1",
		"    main   0          –                   –                     told until 12:22:28 (quota, 20 min)",
		"test       0                                                    disabled",
	}
	if d := cmp.Diff(want, liveTable(troubled(), false)); d != "" {
		t.Error(d)
	}
}

// A long address keeps its distance from what is said of it.
func TestLongAddress(t *testing.T) {
	all := &server.Channels{At: at(1, 0, 0), Channels: []server.ChannelState{{Name: "a", Enabled: true, Endpoints: []server.EndpointState{{
		BaseURL: "https://" + strings.Repeat("long.", 12) + "example.com/v1",
		Marks:   []server.Mark{{Kind: server.MarkOpen, Cause: realm.CauseTimeout, Until: at(1, 0, 9)}},
	}}}}}
	if line := liveTable(all, false)[2]; !strings.HasSuffix(line, "example.com/v1  open until 01:00:09 (timeout, 9 s)") {
		t.Error(line)
	}
}

func TestAdvice(t *testing.T) {
	again := func(args string) string { return "realms " + args }
	want := []string{
		"",
		"bob of openai is out of use since 2026-11-22 01:12:03: 401 invalid_api_key: Incorrect API key provided, see the dashboard",
		"  A new api_key puts it back (`realms apply -f FILE`), or with the key as it is:",
		"  realms channel mend openai bob",
		"",
		"What has a time ends then by itself; to end it now: realms channel mend NAME",
	}
	if d := cmp.Diff(want, advice(troubled(), again)); d != "" {
		t.Error(d)
	}
	one := &server.Channels{Channels: troubled().Channels[2:]}
	want = []string{"", "What has a time ends then by itself; to end it now: realms channel mend spare"}
	if d := cmp.Diff(want, advice(one, again)); d != "" {
		t.Error(d)
	}
	well := &server.Channels{Channels: server.StoredChannels([]*realm.Channel{{Name: "a", Enabled: true}})}
	if lines := advice(well, again); lines != nil {
		t.Errorf("advice where nothing is wrong: %q", lines)
	}
}

// Two marks that say the same are said once.
func TestMarksAreSaidOnce(t *testing.T) {
	m := server.Mark{Kind: server.MarkRecovering, Cause: realm.CauseQuota, Until: at(1, 0, 30)}
	got := (&stateTable{now: at(1, 0, 0)}).marks([]server.Mark{m, {Kind: server.MarkOpen}, m})
	if d := cmp.Diff([]string{"open", "recovering until 01:00:30 (quota, 30 s)"}, got); d != "" {
		t.Error(d)
	}
}

func TestUsable(t *testing.T) {
	told := []server.Mark{{Kind: server.MarkTold}}
	one := func(change func(ch *server.ChannelState, ep *server.EndpointState, cr *server.CredentialState)) *server.ChannelState {
		ch := &server.ChannelState{Enabled: true, Endpoints: []server.EndpointState{{Credentials: []server.CredentialState{
			{Enabled: true, State: realm.CredentialOK},
		}}}}
		change(ch, &ch.Endpoints[0], &ch.Endpoints[0].Credentials[0])
		return ch
	}
	type (
		chs = server.ChannelState
		eps = server.EndpointState
		crs = server.CredentialState
	)
	for name, tc := range map[string]struct {
		change             func(*chs, *eps, *crs)
		usable, marked, up bool // up: nothing waits to be mended
	}{
		"well":                  {func(*chs, *eps, *crs) {}, true, false, true},
		"disabled":              {func(ch *chs, _ *eps, _ *crs) { ch.Enabled = false }, false, false, true},
		"no endpoint":           {func(ch *chs, _ *eps, _ *crs) { ch.Endpoints = nil }, false, false, true},
		"channel told":          {func(ch *chs, _ *eps, _ *crs) { ch.Marks = told }, false, true, true},
		"endpoint told":         {func(_ *chs, ep *eps, _ *crs) { ep.Marks = told }, false, true, true},
		"credential told":       {func(_ *chs, _ *eps, cr *crs) { cr.Marks = told }, false, true, true},
		"told for a model":      {func(_ *chs, _ *eps, cr *crs) { cr.Marks = []server.Mark{{Kind: server.MarkTold, For: "m"}} }, true, true, true},
		"endpoint open":         {func(_ *chs, ep *eps, _ *crs) { ep.Marks = []server.Mark{{Kind: server.MarkOpen}} }, true, true, true},
		"recovering":            {func(_ *chs, ep *eps, _ *crs) { ep.Marks = []server.Mark{{Kind: server.MarkRecovering}} }, true, false, true},
		"credential disabled":   {func(_ *chs, _ *eps, cr *crs) { cr.Enabled = false }, false, false, true},
		"credential out of use": {func(_ *chs, _ *eps, cr *crs) { cr.State = realm.CredentialDisabled }, false, false, false},
	} {
		ch := one(tc.change)
		if usable(ch) != tc.usable || marked(ch) != tc.marked || outOfUse(ch) == tc.up {
			t.Errorf("%s: usable %v, marked %v, out of use %v", name, usable(ch), marked(ch), outOfUse(ch))
		}
	}
}

func TestSpans(t *testing.T) {
	for d, want := range map[time.Duration][2]string{
		0: {"0 ms", "0 s"}, 20 * time.Millisecond: {"20 ms", "1 s"}, 1234 * time.Millisecond: {"1.23 s", "2 s"},
		41100 * time.Millisecond: {"41 s", "42 s"}, 10 * time.Minute: {"10 min", "10 min"}, 5 * time.Hour: {"5 h", "5 h"},
		7 * 24 * time.Hour: {"7 days", "7 days"},
	} {
		if got := [2]string{span(d), left(d)}; got != want {
			t.Errorf("%s: %q, want %q", d, got, want)
		}
	}
	for _, tc := range []struct {
		part, whole int
		want        string
	}{{0, 3, "0%"}, {1, 3, "33.3%"}, {2309, 2310, "99.9%"}, {99999, 100000, "99.9%"}, {5, 5, "100%"}} {
		if got := percent(tc.part, tc.whole); got != tc.want {
			t.Errorf("%d of %d: %s, want %s", tc.part, tc.whole, got, tc.want)
		}
	}
}
