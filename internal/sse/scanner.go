package sse

import (
	"bytes"
	"errors"
	"io"
)

// ErrEventTooLong says that one event is longer than the Scanner may let pass.
var ErrEventTooLong = errors.New("event is longer than the limit")

// Scanner reads events. Its zero value is not usable; it is not safe for several
// goroutines.
type Scanner struct {
	r   io.Reader
	max int
	buf *buffer
	err error // the reader's, kept while bytes came with it

	start int // the pending event's first byte
	line  int // the line that is being read
	end   int // after the last byte read
	lf    mark
	cr    mark

	begun   bool // the byte order mark is dealt with
	skipLF  bool // the byte before line was a carriage return
	midLine bool // TakePart took the beginning of the line
	part    bool // TakePart took pieces of the pending event
	taken   int  // how many bytes of it
	class   int  // the buffer's size for the next read
	empties int  // reads without bytes, in a row

	ev      fields
	scratch []byte
}

// mark is the place of the next line break of one kind: found at at, or searched
// for in vain up to at, so that no byte is looked at twice.
type mark struct {
	at    int
	found bool
}

// seek looks for c in b from an offset on.
func (m *mark) seek(b []byte, c byte, from int) {
	if m.found && m.at >= from {
		return
	}
	from = max(from, m.at)
	i := bytes.IndexByte(b[from:], c)
	m.found = i >= 0
	if m.at = len(b); m.found {
		m.at = from + i
	}
}

// NewScanner reads from r. One event may be maxEvent bytes long, pieces that
// TakePart took included; what fits in one 64 KiB buffer always passes.
func NewScanner(r io.Reader, maxEvent int) *Scanner {
	return &Scanner{r: r, max: maxEvent, buf: getBuffer(0)}
}

// Release gives the buffer back; the Scanner and every slice it handed out are
// dead after it. A second call does nothing.
func (s *Scanner) Release() {
	if s.buf == nil {
		return
	}
	s.buf.release()
	s.buf, s.scratch = nil, nil
	s.start, s.line, s.end = 0, 0, 0
	s.err = io.ErrClosedPipe
}

// Bytes is the raw stream between two offsets of events, valid until the next Fill.
func (s *Scanner) Bytes(start, end int) []byte { return s.buf.b[start:end] }

// Next is the next complete event of what was read; it does no I/O.
func (s *Scanner) Next() (Event, bool) {
	if !s.begin() {
		return Event{}, false
	}
	for {
		if s.skipLF && s.line < s.end {
			s.skipLF = false
			if s.buf.b[s.line] == '\n' {
				s.line++
			}
		}
		stop, ok := s.lineEnd()
		if !ok {
			return Event{}, false
		}
		from := s.line
		s.line = stop + 1
		s.skipLF = s.buf.b[stop] == '\r'
		if s.skipLF && s.line < s.end && s.buf.b[s.line] == '\n' {
			s.line, s.skipLF = s.line+1, false
		}
		if from == stop && !s.midLine {
			return s.emit(), true
		}
		s.field(from, stop)
		s.midLine = false
	}
}

// begin steps over a byte order mark at the stream's start; false until it is
// known whether there is one.
func (s *Scanner) begin() bool {
	if s.begun {
		return true
	}
	const mark = "\xef\xbb\xbf"
	have := string(s.buf.b[:min(s.end, len(mark))])
	if have == mark {
		s.start, s.line = len(mark), len(mark)
	} else if have == mark[:len(have)] && s.err == nil {
		return false
	}
	s.begun = true
	return true
}

// lineEnd finds the line break at or after s.line.
func (s *Scanner) lineEnd() (int, bool) {
	b := s.buf.b[:s.end]
	s.lf.seek(b, '\n', s.line)
	s.cr.seek(b, '\r', s.line)
	if s.cr.found && (!s.lf.found || s.cr.at < s.lf.at) {
		return s.cr.at, true
	}
	return s.lf.at, s.lf.found
}
