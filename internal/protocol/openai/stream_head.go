package openai

import "bytes"

// Head judges an event of which only the beginning is there (sse.Scanner.Pending
// on a full buffer). With ok it may be acted on: ClassSubstantive may go out in
// pieces, and counts as output then; without, or with any other class, the event
// must be held on.
func (s *StreamState) Head(pending []byte) (class Class, ok bool) {
	class, ok = s.head(pending)
	if ok && class == ClassSubstantive {
		s.output = true
	}
	return class, ok
}

func (s *StreamState) head(pending []byte) (class Class, ok bool) {
	lineType, data := headLines(pending)
	typ := lineType
	if t := typePrefix(data); t != nil {
		typ = t
	}
	switch s.kind {
	case StreamChat, StreamCompletions:
		output := bytes.Contains(data, []byte(`"delta":{`)) || bytes.Contains(data, []byte(`"text":"`))
		if output && !bytes.Contains(data, []byte(`"error":`)) {
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
