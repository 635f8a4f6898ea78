package gateway

import "time"

// start arms the timer of silence.
func (s *stream) start() {
	s.x.mu.Lock()
	defer s.x.mu.Unlock()
	s.timer = time.AfterFunc(s.nextTick(time.Now()), s.tick)
}

// close stops the timer and waits for one that is running.
func (s *stream) close() {
	s.timer.Stop()
	s.x.mu.Lock()
	s.closed = true
	s.x.mu.Unlock()
	s.sc.Release()
	s.giveRoom()
}

// tick commits an answer that has been silent for too long (proxies in between
// cut at a minute) and keeps a committed one alive. Only here, while a 200 with
// events is held, does silence commit.
func (s *stream) tick() {
	x := s.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.closed {
		return
	}
	now := time.Now()
	silent := x.g.o.Relay.SilentCommit
	switch {
	case !x.committed && silent > 0 && now.Sub(x.started) >= silent:
		x.silent = true
		_ = s.send([]byte(": waiting\n\n")) // a client that is gone is found by its context
	case x.committed && !s.midEvent && now.Sub(x.lastWrite) >= x.g.o.Relay.KeepAlive:
		x.lastWrite = now
		_ = x.client.KeepAlive(s.at)
	}
	s.timer.Reset(s.nextTick(now))
}

// nextTick is when the timer is due. x.mu is held. Nobody wakes it at commit, so
// that it looks once in a keep-alive's time from the start.
func (s *stream) nextTick(now time.Time) time.Duration {
	due := s.x.g.o.Relay.KeepAlive
	if s.x.committed {
		due -= now.Sub(s.x.lastWrite)
	} else if silent := s.x.g.o.Relay.SilentCommit; silent > 0 {
		due = min(due, silent-now.Sub(s.x.started))
	}
	return max(due, time.Millisecond)
}
