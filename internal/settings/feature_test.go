package settings

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestComputeEveryKeyInBothForms(t *testing.T) {
	for _, selfMode := range []bool{false, true} {
		for _, off := range Features() {
			s := compute(selfMode, func(f Feature) bool { return f == off })
			for _, f := range Features() {
				forced := selfMode && (f == Billing || f == Tickets)
				if got, want := s.Enabled(f), f != off && !forced; got != want {
					t.Errorf("self mode %v, %s off: %s enabled is %v, want %v", selfMode, off, f, got, want)
				}
				if got := s.ForcedOff(f); got != forced {
					t.Errorf("self mode %v: %s forced off is %v", selfMode, f, got)
				}
			}
			if s.SelfMode != selfMode {
				t.Errorf("self mode is %v", s.SelfMode)
			}
		}
	}
}

func TestNoSettingLiftsWhatTheFormForcesOff(t *testing.T) {
	s := compute(true, func(Feature) bool { return false })
	if s.Enabled(Billing) || s.Enabled(Tickets) {
		t.Error("self mode runs billing or tickets")
	}
	if s.Enabled("something") {
		t.Error("a feature that does not exist is on")
	}
}

func TestFeatureNames(t *testing.T) {
	want := []Feature{
		"web_announcements", "web_tokens", "web_usage", "models", "billing", "tickets", "admin_channels",
		"admin_channel_groups", "admin_users", "admin_usage", "admin_announcements",
	}
	if d := cmp.Diff(want, Features()); d != "" {
		t.Error(d)
	}
	if got := Billing.Setting(); got != "feature_disable_billing" {
		t.Errorf("got %s", got)
	}
	Features()[0] = "changed"
	if Features()[0] != WebAnnouncements {
		t.Error("a caller can change the list")
	}
}

func TestCheck(t *testing.T) {
	for value, want := range map[string]string{"true": "true", "false": "false", " TRUE\n": "true", "0": "false"} {
		if got, err := check("feature_disable_models", value); err != nil || got != want {
			t.Errorf("%q: got %q, %v", value, got, err)
		}
	}
	for name, value := range map[string]string{
		"feature_disable_models":  "yes",
		"feature_disable_":        "true",
		"feature_disable_nothing": "true",
		"models":                  "true",
		"":                        "true",
	} {
		if got, err := check(name, value); err == nil {
			t.Errorf("%s = %s was taken as %q", name, value, got)
		}
	}
}
