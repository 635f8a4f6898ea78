// Package cluster carries what the processes of one installation tell each other
// through Redis: an upstream's word that something must wait (cool-downs), which
// credential a session is bound to, how much each has under way on what has
// limits, and that the catalogue has changed. Without Redis it carries nothing.
//
// It owns the connection, its breaker and the form of what is sent. It never
// decides: no money, no permission and no choice of an upstream hangs on it, and
// it keeps no memory that anybody reads but what is on its way. Losing Redis
// narrows each process to what it has learned itself; nothing is delayed by it
// for longer than BoundTimeout, and what was lost comes back by itself.
//
//	scheduler ── Tell, Bind ──→ outbox ──→ writer ──→ Redis (keys with an end, and a message)
//	scheduler ── Bound ────────────────────────────→ Redis (on a miss alone)
//	scheduler ←─ Hear, Others ── listener, learner ←─ Redis
//
// Run connects, and while a connection lasts four goroutines work on it: the
// listener hears messages, the learner reads the cool-downs that were told before,
// the writer empties the outbox, and the beat says each BeatEvery what is under
// way here. The first of them that finds Redis away ends all four; Run tries
// again until it is back.
//
// Clocks are never compared: what has an end is sent as the time that remains.
package cluster
