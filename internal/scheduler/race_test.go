package scheduler

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/realm"
)

// crowded is a catalogue in which everything has some limit; odd versions differ.
func crowded(version int64) *realm.Snapshot {
	a := channel(1, "a", groupA, 9, 1, []string{"a1", "a2"}, []string{"a3"})
	b := channel(2, "b", groupA, 9, 2, []string{"b1"})
	c := channel(3, "c", groupA, 0, 1, []string{"c1", "c2"})
	a.Endpoints[0].Credentials[0].Limits.Concurrent = 2
	b.Settings.Limits.Concurrent = 3
	c.Endpoints[0].Credentials[1].Limits = realm.Limits{RequestsPerMinute: 500, TokensPerMinute: 100_000}
	if version%2 == 1 {
		a.Endpoints[0].Credentials[1].State = realm.CredentialDisabled
		b.Settings.Limits.Concurrent = 1
		c.Endpoints[0].Credentials[0].APIKey = "other"
	}
	if version%3 == 1 {
		c.Endpoints = c.Endpoints[:0]
	}
	return realm.NewSnapshot(version, nil, nil, []*realm.Channel{a, b, c})
}

// Everything at once, for the race detector; and nothing is left when all have gone.
func TestEverythingAtOnce(t *testing.T) {
	pol := policy
	pol.QueueTime, pol.MaxWait = 2*time.Millisecond, 2*time.Millisecond
	var notes atomic.Int64
	var word atomic.Pointer[realm.Cooldown]
	s := New(Options{
		Rand: rand.IntN, Policy: pol,
		Tell:     func(c realm.Cooldown) { word.Store(&c) },
		Bind:     func(realm.RouteKey, realm.ID, bool) { notes.Add(1) },
		OutOfUse: func(*realm.Credential, realm.Outcome) { notes.Add(1) },
		Note:     func(Event) { notes.Add(1) },
	})
	var snap atomic.Pointer[realm.Snapshot]
	snap.Store(crowded(0))
	outcomes := []realm.Outcome{
		connect, timeout, overload, badAnswer, limited, toldFor(time.Millisecond),
		toldFor(time.Second), forbidden, firewall, refusal, noModel, noPath, emptied, staleConn, clientErr, clientGone, quota,
	}
	ctx, cancel := context.WithCancel(t.Context())
	var others, requests sync.WaitGroup
	others.Go(func() { disturb(ctx, s, &snap, &word) })
	var attempts atomic.Int64
	for i := range 16 {
		requests.Go(func() {
			rng := rand.New(rand.NewPCG(1, uint64(i)))
			for range 1000 {
				attempts.Add(int64(hurry(s, &snap, rng, outcomes)))
			}
		})
	}
	requests.Wait()
	cancel()
	others.Wait()
	s.State(snap.Load(), time.Now())
	if left := leftovers(s); left != "" {
		t.Error(left)
	}
	if attempts.Load() < 100 || notes.Load() == 0 {
		t.Errorf("%d attempts, %d notes: the test has not tested much", attempts.Load(), notes.Load())
	}
}

// hurry is one request that does everything a request may.
func hurry(s *Scheduler, snap *atomic.Pointer[realm.Snapshot], rng *rand.Rand, outcomes []realm.Outcome) int {
	need := Need{User: realm.ID(rng.IntN(5)), Groups: []realm.ID{groupA}, Model: []string{"m", "n", "x"}[rng.IntN(3)], API: realm.APIChat, Open: true, Tokens: 100}
	if rng.IntN(3) == 0 {
		need.Session = realm.RouteKey{byte(rng.IntN(20))}
	}
	var p Plan
	s.Begin(&p, snap.Load(), need, time.Now())
	defer func() { p.Close(time.Now()) }()
	for {
		step := p.Next(time.Now())
		switch step.Kind {
		case StepNone:
			p.Verdict(time.Now())
			return p.Number()
		case StepWait, StepQueue:
			p.Number()
			if rng.IntN(4) == 0 {
				return p.Number() // the client leaves
			}
			timer := time.NewTimer(min(step.Wait, time.Millisecond))
			select {
			case <-timer.C:
			case <-step.Turn:
			}
			timer.Stop()
		case StepAttempt:
			o := success
			if rng.IntN(4) == 0 {
				o = outcomes[rng.IntN(len(outcomes))]
			}
			if rng.IntN(2) == 0 {
				p.Committed(time.Now())
			}
			if rng.IntN(10) == 0 {
				return p.Number() // it is closed without a word
			}
			p.Spent(int64(rng.IntN(200)), time.Now())
			p.Report(&o, time.Millisecond, time.Now())
			if o.Next == realm.NextStop {
				return p.Number()
			}
		}
	}
}

// disturb does what is not requests: catalogues, operators, other processes.
func disturb(ctx context.Context, s *Scheduler, snap *atomic.Pointer[realm.Snapshot], word *atomic.Pointer[realm.Cooldown]) {
	rng := rand.New(rand.NewPCG(5, 6))
	ids := []realm.ID{1, 2, 3, 100, 101, 200, 300, 10000, 10100, 20000, 30001, 77}
	id := func() realm.ID { return ids[rng.IntN(len(ids))] }
	for version := int64(1); ctx.Err() == nil; version++ {
		now := time.Now()
		switch rng.IntN(8) {
		case 0:
			snap.Store(crowded(version))
		case 7:
			s.SetOthers(nil, now)
		case 1:
			s.Mend(snap.Load(), realm.ID(1+rng.IntN(3)), 0, now)
		case 2:
			if c := word.Load(); c != nil { // as if it came back from another process
				heard := *c
				heard.Until = now.Add(time.Millisecond)
				s.Hear(heard, now)
				heard.Until = time.Time{}
				s.Hear(heard, now)
			}
		case 3:
			s.SetOthers(map[realm.ID]realm.Load{id(): {InFlight: rng.IntN(3), Requests: rng.IntN(9)}}, now)
		case 4:
			s.State(snap.Load(), now)
			s.Loads(now)
		case 5:
			s.Rebind(realm.RouteKey{byte(rng.IntN(20))}, id(), now)
			s.known(realm.RouteKey{1}, now)
		case 6:
			s.State(crowded(0), now) // of an older catalogue
		}
	}
	s.SetOthers(nil, time.Now())
}
