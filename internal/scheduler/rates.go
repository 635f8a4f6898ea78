package scheduler

import (
	"time"

	"realms/internal/realm"
)

// rates count what something with limits was given in the last minute.
type rates struct {
	limits   realm.Limits
	slots    [61]rateSlot // of a second each: the present one has just begun
	epoch    time.Time    // of the first: a clock that is set does not matter
	last     int64        // the second of the latest, counted from there
	requests int          // of all slots
	tokens   int64
}

type rateSlot struct {
	requests int
	tokens   int64
}

func (r *rates) second(now time.Time) int64 {
	if r.epoch.IsZero() {
		r.epoch = now
	}
	return int64(now.Sub(r.epoch) / time.Second)
}

func (r *rates) move(now time.Time) *rateSlot {
	at := r.second(now)
	for n := min(at-r.last, int64(len(r.slots))); n > 0; n-- {
		s := &r.slots[(at-n+1)%int64(len(r.slots))]
		r.requests -= s.requests
		r.tokens -= s.tokens
		*s = rateSlot{}
	}
	r.last = max(r.last, at)
	return &r.slots[r.last%int64(len(r.slots))]
}

// add counts requests and tokens.
func (r *rates) add(now time.Time, requests int, tokens int64) {
	s := r.move(now)
	s.requests += requests
	s.tokens += tokens
	r.requests += requests
	r.tokens += tokens
}

// giveBack takes requests and tokens off the second in which they were added, while
// it counts.
func (r *rates) giveBack(added time.Time, requests int, tokens int64, now time.Time) {
	r.move(now)
	at := r.second(added)
	if at < 0 || at > r.last || r.last-at >= int64(len(r.slots)) {
		return
	}
	s := &r.slots[at%int64(len(r.slots))]
	requests, tokens = min(requests, s.requests), min(tokens, s.tokens)
	s.requests -= requests
	s.tokens -= tokens
	r.requests -= requests
	r.tokens -= tokens
}

// block tells whether a limit is reached, by all processes together.
func (n *node) block(b *block, estimate int64, now time.Time) {
	r := n.rates
	if r == nil {
		return
	}
	if l := r.limits.Concurrent; l > 0 && n.inFlight+n.others.InFlight >= l {
		b.worsen(blockFull, time.Time{}, realm.CauseRateLimited)
	}
	r.move(now)
	if l := r.limits.RequestsPerMinute; l > 0 {
		if over := r.requests + n.others.Requests + 1 - l; over > 0 {
			b.worsen(blockRate, r.free(func(s *rateSlot) int64 { return int64(s.requests) }, int64(over)), realm.CauseRateLimited)
		}
	}
	if l := r.limits.TokensPerMinute; l > 0 {
		used := r.tokens + n.others.Tokens
		// A request larger than the limit itself is let through alone.
		if over := used + min(estimate, l) - l; over > 0 && used > 0 {
			b.worsen(blockRate, r.free(func(s *rateSlot) int64 { return s.tokens }, over), realm.CauseRateLimited)
		}
	}
}

// soon is the longest that a limit of a minute is said to last: from a minute on a
// client takes it that there is no use in waiting.
const soon = 59

// free is when as much as over will have left the minute. What other processes
// hold is not known by the second: they are taken to free theirs in time.
func (r *rates) free(of func(*rateSlot) int64, over int64) time.Time {
	size := int64(len(r.slots))
	for age := size - 1; age >= 0; age-- {
		s := &r.slots[(r.last-age+size)%size]
		if over -= of(s); over <= 0 {
			return r.at(min(r.last-age+size, r.last+soon))
		}
	}
	return r.at(r.last + 1)
}

// at is when a second begins.
func (r *rates) at(second int64) time.Time {
	return r.epoch.Add(time.Duration(second) * time.Second)
}

// shares count how a credential's attempts of the last hour went, by minutes.
type shares struct {
	slots [60]struct {
		attempts, succeeded int32
		firstByte           time.Duration // of the succeeded, added up
	}
	epoch time.Time // of the first: a clock that is set does not matter
	last  int64     // the minute of the latest, counted from there
}

func (h *shares) move(now time.Time) int {
	if h.epoch.IsZero() {
		h.epoch = now
	}
	at := int64(now.Sub(h.epoch) / time.Minute)
	for n := min(at-h.last, int64(len(h.slots))); n > 0; n-- {
		h.slots[(at-n+1)%int64(len(h.slots))] = struct {
			attempts, succeeded int32
			firstByte           time.Duration
		}{}
	}
	h.last = max(h.last, at)
	return int(h.last % int64(len(h.slots)))
}

func (h *shares) add(now time.Time, ok bool, firstByte time.Duration) {
	s := &h.slots[h.move(now)]
	s.attempts++
	if ok {
		s.succeeded++
		s.firstByte += firstByte
	}
}

// over sums up the last minutes.
func (h *shares) over(now time.Time, minutes int) Share {
	if h == nil {
		return Share{}
	}
	at := h.move(now)
	var sum Share
	var firstByte time.Duration
	for i := range minutes {
		s := h.slots[(at-i+len(h.slots))%len(h.slots)]
		sum.Attempts += int(s.attempts)
		sum.Succeeded += int(s.succeeded)
		firstByte += s.firstByte
	}
	if sum.Succeeded > 0 {
		sum.FirstByteMS = (firstByte / time.Duration(sum.Succeeded)).Milliseconds()
	}
	return sum
}
