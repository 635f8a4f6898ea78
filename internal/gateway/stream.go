package gateway

import (
	"context"
	"time"

	"realms/internal/protocol/convert"
	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/sse"
	"realms/internal/upstream"
)

// What may be held back before the first substantive event.
const (
	heldEvents = 16
	heldBytes  = 1 << 20
	// echoes is how often a conversion repeats the request before any output: in
	// response.created and in response.in_progress. That is none of the upstream's.
	echoes = 2
)

// drainTime is how long the upstream has, after its terminal event, to end the
// answer, so that its connection can serve again.
const drainTime = 250 * time.Millisecond

// stream is the relay of one upstream's events. The request's goroutine reads,
// inspects and writes whole events, once per read; a timer commits in silence and
// keeps clients waiting. x.mu is held for everything that goes to the client.
type stream struct {
	x     *exchange
	res   *upstream.Response
	ex    *upstream.Exchange
	sc    *sse.Scanner
	state openai.StreamState
	known bool // the response's id is remembered
	// drains: when the client leaves, the rest is read for its usage.
	drains bool
	// conv makes the client's events of the upstream's; nil: they are the same.
	conv convert.Stream
	room *[]byte // where it writes; nil: nowhere now
	out  []byte  // what it has made that is to be written next
	// whole puts together what the upstream leaves out of its terminal event; nil: it
	// leaves nothing out.
	whole *openai.Collector

	// echo is how much of what is held may be the request itself: a conversion makes
	// events that repeat it.
	echo int

	from, to int  // the range of the scanner's buffer to be written next
	output   bool // something substantive came: commit with this round
	partEnds bool // the range ends the event of which pieces are out

	// Under x.mu.
	held     []byte   // events of earlier reads, not yet committed
	events   int      // how many
	at       Progress // of what was sent or is held
	midEvent bool     // a piece of an event is out: nothing may be put in between
	closed   bool
	timer    *time.Timer
}

func (x *exchange) relayStream(ctx context.Context, ex *upstream.Exchange, res *upstream.Response) *upstream.Failure {
	s := &stream{
		x: x, res: res, ex: ex, sc: sse.NewScanner(res.Body, x.g.o.Limits.EventBytes),
		drains: drains(ex.Attempt.Channel),
	}
	choices := 1
	if x.form.req != nil {
		choices = x.form.req.Choices
	}
	s.state.Reset(x.form.op.Stream, choices)
	if x.form.conv != nil {
		s.conv = x.form.conv.Stream(x.g.o.Limits.EventBytes)
		s.echo = echoes * len(x.req.Doc.Body)
	}
	if ex.Attempt.Channel.Type == realm.CodexOAuth && x.form.conv == nil && !upstream.IsCodexClient(x.call.Header) {
		s.whole = openai.NewCollector(x.g.o.Limits.EventBytes)
	}
	s.at.Point = s.point()
	s.start()
	defer s.close()
	for {
		err := s.sc.Fill()
		if s.drains && clientLeft(ctx) {
			s.gone()
			return nil
		}
		f, done := s.round()
		if f != nil || done {
			return f
		}
		if err == nil && s.sc.Full() && s.long() {
			return nil
		}
		if err != nil {
			return s.ended(ctx, err)
		}
	}
}

// round inspects every complete event of one read and sends what may go.
func (s *stream) round() (f *upstream.Failure, done bool) {
	for ev, ok := s.sc.Next(); ok; ev, ok = s.sc.Next() {
		if f, done = s.event(ev); f != nil || done {
			return f, done
		}
	}
	done = !s.flush()
	s.giveRoom()
	return nil, done
}

