package sse

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
)

func TestEvents(t *testing.T) {
	plain := func(typ, data string) event {
		return event{Type: typ, Data: data, HasType: typ != "", HasData: true}
	}
	comment := event{Comment: true}
	tests := []struct {
		name, input string
		want        []event
	}{
		{"one", "data: x\n\n", []event{plain("", "x")}},
		{"typed", "event: a\ndata: x\n\n", []event{plain("a", "x")}},
		{"last type wins", "event: a\nevent: b\ndata: x\n\n", []event{plain("b", "x")}},
		{"no space after the colon", "event:a\ndata:x\n\n", []event{plain("a", "x")}},
		{"one space only", "data:  x \n\n", []event{plain("", " x ")}},
		{"several lines", "data: a\ndata:\ndata\ndata: d\n\n", []event{plain("", "a\n\n\nd")}},
		{"empty data", "data\n\ndata:\n\n", []event{plain("", ""), plain("", "")}},
		{"type alone", "event: ping\n\n", []event{{Type: "ping", HasType: true}}},
		{"comments", ": ping\n\n:\n\n", []event{comment, comment}},
		{"id and retry alone", "id: 1\nretry: 5\n\n", []event{comment}},
		{"blank lines", "\n\ndata: x\n\n", []event{comment, comment, plain("", "x")}},
		{"similar names", "database: x\ndata : x\nevents: y\n\n", []event{comment}},
		{"byte order mark", "\xef\xbb\xbfdata: x\n\n", []event{plain("", "x")}},
		{"half a mark", "\xef\xbbdata: x\n\n", []event{comment}},
		{"mark later", "data: x\n\n\xef\xbb\xbfdata: y\n\n", []event{plain("", "x"), comment}},
		{"CRLF", "event: a\r\ndata: x\r\n\r\ndata: y\r\n\r\n", []event{plain("a", "x"), plain("", "y")}},
		{"CR", "event: a\rdata: x\r\rdata: y\r\r", []event{plain("a", "x"), plain("", "y")}},
		{"mixed", "data: a\r\ndata: b\rdata: c\n\r\n", []event{plain("", "a\nb\nc")}},
		{"unterminated", "data: x\n\ndata: y", []event{plain("", "x"), {Data: "y", HasData: true, Unterminated: true}}},
		{"unterminated after its line", "event: e\ndata: y\n", []event{{Type: "e", HasType: true, Data: "y", HasData: true, Unterminated: true}}},
		{"unterminated comment", ": x\n", nil},
		{"unterminated type", "event: x\n", nil},
		{"nothing", "", nil},
		{"invalid UTF-8", "data: \xff\xfe\n\n", []event{plain("", "\xff\xfe")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, reference(tt.input)); diff != "" {
				t.Fatalf("the reference itself (-want +got):\n%s", diff)
			}
			for name, r := range map[string]io.Reader{
				"whole": strings.NewReader(tt.input), "bytes": iotest.OneByteReader(strings.NewReader(tt.input)),
				"early EOF": iotest.DataErrReader(strings.NewReader(tt.input)),
			} {
				got, err := readAll(t, r, 1<<20)
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
				if diff := cmp.Diff(tt.want, got.Events); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
				if want := strings.TrimPrefix(tt.input, "\xef\xbb\xbf"); got.Raw != want {
					t.Errorf("%s: raw %q, want %q", name, got.Raw, want)
				}
			}
		})
	}
}

// TestEverySplit cuts a recording in two at every byte, with each kind of line end.
func TestEverySplit(t *testing.T) {
	recorded, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := reference(string(recorded))
	if len(want) < 20 {
		t.Fatalf("the recording has only %d events", len(want))
	}
	for _, end := range []string{"\n", "\r\n", "\r"} {
		input := strings.ReplaceAll(string(recorded), "\n", end)
		for i := range len(input) + 1 {
			got, err := readAll(t, &chunks{list: []string{input[:i], input[i:]}}, 1<<20)
			if err != nil {
				t.Fatal(err)
			}
			if got.Raw != input {
				t.Fatalf("split at %d with %q: the raw bytes differ", i, end)
			}
			if diff := cmp.Diff(want, got.Events); diff != "" {
				t.Fatalf("split at %d with %q (-want +got):\n%s", i, end, diff)
			}
		}
	}
}

