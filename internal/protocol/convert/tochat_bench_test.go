package convert

import (
	"fmt"
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
					s := c.Stream()
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
		s := c.Stream()
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
