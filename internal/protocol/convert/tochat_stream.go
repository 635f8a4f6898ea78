package convert

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// responseStream makes a response of a completion, chunk by chunk. A whole completion
// is converted as a stream of one chunk whose events nobody reads.
type responseStream struct {
	c     *responsesClient
	quiet bool // no events are written
	whole bool // each call is complete

	begun, ended bool
	base         string // of all ids
	model        []byte
	created      int64
	tier         []byte                // raw
	usage        []byte                // raw, the last seen
	finish       string                // finish_reason
	told         *openai.UpstreamError // a failure; nothing comes after it
	sequence     int64

	items []*outputItem
	open  *outputItem // the message or reasoning that is being written
	last  *outputItem // the call that was last spoken of
	kept  int         // bytes of output

	legacy   *outputItem // the call of the deprecated kind
	streamed bool        // output came in a delta

	mold    chunkMold
	effects int // of the chunk that is being read
	top     []rawjson.Field
	choice  []rawjson.Field
	delta   []rawjson.Field
}

// Stream begins the conversion of a stream.
func (c *responsesClient) Stream() Stream { return &responseStream{c: c} }

// Point is how far the response has come.
func (s *responseStream) Point() openai.Point {
	p := openai.Point{Kind: openai.StreamResponses, Sequence: s.sequence - 1, Created: s.begun}
	if s.begun {
		p.ResponseID = "resp_" + s.base
	}
	return p
}

// Spoke tells whether an item of output has begun.
func (s *responseStream) Spoke() bool { return len(s.items) > 0 }

var endOfChat = []byte("[DONE]")

// Event converts a chunk. What tells of a failure is an error, and leaves nothing
// behind: how a stream ends that has failed is not for a conversion to say.
func (s *responseStream) Event(dst, kind, data []byte) ([]byte, error) {
	data = bytes.TrimSpace(data)
	if s.ended || len(data) == 0 {
		return dst, nil
	}
	if bytes.Equal(data, endOfChat) {
		return s.End(dst)
	}
	from, begun, sequence := len(dst), s.begun, s.sequence
	if text := s.mold.fits(data); text != nil {
		if dst = s.repeat(dst, text); s.told == nil {
			return dst, nil
		}
		s.sequence = sequence
		return dst[:from], s.told
	}
	doc, err := rawjson.Scan(data, s.top)
	if err != nil {
		return dst, &openai.DataError{Err: err}
	}
	s.top = doc.Fields[:0]
	problem, _ := doc.Get("error")
	object, _ := doc.Get("object")
	if string(kind) == "error" || !rawjson.IsEmpty(problem) || rawjson.Equal(object, "error") {
		s.fail(openai.ParseError(data))
		return dst, s.told
	}
	if dst = s.chunk(dst, &doc); s.told == nil {
		return dst, nil
	}
	s.begun, s.sequence = begun, sequence
	return dst[:from], s.told
}

// End ends the response if it has not ended.
func (s *responseStream) End(dst []byte) ([]byte, error) {
	if s.ended {
		return dst, nil
	}
	if e := failedFinish(s.finish); e != nil {
		s.fail(*e)
		return dst, s.told
	}
	dst = s.begin(dst, &rawjson.Doc{})
	s.ended = true
	status := s.status()
	dst = s.closeOpen(dst)
	for _, it := range s.items {
		if it.isCall() {
			dst = s.closeCall(dst, it)
		}
	}
	dst = s.head(dst, "response."+status, nil)
	return s.tail(s.response(dst, status, "null")), nil
}

// status is what the response has come to.
func (s *responseStream) status() string {
	if s.reason() != "" {
		return "incomplete"
	}
	return "completed"
}

// failedFinish is the failure that a finish_reason tells; nil for one that tells none.
func failedFinish(finish string) *openai.UpstreamError {
	finish = strings.ToLower(finish)
	switch finish {
	case "timeout", "cancelled":
		return &openai.UpstreamError{Message: "The model's upstream broke off while it was answering."}
	default:
		return openai.FailedFinish(finish)
	}
}

// reason is why the response is not complete; empty if it is. Beside OpenAI's own
// there are Mistral's model_length, Anthropic's model_context_window_exceeded, Gemini's
// MAX_TOKENS, SAFETY and RECITATION, Zhipu's sensitive: who takes what was cut for the
// whole believes half of it.
func (s *responseStream) reason() string {
	switch strings.ToLower(s.finish) {
	case "length", "max_tokens", "max_length", "model_length", "model_context_window_exceeded":
		return "max_output_tokens"
	case "content_filter", "content-filter", "sensitive", "safety", "recitation":
		return "content_filter"
	default:
		return ""
	}
}

// fail notes that the upstream has failed.
func (s *responseStream) fail(e openai.UpstreamError) {
	if e.Message == "" {
		e.Message = "The model's upstream failed while it was answering."
	}
	s.ended, s.told = true, &e
}

// chunk converts a chunk that is no error.
func (s *responseStream) chunk(dst []byte, doc *rawjson.Doc) []byte {
	s.mold.n, s.effects = 0, 0
	get := func(key string) []byte { raw, _ := doc.Get(key); return raw }
	choices := get("choices")
	if id := get("id"); s.begun || !rawjson.IsEmpty(choices) || !rawjson.IsEmpty(id) {
		dst = s.begin(dst, doc) // else it only announces something, as Azure does
	}
	s.noteUsage(get("usage"))
	if tier := get("service_tier"); rawjson.IsString(tier) && !bytes.Equal(tier, s.tier) {
		s.tier = bytes.Clone(tier)
		s.effects++
	}
	from := 0
	if f := doc.Field("choices"); f != nil {
		from = f.ValStart
	}
	for at, raw := range rawjson.Elements(choices) {
		choice, err := rawjson.Scan(raw, s.choice)
		if err != nil {
			continue // no object
		}
		s.choice = choice.Fields[:0]
		if index, _ := choice.Get("index"); rawjson.IsNull(index) || isZero(index) {
			dst = s.readChoice(dst, &choice, from+at)
		}
		if s.ended {
			break
		}
	}
	if s.effects == 1 {
		s.mold.cast(doc.Body)
	}
	return dst
}

