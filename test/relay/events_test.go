package relay

import (
	"encoding/json"
	"strings"
	"testing"
)

// event is one of a stream as a client's reader sees it.
type event struct{ kind, data string }

// events reads a stream as the standard says, in the plainest way; comments are
// left out, as is an event that its blank line never ended.
func events(stream string) []event {
	stream = strings.TrimPrefix(stream, "\ufeff")
	stream = strings.ReplaceAll(strings.ReplaceAll(stream, "\r\n", "\n"), "\r", "\n")
	var all []event
	var now event
	var data []string
	lines := strings.Split(stream, "\n")
	for _, line := range lines[:len(lines)-1] {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			if data != nil {
				now.data = strings.Join(data, "\n")
				all = append(all, now)
			}
			now, data = event{}, nil
		case field == "event":
			now.kind = value
		case field == "data":
			data = append(data, value)
		}
	}
	return all
}

// text puts the deltas of a stream together.
func text(t *testing.T, f form, stream string) string {
	t.Helper()
	var b strings.Builder
	for _, e := range events(stream) {
		if e.data == "[DONE]" {
			continue
		}
		var chunk struct {
			Type    string `json:"type"`
			Choices []struct {
				Delta struct {
					Content string `json:"content"`
				} `json:"delta"`
			} `json:"choices"`
			Delta json.RawMessage `json:"delta"`
		}
		if err := json.Unmarshal([]byte(e.data), &chunk); err != nil {
			t.Errorf("an event is no JSON: %v: %.200s", err, e.data)
			continue
		}
		if !f.responses {
			for _, c := range chunk.Choices {
				b.WriteString(c.Delta.Content)
			}
		} else if chunk.Type == "response.output_text.delta" {
			var delta string
			if err := json.Unmarshal(chunk.Delta, &delta); err != nil {
				t.Error(err)
			}
			b.WriteString(delta)
		}
	}
	return b.String()
}

// streamError is the error that ends a stream: response.failed on Responses, an
// error object on chat. What comes before it is returned apart.
func streamError(t *testing.T, f form, stream string) (before, code string) {
	t.Helper()
	all := events(stream)
	if len(all) == 0 {
		t.Errorf("no event in %q", stream)
		return stream, ""
	}
	last := all[len(all)-1]
	type problem struct {
		Message, Type, Code string
		Param               any
	}
	var body struct {
		Type           string
		SequenceNumber *int `json:"sequence_number"`
		Error          *problem
		Response       struct {
			ID, Object, Status string
			Error              *problem
		}
	}
	if err := json.Unmarshal([]byte(last.data), &body); err != nil {
		t.Errorf("the last event is %q: %v", last.data, err)
		return stream, ""
	}
	head := "data: {\"error\":{"
	p := body.Error
	if f.responses {
		head, p = "event: response.failed\n", body.Response.Error
		if last.kind != "response.failed" || body.Type != last.kind || body.Response.Status != "failed" || body.Response.Object != "response" || body.SequenceNumber == nil {
			t.Errorf("the last event is %+v", last)
		}
	}
	if p == nil || p.Message == "" || p.Code == "" || !f.responses && p.Type == "" {
		t.Errorf("the last event tells no error: %s", last.data)
		return stream, ""
	}
	if strings.Contains(stream, "[DONE]") {
		t.Errorf("a [DONE] in a stream that was cut: %q", stream)
	}
	return stream[:strings.LastIndex(stream, head)], p.Code
}
