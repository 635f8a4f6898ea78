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

// terminal ends the stream well: what came before it is sent, the usage made
// durable, and only then the client sees the end.
func (s *stream) terminal(ev sse.Event) (*upstream.Failure, bool) {
	x := s.x
	end, f, done := s.end(ev)
	if f != nil || done {
		return f, done
	}
	if s.state.Empty() && x.worthAnother() && s.abandon() {
		s.held = append(append(s.held, s.next()...), end...)
		return s.keepEmpty(), false
	}
	s.output = true
	if !s.flushBefore(ev) {
		return nil, true
	}
	s.seal()
	x.noteUsage(s.state.Usage())
	s.known = true
	if x.op.Keeps && s.conv == nil {
		x.rec.Objects = nil
		x.keepObjects(s.state.ResponseID(), s.state.OutputIDs())
	}
	x.finish(s.res.Status, realm.EndedCompleted, causeOf(s.state.Empty()))
	s.last(end, ev.Unterminated && s.conv == nil)
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
		if e := s.state.Broken(); e != nil {
			f, _ := s.failed(sse.Event{}, openai.Verdict{Failed: e})
			return f
		}
		if s.state.FinishedAllChoices() {
			return s.complete()
		}
		err = errNoEnd
	}
	if s.abandon() {
		return readFailure(ctx, s.res, err)
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
	end, f, done := s.ownEnd()
	if f != nil || done {
		return f
	}
	if s.state.Empty() && x.worthAnother() && s.abandon() {
		s.held = append(append(s.held, s.next()...), end...)
		return s.keepEmpty()
	}
	s.output = true
	s.seal()
	x.noteUsage(s.state.Usage())
	x.finish(s.res.Status, realm.EndedCompleted, causeOf(s.state.Empty()))
	s.last(end, false)
	return nil
}

// keepEmpty puts a stream without output aside, to ask one other credential.
func (s *stream) keepEmpty() *upstream.Failure {
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
