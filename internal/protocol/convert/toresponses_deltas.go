package convert

import (
	"math/bits"

	"realms/internal/protocol/rawjson"
)

// text sends a piece of a message's text or refusal; of the whole of it, where the
// event has that, what the pieces before lack.
func (s *chatStream) text(dst []byte, event *rawjson.Doc, key, field string) []byte {
	raw, _ := event.Get(key)
	text := inside(raw)
	if len(text) == 0 {
		return dst
	}
	it := s.item(itemMessage, partMark(event))
	if it == nil {
		return dst
	}
	logprobs, _ := event.Get("logprobs")
	what := spoken{field: field, text: text, logprobs: logprobs}
	if key == "delta" {
		return s.say(dst, it, partBit(event), what)
	}
	return s.sayRest(dst, it, partBit(event), what)
}

// spoken is text on its way to the client.
type spoken struct {
	field    string // content, or refusal
	text     []byte // the inside of a string
	logprobs []byte
}

// sayRest sends what the pieces before lack of a part: all of it if there were none.
func (s *chatStream) sayRest(dst []byte, it *streamItem, bit uint64, what spoken) []byte {
	if it.parts&bit == 0 {
		return s.say(dst, it, bit, what)
	}
	return s.sayTail(dst, it, bit, what)
}

// sayTail sends what a part has behind what went out of it. Which log probabilities
// are those of the tail cannot be told.
func (s *chatStream) sayTail(dst []byte, it *streamItem, bit uint64, what spoken) []byte {
	tail := s.tail(it, bit, what.field, what.text)
	if len(tail) == 0 {
		return dst
	}
	return s.say(dst, it, bit, spoken{field: what.field, text: tail})
}

// say sends text of a part, and notes what went out of it.
func (s *chatStream) say(dst []byte, it *streamItem, bit uint64, what spoken) []byte {
	if it.parts == 0 {
		it.start = s.letters
	}
	if it.parts&bit == 0 {
		it.before = s.letters
	}
	s.utter(it, bit, what.field, what.text)
	it.parts |= bit
	if what.field == "content" {
		s.letters += letters(what.text)
	}
	if !s.c.logprobs || what.field != "content" || rawjson.IsEmpty(what.logprobs) {
		return s.send(dst, what.field, what.text)
	}
	dst = append(append(s.open(dst), `"content":"`...), what.text...)
	dst = appendLogprobs(append(dst, `"},"logprobs":`...), appendTokens(nil, what.logprobs))
	dst = append(dst, `,"finish_reason":null}]`...)
	if s.c.usage {
		dst = append(dst, `,"usage":null`...)
	}
	return append(dst, "}\n\n"...)
}

// part sends a part that came whole.
func (s *chatStream) part(dst []byte, event *rawjson.Doc) []byte {
	raw, _ := event.Get("part")
	what, ok := partText(s.inner.object(raw).get)
	if !ok || len(what.text) == 0 {
		return dst
	}
	it := s.item(itemMessage, partMark(event))
	if it == nil {
		return dst
	}
	return s.sayRest(dst, it, partBit(event), what)
}

// partText is what a message's part says; false if it is of another kind (of
// reasoning, say).
func partText(get func(string) []byte) (what spoken, ok bool) {
	if refusal := get("refusal"); rawjson.IsString(refusal) {
		return spoken{field: "refusal", text: inside(refusal)}, true
	}
	kind := get("type")
	if kind != nil && !rawjson.Equal(kind, "output_text") && !rawjson.Equal(kind, "text") {
		return spoken{}, false
	}
	text := get("text")
	return spoken{field: "content", text: inside(text), logprobs: get("logprobs")}, rawjson.IsString(text)
}

