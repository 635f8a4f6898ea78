package openai

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"realms/internal/protocol/rawjson"
)

// UpstreamError is what an upstream says went wrong, whatever its envelope.
type UpstreamError struct {
	Status   int    // stated inside the body, 400 to 599; 0: not
	Message  string // one line of valid UTF-8, at most 1 KiB; empty if HTML
	Type     string
	Param    string
	Code     string
	PlanType string
	ResetsAt time.Time     // resets_at; zero: not said
	ResetsIn time.Duration // resets_in_seconds; 0: not said
	HTML     bool          // a page, of which nothing may reach a client
	// Enveloped: it stood in OpenAI's own shape, {"error":{…}}.
	Enveloped bool
	Bare      bool // no envelope was recognised: Message is the body's beginning, or empty
}

func (e *UpstreamError) Error() string {
	if e.Message != "" {
		return e.Message
	}
	return "upstream error " + e.Code
}

const (
	maxMessage = 1 << 10
	maxWord    = 128 // of a type, param or code
	// maxReset bounds what an upstream may say of the future, against overflow.
	maxReset = 366 * 24 * time.Hour
)

// ParseError reads the body of a failed answer: {"error":{…}}, {"error":"text"},
// {"detail":"text"}, {"detail":{"code":…}}, {"error":{…},"status":n}, a bare
// {"message":…}, any of them as the one element of an array, HTML, or plain text.
func ParseError(body []byte) UpstreamError {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	if IsHTML(body) {
		return UpstreamError{HTML: true, Bare: true}
	}
	if rawjson.IsArray(body) && rawjson.Valid(body) == nil {
		for _, first := range rawjson.Elements(body) {
			body = first
			break
		}
	}
	doc, err := rawjson.Scan(body, nil)
	if err != nil {
		return UpstreamError{Bare: true, Message: cleanLine(body, maxMessage)}
	}
	for _, key := range [...]string{"error", "detail"} {
		if raw, _ := doc.Get(key); !rawjson.IsEmpty(raw) {
			e := errorFrom(raw)
			e.Enveloped = key == "error" && rawjson.IsObject(raw)
			for _, key := range [...]string{"status", "status_code"} { // the latter in WebSocket frames
				if outer, _ := doc.Get(key); e.Status == 0 {
					e.Status = errorStatus(outer)
				}
			}
			return e
		}
	}
	e := errorFrom(body)
	e.Bare = e.Message == "" && e.Code == "" && e.Type == ""
	return e
}

// IsHTML tells whether a body is a page rather than an answer.
func IsHTML(body []byte) bool {
	body = bytes.TrimSpace(bytes.TrimPrefix(body, []byte("\xef\xbb\xbf")))
	return len(body) != 0 && body[0] == '<'
}

// errorFrom reads the error itself: an object, a text, or FastAPI's list of
// problems, of which the first is told.
func errorFrom(raw []byte) UpstreamError {
	if rawjson.IsArray(raw) {
		for _, first := range rawjson.Elements(raw) {
			return errorFrom(first)
		}
	}
	if text, ok := rawjson.String(raw); ok {
		return UpstreamError{Message: cleanLine([]byte(text), maxMessage)}
	}
	doc, err := rawjson.Scan(raw, nil)
	if err != nil {
		return UpstreamError{Message: cleanLine(raw, maxMessage)}
	}
	get := func(key string) []byte { raw, _ := doc.Get(key); return raw }
	e := UpstreamError{
		Message:  text(get("message"), maxMessage),
		Type:     text(get("type"), maxWord),
		Param:    text(get("param"), maxWord),
		Code:     text(get("code"), maxWord),
		PlanType: text(get("plan_type"), maxWord),
		Status:   errorStatus(get("status")),
	}
	for _, key := range [...]string{"msg", "detail", "error"} {
		if e.Message == "" && rawjson.IsString(get(key)) {
			e.Message = text(get(key), maxMessage)
		}
	}
	if e.Status == 0 {
		e.Status = errorStatus(get("code"))
	}
	if e.Type == "" && rawjson.IsString(get("status")) {
		e.Type = text(get("status"), maxWord)
	}
	if at, ok := seconds(get("resets_at")); ok {
		e.ResetsAt = time.Unix(0, 0).Add(at)
	}
	if in, ok := seconds(get("resets_in_seconds")); ok {
		e.ResetsIn = min(in, maxReset)
	}
	return e
}

// errorStatus reads an HTTP status that is an error.
func errorStatus(raw []byte) int {
	n, ok := rawjson.Int(raw)
	if !ok || n < 400 || n > 599 {
		return 0
	}
	return int(n)
}

// seconds reads a number of seconds, whole or not; negative ones and those past
// the year 2262 say nothing.
func seconds(raw []byte) (time.Duration, bool) {
	if len(raw) == 0 || len(raw) > 32 {
		return 0, false
	}
	f, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || f < 0 || f > float64(1<<63-1)/float64(time.Second)/2 {
		return 0, false
	}
	return time.Duration(f * float64(time.Second)), true
}

// text is a string's or a number's text as one line; empty for anything else.
func text(raw []byte, limit int) string {
	if rawjson.IsNull(raw) {
		return ""
	}
	if s, ok := rawjson.String(raw); ok {
		return cleanLine([]byte(s), limit)
	}
	if c := raw[0]; c == '-' || c-'0' <= 9 {
		return cleanLine(raw, limit)
	}
	return ""
}

// cleanLine is text as one line of at most limit bytes, without control characters.
func cleanLine(b []byte, limit int) string {
	if len(b) > 4*limit { // enough, whatever is taken out below
		b = b[:4*limit]
	}
	s := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == utf8.RuneError {
			return ' '
		}
		return r
	}, string(b))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) <= limit {
		return s
	}
	cut := limit - len("…")
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
