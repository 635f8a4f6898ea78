package openai

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func TestReadRateLimits(t *testing.T) {
	const five, week = 5 * time.Hour, 7 * 24 * time.Hour
	for name, tc := range map[string]struct {
		data string
		plan string
		want []realm.CodexWindow
	}{
		"as it is": {
			`{"type":"codex.rate_limits","plan_type":"plus","rate_limits":{"allowed":true,"limit_reached":false,"primary":{"used_percent":42,"window_minutes":300,"reset_at":1777936568},"secondary":{"used_percent":5.5,"window_minutes":10080,"reset_at":1778036568}},"credits":null}`, "plus",
			[]realm.CodexWindow{{Length: five, UsedPercent: 42, ResetsAt: time.Unix(1777936568, 0)}, {Length: week, UsedPercent: 5.5, ResetsAt: time.Unix(1778036568, 0)}},
		},
		"one window":           {`{"type":"codex.rate_limits","plan_type":null,"rate_limits":{"primary":{"used_percent":100,"window_minutes":300},"secondary":null}}`, "", []realm.CodexWindow{{Length: five, UsedPercent: 100}}},
		"the account's own":    {`{"type":"codex.rate_limits","metered_limit_name":"codex","limit_name":"x","rate_limits":{"primary":{"used_percent":1,"window_minutes":300}}}`, "", []realm.CodexWindow{{Length: five, UsedPercent: 1}}},
		"another family":       {`{"type":"codex.rate_limits","metered_limit_name":"codex_bengalfox","rate_limits":{"primary":{"used_percent":1,"window_minutes":300}}}`, "", []realm.CodexWindow{{Length: five, Limit: "codex_bengalfox", UsedPercent: 1}}},
		"its shown name":       {`{"type":"codex.rate_limits","limit_id":"codex_bengalfox","limit_name":"GPT-X Spark","rate_limits":{"primary":{"used_percent":1,"window_minutes":300}}}`, "", []realm.CodexWindow{{Length: five, Limit: "GPT-X Spark", UsedPercent: 1}}},
		"no windows":           {`{"type":"codex.rate_limits","plan_type":"plus","rate_limits":null}`, "plus", nil},
		"no length":            {`{"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":50}}}`, "", nil},
		"hostile numbers":      {`{"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":1e400,"window_minutes":300},"secondary":{"used_percent":3,"window_minutes":1e18,"reset_at":-5}}}`, "", nil},
		"a reset that is none": {`{"type":"codex.rate_limits","rate_limits":{"primary":{"used_percent":3,"window_minutes":300,"reset_at":-5}}}`, "", []realm.CodexWindow{{Length: five, UsedPercent: 3}}},
		"another event":        {`{"type":"response.created","rate_limits":{"primary":{"used_percent":1}}}`, "", nil},
		"no object":            {`[]`, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, ok := ReadRateLimits([]byte(tc.data))
			if ok != (tc.want != nil) || got.Plan != tc.plan || !got.At.IsZero() {
				t.Errorf("%v, %+v", ok, got)
			}
			if diff := cmp.Diff(tc.want, got.Windows); diff != "" {
				t.Errorf("windows (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLimitName(t *testing.T) {
	for _, tc := range [][3]string{
		{"codex", "", ""}, {"Codex", "Codex", ""}, {"", "x", ""}, {"Codex-Bengalfox", "", "codex_bengalfox"}, {"codex_bengalfox", "GPT-X Spark\n", "GPT-X Spark"},
	} {
		if got := LimitName(tc[0], tc[1]); got != tc[2] {
			t.Errorf("LimitName(%q, %q) = %q", tc[0], tc[1], got)
		}
	}
}
