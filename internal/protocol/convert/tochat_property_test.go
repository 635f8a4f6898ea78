package convert

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// chatAnswerDrawn is a completion of a completion: reasoning, text, refusal and calls of tools, each cut
// into as many chunks as drawn.
type chatAnswerDrawn struct {
	reasoning, text, refusal string
	calls                    []chatCallDrawn
	finish                   string
}

type chatCallDrawn struct {
	id, name, arguments string
	input               string // of a custom tool
	custom              bool
}

// drawChatText draws text with what is hard to escape.
func drawChatText(t *rapid.T, label string) string {
	return rapid.StringOfN(rapid.SampledFrom([]rune("ab \n\t\r\"\\/{}:u0dé€😀𝄞\x00\x7f\u2028")), 0, 24, -1).Draw(t, label)
}

const drawnTools = `[{"type":"function","name":"run","parameters":{}},{"type":"custom","name":"patch"},{"type":"namespace","name":"ns","tools":[{"type":"function","name":"run"},{"type":"custom","name":"patch"}]}]`

func drawChatAnswer(t *rapid.T) chatAnswerDrawn {
	a := chatAnswerDrawn{
		reasoning: drawChatText(t, "reasoning"),
		text:      drawChatText(t, "text"),
		finish:    rapid.SampledFrom([]string{"stop", "length", "content_filter", "tool_calls"}).Draw(t, "finish"),
	}
	if rapid.Bool().Draw(t, "refuses") {
		a.refusal = drawChatText(t, "refusal")
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "calls") {
		c := chatCallDrawn{id: fmt.Sprintf("call_%d", i), name: rapid.SampledFrom([]string{"run", "ns__run", "patch", "ns__patch", "unknown"}).Draw(t, "name")}
		text := drawChatText(t, "arguments")
		if c.custom = strings.HasSuffix(c.name, "patch"); c.custom {
			c.input = text
			c.arguments = rapid.SampledFrom([]string{"", " ", "\n"}).Draw(t, "space") + `{"input":` + drawChatJSON(t, text) + "}"
		} else if c.arguments = ""; rapid.IntRange(0, 5).Draw(t, "none") != 0 {
			c.arguments = `{"a":` + drawChatJSON(t, text) + "}"
		}
		a.calls = append(a.calls, c)
	}
	return a
}

// drawChatJSON writes text as a JSON string in one of the many ways there are.
func drawChatJSON(t *rapid.T, text string) string {
	level := rapid.IntRange(0, 2).Draw(t, "escapes")
	b := []byte{'"'}
	for _, r := range text {
		switch {
		case level == 2 || level == 1 && r > 0x7f:
			for _, unit := range utf16.Encode([]rune{r}) {
				b = fmt.Appendf(b, `\u%04x`, unit)
			}
		default:
			quoted, _ := json.Marshal(string(r))
			b = append(b, quoted[1:len(quoted)-1]...)
		}
	}
	return string(append(b, '"'))
}

// chatPieces cuts a JSON string into several, each one valid, at any place where no escape
// is cut: also between the halves of a character.
func chatPieces(t *rapid.T, quoted string) []string {
	inner := quoted[1 : len(quoted)-1]
	var units []string
	for i := 0; i < len(inner); {
		n := 1
		switch {
		case inner[i] == '\\' && inner[i+1] == 'u':
			n = 6
		case inner[i] == '\\':
			n = 2
		default:
			for i+n < len(inner) && inner[i+n]&0xc0 == 0x80 {
				n++
			}
		}
		units = append(units, inner[i:i+n])
		i += n
	}
	var out []string
	for len(units) != 0 {
		n := rapid.IntRange(1, len(units)).Draw(t, "piece")
		out = append(out, `"`+strings.Join(units[:n], "")+`"`)
		units = units[n:]
	}
	return out
}

