package account

import (
	"context"
	"sync"
	"time"

	"realms/internal/realm"
)

const (
	// questions is how often unknown tokens may ask the store within window.
	questions = 50
	window    = time.Second
	// remembered is how long a refusal stands before its token may ask again.
	remembered = 30 * time.Second
	// maxRefusals bounds the memory of refusals; at 50 questions a second no more
	// than 1,500 are younger than 30 s.
	maxRefusals = 4096
	// questionTimeout ends a question that the store does not answer.
	questionTimeout = 2 * time.Second
)

// misses keeps tokens that nobody knows from reaching the store: one question a
// token at a time and once in 30 s, 50 a second for all.
type misses struct {
	now func() time.Time

	mu      sync.Mutex
	asked   [questions]time.Time // a ring: asked[next] is the oldest
	next    int
	flights map[realm.TokenHash]*flight
	refused map[realm.TokenHash]memory
	order   []memory // by age, a ring once it is full
	oldest  int
	away    bool // the store failed to answer the last question
}

// memory is a refusal and when it was given.
type memory struct {
	hash   realm.TokenHash
	reason refusal
	at     time.Time
}

// flight is a question on its way; the fields are set before done is closed.
type flight struct {
	done   chan struct{}
	answer answer
}

// answer is what the store said of a token. Exactly one field is set.
type answer struct {
	principal *realm.Principal
	reason    refusal
	err       error
}

func newMisses(now func() time.Time) *misses {
	return &misses{
		now:     now,
		flights: make(map[realm.TokenHash]*flight),
		refused: make(map[realm.TokenHash]memory),
	}
}

// ask answers for an unknown token, through question only if it must and may.
// The question does not end with ctx: others may wait for the same answer.
func (m *misses) ask(ctx context.Context, hash realm.TokenHash, question func(context.Context) answer) answer {
	f, mine, known := m.enter(hash)
	if f == nil {
		return known
	}
	if mine {
		m.fly(ctx, hash, f, question)
		return f.answer
	}
	select {
	case <-f.done:
		return f.answer
	case <-ctx.Done():
		return answer{err: ctx.Err()}
	}
}

// enter finds the answer without a question, or the flight to wait for; mine
// says that the caller must fly it.
func (m *misses) enter(hash realm.TokenHash) (f *flight, mine bool, known answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := m.now()
	if r, ok := m.refused[hash]; ok && now.Sub(r.at) < remembered {
		return nil, false, answer{reason: r.reason}
	}
	if f := m.flights[hash]; f != nil {
		return f, false, answer{}
	}
	if !m.allow(now) {
		if m.away {
			return nil, false, answer{err: errStoreAway}
		}
		return nil, false, answer{reason: refusedUnknown}
	}
	f = &flight{done: make(chan struct{})}
	m.flights[hash] = f
	return f, true, answer{}
}

func (m *misses) fly(ctx context.Context, hash realm.TokenHash, f *flight, question func(context.Context) answer) {
	f.answer = answer{err: errStoreAway} // what those who wait get if question panics
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.flights, hash)
		m.away = f.answer.err != nil
		if f.answer.reason != "" {
			m.remember(hash, f.answer.reason)
		}
		close(f.done)
	}()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), questionTimeout)
	defer cancel()
	f.answer = question(ctx)
}

// allow keeps to 50 questions in any window of a second, not on average.
func (m *misses) allow(now time.Time) bool {
	if at := m.asked[m.next]; !at.IsZero() && now.Sub(at) < window {
		return false
	}
	m.asked[m.next] = now
	m.next = (m.next + 1) % questions
	return true
}

func (m *misses) remember(hash realm.TokenHash, reason refusal) {
	r := memory{hash, reason, m.now()}
	if len(m.order) < maxRefusals {
		m.order = append(m.order, r)
	} else {
		old := m.order[m.oldest]
		if m.refused[old.hash] == old { // not renewed since
			delete(m.refused, old.hash)
		}
		m.order[m.oldest] = r
		m.oldest = (m.oldest + 1) % maxRefusals
	}
	m.refused[hash] = r
}
