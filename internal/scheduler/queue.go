package scheduler

import (
	"slices"
	"time"

	"realms/internal/realm"
)

// queue holds the requests that wait for a slot, in the order in which they came.
// A freed slot goes to the user who has least under way, and of that user to the
// request that came first: it is taken for it at once, so that nobody who comes
// later can take it.
type queue struct {
	waiting []*waiter
}

// waiter is one request in the queue.
type waiter struct {
	plan     *Plan
	channels []realm.ID // whose slots it waits for
	since    time.Time
	turn     chan struct{}
}

// maxTries bounds how many requests of the queue a freed slot is offered to.
const maxTries = 8

// mayQueue tells whether the request may wait for a slot (still).
func (p *Plan) mayQueue() bool {
	if p.queued != nil {
		return true
	}
	if p.crowded || p.s.users[p.need.User].waiting >= p.s.o.Policy.QueueSize {
		p.crowded = true
		return false
	}
	return true
}

// enqueue has the request wait for its turn at the slots of some channels, for
// what is left of its time.
func (p *Plan) enqueue(channels []realm.ID, now time.Time) Step {
	w := p.queued
	if w == nil {
		w = &waiter{plan: p, since: now, turn: make(chan struct{})}
		p.queued = w
		p.s.queue.waiting = append(p.s.queue.waiting, w)
		p.s.count(p.need.User, 0, 1)
	}
	w.channels = channels
	left := p.s.o.Policy.QueueTime - now.Sub(w.since)
	if left <= 0 {
		p.leaveQueue()
		p.crowded = true
		return p.choose(now) // what is left without the queue
	}
	return Step{Kind: StepQueue, Wait: left, Turn: w.turn}
}

// leaveQueue ends the wait for a turn.
func (p *Plan) leaveQueue() {
	if p.queued == nil {
		return
	}
	s := p.s
	if i := slices.Index(s.queue.waiting, p.queued); i >= 0 {
		s.queue.waiting = slices.Delete(s.queue.waiting, i, i+1)
		s.count(p.need.User, 0, -1)
	}
	p.queued = nil
}

// serve offers a freed slot of a channel to the queue.
func (s *Scheduler) serve(channel realm.ID, now time.Time) {
	if len(s.queue.waiting) == 0 {
		return
	}
	var passed []*waiter
	for range maxTries {
		w := s.queue.next(s, channel, passed)
		if w == nil {
			return
		}
		p := w.plan
		var found survey
		for _, group := range p.need.Groups {
			c := p.fromGroup(group, now, &found)
			if !c.ok() {
				continue
			}
			p.retry = p.number > 0
			p.take(c, now)
			i := slices.Index(s.queue.waiting, w)
			s.queue.waiting = slices.Delete(s.queue.waiting, i, i+1)
			s.count(p.need.User, 0, -1)
			close(w.turn)
			return
		}
		passed = append(passed, w)
	}
}

// next is whose turn it is of those who wait for a channel.
func (q *queue) next(s *Scheduler, channel realm.ID, passed []*waiter) *waiter {
	var best *waiter
	least := 0
	for _, w := range q.waiting {
		if !slices.Contains(w.channels, channel) || slices.Contains(passed, w) {
			continue
		}
		if n := s.users[w.plan.need.User].inFlight; best == nil || n < least {
			best, least = w, n
		}
	}
	return best
}
