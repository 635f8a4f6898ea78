package scheduler

import (
	"sync"
	"time"

	"realms/internal/realm"
)

// Options makes a Scheduler.
type Options struct {
	// Rand returns a uniform number in [0, n); math/rand/v2's IntN serves.
	Rand   func(n int) int
	Policy Policy
	// Salt is the installation's: without it nobody can try out which key a
	// fingerprint in a Cooldown is of.
	Salt []byte

	// The functions below may be nil. They are called with the scheduler locked:
	// they must return at once and not call back.

	// Tell hears what an upstream has said, for other processes.
	Tell func(realm.Cooldown)
	// Bind hears that a session belongs to a credential from now on, or still;
	// moved: it was another's.
	Bind func(key realm.RouteKey, credential realm.ID, moved bool)
	// OutOfUse hears that a credential is refused for good, and by what outcome.
	OutOfUse func(cr *realm.Credential, o realm.Outcome)
	// Note hears of changes of health, for the log.
	Note func(Event)
}

// Policy bounds what one request may cost. Zero fields but the shares mean none.
type Policy struct {
	Attempts     int           // exchanges of one request at most
	FailoverTime time.Duration // from the request's start: no attempt but the second begins later
	// RetryShare is how many of a hundred requests in flight may be on an attempt
	// after their first; minRetries may be in any case.
	RetryShare int
	MaxWait    time.Duration // in all that a request waits for an upstream's time to come
	QueueSize  int           // requests of one user that may wait for a free slot
	QueueTime  time.Duration // that each may wait
}

// Event is a change of health, for operators.
type Event struct {
	// Kind is MarkOpen, MarkRecovering of a breaker that has closed, or MarkTold of
	// a channel that turns out not to have an API.
	Kind     MarkKind
	Endpoint realm.ID // 0: of the channel
	Channel  realm.ID // 0: of the endpoint
	Model    string   // or API; empty: the whole endpoint
	Cause    realm.Cause
	For      time.Duration // MarkOpen: how long
}

// minRetries may be under way however few requests are, or one dead credential
// would fail the only request there is.
const minRetries = 3

// Scheduler makes plans and holds what they have learned. It is safe for
// concurrent use: one lock guards all of it, held for a microsecond or two a call.
// It is held for longer, up to milliseconds in a large catalogue, when a snapshot is
// taken in, and by requests that find all of a thousand candidates kept away.
type Scheduler struct {
	o Options

	mu       sync.Mutex
	board    *board
	marks    lru[markKey, *mark]
	bindings lru[realm.RouteKey, binding]
	requests int // plans that are open
	retrying int // of them, on an attempt after their first
	users    map[realm.ID]crowd
	queue    queue
	others   map[realm.ID]realm.Load // of other processes, as they said last
}

// maxRemembered bounds the marks and the sessions: names of models and of sessions
// are the clients' to make up.
const maxRemembered = 100_000

// New makes a Scheduler.
func New(o Options) *Scheduler {
	s := &Scheduler{o: o, users: make(map[realm.ID]crowd)}
	s.marks.init(maxRemembered, s.forgetMark)
	s.bindings.init(maxRemembered, nil)
	s.board = newBoard(realm.NewSnapshot(0, nil, nil, nil), nil, true)
	return s
}

// crowd is what one user has under way.
type crowd struct {
	inFlight int // attempts
	waiting  int // requests in the queue
}

// count changes what a user has under way.
func (s *Scheduler) count(user realm.ID, inFlight, waiting int) {
	c := s.users[user]
	c.inFlight += inFlight
	c.waiting += waiting
	if c == (crowd{}) {
		delete(s.users, user)
		return
	}
	s.users[user] = c
}
