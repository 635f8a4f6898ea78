package realm

import (
	"hash/fnv"
	"time"
)

// What processes of one installation tell each other. All of it may be lost: then
// each knows what it has learned itself.

// RouteKey names a session of one user: a hash, since what clients send as its
// name is theirs.
type RouteKey [16]byte

// IsZero tells whether there is no session.
func (k RouteKey) IsZero() bool { return k == RouteKey{} }

// For is the same session where it asks for a model that its account does not have.
func (k RouteKey) For(model string) RouteKey {
	h := fnv.New64a()
	_, _ = h.Write([]byte(model)) // a hash never fails
	for i, b := range h.Sum(nil) {
		k[i] ^= b
	}
	return k
}

// Cooldown is an upstream's word that something must not be asked for a time.
type Cooldown struct {
	Scope Scope
	ID    ID        // of what Scope names
	Name  string    // the model or API that the scope adds; empty: none
	Until time.Time // zero: not any more; of everything about ID if Name is AnyModel
	Cause Cause
	// Print tells the thing as it was when this was said: after a new key, or a
	// change of the channel, it says nothing.
	Print uint32
}

// Load is what one process has under way, and has begun in the last minute, on a
// credential or a channel that has limits.
type Load struct {
	InFlight int
	Requests int   // begun in the last 60 s
	Tokens   int64 // of the last 60 s
}

// Add is the sum of two loads.
func (l Load) Add(o Load) Load {
	return Load{InFlight: l.InFlight + o.InFlight, Requests: l.Requests + o.Requests, Tokens: l.Tokens + o.Tokens}
}
