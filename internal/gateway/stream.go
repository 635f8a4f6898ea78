package gateway

import (
	"context"
	"errors"
	"io"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/sse"
	"realms/internal/upstream"
)

// What may be held back before the first substantive event.
const (
	heldEvents = 16
	heldBytes  = 1 << 20
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
	if x.req != nil {
		choices = x.req.Choices
	}
	s.state.Reset(x.op.Stream, choices)
	s.at.Point = s.state.Point()
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
	return nil, !s.flush()
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
	if v.Failed != nil {
		return s.failed(ev, v)
	}
	switch v.Class {
	case openai.ClassTerminal:
		return s.terminal(ev)
	case openai.ClassUsageOnly:
		if s.x.req == nil || s.x.req.IncludeUsage {
			s.add(ev)
		}
		return nil, false
	case openai.ClassSubstantive:
		s.produced()
	case openai.ClassComment, openai.ClassHeld:
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
	if s.from == s.to {
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
	p := s.sc.Bytes(s.from, s.to)
	s.from = s.to
	s.at.Point = s.state.Point()
	mayHold := s.events <= heldEvents && len(s.held)+len(p) <= heldBytes || s.closed // given up: all of it is kept
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
	if !s.known && s.state.ResponseID() != "" {
		s.known = true
		s.x.keepObjects(s.state.ResponseID(), nil)
	}
}

// terminal ends the stream well: what came before it is sent, the usage made
// durable, and only then the client sees the end.
func (s *stream) terminal(ev sse.Event) (*upstream.Failure, bool) {
	x := s.x
	if s.state.Empty() && x.worthAnother() && s.abandon() {
		s.add(ev)
		return s.keepEmpty(), false
	}
	s.output = true
	if !s.flushBefore(ev) {
		return nil, true
	}
	s.seal()
	x.noteUsage(s.state.Usage())
	s.known = true
	if x.op.Keeps {
		x.rec.Objects = nil
		x.keepObjects(s.state.ResponseID(), s.state.OutputIDs())
	}
	x.finish(s.res.Status, realm.EndedCompleted, causeOf(s.state.Empty()))
	s.last(s.sc.Bytes(ev.Start, ev.End), ev.Unterminated)
	s.drain()
	return nil, true
}

// flushBefore sends what stands before an event that must wait for the record,
// and starts a new range at it. False means that the client is gone.
func (s *stream) flushBefore(ev sse.Event) bool {
	ok := s.flush()
	s.from, s.to = ev.Start, ev.Start
	return ok
}

// last writes the stream's last bytes; the record is closed, so a client that is
// gone changes nothing, and sealed, so no lock is needed.
func (s *stream) last(p []byte, unterminated bool) {
	if unterminated {
		p = append(append([]byte(nil), p...), "\n\n"...)
	}
	_ = s.send(p)
}

// broken handles an event that is not what the protocol allows.
func (s *stream) broken(err error) (*upstream.Failure, bool) {
	if s.abandon() {
		return badAnswer(s.res, err), false
	}
	if !s.flush() {
		return nil, true
	}
	s.seal()
	s.fail(realm.EndedUpstreamCut, &realm.Error{Code: realm.CodeUpstreamBad, Message: "The upstream's stream broke its own protocol.", Reason: string(realm.CauseUpstreamCut)}, err)
	return nil, true
}

// fail ends a committed stream with an error event.
func (s *stream) fail(ended realm.Ended, e *realm.Error, err error) {
	x := s.x
	x.noteUsage(s.state.Usage())
	x.rec.Error = oneLine(err.Error())
	x.finish(s.res.Status, ended, realm.CauseUpstreamCut)
	at := s.at
	at.Attempts = len(x.tries)
	x.client.Fail(e, at)
}

// ended handles the end of the upstream's bytes without a terminal event.
func (s *stream) ended(ctx context.Context, err error) *upstream.Failure {
	x := s.x
	if errors.Is(err, io.EOF) {
		if ev, ok := s.sc.Finish(); ok {
			if f, done := s.event(ev); f != nil || done {
				return f
			}
			if !s.flush() {
				return nil
			}
		}
		if s.state.FinishedAllChoices() {
			return s.complete()
		}
		err = errNoEnd
	}
	if s.abandon() {
		return x.readFailure(ctx, s.res, err)
	}
	s.seal()
	s.breakOff()
	x.noteUsage(s.state.Usage())
	x.rec.Status = s.res.Status
	x.cut(ctx, err, s.at)
	return nil
}

// complete ends a chat stream that had it all but its [DONE].
func (s *stream) complete() *upstream.Failure {
	x := s.x
	if s.state.Empty() && x.worthAnother() && s.abandon() {
		s.held = openai.AppendDone(s.held)
		return s.keepEmpty()
	}
	s.output = true
	s.seal()
	x.noteUsage(s.state.Usage())
	x.finish(s.res.Status, realm.EndedCompleted, causeOf(s.state.Empty()))
	s.last(openai.AppendDone(nil), false)
	return nil
}

// keepEmpty puts a stream without output aside, to ask one other credential.
func (s *stream) keepEmpty() *upstream.Failure {
	s.held = append(s.held, s.sc.Bytes(s.from, s.to)...)
	b := newBody(len(s.held), nil)
	b.buf = append(b.buf, s.held...)
	s.x.keep(&kept{body: b, header: s.res.Header, status: s.res.Status, stream: true, usage: s.state.Usage()})
	return emptyFailure(s.res)
}

// drain reads on to the answer's end, which has usually arrived with its terminal
// event, so that the connection can be used again.
func (s *stream) drain() {
	stop := time.AfterFunc(drainTime, s.res.Cut)
	defer stop.Stop()
	for s.sc.Fill() == nil {
		for _, ok := s.sc.Next(); ok; _, ok = s.sc.Next() {
			continue
		}
		if s.sc.Full() {
			return
		}
	}
}

var errNoEnd = errors.New("the stream ended without its terminal event")

// finish settles with the status that went out.
func (x *exchange) finish(status int, ended realm.Ended, cause realm.Cause) {
	x.rec.Status = status
	x.settle(ended, cause)
}
