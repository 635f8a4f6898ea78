package gateway

import "realms/internal/protocol/openai"

// long chooses for an event that fills the buffer: passed on in pieces if its
// head shows that it is not the end, else held on. True means that the client is
// gone.
func (s *stream) long() (done bool) {
	class, ok := s.state.Head(s.sc.Pending())
	if s.conv != nil || s.whole != nil { // an event is converted, or collected, in one piece
		ok = false
	}
	if !s.midEvent && (!ok || class != openai.ClassSubstantive) {
		s.sc.Grow()
		return false
	}
	s.produced()
	s.x.mu.Lock()
	err := s.send(s.sc.TakePart())
	s.midEvent = true
	s.x.mu.Unlock()
	if err != nil {
		s.gone()
		return true
	}
	return false
}

// breakOff ends an event that was cut after pieces of it went out: else the error
// that follows would be part of its line, and no client could read it.
func (s *stream) breakOff() {
	if s.midEvent {
		_ = s.x.client.Write([]byte("\n\n")) // the client may be gone
	}
}
