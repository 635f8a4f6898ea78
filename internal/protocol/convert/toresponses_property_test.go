package convert

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/openai/openai-go/v3"
	"pgregory.net/rapid"
)

// streamedItem is an output item as a Responses upstream knows it.
type streamedItem struct {
	kind        string
	parts       []string // texts, of a message, a summary or reasoning
	refusal     bool
	callID      string
	name, input string
	encrypted   string
	cited       bool
}

var anyText = rapid.OneOf(
	rapid.StringMatching(`[a-c{}":, ]{1,8}`),
	rapid.StringOfN(rapid.RuneFrom([]rune("aé😀\"\\\n\t\u2028<&世")), 1, 6, -1),
)

func drawStreamedItem(t *rapid.T, n int) streamedItem {
	it := streamedItem{kind: rapid.SampledFrom([]string{"message", "message", "function_call", "custom_tool_call", "reasoning", "web_search_call", "image_generation_call"}).Draw(t, "kind")}
	switch it.kind {
	case "message":
		it.parts = rapid.SliceOfN(anyText, 1, 3).Draw(t, "parts")
		it.refusal = rapid.IntRange(0, 4).Draw(t, "refusal") == 0
		it.cited = !it.refusal && rapid.IntRange(0, 3).Draw(t, "cited") == 0
	case "reasoning":
		it.parts = rapid.SliceOfN(anyText, 0, 3).Draw(t, "parts")
		it.refusal = rapid.Bool().Draw(t, "text") // its own text rather than a summary
		it.encrypted = rapid.SampledFrom([]string{"", "opaque"}).Draw(t, "encrypted")
	case "image_generation_call":
		it.input = rapid.StringMatching(`[A-Za-z0-9+/]{4,8}`).Draw(t, "image")
	default:
		it.callID = fmt.Sprintf("call_%d", n)
		it.name, it.input = "weather", rapid.OneOf(rapid.Just(""), anyText).Draw(t, "input")
	}
	return it
}

