package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

// answer is what the scripted upstream sends: a whole body, or a stream's
// events, each of them flushed by itself.
type answer struct {
	status int
	header http.Header
	chunks [][]byte
}

// The models whose answer is an error. The upstream's own status is in the name.
const (
	modelGood        = "gpt-5.5"
	modelEmbedding   = "text-embedding-3-small"
	modelBadRequest  = "upstream-400"
	modelUnreachable = "upstream-500"
	modelLimited     = "upstream-429" // with a Retry-After too long to wait for
	modelUnknown     = "no-such-model"
)

// servedModels are those that the upstream's channel offers.
var servedModels = []string{modelGood, modelEmbedding, modelBadRequest, modelUnreachable, modelLimited}

// What the good model says.
const (
	saidChat      = "Hello from the upstream."
	saidResponses = "Hello from a response."
	saidAfterTool = "The file is there."
)

// askForTool, anywhere in the input, makes the good model call a shell tool:
// what follows it, up to a quotation mark, is the command.
const askForTool = "RUN THIS COMMAND: "

// reply is the scripted upstream: a pure function of the request.
func reply(path string, body []byte) answer {
	var q struct {
		Model  string
		Stream bool
	}
	if err := json.Unmarshal(body, &q); err != nil {
		return failure(http.StatusBadRequest, "invalid_request_error", "", "the body is not JSON")
	}
	switch q.Model {
	case modelBadRequest:
		return failure(http.StatusBadRequest, "invalid_request_error", "unsupported_value", "temperature must be 1")
	case modelUnreachable:
		return failure(http.StatusInternalServerError, "server_error", "", "the upstream is on fire")
	case modelLimited:
		a := failure(http.StatusTooManyRequests, "rate_limit_error", "rate_limit_exceeded", "slow down")
		a.header.Set("Retry-After", "300")
		return a
	}
	switch {
	case strings.HasSuffix(path, "/chat/completions") && q.Stream:
		return events(chatEvents()...)
	case strings.HasSuffix(path, "/chat/completions"):
		return whole(fmt.Sprintf(`{"id":"chatcmpl-1","object":"chat.completion","created":1790000000,"model":%q,"choices":[{"index":0,"message":{"role":"assistant","content":%q,"refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16,"prompt_tokens_details":{"cached_tokens":3}}}`, q.Model, saidChat))
	case strings.HasSuffix(path, "/embeddings"):
		// AACAPwAAAMA= is [1, -2] as little-endian float32: the SDK for Node asks for base64.
		if bytes.Contains(body, []byte(`"base64"`)) {
			return whole(`{"object":"list","model":"text-embedding-3-small","data":[{"object":"embedding","index":0,"embedding":"AACAPwAAAMA="}],"usage":{"prompt_tokens":2,"total_tokens":2}}`)
		}
		return whole(`{"object":"list","model":"text-embedding-3-small","data":[{"object":"embedding","index":0,"embedding":[1,-2]}],"usage":{"prompt_tokens":2,"total_tokens":2}}`)
	case strings.HasSuffix(path, "/responses") && q.Stream:
		return events(responseEvents(body)...)
	case strings.HasSuffix(path, "/responses"):
		return whole(response("completed", message(saidResponses)))
	}
	return failure(http.StatusNotFound, "invalid_request_error", "", "no such path: "+path)
}

func whole(body string) answer {
	return answer{http.StatusOK, http.Header{"Content-Type": {"application/json"}}, [][]byte{[]byte(body)}}
}

func failure(status int, kind, code, text string) answer {
	body := fmt.Sprintf(`{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, text, kind, code)
	if code == "" {
		body = strings.Replace(body, `"code":""`, `"code":null`, 1)
	}
	return answer{status, http.Header{"Content-Type": {"application/json"}}, [][]byte{[]byte(body)}}
}

func events(list ...string) answer {
	a := answer{status: http.StatusOK, header: http.Header{"Content-Type": {"text/event-stream"}}}
	for _, e := range list {
		a.chunks = append(a.chunks, []byte(e))
	}
	return a
}

func chatEvents() []string {
	const head = `data: {"id":"chatcmpl-2","object":"chat.completion.chunk","created":1790000000,"model":"gpt-5.5","choices":[`
	list := []string{head + `{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}` + "\n\n"}
	for _, word := range strings.SplitAfter(saidChat, " ") {
		list = append(list, head+fmt.Sprintf(`{"index":0,"delta":{"content":%q},"finish_reason":null}],"usage":null}`, word)+"\n\n")
	}
	return append(list,
		head+`{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`+"\n\n",
		head+`],"usage":{"prompt_tokens":11,"completion_tokens":5,"total_tokens":16}}`+"\n\n",
		"data: [DONE]\n\n")
}

// responseEvents streams a message, or the call of a shell tool where the input
// asks for one and does not hold its result yet.
func responseEvents(body []byte) []string {
	if _, after, ok := bytes.Cut(body, []byte(askForTool)); ok {
		if !bytes.Contains(body, []byte("function_call_output")) {
			command, _, _ := bytes.Cut(after, []byte(`"`))
			return streamed(call(string(command)), "")
		}
		return streamed(message(saidAfterTool), saidAfterTool)
	}
	return streamed(message(saidResponses), saidResponses)
}

// streamed is a whole response as events; text is its output text, if any.
func streamed(item, text string) []string {
	n := 0
	event := func(kind, fields string) string {
		n++
		return fmt.Sprintf("event: %s\ndata: {\"type\":%q,\"sequence_number\":%d,%s}\n\n", kind, kind, n-1, fields)
	}
	list := []string{
		event("response.created", `"response":`+response("in_progress", "")),
		event("response.in_progress", `"response":`+response("in_progress", "")),
		event("response.output_item.added", `"output_index":0,"item":`+strings.Replace(item, `"completed"`, `"in_progress"`, 1)),
	}
	if text != "" {
		for _, word := range strings.SplitAfter(text, " ") {
			list = append(list, event("response.output_text.delta", fmt.Sprintf(`"item_id":"msg_1","output_index":0,"content_index":0,"delta":%q,"logprobs":[]`, word)))
		}
		list = append(list, event("response.output_text.done", fmt.Sprintf(`"item_id":"msg_1","output_index":0,"content_index":0,"text":%q,"logprobs":[]`, text)))
	}
	return append(list,
		event("response.output_item.done", `"output_index":0,"item":`+item),
		event("response.completed", `"response":`+response("completed", item)))
}

func response(status, item string) string {
	usage := "null"
	if status == "completed" {
		usage = `{"input_tokens":20,"input_tokens_details":{"cached_tokens":4},"output_tokens":7,"output_tokens_details":{"reasoning_tokens":2},"total_tokens":27}`
	}
	return fmt.Sprintf(`{"id":"resp_1","object":"response","created_at":1790000000,"status":%q,"error":null,"incomplete_details":null,"instructions":null,"model":"gpt-5.5","output":[%s],"parallel_tool_calls":true,"tool_choice":"auto","tools":[],"usage":%s}`, status, item, usage)
}

func message(text string) string {
	return fmt.Sprintf(`{"id":"msg_1","type":"message","status":"completed","role":"assistant","content":[{"type":"output_text","text":%q,"annotations":[],"logprobs":[]}]}`, text)
}

// call is Codex's shell tool, as it declares it for this model.
func call(command string) string {
	arguments := fmt.Sprintf(`{"cmd":%q}`, command)
	return fmt.Sprintf(`{"id":"fc_1","type":"function_call","status":"completed","call_id":"call_1","name":"exec_command","arguments":%q}`, arguments)
}
