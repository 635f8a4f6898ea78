package gateway

import (
	"time"

	"realms/internal/realm"
	"realms/internal/upstream"
)

// timeouts are an attempt's: the model's on its channel, else the channel's, else
// the relay's.
func (r *Relay) timeouts(a *realm.Attempt, stream bool) upstream.Timeouts {
	m, c := &a.Timeouts, &a.Channel.Settings.Timeouts
	t := upstream.Timeouts{
		Connect:   first(r.Connect, m.Connect, c.Connect),
		FirstByte: first(r.FirstWhole, m.FirstByte, c.FirstByte),
		Idle:      first(r.Idle, m.Idle, c.Idle),
	}
	if stream {
		t.FirstByte = first(r.FirstByte, m.FirstByte, c.FirstByte)
		t.FirstEvent = first(r.FirstEvent, m.FirstEvent, c.FirstEvent)
	}
	return t
}

// first is the narrowest level's word, or what holds without any.
func first(byDefault time.Duration, levels ...*time.Duration) time.Duration {
	for _, d := range levels {
		if d != nil {
			return *d
		}
	}
	return byDefault
}
