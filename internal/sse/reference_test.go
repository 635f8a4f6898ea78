package sse

import (
	"errors"
	"io"
	"regexp"
	"strings"
	"testing"
)

// event is an Event that owns its bytes, for comparing.
type event struct {
	Type, Data       string
	HasType, HasData bool
	Comment          bool
	Unterminated     bool
}

var lineBreak = regexp.MustCompile("\r\n|\n|\r")

// reference reads the whole input at once, in the words of the HTML standard.
func reference(input string) []event {
	input = strings.TrimPrefix(input, "\xef\xbb\xbf")
	var (
		events []event
		cur    = event{Comment: true}
		data   []string
	)
	flush := func(unterminated bool) {
		cur.Data = strings.Join(data, "\n")
		cur.Unterminated = unterminated
		events = append(events, cur)
		cur, data = event{Comment: true}, nil
	}
	line := func(l string) {
		name, value, _ := strings.Cut(l, ":")
		value = strings.TrimPrefix(value, " ")
		switch name {
		case "data":
			data = append(data, value)
			cur.HasData, cur.Comment = true, false
		case "event":
			cur.Type = value
			cur.HasType, cur.Comment = true, false
		}
	}
	for {
		at := lineBreak.FindStringIndex(input)
		if at == nil {
			break
		}
		if at[0] == 0 {
			flush(false)
		} else {
			line(input[:at[0]])
		}
		input = input[at[1]:]
	}
	if input != "" {
		line(input)
	}
	if cur.HasData {
		flush(true)
	}
	return events
}

// chunks is a reader that gives one chunk a read, and io.EOF with the last one if
// early is set.
type chunks struct {
	list  []string
	early bool
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.list) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.list[0])
	if c.list[0] = c.list[0][n:]; c.list[0] == "" {
		c.list = c.list[1:]
	}
	if len(c.list) == 0 && c.early {
		return n, io.EOF
	}
	return n, nil
}

// result is what a reader of the Scanner sees.
type result struct {
	Events []event
	Raw    string
}

// readAll drives a Scanner as a relay does. It checks what must hold at each step.
func readAll(t testing.TB, r io.Reader, maxEvent int) (result, error) {
	t.Helper()
	s := NewScanner(r, maxEvent)
	defer s.Release()
	var res result
	take := func(ev Event) {
		e := event{string(ev.Type), string(ev.Data), ev.Type != nil, ev.Data != nil, ev.Comment, ev.Unterminated}
		res.Events = append(res.Events, e)
		res.Raw += string(s.Bytes(ev.Start, ev.End))
	}
	for {
		last := -1
		for ev, ok := s.Next(); ok; ev, ok = s.Next() {
			if last >= 0 && ev.Start != last {
				t.Fatalf("events of one read do not lie back to back: %d after %d", ev.Start, last)
			}
			last = ev.End
			take(ev)
		}
		err := s.Fill()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return res, err
		}
	}
	if ev, ok := s.Finish(); ok {
		take(ev)
	} else {
		res.Raw += string(s.Pending())
	}
	return res, nil
}
