package sse

import "sync"

// A buffer is as large as what the stream lately brought in one read: a quiet
// stream keeps 4 KiB, a busy one reads 64 KiB at a time.
const (
	smallBuffer = 4 << 10
	fullBuffer  = 64 << 10
)

// The sizes between which buffers grow and shrink.
var sizes = [...]int{smallBuffer, 16 << 10, fullBuffer}

// Buffers outlive streams; pools are the one thing here that is shared.
var pools [len(sizes)]sync.Pool

// buffer is a byte slice that remembers where it came from.
type buffer struct {
	b     []byte
	class int // index in sizes; -1: larger, left to the collector
}

func getBuffer(class int) *buffer {
	if v := pools[class].Get(); v != nil {
		return v.(*buffer)
	}
	return &buffer{b: make([]byte, sizes[class]), class: class}
}

// bigBuffer has room for n bytes, for an event that is held beyond 64 KiB.
func bigBuffer(n int) *buffer { return &buffer{b: make([]byte, n), class: -1} }

func (b *buffer) release() {
	if b.class >= 0 {
		pools[b.class].Put(b)
	}
}
