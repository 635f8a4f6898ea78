package gateway

import (
	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/sse"
	"realms/internal/upstream"
)

// failed handles an event that tells a failure. Before commit it is classified
// like a status; after it the client gets the event as it is, if its protocol knows
// such an end and it may see it, else its own kind of error.
func (s *stream) failed(ev sse.Event, v openai.Verdict) (*upstream.Failure, bool) {
	x := s.x
	f := x.g.o.Upstream.ClassifyError(s.ex, s.res.Header, *v.Failed)
	if s.abandon() {
		return f, false
	}
	if !s.flushBefore(ev) {
		return nil, true
	}
	s.seal()
	x.noteUsage(s.state.Usage())
	x.rec.Error = oneLine(f.Outcome.Err.Error())
	x.spend(x.rec.Usage)
	x.report(&f.Outcome)
	x.finish(s.res.Status, realm.EndedFailed, f.Outcome.Cause)
	own := operatorsOwn(f.Outcome.Cause)
	raw := s.sc.Bytes(ev.Start, ev.End)
	if v.Class == openai.ClassTerminal && s.conv == nil && !own && !upstream.Shows(s.ex, raw) {
		s.last(raw, ev.Unterminated)
		return nil, true
	}
	e := &realm.Error{Code: realm.CodeUpstreamBad, Message: f.Error.Message, Reason: f.Error.Code}
	if own {
		e.Message, e.Reason = "The upstream could not finish its answer.", string(realm.CauseUpstreamCut)
	}
	at := s.at
	at.Attempts = len(x.tries)
	x.client.Fail(e, at)
	return nil, true
}

// operatorsOwn tells whether a failure is between the operator and the upstream:
// its words would make a client think that its own key or quota is meant.
func operatorsOwn(c realm.Cause) bool {
	switch c {
	case realm.CauseAuth, realm.CauseForbidden, realm.CauseQuota, realm.CauseBlocked:
		return true
	default:
		return false
	}
}