// whole is the completion in one piece.
func (a *chatAnswerDrawn) whole(t *rapid.T) string {
	var calls []string
	for _, c := range a.calls {
		calls = append(calls, fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":%s}}`, c.id, c.name, drawChatJSON(t, c.arguments)))
	}
	message := fmt.Sprintf(`{"role":"assistant","reasoning_content":%s,"content":%s,"refusal":%s,"tool_calls":[%s]}`,
		drawChatJSON(t, a.reasoning), drawChatJSON(t, a.text), drawChatJSON(t, a.refusal), strings.Join(calls, ","))
	return fmt.Sprintf(`{"id":"chatcmpl-p","created":7,"model":"m","choices":[{"index":0,"message":%s,"finish_reason":%q}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`, message, a.finish)
}

// stream is the completion in chunks, with the habits of one upstream or another.
func (a *chatAnswerDrawn) stream(t *rapid.T) string {
	var b strings.Builder
	send := func(delta, finish, more string) {
		fmt.Fprintf(&b, "data: {\"id\":\"chatcmpl-p\",\"created\":7,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{%s},\"finish_reason\":%s}]%s}\n\n", delta, finish, more)
		if rapid.IntRange(0, 9).Draw(t, "noise") == 0 {
			b.WriteString(rapid.SampledFrom([]string{": waiting\n\n", "data: {\"id\":\"chatcmpl-p\",\"choices\":[]}\n\n", "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\"}}]}\n\n"}).Draw(t, "kind"))
		}
	}
	indexed := rapid.Bool().Draw(t, "indexed")
	arguments := make([][]string, len(a.calls))
	for i, c := range a.calls {
		arguments[i] = chatPieces(t, drawChatJSON(t, c.arguments))
	}
	if indexed && len(a.calls) != 0 && len(arguments[0]) != 0 && rapid.Bool().Draw(t, "nameless") { // its place is not known yet
		send(fmt.Sprintf(`"tool_calls":[{"index":0,"id":%q,"function":{"arguments":%s}}]`, a.calls[0].id, arguments[0][0]), "null", "")
		arguments[0] = arguments[0][1:]
	}
	role := rapid.SampledFrom([]string{"", `"role":"assistant",`, `"role":"assistant","content":null,`}).Draw(t, "role")
	for _, field := range []struct{ key, text string }{
		{rapid.SampledFrom(reasoningKeys[:]).Draw(t, "key"), a.reasoning}, {"content", a.text}, {"refusal", a.refusal},
	} {
		lead := role
		if field.key == "content" {
			lead = strings.ReplaceAll(role, `"content":null,`, "")
		}
		for _, piece := range chatPieces(t, drawChatJSON(t, field.text)) {
			send(lead+`"`+field.key+`":`+piece, "null", "")
		}
	}
	repeated := rapid.Bool().Draw(t, "repeated")
	for i, c := range a.calls {
		head := fmt.Sprintf(`"id":%q,`, c.id)
		if indexed {
			head += fmt.Sprintf(`"index":%d,`, i)
		}
		send(fmt.Sprintf(`"tool_calls":[{%s"function":{"name":%q,"arguments":""}}]`, head, c.name), "null", "")
		for _, piece := range arguments[i] {
			name := ""
			if repeated {
				name = fmt.Sprintf(`"name":%q,`, c.name)
			}
			send(fmt.Sprintf(`"tool_calls":[{%s"function":{%s"arguments":%s}}]`, head, name, piece), "null", "")
		}
	}
	usage := `,"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}`
	if rapid.Bool().Draw(t, "usage with the end") {
		send("", `"`+a.finish+`"`, usage)
	} else {
		send("", `"`+a.finish+`"`, "")
		fmt.Fprintf(&b, "data: {\"id\":\"chatcmpl-p\",\"choices\":[]%s}\n\n", usage)
	}
	if rapid.Bool().Draw(t, "done") {
		b.WriteString("data: [DONE]\n\n")
	}
	return b.String()
}

// A stream, however it is cut, is what the whole completion is, and what is said in
// it reaches the client to the letter.
func TestToChatStreamIsTheAnswer(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawChatAnswer(t)
		c, err := toChat(`{"model":"m","input":"hi","stream":true,"tools":` + drawnTools + `}`)
		if err != nil {
			t.Fatal(err)
		}
		stream := a.stream(t)
		out, err := convertEvents(watched{c, t}, []byte(stream))
		if err != nil {
			t.Fatal(err)
		}
		got, err := readResponse(out)
		if err != nil {
			t.Fatalf("%v\n%s", err, stream)
		}
		whole, err := c.Answer(nil, []byte(a.whole(t)))
		if err != nil {
			t.Fatal(err)
		}
		var want map[string]any
		if err := json.Unmarshal(whole, &want); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("-whole +stream:\n%s\n%s", diff, stream)
		}
		a.check(t, got)
	})
}

// check compares the output with what was drawn.
func (a *chatAnswerDrawn) check(t *rapid.T, response map[string]any) {
	var want []string
	if a.reasoning != "" {
		want = append(want, a.reasoning)
	}
	if a.text+a.refusal != "" {
		want = append(want, a.text+a.refusal)
	}
	for _, c := range a.calls {
		switch {
		case c.custom:
			want = append(want, c.id+c.input)
		case c.arguments == "" && response["status"] == "completed":
			want = append(want, c.id+"{}")
		default:
			want = append(want, c.id+c.arguments)
		}
	}
	var got []string
	output, _ := response["output"].([]any)
	for _, v := range output {
		item, _ := v.(map[string]any)
		said := ""
		content, _ := item["content"].([]any)
		for _, p := range content {
			part, _ := p.(map[string]any)
			for _, key := range []string{"text", "refusal"} {
				s, _ := part[key].(string)
				said += s
			}
		}
		for _, key := range []string{"call_id", "arguments", "input"} {
			s, _ := item[key].(string)
			said += s
		}
		got = append(got, said)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

// Where the bytes of a stream are cut on the wire changes nothing.
func TestToChatStreamCutAnywhere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawChatAnswer(t)
		c, err := toChat(`{"model":"m","input":"hi","stream":true,"reasoning":{"summary":"auto"},"tools":` + drawnTools + `}`)
		if err != nil {
			t.Fatal(err)
		}
		stream := a.stream(t)
		want, err := convertEvents(c, []byte(stream))
		if err != nil {
			t.Fatal(err)
		}
		got, err := convertPieces(c, iotest.OneByteReader(strings.NewReader(stream)))
		if err != nil || string(got) != string(want) {
			t.Fatalf("%v\n%s", err, cmp.Diff(string(want), string(got)))
		}
	})
}

