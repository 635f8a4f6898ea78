package convert

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"realms/internal/sse"
)

// readResponse reads a converted stream as a client does that trusts nothing: it
// puts the output together from the deltas, and tells where the stream contradicts
// itself. It returns the response of the terminal event.
func readResponse(stream []byte) (map[string]any, error) {
	r := responseReader{}
	scanner := sse.NewScanner(bytes.NewReader(stream), 64<<20)
	defer scanner.Release()
	for {
		for ev, ok := scanner.Next(); ok; ev, ok = scanner.Next() {
			if ev.Part || ev.Comment {
				return nil, errors.New("no event")
			}
			if err := r.event(string(ev.Type), ev.Data); err != nil {
				return nil, fmt.Errorf("%w in %s", err, ev.Data)
			}
		}
		if scanner.Full() {
			scanner.Grow()
		}
		if err := scanner.Fill(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if _, left := scanner.Finish(); left {
		return nil, errors.New("the last event has no end")
	}
	return r.response, nil
}

type responseReader struct {
	sequence int
	items    map[int]*readItem
	response map[string]any // of the terminal event
}

type readItem struct {
	id    string
	kind  any
	texts map[string]*strings.Builder // by the name and place of what they are
	parts map[string]bool             // open
	ended bool
	whole string
	notes int
}

func (r *responseReader) event(kind string, data []byte) error {
	if !utf8.Valid(data) || !soundEscapes(data) {
		return errors.New("no sound text")
	}
	var e map[string]any
	if err := json.Unmarshal(data, &e); err != nil {
		return err
	}
	n, _ := e["sequence_number"].(float64)
	if e["type"] != kind || int(n) != r.sequence {
		return fmt.Errorf("event %d is %d or another type", r.sequence, int(n))
	}
	r.sequence++
	if r.response != nil {
		return errors.New("an event behind the end")
	}
	if _, ok := e["response"]; ok {
		return r.lifecycle(strings.TrimPrefix(kind, "response."), e)
	}
	if r.sequence <= 2 {
		return errors.New("the response was not announced")
	}
	return r.itemEvent(strings.TrimPrefix(kind, "response."), e)
}

// soundEscapes tells whether every escaped half of a character has its other half.
func soundEscapes(data []byte) bool {
	text := string(data)
	for i := 0; i+1 < len(text); i++ {
		if text[i] != '\\' {
			continue
		}
		if text[i+1] == 'u' {
			n, bad := escapeLength([]byte(text[i:]))
			if bad {
				return false
			}
			i += n - 1
			continue
		}
		i++
	}
	return true
}

func (r *responseReader) lifecycle(kind string, e map[string]any) error {
	response, _ := e["response"].(map[string]any)
	status := kind
	if kind == "created" {
		status = "in_progress"
	}
	if response["status"] != status || (kind == "created") != (r.sequence == 1) || (kind == "in_progress") != (r.sequence == 2) {
		return errors.New("a status at the wrong place")
	}
	if kind == "created" || kind == "in_progress" {
		r.items = map[int]*readItem{}
		return nil
	}
	r.response = response
	if kind == "failed" {
		return nil
	}
	output, _ := response["output"].([]any)
	if len(output) != len(r.items) {
		return fmt.Errorf("%d items, %d were streamed", len(output), len(r.items))
	}
	for i, item := range output {
		if got := asText(item); !r.items[i].ended || got != r.items[i].whole {
			return fmt.Errorf("item %d is another: %s", i, got)
		}
	}
	return nil
}

// asText is a value as JSON.
func asText(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}

func (r *responseReader) itemEvent(kind string, e map[string]any) error {
	index := int(e["output_index"].(float64))
	it := r.items[index]
	if kind == "output_item.added" {
		item, _ := e["item"].(map[string]any)
		id, _ := item["id"].(string)
		if it != nil || index != len(r.items) || id == "" || len(id) > 64 {
			return errors.New("an item at the wrong place")
		}
		r.items[index] = &readItem{id: id, kind: item["type"], texts: map[string]*strings.Builder{}, parts: map[string]bool{}}
		return nil
	}
	if it == nil || it.ended {
		return errors.New("an item that is not open")
	}
	if kind == "output_item.done" {
		return it.end(e["item"])
	}
	if e["item_id"] != it.id {
		return errors.New("another id")
	}
	place := fmt.Sprint(e["content_index"], e["summary_index"])
	name, end := kind[:strings.LastIndexByte(kind, '.')], kind[strings.LastIndexByte(kind, '.')+1:]
	key := name + place
	switch {
	case strings.HasSuffix(name, "_part"):
		if it.parts[key] == (end == "added") {
			return errors.New("a part twice")
		}
		it.parts[key] = end == "added"
	case name == "output_text.annotation":
		it.notes++
	case end == "delta":
		if e["delta"] == "" && asText(e["logprobs"]) == "[]" {
			return errors.New("an empty delta")
		}
		if it.texts[key] == nil {
			it.texts[key] = &strings.Builder{}
		}
		it.texts[key].WriteString(e["delta"].(string))
	case end == "done":
		var got string
		if it.texts[key] != nil {
			got = it.texts[key].String()
		}
		for _, field := range []string{"text", "refusal", "arguments", "input"} {
			if want, ok := e[field]; ok && want != got {
				return fmt.Errorf("the deltas say %q", got)
			}
		}
	}
	return nil
}

// end compares the item with what was streamed of it.
func (it *readItem) end(v any) error {
	item, _ := v.(map[string]any)
	it.ended, it.whole = true, asText(v)
	for key, open := range it.parts {
		if open {
			return errors.New("a part is open: " + key)
		}
	}
	if item["id"] != it.id || item["type"] != it.kind {
		return errors.New("another id or type")
	}
	switch item["type"] {
	case "tool_search_call":
		return nil
	case "image_generation_call":
		if item["status"] != "completed" || item["result"] == "" {
			return errors.New("no image")
		}
		return nil
	case "function_call":
		if item["name"] == "" || item["arguments"] == "" && item["status"] == "completed" {
			return errors.New("a call that nobody can follow")
		}
	}
	var whole, streamed int
	for _, key := range []string{"content", "summary"} {
		parts, _ := item[key].([]any)
		for _, p := range parts {
			part, _ := p.(map[string]any)
			for _, field := range []string{"text", "refusal"} {
				s, _ := part[field].(string)
				whole += len(s)
			}
			notes, _ := part["annotations"].([]any)
			it.notes -= len(notes)
		}
	}
	for _, field := range []string{"arguments", "input"} {
		s, _ := item[field].(string)
		whole += len(s)
	}
	for _, b := range it.texts {
		streamed += b.Len()
	}
	if whole != streamed || it.notes != 0 {
		return fmt.Errorf("%d bytes were streamed, %d annotations are off", streamed, it.notes)
	}
	if whole == 0 && (item["type"] == "message" || item["type"] == "reasoning") {
		return errors.New("an empty item")
	}
	return nil
}

// watched is a conversion whose streams are watched: what they tell of themselves is
// what the client has got.
type watched struct {
	Conversion
	t failer
}

func (w watched) Stream(most int) Stream {
	return &watchedStream{Stream: w.Conversion.Stream(most), t: w.t}
}

type watchedStream struct {
	Stream
	t    failer
	told bool
	last int64 // sequence_number
}

func (s *watchedStream) Event(dst, kind, data []byte) ([]byte, error) {
	out, err := s.Stream.Event(dst, kind, data)
	if err != nil {
		return out, err
	}
	s.told = s.told || bytes.Contains(out[len(dst):], []byte("event: response.output_item.added\n"))
	s.last += int64(bytes.Count(out[len(dst):], []byte("event: ")))
	if p := s.Point(); s.Spoke() != s.told || p.Sequence != s.last-1 || p.Created != (s.last != 0) {
		s.t.Fatalf("spoke: %v, told: %v, at %+v behind %d events", s.Spoke(), s.told, p, s.last)
	}
	return out, nil
}
