package convert

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"realms/internal/protocol/openai"
)

// These round trips go Responses → Chat → Responses. What is not the same afterwards,
// and need not be, is what it is the other way round (roundtrip_test.go), and:
//
//   - instructions are a message of the system;
//   - reasoning of the past is not sent on: what a model thought in the words of one
//     upstream is advice to another;
//   - a call without arguments may be given an object without any;
//   - of an answer all messages are one, so is all reasoning; they stand ahead of the
//     calls;
//   - log probabilities, encrypted reasoning and citations of files are not drawn:
//     what becomes of them stands in the transcripts.

// drawBackRequest draws a Responses request: a conversation and what is asked of it.
func drawBackRequest(t *rapid.T) string {
	some := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
	fields := []string{`"model":"m"`, `"input":[` + strings.Join(drawBackInput(t, some), ",") + `]`, `"store":false`}
	for _, field := range []string{
		`"instructions":` + quote(anyText.Draw(t, "instructions")), `"temperature":0.5`, `"top_p":1`, `"max_output_tokens":100`, `"metadata":{"a":"b"}`,
		`"top_logprobs":2,"include":["message.output_text.logprobs"]`, `"service_tier":"flex"`, `"user":"u"`, `"prompt_cache_key":"k"`, `"stream":true`,
		`"reasoning":{"effort":"none"}`, `"text":{"verbosity":"low"}`, `"top_k":9007199254740993`,
		`"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","big":9007199254740993},"strict":true}}`,
		backTools, backTools + `,"tool_choice":"required"`, backTools + `,"tool_choice":{"type":"function","name":"weather"},"parallel_tool_calls":false`,
	} {
		name, _, _ := strings.Cut(field, ":")
		if some(field) && !strings.Contains(strings.Join(fields, ","), name+":") {
			fields = append(fields, field)
		}
	}
	return "{" + strings.Join(fields, ",") + "}"
}

const backTools = `"tools":[{"type":"function","name":"weather","description":"Tells.","parameters":{"type":"object","properties":{"city":{"type":"string"}}},"strict":true},{"type":"function","name":"now","parameters":{"type":"object","properties":{}},"strict":false},{"type":"custom","name":"patch","description":"Edits."}]`

