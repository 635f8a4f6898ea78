package convert

import (
	"errors"
	"strconv"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// Answer converts a response object to a chat.completion. A response that failed or
// was cancelled is an error that carries what the upstream says of it.
func (c *chatClient) Answer(dst, answer []byte) ([]byte, error) {
	response, err := rawjson.Scan(answer, nil)
	if err != nil {
		return dst, err
	}
	get := func(key string) []byte { raw, _ := response.Get(key); return raw }
	if get("output") == nil && get("status") == nil && get("id") == nil {
		return dst, errors.New("not a response object")
	}
	if err := notAnswered(&response, ""); err != nil {
		return dst, err
	}
	var m chatMessage
	for _, item := range rawjson.Elements(get("output")) {
		m.addItem(item, c)
	}
	reason := c.finishReason(&response, "", m.calls != 0)
	if err := m.lacks(reason); err != nil {
		return dst, err
	}
	dst = append(dst, `{"id":`...)
	dst = appendChatID(dst, get("id"), answer)
	dst = append(dst, `,"object":"chat.completion","created":`...)
	dst = appendCreated(dst, get("created_at"))
	dst = c.appendModel(append(dst, `,"model":`...), get("model"))
	dst = append(dst, `,"choices":[{"index":0,"message":`...)
	dst = m.append(dst)
	dst = append(dst, `,"logprobs":`...)
	dst = appendLogprobs(dst, m.logprobs)
	dst = append(dst, `,"finish_reason":"`...)
	dst = append(dst, reason...)
	dst = append(dst, `"}]`...)
	if usage := chatUsage(get("usage")); usage != nil {
		dst = appendField(dst, "usage", usage)
	}
	if tier := get("service_tier"); rawjson.IsString(tier) {
		dst = appendField(dst, "service_tier", tier)
	}
	return append(dst, '}'), nil
}

// notAnswered is the error of a response that ended without an answer; nil if it has
// one. kind is the event's that brought it, empty for a whole answer.
func notAnswered(response *rawjson.Doc, kind string) error {
	raw, _ := response.Get("status")
	status, _ := rawjson.String(raw)
	switch {
	case status == "failed" || kind == "response.failed":
		e := openai.ParseError(response.Body)
		return &e
	case status == "cancelled" || kind == "response.cancelled":
		return &openai.UpstreamError{Code: "cancelled", Message: "The response was cancelled."}
	case kind == "" && (status == "queued" || status == "in_progress"):
		return errors.New("the response is not finished")
	}
	return nil
}

// finishReason tells why the answer ends, in the words of chat.
func (c *chatClient) finishReason(response *rawjson.Doc, kind string, calls bool) string {
	status, _ := response.Get("status")
	details, _ := response.Get("incomplete_details")
	reason := at(details, "reason")
	switch {
	case rawjson.Equal(reason, "content_filter"):
		return "content_filter"
	case kind == "response.incomplete" || rawjson.Equal(status, "incomplete"):
		return "length" // the one reason left, and none may look complete
	case calls && c.legacy:
		return "function_call"
	case calls:
		return "tool_calls"
	default:
		return "stop"
	}
}

// appendModel appends the model that answered; where the upstream does not say, the
// one that was asked for.
func (c *chatClient) appendModel(dst, model []byte) []byte {
	if len(inside(model)) != 0 {
		return append(dst, model...)
	}
	return rawjson.AppendString(dst, c.model)
}

// chatMessage collects the message of a whole answer. Its texts are the insides of
// JSON strings, so that parts join without being decoded.
type chatMessage struct {
	content, refusal, reasoning []byte
	hasContent, hasRefusal      bool

	annotations, details, toolCalls []byte // elements, each followed by a comma
	logprobs, images                []byte // likewise
	function                        []byte // function_call, for who knows no tools
	calls                           int
	letters                         int                   // in content
	nameless                        bool                  // a call has no name
	unmade                          *openai.UpstreamError // why there is no image of a call that was to make one
}

// lacks is the error of an answer that must not look like a whole one: a call in it
// cannot be made, or an image is all that it was to have.
func (m *chatMessage) lacks(reason string) error {
	cut := reason == "length" || reason == "content_filter"
	empty := !m.hasContent && !m.hasRefusal && m.calls == 0 && len(m.images)+len(m.reasoning)+len(m.details) == 0
	switch {
	case m.nameless && !cut:
		return errNamelessCall
	case m.unmade != nil && empty:
		return m.unmade
	}
	return nil
}

func (m *chatMessage) addItem(item []byte, c *chatClient) {
	get := reader(item)
	kind, custom, _ := kindOf(get("type"))
	switch kind {
	case itemMessage:
		for _, part := range rawjson.Elements(get("content")) {
			m.addPart(reader(part), c)
		}
	case itemReasoning:
		for _, text := range reasoningTexts(get) {
			if len(m.reasoning) != 0 {
				m.reasoning = append(m.reasoning, paragraph...)
			}
			m.reasoning = append(m.reasoning, text...)
		}
		m.details = appendEncrypted(m.details, get)
	case itemCall:
		m.addCall(get, custom, c)
	case itemImage:
		m.images = appendImage(m.images, get)
		if m.unmade == nil {
			m.unmade = unmadeImage(get)
		}
	}
}

func (m *chatMessage) addPart(get func(string) []byte, c *chatClient) {
	what, ok := partText(get)
	if !ok {
		return
	}
	for _, annotation := range rawjson.Elements(get("annotations")) {
		m.annotations = appendAnnotation(m.annotations, annotation, m.letters)
	}
	if what.field == "refusal" {
		m.hasRefusal = true
		m.refusal = append(m.refusal, what.text...)
		return
	}
	if c.logprobs {
		m.logprobs = appendTokens(m.logprobs, what.logprobs)
	}
	m.hasContent = true
	m.content = append(m.content, what.text...)
	m.letters += letters(what.text)
}

func (m *chatMessage) addCall(get func(string) []byte, custom bool, c *chatClient) {
	if len(inside(get("name"))) == 0 {
		m.nameless = true
		return
	}
	n := m.calls
	m.calls++
	input := appendString(nil, callInput(get, custom))
	switch {
	case c.legacy && n > 0:
		return // function_call has room for one
	case c.legacy:
		m.function = appendString([]byte(`{"name":`), get("name"))
		m.function = append(appendField(m.function, "arguments", input), '}')
		return
	}
	m.toolCalls = appendCallID(append(m.toolCalls, `{"id":`...), inside(get("call_id")), inside(get("id")), n)
	if custom {
		m.toolCalls = appendString(append(m.toolCalls, `,"type":"custom","custom":{"name":`...), get("name"))
		m.toolCalls = appendField(m.toolCalls, "input", input)
	} else {
		m.toolCalls = appendString(append(m.toolCalls, `,"type":"function","function":{"name":`...), get("name"))
		m.toolCalls = appendField(m.toolCalls, "arguments", input)
	}
	m.toolCalls = append(m.toolCalls, "}},"...)
}

// callInput is what a call is given, as a raw string. Some upstreams write the object
// itself.
func callInput(get func(string) []byte, custom bool) []byte {
	if custom {
		return get("input")
	}
	raw := get("arguments")
	if rawjson.IsObject(raw) {
		return rawjson.AppendString(nil, string(raw))
	}
	return raw
}

func (m *chatMessage) append(dst []byte) []byte {
	dst = append(dst, `{"role":"assistant","content":`...)
	dst = appendInside(dst, m.content, m.hasContent)
	dst = append(dst, `,"refusal":`...)
	dst = appendInside(dst, m.refusal, m.hasRefusal)
	dst = append(dst, `,"annotations":`...)
	dst = append(dst, list(m.annotations)...)
	if len(m.reasoning) != 0 {
		dst = append(dst, `,"reasoning_content":`...)
		dst = appendInside(dst, m.reasoning, true)
	}
	if len(m.details) != 0 {
		dst = appendField(dst, "reasoning_details", list(m.details))
	}
	if len(m.images) != 0 {
		dst = appendField(dst, "images", list(m.images))
	}
	if len(m.toolCalls) != 0 {
		dst = appendField(dst, "tool_calls", list(m.toolCalls))
	}
	return append(appendField(dst, "function_call", m.function), '}')
}

// appendInside appends a string whose inside is given, or null.
func appendInside(dst, text []byte, there bool) []byte {
	if !there {
		return append(dst, "null"...)
	}
	return append(append(append(dst, '"'), text...), '"')
}

// appendString appends a raw string; an empty one in place of anything else.
func appendString(dst, raw []byte) []byte {
	if !rawjson.IsString(raw) {
		return append(dst, `""`...)
	}
	return append(dst, raw...)
}

// appendCallID appends the id by which the client answers a call: the call_id, or
// what else tells it from others.
func appendCallID(dst, callID, id []byte, n int) []byte {
	if len(callID) == 0 {
		callID = id
	}
	dst = append(dst, '"')
	if len(callID) == 0 {
		dst = strconv.AppendInt(append(dst, "call_index_"...), int64(n), 10)
	}
	return append(append(dst, callID...), '"')
}
