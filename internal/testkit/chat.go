package testkit

import (
	"fmt"
	"strings"
)

const chatID = "chatcmpl-fake"

func chatUsage(t Tokens) string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":%d,"total_tokens":%d,"prompt_tokens_details":{"cached_tokens":%d,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":%d,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`,
		t.Input, t.Output, t.Input+t.Output, t.Cached, t.Reasoning)
}

// chatChunk is one chunk; usage "" leaves the field out.
func chatChunk(reply *Reply, choices, usage string) string {
	if usage != "" {
		usage = `,"usage":` + usage
	}
	return data(fmt.Sprintf(`{"id":%q,"object":"chat.completion.chunk","created":1780000000,"model":%s,"service_tier":"default","system_fingerprint":"fp_fake","choices":[%s]%s}`,
		chatID, quote(reply.Model), choices, usage))
}

func chatDelta(delta, finish string) string {
	return `{"index":0,"delta":` + delta + `,"logprobs":null,"finish_reason":` + finish + `}`
}

func chatStream(r *Request, reply *Reply) []string {
	null := ""
	if r.IncludeUsage {
		null = "null"
	}
	out := []string{chatChunk(reply, chatDelta(`{"role":"assistant","content":"","refusal":null}`, "null"), null)}
	finish := `"stop"`
	if reply.Call != nil {
		finish = `"tool_calls"`
		out = append(out, chatCall(reply, null)...)
	} else {
		for _, d := range reply.Deltas {
			out = append(out, chatChunk(reply, chatDelta(`{"content":`+quote(d)+`}`, "null"), null))
		}
	}
	return append(out, chatEnd(r, reply, finish, null)...)
}

// chatCall streams a tool call in two pieces of arguments.
func chatCall(reply *Reply, null string) []string {
	half := len(reply.Call.Arguments) / 2
	piece := func(s string) string {
		return chatChunk(reply, chatDelta(`{"tool_calls":[{"index":0,"function":{"arguments":`+quote(s)+`}}]}`, "null"), null)
	}
	head := fmt.Sprintf(`{"tool_calls":[{"index":0,"id":"call_fake","type":"function","function":{"name":%s,"arguments":""}}]}`, quote(reply.Call.Name))
	return []string{
		chatChunk(reply, chatDelta(head, "null"), null),
		piece(reply.Call.Arguments[:half]), piece(reply.Call.Arguments[half:]),
	}
}

func chatEnd(r *Request, reply *Reply, finish, null string) []string {
	usage := chatUsage(reply.Tokens)
	last := chatChunk(reply, "", usage)
	stop := chatChunk(reply, chatDelta("{}", finish), null)
	done := "data: [DONE]\n\n"
	half := Tokens{Input: reply.Tokens.Input, Output: reply.Tokens.Output / 2}
	switch {
	case reply.Usage == UsageAfterDone:
		return []string{stop, last, done, chatChunk(reply, "", chatUsage(Tokens{Input: 1_000_000, Output: 1_000_000}))}
	case reply.Usage == UsageWithFinish:
		return []string{chatChunk(reply, chatDelta("{}", finish), usage), done}
	case !r.IncludeUsage || reply.Usage == UsageNone:
		return []string{stop, done}
	case reply.Usage == UsageTwice:
		return []string{stop, chatChunk(reply, "", chatUsage(half)), last, done}
	case reply.Usage == UsageImpossible:
		return []string{stop, chatChunk(reply, "", impossibleUsage), done}
	}
	return []string{stop, last, done}
}

// impossibleUsage cannot be true, under chat's names and under those of responses.
const impossibleUsage = `{"prompt_tokens":-5,"completion_tokens":-1,"total_tokens":3,"input_tokens":-5,"output_tokens":-1}`

func chatWhole(_ *Request, reply *Reply) string {
	message := `{"role":"assistant","content":` + quote(strings.Join(reply.Deltas, "")) + `,"refusal":null,"annotations":[]}`
	finish := "stop"
	if reply.Call != nil {
		finish = "tool_calls"
		message = fmt.Sprintf(`{"role":"assistant","content":null,"tool_calls":[{"id":"call_fake","type":"function","function":{"name":%s,"arguments":%s}}]}`,
			quote(reply.Call.Name), quote(reply.Call.Arguments))
	}
	return fmt.Sprintf(`{"id":%q,"object":"chat.completion","created":1780000000,"model":%s,"choices":[{"index":0,"message":%s,"logprobs":null,"finish_reason":%q}]%s,"service_tier":"default","system_fingerprint":"fp_fake"}`,
		chatID, quote(reply.Model), message, finish, wholeUsage(reply, chatUsage(reply.Tokens)))
}

// wholeUsage is the usage field of a whole answer, with the comma before it.
func wholeUsage(reply *Reply, usage string) string {
	switch reply.Usage {
	case UsageNone:
		return ""
	case UsageImpossible:
		return `,"usage":` + impossibleUsage
	default:
		return `,"usage":` + usage
	}
}

func completionStream(r *Request, reply *Reply) []string {
	chunk := func(choices, usage string) string {
		return data(fmt.Sprintf(`{"id":"cmpl-fake","object":"text_completion","created":1780000000,"model":%s,"choices":[%s]%s}`, quote(reply.Model), choices, usage))
	}
	var out []string
	for _, d := range reply.Deltas {
		out = append(out, chunk(`{"index":0,"text":`+quote(d)+`,"logprobs":null,"finish_reason":null}`, ""))
	}
	out = append(out, chunk(`{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}`, ""))
	if r.IncludeUsage && reply.Usage != UsageNone {
		out = append(out, chunk("", `,"usage":`+chatUsage(reply.Tokens)))
	}
	return append(out, "data: [DONE]\n\n")
}

func completionWhole(_ *Request, reply *Reply) string {
	return fmt.Sprintf(`{"id":"cmpl-fake","object":"text_completion","created":1780000000,"model":%s,"choices":[{"index":0,"text":%s,"logprobs":null,"finish_reason":"stop"}]%s}`,
		quote(reply.Model), quote(strings.Join(reply.Deltas, "")), wholeUsage(reply, chatUsage(reply.Tokens)))
}
