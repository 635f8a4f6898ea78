package scheduler

import (
	"cmp"
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

// enqueue has the request wait for its turn at the slots that were found taken, for
// what is left of its time, or until something else is free. It keeps its place
// when it asks again.
func (p *Plan) enqueue(found *survey, now time.Time) Step {
	w := p.queued
	if w == nil {
		w = &waiter{plan: p, since: now, turn: make(chan struct{})}
		p.queued = w
		p.s.queue.waiting = append(p.s.queue.waiting, w)
		p.s.count(p.need.User, 0, 1)
	}
	w.channels = found.channels
	left := p.s.o.Policy.QueueTime - now.Sub(w.since)
	if left <= 0 {
		p.leaveQueue()
		p.crowded = true
		return p.choose(now) // what is left without the queue
	}
	if !found.soonest.IsZero() {
		left = min(left, found.soonest.Sub(now)) // something else is free by then
	}
	if p.number > 0 {
		left = min(left, queueLook) // its share of retries, which no slot announces
	}
	return Step{Kind: StepQueue, Wait: p.within(left, now), Turn: w.turn}
}

// queueLook is how often a request on a retry looks again by itself.
const queueLook = 250 * time.Millisecond

// leaveQueue ends the wait for a turn.
func (p *Plan) leaveQueue() {
	if p.queued != nil {
		p.unlist(p.queued)
		p.queued = nil
	}
}

// serve offers a freed slot of a channel to the queue.
func (s *Scheduler) serve(channel realm.ID, now time.Time) {
	if len(s.queue.waiting) == 0 {
		return
	}
	for _, w := range s.queue.inTurn(channel, s.users) {
		if w.plan.serve(w, now) {
			return
		}
	}
}

// serveAll offers whatever may have become free to all who wait.
func (s *Scheduler) serveAll(now time.Time) {
	for again := len(s.queue.waiting) > 0; again; {
		again = false
		for _, w := range s.queue.inTurn(0, s.users) {
			if again = w.plan.serve(w, now); again {
				break // whose turn it is has changed
			}
		}
	}
}

// serve takes a slot for a request that waits, if there is one for it.
func (p *Plan) serve(w *waiter, now time.Time) bool {
	if p.overspent(now) != "" || p.number > 0 && !p.mayRetry() {
		return false
	}
	c, static := p.pick(now, &survey{})
	if !c.ok() {
		return false
	}
	p.cautious(static)
	p.retry = p.number > 0
	p.take(c, now)
	p.unlist(w)
	close(w.turn)
	return true
}

// unlist takes a request out of the queue.
func (p *Plan) unlist(w *waiter) {
	q := &p.s.queue
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
		p.s.count(p.need.User, 0, -1)
	}
}

// inTurn are those who wait for a channel (0: for any), first those whose user has
// least under way, then those who came first.
func (q *queue) inTurn(channel realm.ID, users map[realm.ID]crowd) []*waiter {
	list := make([]*waiter, 0, len(q.waiting))
	for _, w := range q.waiting {
		if channel == 0 || slices.Contains(w.channels, channel) {
			list = append(list, w)
		}
	}
	slices.SortStableFunc(list, func(a, b *waiter) int {
		return cmp.Compare(users[a.plan.need.User].inFlight, users[b.plan.need.User].inFlight)
	})
	return list
}
