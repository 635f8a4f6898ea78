package convert

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"realms/internal/protocol/openai"
)

// An answer that was cut, filtered or broken off is not told as a whole one.
func TestToChatFinishReasons(t *testing.T) {
	for want, reasons := range map[string]string{
		"max_output_tokens": "length max_tokens MAX_TOKENS max_length model_length model_context_window_exceeded",
		"content_filter":    "content_filter content-filter sensitive SAFETY safety recitation RECITATION",
		"failed":            "error insufficient_system_resource abort network_error timeout cancelled",
		"completed":         "stop tool_calls STOP end_turn of_another_kind",
	} {
		for _, reason := range strings.Fields(reasons) {
			c, err := toChat(plainRequest)
			if err != nil {
				t.Fatal(err)
			}
			choice := `{"id":"x","choices":[{"index":0,%q:{"content":"Hel"},"finish_reason":%q}]}`
			whole, err := c.Answer(nil, fmt.Appendf(nil, choice, "message", reason))
			if got := cameTo(whole, err); got != want {
				t.Errorf("%s: %s as a whole, %s expected", reason, got, want)
			}
			stream, err := convertEvents(c, fmt.Appendf(nil, "data: "+choice+"\n\ndata: [DONE]\n\n", "delta", reason))
			if got := cameTo(stream, err); got != want {
				t.Errorf("%s: %s as a stream, %s expected", reason, got, want)
			}
		}
	}
}

// cameTo is what an answer came to: completed, failed, or why it is incomplete.
func cameTo(out []byte, err error) string {
	var failed *openai.UpstreamError
	if errors.As(err, &failed) {
		return "failed"
	}
	for _, reason := range []string{"max_output_tokens", "content_filter"} {
		if strings.Contains(string(out), `"status":"incomplete"`) && strings.Contains(string(out), `"incomplete_details":{"reason":"`+reason+`"}`) {
			return reason
		}
	}
	if strings.Contains(string(out), `"status":"completed"`) && !strings.Contains(string(out), `"incomplete"`) {
		return "completed"
	}
	return fmt.Sprintf("%s (%v)", out, err)
}

// A stream that never stops ends in a failure, whatever it brings, while little is
// kept of it; what is told of the failure follows what the client has got.
func TestToChatStreamIsBounded(t *testing.T) {
	text := strings.Repeat("a", 1<<20)
	for name, deltas := range map[string][]string{
		"text":        {`"content":"` + text + `"`},
		"reasoning":   {`"reasoning":"` + text + `"`},
		"refusal":     {`"refusal":"` + text + `"`},
		"arguments":   {`"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":"` + text + `"}}]`},
		"nameless":    {`"tool_calls":[{"index":0,"function":{"arguments":"` + text + `"}}]`},
		"custom":      {`"tool_calls":[{"index":0,"id":"c","function":{"name":"patch","arguments":"` + text + `"}}]`},
		"legacy":      {`"function_call":{"name":"f","arguments":"` + text + `"}`},
		"annotations": {`"annotations":[{"url_citation":{"title":"` + text + `"}}]`},
		"items":       {`"content":"a"`, `"reasoning":"a"`},
		"parts":       {`"content":"a"`, `"refusal":"a"`},
		"calls":       {`"tool_calls":[{"id":"c%d","function":{"name":"f","arguments":"{}"}}]`},
		"waiting":     {`"tool_calls":[{"index":%d,"function":{"arguments":"{}"}}]`},
		"images":      {`"images":[{"image_url":{"url":"data:image/png;base64,` + text + `"}}]`},
		"transcript":  {`"audio":{"transcript":"` + text + `"}`},
		"details":     {`"reasoning_details":[{"type":"reasoning.text","text":"` + text + `"}]`},
		"along":       {`"content":"a"`, `"reasoning":"` + text + `","content":"a"`},
		"tokens":      {`"content":""},"logprobs":{"content":[{"token":"` + text + `","logprob":0}]`},
		"early notes": {`"annotations":[{"url_citation":{"title":"` + text + `"}}],"reasoning":"a"`},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := toChat(`{"model":"m","input":"hi","stream":true,"store":false,"tools":` + drawnTools + `}`)
			if err != nil {
				t.Fatal(err)
			}
			s := c.Stream(mostKept)
			for i := range 1 << 17 {
				delta := strings.ReplaceAll(deltas[i%len(deltas)], "%d", fmt.Sprint(i))
				before := s.Point().Sequence
				out, err := s.Event(nil, nil, []byte(`{"id":"x","choices":[{"index":0,"delta":{`+delta+`}}]}`))
				if err == nil {
					continue
				}
				var failed *openai.UpstreamError
				if !errors.As(err, &failed) || len(out) != 0 || s.Point().Sequence != before {
					t.Fatalf("%v, %d bytes, event %d after %d", err, len(out), s.Point().Sequence, before)
				}
				if i < 15 {
					t.Fatalf("only %d chunks were taken", i)
				}
				return
			}
			t.Fatal("it never ended")
		})
	}
}

