package demo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// object is a JSON object of an answer.
type object = map[string]any

func read(w http.ResponseWriter, r *http.Request, into any) bool {
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(into); err != nil {
		fail(w, http.StatusBadRequest, "invalid_json", "The body is not the JSON that is expected here: "+err.Error())
		return false
	}
	return true
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body) // a client that is gone needs no answer
}

func fail(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"error": object{
		"message": message, "type": "invalid_request_error", "param": nil, "code": code,
	}})
}

func unknownModel(w http.ResponseWriter, model string) bool {
	if model == Model {
		return false
	}
	fail(w, http.StatusNotFound, "model_not_found", fmt.Sprintf("The sample upstream has one model, %q; %q was asked for.", Model, model))
	return true
}

// stream writes server-sent events, each flushed.
type stream struct {
	w http.ResponseWriter
	c *http.ResponseController
}

func newStream(w http.ResponseWriter) *stream {
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	return &stream{w: w, c: http.NewResponseController(w)}
}

// send writes one event; an empty name leaves the event's line out.
func (s *stream) send(name string, data any) {
	text, ok := data.(string)
	if !ok {
		b, err := json.Marshal(data)
		if err != nil {
			panic(err) // our own maps of strings and numbers always encode
		}
		text = string(b)
	}
	if name != "" {
		fmt.Fprintf(s.w, "event: %s\n", name)
	}
	fmt.Fprintf(s.w, "data: %s\n\n", text)
	_ = s.c.Flush() // a client that is gone is noticed by its context
}

// content is a message's content: a text, or a list of parts of which some are
// texts.
type content string

// UnmarshalJSON takes the text out of whatever shape the content has.
func (c *content) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*c = content(text)
		return nil
	}
	var parts []struct{ Text string }
	_ = json.Unmarshal(b, &parts) // null, or a shape without words
	texts := make([]string, 0, len(parts))
	for _, p := range parts {
		if p.Text != "" {
			texts = append(texts, p.Text)
		}
	}
	*c = content(strings.Join(texts, " "))
	return nil
}

type message struct {
	Role    string
	Content content
}

// lastWords is what the user said last.
func lastWords(messages []message) string {
	for i := len(messages) - 1; i >= 0; i-- {
		if m := messages[i]; m.Role == "user" && strings.TrimSpace(string(m.Content)) != "" {
			return strings.TrimSpace(string(m.Content))
		}
	}
	return ""
}

// maxEcho is how much of the user's words an answer repeats, in characters.
const maxEcho = 400

// reply is what the sample upstream says to somebody's last words, in the pieces
// in which it is streamed.
func reply(words string) []string {
	if words == "" {
		words = "nothing yet"
	}
	if r := []rune(words); len(r) > maxEcho {
		words = "…" + string(r[len(r)-maxEcho:])
	}
	return []string{
		"Hello from Realms' sample upstream. ",
		"You said: ",
		words,
		"\n\nNo model was asked: this text came through Realms from a program on your machine. ",
		"To reach a real model, declare a channel in a YAML file ",
		"and run `realms apply -f FILE`.",
	}
}

// tokens counts roughly what a model would: a token for four bytes.
func tokens(text string) int { return (len(text) + 3) / 4 }

func total(messages []message) int {
	n := 0
	for _, m := range messages {
		n += tokens(string(m.Content)) + 3
	}
	return n
}
