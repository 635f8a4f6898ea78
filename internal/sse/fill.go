package sse

import "io"

// Fill reads once. It returns io.EOF at the end, ErrEventTooLong when the pending
// event has passed the limit, else the reader's error. Offsets and slices handed
// out before are void after it. On a full buffer it grows as Grow does.
func (s *Scanner) Fill() error {
	if s.err != nil {
		return s.err
	}
	if s.taken+s.end-s.start > s.max {
		s.err = ErrEventTooLong
		return s.err
	}
	s.trimScratch()
	s.makeRoom()
	free := len(s.buf.b) - s.end
	n, err := s.r.Read(s.buf.b[s.end:])
	s.advance(max(n, 0), free)
	switch {
	case err == nil && n <= 0:
		if s.empties++; s.empties >= 100 {
			s.err = io.ErrNoProgress
			return s.err
		}
	case n > 0:
		s.empties = 0
		s.err = err // told by the next Fill, after the events that came with it
	default:
		s.err = err
		return err
	}
	return nil
}

// advance takes n new bytes in, and learns from how full they made the buffer.
func (s *Scanner) advance(n, free int) {
	s.end += n
	switch {
	case n == free && s.class < len(sizes)-1:
		s.class++
	case n < free/8 && s.class > 0:
		s.class--
	}
}

// makeRoom moves the pending event to the buffer's front, into a buffer of the
// size that the next read wants.
func (s *Scanner) makeRoom() {
	pending := s.end - s.start
	want := sizes[s.class]
	for want <= pending && s.class < len(sizes)-1 {
		s.class++
		want = sizes[s.class]
	}
	switch {
	case pending >= want:
		if s.Full() {
			s.Grow()
			return
		}
		s.move(s.buf)
	case len(s.buf.b) != want:
		s.swap(getBuffer(s.class))
	default:
		s.move(s.buf)
	}
}

// Full tells that the pending event fills the buffer (64 KiB, or what Grow made
// of it) and that the caller must choose between Grow and TakePart.
func (s *Scanner) Full() bool {
	return s.end-s.start >= max(len(s.buf.b), fullBuffer)
}

// Grow makes room to hold the pending event on, up to the limit. Offsets and slices
// handed out before are void after it. Fourfold: what was outgrown on the way to
// the limit is a third of it then, and not as much again.
func (s *Scanner) Grow() {
	if s.taken+s.end-s.start > s.max {
		return // the next Fill says so
	}
	n := len(s.buf.b)
	size := max(4*n, 2*fullBuffer)
	if size >= s.max { // one more than the limit tells an event that passes it
		size = max(s.max, n) + 1
	}
	s.swap(bigBuffer(size))
}

func (s *Scanner) swap(b *buffer) {
	old := s.buf
	s.move(b)
	old.release()
}

// move puts the pending event at the front of b, which may be the present buffer.
func (s *Scanner) move(b *buffer) {
	if b == s.buf && s.start == 0 {
		return
	}
	copy(b.b, s.buf.b[s.start:s.end])
	s.buf = b
	s.line -= s.start
	s.end -= s.start
	s.lf.at -= s.start
	s.cr.at -= s.start
	s.start = 0
}

// Pending is the incomplete event at the end of what was read.
func (s *Scanner) Pending() []byte { return s.buf.b[s.start:s.end] }

// TakePart consumes what there is of the pending event as a piece to be passed
// on. It may be called again after each Fill; Next reports the event's last piece
// with Part set. The slice is valid until the next Fill.
func (s *Scanner) TakePart() []byte {
	piece := s.buf.b[s.start:s.end]
	if len(piece) == 0 {
		return nil
	}
	s.part = true
	s.taken += len(piece)
	s.midLine = s.midLine || s.line < s.end
	s.start, s.line = s.end, s.end
	return piece
}

// Finish is for the stream's end, after Next found nothing more: the unterminated
// last event, if it has data or if pieces of it were taken.
func (s *Scanner) Finish() (Event, bool) {
	s.begin()
	if s.line < s.end {
		s.field(s.line, s.end)
	}
	if s.ev.dataLines == 0 && !s.part {
		return Event{}, false
	}
	s.line = s.end
	ev := s.emit()
	ev.Unterminated = true
	return ev, true
}

// trimScratch empties the scratch, whose slices are void from here on, and lets a
// large one go.
func (s *Scanner) trimScratch() {
	if cap(s.scratch) > fullBuffer {
		s.scratch = nil
	}
	s.scratch = s.scratch[:0]
}