// event judges one event. It joins the range to be written, ends the stream, or
// fails it.
func (s *stream) event(ev sse.Event) (f *upstream.Failure, done bool) {
	if ev.Part {
		s.partEnds = !ev.Unterminated
		s.add(ev)
		return nil, false
	}
	v, err := s.state.Inspect(ev)
	if err != nil {
		return s.broken(err)
	}
	s.x.observeEvent(ev)
	if s.whole != nil {
		_ = s.whole.Add(ev) // what it cannot hold goes out as it came
	}
	if v.Failed != nil {
		return s.failed(ev, v)
	}
	switch v.Class {
	case openai.ClassTerminal:
		return s.terminal(ev)
	case openai.ClassUsageOnly:
		if s.conv == nil && s.x.req != nil && !s.x.req.IncludeUsage {
			return nil, false
		}
	case openai.ClassSubstantive:
		if s.conv == nil {
			s.produced()
		}
	case openai.ClassComment, openai.ClassHeld:
	}
	if s.conv != nil {
		return s.convert(ev, v.Class == openai.ClassSubstantive)
	}
	s.add(ev)
	return nil, false
}

// produced notes that output has come: this round commits, and from here on the
// upstream has the time of a stream that flows.
func (s *stream) produced() {
	if !s.output {
		s.output = true
		s.res.Started()
		s.x.spoke()
	}
}

// add puts an event into the range to be written; a withheld event before it
// makes two ranges of it.
func (s *stream) add(ev sse.Event) {
	if s.to != ev.Start {
		s.flush()
		s.from = ev.Start
	}
	s.to = ev.End
	s.events++
}

// flush writes the range if the answer is committed, or is by it; else it is put
// aside, since the next read overwrites the buffer. False means that the client
// is gone, and the record is settled.
func (s *stream) flush() bool {
	if s.from == s.to && len(s.out) == 0 {
		return true
	}
	held, err := s.put()
	if held {
		return true
	}
	if err != nil {
		s.gone()
		return false
	}
	return true
}

// put writes the range or puts it aside.
func (s *stream) put() (held bool, err error) {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	p := s.next()
	s.at.Point = s.point()
	mayHold := s.events <= heldEvents && len(s.held)+len(p) <= heldBytes+s.echo || s.closed // given up: all of it is kept
	if !s.x.committed && !s.output && mayHold {
		s.held = append(s.held, p...)
		return true, nil
	}
	s.remember() // before the client can ask for it
	err = s.send(p)
	if s.partEnds {
		s.partEnds, s.midEvent = false, false
	}
	return false, err
}

// next takes what is to be written next.
func (s *stream) next() []byte {
	if s.conv != nil {
		p := s.out
		s.out = s.out[:0] // whoever keeps p copies it
		return p
	}
	p := s.sc.Bytes(s.from, s.to)
	s.from = s.to
	return p
}

// point is how far the client's stream has come.
func (s *stream) point() openai.Point {
	if s.conv != nil {
		return s.conv.Point()
	}
	return s.state.Point()
}

// gone ends the stream of a client that does not take its bytes.
func (s *stream) gone() {
	s.seal()
	if s.drains {
		s.readOn()
	}
	s.x.noteUsage(s.state.Usage())
	s.x.rec.Status = s.res.Status
	s.x.clientGone()
}

// abandon gives the stream up for another attempt. It fails if the answer is
// committed, or is about to be: after it the timer cannot commit any more.
func (s *stream) abandon() bool {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	if s.x.committed || s.output {
		return false
	}
	s.closed = true
	return true
}

// seal keeps the timer from touching the request: its end is being written.
func (s *stream) seal() {
	s.x.mu.Lock()
	s.closed = true
	s.x.mu.Unlock()
}

// send commits if that is still to do, and writes what was held and p. x.mu is
// held.
func (s *stream) send(p []byte) error {
	if !s.x.committed {
		s.commit()
	}
	if len(s.held) > 0 {
		p = append(s.held, p...)
		s.held = nil
	}
	s.x.lastWrite = time.Now()
	return s.x.client.Write(p)
}

func (s *stream) commit() {
	s.x.begin()
	s.x.client.Begin(s.res.Status, s.res.Header, true, -1)
}

// remember makes the response's id known while it is still streamed, so that it
// can be fetched or cancelled.
func (s *stream) remember() {
	if !s.known && s.conv == nil && s.state.ResponseID() != "" {
		s.known = true
		s.x.keepObjects(s.state.ResponseID(), nil)
	}
}

// finish settles with the status that went out.
func (x *exchange) finish(status int, ended realm.Ended, cause realm.Cause) {
	x.rec.Status = status
	x.settle(ended, cause)
}
