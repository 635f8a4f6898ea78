package convert

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"
)

// tripAnswer is what a Chat upstream answers.
type tripAnswer struct {
	content, refusal, reasoning string
	calls                       []toldCall
	cited                       bool
	finish                      string
}

func drawTripAnswer(t *rapid.T) tripAnswer {
	text := rapid.OneOf(rapid.Just(""), anyText)
	a := tripAnswer{finish: "stop", reasoning: text.Draw(t, "reasoning")}
	if rapid.IntRange(0, 4).Draw(t, "refuses") == 0 {
		a.refusal = anyText.Draw(t, "refusal")
	} else {
		a.content = text.Draw(t, "content")
		a.cited = a.content != "" && rapid.Bool().Draw(t, "cited")
		for i := range rapid.IntRange(0, 3).Draw(t, "calls") {
			call := toldCall{ID: fmt.Sprintf("call_%d", i), Type: "function", Name: "weather", Input: text.Draw(t, "arguments")}
			if rapid.Bool().Draw(t, "custom") {
				call.Type, call.Name = "custom", "patch"
			}
			a.calls = append(a.calls, call)
			a.finish = "tool_calls"
		}
	}
	if rapid.IntRange(0, 4).Draw(t, "cut") == 0 {
		a.finish = rapid.SampledFrom([]string{"length", "content_filter"}).Draw(t, "finish")
	}
	return a
}

const chatCitation = `{"type":"url_citation","url_citation":{"start_index":0,"end_index":1,"title":"E","url":"https://example.org/"}}`

const upstreamUsage = `{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens":1,"cache_write_tokens":0},"completion_tokens_details":{"reasoning_tokens":1}}`

// arguments is a call's input as the upstream, which knows functions alone, writes it.
func (c *toldCall) arguments() string {
	if c.Type == "custom" {
		return `{"input":` + quote(c.Input) + `}`
	}
	return c.Input
}

func (a *tripAnswer) whole() string {
	message := `{"role":"assistant","content":` + quote(a.content)
	if a.refusal != "" {
		message += `,"refusal":` + quote(a.refusal)
	}
	if a.reasoning != "" {
		message += `,"reasoning_content":` + quote(a.reasoning)
	}
	if a.cited {
		message += `,"annotations":[` + chatCitation + `]`
	}
	var calls []string
	for i := range a.calls {
		c := &a.calls[i]
		calls = append(calls, `{"id":"`+c.ID+`","type":"function","function":{"name":"`+c.Name+`","arguments":`+quote(c.arguments())+`}}`)
	}
	if calls != nil {
		message += `,"tool_calls":[` + strings.Join(calls, ",") + `]`
	}
	return `{"id":"chatcmpl-9","object":"chat.completion","created":5,"model":"gpt-x","choices":[{"index":0,"message":` + message +
		`},"finish_reason":"` + a.finish + `"}],"usage":` + upstreamUsage + `}`
}

// chunks is the same as a stream, cut at random.
func (a *tripAnswer) chunks(t *rapid.T) []string {
	var all []string
	chunk := func(delta, finish string) {
		all = append(all, `{"id":"chatcmpl-9","object":"chat.completion.chunk","created":5,"model":"gpt-x","choices":[{"index":0,"delta":{`+delta+`},"finish_reason":`+finish+`}]}`)
	}
	chunk(`"role":"assistant","content":""`, "null")
	for _, field := range [][2]string{{"reasoning_content", a.reasoning}, {"content", a.content}, {"refusal", a.refusal}} {
		if field[1] == "" {
			continue
		}
		for _, piece := range split(t, field[1]) {
			chunk(quote(field[0])+":"+quote(piece), "null")
		}
	}
	if a.cited {
		chunk(`"annotations":[`+chatCitation+`]`, "null")
	}
	for i := range a.calls {
		c := &a.calls[i]
		chunk(fmt.Sprintf(`"tool_calls":[{"index":%d,"id":%q,"type":"function","function":{"name":%q,"arguments":""}}]`, i, c.ID, c.Name), "null")
		for _, piece := range split(t, c.arguments()) {
			chunk(fmt.Sprintf(`"tool_calls":[{"index":%d,"function":{"arguments":%s}}]`, i, quote(piece)), "null")
		}
	}
	chunk("", quote(a.finish))
	return append(all, `{"id":"chatcmpl-9","object":"chat.completion.chunk","created":5,"model":"gpt-x","choices":[],"usage":`+upstreamUsage+`}`, "[DONE]")
}

// wants is what the client is to have in the end.
func (a *tripAnswer) wants(t failer) told {
	want := told{Model: "gpt-x", Finish: a.finish, Content: a.content, Refusal: a.refusal, Reasoning: a.reasoning, Calls: slices.Clone(a.calls)}
	for i := range want.Calls {
		if c := &want.Calls[i]; c.Type == "function" && c.Input == "" && a.finish == "tool_calls" {
			c.Input = "{}" // clients read it as JSON
		}
	}
	list := func(text string) (all []any) {
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			t.Fatalf("%v", err)
		}
		return all
	}
	if a.cited {
		want.Annotations = list("[" + chatCitation + "]")
	}
	want.Usage = list("[" + upstreamUsage + "]")[0]
	return want
}
