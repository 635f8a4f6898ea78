package settings

import "slices"

// Feature is a part of Realms that can be switched off.
type Feature string

// The features.
const (
	WebAnnouncements   Feature = "web_announcements"
	WebTokens          Feature = "web_tokens"
	WebUsage           Feature = "web_usage"
	Models             Feature = "models"  // off: the model catalogue is not enforced, names pass through
	Billing            Feature = "billing" // off: usage and cost are recorded, nothing is charged or refused
	Tickets            Feature = "tickets"
	AdminChannels      Feature = "admin_channels"
	AdminChannelGroups Feature = "admin_channel_groups"
	AdminUsers         Feature = "admin_users"
	AdminUsage         Feature = "admin_usage"
	AdminAnnouncements Feature = "admin_announcements"
)

// features has every one; its order is the order of the bits in FeatureState.
var features = [...]Feature{
	WebAnnouncements, WebTokens, WebUsage, Models, Billing, Tickets,
	AdminChannels, AdminChannelGroups, AdminUsers, AdminUsage, AdminAnnouncements,
}

// selfModeOff has no place where one person serves himself.
var selfModeOff = [...]Feature{Billing, Tickets}

// Features lists every feature.
func Features() []Feature { return slices.Clone(features[:]) }

// Setting is the name of the setting that switches the feature off.
func (f Feature) Setting() string { return settingPrefix + string(f) }

const settingPrefix = "feature_disable_"

// FeatureState is what is on and off at one moment. It is a value; the zero one
// has everything off.
type FeatureState struct {
	SelfMode      bool
	on            uint16
	forced        uint16
	codexAccepted bool
}

// CodexAccepted tells whether the operator has taken on what it means to relay with
// ChatGPT accounts of their own. Without it nothing is done with any of them.
func (s FeatureState) CodexAccepted() bool { return s.codexAccepted }

// Enabled tells whether a feature is on. One that does not exist is off.
func (s FeatureState) Enabled(f Feature) bool { return s.on&bit(f) != 0 }

// ForcedOff tells whether the form alone keeps a feature off, so that no setting
// can switch it on.
func (s FeatureState) ForcedOff(f Feature) bool { return s.forced&bit(f) != 0 }

func bit(f Feature) uint16 {
	i := slices.Index(features[:], f)
	if i < 0 {
		return 0
	}
	return 1 << i
}

// compute is the one place where the form and the settings meet.
func compute(selfMode bool, disabled func(Feature) bool) FeatureState {
	s := FeatureState{SelfMode: selfMode}
	if selfMode {
		for _, f := range selfModeOff {
			s.forced |= bit(f)
		}
	}
	for _, f := range features {
		if !s.ForcedOff(f) && !disabled(f) {
			s.on |= bit(f)
		}
	}
	return s
}
