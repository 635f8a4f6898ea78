package cluster

import (
	"context"
	"maps"
	"time"

	"github.com/redis/go-redis/v9"

	"realms/internal/realm"
)

const (
	// learnStep is how many keys Redis looks at in one go.
	learnStep = 1000
	// maxPeers bounds the memory that made-up processes could take.
	maxPeers = 1024
)

// listen hears messages until the link ends.
func (l *link) listen() {
	for {
		got, err := l.sub.Receive(l.ctx)
		if err != nil {
			if l.ctx.Err() == nil {
				l.c.metrics.errors.WithLabelValues(kindOf(err)).Inc()
				l.end(err)
			}
			return
		}
		now := time.Now()
		l.heard.Store(&now)
		if m, ok := got.(*redis.Message); ok {
			l.receive(m)
		}
	}
}

func (l *link) receive(m *redis.Message) {
	c, ok := l.c, true
	switch m.Channel {
	case c.coolChannel():
		ok = l.receiveCooldown(m.Payload)
	case c.loadChannel():
		ok = l.receiveLoads(m.Payload)
	case c.bindChannel():
		ok = l.receiveMove(m.Payload)
	case c.changedChannel():
		if m.Payload != c.o.Process && c.o.Changed != nil {
			c.o.Changed()
		}
	}
	if !ok {
		c.metrics.garbage()
	}
}

func (l *link) receiveCooldown(text string) bool {
	d, from, ok := decodeCooldown(text, time.Now())
	if !ok || from == l.c.o.Process || l.c.o.Hear == nil {
		return ok
	}
	l.hearing.Lock()
	defer l.hearing.Unlock()
	if l.newer != nil {
		l.newer[topicOf(&d)] = true
	}
	l.c.o.Hear(d)
	return true
}

func (l *link) receiveMove(text string) bool {
	key, credential, from, ok := decodeMove(text)
	if ok && from != l.c.o.Process && l.c.o.Moved != nil {
		l.c.o.Moved(key, credential)
	}
	return ok
}

func (l *link) receiveLoads(text string) bool {
	loads, from, ok := decodeLoads(text)
	if !ok || from == l.c.o.Process {
		return ok
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(loads) == 0 {
		delete(l.peers, from)
		return true
	}
	return put(l.peers, from, peer{loads, time.Now()}, maxPeers)
}

// total is what others have under way, nil when it is nothing. One that has not
// been heard of for LoadKept is gone.
func (l *link) total(now time.Time) map[realm.ID]realm.Load {
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.DeleteFunc(l.peers, func(_ string, p peer) bool { return now.Sub(p.at) > LoadKept })
	var sum map[realm.ID]realm.Load
	for _, p := range l.peers {
		if sum == nil {
			sum = make(map[realm.ID]realm.Load, len(p.loads))
		}
		for id, load := range p.loads {
			sum[id] = sum[id].Add(load)
		}
	}
	return sum
}

// learn reads the cool-downs that were told before this process listened. It walks
// the keys, which takes a moment when there are many; nobody waits for it.
func (l *link) learn() {
	defer func() {
		l.hearing.Lock()
		l.newer = nil
		l.hearing.Unlock()
	}()
	var cursor uint64
	for l.ctx.Err() == nil {
		next, err := l.learnSome(cursor)
		if l.note(err); err != nil {
			pause(l.ctx, writeEvery)
			continue
		}
		if next == 0 {
			return
		}
		cursor = next
	}
}

func (l *link) learnSome(cursor uint64) (next uint64, err error) {
	ctx, cancel := context.WithTimeout(l.ctx, ioTimeout)
	defer cancel()
	keys, next, err := l.client.Scan(ctx, cursor, literal(l.c.coolPrefix())+"*", learnStep).Result()
	if err != nil || len(keys) == 0 {
		return next, err
	}
	pipe := l.client.Pipeline()
	values, ends := make([]*redis.StringCmd, len(keys)), make([]*redis.DurationCmd, len(keys))
	for i, key := range keys {
		values[i], ends[i] = pipe.GetRange(ctx, key, 0, maxValue), pipe.PTTL(ctx, key)
	}
	if _, err := pipe.Exec(ctx); err != nil && kindOf(err) != errorGarbage {
		return 0, err
	}
	for i, key := range keys {
		if value, err := values[i].Result(); err != nil || !l.learned(key, value, ends[i].Val()) {
			l.c.metrics.garbage()
		}
	}
	return next, nil
}

// learned passes on what a key says, and tells whether it is one of ours.
func (l *link) learned(key, value string, remaining time.Duration) bool {
	if value == "" {
		return true // it has just ended
	}
	now := time.Now()
	d, from, ok := decodeCooldown(value, now)
	if !ok || d.Until.IsZero() || remaining <= 0 || key != l.c.coolKey(topicOf(&d)) {
		return false
	}
	if from == l.c.o.Process || l.c.o.Hear == nil {
		return true
	}
	d.Until = now.Add(min(remaining, MaxCooldown))
	l.hearing.Lock()
	defer l.hearing.Unlock()
	if !l.newer[topicOf(&d)] {
		l.c.o.Hear(d)
	}
	return true
}
