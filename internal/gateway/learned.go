package gateway

import (
	"sync/atomic"

	"realms/internal/realm"
)

// learned remembers, for one version of the catalogue, which channels refused a
// field that the relay adds on its own account (stream_options). A change of the
// catalogue forgets it, since the channel may have changed with it.
type learned struct {
	now atomic.Pointer[lesson]
}

type lesson struct {
	version int64
	refuses map[realm.ID]string // channel → the field
}

// refuses tells whether the channel is known to refuse the field.
func (l *learned) refuses(snap *realm.Snapshot, channel realm.ID, field string) bool {
	known := l.now.Load()
	return known != nil && known.version == snap.Version && known.refuses[channel] == field
}

// learn remembers that the channel refused the field.
func (l *learned) learn(snap *realm.Snapshot, channel realm.ID, field string) {
	for {
		old := l.now.Load()
		next := &lesson{version: snap.Version, refuses: map[realm.ID]string{channel: field}}
		if old != nil && old.version == snap.Version {
			for ch, f := range old.refuses {
				next.refuses[ch] = f
			}
			next.refuses[channel] = field
		}
		if l.now.CompareAndSwap(old, next) {
			return
		}
	}
}