func (s *responseStream) noteUsage(raw []byte) {
	if rawjson.IsObject(raw) && !rawjson.IsEmpty(raw) {
		s.usage = append(s.usage[:0], raw...)
		s.effects++
	}
}

// readChoice converts the choice that begins at an offset of the chunk.
func (s *responseStream) readChoice(dst []byte, choice *rawjson.Doc, from int) []byte {
	get := func(key string) []byte { raw, _ := choice.Get(key); return raw }
	if problem := get("error"); !rawjson.IsEmpty(problem) {
		s.fail(openai.ParseError(choice.Body))
		return dst
	}
	s.noteUsage(get("usage")) // Moonshot's place for it
	f := choice.Field("delta")
	streams := f != nil && rawjson.IsObject(choice.Body[f.ValStart:f.ValEnd])
	if !streams {
		f = nil
		if !s.streamed { // else it repeats what the deltas have said
			f = choice.Field("message")
		}
	}
	if f != nil {
		delta, err := rawjson.Scan(choice.Body[f.ValStart:f.ValEnd], s.delta)
		if err == nil {
			s.delta = delta.Fields[:0]
			dst = s.readDelta(dst, &delta, from+f.ValStart, at(get("logprobs"), "content"))
		}
	}
	s.streamed = s.streamed || streams && len(s.items) != 0
	if finish, _ := rawjson.String(get("finish_reason")); finish != "" {
		s.finish = finish
		s.effects++
	}
	return dst
}

// reasoningKeys are the names under which upstreams send reasoning; some send it
// under two at once.
var reasoningKeys = [...]string{"reasoning_content", "reasoning", "thinking"}

// readDelta converts what a chunk adds.
func (s *responseStream) readDelta(dst []byte, delta *rawjson.Doc, from int, logprobs []byte) []byte {
	for _, key := range reasoningKeys {
		if f := delta.Field(key); f != nil && s.hasText(delta, f) {
			s.mold.note(moldReasoning, nil, from+f.ValStart+1, from+f.ValEnd-1)
			dst = s.think(dst, delta.Body[f.ValStart+1:f.ValEnd-1])
			break
		}
	}
	if f := delta.Field("content"); f != nil {
		raw := delta.Body[f.ValStart:f.ValEnd]
		switch {
		case s.hasText(delta, f):
			s.mold.note(moldText, nil, from+f.ValStart+1, from+f.ValEnd-1)
			dst = s.say(dst, partOutput, inside(raw), logprobs)
		case rawjson.IsArray(raw):
			dst = s.contentParts(dst, raw)
		}
	}
	if f := delta.Field("refusal"); f != nil && s.hasText(delta, f) {
		dst = s.say(dst, partRefusal, delta.Body[f.ValStart+1:f.ValEnd-1], nil)
	}
	annotations, _ := delta.Get("annotations")
	for _, annotation := range rawjson.Elements(annotations) {
		dst = s.annotate(dst, annotation)
	}
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

// hasText tells whether a field has text in it, and counts it.
func (s *responseStream) hasText(doc *rawjson.Doc, f *rawjson.Field) bool {
	raw := doc.Body[f.ValStart:f.ValEnd]
	if rawjson.IsString(raw) && len(raw) > 2 {
		s.effects++
		return true
	}
	return false
}

// contentParts converts content that is a list, as Mistral's models that reason send it.
func (s *responseStream) contentParts(dst, parts []byte) []byte {
	for _, part := range rawjson.Elements(parts) {
		get := reader(part)
		if text := inside(get("text")); len(text) != 0 {
			s.effects += 2
			dst = s.say(dst, partOutput, text, nil)
		}
		for _, thought := range rawjson.Elements(get("thinking")) {
			if text := inside(at(thought, "text")); len(text) != 0 {
				s.effects += 2
				dst = s.think(dst, text)
			}
		}
	}
	return dst
}

// begin writes what a response begins with. All ids are made of the completion's,
// or of its first chunk where it has none.
func (s *responseStream) begin(dst []byte, doc *rawjson.Doc) []byte {
	if s.begun {
		return dst
	}
	s.begun = true
	s.effects++
	id, _ := doc.Get("id")
	s.base = idBase(id, doc.Body)
	created, _ := doc.Get("created")
	s.created, _ = strconv.ParseInt(string(appendCreated(nil, created)), 10, 64)
	model, _ := doc.Get("model")
	if s.model = bytes.Clone(model); rawjson.IsEmpty(model) || !rawjson.IsString(model) {
		s.model = rawjson.AppendString(nil, s.c.model)
	}
	for _, kind := range [...]string{"response.created", "response.in_progress"} {
		dst = s.head(dst, kind, nil)
		dst = s.tail(s.response(dst, "in_progress", "null"))
	}
	return dst
}

// maxBase is the longest id that is taken over: OpenAI's items have at most 64
// letters.
const maxBase = 40

// idBase is what ids are made of.
func idBase(id, otherwise []byte) string {
	text, _ := rawjson.String(id)
	text = strings.TrimPrefix(text, "chatcmpl-")
	plain := func(r rune) bool {
		return r == '-' || r == '_' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
	}
	if text != "" && len(text) <= maxBase && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	h := fnv.New128a()
	if text != "" {
		_, _ = h.Write([]byte(text))
	} else {
		_, _ = h.Write(otherwise)
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
