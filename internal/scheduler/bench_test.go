package scheduler

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// stage is a scheduler over so many credentials, some of them told.
func stage(tb testing.TB, sh shape, n, told int) (one func()) {
	tb.Helper()
	channels := sh.build(n)
	snap := snapshot(channels...)
	s := New(Options{Rand: rand.New(rand.NewPCG(1, 2)).IntN, Policy: policy})
	now := newClock().now
	p := new(Plan)
	word := toldFor(time.Hour)
	for _, id := range shuffled(snap)[:told] {
		need := chatNeed
		need.Credential = id
		s.Begin(p, snap, need, now)
		if p.Next(now).Kind != StepAttempt {
			tb.Fatal("no attempt")
		}
		p.Report(&word, 0, now)
		p.Close(now)
	}
	one = func() {
		now = now.Add(time.Microsecond)
		s.Begin(p, snap, chatNeed, now)
		step := p.Next(now)
		if step.Kind != StepAttempt && told < n {
			tb.Fatal("no attempt")
		}
		if step.Kind == StepAttempt {
			p.Report(&success, time.Millisecond, now)
		}
		p.Close(now)
	}
	warm := 4 * n // all are known by then
	if told == n {
		warm = 10
	}
	for range warm {
		one()
	}
	return one
}

// BenchmarkRequest is a request's whole course, of one attempt: Begin, Next, Report
// and Close.
func BenchmarkRequest(b *testing.B) {
	for _, sh := range shapes {
		for _, told := range []int{0, 100, 500, 1000} {
			b.Run(fmt.Sprintf("%s/%d of 1000 told", sh.name, told), func(b *testing.B) {
				one := stage(b, sh, 1000, told)
				b.ReportAllocs()
				for b.Loop() {
					one()
				}
			})
		}
	}
}

// BenchmarkNext is the choice alone.
func BenchmarkNext(b *testing.B) {
	for _, sh := range shapes {
		for _, told := range []int{0, 100, 500} {
			b.Run(fmt.Sprintf("%s/%d of 1000 told", sh.name, told), func(b *testing.B) {
				snap := snapshot(sh.build(1000)...)
				s := New(Options{Rand: rand.New(rand.NewPCG(1, 2)).IntN, Policy: policy})
				now := newClock().now
				p := new(Plan)
				for _, id := range shuffled(snap)[:told] {
					need := chatNeed
					need.Credential = id
					s.Begin(p, snap, need, now)
					p.Next(now)
					word := toldFor(time.Hour)
					p.Report(&word, 0, now)
					p.Close(now)
				}
				plans := make([]Plan, 1000)
				b.ReportAllocs()
				b.ResetTimer()
				for k := 0; k < b.N; k++ {
					at := k % len(plans)
					if at == 0 {
						b.StopTimer()
						for j := range plans {
							plans[j].Close(now)
							s.Begin(&plans[j], snap, chatNeed, now)
						}
						b.StartTimer()
					}
					if plans[at].Next(now).Kind != StepAttempt {
						b.Fatal("no attempt")
					}
				}
			})
		}
	}
}

// What a choice allocates does not grow with the credentials there are, whether all
// are well, some are told or nothing is left.
func TestAllocationsDoNotGrow(t *testing.T) {
	for _, sh := range shapes {
		for _, share := range []int{0, 2, 10} { // of ten
			allocs := func(n int) float64 {
				one := stage(t, sh, n, n*share/10)
				return testing.AllocsPerRun(100, one)
			}
			few, many := allocs(10), allocs(1000)
			if many > few {
				t.Errorf("%s, %d of 10 told: %v allocations with 10 credentials, %v with 1,000", sh.name, share, few, many)
			}
			if share < 10 && many > 0 {
				t.Errorf("%s, %d of 10 told: %v allocations", sh.name, share, many)
			}
		}
	}
}
