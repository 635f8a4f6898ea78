// Package limit bounds what requests may take together: so far the bytes of
// request bodies held in memory, and accepted connections.
//
// It owns counting and refusing. It never waits on anybody's behalf and knows
// nothing of requests, users or the wire.
package limit

import "sync/atomic"

// Bytes is a shared budget of memory. It is safe for concurrent use.
type Bytes struct {
	max  int64
	held atomic.Int64
}

// NewBytes makes a budget of max bytes.
func NewBytes(max int64) *Bytes { return &Bytes{max: max} }

// Take reserves n bytes; false means that the budget has no room for them and
// nothing was taken.
func (b *Bytes) Take(n int64) bool {
	if b.held.Add(n) > b.max {
		b.held.Add(-n)
		return false
	}
	return true
}

// Add reserves n bytes whether there is room for them or not, for what is under way
// and cannot be refused any more. Whoever comes next finds less room.
func (b *Bytes) Add(n int64) { b.held.Add(n) }

// Give returns n bytes that Take or Add reserved.
func (b *Bytes) Give(n int64) { b.held.Add(-n) }

// Held is how many bytes are taken now.
func (b *Bytes) Held() int64 { return b.held.Load() }
