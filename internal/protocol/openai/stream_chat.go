package openai

import (
	"bytes"
	"strings"

	"realms/internal/protocol/rawjson"
	"realms/internal/sse"
)

// chat judges a chunk of a chat or completions stream.
func (s *StreamState) chat(ev sse.Event, doc *rawjson.Doc) Verdict {
	if isError(ev, doc) {
		return s.fail(doc)
	}
	if s.responseID == "" {
		if raw, ok := doc.Get("id"); ok {
			s.responseID, _ = rawjson.String(raw)
		}
	}
	usage, _ := doc.Get("usage")
	s.usage.take(usage)
	choices, _ := doc.Get("choices")
	if rawjson.IsEmpty(choices) {
		if rawjson.IsObject(usage) {
			return Verdict{Class: ClassUsageOnly}
		}
		return Verdict{Class: ClassHeld}
	}
	if s.choices == 1 {
		if at, n := contentDelta(choices); n > 0 {
			s.output = true
			at += doc.Field("choices").ValStart
			s.mold.cast(doc, hole{at, at + n, holeOutput}, hole{})
			return Verdict{Class: ClassSubstantive, OutputBytes: n}
		}
	}
	output := 0
	for _, raw := range rawjson.Elements(choices) {
		output += s.choice(raw)
	}
	if output > 0 {
		s.output = true
		s.castChoice(doc, choices)
	}
	if s.output {
		return Verdict{Class: ClassSubstantive, OutputBytes: output}
	}
	return Verdict{Class: ClassHeld}
}

var (
	contentHead = []byte(`"delta":{"content":"`)
	noFinish    = []byte(`"finish_reason":null`)
)

// contentDelta is the short way for the chunk that most of a stream consists of: one
// choice with some text and nothing else that matters. It returns the text's place
// and length; length 0 when the chunk must be read. The bytes it looks for cannot
// stand inside a JSON string, where their quotes would be escaped.
func contentDelta(choices []byte) (at, n int) {
	i := bytes.Index(choices, contentHead)
	if i < 0 || !bytes.Contains(choices, noFinish) {
		return 0, 0
	}
	at = i + len(contentHead)
	return at, stringLength(choices[at:])
}

// textHeads are what output stands behind when it is no plain content.
var textHeads = [...][]byte{
	[]byte(`"content":"`), []byte(`"arguments":"`), []byte(`"reasoning_content":"`), []byte(`"reasoning":"`), []byte(`"text":"`),
}

// castChoice takes the mold of a chunk that was read and has output.
func (s *StreamState) castChoice(doc *rawjson.Doc, choices []byte) {
	if s.choices != 1 || !bytes.Contains(choices, noFinish) {
		return
	}
	for _, head := range textHeads {
		i := bytes.Index(choices, head)
		if i < 0 {
			continue
		}
		i += len(head)
		if n := stringLength(choices[i:]); n > 0 {
			i += doc.Field("choices").ValStart
			s.mold.cast(doc, hole{i, i + n, holeOutput}, hole{})
			return
		}
	}
}

// stringLength is the length of a string's inside, up to its closing quote.
func stringLength(b []byte) int {
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i
		case '\\':
			i++
		}
	}
	return 0
}

// choice reads one choice and returns how many bytes of output it has.
func (s *StreamState) choice(raw []byte) int {
	doc, ok := s.object(raw)
	if !ok {
		return 0
	}
	index, _ := doc.Get("index")
	finish, _ := doc.Get("finish_reason")
	if !rawjson.IsEmpty(finish) {
		n, _ := rawjson.Int(index)
		s.finished.add(n)
		s.otherEnd = s.otherEnd || !plainFinish(finish)
	}
	if e := choiceFailure(&doc, finish); e != nil {
		s.broken, s.failed = e, true
	}
	if usage, ok := doc.Get("usage"); ok { // Moonshot's place for it
		s.usage.take(usage)
	}
	output := 0
	if text, ok := doc.Get("text"); ok {
		output += outputLength(text)
	}
	delta, _ := doc.Get("delta")
	if message, ok := s.object(delta); ok {
		output += messageOutput(&message)
	}
	return output
}

// plainFinish tells whether a finish reason means that the model had said it all.
func plainFinish(raw []byte) bool {
	for _, reason := range [...]string{"stop", "tool_calls", "function_call", "eos"} {
		if rawjson.Equal(raw, reason) {
			return true
		}
	}
	return false
}

// FailedFinish is the failure that a choice's finish_reason tells; nil for one that
// tells none. "error" is OpenRouter's, "insufficient_system_resource" DeepSeek's, "abort"
// vLLM's and SGLang's, "network_error" Zhipu's.
func FailedFinish(reason string) *UpstreamError {
	switch strings.ToLower(reason) {
	case "error", "abort", "network_error":
		return &UpstreamError{Message: "The model's upstream failed while it was answering."}
	case "insufficient_system_resource":
		return &UpstreamError{Message: "The model's upstream ran out of resources while it was answering.", Code: "server_is_overloaded"}
	default:
		return nil
	}
}

// IsError tells whether the raw value of a field named error tells of one: a false there
// tells of none.
func IsError(raw []byte) bool {
	return (rawjson.IsObject(raw) || rawjson.IsString(raw)) && !rawjson.IsEmpty(raw)
}

// choiceFailure is what a choice tells of its own failure: in an error object, or by
// its finish_reason. Usage may still follow, so the stream goes on to its end.
func choiceFailure(choice *rawjson.Doc, finish []byte) *UpstreamError {
	if problem, _ := choice.Get("error"); IsError(problem) {
		e := ParseError(choice.Body)
		return &e
	}
	if rawjson.IsEmpty(finish) || plainFinish(finish) {
		return nil
	}
	reason, _ := rawjson.String(finish)
	return FailedFinish(reason)
}

// messageOutput is how many bytes of output a message or delta has: everything but
// its role counts, because upstreams name reasoning and media as they like.
func messageOutput(message *rawjson.Doc) int {
	output := 0
	for i := range message.Fields {
		f := &message.Fields[i]
		switch string(f.Key) {
		case "role", "name":
		default:
			output += outputLength(message.Body[f.ValStart:f.ValEnd])
		}
	}
	return output
}

// outputLength is the length of a value that is output, without its quotes.
func outputLength(raw []byte) int {
	switch {
	case rawjson.IsEmpty(raw):
		return 0
	case rawjson.IsString(raw):
		return len(raw) - 2
	default:
		return len(raw)
	}
}
