package gateway

import (
	"errors"
	"sync"

	"realms/internal/protocol/openai"
	"realms/internal/sse"
	"realms/internal/upstream"
)

// rooms are where conversions write. A stream has one only between a read and the
// write that follows it: most streams wait for their upstream nearly all the time.
var rooms = sync.Pool{New: func() any { return new([]byte) }}

// mostRoom is the largest that is used again: beyond it are long answers, told whole at
// their end, and they are few.
const mostRoom = 64 << 10

func (s *stream) takeRoom() {
	if s.room == nil {
		s.room, _ = rooms.Get().(*[]byte)
		s.out = (*s.room)[:0]
	}
}

// giveRoom is for when all that was made has been written, or nobody wants it.
func (s *stream) giveRoom() {
	if s.room == nil {
		return
	}
	if cap(s.out) <= mostRoom {
		*s.room = s.out[:0]
		rooms.Put(s.room)
	}
	s.room, s.out = nil, nil
}

// convert puts what the client gets for an event behind what is to be written next.
// Output of the upstream's shows that it is alive; what commits is output that the
// client sees.
func (s *stream) convert(ev sse.Event, substantive bool) (*upstream.Failure, bool) {
	s.takeRoom()
	out, err := s.conv.Event(s.out, ev.Type, ev.Data)
	if err != nil {
		return s.inconvertible(ev, err)
	}
	if substantive {
		s.res.Started()
	}
	if s.conv.Spoke() {
		s.produced()
	}
	if len(out) > len(s.out) {
		s.events++
	}
	s.out = out
	return nil, false
}

// inconvertible handles an event that has no place in the client's dialect: it
// tells of a failure that only the conversion has seen, or is broken.
func (s *stream) inconvertible(ev sse.Event, err error) (*upstream.Failure, bool) {
	var told *openai.UpstreamError
	if errors.As(err, &told) {
		return s.failed(ev, openai.Verdict{Class: openai.ClassTerminal, Failed: told})
	}
	return s.broken(err)
}

// end is what the client gets for the upstream's terminal event. It is made before
// the record is closed: what cannot be converted is no completed answer.
func (s *stream) end(ev sse.Event) (end []byte, f *upstream.Failure, done bool) {
	if s.conv == nil {
		return s.completed(ev), nil, false
	}
	s.takeRoom()
	before := len(s.out)
	out, err := s.conv.Event(s.out, ev.Type, ev.Data)
	if err != nil {
		f, done = s.inconvertible(ev, err)
		return nil, f, done
	}
	s.out = out[:before] // goes out before the record is closed, and the end behind it
	return out[before:], nil, false
}

// completed is the terminal event as a client of its own dialect gets it: byte for
// byte, but for an output that the backend of accounts has left out. Codex CLI goes by
// the items, other clients by the end.
func (s *stream) completed(ev sse.Event) []byte {
	raw := s.sc.Bytes(ev.Start, ev.End)
	if s.whole == nil {
		return raw
	}
	data, changed := s.whole.Ending(ev.Data)
	if !changed {
		return raw
	}
	out := make([]byte, 0, len(data)+64)
	if len(ev.Type) > 0 {
		out = append(append(append(out, "event: "...), ev.Type...), '\n')
	}
	for i, c := range data {
		if c == '\n' || c == '\r' { // between two values: a string has none
			data[i] = ' '
		}
	}
	return append(append(append(out, "data: "...), data...), "\n\n"...)
}

// ownEnd is the end of a stream that had it all but its terminal event.
func (s *stream) ownEnd() (end []byte, f *upstream.Failure, done bool) {
	if s.conv == nil {
		return openai.AppendDone(nil), nil, false
	}
	end, err := s.conv.End(nil)
	if err != nil {
		f, done = s.inconvertible(sse.Event{}, err)
		return nil, f, done
	}
	return end, nil, false
}

// convertWhole puts a whole answer into the client's dialect, in its place.
func (x *exchange) convertWhole(ex *upstream.Exchange, res *upstream.Response, answer *body) *upstream.Failure {
	if x.form.conv == nil {
		return nil
	}
	text, err := x.form.conv.Answer(nil, answer.buf)
	if err == nil {
		answer.buf = text
		res.Header["Content-Type"] = []string{"application/json"}
		return nil
	}
	var told *openai.UpstreamError
	if errors.As(err, &told) {
		return x.g.o.Upstream.ClassifyError(ex, res.Header, *told)
	}
	return badAnswer(res, err)
}
