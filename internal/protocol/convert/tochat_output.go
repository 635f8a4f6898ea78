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
	outputImage
	outputFunction
	outputCustom
	outputSearch
)

// kindSet is a set of kinds, a bit for each.
type kindSet uint8

// idPrefixes are what the ids of items begin with.
var idPrefixes = [...]string{
	outputMessage: "msg_", outputReasoning: "rs_", outputImage: "ig_",
	outputFunction: "fc_", outputCustom: "ctc_", outputSearch: "tsc_",
}

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
	brackets  brackets // of the arguments
}

func (it *outputItem) isCall() bool { return it.kind >= outputFunction }

// partCost is what a part costs beside its text: parts without text are bounded by it.
const partCost = 256

// keep counts what is kept of the output, and ends a stream that brings too much: all of
// it is told once more at the end, in up to four events. A whole answer was bounded when
// it was read.
func (s *responseStream) keep(n int) {
	if s.kept += n; s.kept > s.most && !s.quiet && !s.ended {
		s.tooLong()
	}
}

// tooLong fails a stream: leaving out the rest would pass off a part as the whole.
func (s *responseStream) tooLong() {
	s.fail(openai.UpstreamError{Message: "The model's answer is too long to be converted."})
}

// newItem makes an item, or a call that is not told yet.
func (s *responseStream) newItem(kind outputKind) *outputItem {
	if s.made++; s.made > maxItems && !s.ended {
		s.tooLong()
	}
	s.kinds |= 1 << kind
	return &outputItem{kind: kind}
}

// seat gives an item its place in the output, the next one, and its id: the same
// whenever the same completion is converted.
func (s *responseStream) seat(it *outputItem) {
	it.index = len(s.items)
	it.id = idPrefixes[it.kind] + s.base + "_" + strconv.Itoa(it.index)
	s.items = append(s.items, it)
}

// openItem begins an item of which the client is told at once.
func (s *responseStream) openItem(dst []byte, kind outputKind) ([]byte, *outputItem) {
	it := s.newItem(kind)
	s.seat(it)
	return s.itemEvent(dst, "response.output_item.added", it, it.json("in_progress")), it
}

// say adds to a message.
func (s *responseStream) say(dst []byte, part partKind, text []byte) []byte {
	if len(text) == 0 {
		return dst
	}
	if s.open == nil || s.open.kind != outputMessage {
		dst, s.open = s.openItem(s.closeOpen(dst), outputMessage)
	}
	return s.piece(dst, s.open, part, text)
}

// think adds to reasoning. Some upstreams send a little of it along with each piece of
// text. That would make a message and a reasoning item of every chunk: so it gets one
// item, beside the message, which stays open as long as that.
func (s *responseStream) think(dst, text []byte, along bool) []byte {
	if len(text) == 0 || s.repeats(outputReasoning) {
		return dst
	}
	it := s.open
	switch {
	case s.beside != nil:
		it = s.beside
	case it != nil && it.kind == outputReasoning:
	case it != nil && along:
		dst, it = s.openItem(dst, outputReasoning)
		s.beside = it
	default:
		dst, it = s.openItem(s.closeOpen(dst), outputReasoning)
		s.open, s.tokens = it, s.tokens[:0] // tokens before it are not the text's
	}
	part := partReasoning
	if s.c.summary {
		part = partSummary
	}
	return s.piece(dst, it, part, text)
}

// piece adds text to a part of an item, opening the part if it is not the present one.
func (s *responseStream) piece(dst []byte, it *outputItem, part partKind, text []byte) []byte {
	if it.part != part {
		dst = s.openPart(s.closePart(dst, it), it, part)
	}
	return s.pieceEvent(dst, it, it.half.join(text))
}

// holdTokens keeps log probabilities for the text that they belong to. An upstream may
// send them without any, where a character is made of several tokens.
func (s *responseStream) holdTokens(logprobs []byte) {
	if len(logprobs) == 0 {
		return
	}
	before := len(s.tokens)
	s.tokens = appendTokens(s.tokens, logprobs)
	s.keep(len(s.tokens) - before)
	s.effects++
}

