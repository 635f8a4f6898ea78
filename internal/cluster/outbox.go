package cluster

import (
	"maps"
	"sync"
	"time"

	"realms/internal/realm"
)

// How much may wait to be written: what a busy process says in about a second, and
// some megabytes while Redis is away.
const (
	maxTells = 4096
	maxBinds = 16384
)

// topic is what a cool-down is about.
type topic struct {
	scope realm.Scope
	id    realm.ID
	name  string
}

func topicOf(d *realm.Cooldown) topic { return topic{d.Scope, d.ID, d.Name} }

// binding is a credential, and until when it holds by this process's clock.
type binding struct {
	credential realm.ID
	until      time.Time
	moved      bool
}

// outbox is what waits to be written: the last word about each thing. When it is
// full, what is new is dropped; what is known already is always replaced.
type outbox struct {
	mu       sync.Mutex
	tells    map[topic]realm.Cooldown
	binds    map[realm.RouteKey]binding
	notice   bool
	metrics  metrics
	now      chan struct{} // something that others should know at once
	sometime chan struct{} // bindings, which may gather
}

// batch is what was taken out to be written.
type batch struct {
	tells  map[topic]realm.Cooldown
	binds  map[realm.RouteKey]binding
	notice bool
}

func newOutbox(m metrics) outbox {
	return outbox{
		tells: map[topic]realm.Cooldown{}, binds: map[realm.RouteKey]binding{}, metrics: m,
		now: make(chan struct{}, 1), sometime: make(chan struct{}, 1),
	}
}

func (o *outbox) tell(d realm.Cooldown) {
	o.mu.Lock()
	dropped := !put(o.tells, topicOf(&d), d, maxTells)
	o.mu.Unlock()
	if dropped {
		o.metrics.dropped.WithLabelValues(droppedCooldown).Inc()
	}
	wake(o.now)
}

func (o *outbox) bind(key realm.RouteKey, b binding) {
	o.mu.Lock()
	if old, ok := o.binds[key]; ok && old.credential == b.credential {
		b.moved = b.moved || old.moved
	}
	dropped := !put(o.binds, key, b, maxBinds)
	o.mu.Unlock()
	if dropped {
		o.metrics.dropped.WithLabelValues(droppedBinding).Inc()
	}
	wake(o.sometime)
}

func (o *outbox) announce() {
	o.mu.Lock()
	o.notice = true
	o.mu.Unlock()
	wake(o.now)
}

// take empties the outbox.
func (o *outbox) take() batch {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := batch{notice: o.notice}
	o.notice = false
	if len(o.tells) > 0 {
		b.tells, o.tells = o.tells, map[topic]realm.Cooldown{}
	}
	if len(o.binds) > 0 {
		b.binds, o.binds = o.binds, map[realm.RouteKey]binding{}
	}
	return b
}

// giveBack keeps what could not be written, unless there is a newer word. The
// batch is the outbox's from then on: what came since is the smaller part, and
// callers of Tell wait for this.
func (o *outbox) giveBack(b batch) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.notice = o.notice || b.notice
	var tells, binds int
	if len(b.tells) > 0 {
		o.tells, tells = join(b.tells, o.tells, maxTells)
	}
	if len(b.binds) > 0 {
		o.binds, binds = join(b.binds, o.binds, maxBinds)
	}
	o.metrics.dropped.WithLabelValues(droppedCooldown).Add(float64(tells))
	o.metrics.dropped.WithLabelValues(droppedBinding).Add(float64(binds))
}

// prune forgets what is over, so that it does not crowd out what is new while
// Redis is away.
func (o *outbox) prune(now time.Time) {
	o.mu.Lock()
	crowded := len(o.tells) > maxTells/2 || len(o.binds) > maxBinds/2
	o.mu.Unlock()
	if crowded {
		b := o.take()
		b.prune(now)
		o.giveBack(b)
	}
}

func (b *batch) prune(now time.Time) {
	maps.DeleteFunc(b.tells, func(_ topic, d realm.Cooldown) bool { return !d.Until.IsZero() && !d.Until.After(now) })
	maps.DeleteFunc(b.binds, func(_ realm.RouteKey, n binding) bool { return !n.until.After(now) })
}

func (b *batch) empty() bool { return len(b.tells) == 0 && len(b.binds) == 0 && !b.notice }

// wake never blocks: one that is already waiting is enough.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// put tells whether there was room.
func put[K comparable, V any](m map[K]V, key K, value V, most int) bool {
	if _, known := m[key]; !known && len(m) >= most {
		return false
	}
	m[key] = value
	return true
}

// join puts the newer map over the older one, and counts what found no room.
func join[K comparable, V any](older, newer map[K]V, most int) (joined map[K]V, dropped int) {
	for key, value := range newer {
		if !put(older, key, value, most) {
			dropped++
		}
	}
	return older, dropped
}
