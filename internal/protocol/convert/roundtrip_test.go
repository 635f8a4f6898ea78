package convert

import (
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"realms/internal/protocol/openai"
)

// roundTrips is how many requests, answers and streams go through both directions;
// with the race detector, which makes each take ten times as long, a tenth of them.
const roundTrips = 5000

// The round trips go Chat → Responses → Chat, the way back likewise. What is not the
// same afterwards, and need not be:
//
//   - what the system says ahead of the conversation is one message, and a developer
//     is the system: paragraphs lie between what were messages;
//   - content of several texts and nothing else is one text, with paragraphs between
//     them (of an answer: without);
//   - custom tools are functions with one argument, input;
//   - max_tokens has its newer name, an image its detail, a function its parameters;
//   - strict: false, store: false, an empty content beside calls are left out, and
//     a stream always asks for usage;
//   - dropped as advice: name, seed, prediction, reasoning_content of the past;
//   - the ids of the completion and of its reasoning are others.

// saidMessage is a message, told apart by what it means alone.
type saidMessage struct {
	Role, Text, Refusal, CallID string
	Media                       []string
	Calls                       []toldCall
}

// means reduces a Chat request to what it means.
func means(t failer, body string) (messages []saidMessage, rest map[string]any) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&rest); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	all, _ := rest["messages"].([]any)
	for _, m := range all {
		said := meansMessage(m.(map[string]any))
		last := len(messages) - 1
		if said.Role == "system" && last == 0 && messages[0].Role == "system" {
			messages[0].Text += "\n\n" + said.Text
			continue
		}
		messages = append(messages, said)
	}
	for _, advice := range []string{"messages", "seed", "prediction", "stream_options"} {
		delete(rest, advice)
	}
	if rest["store"] == false {
		delete(rest, "store")
	}
	if v, ok := rest["max_tokens"]; ok {
		delete(rest, "max_tokens")
		rest["max_completion_tokens"] = v
	}
	tools, _ := rest["tools"].([]any)
	for i := range tools {
		tools[i] = meansTool(tools[i].(map[string]any))
	}
	if choice, ok := rest["tool_choice"].(map[string]any); ok {
		name, _ := choice[choice["type"].(string)].(map[string]any)
		rest["tool_choice"] = name["name"]
	}
	return messages, rest
}

func meansTool(tool map[string]any) any {
	inner, _ := tool[tool["type"].(string)].(map[string]any)
	about, _ := inner["description"].(string)
	about, _, _ = strings.Cut(about, "Give the whole input")
	text, _ := json.Marshal(inner["parameters"])
	parameters := string(text)
	if tool["type"] == "custom" {
		parameters = customParameters
	} else if inner["parameters"] == nil {
		parameters = noParameters
	}
	var decoded any
	_ = json.Unmarshal([]byte(parameters), &decoded)
	return []any{inner["name"], strings.TrimSpace(about), decoded, inner["strict"] == true}
}

func meansMessage(m map[string]any) saidMessage {
	said := saidMessage{Role: m["role"].(string)}
	said.Refusal, _ = m["refusal"].(string)
	said.CallID, _ = m["tool_call_id"].(string)
	if said.Role == "developer" {
		said.Role = "system"
	}
	said.Text, _ = m["content"].(string)
	parts, _ := m["content"].([]any)
	var texts []string
	for _, p := range parts {
		part := p.(map[string]any)
		switch kind := part["type"].(string); kind {
		case "text":
			texts = append(texts, part["text"].(string))
		case "refusal":
			said.Refusal += part["refusal"].(string)
		default:
			media, _ := part[kind].(map[string]any)
			if kind == "image_url" && media["detail"] == nil {
				media["detail"] = "auto"
			}
			text, _ := json.Marshal(media)
			said.Media = append(said.Media, fmt.Sprintf("%d %s %s", len(texts), kind, text))
		}
	}
	if said.Role == "assistant" {
		said.Text += strings.Join(texts, "")
	} else {
		said.Text += strings.Join(texts, "\n\n")
	}
	calls, _ := m["tool_calls"].([]any)
	for _, c := range calls {
		said.Calls = append(said.Calls, meansCall(c.(map[string]any)))
	}
	return said
}

