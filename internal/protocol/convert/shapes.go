package convert

import (
	"hash/fnv"
	"strconv"
	"strings"

	"realms/internal/protocol/rawjson"
)

// How encrypted reasoning travels through chat: the shape that some clients know to
// send back. The format says whose it is.
const (
	reasoningEncrypted = "reasoning.encrypted"
	reasoningFormat    = "openai-responses-v1"
)

// paragraph stands between the parts of reasoning, inside a JSON string.
const paragraph = `\n\n`

// appendChatID appends the id of a completion, made of the response's; of whatever
// came first where there is none.
func appendChatID(dst, id, otherwise []byte) []byte {
	text, _ := rawjson.String(id)
	if text == "" {
		h := fnv.New64a()
		_, _ = h.Write(otherwise)
		text = strconv.FormatUint(h.Sum64(), 16)
	}
	return rawjson.AppendString(dst, "chatcmpl-"+strings.TrimPrefix(text, "resp_"))
}

// appendCreated appends seconds as the whole number that chat has; some upstreams
// write a fraction.
func appendCreated(dst, created []byte) []byte {
	n, _ := count(created)
	return strconv.AppendInt(dst, n, 10)
}

// chatUsage is a usage in the words of chat; nil if there is none. Details keep
// whatever they count.
func chatUsage(raw []byte) []byte {
	u, ok := readCounts(raw)
	if !ok {
		return nil
	}
	usage := strconv.AppendInt([]byte(`{"prompt_tokens":`), u.input, 10)
	usage = strconv.AppendInt(append(usage, `,"completion_tokens":`...), u.output, 10)
	usage = strconv.AppendInt(append(usage, `,"total_tokens":`...), u.total, 10)
	for _, part := range [...][2]string{inputDetails, outputDetails} {
		if details := u.first(part[1], part[0]); rawjson.IsObject(details) {
			usage = appendField(usage, part[0], details)
		}
	}
	return append(usage, '}')
}

// appendAnnotation appends where a text was taken from, with a comma behind it. Chat
// knows sources on the web alone. Its places count letters of the whole content, of
// which before come ahead of the part.
func appendAnnotation(dst, annotation []byte, before int) []byte {
	if !rawjson.Equal(at(annotation, "type"), "url_citation") {
		return dst
	}
	citation := at(annotation, "url_citation") // some upstreams send chat's own shape
	if citation == nil {
		citation = annotation
	}
	var inner []byte
	for _, key := range [...]string{"start_index", "end_index"} {
		place := at(citation, key)
		if n, ok := rawjson.Int(place); ok && before > 0 {
			place = strconv.AppendInt(nil, n+int64(before), 10)
		}
		inner = appendField(inner, key, place)
	}
	inner = copyFields(inner, citation, "title", "url")
	if len(inner) == 0 {
		return dst
	}
	dst = append(dst, `{"type":"url_citation","url_citation":`...)
	return append(append(dst, fields(inner)...), '}', ',')
}

// appendLogprobs appends a choice's logprobs, given the elements for its content.
func appendLogprobs(dst, tokens []byte) []byte {
	if len(tokens) == 0 {
		return append(dst, "null"...)
	}
	dst = append(append(dst, `{"content":`...), list(tokens)...)
	return append(dst, `,"refusal":null}`...)
}

// appendTokens appends the log probabilities of tokens, each with a comma behind it.
// Chat wants to see the bytes, if only as null.
func appendTokens(dst, logprobs []byte) []byte {
	for _, token := range rawjson.Elements(logprobs) {
		if !rawjson.IsObject(token) {
			continue
		}
		dst = appendToken(dst, token)
		dst = append(dst, `,"top_logprobs":[`...)
		comma := false
		for _, top := range rawjson.Elements(at(token, "top_logprobs")) {
			if comma {
				dst = append(dst, ',')
			}
			comma = true
			dst = append(appendToken(dst, top), '}')
		}
		dst = append(dst, "]},"...)
	}
	return dst
}

// appendToken appends one token, but for its closing brace.
func appendToken(dst, token []byte) []byte {
	get := reader(token)
	dst = appendString(append(dst, `{"token":`...), get("token"))
	logprob, bytes := get("logprob"), get("bytes")
	if logprob == nil {
		logprob = []byte("0")
	}
	if bytes == nil {
		bytes = []byte("null")
	}
	return appendField(appendField(dst, "logprob", logprob), "bytes", bytes)
}

// reasoningTexts are the insides of a reasoning item's texts: its summary or, where
// that is empty, the reasoning itself.
func reasoningTexts(get func(string) []byte) [][]byte {
	var texts [][]byte
	for _, key := range [...]string{"summary", "content"} {
		for _, part := range rawjson.Elements(get(key)) {
			if text := inside(at(part, "text")); len(text) != 0 {
				texts = append(texts, text)
			}
		}
		if len(texts) != 0 {
			break
		}
	}
	return texts
}

// appendEncrypted appends a reasoning item's encrypted content as a detail, with a
// comma behind it; nothing if it has none.
func appendEncrypted(dst []byte, get func(string) []byte) []byte {
	data := get("encrypted_content")
	if len(inside(data)) == 0 {
		return dst
	}
	dst = append(dst, `{"type":"`+reasoningEncrypted+`"`...)
	dst = appendField(dst, "id", get("id"))
	dst = appendField(dst, "data", data)
	return append(dst, `,"format":"`+reasoningFormat+`"},`...)
}

// letters counts the letters of a string's inside as it is written.
func letters(inside []byte) int {
	n := 0
	for i := 0; i < len(inside); i++ {
		switch c := inside[i]; {
		case c == '\\' && i+5 < len(inside) && inside[i+1] == 'u':
			// The second half of a pair is no letter of its own.
			if high, low := inside[i+2]|0x20, inside[i+3]|0x20; high != 'd' || low < 'c' {
				n++
			}
			i += 5
		case c == '\\':
			n++
			i++
		case c&0xc0 != 0x80:
			n++
		}
	}
	return n
}
