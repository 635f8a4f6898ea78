// Package convert turns requests, answers and streams of one of OpenAI's two
// dialects, Chat Completions and Responses, into the other's, so that a client of
// either can use an upstream of either.
//
// It owns what corresponds to what, and the refusal of what nothing corresponds
// to. It does no I/O, holds no state but a stream's own, and never looks at which
// upstream is asked: a request is converted for the dialect, not for a provider.
//
//	a Responses client, a Chat upstream:  ToChat(request) → Body · Answer · Stream
//	a Chat client, a Responses upstream:  ToResponses(request) → Body · Answer · Stream
//
// A file is of one direction, which its name begins with, or of both.
package convert

import "realms/internal/protocol/openai"

// maxItems bounds the items of one stream.
const maxItems = 4096

// Conversion is one request converted, and the way back of its answer. It belongs
// to one request; Answer and Stream may be used again for another attempt.
type Conversion interface {
	// Body is the request in the upstream's dialect, its model as the client named
	// it.
	Body() []byte
	// Added are the fields of the body that the client has not asked for, in whatever
	// form: it is as well served by an upstream that knows nothing of them.
	Added() []string
	// Answer appends to dst the client's form of a whole answer. An error means that
	// the answer is none of the upstream's dialect.
	Answer(dst, answer []byte) ([]byte, error)
	// Stream begins the conversion of a stream of events that may have so many bytes
	// of output: what does not go out at once, or is told once more at the end, is
	// kept, and one that brings more is a failure.
	Stream(most int) Stream
}

// Stream converts one stream. It is used by one goroutine.
type Stream interface {
	// Event appends to dst what the client gets for one event of the upstream:
	// whole events with their blank lines, none, one or several. kind is the event's
	// name, empty where it has none; data its data, lines joined. Neither is kept. The
	// upstream's end (its terminal event, or [DONE]) is given to it too, and appends
	// the client's end.
	Event(dst, kind, data []byte) ([]byte, error)
	// End appends the client's end if no event of the upstream's did: the stream has
	// ended without its terminal event but with all of its output.
	End(dst []byte) ([]byte, error)
	// Point is how far the client's stream has come.
	Point() openai.Point
	// Spoke tells whether the client has been given output, and not only its beginning:
	// much that an upstream does has no place in the other dialect.
	Spoke() bool
}
