package convert

import (
	"fmt"
	"strings"
	"testing"

	"realms/internal/protocol/openai"
	"realms/internal/sse"
)

// fiftyChunks are the events of an ordinary stream of 50 events, of text or of a call's
// arguments.
func fiftyChunks(call string) [][]byte {
	const frame = `{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5.5-2026-04-24","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":%s,"logprobs":null,"finish_reason":%s}],"usage":null}`
	chunks := [][]byte{fmt.Appendf(nil, frame, `{"role":"assistant","content":"","refusal":null}`, "null")}
	if call != "" {
		chunks = append(chunks, fmt.Appendf(nil, frame, `{"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"`+call+`","arguments":"{\"input\":\""}}]}`, "null"))
	}
	for i := len(chunks); i < 47; i++ {
		delta := fmt.Sprintf(`{"content":" word%d"}`, i)
		if call != "" {
			delta = fmt.Sprintf(`{"tool_calls":[{"index":0,"function":{"arguments":" word%d\\n"}}]}`, i)
		}
		chunks = append(chunks, fmt.Appendf(nil, frame, delta, "null"))
	}
	return append(chunks, fmt.Appendf(nil, frame, `{}`, `"stop"`),
		[]byte(`{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5.5-2026-04-24","choices":[],"usage":{"prompt_tokens":20,"completion_tokens":47,"total_tokens":67}}`),
		[]byte("[DONE]"))
}

