package convert

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"slices"
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

	items  []*outputItem // what the client was told of, in that order
	calls  []*outputItem // in the order in which they began; some wait for a name
	made   int           // items and calls that wait
	kinds  kindSet       // of them
	open   *outputItem   // the message or reasoning that is being written
	beside *outputItem   // reasoning that comes along with the open message
	last   *outputItem   // the call that was last spoken of
	kept   int           // bytes of output
	most   int           // of them

	tokens []byte   // log probabilities that wait for text, a comma behind each
	notes  [][]byte // annotations that do

	chosen   bool        // which choice is converted is known
	index    int64       // of that choice
	legacy   *outputItem // the call of the deprecated kind
	streamed kindSet     // output that came by the deltas
	again    bool        // a message is read, which may repeat it
	plain    bool        // reasoning came as text, so its details repeat it
	lost     bool        // something came that Responses has no form for

	mold    chunkMold
	effects int // of the chunk that is being read
	top     []rawjson.Field
	choice  []rawjson.Field
	delta   []rawjson.Field
}

// Stream begins the conversion of a stream.
func (c *responsesClient) Stream(most int) Stream {
	const n = usualFields
	room := make([]rawjson.Field, 3*n)
	return &responseStream{c: c, most: most, top: room[:0:n], choice: room[n : n : 2*n], delta: room[2*n : 2*n]}
}

// Point is how far the response has come.
func (s *responseStream) Point() openai.Point {
	p := openai.Point{Kind: openai.StreamResponses, Sequence: s.sequence - 1, Created: s.begun}
	if s.begun {
		p.ResponseID = "resp_" + s.base
	}
	return p
}

// Spoke tells whether the client was told of an item of output.
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
	if isBroken(data) { // what is taken over as it is goes into one line
		doc.Body = unbroken(bytes.Clone(data))
	}
	problem, _ := doc.Get("error")
	object, _ := doc.Get("object")
	if string(kind) == "error" || openai.IsError(problem) || rawjson.Equal(object, "error") {
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
	if e := s.failure(); e != nil {
		s.fail(*e)
		return dst, s.told
	}
	dst = s.begin(dst, &rawjson.Doc{})
	s.ended = true
	status := s.status()
	dst = s.closeCalls(s.closeOpen(dst))
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

// failure is why what has come is no answer; nil if it is one.
func (s *responseStream) failure() *openai.UpstreamError {
	if e := failedFinish(s.finish); e != nil {
		return e
	}
	if s.reason() != "" {
		return nil // it says itself that something is missing
	}
	said := slices.ContainsFunc(s.items, func(it *outputItem) bool { return it.kind != outputReasoning })
	for _, it := range s.calls {
		switch {
		case it.wire != "":
			said = true
		case it.argued():
			return &openai.UpstreamError{Message: "The model's upstream sent a tool's arguments, but never said which tool it calls."}
		}
	}
	if s.lost && !said {
		return &openai.UpstreamError{Message: "The model's answer is of a kind that the Responses API has no form for."}
	}
	return nil
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
		if index, _ := choice.Get("index"); s.chooses(index) {
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

// chooses tells whether a choice is the one that is converted: the first that comes,
// whatever its number. Some upstreams count from one.
func (s *responseStream) chooses(index []byte) bool {
	n, ok := rawjson.Int(index)
	if !ok {
		return true
	}
	if !s.chosen {
		s.chosen, s.index = true, n
	}
	return n == s.index
}

func (s *responseStream) noteUsage(raw []byte) {
	if rawjson.IsObject(raw) && !rawjson.IsEmpty(raw) {
		s.usage = append(s.usage[:0], raw...)
		s.effects++
	}
}

// begin writes what a response begins with. All ids are made of the completion's. Where
// it has none they are made of its first chunk and of the request: the first chunks of
// two turns may well be the same.
func (s *responseStream) begin(dst []byte, doc *rawjson.Doc) []byte {
	if s.begun {
		return dst
	}
	s.begun = true
	s.effects++
	id, _ := doc.Get("id")
	s.base = idBase(id, doc.Body, s.c.body)
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
func idBase(id []byte, otherwise ...[]byte) string {
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
		for _, part := range otherwise {
			_, _ = h.Write(part)
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}
