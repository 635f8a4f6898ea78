package sse

import (
	"errors"
	"io"
	"strings"
	"testing"
)

// TestGrow holds an event of 4 MiB whole.
func TestGrow(t *testing.T) {
	data := strings.Repeat("x", 4<<20)
	input := "data: a\n\ndata: " + data + "\n\ndata: b\n\n"
	s := NewScanner(strings.NewReader(input), 16<<20)
	defer s.Release()
	var got []string
	grown := 0
	for {
		for ev, ok := s.Next(); ok; ev, ok = s.Next() {
			got = append(got, string(ev.Data))
		}
		if s.Full() {
			if !strings.HasPrefix(string(s.Pending()[:20]), "data: xxx") {
				t.Fatalf("the pending event begins with %q", s.Pending()[:20])
			}
			grown++
			s.Grow()
		}
		if err := s.Fill(); err != nil {
			break
		}
	}
	if len(got) != 3 || got[0] != "a" || got[1] != data || got[2] != "b" {
		t.Errorf("%d events, grown %d times", len(got), grown)
	}
	if grown == 0 || grown > 10 {
		t.Errorf("grown %d times", grown)
	}
	if n := len(s.buf.b); n > fullBuffer {
		t.Errorf("the buffer still has %d bytes", n)
	}
}

func TestTooLong(t *testing.T) {
	endless := readerFunc(func(p []byte) (int, error) {
		for i := range p {
			p[i] = 'x'
		}
		return len(p), nil
	})
	for _, takeParts := range []bool{false, true} {
		s := NewScanner(endless, 1<<20)
		read := 0
		for {
			if _, ok := s.Next(); ok {
				t.Fatal("an event without an end came out")
			}
			if s.Full() && takeParts {
				read += len(s.TakePart())
			}
			if err := s.Fill(); err != nil {
				if !errors.Is(err, ErrEventTooLong) {
					t.Errorf("Fill = %v", err)
				}
				break
			}
		}
		if read += len(s.Pending()); read < 1<<20 || read > 1<<20+fullBuffer {
			t.Errorf("parts %v: ended after %d bytes", takeParts, read)
		}
		s.Release()
	}
}

// TestParts passes a giant event on in pieces, cut at awkward places.
func TestParts(t *testing.T) {
	for _, end := range []string{"\n", "\r\n", "\r"} {
		for _, middle := range []string{"", end, end + "data: ", end + ": c" + end} {
			first := "data: x" + middle
			rest := "yyy" + end + end + "data: z" + end + end
			s := NewScanner(&chunks{list: []string{first, rest}}, 1<<20)
			if err := s.Fill(); err != nil {
				t.Fatal(err)
			}
			raw := ""
			if _, ok := s.Next(); ok {
				t.Fatalf("%q is no whole event", first)
			}
			raw += string(s.TakePart())
			if err := s.Fill(); err != nil {
				t.Fatal(err)
			}
			ev, ok := s.Next()
			if !ok || !ev.Part || ev.Data != nil || ev.Type != nil || ev.Comment {
				t.Fatalf("%q + %q: last piece is %+v, %v", first, rest, ev, ok)
			}
			raw += string(s.Bytes(ev.Start, ev.End))
			ev, ok = s.Next()
			if !ok || ev.Part || string(ev.Data) != "z" {
				t.Fatalf("%q + %q: the event after it is %+v, %v", first, rest, ev, ok)
			}
			raw += string(s.Bytes(ev.Start, ev.End))
			if raw != first+rest {
				t.Errorf("raw %q, want %q", raw, first+rest)
			}
			s.Release()
		}
	}
}

// TestPartAtEOF: the stream ends inside an event of which pieces went out.
func TestPartAtEOF(t *testing.T) {
	for _, rest := range []string{"", "more"} {
		s := NewScanner(&chunks{list: []string{"data: x", rest}}, 1<<20)
		_ = s.Fill()
		s.Next()
		s.TakePart()
		for s.Fill() == nil {
			s.Next()
		}
		ev, ok := s.Finish()
		if !ok || !ev.Part || !ev.Unterminated || string(s.Bytes(ev.Start, ev.End)) != rest {
			t.Errorf("rest %q: %+v, %v", rest, ev, ok)
		}
		s.Release()
	}
}

// TestBufferFollowsTheStream: 4 KiB while little comes, 64 KiB while much does,
// and back.
func TestBufferFollowsTheStream(t *testing.T) {
	event := "data: " + strings.Repeat("x", 93) + "\n\n"
	var list []string
	for range 10 {
		list = append(list, event)
	}
	list = append(list, strings.Repeat(event, 10000))
	for range 10 {
		list = append(list, event)
	}
	s := NewScanner(&chunks{list: list}, 1<<20)
	defer s.Release()
	largest, events := 0, 0
	for n := 0; ; n++ {
		err := s.Fill()
		if errors.Is(err, io.EOF) {
			break
		}
		largest = max(largest, len(s.buf.b))
		if n == 9 && largest != smallBuffer {
			t.Errorf("the buffer is %d bytes before the burst", largest)
		}
		for _, ok := s.Next(); ok; _, ok = s.Next() {
			events++
		}
	}
	if largest != fullBuffer || len(s.buf.b) != smallBuffer {
		t.Errorf("largest %d, at the end %d", largest, len(s.buf.b))
	}
	if events != 10020 {
		t.Errorf("%d events", events)
	}
}

// repeat reads the same bytes again and again, size at a time.
type repeat struct {
	b    string
	at   int
	size int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p[:min(len(p), r.size)], r.b[r.at:])
	if r.at += n; r.at == len(r.b) {
		r.at = 0
	}
	return n, nil
}

func TestNoAllocations(t *testing.T) {
	in := "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"delta\":\"word\"}\n\n" +
		": ping\n\ndata: a\ndata: b\n\n"
	s := NewScanner(&repeat{b: in, size: 1000}, 1<<20)
	defer s.Release()
	run := func() {
		for range 50 {
			if err := s.Fill(); err != nil {
				t.Fatal(err)
			}
			for _, ok := s.Next(); ok; _, ok = s.Next() {
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(20, run); n > 1 {
		t.Errorf("%v allocations in 50 reads", n)
	}
}

func BenchmarkScanner(b *testing.B) {
	in := "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\",\"sequence_number\":17," +
		"\"item_id\":\"msg_0123456789abcdef\",\"output_index\":0,\"content_index\":0,\"delta\":\" word\",\"obfuscation\":\"abcdefgh\"}\n\n"
	for _, size := range []int{len(in), 16 * len(in)} {
		b.Run(map[bool]string{true: "one_event_a_read", false: "16_events_a_read"}[size == len(in)], func(b *testing.B) {
			s := NewScanner(&repeat{b: strings.Repeat(in, 16), size: size}, 1<<20)
			defer s.Release()
			b.SetBytes(int64(len(in)))
			b.ReportAllocs()
			for b.Loop() {
				for {
					if _, ok := s.Next(); ok {
						break
					}
					if err := s.Fill(); err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}
