// Package settings owns what changes at run time without being declared: the
// typed settings of the store's table, and the one place where they and the
// configured form give the FeatureState.
//
// It never reads the configuration file itself, never gates anything (routes,
// the gate in front of them and the console ask State), and shows no secret: the
// one that the table holds, InstanceSecret, is no setting.
//
//	self_mode.enable ┐
//	feature_disable_*┴→ compute → State() (atomic, asked on every request)
//
// When the store is away the last known state stands; before the first Load it
// is what the configuration alone says.
package settings
