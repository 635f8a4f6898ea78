package testkit

import (
	"bytes"
	"compress/gzip"
	"io"
	"time"
)

// Cut sends n chunks (events of a stream) and then ends in the given way.
func Cut(n int, end End) Fault {
	return func(_ *Request, a *Answer) {
		a.Chunks = a.Chunks[:min(n, len(a.Chunks))]
		a.End = end
	}
}

// CutBytes sends n bytes of the body and then ends in the given way.
func CutBytes(n int, end End) Fault {
	return func(_ *Request, a *Answer) {
		all := bytes.Join(a.Chunks, nil)
		if a.Framing == FrameLength {
			a.Declared = int64(len(all))
		}
		a.Chunks = [][]byte{all[:min(n, len(all))]}
		a.End = end
	}
}

// NoDone leaves the terminal event out and ends cleanly.
func NoDone() Fault {
	return func(_ *Request, a *Answer) { a.Chunks = a.Chunks[:max(len(a.Chunks)-1, 0)] }
}

// StallAfter sends n chunks and then nothing more.
func StallAfter(n int) Fault { return Cut(n, EndStall) }

// Hang never answers.
func Hang() Fault {
	return func(_ *Request, a *Answer) { a.NoHeader, a.End = true, EndStall }
}

// Slow answers after a while.
func Slow(d time.Duration) Fault {
	return func(_ *Request, a *Answer) { a.Wait = d }
}

// SlowFirst sends the header at once and the first event after a while.
func SlowFirst(d time.Duration) Fault {
	return func(_ *Request, a *Answer) { a.First = d }
}

// Pace puts a pause between events.
func Pace(d time.Duration) Fault {
	return func(_ *Request, a *Answer) { a.Gap = d }
}

// Drip sends the body byte by byte with a pause between.
func Drip(d time.Duration) Fault {
	return func(_ *Request, a *Answer) {
		all := bytes.Join(a.Chunks, nil)
		a.Chunks = nil
		for i := range all {
			a.Chunks = append(a.Chunks, all[i:i+1])
		}
		a.Gap = d
	}
}

// InOnePiece sends all events in one write.
func InOnePiece() Fault {
	return func(_ *Request, a *Answer) { a.Chunks = [][]byte{bytes.Join(a.Chunks, nil)} }
}

// Comments puts an SSE comment before every event.
func Comments() Fault {
	return func(_ *Request, a *Answer) {
		var out [][]byte
		for _, c := range a.Chunks {
			out = append(out, []byte(": still here\n\n"), c)
		}
		a.Chunks = out
	}
}

// Insert puts an event, as it is, before the nth chunk.
func Insert(n int, raw string) Fault {
	return func(_ *Request, a *Answer) {
		n := min(n, len(a.Chunks))
		rest := append([][]byte{[]byte(raw)}, a.Chunks[n:]...)
		a.Chunks = append(a.Chunks[:n:n], rest...)
	}
}

// Malformed puts an event that is no JSON before the nth chunk.
func Malformed(n int) Fault { return Insert(n, "data: {\"choices\":[{\"delta\":{\n\n") }

// GiantEvent puts a legitimate text event of n bytes before the second chunk from
// the end of the text.
func GiantEvent(n int) Fault {
	return func(r *Request, a *Answer) {
		reply := a.Reply
		reply.Deltas = []string{"before", string(bytes.Repeat([]byte("a"), n)), "after"}
		With(reply)(r, a)
	}
}

// EndlessLine never ends its second event's line; limit bounds what the fake
// sends before it gives up.
func EndlessLine(limit int) Fault {
	return func(r *Request, a *Answer) {
		a.Chunks = append(a.Chunks[:1:1], []byte("data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\""))
		block := bytes.Repeat([]byte("a"), 64<<10)
		for sent := 0; sent < limit; sent += len(block) {
			a.Chunks = append(a.Chunks, block)
		}
		a.End = EndFIN
	}
}

// Rewrite changes every event's bytes.
func Rewrite(edit func(event []byte) []byte) Fault {
	return func(_ *Request, a *Answer) {
		for i, c := range a.Chunks {
			a.Chunks[i] = edit(bytes.Clone(c))
		}
	}
}

// Gzip encodes the body, each event flushed.
func Gzip() Fault {
	return func(_ *Request, a *Answer) {
		var buf bytes.Buffer
		zip := gzip.NewWriter(&buf)
		out := make([][]byte, 0, len(a.Chunks))
		for i, c := range a.Chunks {
			_, _ = zip.Write(c)
			if _ = zip.Flush(); i == len(a.Chunks)-1 {
				_ = zip.Close()
			}
			out = append(out, bytes.Clone(buf.Bytes()))
			buf.Reset()
		}
		a.Chunks = out
		a.Header.Set("Content-Encoding", "gzip")
	}
}

// GzipBomb inflates to n bytes.
func GzipBomb(n int64) Fault {
	var buf bytes.Buffer
	zip := gzip.NewWriter(&buf)
	_, _ = io.CopyN(zip, spaces{}, n)
	_ = zip.Close()
	return func(_ *Request, a *Answer) {
		a.Chunks = [][]byte{buf.Bytes()}
		a.Header.Set("Content-Encoding", "gzip")
	}
}

type spaces struct{}

func (spaces) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Encoded says that the body is encoded, which it is not.
func Encoded(encoding string) Fault { return Header("Content-Encoding", encoding) }
