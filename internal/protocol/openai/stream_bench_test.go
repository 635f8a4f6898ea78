package openai

import (
	"strconv"
	"strings"
	"testing"

	"realms/internal/sse"
)

const (
	chatDelta = `{"id":"chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG","object":"chat.completion.chunk","created":1741570283,"model":"gpt-5.5-2026-04-24","service_tier":"default","system_fingerprint":"fp_44709d6fcb","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"aBcD12"}`
	respDelta = `{"type":"response.output_text.delta","sequence_number":17,"item_id":"msg_67ccd2bf17f0819081ff3bb2cf6508e60bb6a6b452d3795b","output_index":0,"content_index":0,"delta":" word","logprobs":[],"obfuscation":"abcdefgh"}`
	argDelta  = `{"type":"response.function_call_arguments.delta","item_id":"fc_1","output_index":1,"delta":"{\"cmd\":","sequence_number":18}`
)

func deltaEvent(kind StreamKind) sse.Event {
	if kind == StreamChat {
		return sse.Event{Data: []byte(chatDelta)}
	}
	return sse.Event{Type: []byte("response.output_text.delta"), Data: []byte(respDelta)}
}

func TestInspectAllocatesNothing(t *testing.T) {
	events := map[StreamKind][]sse.Event{
		StreamChat:      {deltaEvent(StreamChat), {Data: []byte(`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]},"finish_reason":null}]}`)}},
		StreamResponses: {deltaEvent(StreamResponses), {Data: []byte(argDelta)}, {Comment: true}},
	}
	for kind, list := range events {
		var s StreamState
		s.Reset(kind, 1)
		run := func() {
			for _, ev := range list {
				if _, err := s.Inspect(ev); err != nil {
					t.Fatal(err)
				}
			}
		}
		run()
		if n := testing.AllocsPerRun(100, run); n != 0 {
			t.Errorf("kind %d: %v allocations", kind, n)
		}
	}
}

func BenchmarkInspect(b *testing.B) {
	tool := `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a"}}]},"finish_reason":null}]}`
	for name, bench := range map[string]struct {
		kind StreamKind
		data string
	}{
		"chat_delta": {StreamChat, chatDelta}, "responses_delta": {StreamResponses, respDelta}, "chat_tool_delta": {StreamChat, tool},
	} {
		b.Run(name, func(b *testing.B) {
			// Text, number and padding differ from one event to the next, as they do in life.
			var events []sse.Event
			for i := range 64 {
				r := strings.NewReplacer(" word", strings.Repeat("w", 1+i%9), "_number\":17", "_number\":"+strconv.Itoa(i), `{\"a`, strings.Repeat("a", 1+i%9), "aBcD12", strings.Repeat("x", i%16))
				events = append(events, sse.Event{Data: []byte(r.Replace(bench.data))})
			}
			var s StreamState
			s.Reset(bench.kind, 1)
			b.SetBytes(int64(len(bench.data)))
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, err := s.Inspect(events[i%len(events)]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("chat_delta_parsed", func(b *testing.B) { // what it costs without the mold
		ev := deltaEvent(StreamChat)
		var s StreamState
		s.Reset(StreamChat, 1)
		b.ReportAllocs()
		for b.Loop() {
			s.mold.n, s.mold.casts = 0, maxCasts
			if _, err := s.Inspect(ev); err != nil {
				b.Fatal(err)
			}
		}
	})
}
