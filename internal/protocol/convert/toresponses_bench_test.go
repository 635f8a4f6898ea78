package convert

import (
	"bytes"
	"fmt"
	"testing"

	"realms/internal/testkit"
)

// fiftyEvents are the data of a stream as the fake upstream composes it.
func fiftyEvents(call bool) [][]byte {
	deltas := make([]string, 43)
	for i := range deltas {
		deltas[i] = fmt.Sprintf(" word%d", i)
	}
	reply := testkit.Reply{Deltas: deltas}
	if call {
		reply.Call = &testkit.Call{Name: "f", Arguments: `{"a":1}`}
	}
	var events [][]byte
	for _, chunk := range testkit.Compose(&testkit.Request{Method: "POST", Path: "/v1/responses", Model: "m", Stream: true}, reply).Chunks {
		_, data, _ := bytes.Cut(bytes.TrimSpace(chunk), []byte("data: "))
		events = append(events, data)
	}
	return events
}

func streamed(tb testing.TB) Conversion {
	tb.Helper()
	c, err := toResponses(`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// TestDeltaAllocatesNothing: what a stream mostly consists of costs no memory.
func TestDeltaAllocatesNothing(t *testing.T) {
	for _, call := range []bool{false, true} {
		s := streamed(t).Stream(mostKept)
		var delta []byte
		dst := make([]byte, 0, 64<<10)
		for _, data := range fiftyEvents(call) {
			if bytes.Contains(data, []byte(".completed")) {
				break
			}
			if _, err := s.Event(dst, nil, data); err != nil {
				t.Fatal(err)
			}
			if bytes.Contains(data, []byte(".delta\"")) {
				delta = data
			}
		}
		n := testing.AllocsPerRun(100, func() {
			if out, err := s.Event(dst, nil, delta); err != nil || len(out) == 0 {
				t.Fatal(len(out), err)
			}
		})
		if n != 0 {
			t.Errorf("%s: %v allocations", delta, n)
		}
	}
}

func BenchmarkToResponsesStream(b *testing.B) {
	events := fiftyEvents(false)
	size := 0
	for _, e := range events {
		size += len(e)
	}
	dst, c := make([]byte, 0, 64<<10), streamed(b)
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for b.Loop() {
		s := c.Stream(mostKept)
		for _, data := range events {
			if _, err := s.Event(dst, nil, data); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(len(events)), "events/op")
}
