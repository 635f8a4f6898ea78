package convert

import (
	"strings"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// readChoice converts the choice that begins at an offset of the chunk.
func (s *responseStream) readChoice(dst []byte, choice *rawjson.Doc, from int) []byte {
	get := func(key string) []byte { raw, _ := choice.Get(key); return raw }
	if problem := get("error"); openai.IsError(problem) {
		s.fail(openai.ParseError(choice.Body))
		return dst
	}
	s.noteUsage(get("usage")) // Moonshot's place for it
	f := choice.Field("delta")
	streams := f != nil && rawjson.IsObject(choice.Body[f.ValStart:f.ValEnd])
	if !streams {
		s.noteLoss(get("delta"), get("text"))
		f = s.message(choice)
	}
	s.again = !streams
	if f != nil {
		delta, err := rawjson.Scan(choice.Body[f.ValStart:f.ValEnd], s.delta)
		if err == nil {
			s.delta = delta.Fields[:0]
			dst = s.readDelta(dst, &delta, from+f.ValStart, at(get("logprobs"), "content"))
		}
	}
	if streams {
		s.streamed = s.kinds
	}
	if finish, _ := rawjson.String(get("finish_reason")); finish != "" {
		s.finish = finish
		s.effects++
	}
	return dst
}

// message is a choice's whole message; nil if there is none, or it only repeats what the
// deltas have said. Where they have brought no more than reasoning or images, it may be
// all that there is of the answer.
func (s *responseStream) message(choice *rawjson.Doc) *rawjson.Field {
	f := choice.Field("message")
	if f == nil || s.streamed&^(1<<outputReasoning|1<<outputImage) != 0 {
		return nil
	}
	if raw := choice.Body[f.ValStart:f.ValEnd]; !rawjson.IsObject(raw) {
		s.noteLoss(raw)
		return nil
	}
	return f
}

// noteLoss notes values that say something in a form that is not Chat's: where nothing
// else is said, the answer is a failure and not an empty one.
func (s *responseStream) noteLoss(values ...[]byte) {
	for _, value := range values {
		if !rawjson.IsEmpty(value) {
			s.lost = true
			s.effects++
		}
	}
}

// repeats tells whether output of a kind is only said again, by a message behind deltas.
func (s *responseStream) repeats(kind outputKind) bool {
	return s.again && s.streamed&(1<<kind) != 0
}

// readDelta converts what a chunk adds.
func (s *responseStream) readDelta(dst []byte, delta *rawjson.Doc, from int, logprobs []byte) []byte {
	before := s.effects
	text := s.textField(delta, "content")
	dst = s.readReasoning(dst, delta, from, text != nil)
	if text != nil {
		s.mold.note(moldText, nil, from+text.ValStart+1, from+text.ValEnd-1)
		s.holdTokens(logprobs)
		dst = s.say(dst, partOutput, delta.Body[text.ValStart+1:text.ValEnd-1])
	} else {
		content, _ := delta.Get("content")
		dst = s.contentParts(dst, content)
	}
	if audio, _ := delta.Get("audio"); rawjson.IsObject(audio) && text == nil {
		dst = s.audio(dst, audio)
	}
	annotations, _ := delta.Get("annotations")
	for _, annotation := range rawjson.Elements(annotations) {
		dst = s.annotate(dst, annotation)
	}
	if f := s.textField(delta, "refusal"); f != nil {
		dst = s.say(dst, partRefusal, delta.Body[f.ValStart+1:f.ValEnd-1])
	}
	images, _ := delta.Get("images")
	for _, image := range rawjson.Elements(images) {
		dst = s.image(dst, image)
	}
	dst = s.readCalls(dst, delta, from)
	if s.effects == before { // then they are of a token that is no text by itself
		s.holdTokens(logprobs)
	}
	return dst
}

// reasoningKeys are the names under which upstreams send reasoning; some send it
// under two at once.
var reasoningKeys = [...]string{"reasoning_content", "reasoning", "thinking"}

// readReasoning converts the reasoning that a chunk adds, alone or along with text.
// Details are read only where nothing else is sent: they are the same once more.
func (s *responseStream) readReasoning(dst []byte, delta *rawjson.Doc, from int, along bool) []byte {
	for _, key := range reasoningKeys {
		if f := s.textField(delta, key); f != nil {
			s.plain = true
			s.mold.note(moldReasoning, nil, from+f.ValStart+1, from+f.ValEnd-1)
			return s.think(dst, delta.Body[f.ValStart+1:f.ValEnd-1], along)
		}
	}
	if s.plain {
		return dst
	}
	details, _ := delta.Get("reasoning_details")
	for _, detail := range rawjson.Elements(details) {
		get := reader(detail)
		for _, key := range [...]string{"text", "summary"} {
			if text := inside(get(key)); len(text) != 0 {
				s.effects += 2 // no mold: it looks at one text
				dst = s.think(dst, text, along)
			}
		}
	}
	return dst
}

// readCalls converts what a chunk adds to calls.
func (s *responseStream) readCalls(dst []byte, delta *rawjson.Doc, from int) []byte {
	if f := delta.Field("tool_calls"); f != nil {
		for at, raw := range rawjson.Elements(delta.Body[f.ValStart:f.ValEnd]) {
			dst = s.callDelta(dst, raw, from+f.ValStart+at)
		}
	}
	if function, _ := delta.Get("function_call"); rawjson.IsObject(function) {
		s.effects++        // its fields are not where a mold looks
		if s.last == nil { // else it says the same as tool_calls
			dst = s.functionDelta(dst, s.legacyCall(), function, 0)
		}
	}
	return dst
}

// textField is a field with text in it, which counts as an effect; nil if it has none.
func (s *responseStream) textField(doc *rawjson.Doc, key string) *rawjson.Field {
	f := doc.Field(key)
	if f == nil || f.ValEnd-f.ValStart <= 2 || !rawjson.IsString(doc.Body[f.ValStart:f.ValEnd]) {
		return nil
	}
	s.effects++
	return f
}

// contentParts converts content that is a list, as Mistral's models that reason send it,
// or a part alone.
func (s *responseStream) contentParts(dst, content []byte) []byte {
	switch {
	case rawjson.IsArray(content):
		for _, part := range rawjson.Elements(content) {
			dst = s.contentPart(dst, part)
		}
	case rawjson.IsObject(content):
		dst = s.contentPart(dst, content)
	default:
		s.noteLoss(content)
	}
	return dst
}

func (s *responseStream) contentPart(dst, part []byte) []byte {
	s.effects += 2
	get := reader(part)
	switch text, thinking, refusal := get("text"), get("thinking"), get("refusal"); {
	case rawjson.IsString(text):
		dst = s.say(dst, partOutput, inside(text))
	case rawjson.IsString(refusal):
		dst = s.say(dst, partRefusal, inside(refusal))
	case rawjson.IsString(thinking):
		dst = s.think(dst, inside(thinking), false)
	case rawjson.IsArray(thinking):
		for _, thought := range rawjson.Elements(thinking) {
			dst = s.think(dst, inside(at(thought, "text")), false)
		}
	default:
		dst = s.image(dst, part)
	}
	return dst
}

// image adds an image, which must come with its data: a client of Responses does not
// expect to have to fetch one.
func (s *responseStream) image(dst, image []byte) []byte {
	s.effects += 2 // no mold: it looks at one text
	if s.repeats(outputImage) {
		return dst
	}
	url, _ := rawjson.String(at(image, "image_url", "url"))
	kind, data, _ := strings.Cut(url, ";base64,")
	if !strings.HasPrefix(kind, "data:image/") || data == "" {
		s.lost = true
		return dst
	}
	s.keep(len(data))
	dst, it := s.openItem(s.closeOpen(dst), outputImage)
	for _, state := range [...]string{"in_progress", "completed"} {
		dst = s.tail(s.head(dst, "response.image_generation_call."+state, it))
	}
	it.text = inside(rawjson.AppendString(nil, data))
	it.done = it.json("completed")
	it.text = nil
	return s.itemEvent(dst, "response.output_item.done", it, it.done)
}

// audio adds the words of spoken output: what was said is the answer, the sound of it is
// no item of a response.
func (s *responseStream) audio(dst, audio []byte) []byte {
	s.effects += 2 // no mold: it looks at one text
	get := reader(audio)
	s.lost = s.lost || !rawjson.IsEmpty(get("data"))
	return s.say(dst, partOutput, inside(get("transcript")))
}
