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
	sequence, _ := doc.Get("sequence_number")
	if n, ok := rawjson.Int(sequence); ok && n >= 0 && n < maxCount {
		s.sequence = n
	}
	if bytes.HasSuffix(typ, []byte(".delta")) && bytes.HasPrefix(typ, []byte("response.")) {
		return s.delta(doc)
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
		n := 0
		if !s.deltas && len(typ) == len("response.output_item.done") {
			n = len(item) // an upstream that sends whole items alone
		}
		return s.produced(s.itemOutput(item), n)
	case "response.content_part.added", "response.content_part.done":
		part, _ := doc.Get("part")
		return s.produced(s.partOutput(part), 0)
	case "response.output_text.done":
		text, _ := doc.Get("text")
		return s.produced(!rawjson.IsEmpty(text), 0)
	case "response.refusal.done":
		text, _ := doc.Get("refusal")
		return s.produced(!rawjson.IsEmpty(text), 0)
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

// delta judges a piece of output.
func (s *StreamState) delta(doc *rawjson.Doc) Verdict {
	f := doc.Field("delta")
	if f == nil {
		return s.produced(false, 0)
	}
	raw := doc.Body[f.ValStart:f.ValEnd]
	n := outputLength(raw)
	if n > 0 {
		s.deltas = true
		if rawjson.IsString(raw) {
			s.mold.cast(doc, hole{f.ValStart + 1, f.ValEnd - 1, holeOutput}, integerHole(doc, "sequence_number"))
		}
	}
	return s.produced(n > 0, n)
}

// produced judges an event that may carry output, n bytes of which were not counted
// before.
func (s *StreamState) produced(output bool, n int) Verdict {
	s.output = s.output || output
	if !s.output {
		return Verdict{Class: ClassHeld}
	}
	return Verdict{Class: ClassSubstantive, OutputBytes: n}
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
		if s.itemOutput(item) {
			return true
		}
	}
	return false
}

// itemOutput tells whether an output item is output, or so far only an empty message.
func (s *StreamState) itemOutput(raw []byte) bool {
	item, ok := s.object(raw)
	if !ok {
		return false
	}
	if typ, _ := item.Get("type"); !rawjson.Equal(typ, "message") {
		return true
	}
	content, _ := item.Get("content")
	for _, part := range rawjson.Elements(content) {
		if s.partOutput(part) {
			return true
		}
	}
	return false
}

// partOutput tells the same of a part of a message.
func (s *StreamState) partOutput(raw []byte) bool {
	part, ok := s.object(raw)
	if !ok {
		return false
	}
	for i := range part.Fields {
		f := &part.Fields[i]
		switch string(f.Key) {
		case "type", "annotations", "logprobs":
		default:
			if !rawjson.IsEmpty(part.Body[f.ValStart:f.ValEnd]) {
				return true
			}
		}
	}
	return false
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
