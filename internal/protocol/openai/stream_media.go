package openai

import (
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