// Large answers are converted: the bound is far from them.
func TestToChatStreamIsLarge(t *testing.T) {
	c, err := toChat(plainRequest)
	if err != nil {
		t.Fatal(err)
	}
	chunk := `data: {"id":"x","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("a", 1<<16) + `"}}]}` + "\n\n"
	out, err := convertEvents(c, []byte(strings.Repeat(chunk, 128)+"data: [DONE]\n\n"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := readResponse(out); err != nil {
		t.Fatal(err)
	}
}

// Nothing was said before the client was told: a call without a name is none yet.
func TestToChatSpokeWhenTold(t *testing.T) {
	c, err := toChat(plainRequest)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Stream(mostKept)
	for _, step := range []struct {
		delta string
		spoke bool
	}{
		{`"content":""`, false},
		{`"annotations":[{"url_citation":{"title":"A"}}]`, false},
		{`"tool_calls":[{"index":0,"id":"call_1","function":{"arguments":"{"}}]`, false},
		{`"tool_calls":[{"index":0,"function":{"name":"run"}}]`, true},
	} {
		if _, err := s.Event(nil, nil, []byte(`{"id":"x","choices":[{"index":0,"delta":{`+step.delta+`}}]}`)); err != nil {
			t.Fatal(err)
		}
		if s.Spoke() != step.spoke {
			t.Errorf("%s: spoke is %v", step.delta, s.Spoke())
		}
	}
}

// An upstream without ids says the same at the beginning of every turn. The ids of two
// turns differ all the same; those of the same request do not.
func TestToChatIDsOfTurns(t *testing.T) {
	const wire = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"Well\"}}]}\n\n"
	const answer = `{"choices":[{"index":0,"message":{"role":"assistant","content":"Well"}}]}`
	ids := func(input string) (ids [2]string) {
		c, err := toChat(`{"model":"m","store":false,"stream":true,"input":"` + input + `"}`)
		if err != nil {
			t.Fatal(err)
		}
		for i := range ids {
			out, err := c.Answer(nil, []byte(answer))
			if i == 0 {
				out, err = convertEvents(c, []byte(wire))
			}
			if err != nil {
				t.Fatal(err)
			}
			_, rest, _ := strings.Cut(string(out), `"id":"msg_`)
			ids[i], _, _ = strings.Cut(rest, `"`)
		}
		return ids
	}
	first, second := ids("one"), ids("two")
	if first != ids("one") {
		t.Error("the same request has other ids")
	}
	for i := range first {
		if first[i] == "" || first[i] == second[i] {
			t.Errorf("%q and %q", first[i], second[i])
		}
	}
}

// A usage is told by the counts that are sensible, whichever dialect names them.
func TestResponsesUsage(t *testing.T) {
	told := func(input, output, total, reasoning int) string {
		return fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":0,"cache_write_tokens":0},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}`, input, output, reasoning, total)
	}
	for usage, want := range map[string]string{
		`{"prompt_tokens":12.0,"completion_tokens":3.0,"total_tokens":15.0}`:                                              told(12, 3, 15, 0),
		`{"input_tokens":12,"output_tokens":3,"output_tokens_details":{"reasoning_tokens":2}}`:                            told(12, 3, 15, 2),
		`{"prompt_tokens":10,"total_tokens":15}`:                                                                          told(10, 5, 15, 0),
		`{"completion_tokens":5,"total_tokens":15}`:                                                                       told(10, 5, 15, 0),
		`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":18,"completion_tokens_details":{"reasoning_tokens":3}}`: told(10, 8, 18, 3),
		`{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":-3}}`:                  told(10, 5, 15, 0),
		`{"prompt_tokens":-1,"completion_tokens":5,"total_tokens":15}`:                                                    told(10, 5, 15, 0),
		`{"prompt_tokens":9223372036854775807,"completion_tokens":9223372036854775807}`:                                   "null",
		`{"prompt_tokens":10}`:                        "null",
		`{"prompt_tokens":10,"completion_tokens":-5}`: "null",
	} {
		if got := string(responsesUsage([]byte(usage))); got != want {
			t.Errorf("%s is told as %s", usage, got)
		}
	}
}