func meansCall(c map[string]any) toldCall {
	call := toldCall{ID: c["id"].(string)}
	inner := c[c["type"].(string)].(map[string]any)
	call.Name, _ = inner["name"].(string)
	if c["type"] == "custom" {
		call.Input, _ = inner["input"].(string)
		return call
	}
	call.Input, _ = inner["arguments"].(string)
	if call.Name == "patch" { // it went as a function
		var wrapped struct{ Input string }
		_ = json.Unmarshal([]byte(call.Input), &wrapped)
		call.Input = wrapped.Input
	}
	return call
}

// drawTools are the two tools that requests offer.
const drawTools = `"tools":[{"type":"function","function":{"name":"weather","description":"Tells.","parameters":{"type":"object","properties":{"city":{"type":"string"}}},"strict":true}},{"type":"function","function":{"name":"now"}},{"type":"custom","custom":{"name":"patch","description":"Edits."}}]`

// drawTripRequest draws a conversation and what is asked of it.
func drawTripRequest(t *rapid.T) string {
	var messages []string
	some := func(name string) bool { return rapid.IntRange(0, 2).Draw(t, name) == 0 }
	content := func(role string) string {
		if !some("parts of " + role) {
			return quote(anyText.Draw(t, "text"))
		}
		var parts []string
		for range rapid.IntRange(1, 3).Draw(t, "parts") {
			part := `{"type":"text","text":` + quote(anyText.Draw(t, "part")) + `}`
			if role == "user" && some("media") {
				part = rapid.SampledFrom([]string{
					`{"type":"image_url","image_url":{"url":"https://example.org/i.png"}}`,
					`{"type":"image_url","image_url":{"url":"data:image/png;base64,AA==","detail":"low"}}`,
					`{"type":"input_audio","input_audio":{"data":"AA==","format":"wav"}}`,
					`{"type":"file","file":{"file_data":"data:application/pdf;base64,AA==","filename":"a.pdf"}}`,
				}).Draw(t, "medium")
			}
			parts = append(parts, part)
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	say := func(role, content, rest string) {
		messages = append(messages, `{"role":"`+role+`","content":`+content+rest+`}`)
	}
	for range rapid.IntRange(0, 2).Draw(t, "system") {
		role := rapid.SampledFrom([]string{"system", "developer"}).Draw(t, "role")
		say(role, content(role), "")
	}
	for turn := range rapid.IntRange(1, 3).Draw(t, "turns") {
		say("user", content("user"), rapid.SampledFrom([]string{"", `,"name":"ann"`}).Draw(t, "name"))
		drawTripTurn(t, turn, some, content, say)
	}
	say("user", content("user"), "")
	fields := []string{`"messages":[` + strings.Join(messages, ",") + `]`}
	for _, field := range []string{
		`"temperature":0.5`, `"top_p":1`, `"max_completion_tokens":100`, `"logprobs":true,"top_logprobs":2`, `"metadata":{"a":"b"}`,
		`"service_tier":"flex"`, `"user":"u"`, `"safety_identifier":"s"`, `"prompt_cache_key":"k"`, `"store":false`, `"reasoning_effort":"high"`, `"verbosity":"low"`,
		`"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","big":9007199254740993},"strict":true}}`,
		`"seed":7`, `"prediction":{"type":"content","content":"x"}`, `"top_k":9007199254740993`, `"stream":true`,
		drawTools, drawTools + `,"tool_choice":"required"`, drawTools + `,"tool_choice":{"type":"function","function":{"name":"weather"}},"parallel_tool_calls":false`, drawTools + `,"tool_choice":{"type":"custom","custom":{"name":"patch"}}`,
	} {
		again := strings.HasPrefix(field, drawTools) && strings.Contains(strings.Join(fields, ""), `"tools"`)
		if some(field) && !again {
			fields = append(fields, field)
		}
	}
	return `{"model":"m",` + strings.Join(fields, ",") + `}`
}

// drawTripTurn draws what an assistant did: said something, or called tools that gave
// something.
func drawTripTurn(t *rapid.T, turn int, some func(string) bool, content func(string) string, say func(role, content, rest string)) {
	switch {
	case some("refuses"):
		say("assistant", "null", `,"refusal":`+quote(anyText.Draw(t, "refusal")))
	case !some("calls"):
		say("assistant", content("assistant"), "")
	default:
		var calls []string
		n := rapid.IntRange(1, 3).Draw(t, "calls")
		for i := range n {
			id := fmt.Sprintf("call_%d_%d", turn, i)
			if some("custom") {
				calls = append(calls, `{"id":"`+id+`","type":"custom","custom":{"name":"patch","input":`+quote(anyText.Draw(t, "input"))+`}}`)
			} else {
				calls = append(calls, `{"id":"`+id+`","type":"function","function":{"name":"weather","arguments":`+quote(`{"city":`+quote(anyText.Draw(t, "city"))+`}`)+`}}`)
			}
		}
		said := rapid.SampledFrom([]string{"null", `""`, `"Let me see."`}).Draw(t, "said")
		say("assistant", said, `,"tool_calls":[`+strings.Join(calls, ",")+`]`)
		for i := range n {
			say("tool", content("tool"), `,"tool_call_id":"`+fmt.Sprintf("call_%d_%d", turn, i)+`"`)
		}
	}
}

// both converts a Chat request there and back.
func both(t failer, body string) (toUpstream, toChat Conversion) {
	t.Helper()
	there, err := toResponses(body)
	if err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	r, err := openai.ReadJSON(operation("responses"), there.Body(), nil)
	if err != nil {
		t.Fatalf("%v in %s", err, there.Body())
	}
	back, err := ToChat(r)
	if err != nil {
		t.Fatalf("%v in %s", err, there.Body())
	}
	return there, back
}

// many makes rapid draw as often as the round trips are to be made.
func many(t *testing.T) {
	t.Helper()
	f := flag.Lookup("rapid.checks")
	if f.Value.String() != f.DefValue {
		return // as asked for on the command line
	}
	n := roundTrips
	if raceEnabled {
		n /= 10
	}
	if err := f.Value.Set(strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Value.Set(f.DefValue) })
}

// TestRequestRoundTrip: a Chat request means the same after both conversions.
func TestRequestRoundTrip(t *testing.T) {
	many(t)
	rapid.Check(t, func(t *rapid.T) {
		body := drawTripRequest(t)
		there, back := both(t, body)
		want, wantRest := means(t, body)
		got, gotRest := means(t, string(back.Body()))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("messages -sent +arrived:\n%s\n%s\n%s\n%s", diff, body, there.Body(), back.Body())
		}
		if diff := cmp.Diff(wantRest, gotRest); diff != "" {
			t.Fatalf("fields -sent +arrived:\n%s\n%s\n%s\n%s", diff, body, there.Body(), back.Body())
		}
	})
}

