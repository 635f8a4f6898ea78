package relay

import (
	"encoding/json"
	"strings"
	"testing"
)

// responseEvent is what events of a responses stream have, as far as it is looked at.
type responseEvent struct {
	Type           string
	SequenceNumber *int `json:"sequence_number"`
	Response       *struct {
		ID, Object, Status, Model string
		CreatedAt                 *float64 `json:"created_at"`
		Output                    []json.RawMessage
		Usage                     map[string]any
		Error                     any
	}
	ItemID       string `json:"item_id"`
	OutputIndex  int    `json:"output_index"`
	ContentIndex int    `json:"content_index"`
	Item         json.RawMessage
	Delta        string
	Text         *string
	Arguments    *string
}

// wellFormedResponses wants of a good stream what strict readers of it want: every
// number, every index, every item begun and ended, and at the end all of them again.
func wellFormedResponses(t *testing.T, stream string) {
	t.Helper()
	all := events(stream)
	if len(all) < 3 {
		t.Fatalf("%d events: %.1000s", len(all), stream)
	}
	id := ""
	var items []string
	open, done := map[int]string{}, map[int]string{} // by the index: the item's id; its text or arguments
	for i, e := range all {
		var ev responseEvent
		if err := json.Unmarshal([]byte(e.data), &ev); err != nil || ev.Type != e.kind || ev.SequenceNumber == nil || *ev.SequenceNumber != i {
			t.Fatalf("event %d: %v: %+v", i, err, e)
		}
		if ev.Response != nil {
			if r := ev.Response; id != "" && r.ID != id || r.Object != "response" || r.Model == "" || r.CreatedAt == nil {
				t.Errorf("event %d has another response: %s", i, e.data)
			}
			id = ev.Response.ID
		}
		switch ev.Type {
		case "response.output_item.added":
			if ev.OutputIndex != len(open)+len(items) && ev.OutputIndex != len(open) {
				t.Errorf("event %d: the item's index is %d", i, ev.OutputIndex)
			}
			open[ev.OutputIndex] = itemID(t, ev.Item)
		case "response.output_item.done":
			if open[ev.OutputIndex] != itemID(t, ev.Item) {
				t.Errorf("event %d ends another item: %s", i, e.data)
			}
			items = append(items, string(ev.Item))
		case "response.output_text.delta", "response.function_call_arguments.delta":
			if open[ev.OutputIndex] != ev.ItemID {
				t.Errorf("event %d is of no open item: %s", i, e.data)
			}
			done[ev.OutputIndex] += ev.Delta
		case "response.output_text.done":
			sameText(t, "the text", done[ev.OutputIndex], *ev.Text)
		case "response.function_call_arguments.done":
			sameText(t, "the arguments", done[ev.OutputIndex], *ev.Arguments)
		}
	}
	kinds := []string{all[0].kind, all[1].kind, all[len(all)-1].kind}
	if last := kinds[2]; kinds[0] != "response.created" || kinds[1] != "response.in_progress" || last != "response.completed" && last != "response.incomplete" {
		t.Errorf("the stream begins and ends with %q", kinds)
	}
	sameItems(t, items, all[len(all)-1].data)
	if !strings.HasPrefix(id, "resp_") {
		t.Errorf("the response's id is %q", id)
	}
}

// sameItems wants in the terminal event the items that were ended before it.
func sameItems(t *testing.T, items []string, terminal string) {
	t.Helper()
	var last responseEvent
	if err := json.Unmarshal([]byte(terminal), &last); err != nil || last.Response == nil {
		t.Fatalf("the terminal event: %v: %s", err, terminal)
	}
	if len(items) != len(last.Response.Output) {
		t.Fatalf("%d items were ended, the response has %d", len(items), len(last.Response.Output))
	}
	for _, item := range items {
		found := false
		for _, other := range last.Response.Output {
			found = found || string(other) == item
		}
		if !found {
			t.Errorf("the response has no item\n%s", item)
		}
	}
}

func itemID(t *testing.T, item json.RawMessage) string {
	t.Helper()
	var it struct{ ID, Type, Status string }
	if err := json.Unmarshal(item, &it); err != nil || it.ID == "" || it.Type == "" {
		t.Errorf("an item: %v: %s", err, item)
	}
	return it.ID
}

// wellFormedChat wants of a good stream what strict readers of it want.
func wellFormedChat(t *testing.T, stream string) {
	t.Helper()
	all := events(stream)
	if len(all) < 3 || all[len(all)-1].data != "[DONE]" {
		t.Fatalf("%d events: %.1000s", len(all), stream)
	}
	finished, id := 0, ""
	for i, e := range all[:len(all)-1] {
		var chunk struct {
			ID, Object, Model string
			Created           *int64
			Choices           []struct {
				Index        *int
				Delta        map[string]any
				FinishReason *string `json:"finish_reason"`
			}
			Usage map[string]any
		}
		if err := json.Unmarshal([]byte(e.data), &chunk); err != nil || e.kind != "" {
			t.Fatalf("event %d: %v: %+v", i, err, e)
		}
		if id == "" {
			id = chunk.ID
		}
		if chunk.ID != id || !strings.HasPrefix(id, "chatcmpl-") || chunk.Object != "chat.completion.chunk" || chunk.Model == "" || chunk.Created == nil {
			t.Errorf("event %d: %s", i, e.data)
		}
		if len(chunk.Choices) != 1 || chunk.Choices[0].Index == nil || finished > 0 {
			t.Fatalf("event %d: %s", i, e.data)
		}
		if role := chunk.Choices[0].Delta["role"]; i == 0 && role != "assistant" || i > 0 && role != nil {
			t.Errorf("event %d has the role %v", i, role)
		}
		if chunk.Choices[0].FinishReason != nil {
			finished++
		}
	}
	if finished != 1 {
		t.Errorf("%d reasons to finish", finished)
	}
}

func wellFormedWhole(t *testing.T, f form, answer string) {
	t.Helper()
	var body struct {
		ID, Object, Status, Model string
		Created                   int64
		CreatedAt                 int64 `json:"created_at"`
		Choices                   []struct {
			Index        *int
			Message      struct{ Role string }
			FinishReason string `json:"finish_reason"`
		}
		Output []json.RawMessage
	}
	if err := json.Unmarshal([]byte(answer), &body); err != nil || body.Model == "" || body.Created+body.CreatedAt == 0 {
		t.Fatalf("%v: %.1000s", err, answer)
	}
	if f.responses && (body.Object != "response" || !strings.HasPrefix(body.ID, "resp_") || body.Status != "completed" || len(body.Output) == 0) {
		t.Errorf("no response: %.1000s", answer)
	}
	if !f.responses && (body.Object != "chat.completion" || !strings.HasPrefix(body.ID, "chatcmpl-") || len(body.Choices) != 1 ||
		body.Choices[0].Index == nil || body.Choices[0].Message.Role != "assistant" || body.Choices[0].FinishReason == "") {
		t.Errorf("no chat completion: %.1000s", answer)
	}
	for _, item := range body.Output {
		itemID(t, item)
	}
}
