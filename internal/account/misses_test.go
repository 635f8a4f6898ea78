package account

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"realms/internal/realm"
)

// clock is a time that stands still until it is moved.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: realm.Epoch.Add(24 * time.Hour)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

func hashOf(n int) (h realm.TokenHash) {
	binary.BigEndian.PutUint64(h[:], uint64(n)+1)
	return h
}

func unknown(count *int) func(context.Context) answer {
	return func(context.Context) answer {
		*count++
		return answer{reason: refusedUnknown}
	}
}

func TestMissesAskOnceAValueInThirtySeconds(t *testing.T) {
	c := newClock()
	m := newMisses(c.now)
	asked := 0
	for _, step := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {0, 1}, {29 * time.Second, 1}, {time.Second, 2}, {time.Second, 2}, {29 * time.Second, 3}} {
		c.add(step.after)
		if a := m.ask(t.Context(), hashOf(1), unknown(&asked)); a.reason != refusedUnknown {
			t.Fatalf("answer %+v", a)
		}
		if asked != step.want {
			t.Fatalf("at %v: asked %d times, want %d", c.now(), asked, step.want)
		}
	}
}

func TestMissesAskFiftyTimesInAnySecond(t *testing.T) {
	c := newClock()
	m := newMisses(c.now)
	var times []time.Time
	for n := range 20_000 { // 10 s at 2,000 a second
		c.add(500 * time.Microsecond)
		m.ask(t.Context(), hashOf(n), func(context.Context) answer {
			times = append(times, c.now())
			return answer{reason: refusedUnknown}
		})
	}
	for i := questions; i < len(times); i++ {
		if gap := times[i].Sub(times[i-questions]); gap < time.Second {
			t.Fatalf("questions %d to %d came within %v", i-questions, i, gap)
		}
	}
	if len(times) < 9*questions {
		t.Errorf("%d questions in 10 s: the limit refuses more than it must", len(times))
	}
}

func TestMissesBeyondTheLimitAreNotRemembered(t *testing.T) {
	c := newClock()
	m := newMisses(c.now)
	asked := 0
	for n := range questions + 1 {
		m.ask(t.Context(), hashOf(n), unknown(&asked))
	}
	if asked != questions {
		t.Fatalf("asked %d times, want %d", asked, questions)
	}
	c.add(time.Second)
	m.ask(t.Context(), hashOf(questions), unknown(&asked))
	if asked != questions+1 {
		t.Error("a token that came at the limit was refused without ever being asked for")
	}
}

func TestMissesMemoryIsBounded(t *testing.T) {
	c := newClock()
	m := newMisses(c.now)
	asked := 0
	for n := range 3 * maxRefusals {
		c.add(window)
		m.ask(t.Context(), hashOf(n), unknown(&asked))
		m.ask(t.Context(), hashOf(n%7), unknown(&asked)) // one that comes again and again
	}
	if len(m.refused) > maxRefusals || len(m.order) > maxRefusals {
		t.Errorf("%d refusals in %d places, at most %d are allowed", len(m.refused), len(m.order), maxRefusals)
	}
	if len(m.flights) != 0 {
		t.Errorf("%d flights are left", len(m.flights))
	}
}

func TestMissesRenewedRefusalOutlivesItsFirstPlace(t *testing.T) {
	c := newClock()
	m := newMisses(c.now)
	asked := 0
	m.remember(hashOf(0), refusedUnknown)
	c.add(remembered)
	for n := 1; n < maxRefusals-1; n++ {
		m.remember(hashOf(n), refusedUnknown)
	}
	m.remember(hashOf(0), refusedUnknown) // renewed, behind its first place
	m.remember(hashOf(maxRefusals), refusedUnknown)
	m.ask(t.Context(), hashOf(0), unknown(&asked))
	if asked != 0 {
		t.Error("a refusal given a moment ago was forgotten")
	}
}

func TestMissesFlyTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMisses(time.Now)
		release := make(chan struct{})
		asked := 0
		question := func(context.Context) answer {
			asked++
			<-release
			return answer{principal: &realm.Principal{TokenID: 7}}
		}
		answers := make(chan answer, 100)
		for range cap(answers) {
			go func() { answers <- m.ask(t.Context(), hashOf(1), question) }()
		}
		synctest.Wait()
		close(release)
		for range cap(answers) {
			if a := <-answers; a.err != nil || a.principal == nil || a.principal.TokenID != 7 {
				t.Errorf("answer %+v", a)
			}
		}
		if asked != 1 {
			t.Errorf("asked %d times, want once", asked)
		}
	})
}

func TestMissesWaiterLeavesAndTheQuestionGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMisses(time.Now)
		release := make(chan struct{})
		first, cancelFirst := context.WithCancel(t.Context())
		done := make(chan answer, 1)
		go func() {
			done <- m.ask(first, hashOf(1), func(ctx context.Context) answer {
				<-release
				return answer{principal: &realm.Principal{}, err: ctx.Err()}
			})
		}()
		synctest.Wait()
		second, cancelSecond := context.WithCancel(t.Context())
		cancelSecond()
		if a := m.ask(second, hashOf(1), nil); !errors.Is(a.err, context.Canceled) {
			t.Errorf("who left was told %+v", a)
		}
		cancelFirst()
		close(release)
		if a := <-done; a.err != nil {
			t.Errorf("the question ended with the client that asked it: %v", a.err)
		}
	})
}

func TestMissesQuestionIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMisses(time.Now)
		start := time.Now()
		a := m.ask(t.Context(), hashOf(1), func(ctx context.Context) answer {
			<-ctx.Done()
			return answer{err: ctx.Err()}
		})
		if !errors.Is(a.err, context.DeadlineExceeded) || time.Since(start) != questionTimeout {
			t.Errorf("after %v: %v", time.Since(start), a.err)
		}
	})
}

func TestMissesWhileTheStoreIsAway(t *testing.T) {
	c := newClock()
	m := newMisses(c.now)
	asked := 0
	away := func(context.Context) answer {
		asked++
		return answer{err: errors.New("connection refused")}
	}
	for n := range 200 {
		if a := m.ask(t.Context(), hashOf(n%3), away); a.err == nil {
			t.Fatalf("request %d was answered %+v while the store is away", n, a)
		}
	}
	if asked != questions {
		t.Errorf("asked %d times in one instant, want %d", asked, questions)
	}
	c.add(window)
	back := 0
	if a := m.ask(t.Context(), hashOf(0), unknown(&back)); a.reason != refusedUnknown || back != 1 {
		t.Errorf("the store is back, but the answer is %+v after %d questions", a, back)
	}
}

func TestMissesSurviveAPanic(t *testing.T) {
	m := newMisses(newClock().now)
	func() {
		defer func() { _ = recover() }()
		m.ask(t.Context(), hashOf(1), func(context.Context) answer { panic("a fault of ours") })
	}()
	asked := 0
	if a := m.ask(t.Context(), hashOf(1), unknown(&asked)); asked != 1 || a.reason != refusedUnknown {
		t.Errorf("after a panic: %+v, asked %d times", a, asked)
	}
}
