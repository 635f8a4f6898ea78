package cluster

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"sync"
	"time"

	"realms/internal/realm"
)

const (
	// retryEvery is how often Run looks whether Redis is back, give or take a fifth:
	// processes that lost it together come back one by one.
	retryEvery = 500 * time.Millisecond
	// checkEvery is how often a link that seems well is tried.
	checkEvery = 4 * BeatEvery
	// silence is how long the subscription may hear nothing, its own pings included.
	silence = 3 * time.Second
	// farewell is what stopping may take beyond what is under way.
	farewell = 100 * time.Millisecond
)

var errSilent = errors.New("the subscription hears nothing")

// Run keeps the connection until ctx ends and has then released everything. It is
// called once, and its error is nil: that Redis is away is a state, not an error.
func (c *Cluster) Run(ctx context.Context) error {
	if c.redis == nil {
		<-ctx.Done()
		return nil
	}
	away := false
	for ctx.Err() == nil {
		away = c.attend(ctx, away)
		c.out.prune(time.Now())
		pause(ctx, retryEvery*4/5+rand.N(retryEvery*2/5))
	}
	return nil
}

// attend connects and works until the link ends. It says once that Redis is away,
// however long it is.
func (c *Cluster) attend(ctx context.Context, away bool) bool {
	l, err := c.connect(ctx)
	if err != nil {
		c.metrics.errors.WithLabelValues(kindOf(err)).Inc()
	} else {
		away = false
		c.o.Log.Info("redis is connected", "address", c.redis.Addr)
		err = c.serve(ctx, l)
	}
	if !away && ctx.Err() == nil {
		c.o.Log.Warn("redis is away: each process knows only what it learns itself", "address", c.redis.Addr, "error", err)
	}
	return true
}

// serve works on a link until it ends, and tells why it did.
func (c *Cluster) serve(ctx context.Context, l *link) error {
	c.link.Store(l)
	c.metrics.connected.Set(1)
	if c.o.Changed != nil {
		c.o.Changed() // a notice may have been missed
	}
	var working sync.WaitGroup
	for _, work := range []func(){l.listen, l.learn, l.write, l.beat} {
		working.Go(work)
	}
	<-l.ctx.Done()
	_ = l.sub.Close() // the listener waits on it
	working.Wait()
	if ctx.Err() != nil {
		l.leave(ctx)
	}
	l.close()
	c.metrics.connected.Set(0)
	if l.sum != nil && c.o.Others != nil {
		c.o.Others(nil)
	}
	return context.Cause(l.ctx)
}

// beat says what is under way here, sums up what is under way elsewhere, and tries
// now and then whether Redis still does what it should.
func (l *link) beat() {
	tick := time.NewTicker(BeatEvery)
	defer tick.Stop()
	said := false // that something is under way
	checked := time.Time{}
	for {
		said = l.say(l.ctx, l.c.loads(), said)
		l.addUp(time.Now())
		if time.Since(checked) >= checkEvery || l.failures.Load() > 0 {
			checked = time.Now()
			l.check(checked)
		}
		select {
		case <-tick.C:
		case <-l.ctx.Done():
			return
		}
	}
}

func (c *Cluster) loads() map[realm.ID]realm.Load {
	if c.o.Loads == nil {
		return nil
	}
	return c.o.Loads()
}

// say publishes the loads, an empty map once. It tells whether something was said
// that has to be taken back.
func (l *link) say(ctx context.Context, loads map[realm.ID]realm.Load, said bool) bool {
	if len(loads) == 0 && !said {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	err := l.client.Publish(ctx, l.c.loadChannel(), encodeLoads(l.c.o.Process, loads)).Err()
	l.note(err)
	return err != nil || len(loads) > 0
}

func (l *link) check(now time.Time) {
	ctx, cancel := context.WithTimeout(l.ctx, ioTimeout)
	defer cancel()
	err := l.alive(ctx)
	l.note(err)
	if err == nil { // else there may be no time left, and a ping that fails costs the subscription
		l.note(l.sub.Ping(ctx))
	}
	if now.Sub(*l.heard.Load()) > silence {
		l.c.metrics.errors.WithLabelValues(errorTimeout).Inc()
		l.end(errSilent)
	}
}

// addUp passes on the sum of what others have under way, if it has changed.
func (l *link) addUp(now time.Time) {
	sum := l.total(now)
	if l.c.o.Others == nil || maps.Equal(sum, l.sum) {
		return
	}
	l.sum = sum
	l.c.o.Others(sum)
}

// leave says what is still to be said, once.
func (l *link) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	b := l.c.out.take()
	b.prune(time.Now())
	_ = l.send(ctx, &b)
	l.say(ctx, nil, true)
}

// pause waits, or less when ctx ends.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
