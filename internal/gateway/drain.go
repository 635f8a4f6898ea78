package gateway

import (
	"context"
	"errors"
	"time"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

// drainMost is how long an answer is read on whose client has left.
const drainMost = 30 * time.Second

var errDrained = errors.New("the client left, and the answer did not end in time")

// upstreamContext is the one an attempt is made with. Where the channel drains, the
// client's leaving ends it only after a while: the usage comes last. done must be
// called when the attempt has ended.
func upstreamContext(ctx context.Context, ch *realm.Channel) (up context.Context, done func()) {
	if !drains(ch) {
		return ctx, func() {}
	}
	up, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); stopping(ctx) || pastDeadline(ctx) {
			cancel(cause)
			return
		}
		late := time.AfterFunc(drainMost, func() { cancel(errDrained) })
		context.AfterFunc(up, func() { late.Stop() })
	})
	return up, func() {
		stop()
		cancel(nil)
	}
}

func drains(ch *realm.Channel) bool { return ch.Settings.OnDisconnect == realm.DisconnectDrain }

// clientLeft tells whether ctx has ended for no reason of ours.
func clientLeft(ctx context.Context) bool {
	return ctx.Err() != nil && !stopping(ctx) && !pastDeadline(ctx)
}

// readOn reads what is left of a stream that nobody gets any more, for its usage.
func (s *stream) readOn() {
	for {
		for ev, ok := s.sc.Next(); ok; ev, ok = s.sc.Next() {
			if ev.Part {
				continue
			}
			v, err := s.state.Inspect(ev)
			if err != nil || v.Failed != nil || v.Class == openai.ClassTerminal {
				return
			}
		}
		if s.sc.Full() || s.sc.Fill() != nil {
			return
		}
	}
}