var toolNames = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,64}$`)

// Whatever is asked, the request is one that Chat takes: tools with names of their own,
// and the outputs of calls right behind them.
func TestToChatRequestIsChat(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body, said := drawChatInput(t)
		c, err := toChat(body)
		if err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		var got struct {
			Messages []struct {
				Role       string
				Content    any
				Reasoning  string                `json:"reasoning_content"`
				ToolCallID string                `json:"tool_call_id"`
				ToolCalls  []struct{ ID string } `json:"tool_calls"`
			}
			Tools []struct{ Function struct{ Name string } }
		}
		if err := json.Unmarshal(c.Body(), &got); err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		for _, tool := range got.Tools {
			if name := tool.Function.Name; names[name] || !toolNames.MatchString(name) {
				t.Fatalf("the name %q is there twice, or not allowed", name)
			}
			names[tool.Function.Name] = true
		}
		var waiting []string
		for _, m := range got.Messages {
			if m.Role == "tool" {
				if len(waiting) == 0 || waiting[0] != m.ToolCallID {
					t.Fatalf("an output at the wrong place\n%s", c.Body())
				}
				waiting = waiting[1:]
				continue
			}
			if len(waiting) != 0 {
				t.Fatalf("calls without outputs\n%s", c.Body())
			}
			for _, call := range m.ToolCalls {
				waiting = append(waiting, call.ID)
			}
		}
		var all struct{ Messages any }
		if err := json.Unmarshal(c.Body(), &all); err != nil {
			t.Fatal(err)
		}
		everything := asText(all.Messages)
		for _, s := range said {
			if encoded := asText(s); !strings.Contains(everything, encoded[1:len(encoded)-1]) {
				t.Fatalf("%q is lost\n%s", s, c.Body())
			}
		}
	})
}

// drawChatInput draws a request in which each call has its output, and what is said.
func drawChatInput(t *rapid.T) (body string, said []string) {
	var items []string
	say := func() string {
		s := fmt.Sprintf("<%d>%s", len(said), drawChatText(t, "said"))
		said = append(said, s)
		return drawChatJSON(t, s)
	}
	var open []string
	add := func(format string, args ...any) { items = append(items, fmt.Sprintf(format, args...)) }
	answer := func() {
		for _, id := range rapid.Permutation(open).Draw(t, "order") {
			add(`{"type":"function_call_output","call_id":%q,"output":%s}`, id, say())
		}
		open = nil
	}
	for i := range rapid.IntRange(1, 12).Draw(t, "items") {
		switch rapid.IntRange(0, 6).Draw(t, "item") {
		case 0:
			add(`{"role":%q,"content":%s}`, rapid.SampledFrom([]string{"user", "assistant", "developer", "system"}).Draw(t, "role"), say())
		case 1:
			add(`{"type":"message","role":"user","content":[{"type":"input_text","text":%s},{"type":"input_text","text":%s}]}`, say(), say())
		case 2:
			add(`{"type":"reasoning","summary":[],"content":[{"type":"reasoning_text","text":%s}]}`, say())
			add(`{"type":"message","role":"assistant","content":[{"type":"output_text","text":%s}]}`, say())
		case 3, 4:
			id := fmt.Sprintf("call_%d", i%3) // ids may come again
			if len(open) == 0 || open[len(open)-1] != id && open[0] != id {
				open = append(open, id)
				add(`{"type":"function_call","call_id":%q,"name":"run","namespace":%s,"arguments":%s}`, id, rapid.SampledFrom([]string{"null", `"ns"`}).Draw(t, "ns"), say())
			}
		case 5:
			add(`{"type":"custom_tool_call","call_id":"custom_%d","name":"patch","input":%q}`, i, "x")
			open = append(open, fmt.Sprintf("custom_%d", i))
		default:
			answer()
		}
	}
	answer()
	add(`{"role":"user","content":%s}`, say())
	tools := rapid.SliceOfN(rapid.StringMatching(`[a-z_.é-]{1,40}`), 0, 6).Draw(t, "tools")
	var offered []string
	for _, name := range tools {
		offered = append(offered, fmt.Sprintf(`{"type":"function","name":%q}`, name),
			fmt.Sprintf(`{"type":"namespace","name":%q,"tools":[{"type":"function","name":%q},{"type":"custom","name":%q}]}`, name, tools[0], name+tools[0]))
	}
	return fmt.Sprintf(`{"model":"m","input":[%s],"tools":[%s]}`, strings.Join(items, ","), strings.Join(offered, ",")), said
}