// pieceEvent writes the event of a piece: most of a stream are these.
func (s *responseStream) pieceEvent(dst []byte, it *outputItem, text []byte) []byte {
	s.keep(len(text))
	tokens := s.tokens
	if it.part != partOutput {
		tokens = nil
	}
	if len(text) == 0 && len(tokens) == 0 {
		return dst
	}
	if len(tokens) != 0 {
		it.logprobs = append(it.logprobs, tokens...)
		s.tokens, tokens = s.tokens[:0], tokens[:len(tokens)-1]
	}
	it.text = append(it.text, text...)
	if s.quiet {
		return dst
	}
	dst = append(append(dst, it.pieces...), text...)
	if it.part == partOutput {
		dst = append(dst, `","logprobs":[`...)
		dst = append(append(dst, tokens...), `],"sequence_number":`...)
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
	dst = s.partEvent(dst, it, ".added")
	if part == partOutput {
		for _, note := range s.notes {
			dst = s.note(dst, it, note)
		}
		s.notes = nil
	}
	return dst
}

// closePart ends the part that is open, if any.
func (s *responseStream) closePart(dst []byte, it *outputItem) []byte {
	if it.part == partNone {
		return dst
	}
	dst = s.pieceEvent(dst, it, it.half.rest())
	words := &partWords[it.part]
	if !s.quiet {
		dst = s.head(dst, words.event+".done", it)
		dst = it.partPlace(dst)
		dst = appendTextField(dst, words.text, it.text)
		if it.part == partOutput {
			dst = appendListField(dst, "logprobs", it.logprobs)
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
		dst = appendListField(dst, "annotations", it.annotations)
		dst = appendListField(dst, "logprobs", it.logprobs)
	}
	return append(appendTextField(dst, words.text, it.text), '}')
}

// appendTextField appends ,"key":"text", the text being the inside of a string.
func appendTextField(dst []byte, key string, text []byte) []byte {
	dst = append(append(append(dst, `,"`...), key...), `":"`...)
	return append(append(dst, text...), '"')
}

// appendListField appends ,"key":[elements], each of which has a comma behind it.
func appendListField(dst []byte, key string, elements []byte) []byte {
	dst = append(append(append(dst, `,"`...), key...), `":[`...)
	return append(append(dst, elements[:max(0, len(elements)-1)]...), ']')
}

// closeOpen ends the message or reasoning that is being written, and what is beside it.
func (s *responseStream) closeOpen(dst []byte) []byte {
	for _, it := range [...]*outputItem{s.open, s.beside} {
		if it == nil {
			continue
		}
		dst = s.closePart(dst, it)
		it.done = it.json(s.itemStatus())
		dst = s.itemEvent(dst, "response.output_item.done", it, it.done)
		it.parts, it.text, it.logprobs, it.annotations = nil, nil, nil, nil // it is all in done
	}
	s.open, s.beside = nil, nil
	return dst
}

// itemStatus is the status of an item that ends now. One that ends before the
// response does is complete, whatever follows.
func (s *responseStream) itemStatus() string {
	if s.ended {
		return s.status()
	}
	return "completed"
}

// annotate adds where the text was taken from. What comes while no text is open waits for
// the next; where none follows, as behind the calls, it is left out, because a message
// that has ended cannot be added to.
func (s *responseStream) annotate(dst, annotation []byte) []byte {
	citation := at(annotation, "url_citation")
	if !rawjson.IsObject(citation) {
		return dst
	}
	s.effects++
	note := fields(copyFields([]byte(`,"type":"url_citation"`), citation, "start_index", "end_index", "title", "url"))
	s.keep(len(note))
	if s.open == nil || s.open.part != partOutput {
		s.notes = append(s.notes, note)
		return dst
	}
	return s.note(dst, s.open, note)
}

// note adds an annotation to the part of a message that is open.
func (s *responseStream) note(dst []byte, it *outputItem, note []byte) []byte {
	it.annotations = append(append(it.annotations, note...), ',')
	if !s.quiet {
		dst = s.head(dst, "response.output_text.annotation.added", it)
		dst = append(it.partPlace(dst), `,"annotation_index":`+strconv.Itoa(it.annotated)...)
		dst = s.tail(appendField(dst, "annotation", note))
	}
	it.annotated++
	return dst
}
