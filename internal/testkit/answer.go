package testkit

import (
	"io"
	"net/http"
	"time"
)

// Script chooses the fault of one request; a nil Fault answers it well. It is
// called from many goroutines.
type Script func(*Request) Fault

// Fault edits the answer that is about to go out.
type Fault func(*Request, *Answer)

// Answer is what the fake is about to send, and how.
type Answer struct {
	Reply  Reply // what Chunks were composed from
	Status int
	Header http.Header
	// Chunks are written and flushed one by one: an event each in a stream, one for
	// a whole answer.
	Chunks  [][]byte
	Framing Framing
	// Declared replaces the true Content-Length under FrameLength; 0 does not.
	Declared int64
	Trailer  http.Header

	Wait  time.Duration // before the header
	First time.Duration // before the first chunk
	Gap   time.Duration // before each further chunk
	// Before is called before the nth chunk is written, from 0; nil is not. HTTP/1
	// only.
	Before func(chunk int)

	// NoHeader sends nothing at all: End follows the request.
	NoHeader bool
	End      End
	// Preface is written before the header as it is, Extra after the answer: HTTP/1
	// only.
	Preface, Extra []byte
	// Raw takes the connection over instead of all the above: HTTP/1 only. The
	// connection ends when it returns.
	Raw func(io.Writer) error
}

// Framing is how an HTTP/1 body says where it ends.
type Framing int

// The framings.
const (
	FrameChunked Framing = iota
	FrameLength
	FrameClose // by the connection's end
)

// End is what follows the last chunk.
type End int

// The ends of an answer.
const (
	EndClean End = iota
	EndFIN       // the connection is closed in the middle (HTTP/2: the stream is reset)
	EndReset     // the connection is reset (HTTP/2: the stream is)
	EndStall     // nothing more comes until the client goes away
)

// All applies faults in order.
func All(faults ...Fault) Fault {
	return func(r *Request, a *Answer) {
		for _, f := range faults {
			if f != nil {
				f(r, a)
			}
		}
	}
}

// Always gives every request the same fault.
func Always(f Fault) Script { return func(*Request) Fault { return f } }

// ByKey gives each credential's requests their fault, by the key they come with.
func ByKey(faults map[string]Fault) Script {
	return func(r *Request) Fault { return faults[r.Key] }
}

// Sequence gives the first request the first fault and so on; those after the
// last are answered well.
func Sequence(faults ...Fault) Script {
	return func(r *Request) Fault {
		if r.Number <= len(faults) {
			return faults[r.Number-1]
		}
		return nil
	}
}

// OnReused gives the fault to requests whose connection has served before.
func OnReused(f Fault) Script {
	return func(r *Request) Fault {
		if r.Reused {
			return f
		}
		return nil
	}
}