func drawBackInput(t *rapid.T, some func(string) bool) (items []string) {
	content := func(kind string) string {
		if some("string") {
			return quote(anyText.Draw(t, "text"))
		}
		var parts []string
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			part := `{"type":"` + kind + `","text":` + quote(anyText.Draw(t, "part")) + `}`
			if kind == "input_text" && some("media") {
				part = rapid.SampledFrom([]string{
					`{"type":"input_image","image_url":"https://example.org/i.png"}`,
					`{"type":"input_image","image_url":"data:image/png;base64,AA==","detail":"low"}`,
					`{"type":"input_file","file_data":"data:application/pdf;base64,AA==","filename":"a.pdf"}`,
				}).Draw(t, "medium")
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	message := func(role, content string) {
		items = append(items, `{"type":"message","role":"`+role+`","content":`+content+`}`)
	}
	if some("developer") {
		message("developer", quote(anyText.Draw(t, "developer")))
	}
	for turn := range rapid.IntRange(0, 3).Draw(t, "turns") {
		message("user", content("input_text"))
		if some("reasons") {
			items = append(items, `{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"Thought."}]}`)
		}
		calls := 0
		if some("calls") {
			calls = rapid.IntRange(1, 3).Draw(t, "how many")
		}
		if calls == 0 || some("says") {
			message("assistant", content("output_text"))
		}
		var outputs []string
		for i := range calls {
			id := fmt.Sprintf("call_%d_%d", turn, i)
			kind, rest := "function_call", `,"name":"weather","arguments":`+quote(`{"city":`+quote(anyText.Draw(t, "city"))+`}`)
			if some("custom") {
				kind, rest = "custom_tool_call", `,"name":"patch","input":`+quote(anyText.Draw(t, "input"))
			}
			items = append(items, `{"type":"`+kind+`","call_id":"`+id+`"`+rest+`}`)
			outputs = append(outputs, `{"type":"`+kind+`_output","call_id":"`+id+`","output":`+quote(anyText.Draw(t, "output"))+`}`)
		}
		items = append(items, outputs...)
	}
	message("user", content("input_text"))
	return items
}

// meansBack reduces a Responses request to what it means.
func meansBack(t failer, body string) (messages []saidMessage, rest map[string]any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&rest); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	add := func(said saidMessage) {
		if n := len(messages); said.Role == "system" && n == 1 && messages[0].Role == "system" {
			messages[0].Text += "\n\n" + said.Text
			return
		}
		messages = append(messages, said)
	}
	if text, ok := rest["instructions"].(string); ok {
		add(saidMessage{Role: "system", Text: text})
	}
	input, _ := rest["input"].([]any)
	for _, item := range input {
		if said, ok := meansItem(item.(map[string]any)); ok {
			add(said)
		}
	}
	delete(rest, "instructions")
	delete(rest, "input")
	delete(rest, "stream_options")
	tools, _ := rest["tools"].([]any)
	for _, tool := range tools {
		tool := tool.(map[string]any)
		if tool["type"] == "custom" || tool["name"] == "patch" { // it went as a function
			tool["type"], tool["strict"], tool["parameters"] = "custom", false, nil
			about, _, _ := strings.Cut(tool["description"].(string), "Give the whole input")
			tool["description"] = strings.TrimSpace(about)
		}
	}
	return messages, rest
}

func meansItem(item map[string]any) (said saidMessage, ok bool) {
	text := func(key string) string { s, _ := item[key].(string); return s }
	said.CallID = text("call_id")
	switch kind := text("type"); kind {
	case "reasoning":
		return said, false
	case "message":
		meansContent(&said, text("role"), item["content"])
	case "function_call", "custom_tool_call":
		said.Role = "call"
		call := toldCall{Name: text("name"), Input: text("arguments") + text("input")}
		if kind == "function_call" && call.Name == "patch" {
			var wrapped struct{ Input string }
			_ = json.Unmarshal([]byte(call.Input), &wrapped)
			call.Input = wrapped.Input
		}
		said.Calls = []toldCall{call}
	default:
		said.Role, said.Text = "output", text("output")
	}
	return said, true
}

func meansContent(said *saidMessage, role string, content any) {
	said.Role, said.Text = role, ""
	if role == "developer" {
		said.Role = "system"
	}
	said.Text, _ = content.(string)
	parts, _ := content.([]any)
	var texts []string
	for _, p := range parts {
		part := p.(map[string]any)
		if text, ok := part["text"].(string); ok {
			texts = append(texts, text)
			continue
		}
		if part["type"] == "input_image" && part["detail"] == nil {
			part["detail"] = "auto"
		}
		medium, _ := json.Marshal(part)
		said.Media = append(said.Media, fmt.Sprintf("%d %s", len(texts), medium))
	}
	between := "\n\n"
	if role == "assistant" {
		between = ""
	}
	said.Text += strings.Join(texts, between)
}

// bothBack converts a Responses request there and back.
func bothBack(t failer, body string) (toUpstream, toResponsesAgain Conversion) {
	t.Helper()
	there, err := toChat(body)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	r, err := openai.ReadJSON(operation("chat.completions"), there.Body(), nil)
	if err != nil {
		t.Fatalf("%v in %s", err, there.Body())
	}
	back, err := ToResponses(r)
	if err != nil {
		t.Fatalf("%v in %s", err, there.Body())
	}
	return there, back
}

// TestResponsesRequestRoundTrip: a Responses request means the same after both
// conversions.
func TestResponsesRequestRoundTrip(t *testing.T) {
	many(t)
	rapid.Check(t, func(t *rapid.T) {
		body := drawBackRequest(t)
		there, back := bothBack(t, body)
		want, wantRest := meansBack(t, body)
		got, gotRest := meansBack(t, string(back.Body()))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("items -sent +arrived:\n%s\n%s\n%s\n%s", diff, body, there.Body(), back.Body())
		}
		if diff := cmp.Diff(wantRest, gotRest); diff != "" {
			t.Fatalf("fields -sent +arrived:\n%s\n%s\n%s\n%s", diff, body, there.Body(), back.Body())
		}
	})
}

// saidBack is what a Responses client has in the end.
type saidBack struct {
	Status, Reason           string
	Reasoning, Text, Refusal string
	Calls                    []toldCall
	Images                   []string
	Annotations              []any
	Usage                    any
}

// readBack reads a response object.
func readBack(t failer, response map[string]any) saidBack {
	t.Helper()
	text := func(of map[string]any, key string) string { s, _ := of[key].(string); return s }
	got := saidBack{Status: text(response, "status"), Usage: response["usage"]}
	if details, ok := response["incomplete_details"].(map[string]any); ok {
		got.Reason = text(details, "reason")
	}
	output, _ := response["output"].([]any)
	for _, o := range output {
		item := o.(map[string]any)
		switch kind := text(item, "type"); kind {
		case "function_call", "custom_tool_call":
			got.Calls = append(got.Calls, toldCall{ID: text(item, "call_id"), Type: kind, Name: text(item, "name"), Input: noArguments(kind, text(item, "arguments")+text(item, "input"))})
			continue
		case "image_generation_call":
			got.Images = append(got.Images, text(item, "result"))
		}
		for _, key := range []string{"summary", "content"} {
			parts, _ := item[key].([]any)
			for _, p := range parts {
				part := p.(map[string]any)
				annotations, _ := part["annotations"].([]any)
				got.Annotations = append(got.Annotations, annotations...)
				got.Refusal += text(part, "refusal")
				if item["type"] == "reasoning" {
					got.Reasoning += text(part, "text")
				} else {
					got.Text += text(part, "text")
				}
			}
		}
	}
	return got
}

