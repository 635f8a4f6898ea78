package openai

import (
	"bytes"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
	"realms/internal/sse"
)

// Class says what an event means for the relay.
type Class uint8

// The classes of events.
const (
	// ClassComment: nothing of the protocol's.
	ClassComment Class = iota
	// ClassHeld: an event without output (response.created, an empty role delta, a
	// finish without output): may be held back until something substantive comes.
	ClassHeld
	// ClassSubstantive: output.
	ClassSubstantive
	// ClassUsageOnly: a chunk with usage and without choices, for who asked for it.
	ClassUsageOnly
	// ClassTerminal: the protocol's end.
	ClassTerminal
)

// Verdict is what Inspect says of one event.
type Verdict struct {
	Class Class
	// Failed is set when the event tells a failure. With ClassTerminal the client's
	// protocol understands the event as it is; without (the bare error event of
	// Responses, which Codex ignores; the [DONE] of a chat stream whose choice broke
	// off) AppendFailure must take its place.
	Failed *UpstreamError
	// OutputBytes is how much output the event carries, as written in JSON.
	OutputBytes int
}

// DataError says that an event's data is not what the stream's protocol allows.
type DataError struct{ Err error }

func (e *DataError) Error() string { return "event data: " + e.Err.Error() }
func (e *DataError) Unwrap() error { return e.Err }

// StreamState follows one stream, event by event. The zero value is not usable:
// call Reset; it may be reused after another Reset.
type StreamState struct {
	kind    StreamKind
	choices int

	fields []rawjson.Field // of the event; reused
	nested []rawjson.Field // of an object in it; reused
	usage  usageState
	mold   mold

	sequence   int64
	responseID string
	outputIDs  []string
	created    bool
	ended      bool
	failed     bool
	output     bool // something substantive was there
	deltas     bool // output came in deltas, so that whole items repeat it
	otherEnd   bool // ended by a limit or a filter: no output is an answer too
	images     int  // completed
	finished   choiceSet
	broken     *UpstreamError // a choice of a chat stream told of its failure
}

// usualFields is how many fields nearly all events have.
const usualFields = 16

// choiceSet is a set of the choices' indices.
type choiceSet [maxChoices / 64]uint64

func (c *choiceSet) add(i int64) {
	if i >= 0 && i < maxChoices {
		c[i/64] |= 1 << (i % 64)
	}
}

// Reset begins a new stream. choices is the request's n, at least 1.
func (s *StreamState) Reset(kind StreamKind, choices int) {
	*s = StreamState{
		kind: kind, choices: max(choices, 1), sequence: -1,
		fields: s.fields[:0], nested: s.nested[:0],
		usage: usageState{outer: s.usage.outer[:0], inner: s.usage.inner[:0]},
		mold:  mold{literal: s.mold.literal[:0]},
	}
	if s.fields == nil {
		s.fields, s.nested = make([]rawjson.Field, 0, usualFields), make([]rawjson.Field, 0, usualFields)
	}
	s.usage.reset()
}

var done = []byte("[DONE]")

// Inspect judges one event. A *DataError means data that is not a JSON object.
// Nothing is allocated for an ordinary delta. What comes after the terminal event
// counts for nothing.
func (s *StreamState) Inspect(ev sse.Event) (Verdict, error) {
	if ev.Part {
		s.output = true
		return Verdict{Class: ClassSubstantive, OutputBytes: ev.End - ev.Start}, nil
	}
	data := bytes.TrimSpace(ev.Data)
	if ev.Comment || len(data) == 0 || s.ended {
		return Verdict{Class: ClassComment}, nil
	}
	if bytes.Equal(data, done) {
		return s.doneVerdict(), nil
	}
	if n, sequence := s.mold.fits(data); n > 0 && string(ev.Type) != "error" {
		s.sequence = max(s.sequence, sequence)
		return Verdict{Class: ClassSubstantive, OutputBytes: n}, nil
	}
	doc, err := rawjson.Scan(data, s.fields)
	if err != nil {
		return Verdict{}, &DataError{err}
	}
	s.fields = doc.Fields[:0]
	switch s.kind {
	case StreamResponses:
		return s.responses(ev, &doc), nil
	case StreamChat, StreamCompletions:
		return s.chat(ev, &doc), nil
	default:
		return s.media(ev, &doc), nil
	}
}

// isError tells whether an event of any protocol is an error: by its type, or by
// an error object in its data.
func isError(ev sse.Event, doc *rawjson.Doc) bool {
	if string(ev.Type) == "error" {
		return true
	}
	raw, _ := doc.Get("error")
	return !rawjson.IsEmpty(raw)
}

// fail ends the stream with the error that an event's data is.
func (s *StreamState) fail(doc *rawjson.Doc) Verdict {
	s.failed, s.ended = true, true
	e := ParseError(doc.Body)
	return Verdict{Class: ClassTerminal, Failed: &e}
}

// object scans an object inside an event.
func (s *StreamState) object(raw []byte) (rawjson.Doc, bool) {
	if !rawjson.IsObject(raw) {
		return rawjson.Doc{}, false
	}
	doc, err := rawjson.Scan(raw, s.nested)
	if err != nil {
		return rawjson.Doc{}, false
	}
	s.nested = doc.Fields[:0]
	return doc, true
}

// Usage is the last valid usage seen; UsageNone with Input and Output -1 if none.
func (s *StreamState) Usage() realm.Usage { return s.usage.usage }

// SuspectUsage tells that a usage was seen whose numbers cannot be true; it was
// not taken.
func (s *StreamState) SuspectUsage() bool { return s.usage.suspect }

// Sequence is the sequence_number of the last event; -1 before any.
func (s *StreamState) Sequence() int64 { return s.sequence }

// Created tells that response.created has passed.
func (s *StreamState) Created() bool { return s.created }

// Ended tells that the terminal event has passed.
func (s *StreamState) Ended() bool { return s.ended }

// Empty tells that what was seen so far, if it is all, is a completion without any
// text, tool call, refusal, reasoning or other item. A stream that failed, or was
// ended by a limit or a filter, is not empty.
func (s *StreamState) Empty() bool {
	switch s.kind {
	case StreamResponses, StreamChat, StreamCompletions:
		return !s.output && !s.otherEnd && !s.failed
	default:
		return false
	}
}

// doneVerdict judges the [DONE] of a chat stream.
func (s *StreamState) doneVerdict() Verdict {
	if s.kind == StreamResponses {
		return Verdict{Class: ClassComment} // tolerated, never the end
	}
	s.ended = true
	if s.broken != nil {
		return Verdict{Class: ClassHeld, Failed: s.broken}
	}
	return Verdict{Class: ClassTerminal}
}

// FinishedAllChoices tells that every choice had its finish_reason.
func (s *StreamState) FinishedAllChoices() bool {
	for i := range s.choices {
		if s.finished[i/64]>>(i%64)&1 == 0 {
			return false
		}
	}
	return true
}

// Broken is the failure that a choice told of, without an error event, in a stream
// that is at its end; nil if none did.
func (s *StreamState) Broken() *UpstreamError { return s.broken }

// ResponseID is the response's id, empty until it was seen.
func (s *StreamState) ResponseID() string { return s.responseID }

// OutputIDs are the ids of the terminal event's output items.
func (s *StreamState) OutputIDs() []string { return s.outputIDs }
