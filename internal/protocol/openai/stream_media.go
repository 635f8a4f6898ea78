package openai

import (
	"bytes"

	"realms/internal/protocol/rawjson"
	"realms/internal/sse"
)

// media judges an event of an images, speech or transcription stream.
func (s *StreamState) media(ev sse.Event, doc *rawjson.Doc) Verdict {
	typ := eventType(ev, doc)
	if string(typ) == "error" || isError(ev, doc) {
		return s.fail(doc)
	}
	usage, _ := doc.Get("usage")
	s.usage.take(usage)
	s.output = true
	v := Verdict{Class: ClassSubstantive}
	if delta, ok := doc.Get("delta"); ok {
		v.OutputBytes = outputLength(delta)
	}
	if s.ends(typ) {
		s.ended = true
		v.Class = ClassTerminal
	}
	return v
}

// ends tells whether an event is the stream's last: with several images, each one
// completes by an event of its own.
func (s *StreamState) ends(typ []byte) bool {
	switch s.kind {
	case StreamImages:
		if string(typ) != "image_generation.completed" && string(typ) != "image_edit.completed" {
			return false
		}
		s.images++
		return s.images >= s.choices
	case StreamSpeech:
		return string(typ) == "speech.audio.done"
	case StreamTranscription:
		return string(typ) == "transcript.text.done"
	default:
		return false
	}
}

// Head judges an event of which only the beginning is there (sse.Scanner.Pending
// on a full buffer). With ok it may be acted on: ClassSubstantive may go out in
// pieces; without, or with any other class, the event must be held on.
func (s *StreamState) Head(pending []byte) (class Class, ok bool) {
	lineType, data := headLines(pending)
	typ := lineType
	if t := typePrefix(data); t != nil {
		typ = t
	}
	switch s.kind {
	case StreamChat, StreamCompletions:
		if bytes.Contains(data, []byte(`"delta":{`)) && !bytes.Contains(data, []byte(`"error":`)) {
			return ClassSubstantive, true
		}
		return ClassHeld, false
	case StreamResponses:
		return responsesHead(typ)
	case StreamImages, StreamSpeech, StreamTranscription:
		if bytes.HasSuffix(typ, []byte(".partial_image")) || bytes.HasSuffix(typ, []byte(".delta")) {
			return ClassSubstantive, true
		}
		return ClassTerminal, false
	default:
		return ClassHeld, false
	}
}

func responsesHead(typ []byte) (Class, bool) {
	switch string(typ) {
	case "":
		return ClassHeld, false
	case "response.created", "response.queued", "response.in_progress":
		return ClassHeld, true
	case "response.completed", "response.failed", "response.incomplete", "response.done", "response.cancelled", "error":
		return ClassTerminal, true
	}
	if bytes.HasPrefix(typ, []byte("response.")) {
		return ClassSubstantive, true
	}
	return ClassHeld, false
}

// headLines cuts the beginning of an event into its event line, if that comes
// first, and its data.
func headLines(pending []byte) (typ, data []byte) {
	for len(pending) != 0 {
		line := pending
		if n := bytes.IndexAny(pending, "\r\n"); n >= 0 {
			line, pending = pending[:n], pending[n+1:]
		} else {
			pending = nil
		}
		if value, ok := bytes.CutPrefix(line, []byte("event:")); ok {
			typ = bytes.TrimSpace(value)
		} else if value, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			return typ, bytes.TrimLeft(value, " ")
		}
	}
	return typ, nil
}

// typePrefix is the type that data begins with; nil if it begins otherwise.
func typePrefix(data []byte) []byte {
	rest := data
	for _, token := range [...]string{"{", `"type"`, ":", `"`} {
		var ok bool
		if rest, ok = bytes.CutPrefix(bytes.TrimLeft(rest, " "), []byte(token)); !ok {
			return nil
		}
	}
	if n := bytes.IndexByte(rest, '"'); n >= 0 {
		return rest[:n]
	}
	return nil
}
