package cluster

import (
	"context"
	"crypto/rand"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"

	"realms/internal/realm"
)

const (
	// BoundTimeout is the longest that Bound takes, with a margin for the clock's
	// and the scheduler's grain: 60 ms is what a request may lose to Redis.
	BoundTimeout = 45 * time.Millisecond
	// BeatEvery is how often a process says what it has under way.
	BeatEvery = 250 * time.Millisecond
	// LoadKept is how long that is believed.
	LoadKept = 3 * time.Second
	// MaxCooldown is the longest that another process's word is believed. It is the
	// longest that an upstream's own is.
	MaxCooldown = 7 * 24 * time.Hour
	// MaxName is the longest name of a cool-down, in bytes.
	MaxName = 256
)

// State says how far what this process knows is shared.
type State string

// The states.
const (
	StateAlone     State = "alone"     // no Redis is configured
	StateConnected State = "connected" // shared
	StateAway      State = "away"      // Redis is configured and cannot be used: as if alone
)

// Options of New. The functions may be nil. They are called from Run's goroutines,
// several at a time, and hold these up while they last.
type Options struct {
	URL     string // redis://, rediss:// or unix://, as go-redis reads them; empty: alone
	Prefix  string // of every key and channel; empty: "realms"
	Process string // tells this process from all others; empty: made at random

	// Hear takes a cool-down of another process. It may come twice, and late.
	Hear func(realm.Cooldown)
	// Loads is what this process has under way, of what has limits.
	Loads func() map[realm.ID]realm.Load
	// Others takes the sum of what all other processes have under way, whole each
	// time; nil when Redis is away or nobody has anything.
	Others func(map[realm.ID]realm.Load)
	// Moved: another process has bound a session to another credential.
	Moved func(realm.RouteKey, realm.ID)
	// Changed: another process has changed the catalogue, or may have while Redis
	// was away.
	Changed func()

	Log      *slog.Logger
	Registry prometheus.Registerer // may be nil
}

// Cluster is one process's end. Its methods may be called at any time, before Run
// and after it too, from any goroutine and under any lock that the functions of
// Options do not take.
type Cluster struct {
	o       Options
	redis   *redis.Options // nil: alone
	metrics metrics
	out     outbox
	asking  chan struct{} // one for each Bound under way
	link    atomic.Pointer[link]
}

// New reads the options and connects to nothing. The error is a realm.Error about
// the URL, of which it shows nothing: a password may be in it.
func New(o Options) (*Cluster, error) {
	if o.Prefix == "" {
		o.Prefix = "realms"
	}
	if o.Process == "" {
		o.Process = rand.Text()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	c := &Cluster{o: o}
	if o.URL == "" {
		return c, nil
	}
	var err error
	if c.redis, err = redisOptions(o.URL); err != nil {
		return nil, err
	}
	if len(o.Process) > maxProcess {
		return nil, realm.Invalid("", "The name of this process is too long.")
	}
	c.metrics = newMetrics(o.Registry)
	c.out = newOutbox(c.metrics)
	c.asking = make(chan struct{}, maxAsking)
	// The library has one logger for all its clients, which prints each failed dial
	// to the standard error. What it says comes back as errors too, and those are
	// counted and logged here; no other package of ours uses it.
	redis.SetLogger(&logging.VoidLogger{})
	return c, nil
}

// State is for people and for metrics: nothing may hang on it.
func (c *Cluster) State() State {
	switch {
	case c.redis == nil:
		return StateAlone
	case c.link.Load() == nil:
		return StateAway
	default:
		return StateConnected
	}
}

// Tell says to the others that something must not be asked for a time, or may be
// again (Until zero). It never blocks. What cannot be said now is kept, the last
// word about each, and said when Redis is back, if it is still true.
func (c *Cluster) Tell(d realm.Cooldown) {
	if c.redis == nil {
		return
	}
	if !sayable(&d) {
		c.metrics.dropped.WithLabelValues(droppedCooldown).Inc()
		return
	}
	c.out.tell(d)
}

// Bind says that a session is bound to a credential for a time from now. moved: it
// was another's, so that those who know it hear of it. It never blocks, and is
// written within some 50 ms.
func (c *Cluster) Bind(key realm.RouteKey, credential realm.ID, ttl time.Duration, moved bool) {
	if c.redis == nil || key.IsZero() || ttl <= 0 {
		return
	}
	c.out.bind(key, binding{credential, time.Now().Add(ttl), moved})
}

// Announce says that the catalogue has changed here. It never blocks.
func (c *Cluster) Announce() {
	if c.redis != nil {
		c.out.announce()
	}
}

// Bound asks which credential a session is bound to, for a process that does not
// know. It takes BoundTimeout at most, and no time while Redis is away; whatever
// is wrong, nobody knows of a binding.
func (c *Cluster) Bound(ctx context.Context, key realm.RouteKey) (realm.ID, bool) {
	if c.redis == nil || key.IsZero() {
		return 0, false
	}
	l := c.link.Load()
	if l == nil {
		return 0, false
	}
	limited, cancel := context.WithTimeout(ctx, BoundTimeout)
	defer cancel()
	select {
	case c.asking <- struct{}{}:
		defer func() { <-c.asking }()
	case <-limited.Done():
		return 0, false
	case <-l.ctx.Done():
		return 0, false
	}
	// A part of the value is enough: an id is shorter, and what somebody else has
	// put there may be long.
	value, err := l.client.GetRange(limited, c.bindKey(key), 0, maxID).Result()
	if ctx.Err() != nil {
		return 0, false // the caller's end says nothing about Redis
	}
	if l.note(err); err != nil || value == "" {
		return 0, false
	}
	id, err := realm.ParseID(value)
	if err != nil {
		c.metrics.garbage()
		return 0, false
	}
	return id, true
}
