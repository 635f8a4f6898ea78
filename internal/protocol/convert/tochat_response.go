package convert

import (
	"bytes"
	"strconv"

	"realms/internal/protocol/openai"
	"realms/internal/protocol/rawjson"
)

// Answer converts a whole completion: as a stream that came in one piece.
func (c *responsesClient) Answer(dst, answer []byte) ([]byte, error) {
	doc, err := rawjson.Scan(bytes.TrimSpace(answer), nil)
	if err != nil {
		return dst, &openai.DataError{Err: err}
	}
	problem, _ := doc.Get("error")
	choices, _ := doc.Get("choices")
	if openai.IsError(problem) || rawjson.IsEmpty(choices) || !rawjson.IsArray(choices) {
		e := openai.ParseError(doc.Body)
		if e.Message == "" {
			e.Message = "The answer is no chat completion."
		}
		return dst, &e
	}
	s := responseStream{c: c, quiet: true, whole: true}
	s.chunk(nil, &doc)
	if s.told != nil {
		return dst, s.told
	}
	if _, err := s.End(nil); err != nil {
		return dst, err
	}
	return s.response(dst, s.status(), "null"), nil
}

// head begins an event, of an item if it is not nil.
func (s *responseStream) head(dst []byte, kind string, it *outputItem) []byte {
	if s.quiet {
		return dst
	}
	dst = append(append(append(dst, "event: "...), kind...), "\ndata: {\"type\":\""...)
	dst = append(append(dst, kind...), `","sequence_number":`...)
	dst = strconv.AppendInt(dst, s.sequence, 10)
	s.sequence++
	if it != nil {
		return it.place(dst)
	}
	return append(dst, `,"response":`...)
}

// tail ends an event.
func (s *responseStream) tail(dst []byte) []byte {
	if s.quiet {
		return dst
	}
	return append(dst, "}\n\n"...)
}

// place appends which item an event is about.
func (it *outputItem) place(dst []byte) []byte {
	dst = append(append(append(dst, `,"item_id":"`...), it.id...), `","output_index":`...)
	return strconv.AppendInt(dst, int64(it.index), 10)
}

// itemEvent tells that an item begins or ends.
func (s *responseStream) itemEvent(dst []byte, kind string, it *outputItem, item []byte) []byte {
	if s.quiet {
		return dst
	}
	dst = append(append(append(dst, "event: "...), kind...), "\ndata: {\"type\":\""...)
	dst = append(append(dst, kind...), `","sequence_number":`...)
	dst = strconv.AppendInt(dst, s.sequence, 10)
	s.sequence++
	dst = strconv.AppendInt(append(dst, `,"output_index":`...), int64(it.index), 10)
	return s.tail(appendField(dst, "item", item))
}

// json is the item as it is now.
func (it *outputItem) json(status string) []byte {
	dst := append(append([]byte(`{"id":"`), it.id...), '"')
	switch it.kind {
	case outputMessage:
		dst = append(dst, `,"type":"message","status":"`+status+`","role":"assistant","content":`...)
		return append(append(dst, list(it.parts)...), '}')
	case outputReasoning:
		dst = append(dst, `,"type":"reasoning","summary":`...)
		if it.parts == nil || bytes.HasPrefix(it.parts, []byte(`{"type":"summary_text"`)) {
			return append(append(dst, list(it.parts)...), '}')
		}
		dst = append(dst, `[],"content":`...)
		return append(append(dst, list(it.parts)...), '}')
	case outputImage:
		dst = append(dst, `,"type":"image_generation_call","status":"`+status+`","result":`...)
		if it.text == nil {
			return append(dst, "null}"...)
		}
		dst = append(dst, quoted(it.text)...)
	case outputCustom:
		dst = append(dst, `,"type":"custom_tool_call","status":"`+status+`"`...)
		dst = appendField(it.appendName(dst), "input", quoted(it.text))
	case outputSearch:
		arguments, _ := rawjson.String(quoted(it.text))
		if rawjson.Valid([]byte(arguments)) != nil {
			arguments = "{}"
		}
		dst = append(dst, `,"type":"tool_search_call","status":"`+status+`","execution":"client"`...)
		dst = appendField(dst, "call_id", rawjson.AppendString(nil, it.callID))
		dst = appendField(dst, "arguments", []byte(arguments))
	case outputFunction:
		dst = append(dst, `,"type":"function_call","status":"`+status+`"`...)
		dst = appendField(it.appendName(dst), "arguments", quoted(it.text))
	}
	return append(dst, '}')
}

// appendName appends which tool is called, and the call's id.
func (it *outputItem) appendName(dst []byte) []byte {
	dst = appendField(dst, "call_id", rawjson.AppendString(nil, it.callID))
	dst = appendField(dst, "name", rawjson.AppendString(nil, it.tool.name))
	if it.tool.namespace != "" {
		dst = appendField(dst, "namespace", rawjson.AppendString(nil, it.tool.namespace))
	}
	return dst
}

// response appends the response as it is now.
func (s *responseStream) response(dst []byte, status, problem string) []byte {
	if s.quiet && !s.ended {
		return dst // nobody reads it yet
	}
	dst = append(append(append(dst, `{"id":"resp_`...), s.base...), `","object":"response","created_at":`...)
	dst = strconv.AppendInt(dst, s.created, 10)
	dst = append(append(append(dst, `,"status":"`...), status...), `","background":false,"error":`...)
	dst = append(append(dst, problem...), `,"incomplete_details":`...)
	if reason := s.reason(); status == "incomplete" {
		dst = append(append(append(dst, `{"reason":"`...), reason...), `"}`...)
	} else {
		dst = append(dst, "null"...)
	}
	dst = appendField(dst, "model", s.model)
	dst = append(dst, `,"output":[`...)
	comma := false
	for _, it := range s.items {
		if it.done == nil {
			continue
		}
		if comma {
			dst = append(dst, ',')
		}
		comma = true
		dst = append(dst, it.done...)
	}
	dst = append(dst, `],"previous_response_id":null,"store":false`...)
	if status == "in_progress" {
		dst = append(dst, s.c.early...)
	} else {
		dst = append(dst, s.c.echo...)
	}
	tier, usage := s.tier, responsesUsage(s.usage)
	if tier == nil {
		tier = []byte("null")
	}
	dst = appendField(appendField(dst, "service_tier", tier), "usage", usage)
	return append(dst, '}')
}

// responsesUsage is a usage in the words of Responses; null if there is none. Some
// upstreams have names of their own for details.
func responsesUsage(raw []byte) []byte {
	u, ok := readCounts(raw)
	if !ok {
		return []byte("null")
	}
	reasoning := u.detail(outputDetails, "reasoning_tokens", "reasoning_tokens")
	if reasoning > 0 && u.total == u.input+u.output+reasoning {
		u.output += reasoning // some count it beside the output; here it is part of it
	}
	var b []byte
	number := func(key string, n int64) { b = strconv.AppendInt(append(b, key...), n, 10) }
	number(`{"input_tokens":`, u.input)
	number(`,"input_tokens_details":{"cached_tokens":`, u.detail(inputDetails, "cached_tokens", "prompt_cache_hit_tokens", "cached_tokens", "cache_read_input_tokens"))
	number(`,"cache_write_tokens":`, u.detail(inputDetails, "cache_write_tokens", "cache_creation_input_tokens"))
	number(`},"output_tokens":`, u.output)
	number(`,"output_tokens_details":{"reasoning_tokens":`, reasoning)
	number(`},"total_tokens":`, u.total)
	return append(b, '}')
}
