package upstream

import (
	"context"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"
)

// phase is where an attempt stands; each has its own limit.
type phase uint8

const (
	phaseConnect phase = iota // until a connection is there
	phaseHeader               // until the answer's header
	phaseEvent                // until Response.Started
	phaseIdle                 // one read of the body at a time
	phaseError                // the body of a failed answer
	phaseDone
)

// attempt is the clock of one exchange: one timer for all phases. When a limit runs out it ends the exchange's context and remembers which one it was,
// so that a timeout is told from a client that went away.
type attempt struct {
	parent context.Context // lives exactly as long as the exchange
	cancel context.CancelFunc
	start  time.Time

	// waiting is when the read under way began, since start; 0: none is.
	waiting atomic.Int64
	// answered: the first byte of an answer was seen. net/http says so from a
	// goroutine of its own.
	answered  atomic.Bool
	connected bool
	reused    bool

	mu       sync.Mutex
	timer    *time.Timer
	phase    phase
	limit    time.Duration // of the phase; 0: none
	deadline time.Duration // of the phase, since start
	wakes    time.Duration // when the timer does, since start; 0: it sleeps for good
	expired  bool          // the limit of the phase ran out

	headerLimit time.Duration
	trace       httptrace.ClientTrace
}

// begin starts the clock in phaseConnect and gives the context to send with.
func (a *attempt) begin(ctx context.Context, limits *Timeouts) context.Context {
	a.parent = ctx
	a.start = time.Now()
	a.headerLimit = limits.FirstByte
	ctx, a.cancel = context.WithCancel(ctx)
	a.enter(phaseConnect, limits.Connect)
	a.trace.GotConn = a.gotConn
	a.trace.GotFirstResponseByte = a.gotFirstByte
	return httptrace.WithClientTrace(ctx, &a.trace)
}

// gotConn runs on the goroutine that sends, once for every connection tried.
func (a *attempt) gotConn(info httptrace.GotConnInfo) {
	a.connected = true
	a.reused = info.Reused
	if info.Reused {
		settle(info.Conn)
	}
	a.enter(phaseHeader, a.headerLimit)
}

func (a *attempt) gotFirstByte() { a.answered.Store(true) }

// enter moves on to a phase with its limit; 0 means none. The timer is left alone
// if it wakes early enough: most exchanges are over before it does even once.
func (a *attempt) enter(p phase, limit time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.expired || a.phase == phaseDone {
		return
	}
	a.phase, a.limit = p, limit
	if limit == 0 {
		return
	}
	now := time.Since(a.start)
	a.deadline = now + limit
	if a.wakes == 0 || a.deadline < a.wakes {
		a.sleep(now, limit)
	}
}

// sleep lets the timer run out after d. The caller holds mu.
func (a *attempt) sleep(now, d time.Duration) {
	a.wakes = now + d
	if a.timer == nil {
		a.timer = time.AfterFunc(d, a.wake)
		return
	}
	a.timer.Reset(d)
}

// wake is the timer's: it ends the exchange if the limit of the phase has run out,
// and else sleeps on. Reads only note when they began, so an answer in many pieces
// sets no timer.
func (a *attempt) wake() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.wakes = 0
	if a.phase == phaseDone || a.limit == 0 {
		return
	}
	now := time.Since(a.start)
	left := a.deadline - now
	if a.phase == phaseIdle {
		left = a.limit
		if began := a.waiting.Load(); began != 0 {
			left = time.Duration(began) + a.limit - now
		}
	}
	if left > 0 {
		a.sleep(now, left)
		return
	}
	a.expired = true
	a.cancel()
}

// reading notes that a read of the body begins.
func (a *attempt) reading() { a.waiting.Store(max(int64(time.Since(a.start)), 1)) }

// read notes that it ended.
func (a *attempt) read() { a.waiting.Store(0) }

// finish stops the clock and frees the context. It may be called again.
func (a *attempt) finish() {
	a.mu.Lock()
	done := a.phase == phaseDone
	if !done {
		if a.timer != nil {
			a.timer.Stop()
		}
		if !a.expired {
			a.phase = phaseDone
		}
	}
	a.mu.Unlock()
	a.cancel()
}

// timedOut is the phase whose limit ran out, if one did.
func (a *attempt) timedOut() (phase, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.phase, a.expired
}
