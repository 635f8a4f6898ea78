package convert

import (
	"bytes"
	"errors"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// chatStream converts the events of a Responses stream to the chunks of a chat
// stream. Deltas are what a stream mostly consists of: their text is copied as it is
// written. Upstreams leave out events, ids and indices as they like; whatever comes
// only once, in a done event or in the last one, goes out then, and nothing twice.
type chatStream struct {
	c      *chatClient
	fields []rawjson.Field // of the event; reused
	inner  objectReader    // for the objects of an event

	head  []byte // of a chunk, up to its choices; empty before the first event
	ended bool
	spoke bool // there was more than the role
	items []streamItem
	calls int  // announced to the client
	held  int  // bytes that are kept of items
	most  int  // of them: what items are called, and arguments of calls that cannot go out yet
	full  bool // there was an item too many
	// foreign: a tool was at work that chat has no place for.
	foreign bool
	// unmade tells why there is no image of a call that was to make one.
	unmade *openai.UpstreamError
	// reasoned: reasoning went out, so that another part of it begins a paragraph.
	reasoned bool
	letters  int // of the content so far

	latest utterance

	mold    deltaMold
	textAt  int       // where in dst the text of the last chunk is; -1: in none
	sending *sentText // what this text was added to
}

// Stream begins a conversion.
func (c *chatClient) Stream(most int) Stream {
	return &chatStream{c: c, most: most, fields: make([]rawjson.Field, 0, usualFields)}
}

// Point is how far the chat stream has come: its error event and its keep-alive need
// to know nothing of it.
func (s *chatStream) Point() openai.Point {
	return openai.Point{Kind: openai.StreamChat, Sequence: -1}
}

// Spoke tells whether there was more than the role.
func (s *chatStream) Spoke() bool { return s.spoke }

var (
	chunkTail  = []byte(`},"logprobs":null,"finish_reason":null}]}` + "\n\n")
	chunkTailU = []byte(`},"logprobs":null,"finish_reason":null}],"usage":null}` + "\n\n")
)

// Event converts one event. What tells of a failure is an error.
func (s *chatStream) Event(dst, kind, data []byte) ([]byte, error) {
	data = bytes.TrimSpace(data)
	if s.ended || len(data) == 0 || string(data) == "[DONE]" {
		return dst, nil
	}
	if text := s.mold.fits(data); text != nil {
		return s.repeat(dst, text), nil
	}
	s.mold.n, s.textAt = 0, -1
	event, err := rawjson.Scan(data, s.fields)
	if err != nil {
		return dst, err
	}
	s.fields = event.Fields[:0]
	s.inner.forget()
	if isBroken(data) { // what is copied of it must not end a line of ours
		event.Body = unbroken(bytes.Clone(data))
	}
	typ, _ := event.Get("type")
	if rawjson.IsString(typ) {
		kind = inside(typ)
	}
	from := len(dst)
	if s.head == nil && !idle(kind) {
		dst = s.begin(dst, &event)
		role := len(dst)
		dst, err = s.convert(dst, kind, &event)
		if err != nil {
			s.head = nil
			return dst[:from], err
		}
		s.spoke = len(dst) > role
		return dst, nil
	}
	dst, err = s.convert(dst, kind, &event)
	switch {
	case s.held > s.most:
		return dst, errTooMuchHeld
	case s.full:
		return dst, errTooManyItems
	}
	s.spoke = s.spoke || len(dst) > from
	if s.textAt >= 0 && bytes.HasSuffix(inside(typ), []byte(".delta")) {
		s.castMold(&event, dst, from)
	}
	return dst, err
}

// castMold takes the mold of a delta that became dst[from:].
func (s *chatStream) castMold(event *rawjson.Doc, dst []byte, from int) {
	delta, _ := event.Get("delta")
	s.mold.sent = s.sending
	s.mold.content = bytes.HasSuffix(dst[:s.textAt], []byte(`"content":"`))
	s.mold.cast(event, dst[from:s.textAt], dst[s.textAt+len(inside(delta)):])
}

// idle tells whether an event is none of the response's: a keepalive, limits.
func idle(kind []byte) bool { return !bytes.HasPrefix(kind, []byte("response.")) }

func (s *chatStream) convert(dst, kind []byte, event *rawjson.Doc) ([]byte, error) {
	switch string(kind) {
	case "response.output_text.delta":
		return s.text(dst, event, "delta", "content"), nil
	case "response.output_text.done":
		return s.text(dst, event, "text", "content"), nil
	case "response.refusal.delta":
		return s.text(dst, event, "delta", "refusal"), nil
	case "response.refusal.done":
		return s.text(dst, event, "refusal", "refusal"), nil
	case "response.content_part.done":
		return s.part(dst, event), nil
	case "response.output_text.annotation.added":
		return s.annotation(dst, event), nil
	case "response.reasoning_text.delta":
		return s.reasoning(dst, event, "delta", reasoningText), nil
	case "response.reasoning_text.done":
		return s.reasoning(dst, event, "text", reasoningText), nil
	case "response.reasoning_summary_text.delta":
		return s.reasoning(dst, event, "delta", reasoningSummary), nil
	case "response.reasoning_summary_text.done":
		return s.reasoning(dst, event, "text", reasoningSummary), nil
	case "response.function_call_arguments.delta":
		return s.arguments(dst, event, "delta", false)
	case "response.function_call_arguments.done":
		return s.arguments(dst, event, "arguments", false)
	case "response.custom_tool_call_input.delta":
		return s.arguments(dst, event, "delta", true)
	case "response.custom_tool_call_input.done":
		return s.arguments(dst, event, "input", true)
	case "response.output_item.added":
		return s.added(dst, event)
	case "response.output_item.done":
		return s.done(dst, event)
	case "response.completed", "response.incomplete", "response.done", "response.failed", "response.cancelled":
		return s.finish(dst, kind, event)
	case "error":
		e := openai.ParseError(event.Body)
		return dst, &e
	default:
		return dst, nil // work of tools that chat has no place for, keepalives
	}
}

// begin makes what all chunks begin with, and sends the first one: the role.
func (s *chatStream) begin(dst []byte, event *rawjson.Doc) []byte {
	raw, _ := event.Get("response")
	response := s.inner.object(raw).get
	id := response("id")
	for _, key := range [...]string{"item_id", "id"} {
		if id == nil {
			id, _ = event.Get(key)
		}
	}
	head := appendChatID([]byte(`data: {"id":`), id, event.Body)
	head = append(head, `,"object":"chat.completion.chunk","created":`...)
	head = appendCreated(head, response("created_at"))
	head = s.c.appendModel(append(head, `,"model":`...), response("model"))
	s.head = append(head, `,"choices":[`...)
	dst = append(s.open(dst), `"role":"assistant","content":""`...)
	return s.close(dst)
}

// open appends a chunk up to the inside of its delta, close what comes behind it.
func (s *chatStream) open(dst []byte) []byte {
	return append(append(dst, s.head...), `{"index":0,"delta":{`...)
}

func (s *chatStream) close(dst []byte) []byte {
	if s.c.usage {
		return append(dst, chunkTailU...)
	}
	return append(dst, chunkTail...)
}

// send appends a chunk whose delta is one field, a string with this inside.
func (s *chatStream) send(dst []byte, key string, text []byte) []byte {
	dst = append(append(append(s.open(dst), '"'), key...), `":"`...)
	s.textAt = len(dst)
	dst = append(append(dst, text...), '"')
	return s.close(dst)
}

// finish sends what the last event alone has, and the end.
func (s *chatStream) finish(dst, kind []byte, event *rawjson.Doc) ([]byte, error) {
	response := *event // some upstreams leave the envelope out
	if raw, _ := event.Get("response"); rawjson.IsObject(raw) {
		inner, err := rawjson.Scan(raw, nil)
		if err != nil {
			return dst, err
		}
		response = inner
	}
	if err := notAnswered(&response, string(kind)); err != nil {
		return dst, err
	}
	from := len(dst)
	output, _ := response.Get("output")
	dst, err := s.last(dst, output)
	if err != nil {
		return dst, err
	}
	dst = s.flush(dst)
	reason := s.c.finishReason(&response, string(kind), s.calls != 0)
	cut := reason == "length" || reason == "content_filter"
	if err := s.lacks(cut, len(dst) > from); err != nil {
		return dst, err
	}
	tier, _ := response.Get("service_tier")
	if !rawjson.IsString(tier) {
		tier = nil
	}
	usage, _ := response.Get("usage")
	return s.end(dst, reason, tier, chatUsage(usage)), nil
}

// lacks is the error of a stream that must not end like a whole one: a call in it
// cannot be made, unless it was cut there, or an image is all that it was to have.
func (s *chatStream) lacks(cut, speaks bool) error {
	switch {
	case !cut && s.nameless():
		return errNamelessCall
	case s.unmade != nil && !s.spoke && !speaks:
		return s.unmade
	}
	return nil
}

// end sends the last chunks.
func (s *chatStream) end(dst []byte, reason string, tier, usage []byte) []byte {
	s.ended = true
	dst = append(s.open(dst), `},"logprobs":null,"finish_reason":"`...)
	dst = append(append(dst, reason...), `"}]`...)
	dst = appendField(dst, "service_tier", tier)
	if s.c.usage {
		dst = append(dst, `,"usage":null`...)
	}
	dst = append(dst, "}\n\n"...)
	if s.c.usage && usage != nil {
		dst = append(append(dst, s.head...), ']')
		dst = appendField(dst, "service_tier", tier)
		dst = appendField(dst, "usage", usage)
		dst = append(dst, "}\n\n"...)
	}
	return openai.AppendDone(dst)
}

// End sends the end that no event has brought.
func (s *chatStream) End(dst []byte) ([]byte, error) {
	if s.ended {
		return dst, nil
	}
	if s.head == nil {
		return dst, errors.New("the stream ended without an event")
	}
	from := len(dst)
	dst = s.flush(dst)
	if err := s.lacks(false, len(dst) > from); err != nil {
		return dst, err
	}
	reason := s.c.finishReason(&rawjson.Doc{}, "", s.calls != 0)
	return s.end(dst, reason, nil, nil), nil
}
