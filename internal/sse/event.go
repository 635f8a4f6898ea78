package sse

import "bytes"

// Event is one event of the stream: all lines up to and including the blank one.
type Event struct {
	// Start and End are the offsets for Scanner.Bytes of the raw event with its
	// terminator. Events of one read lie back to back, so that several can be
	// written as one range.
	Start, End int
	// Type is the value of the last event field, nil without one. It aliases the
	// buffer: valid until the next Fill.
	Type []byte
	// Data is the value of the data field, nil without one, not nil and empty for
	// an empty one. It aliases the buffer, or a scratch when there were several
	// data lines: valid until the next Fill.
	Data []byte
	// Comment: neither data nor an event field (comments, id and retry alone, a
	// blank line).
	Comment bool
	// Unterminated: the stream ended before the blank line (Finish alone).
	Unterminated bool
	// Part: the last piece of an event that TakePart took pieces of; Type and Data
	// are nil.
	Part bool
}

// fields is what the pending event's lines said, as offsets from its start.
type fields struct {
	typed              bool
	typeStart, typeEnd int
	dataStart, dataEnd int // of the first data line
	dataLines          int
}

// field notes what a line says.
func (s *Scanner) field(from, to int) {
	if s.part || s.midLine {
		return
	}
	line := s.buf.b[from:to]
	switch {
	case len(line) >= 5 && string(line[:5]) == "data:":
		s.ev.dataLine(from-s.start+valueAt(line, 5), to-s.start)
	case len(line) >= 6 && string(line[:6]) == "event:":
		s.ev.typed = true
		s.ev.typeStart, s.ev.typeEnd = from-s.start+valueAt(line, 6), to-s.start
	case string(line) == "data":
		s.ev.dataLine(to-s.start, to-s.start)
	case string(line) == "event":
		s.ev.typed = true
		s.ev.typeStart, s.ev.typeEnd = to-s.start, to-s.start
	}
}

func (f *fields) dataLine(start, end int) {
	if f.dataLines == 0 {
		f.dataStart, f.dataEnd = start, end
	}
	f.dataLines++
}

// valueAt steps over the one space that may follow the colon.
func valueAt(line []byte, i int) int {
	if i < len(line) && line[i] == ' ' {
		return i + 1
	}
	return i
}

// emit makes the event that ends before s.line.
func (s *Scanner) emit() Event {
	raw := s.buf.b[s.start:s.line]
	ev := Event{Start: s.start, End: s.line, Part: s.part}
	if !s.part {
		ev.Comment = !s.ev.typed && s.ev.dataLines == 0
		if s.ev.typed {
			ev.Type = raw[s.ev.typeStart:s.ev.typeEnd:s.ev.typeEnd]
		}
		switch {
		case s.ev.dataLines == 1:
			ev.Data = raw[s.ev.dataStart:s.ev.dataEnd:s.ev.dataEnd]
		case s.ev.dataLines > 1:
			ev.Data = s.join(raw)
		}
	}
	s.start = s.line
	s.ev = fields{}
	s.part, s.midLine, s.taken = false, false, 0
	return ev
}

// join puts the values of several data lines together, a line feed between them.
func (s *Scanner) join(raw []byte) []byte {
	from := len(s.scratch)
	first := true
	for len(raw) != 0 {
		n := bytes.IndexAny(raw, "\r\n")
		if n < 0 {
			n = len(raw)
		}
		line := raw[:n]
		raw = raw[min(n+1, len(raw)):]
		isData := bytes.HasPrefix(line, []byte("data:"))
		if !isData && string(line) != "data" {
			continue
		}
		if !first {
			s.scratch = append(s.scratch, '\n')
		}
		first = false
		if isData {
			s.scratch = append(s.scratch, line[valueAt(line, 5):]...)
		}
	}
	return s.scratch[from:len(s.scratch):len(s.scratch)]
}
