package cluster

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// writeEvery is how long bindings gather before they are written.
	writeEvery = 50 * time.Millisecond
	// writeStep is how many go out together.
	writeStep = 1000
)

// write empties the outbox until the link ends: bindings together, the rest at
// once.
func (l *link) write() {
	out := &l.c.out
	for {
		if !l.flush() {
			pause(l.ctx, writeEvery)
		} else {
			select {
			case <-out.now:
			case <-out.sometime:
				l.gather()
			case <-l.ctx.Done():
			}
		}
		if l.ctx.Err() != nil {
			return
		}
	}
}

// gather waits for more bindings, but not when something is urgent.
func (l *link) gather() {
	t := time.NewTimer(writeEvery)
	defer t.Stop()
	select {
	case <-t.C:
	case <-l.c.out.now:
	case <-l.ctx.Done():
	}
}

// flush tells whether nothing is left. What failed stays in the outbox: all of it
// may be written twice, so that it does not matter whether it was.
func (l *link) flush() bool {
	b := l.c.out.take()
	b.prune(time.Now())
	if b.empty() {
		return true
	}
	err := l.send(l.ctx, &b)
	l.note(err)
	if err != nil {
		l.c.out.giveBack(b)
	}
	return err == nil
}

// send writes a batch, what is urgent first. The caller has pruned it.
func (l *link) send(ctx context.Context, b *batch) error {
	c, pipe := l.c, l.client.Pipeline()
	if b.notice {
		pipe.Publish(ctx, c.changedChannel(), c.o.Process)
	}
	for about, d := range b.tells {
		text, remaining := encodeCooldown(c.o.Process, &d, time.Now())
		switch {
		case d.Until.IsZero():
			pipe.Del(ctx, c.coolKey(about))
		case remaining <= 0:
			continue // it has just ended
		default:
			pipe.Set(ctx, c.coolKey(about), text, remaining)
		}
		pipe.Publish(ctx, c.coolChannel(), text)
		if err := exec(ctx, pipe, writeStep); err != nil {
			return err
		}
	}
	if err := exec(ctx, pipe, 1); err != nil { // bindings are many, and can wait
		return err
	}
	for key, n := range b.binds {
		if ttl := time.Until(n.until).Truncate(time.Millisecond); ttl > 0 {
			pipe.Set(ctx, c.bindKey(key), n.credential.String(), ttl)
			if n.moved {
				pipe.Publish(ctx, c.bindChannel(), encodeMove(c.o.Process, key, n.credential))
			}
		}
		if err := exec(ctx, pipe, writeStep); err != nil {
			return err
		}
	}
	return exec(ctx, pipe, 1)
}

// exec sends what has gathered, if it is as much.
func exec(ctx context.Context, pipe redis.Pipeliner, least int) error {
	if pipe.Len() < least {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ioTimeout)
	defer cancel()
	_, err := pipe.Exec(ctx)
	return err
}
