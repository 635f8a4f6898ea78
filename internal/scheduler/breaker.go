package scheduler

import "time"

// When a breaker opens, for how long, and how it comes back (data-plane.md, "What
// a failure means").
const (
	failuresInARow = 5
	enoughResults  = 20 // below this a share says nothing
	resultsWindow  = time.Minute
	rampTime       = 10 * time.Second
	rampLeast      = 0.05 // of its requests, at the very first
	historyTime    = time.Minute
	probeMost      = 10 * time.Second // the longest that one request alone finds out
)

// openTimes are how long it stays open: the first time, the second in a row, and
// any later.
var openTimes = [...]time.Duration{10 * time.Second, 20 * time.Second, 30 * time.Second}

// breaker guesses, from results, whether an upstream can serve. Its zero value is
// closed and has seen nothing.
type breaker struct {
	isOpen  bool      // or half-open, once until has passed
	probing time.Time // half-open, and since then one request is finding out
	opened  time.Time
	until   time.Time
	closed  time.Time // when it closed last; zero: it never opened
	times   int       // it opened in a row, decaying while it is closed
	row     int       // failures in a row
	results results
}

// results counts in half failures, so that a light one weighs half.
type results struct {
	slots [6]struct{ all, bad int32 } // of ten seconds each
	epoch time.Time                   // of the first: a clock that is set does not matter
	last  int64                       // the slot of the latest, counted from there
}

const bucketTime = resultsWindow / 6

func (r *results) move(now time.Time) int {
	if r.epoch.IsZero() {
		r.epoch = now
	}
	at := int64(now.Sub(r.epoch) / bucketTime)
	for n := min(at-r.last, int64(len(r.slots))); n > 0; n-- {
		r.slots[(at-n+1)%int64(len(r.slots))] = struct{ all, bad int32 }{}
	}
	r.last = max(r.last, at)
	return int(r.last % int64(len(r.slots)))
}

func (r *results) add(now time.Time, halves int32) {
	s := &r.slots[r.move(now)]
	s.all++
	s.bad += halves
}

// half tells whether at least half of enough results are bad.
func (r *results) half(now time.Time) bool {
	r.move(now)
	var all, bad int32
	for _, s := range r.slots {
		all += s.all
		bad += s.bad
	}
	return all >= enoughResults && bad >= all
}

// blocks tells whether a request must go elsewhere, and until when.
func (b *breaker) blocks(now time.Time) (until time.Time, blocked bool) {
	switch {
	case !b.isOpen:
		return time.Time{}, false
	case now.Before(b.until):
		return b.until, true
	default:
		return now, b.finding(now) // one finds out; the others pass by
	}
}

// halfOpen tells whether the next request would find out.
func (b *breaker) halfOpen(now time.Time) bool {
	return b.isOpen && !now.Before(b.until) && !b.finding(now)
}

// finding tells whether a request is finding out. One that takes very long keeps
// no other from it.
func (b *breaker) finding(now time.Time) bool {
	return !b.probing.IsZero() && now.Sub(b.probing) < probeMost
}

// failed notes a failure, in halves; began is the attempt's. It tells whether the
// breaker has opened by it. spread is in [-1, 1).
func (b *breaker) failed(now, began time.Time, halves int32, probe bool, spread float64) bool {
	if began.Before(b.closed) {
		return false // it says nothing of what is since
	}
	b.results.add(now, halves)
	if halves > 1 {
		b.row++
	}
	switch {
	case b.isOpen && !probe:
		return false // known: what was under way, or had no other choice
	case b.isOpen:
		// The probe has failed.
	case b.row < failuresInARow && !b.results.half(now):
		return false
	default:
		b.times = max(b.times-int(now.Sub(b.closed)/historyTime), 0)
	}
	d := openTimes[min(b.times, len(openTimes)-1)]
	b.times++
	b.isOpen, b.opened = true, now
	b.until = now.Add(d + time.Duration(spread*float64(d)/10))
	return true
}

// answered notes that an answer has begun, however it may end; began is the
// attempt's. It tells whether the breaker has closed by it: an attempt from before
// it opened says nothing of now.
func (b *breaker) answered(now, began time.Time) bool {
	if !b.isOpen || began.Before(b.opened) {
		return false
	}
	b.isOpen, b.closed = false, now
	b.row, b.results = 0, results{}
	return true
}

// worked notes an answer that was good to its end.
func (b *breaker) worked(now time.Time) {
	b.row = 0
	b.results.add(now, 0)
}

// ramp is the share of its requests that something gets back after it was out of
// use until then.
func ramp(since, now time.Time) float64 {
	if since.IsZero() {
		return 1
	}
	return max(rampLeast, min(1, float64(now.Sub(since))/float64(rampTime)))
}
