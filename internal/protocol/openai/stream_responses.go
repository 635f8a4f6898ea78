package openai

import (
	"bytes"

	"realms/internal/protocol/rawjson"
	"realms/internal/sse"
)

const maxOutputIDs = 1024

// responses judges an event of a Responses stream. Its type is the data's own; the
// event line repeats it.
func (s *StreamState) responses(ev sse.Event, doc *rawjson.Doc) Verdict {
	typ := eventType(ev, doc)
	if raw, ok := doc.Get("sequence_number"); ok {
		if n, ok := rawjson.Int(raw); ok && n >= 0 && n < maxCount {
			s.sequence = n
		}
	}
	if bytes.HasSuffix(typ, []byte(".delta")) && bytes.HasPrefix(typ, []byte("response.")) {
		delta, _ := doc.Get("delta")
		return s.produced(outputLength(delta))
	}
	switch string(typ) {
	case "response.created", "response.queued", "response.in_progress":
		s.created = s.created || len(typ) == len("response.created")
		s.begin(doc)
		return Verdict{Class: ClassHeld}
	case "response.completed", "response.failed", "response.incomplete", "response.done", "response.cancelled":
		return s.finish(typ, doc)
	case "response.output_item.added", "response.output_item.done":
		item, _ := doc.Get("item")
		return s.produced(s.itemOutput(item))
	case "response.content_part.added", "response.content_part.done":
		part, _ := doc.Get("part")
		return s.produced(s.partOutput(part))
	case "response.output_text.done":
		return s.repeated(doc, "text")
	case "response.refusal.done":
		return s.repeated(doc, "refusal")
	}
	if string(typ) == "error" || isError(ev, doc) {
		v := s.fail(doc)
		v.Class, s.ended = ClassHeld, false // Codex ignores it: response.failed must follow
		return v
	}
	if !bytes.HasPrefix(typ, []byte("response.")) {
		return Verdict{Class: ClassHeld} // keepalive, codex.rate_limits
	}
	s.output = true // some item at work
	return Verdict{Class: ClassSubstantive}
}

// produced judges an event by how much output it has.
func (s *StreamState) produced(n int) Verdict {
	if n > 0 {
		s.output = true
	}
	if s.output {
		return Verdict{Class: ClassSubstantive, OutputBytes: n}
	}
	return Verdict{Class: ClassHeld}
}

// repeated judges an event that says whole what its deltas said before, and so adds
// nothing to the count.
func (s *StreamState) repeated(doc *rawjson.Doc, key string) Verdict {
	raw, _ := doc.Get(key)
	v := s.produced(outputLength(raw))
	v.OutputBytes = 0
	return v
}

// eventType is the data's type, or the event line's where the data has none.
func eventType(ev sse.Event, doc *rawjson.Doc) []byte {
	raw, _ := doc.Get("type")
	if !rawjson.IsString(raw) {
		return ev.Type
	}
	return raw[1 : len(raw)-1] // event types have no escapes
}

// begin notes the response's id from an event that opens it.
func (s *StreamState) begin(doc *rawjson.Doc) {
	raw, _ := doc.Get("response")
	if response, ok := s.object(raw); ok && s.responseID == "" {
		id, _ := response.Get("id")
		s.responseID, _ = rawjson.String(id)
	}
}

// finish reads a terminal event.
func (s *StreamState) finish(typ []byte, doc *rawjson.Doc) Verdict {
	s.ended = true
	v := Verdict{Class: ClassTerminal}
	usage, _ := doc.Get("usage")
	s.usage.take(usage)
	raw, _ := doc.Get("response")
	response, ok := s.object(raw)
	if !ok {
		response = *doc // some upstreams leave the envelope out
	}
	if id, ok := response.Get("id"); ok {
		if text, ok := rawjson.String(id); ok && text != "" {
			s.responseID = text
		}
	}
	usage, _ = response.Get("usage")
	s.usage.take(usage)
	status, _ := response.Get("status")
	problem, _ := response.Get("error")
	output, _ := response.Get("output")
	switch {
	case string(typ) == "response.failed" || rawjson.Equal(status, "failed"):
		s.failed = true
		e := errorFrom(problem)
		v.Failed = &e
	case string(typ) == "response.incomplete" || rawjson.Equal(status, "incomplete"),
		string(typ) == "response.cancelled" || rawjson.Equal(status, "cancelled"):
		s.otherEnd = true
	}
	s.outputIDs = append(s.outputIDs, outputIDs(output)...)
	s.output = s.output || s.hasOutput(output)
	return v
}

// hasOutput tells whether a list of output items holds any output.
func (s *StreamState) hasOutput(output []byte) bool {
	for _, item := range rawjson.Elements(output) {
		if s.itemOutput(item) > 0 {
			return true
		}
	}
	return false
}

// itemOutput tells whether an output item is output, as 1, or so far only an empty
// message, as 0. Its text was counted by its deltas.
func (s *StreamState) itemOutput(raw []byte) int {
	item, ok := s.object(raw)
	if !ok {
		return 0
	}
	if typ, _ := item.Get("type"); !rawjson.Equal(typ, "message") {
		return 1
	}
	content, _ := item.Get("content")
	for _, part := range rawjson.Elements(content) {
		if s.partOutput(part) > 0 {
			return 1
		}
	}
	return 0
}

// partOutput tells the same of a part of a message.
func (s *StreamState) partOutput(raw []byte) int {
	part, ok := s.object(raw)
	if !ok {
		return 0
	}
	for i := range part.Fields {
		f := &part.Fields[i]
		switch string(f.Key) {
		case "type", "annotations", "logprobs":
		default:
			if !rawjson.IsEmpty(part.Body[f.ValStart:f.ValEnd]) {
				return 1
			}
		}
	}
	return 0
}

// outputIDs are the ids of output items.
func outputIDs(output []byte) []string {
	var ids []string
	var fields []rawjson.Field
	for _, raw := range rawjson.Elements(output) {
		item, err := rawjson.Scan(raw, fields)
		if err != nil || len(ids) == maxOutputIDs {
			continue
		}
		fields = item.Fields
		id, _ := item.Get("id")
		if text, ok := rawjson.String(id); ok && text != "" {
			ids = append(ids, text)
		}
	}
	return ids
}
