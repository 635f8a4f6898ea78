package testkit

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// Reply is what a good answer says. The zero value is a short text.
type Reply struct {
	Deltas []string // the text, piece by piece; nil: a short greeting
	Call   *Call    // a function call instead of the text
	Tokens Tokens   // the zero value: DefaultTokens
	Usage  Placement
	// Model in the answer; "": as asked.
	Model string
}

// Call is a function call.
type Call struct{ Name, Arguments string }

// Tokens are the counts of a usage. Cached is part of Input, Reasoning of Output.
type Tokens struct{ Input, Cached, Output, Reasoning int }

// DefaultTokens are what answers count if a Reply says nothing.
var DefaultTokens = Tokens{Input: 11, Cached: 2, Output: 7, Reasoning: 3}

// Placement is where a stream's usage stands.
type Placement int

// The places of a usage.
const (
	UsageLast       Placement = iota // as OpenAI does it
	UsageNone                        // nowhere, although asked for
	UsageTwice                       // a smaller count first, the true one last
	UsageAfterDone                   // a wrong one follows [DONE]
	UsageWithFinish                  // in the last chunk that has choices
	UsageImpossible                  // negative and contradictory
)

// With recomposes the answer from another reply.
func With(reply Reply) Fault {
	return func(r *Request, a *Answer) {
		fresh := Compose(r, reply)
		a.Reply, a.Status, a.Header, a.Chunks, a.Framing = reply, fresh.Status, fresh.Header, fresh.Chunks, fresh.Framing
	}
}

// Say answers with these pieces of text.
func Say(deltas ...string) Fault {
	return func(r *Request, a *Answer) {
		reply := a.Reply
		reply.Deltas = deltas
		With(reply)(r, a)
	}
}

// Deltas answers with n pieces of text.
func Deltas(n int) Fault {
	deltas := make([]string, n)
	for i := range deltas {
		deltas[i] = fmt.Sprintf("word%d ", i)
	}
	return Say(deltas...)
}

// Usage puts the usage elsewhere.
func Usage(p Placement) Fault {
	return func(r *Request, a *Answer) {
		reply := a.Reply
		reply.Usage = p
		With(reply)(r, a)
	}
}

// Compose is the good answer to a request. Chunks of a stream are one event each.
func Compose(r *Request, reply Reply) *Answer {
	if reply.Deltas == nil {
		reply.Deltas = []string{"Hello", " from", " the", " fake", " upstream."}
	}
	if reply.Tokens == (Tokens{}) {
		reply.Tokens = DefaultTokens
	}
	if reply.Model == "" {
		reply.Model = r.Model
	}
	path := r.Path
	if at := strings.LastIndex(path, "/v1/"); at >= 0 {
		path = path[at+len("/v1"):]
	}
	return route(r, path, &reply)
}

func route(r *Request, path string, reply *Reply) *Answer {
	switch {
	case path == "/chat/completions" && r.Stream:
		return stream(reply, chatStream(r, reply))
	case path == "/chat/completions":
		return whole(reply, chatWhole(r, reply))
	case path == "/completions" && r.Stream:
		return stream(reply, completionStream(r, reply))
	case path == "/completions":
		return whole(reply, completionWhole(r, reply))
	case path == "/responses" && r.Stream:
		return stream(reply, responsesStream(r, reply))
	case path == "/responses":
		return whole(reply, responsesWhole(r, reply))
	case path == "/images/generations" && r.Stream, path == "/images/edits" && r.Stream:
		return stream(reply, imageStream(reply))
	case path == "/audio/speech" && r.Method == http.MethodPost:
		return speech(r, reply)
	case path == "/audio/transcriptions" && strings.Contains(string(r.Body), "name=\"stream\"\r\n\r\ntrue"):
		return stream(reply, transcriptStream(reply))
	}
	if body := other(r, path, reply); body != "" {
		return whole(reply, body)
	}
	a := whole(reply, `{"error":{"message":"Invalid URL (`+r.Method+` `+r.Path+`)","type":"invalid_request_error","param":null,"code":null}}`)
	a.Status = http.StatusNotFound
	return a
}

func whole(reply *Reply, body string) *Answer {
	return &Answer{
		Reply: *reply, Status: http.StatusOK, Framing: FrameLength, Chunks: [][]byte{[]byte(body)},
		Header: answerHeader("application/json"),
	}
}

func stream(reply *Reply, events []string) *Answer {
	a := &Answer{Reply: *reply, Status: http.StatusOK, Header: answerHeader("text/event-stream; charset=utf-8")}
	for _, e := range events {
		a.Chunks = append(a.Chunks, []byte(e))
	}
	return a
}

// answerHeader has, beside what may come down, what must not.
func answerHeader(contentType string) http.Header {
	return http.Header{
		"Content-Type":                   {contentType},
		"Openai-Processing-Ms":           {"42"},
		"X-Request-Id":                   {"req_upstream"},
		"Openai-Organization":            {"org-of-the-account"},
		"Openai-Model":                   {"another-model"},
		"Openai-Version":                 {"2020-10-01"},
		"Server":                         {"cloudflare"},
		"Cf-Ray":                         {"ray-of-the-upstream"},
		"Set-Cookie":                     {"__cf_bm=cookie-of-the-upstream; path=/"},
		"X-Ratelimit-Remaining-Requests": {"99"},
		"X-Ratelimit-Reset-Requests":     {"1s"},
	}
}

// quote is a string as JSON.
func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		return `""`
	}
	return string(b)
}

func data(json string) string { return "data: " + json + "\n\n" }

func event(kind, json string) string { return "event: " + kind + "\ndata: " + json + "\n\n" }