// completeMessage sends the parts of which nothing went out, what the last one lacks,
// and the annotations if no event had one. Parts are told apart by number where that
// can be relied on: if as many went out as there are, none is missing.
func (s *chatStream) completeMessage(dst []byte, it *streamItem, content []byte) []byte {
	var parts []func(string) []byte
	n := 0
	for _, raw := range rawjson.Elements(content) {
		get := s.inner.object(raw).get
		if what, ok := partText(get); ok && len(what.text) != 0 {
			n++
		}
		parts = append(parts, get)
	}
	sent := it.parts
	missing := bits.OnesCount64(sent) < n
	var annotations []byte
	start, before := it.start, 0
	if sent == 0 {
		start = s.letters
	}
	for i, get := range parts {
		what, ok := partText(get)
		if !ok {
			continue
		}
		for _, annotation := range rawjson.Elements(get("annotations")) {
			annotations = appendAnnotation(annotations, annotation, start+before)
		}
		bit := uint64(whole)
		if i < 64 {
			bit = 1 << i
		}
		if missing && len(what.text) != 0 && (sent&bit == 0 || i >= 64) {
			dst = s.say(dst, it, bit, what)
		} else {
			dst = s.sayTail(dst, it, bit, what)
		}
		if what.field == "content" {
			before += letters(what.text)
		}
	}
	if n > 0 {
		it.parts = whole
	}
	if len(annotations) != 0 && !it.annotated {
		it.annotated = true
		dst = s.sendRaw(dst, "annotations", list(annotations))
	}
	return dst
}

// sendRaw appends a chunk whose delta is one field.
func (s *chatStream) sendRaw(dst []byte, key string, raw []byte) []byte {
	dst = append(append(append(s.open(dst), '"'), key...), `":`...)
	return s.close(append(dst, raw...))
}

func (s *chatStream) annotation(dst []byte, event *rawjson.Doc) []byte {
	raw, _ := event.Get("annotation")
	it := s.item(itemMessage, partMark(event))
	if it == nil {
		return dst
	}
	before := it.before
	if it.parts == 0 { // ahead of its text
		before = s.letters
	}
	elements := appendAnnotation(nil, raw, before)
	if len(elements) == 0 {
		return dst
	}
	it.annotated = true
	return s.sendRaw(dst, "annotations", list(elements))
}

const reasoningField = "reasoning_content"

// reasoning sends a piece of reasoning. Of an item that has both a summary and the
// text itself, the client sees the one that came first.
func (s *chatStream) reasoning(dst []byte, event *rawjson.Doc, key string, kind reasoningKind) []byte {
	raw, _ := event.Get(key)
	text := inside(raw)
	if len(text) == 0 {
		return dst
	}
	it := s.item(itemReasoning, partMark(event))
	if it == nil || it.reasoning != 0 && it.reasoning != kind {
		return dst
	}
	number := "content_index"
	if kind == reasoningSummary {
		number = "summary_index"
	}
	index, _ := event.Get(number)
	bit := uint64(1)
	if n, ok := rawjson.Int(index); ok && n > 0 {
		bit = 1 << min(n, 63)
	}
	if key != "delta" && it.parts&bit != 0 {
		text = s.tail(it, bit, reasoningField, text)
	}
	if len(text) == 0 {
		return dst
	}
	it.reasoning = kind
	return s.think(dst, it, bit, text)
}

// think sends reasoning; another part of it begins a paragraph.
func (s *chatStream) think(dst []byte, it *streamItem, bit uint64, text []byte) []byte {
	s.utter(it, bit, reasoningField, text)
	dst = append(s.open(dst), `"`+reasoningField+`":"`...)
	s.textAt = len(dst)
	if it.parts&bit == 0 && s.reasoned {
		dst = append(dst, paragraph...)
		s.textAt = -1 // the next piece has none
	}
	it.parts |= bit
	s.reasoned = true
	dst = append(append(dst, text...), '"')
	return s.close(dst)
}

func (s *chatStream) completeReasoning(dst []byte, it *streamItem, get func(string) []byte) []byte {
	if it.parts == 0 {
		for _, text := range reasoningTexts(get) {
			it.parts &^= 1 // each is a part of its own
			dst = s.think(dst, it, 1, text)
		}
	}
	if detail := appendEncrypted(nil, get); len(detail) != 0 && !it.detailed {
		it.detailed = true
		dst = s.sendRaw(dst, "reasoning_details", list(detail))
	}
	return dst
}