func quote(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

const citation = `{"type":"url_citation","start_index":0,"end_index":1,"url":"https://example.org/","title":"E"}`

// part is one part of the item, with its text and its citation.
func (it *streamedItem) part(i int) string {
	text := quote(it.parts[i])
	switch {
	case it.kind == "reasoning" && it.refusal:
		return `{"type":"reasoning_text","text":` + text + `}`
	case it.kind == "reasoning":
		return `{"type":"summary_text","text":` + text + `}`
	case it.refusal:
		return `{"type":"refusal","refusal":` + text + `}`
	case it.cited && i == len(it.parts)-1:
		return `{"type":"output_text","text":` + text + `,"annotations":[` + citation + `]}`
	default:
		return `{"type":"output_text","text":` + text + `,"annotations":[]}`
	}
}

// object is the item in JSON; begun: as it is before its output.
func (it *streamedItem) object(id string, begun bool) string {
	var parts []string
	for i := range it.parts {
		parts = append(parts, it.part(i))
	}
	input, all := it.input, strings.Join(parts, ",")
	if begun {
		input, all = "", ""
	}
	head := `{"type":` + quote(it.kind)
	if id != "" {
		head += `,"id":` + quote(id)
	}
	switch it.kind {
	case "message":
		return head + `,"role":"assistant","content":[` + all + `]}`
	case "reasoning":
		summary, content := all, ""
		if it.refusal {
			summary, content = "", all
		}
		if it.encrypted != "" && !begun {
			head += `,"encrypted_content":` + quote(it.encrypted)
		}
		return head + `,"summary":[` + summary + `],"content":[` + content + `]}`
	case "custom_tool_call":
		return head + `,"call_id":` + quote(it.callID) + `,"name":` + quote(it.name) + `,"input":` + quote(input) + `}`
	case "function_call":
		return head + `,"call_id":` + quote(it.callID) + `,"name":` + quote(it.name) + `,"arguments":` + quote(input) + `}`
	case "image_generation_call":
		return head + `,"status":"completed","result":` + quote(input) + `}`
	default:
		return head + `,"status":"completed"}`
	}
}

// habits are what an upstream does and leaves out.
type habits struct {
	added, deltas, textDone, partDone, itemDone, output bool
	ids, indices                                        bool
	changing                                            bool // ids are others in each event
	late                                                bool // ids come with the ends alone
	short                                               bool // the last deltas are lost
	gap                                                 int
}

func drawHabits(t *rapid.T) habits {
	on := func(name string) bool { return rapid.IntRange(0, 3).Draw(t, name) > 0 }
	h := habits{
		added: on("added"), deltas: on("deltas"), textDone: on("text done"), partDone: on("part done"), itemDone: on("item done"), output: on("output"),
		ids: on("ids"), indices: on("indices"), late: rapid.IntRange(0, 4).Draw(t, "late") == 0, changing: rapid.IntRange(0, 4).Draw(t, "changing") == 0, gap: rapid.IntRange(1, 3).Draw(t, "gap"),
	}
	h.short = h.textDone && rapid.IntRange(0, 3).Draw(t, "short") == 0
	if !h.itemDone { // somewhere must be what no other event has
		h.output = true
	}
	if (!h.ids || h.late) && !h.indices {
		h.added = true // else nothing tells two messages apart
	}
	if h.changing {
		h.indices, h.ids = true, true
	}
	return h
}

// stream is the events of a response that is made of the items.
func (h *habits) stream(t *rapid.T, items []streamedItem, last string) string {
	s := []string{`{"type":"response.created","response":{"id":"resp_1","model":"gpt-x","created_at":5}}`}
	for n := range items {
		it := &items[n]
		id := func(end bool) string {
			switch {
			case h.late && !end:
				return ""
			case h.changing:
				return fmt.Sprintf("id_%d_%d", n, len(s))
			case h.ids:
				return fmt.Sprintf("id_%d", n)
			}
			return ""
		}
		event := func(kind, rest string, inner bool) {
			e := `{"type":"` + kind + `"`
			if id := id(false); inner && id != "" {
				e += `,"item_id":` + quote(id)
			}
			if h.indices {
				e += fmt.Sprintf(`,"output_index":%d`, n*h.gap)
			}
			s = append(s, e+rest+"}")
		}
		if h.added {
			event("response.output_item.added", `,"item":`+it.object(id(false), true), false)
		}
		it.pieces(t, h, event)
		if h.itemDone {
			event("response.output_item.done", `,"item":`+it.object(id(true), false), false)
		}
	}
	return strings.Join(append(s, last), "\n")
}

// pieces are the events between an item's beginning and its end.
func (it *streamedItem) pieces(t *rapid.T, h *habits, event func(kind, rest string, inner bool)) {
	delta, done, key, number := "", "", "text", "content_index"
	texts := it.parts
	switch {
	case it.kind == "message" && it.refusal:
		delta, done, key = "response.refusal.delta", "response.refusal.done", "refusal"
	case it.kind == "message":
		delta, done = "response.output_text.delta", "response.output_text.done"
	case it.kind == "reasoning" && it.refusal:
		delta, done = "response.reasoning_text.delta", "response.reasoning_text.done"
	case it.kind == "reasoning":
		delta, done, number = "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done", "summary_index"
	case it.kind == "function_call":
		delta, done, key, texts = "response.function_call_arguments.delta", "response.function_call_arguments.done", "arguments", []string{it.input}
	case it.kind == "custom_tool_call":
		delta, done, key, texts = "response.custom_tool_call_input.delta", "response.custom_tool_call_input.done", "input", []string{it.input}
	}
	for i, text := range texts {
		at := fmt.Sprintf(`,%q:%d`, number, i)
		if h.deltas {
			pieces := split(t, text)
			if h.short {
				pieces = pieces[:rapid.IntRange(0, len(pieces)).Draw(t, "come")]
			}
			for _, piece := range pieces {
				event(delta, at+`,"delta":`+quote(piece), true)
			}
		}
		if h.textDone {
			event(done, at+`,"`+key+`":`+quote(text), true)
		}
		if it.kind == "message" && h.partDone {
			event("response.content_part.done", at+`,"part":`+it.part(i), true)
		}
	}
}

// split cuts a text at random places between letters.
func split(t *rapid.T, text string) []string {
	var pieces []string
	piece := ""
	for _, r := range text {
		piece += string(r)
		if rapid.Bool().Draw(t, "cut") {
			pieces = append(pieces, piece)
			piece = ""
		}
	}
	return append(pieces, piece)
}

// TestStreamIsTheAnswer: whatever an upstream leaves out of its events, and wherever
// it cuts its deltas, a client that streams has in the end what one that does not
// has; and openai-go reads it.
func TestStreamIsTheAnswer(t *testing.T) {
	requests := []string{
		`{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`,
		`{"model":"m","functions":[{"name":"weather"}],"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}]}`,
	}
	rapid.Check(t, func(t *rapid.T) {
		var items []streamedItem
		for n := range rapid.IntRange(0, 5).Draw(t, "items") {
			items = append(items, drawStreamedItem(t, n))
		}
		h := drawHabits(t)
		c, err := toResponses(rapid.SampledFrom(requests).Draw(t, "request"))
		if err != nil {
			t.Fatal(err)
		}
		output := func(id func(int) string) string {
			var all []string
			for n := range items {
				all = append(all, items[n].object(id(n), false))
			}
			return strings.Join(all, ",")
		}
		const rest = `"usage":{"input_tokens":1,"output_tokens":2,"total_tokens":3}}`
		answer := `{"id":"resp_1","model":"gpt-x","status":"completed","output":[` + output(func(int) string { return "" }) + `],` + rest
		// The details of a summary name the item, which has no id above.
		streamed := `{"type":"response.completed","response":{"id":"resp_1","status":"completed",`
		if h.output {
			streamed += `"output":[` + output(func(n int) string {
				if h.ids {
					return fmt.Sprintf("id_%d", n)
				}
				return ""
			}) + `],`
		}
		whole, err := c.Answer(nil, []byte(answer))
		if err != nil {
			t.Fatal(err)
		}
		events := h.stream(t, items, streamed+rest+"}")
		out, err := runStream(c, events)
		if err != nil {
			t.Fatalf("%v in\n%s", err, events)
		}
		want, got := tell(t, whole), accumulate(t, out)
		for _, details := range []any{want.Details, got.Details} {
			list, _ := details.([]any)
			for _, d := range list {
				delete(d.(map[string]any), "id")
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-answer +stream:\n%s\n%s\n→\n%s", diff, events, out)
		}
		readBySDK(t, got, whole, out)
	})
}

// readBySDK checks that openai-go has the same of both forms.
func readBySDK(t failer, want told, whole []byte, events string) {
	t.Helper()
	var answer sdk.ChatCompletion
	if err := json.Unmarshal(whole, &answer); err != nil {
		t.Fatalf("openai-go: %v", err)
	}
	var acc sdk.ChatCompletionAccumulator
	for line := range strings.SplitSeq(events, "\n\n") {
		data := strings.TrimPrefix(line, "data: ")
		if data == "" || data == "[DONE]" {
			continue
		}
		var chunk sdk.ChatCompletionChunk
		if err := json.Unmarshal([]byte(data), &chunk); err != nil || !acc.AddChunk(chunk) {
			t.Fatalf("openai-go refuses %s: %v", data, err)
		}
	}
	for name, c := range map[string]sdk.ChatCompletion{"answer": answer, "stream": acc.ChatCompletion} {
		m := c.Choices[0].Message
		if c.ID != want.ID || c.Model != want.Model || m.Content != want.Content || m.Refusal != want.Refusal || c.Choices[0].FinishReason != want.Finish || c.Usage.TotalTokens != 3 || m.Role != "assistant" {
			t.Fatalf("openai-go reads of the %s: %+v", name, c)
		}
		for i, call := range m.ToolCalls {
			input := call.Function.Arguments + call.Custom.Input
			if call.ID != want.Calls[i].ID || want.Calls[i].Type == "function" && (input != want.Calls[i].Input || call.Function.Name != want.Calls[i].Name) {
				t.Fatalf("openai-go reads of the %s: call %+v, want %+v", name, call, want.Calls[i])
			}
		}
	}
}
