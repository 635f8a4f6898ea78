package convert

import (
	"encoding/json"
	"strings"
)

// told is what a client has in the end, streamed or not.
type told struct {
	ID, Model, Finish            string
	Content, Refusal, Reasoning  string
	Details, Annotations, Images any
	Usage                        any
	Calls                        []toldCall
	Logprobs                     any
}

type toldCall struct{ ID, Type, Name, Input string }

// chatShape is a chat.completion or a chunk of one, whichever.
type chatShape struct {
	ID, Object, Model string
	Choices           []struct {
		Message, Delta *chatShapeMessage
		FinishReason   string `json:"finish_reason"`
		Logprobs       *struct{ Content []any }
	}
	Usage any
}

type chatShapeMessage struct {
	Role, Content, Refusal string
	ReasoningContent       string `json:"reasoning_content"`
	ReasoningDetails       []any  `json:"reasoning_details"`
	Annotations, Images    []any
	FunctionCall           *struct{ Name, Arguments string } `json:"function_call"`
	ToolCalls              []struct {
		Index            int
		ID, Type         string
		Function, Custom struct{ Name, Arguments, Input string }
	} `json:"tool_calls"`
}

type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

// tell reads a whole answer.
func tell(t failer, answer []byte) told {
	t.Helper()
	var c chatShape
	if err := json.Unmarshal(answer, &c); err != nil || c.Object != "chat.completion" || len(c.Choices) != 1 {
		t.Fatalf("%v in %s", err, answer)
	}
	got := told{ID: c.ID, Model: c.Model, Usage: c.Usage, Finish: c.Choices[0].FinishReason}
	got.add(t, c.Choices[0].Message, false)
	if l := c.Choices[0].Logprobs; l != nil {
		got.Logprobs = l.Content
	}
	return got
}

// accumulate reads a stream the way a client does.
func accumulate(t failer, events string) told {
	t.Helper()
	var got told
	lines := strings.Split(strings.TrimSuffix(events, "\n\n"), "\n\n")
	var logprobs []any
	for i, line := range lines {
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok || strings.Contains(data, "\n") || (data == "[DONE]") != (i == len(lines)-1) {
			t.Fatalf("event %d is %q in\n%s", i, line, events)
		}
		if data == "[DONE]" {
			break
		}
		var c chatShape
		if err := json.Unmarshal([]byte(data), &c); err != nil || c.Object != "chat.completion.chunk" || i > 0 && c.ID != got.ID {
			t.Fatalf("%v in %s", err, data)
		}
		got.ID, got.Model = c.ID, c.Model
		if c.Usage != nil {
			if len(c.Choices) != 0 {
				t.Fatalf("usage beside choices: %s", data)
			}
			got.Usage = c.Usage
			continue
		}
		if len(c.Choices) != 1 || got.Finish != "" || (i == 0) != (c.Choices[0].Delta.Role == "assistant") {
			t.Fatalf("chunk %d: %s", i, data)
		}
		got.Finish = c.Choices[0].FinishReason
		got.add(t, c.Choices[0].Delta, true)
		if l := c.Choices[0].Logprobs; l != nil {
			logprobs = append(logprobs, l.Content...)
		}
	}
	if logprobs != nil {
		got.Logprobs = logprobs
	}
	return got
}

func (w *told) add(t failer, m *chatShapeMessage, delta bool) {
	t.Helper()
	w.Content += m.Content
	w.Refusal += m.Refusal
	w.Reasoning += m.ReasoningContent
	w.Details = join(w.Details, m.ReasoningDetails)
	w.Annotations = join(w.Annotations, m.Annotations)
	w.Images = join(w.Images, m.Images)
	if m.FunctionCall != nil {
		if len(w.Calls) == 0 {
			w.Calls = []toldCall{{Type: "function_call"}}
		}
		w.Calls[0].Name += m.FunctionCall.Name
		w.Calls[0].Input += m.FunctionCall.Arguments
	}
	for i, c := range m.ToolCalls {
		if delta {
			i = c.Index
		}
		if i > len(w.Calls) || (i == len(w.Calls)) != (c.ID != "") {
			t.Fatalf("call %d with id %q after %d calls", i, c.ID, len(w.Calls))
		}
		if i == len(w.Calls) {
			w.Calls = append(w.Calls, toldCall{ID: c.ID, Type: c.Type})
		}
		w.Calls[i].Name += c.Function.Name + c.Custom.Name
		w.Calls[i].Input += c.Function.Arguments + c.Custom.Input
	}
}

func join(all any, more []any) any {
	if len(more) == 0 {
		return all
	}
	list, _ := all.([]any)
	return append(list, more...)
}