// wantsBack is what the client is to have of items.
func wantsBack(t failer, items []streamedItem, status, reason string) saidBack {
	want := saidBack{Status: status, Reason: reason}
	var thoughts []string
	for i := range items {
		it := &items[i]
		switch {
		case it.kind == "reasoning":
			thoughts = append(thoughts, it.parts...)
		case it.kind == "message" && it.refusal:
			want.Refusal += strings.Join(it.parts, "")
		case it.kind == "message":
			last := len(it.parts) - 1
			ahead := utf8.RuneCountInString(want.Text + strings.Join(it.parts[:last], ""))
			if want.Text += strings.Join(it.parts, ""); it.cited {
				want.Annotations = append(want.Annotations, map[string]any{
					"type": "url_citation", "start_index": float64(ahead), "end_index": float64(ahead + 1), "url": "https://example.org/", "title": "E",
				})
			}
		case it.kind == "image_generation_call":
			want.Images = append(want.Images, it.input)
		default:
			call := toldCall{ID: it.callID, Type: it.kind, Name: it.name, Input: noArguments(it.kind, it.input)}
			if it.name == "patch" {
				var wrapped struct{ Input string }
				_ = json.Unmarshal([]byte(it.input), &wrapped)
				call.Type, call.Input = "custom_tool_call", wrapped.Input
			}
			want.Calls = append(want.Calls, call)
		}
	}
	want.Reasoning = strings.Join(thoughts, "\n\n")
	if err := json.Unmarshal([]byte(backUsage), &want.Usage); err != nil {
		t.Fatalf("%v", err)
	}
	return want
}

// noArguments: {} is what a function is given that is given nothing.
func noArguments(kind, input string) string {
	if kind == "function_call" && input == "" {
		return "{}"
	}
	return input
}

const backUsage = `{"input_tokens":1,"input_tokens_details":{"cached_tokens":1,"cache_write_tokens":0},"output_tokens":2,"output_tokens_details":{"reasoning_tokens":1},"total_tokens":3}`

// TestResponsesAnswerRoundTrip: an answer of a Responses upstream, whole or as a
// stream, reaches a Responses client as it was, although Chat lies between.
func TestResponsesAnswerRoundTrip(t *testing.T) {
	client, upstream := bothBack(t, `{"model":"m","stream":true,"input":"x",`+backTools+`}`)
	many(t)
	rapid.Check(t, func(t *rapid.T) {
		items := drawBackAnswer(t)
		status, reason := "completed", ""
		if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
			status, reason = "incomplete", rapid.SampledFrom([]string{"max_output_tokens", "content_filter"}).Draw(t, "reason")
		}
		var all []string
		for n := range items {
			all = append(all, items[n].object(fmt.Sprintf("id_%d", n), false))
		}
		details := "null"
		if reason != "" {
			details = `{"reason":"` + reason + `"}`
		}
		response := `{"id":"resp_1","object":"response","created_at":5,"model":"gpt-x","status":"` + status + `","incomplete_details":` + details +
			`,"output":[` + strings.Join(all, ",") + `],"usage":` + backUsage + `}`
		want := wantsBack(t, items, status, reason)
		compare := func(form string, answer map[string]any, between []byte) {
			t.Helper()
			if diff := cmp.Diff(want, readBack(t, answer)); diff != "" {
				t.Fatalf("%s -sent +arrived:\n%s\n%s\n%s", form, diff, response, between)
			}
		}
		chat, err := upstream.Answer(nil, []byte(response))
		if err != nil {
			t.Fatalf("%v in %s", err, response)
		}
		again, err := client.Answer(nil, chat)
		if err != nil {
			t.Fatalf("%v in %s", err, chat)
		}
		var answer map[string]any
		if err := json.Unmarshal(again, &answer); err != nil {
			t.Fatal(err)
		}
		compare("answer", answer, chat)

		h := drawHabits(t)
		events := h.stream(t, items, `{"type":"response.`+status+`","response":`+response+`}`)
		chunks, err := runStream(upstream, events)
		if err != nil {
			t.Fatalf("%v in %s", err, events)
		}
		out, err := convertEvents(client, []byte(chunks))
		if err != nil {
			t.Fatalf("%v in %s", err, chunks)
		}
		if answer, err = readResponse(out); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
		if !h.itemDone { // citations came when their text had ended
			want.Annotations = nil
			for _, item := range answer["output"].([]any) {
				content, _ := item.(map[string]any)["content"].([]any)
				for _, part := range content {
					delete(part.(map[string]any), "annotations")
				}
			}
		}
		compare("stream", answer, []byte(events+"\n"+chunks))
	})
}

// drawBackAnswer draws items that Chat has a place for.
func drawBackAnswer(t *rapid.T) (items []streamedItem) {
	refuses := rapid.IntRange(0, 4).Draw(t, "refuses") == 0
	for n := range rapid.IntRange(0, 4).Draw(t, "items") {
		it := drawStreamedItem(t, n)
		switch it.kind {
		case "message": // who refuses cites nobody
			it.refusal, it.cited = refuses, it.cited && !refuses
		case "reasoning", "function_call", "image_generation_call":
		case "custom_tool_call": // the upstream knows the tool as a function
			it.kind, it.name, it.input = "function_call", "patch", `{"input":`+quote(it.input)+`}`
		default:
			continue
		}
		items = append(items, it)
	}
	return items
}
