package convert

import (
	"strconv"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// outputKind is what an item of the output is.
type outputKind uint8

const (
	outputMessage outputKind = iota
	outputReasoning
	outputFunction
	outputCustom
	outputSearch
)

// partKind is which part of an item is being written.
type partKind uint8

const (
	partNone partKind = iota
	partOutput
	partRefusal
	partReasoning
	partSummary
)

// partWords are the words that differ between the kinds of parts: the event of a
// piece, without its end, the name of the part's place and of its text, its type.
var partWords = [...]struct{ event, part, index, text, kind string }{
	partOutput:    {"response.output_text", "response.content_part", "content_index", "text", "output_text"},
	partRefusal:   {"response.refusal", "response.content_part", "content_index", "refusal", "refusal"},
	partReasoning: {"response.reasoning_text", "response.content_part", "content_index", "text", "reasoning_text"},
	partSummary:   {"response.reasoning_summary_text", "response.reasoning_summary_part", "summary_index", "text", "summary_text"},
}

// outputItem is one item of the output while it is written.
type outputItem struct {
	kind  outputKind
	id    string
	index int
	done  []byte // as it is in the end

	part        partKind
	partIndex   int
	pieces      []byte // what stands before the text in the event of a piece
	text        []byte // of the part, or a call's arguments or input: the inside of a string
	half        half
	logprobs    []byte // elements, a comma behind each
	annotations []byte
	annotated   int
	parts       []byte // those that are done

	callIndex int64 // where the upstream counts it
	callID    string
	wire      string // the function's name in Chat
	tool      toolName
	told      bool // the client was told of it
	unwrap    unwrapper
}

func (it *outputItem) isCall() bool { return it.kind >= outputFunction }

// maxKept bounds what a stream keeps of its output. All of it is told once more at the
// end, in up to four events: without a bound one upstream that never stops would take
// all the memory there is. No model's answer comes near it.
const maxKept = 16 << 20

// partCost is what a part costs beside its text: parts without text are bounded by it.
const partCost = 256

// keep counts what is kept of the output, and ends a stream that brings too much. A
// whole answer was bounded when it was read.
func (s *responseStream) keep(n int) {
	if s.kept += n; s.kept > maxKept && !s.quiet && !s.ended {
		s.tooLong()
	}
}

// tooLong fails a stream: leaving out the rest would pass off a part as the whole.
func (s *responseStream) tooLong() {
	s.fail(openai.UpstreamError{Message: "The model's answer is too long to be converted."})
}

// add opens an item.
func (s *responseStream) add(kind outputKind) *outputItem {
	if len(s.items) >= maxItems && !s.ended {
		s.tooLong()
	}
	it := &outputItem{kind: kind, index: len(s.items)}
	s.items = append(s.items, it)
	return it
}

// name gives an item its id: the same whenever the same completion is converted.
func (s *responseStream) name(it *outputItem, prefix string) {
	it.id = prefix + s.base + "_" + strconv.Itoa(it.index)
}

// say adds to a message.
func (s *responseStream) say(dst []byte, part partKind, text, logprobs []byte) []byte {
	if s.open == nil || s.open.kind != outputMessage {
		dst = s.closeOpen(dst)
		s.open = s.add(outputMessage)
		s.name(s.open, "msg_")
		dst = s.itemEvent(dst, "response.output_item.added", s.open, s.open.json("in_progress"))
	}
	return s.piece(dst, s.open, part, text, logprobs)
}

// think adds to reasoning.
func (s *responseStream) think(dst, text []byte) []byte {
	if s.open == nil || s.open.kind != outputReasoning {
		dst = s.closeOpen(dst)
		s.open = s.add(outputReasoning)
		s.name(s.open, "rs_")
		dst = s.itemEvent(dst, "response.output_item.added", s.open, s.open.json("in_progress"))
	}
	part := partReasoning
	if s.c.summary {
		part = partSummary
	}
	return s.piece(dst, s.open, part, text, nil)
}

// piece adds text to a part of an item, opening the part if it is not the present one.
func (s *responseStream) piece(dst []byte, it *outputItem, part partKind, text, logprobs []byte) []byte {
	if it.part != part {
		dst = s.openPart(s.closePart(dst, it), it, part)
	}
	return s.pieceEvent(dst, it, it.half.join(text), logprobs)
}

// pieceEvent writes the event of a piece: most of a stream are these.
func (s *responseStream) pieceEvent(dst []byte, it *outputItem, text, logprobs []byte) []byte {
	tokens := it.logprobs
	if len(logprobs) != 0 {
		it.logprobs = appendTokens(tokens, logprobs)
		s.effects++
	}
	s.keep(len(text) + len(it.logprobs) - len(tokens))
	if len(text) == 0 && len(it.logprobs) == len(tokens) {
		return dst
	}
	it.text = append(it.text, text...)
	if s.quiet {
		return dst
	}
	dst = append(append(dst, it.pieces...), text...)
	if it.part == partOutput {
		dst = append(dst, `","logprobs":[`...)
		if n := len(it.logprobs); n > len(tokens) {
			dst = append(dst, it.logprobs[len(tokens):n-1]...)
		}
		dst = append(dst, `],"sequence_number":`...)
	} else {
		dst = append(dst, `","sequence_number":`...)
	}
	dst = strconv.AppendInt(dst, s.sequence, 10)
	s.sequence++
	return append(dst, "}\n\n"...)
}

// openPart begins a part.
func (s *responseStream) openPart(dst []byte, it *outputItem, part partKind) []byte {
	s.keep(partCost)
	words := &partWords[part]
	it.part = part
	pieces := append(it.pieces[:0], "event: "+words.event+".delta\ndata: {\"type\":\""+words.event+".delta\""...)
	pieces = append(it.place(pieces), `,"`+words.index+`":`...)
	pieces = strconv.AppendInt(pieces, int64(it.partIndex), 10)
	it.pieces = append(pieces, `,"delta":"`...)
	return s.partEvent(dst, it, ".added")
}

// closePart ends the part that is open, if any.
func (s *responseStream) closePart(dst []byte, it *outputItem) []byte {
	if it.part == partNone {
		return dst
	}
	if rest := it.half.rest(); rest != nil {
		dst = s.pieceEvent(dst, it, rest, nil)
	}
	words := &partWords[it.part]
	if !s.quiet {
		dst = s.head(dst, words.event+".done", it)
		dst = it.partPlace(dst)
		dst = appendField(dst, words.text, quoted(it.text))
		if it.part == partOutput {
			dst = appendField(dst, "logprobs", list(it.logprobs))
		}
		dst = s.tail(dst)
	}
	dst = s.partEvent(dst, it, ".done")
	it.parts = append(it.appendPart(it.parts), ',')
	it.partIndex++
	it.part = partNone
	it.text, it.logprobs, it.annotations, it.annotated = it.text[:0], it.logprobs[:0], it.annotations[:0], 0
	return dst
}

// partEvent tells that a part begins or ends.
func (s *responseStream) partEvent(dst []byte, it *outputItem, end string) []byte {
	if s.quiet {
		return dst
	}
	dst = s.head(dst, partWords[it.part].part+end, it)
	dst = append(it.partPlace(dst), `,"part":`...)
	return s.tail(it.appendPart(dst))
}

// partPlace appends where in the item the part is.
func (it *outputItem) partPlace(dst []byte) []byte {
	return append(dst, `,"`+partWords[it.part].index+`":`+strconv.Itoa(it.partIndex)...)
}

// appendPart appends the part as it is now.
func (it *outputItem) appendPart(dst []byte) []byte {
	words := &partWords[it.part]
	dst = append(dst, `{"type":"`+words.kind+`"`...)
	if it.part == partOutput {
		dst = appendField(dst, "annotations", list(it.annotations))
		dst = appendField(dst, "logprobs", list(it.logprobs))
	}
	return append(appendField(dst, words.text, quoted(it.text)), '}')
}

// closeOpen ends the message or reasoning that is being written.
func (s *responseStream) closeOpen(dst []byte) []byte {
	it := s.open
	if it == nil {
		return dst
	}
	s.open = nil
	dst = s.closePart(dst, it)
	it.done = it.json(s.itemStatus())
	it.parts, it.text, it.logprobs, it.annotations = nil, nil, nil, nil // it is all in done
	return s.itemEvent(dst, "response.output_item.done", it, it.done)
}

// itemStatus is the status of an item that ends now. One that ends before the
// response does is complete, whatever follows.
func (s *responseStream) itemStatus() string {
	if s.ended {
		return s.status()
	}
	return "completed"
}

// annotate adds where the text was taken from.
func (s *responseStream) annotate(dst, annotation []byte) []byte {
	citation := at(annotation, "url_citation")
	if !rawjson.IsObject(citation) {
		return dst
	}
	s.effects++
	if s.open == nil || s.open.part != partOutput {
		dst = s.say(dst, partOutput, nil, nil)
	}
	it := s.open
	flat := fields(copyFields([]byte(`,"type":"url_citation"`), citation, "start_index", "end_index", "title", "url"))
	s.keep(len(flat))
	it.annotations = append(append(it.annotations, flat...), ',')
	if !s.quiet {
		dst = s.head(dst, "response.output_text.annotation.added", it)
		dst = append(it.partPlace(dst), `,"annotation_index":`+strconv.Itoa(it.annotated)...)
		dst = s.tail(appendField(dst, "annotation", flat))
	}
	it.annotated++
	return dst
}