// TestAnswerRoundTrip: an answer of a Chat upstream, whole or as a stream, reaches a
// Chat client as it was, although both conversions lie between.
func TestAnswerRoundTrip(t *testing.T) {
	there, back := both(t, `{"model":"m","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"x"}],`+drawTools+`}`)
	many(t)
	rapid.Check(t, func(t *rapid.T) {
		a := drawTripAnswer(t)
		want := a.wants(t)
		compare := func(form string, got told, between []byte) {
			got.ID = ""
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s -sent +arrived:\n%s\n%s\n%s", form, diff, a.whole(), between)
			}
		}
		response, err := back.Answer(nil, []byte(a.whole()))
		if err != nil {
			t.Fatalf("%v in %s", err, a.whole())
		}
		answer, err := there.Answer(nil, response)
		if err != nil {
			t.Fatalf("%v in %s", err, response)
		}
		compare("answer", tell(t, answer), response)

		first, second := back.Stream(mostKept), there.Stream(mostKept)
		var events, out []byte
		for _, chunk := range a.chunks(t) {
			if events, err = first.Event(events, nil, []byte(chunk)); err != nil {
				t.Fatalf("%v in %s", err, chunk)
			}
		}
		for event := range strings.SplitSeq(string(events), "\n\n") {
			_, data, _ := strings.Cut(event, "data: ")
			if out, err = second.Event(out, nil, []byte(data)); err != nil {
				t.Fatalf("%v in %s", err, event)
			}
		}
		compare("stream", accumulate(t, string(out)), events)
	})
}

// mostKept is what streams may keep in tests, unless they are about that.
const mostKept = 16 << 20