// BenchmarkToChatStream converts 50 events; passing is what the relay does to them
// without a conversion, but for reading and writing: it looks at each and copies it.
func BenchmarkToChatStream(b *testing.B) {
	c, err := toChat(fuzzRequest)
	if err != nil {
		b.Fatal(err)
	}
	for _, bench := range []struct{ name, call string }{{"text", ""}, {"arguments", "run"}, {"custom", "patch"}} {
		chunks := fiftyChunks(bench.call)
		size := 0
		for _, chunk := range chunks {
			size += len(chunk)
		}
		for _, convert := range []bool{false, true} {
			name := bench.name + "/passing"
			if convert {
				name = bench.name + "/converting"
			}
			b.Run(name, func(b *testing.B) {
				var state openai.StreamState
				var out []byte
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for b.Loop() {
					state.Reset(openai.StreamChat, 1)
					s := c.Stream(mostKept)
					out = out[:0]
					for _, chunk := range chunks {
						if _, err := state.Inspect(sse.Event{Data: chunk}); err != nil {
							b.Fatal(err)
						}
						if !convert {
							out = append(append(append(out, "data: "...), chunk...), "\n\n"...)
							continue
						}
						if out, err = s.Event(out, nil, chunk); err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

// A piece of text costs no allocation once its item is open.
func TestToChatPieceAllocatesNothing(t *testing.T) {
	c, err := toChat(fuzzRequest)
	if err != nil {
		t.Fatal(err)
	}
	for _, call := range []string{"", "run"} {
		s := c.Stream(mostKept)
		chunks := fiftyChunks(call)
		out := make([]byte, 0, 1<<20)
		for _, chunk := range chunks[:45] {
			if out, err = s.Event(out, nil, chunk); err != nil {
				t.Fatal(err)
			}
		}
		// What is said grows a buffer now and then; nothing else may be allocated.
		n := testing.AllocsPerRun(100, func() { out, err = s.Event(out[:0], nil, chunks[44]) })
		if err != nil || n >= 1 {
			t.Errorf("%q: %v allocations, %v", call, n, err)
		}
	}
}

// codexRequest is a request as Codex CLI sends it amid its work: 40 tools with long
// descriptions and schemas, 29 KB of instructions, a conversation of some dozen items.
func codexRequest() string {
	const words = "Reads the file at the path that is given, and says \\\"nothing\\\" where there is none.\\n"
	var tools, items []string
	for i := range 40 {
		about := strings.Repeat(words, 8)
		schema := fmt.Sprintf(`{"type":"object","properties":{"path_%d":{"type":"string","description":"%s"},"lines":{"type":"array","items":{"type":"integer","minimum":1}},"mode":{"enum":["slice","indentation"]}},"required":["path_%d"],"additionalProperties":false}`, i, words, i)
		switch {
		case i == 0:
			tools = append(tools, `{"type":"custom","name":"apply_patch","description":"`+about+`","format":{"type":"grammar","syntax":"lark","definition":"start: begin hunk+ end\nbegin: \"*** Begin Patch\" LF\n"}}`)
		case i%8 == 0:
			tools = append(tools, fmt.Sprintf(`{"type":"namespace","name":"server_%d","description":"A server.","tools":[{"type":"function","name":"read","description":"%s","strict":false,"parameters":%s}]}`, i, about, schema))
		default:
			tools = append(tools, fmt.Sprintf(`{"type":"function","name":"tool_%d","description":"%s","strict":false,"parameters":%s}`, i, about, schema))
		}
	}
	items = append(items, `{"type":"message","role":"developer","content":[{"type":"input_text","text":"`+strings.Repeat(words, 10)+`"}]}`,
		`{"type":"message","role":"user","content":[{"type":"input_text","text":"`+strings.Repeat(words, 10)+`"}]}`)
	for i := range 12 {
		items = append(items,
			`{"type":"reasoning","summary":[{"type":"summary_text","text":"I look at it."}],"content":null,"encrypted_content":"`+strings.Repeat("gAAAAABo", 100)+`"}`,
			fmt.Sprintf(`{"type":"function_call","name":"tool_%d","arguments":"{\"path_%d\":\"a.go\"}","call_id":"call_%d"}`, i+1, i+1, i),
			fmt.Sprintf(`{"type":"function_call_output","call_id":"call_%d","output":"%s"}`, i, strings.Repeat("package main\\n\\tfunc main() {}\\n", 40)))
	}
	return `{"model":"m","instructions":"` + strings.Repeat(words, 29<<10/len(words)) + `","input":[` + strings.Join(items, ",") + `],"tools":[` + strings.Join(tools, ",") + `],"tool_choice":"auto","parallel_tool_calls":true,"reasoning":{"effort":"medium","summary":"auto"},"store":false,"stream":true,"include":["reasoning.encrypted_content"],"prompt_cache_key":"k","client_metadata":{"session":"s"}}`
}

// BenchmarkToChatRequest converts a request of Codex CLI's; passing is what the relay
// does to it without a conversion, but for reading and writing: it looks at all of it
// and copies it. The exchange is the request with a stream of 50 events, which repeats
// the request at its end.
func BenchmarkToChatRequest(b *testing.B) {
	body := []byte(codexRequest())
	chunks := fiftyChunks("")
	op := operation("responses")
	passes := func(b *testing.B, out []byte) []byte {
		r, err := openai.ReadJSON(op, body, nil)
		if err != nil {
			b.Fatal(err)
		}
		return append(out, r.Doc.Body...)
	}
	converts := func(b *testing.B) Conversion {
		r, err := openai.ReadJSON(op, body, nil)
		if err != nil {
			b.Fatal(err)
		}
		c, err := ToChat(r)
		if err != nil {
			b.Fatal(err)
		}
		return c
	}
	b.Run("request/passing", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			passes(b, make([]byte, 0, len(body)))
		}
	})
	b.Run("request/converting", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			converts(b)
		}
	})
	b.Run("exchange/passing", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			out := passes(b, make([]byte, 0, len(body)))
			var state openai.StreamState
			state.Reset(openai.StreamChat, 1)
			for _, chunk := range chunks {
				if _, err := state.Inspect(sse.Event{Data: chunk}); err != nil {
					b.Fatal(err)
				}
				out = append(append(append(out[:0], "data: "...), chunk...), "\n\n"...)
			}
		}
	})
	b.Run("exchange/converting", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			c := converts(b)
			if _, err := openai.ReadJSON(operation("chat.completions"), c.Body(), nil); err != nil {
				b.Fatal(err)
			}
			var state openai.StreamState
			state.Reset(openai.StreamChat, 1)
			s := c.Stream(mostKept)
			var out []byte
			for _, chunk := range chunks {
				if _, err := state.Inspect(sse.Event{Data: chunk}); err != nil {
					b.Fatal(err)
				}
				var err error
				if out, err = s.Event(out[:0], nil, chunk); err != nil {
					b.Fatal(err)
				}
			}
		}
	})
}