// TestCompleteEventsDoNotWait: what is complete by the standard comes out of the
// read that completed it, also where a line feed may follow a carriage return.
func TestCompleteEventsDoNotWait(t *testing.T) {
	for _, first := range []string{"data: x\n\n", "data: x\r\n\r\n", "data: x\r\n\r", "data: x\r\r"} {
		s := NewScanner(&chunks{list: []string{first, "\ndata: y\n\n"}}, 1<<20)
		if err := s.Fill(); err != nil {
			t.Fatal(err)
		}
		ev, ok := s.Next()
		if !ok || string(ev.Data) != "x" {
			t.Errorf("%q: no event after the first read", first)
		}
		if _, ok := s.Next(); ok {
			t.Errorf("%q: a second event came out of nothing", first)
		}
		s.Release()
	}
}

func TestFillReadsOnce(t *testing.T) {
	reads := 0
	s := NewScanner(readerFunc(func(p []byte) (int, error) { reads++; return copy(p, "data: x\n"), nil }), 1<<20)
	defer s.Release()
	for want := 1; want < 5; want++ {
		if err := s.Fill(); err != nil || reads != want {
			t.Fatalf("%d reads after %d calls, err %v", reads, want, err)
		}
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderErrors(t *testing.T) {
	cut := errors.New("cut")
	s := NewScanner(io.MultiReader(strings.NewReader("data: x\n\nda"), iotest.ErrReader(cut)), 1<<20)
	defer s.Release()
	if err := s.Fill(); err != nil {
		t.Fatal(err)
	}
	if ev, ok := s.Next(); !ok || string(ev.Data) != "x" {
		t.Fatal("the event before the error is lost")
	}
	for range 2 {
		if err := s.Fill(); !errors.Is(err, cut) {
			t.Fatalf("Fill = %v, want the reader's error", err)
		}
	}
	if got := string(s.Pending()); got != "da" {
		t.Errorf("Pending = %q", got)
	}
	s = NewScanner(readerFunc(func([]byte) (int, error) { return 0, nil }), 1<<20)
	defer s.Release()
	var err error
	for range 1000 {
		if err = s.Fill(); err != nil {
			break
		}
	}
	if !errors.Is(err, io.ErrNoProgress) {
		t.Errorf("a reader that never reads: %v", err)
	}
}

func TestRelease(t *testing.T) {
	s := NewScanner(strings.NewReader("data: x\n\n"), 1<<20)
	s.Release()
	s.Release()
	if err := s.Fill(); err == nil {
		t.Error("Fill works after Release")
	}
}

func FuzzSplits(f *testing.F) {
	recorded, err := os.ReadFile("testdata/recorded.txt")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(recorded[:600], uint16(3), uint16(40), false)
	f.Add([]byte("\xef\xbb\xbfdata: a\r\ndata: b\r\r\n\revent: x\n\n"), uint16(1), uint16(8), true)
	f.Add([]byte("\r\n\r\ndata\rdata\r\n\rdata:"), uint16(2), uint16(17), false)
	f.Add(bytes.Repeat([]byte("data: "+strings.Repeat("y", 3000)+"\n"), 60), uint16(100), uint16(9000), false)
	f.Fuzz(func(t *testing.T, input []byte, a, b uint16, early bool) {
		i := min(int(a), len(input))
		j := min(i+int(b), len(input))
		var list []string
		for _, part := range [][]byte{input[:i], input[i:j], input[j:]} {
			if len(part) != 0 {
				list = append(list, string(part))
			}
		}
		got, err := readAll(t, &chunks{list: list, early: early}, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(reference(string(input)), got.Events); diff != "" {
			t.Fatalf("%q cut at %d and %d (-want +got):\n%s", input, i, j, diff)
		}
		if want := strings.TrimPrefix(string(input), "\xef\xbb\xbf"); got.Raw != want {
			t.Fatalf("%q cut at %d and %d: raw %q", input, i, j, got.Raw)
		}
	})
}
