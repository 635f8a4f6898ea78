package openai

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
)

func readUsage(raw string) (realm.Usage, bool) {
	var u usageState
	u.reset()
	u.take([]byte(raw))
	return u.usage, u.suspect
}

func TestUsageShapes(t *testing.T) {
	up := func(input, cached, write, output, reasoning int64) realm.Usage {
		return realm.Usage{Input: input, Cached: cached, CacheWrite: write, Output: output, Reasoning: reasoning, Source: realm.UsageUpstream}
	}
	tests := []struct {
		name, raw string
		want      realm.Usage
	}{
		{"chat", `{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":7,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":4,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`, up(19, 7, 0, 10, 4)},
		{"responses", `{"input_tokens":36,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":6},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":80},"total_tokens":123}`, up(36, 30, 6, 87, 80)},
		{"embeddings", `{"prompt_tokens":8,"total_tokens":8}`, up(8, 0, 0, 0, 0)},
		{"images", `{"total_tokens":100,"input_tokens":50,"output_tokens":50,"input_tokens_details":{"text_tokens":10,"image_tokens":40}}`, up(50, 0, 0, 50, 0)},
		{"transcription", `{"type":"tokens","input_tokens":14,"input_token_details":{"text_tokens":0,"audio_tokens":14},"output_tokens":45,"total_tokens":59}`, up(14, 0, 0, 45, 0)},
		{"seconds of audio", `{"type":"duration","seconds":9}`, unknownUsage},
		{"rerank", `{"total_tokens":15}`, up(15, 0, 0, 0, 0)},
		{"output from the total", `{"prompt_tokens":5,"total_tokens":9}`, up(5, 0, 0, 4, 0)},
		{"input from the total", `{"completion_tokens":5,"total_tokens":9}`, up(4, 0, 0, 5, 0)},
		{"null details", `{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":null,"completion_tokens_details":null}`, up(5, 0, 0, 1, 0)},
		{"null detail", `{"prompt_tokens":5,"completion_tokens":1,"prompt_tokens_details":{"cached_tokens":null}}`, up(5, 0, 0, 1, 0)},
		{"DeepSeek's cache", `{"prompt_tokens":5,"completion_tokens":1,"prompt_cache_hit_tokens":3,"prompt_cache_miss_tokens":2}`, up(5, 3, 0, 1, 0)},
		{"Moonshot's cache", `{"prompt_tokens":5,"completion_tokens":1,"cached_tokens":3}`, up(5, 3, 0, 1, 0)},
		{"Anthropic's cache", `{"prompt_tokens":9,"completion_tokens":1,"cache_read_input_tokens":3,"cache_creation_input_tokens":4}`, up(9, 3, 4, 1, 0)},
		{"reasoning counted beside the output", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40,"completion_tokens_details":{"reasoning_tokens":25}}`, up(10, 0, 0, 30, 25)},
		{"a total that does not add up", `{"prompt_tokens":10,"completion_tokens":5,"total_tokens":99}`, up(10, 0, 0, 5, 0)},
		{"zeros", `{"prompt_tokens":0,"completion_tokens":0,"total_tokens":0}`, up(0, 0, 0, 0, 0)},
		{"the largest", `{"prompt_tokens":9007199254740992,"completion_tokens":9007199254740992}`, up(1<<53, 0, 0, 1<<53, 0)},
		{"null", `null`, unknownUsage},
		{"nothing in it", `{}`, unknownUsage},
		{"no object", `5`, unknownUsage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, suspect := readUsage(tt.raw)
			if diff := cmp.Diff(tt.want, got); diff != "" || suspect {
				t.Errorf("suspect %v (-want +got):\n%s", suspect, diff)
			}
		})
	}
}

// TestHostileUsage: no number that cannot be a count of tokens is ever taken,
// wherever it stands, and nothing wraps.
func TestHostileUsage(t *testing.T) {
	numbers := []string{
		`-1`, `-0.5`, `9007199254740993`, `9223372036854775807`, `9223372036854775808`, `18446744073709551615`, `18446744073686646784`,
		`-9223372036854775808`, `1e400`, `1e3`, `1.5`, `5.0`, `"5"`, `"NaN"`, `true`, `[]`, `{}`, `[5]`, `{"value":5}`,
	}
	places := []string{
		`{"prompt_tokens":%,"completion_tokens":5,"total_tokens":10}`,
		`{"prompt_tokens":5,"completion_tokens":%,"total_tokens":10}`,
		`{"prompt_tokens":5,"completion_tokens":5,"total_tokens":%}`,
		`{"input_tokens":%,"output_tokens":5}`,
		`{"input_tokens":5,"output_tokens":%}`,
		`{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":%}}`,
		`{"input_tokens":5,"output_tokens":5,"output_tokens_details":{"reasoning_tokens":%}}`,
		`{"prompt_tokens":5,"completion_tokens":5,"prompt_cache_hit_tokens":%}`,
	}
	whole := []string{
		`{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":6}}`,
		`{"prompt_tokens":5,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":3,"cache_write_tokens":3}}`,
		`{"prompt_tokens":5,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":6}}`,
		`{"prompt_tokens":5,"prompt_tokens":50,"completion_tokens":5}`,
		`{"completion_tokens":5}`,
		`{"completion_tokens":5,"total_tokens":3}`,
		`{"prompt_tokens":null,"completion_tokens":5}`,
	}
	for _, template := range places {
		for _, n := range numbers {
			whole = append(whole, strings.Replace(template, "%", n, 1))
		}
	}
	for _, raw := range whole {
		if got, suspect := readUsage(raw); !suspect || got != unknownUsage {
			t.Errorf("%s: suspect %v, usage %+v", raw, suspect, got)
		}
	}
}

// TestLastValidUsageWins also when a suspect one follows.
func TestLastValidUsageWins(t *testing.T) {
	var u usageState
	u.reset()
	for _, raw := range []string{
		`{"prompt_tokens":1,"completion_tokens":1}`, `{"prompt_tokens":2,"completion_tokens":2}`, `null`, `{"prompt_tokens":-3,"completion_tokens":3}`,
	} {
		u.take([]byte(raw))
	}
	if u.usage.Input != 2 || !u.suspect {
		t.Errorf("usage %+v, suspect %v", u.usage, u.suspect)
	}
}

func TestTailUsage(t *testing.T) {
	for tail, want := range map[string]int64{
		`AAAA=="}],"usage":{"prompt_tokens":8,"total_tokens":8}}`:                       8,
		"AAAA==\"}],\n \"usage\" : {\"input_tokens\":50,\"output_tokens\":1}, \"x\":1}": 50,
		`{"usage":{"prompt_tokens":1,"total_tokens":1}},"usage":{"prompt_tokens":2}}`:   2,
		`"usage":{"prompt_tokens":8,"total`:                                             -1,
		`no \"usage\":{\"prompt_tokens\":8}`:                                            -1,
		`"usage"`:                                                                       -1,
		`"usage":`:                                                                      -1,
		``:                                                                              -1,
	} {
		if got := TailUsage([]byte(tail)); got.Input != want {
			t.Errorf("TailUsage(%s) = %+v, want %d", tail, got, want)
		}
	}
}

// FuzzUsage: whatever stands there, what is taken is possible.
func FuzzUsage(f *testing.F) {
	f.Add([]byte(`{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29,"prompt_tokens_details":{"cached_tokens":7}}`))
	f.Add([]byte(`{"input_tokens":36,"input_tokens_details":{"cached_tokens":30,"cache_write_tokens":6},"output_tokens":87,"output_tokens_details":{"reasoning_tokens":80},"total_tokens":203}`))
	f.Add([]byte(`{"prompt_tokens":9223372036854775807,"total_tokens":-1,"completion_tokens":1e400}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		u, suspect := readUsage(string(raw))
		switch {
		case u == unknownUsage:
		case u.Source != realm.UsageUpstream, u.Input < 0, u.Output < 0, u.Cached < 0, u.CacheWrite < 0, u.Reasoning < 0,
			u.Cached+u.CacheWrite > u.Input, u.Reasoning > u.Output, u.Input > maxCount, u.Output > 2*maxCount, suspect:
			t.Fatalf("%q gives %+v, suspect %v", raw, u, suspect)
		}
		TailUsage(raw)
	})
}
