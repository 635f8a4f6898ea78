package testkit

import (
	"bytes"
	"fmt"
	"strings"
)

const (
	responseID = "resp_fake"
	messageID  = "msg_fake"
	callID     = "fc_fake"
)

func responsesUsage(t Tokens) string {
	return fmt.Sprintf(`{"input_tokens":%d,"input_tokens_details":{"cached_tokens":%d,"cache_write_tokens":0},"output_tokens":%d,"output_tokens_details":{"reasoning_tokens":%d},"total_tokens":%d}`,
		t.Input, t.Cached, t.Output, t.Reasoning, t.Input+t.Output)
}

// responseObject is the response as it stands at one moment.
func responseObject(reply *Reply, status, output, usage string) string {
	return fmt.Sprintf(`{"id":%q,"object":"response","created_at":1780000000,"status":%q,"background":false,"error":null,"incomplete_details":null,"instructions":null,"max_output_tokens":null,"model":%s,"output":[%s],"parallel_tool_calls":true,"previous_response_id":null,"reasoning":{"effort":"medium","summary":null},"service_tier":"default","store":false,"temperature":1.0,"text":{"format":{"type":"text"},"verbosity":"medium"},"tool_choice":"auto","tools":[],"top_p":1.0,"truncation":"disabled","usage":%s,"user":null,"metadata":{}}`,
		responseID, status, quote(reply.Model), output, usage)
}

func messageItem(status, content string) string {
	return fmt.Sprintf(`{"id":%q,"type":"message","status":%q,"content":[%s],"role":"assistant"}`, messageID, status, content)
}

func textPart(text string) string {
	return `{"type":"output_text","annotations":[],"logprobs":[],"text":` + quote(text) + `}`
}

func callItem(c *Call, status, arguments string) string {
	return fmt.Sprintf(`{"id":%q,"type":"function_call","status":%q,"arguments":%s,"call_id":"call_fake","name":%s}`,
		callID, status, quote(arguments), quote(c.Name))
}

// output is the item that an answer is made of, completed.
func output(reply *Reply) string {
	if reply.Call != nil {
		return callItem(reply.Call, "completed", reply.Call.Arguments)
	}
	return messageItem("completed", textPart(strings.Join(reply.Deltas, "")))
}

func finalUsage(reply *Reply) string {
	switch reply.Usage {
	case UsageNone:
		return "null"
	case UsageImpossible:
		return impossibleUsage
	default:
		return responsesUsage(reply.Tokens)
	}
}

func responsesWhole(_ *Request, reply *Reply) string {
	return responseObject(reply, "completed", output(reply), finalUsage(reply))
}

// responsesStream is what Codex CLI and the SDKs expect, event for event.
func responsesStream(_ *Request, reply *Reply) []string {
	s := &sequence{}
	early := "null"
	if reply.Usage == UsageTwice {
		early = responsesUsage(Tokens{Input: reply.Tokens.Input, Output: reply.Tokens.Output / 2})
	}
	s.add("response.created", `"response":`+responseObject(reply, "in_progress", "", "null"))
	s.add("response.in_progress", `"response":`+responseObject(reply, "in_progress", "", early))
	if reply.Call != nil {
		s.call(reply.Call)
	} else {
		s.message(reply.Deltas)
	}
	s.add("response.completed", `"response":`+responseObject(reply, "completed", output(reply), finalUsage(reply)))
	if reply.Usage == UsageAfterDone {
		s.add("response.completed", `"response":`+responseObject(reply, "completed", output(reply), responsesUsage(Tokens{Input: 1_000_000, Output: 1_000_000})))
	}
	return s.events
}

// sequence numbers the events of a stream.
type sequence struct{ events []string }

func (s *sequence) add(kind, fields string) {
	s.events = append(s.events, event(kind, fmt.Sprintf(`{"type":%q,"sequence_number":%d,%s}`, kind, len(s.events), fields)))
}

func (s *sequence) message(deltas []string) {
	at := fmt.Sprintf(`"item_id":%q,"output_index":0,"content_index":0,`, messageID)
	text := strings.Join(deltas, "")
	s.add("response.output_item.added", `"output_index":0,"item":`+messageItem("in_progress", ""))
	s.add("response.content_part.added", at+`"part":`+textPart(""))
	for _, d := range deltas {
		s.add("response.output_text.delta", at+`"delta":`+quote(d)+`,"logprobs":[],"obfuscation":"x"`)
	}
	s.add("response.output_text.done", at+`"text":`+quote(text)+`,"logprobs":[]`)
	s.add("response.content_part.done", at+`"part":`+textPart(text))
	s.add("response.output_item.done", `"output_index":0,"item":`+messageItem("completed", textPart(text)))
}

func (s *sequence) call(c *Call) {
	at := fmt.Sprintf(`"item_id":%q,"output_index":0,`, callID)
	half := len(c.Arguments) / 2
	s.add("response.output_item.added", `"output_index":0,"item":`+callItem(c, "in_progress", ""))
	s.add("response.function_call_arguments.delta", at+`"delta":`+quote(c.Arguments[:half]))
	s.add("response.function_call_arguments.delta", at+`"delta":`+quote(c.Arguments[half:]))
	s.add("response.function_call_arguments.done", at+`"arguments":`+quote(c.Arguments))
	s.add("response.output_item.done", `"output_index":0,"item":`+callItem(c, "completed", c.Arguments))
}

// RunCommand plays an agent's turn: as long as the request brings no output of a
// tool, it answers with a call of the shell tool that the request offers; then
// with the text. It knows the shell tools of Codex CLI.
func RunCommand(command string) Fault {
	return func(r *Request, a *Answer) {
		if bytes.Contains(r.Body, []byte(`"function_call_output"`)) || bytes.Contains(r.Body, []byte(`"role":"tool"`)) {
			return
		}
		call := &Call{Name: "exec_command", Arguments: `{"cmd":` + quote(command) + `}`}
		if !bytes.Contains(r.Body, []byte(`"exec_command"`)) {
			call = &Call{Name: "shell", Arguments: `{"command":["bash","-lc",` + quote(command) + `]}`}
		}
		reply := a.Reply
		reply.Call = call
		With(reply)(r, a)
	}
}

// FailedEvent is a responses stream that fails as its first event after
// response.created.
func FailedEvent(code, message string) Fault {
	return func(r *Request, a *Answer) {
		s := &sequence{}
		s.add("response.created", `"response":`+responseObject(&a.Reply, "in_progress", "", "null"))
		failed := strings.Replace(responseObject(&a.Reply, "failed", "", "null"), `"error":null`,
			`"error":{"code":`+quote(code)+`,"message":`+quote(message)+`}`, 1)
		s.add("response.failed", `"response":`+failed)
		a.Chunks = nil
		for _, e := range s.events {
			a.Chunks = append(a.Chunks, []byte(e))
		}
	}
}
