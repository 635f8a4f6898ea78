package demo

import (
	"encoding/json"
	"net/http"
	"strings"
)

type responsesRequest struct {
	Model        string
	Instructions string
	Input        input
	Stream       bool
}

// input is a text, or a list of items of which some are messages.
type input []message

// UnmarshalJSON reads both shapes; an item that is no message has no words.
func (in *input) UnmarshalJSON(b []byte) error {
	var text string
	if json.Unmarshal(b, &text) == nil {
		*in = input{{Role: "user", Content: content(text)}}
		return nil
	}
	return json.Unmarshal(b, (*[]message)(in))
}

func (h *handler) responses(w http.ResponseWriter, r *http.Request) {
	var req responsesRequest
	if !read(w, r, &req) || unknownModel(w, req.Model) {
		return
	}
	a := responsesAnswer{
		id:     "resp_" + identifier(),
		item:   "msg_" + identifier(),
		at:     h.now().Unix(),
		pieces: reply(lastWords(req.Input)),
		input:  total(req.Input) + tokens(req.Instructions),
	}
	if !req.Stream {
		answer(w, a.response("completed"))
		return
	}
	h.streamResponses(r, newStream(w), a)
}

// streamResponses sends the events in the order in which clients expect them.
func (h *handler) streamResponses(r *http.Request, s *stream, a responsesAnswer) {
	sequence := 0
	send := func(name string, fields object) {
		fields["type"], fields["sequence_number"] = name, sequence
		sequence++
		s.send(name, fields)
	}
	at := func(fields object) object {
		fields["item_id"], fields["output_index"], fields["content_index"] = a.item, 0, 0
		return fields
	}
	send("response.created", object{"response": a.response("in_progress")})
	send("response.in_progress", object{"response": a.response("in_progress")})
	send("response.output_item.added", object{"output_index": 0, "item": a.message("in_progress")})
	send("response.content_part.added", at(object{"part": part("")}))
	for _, piece := range a.pieces {
		if !h.wait(r.Context()) {
			return
		}
		send("response.output_text.delta", at(object{"delta": piece, "logprobs": []any{}}))
	}
	send("response.output_text.done", at(object{"text": a.text(), "logprobs": []any{}}))
	send("response.content_part.done", at(object{"part": part(a.text())}))
	send("response.output_item.done", object{"output_index": 0, "item": a.message("completed")})
	send("response.completed", object{"response": a.response("completed")})
}

type responsesAnswer struct {
	id, item string
	at       int64
	pieces   []string
	input    int // tokens
}

func (a responsesAnswer) text() string { return strings.Join(a.pieces, "") }

func part(text string) object {
	return object{"type": "output_text", "text": text, "annotations": []any{}, "logprobs": []any{}}
}

func (a responsesAnswer) message(status string) object {
	parts := []object{}
	if status == "completed" {
		parts = append(parts, part(a.text()))
	}
	return object{"id": a.item, "type": "message", "role": "assistant", "status": status, "content": parts}
}

func (a responsesAnswer) response(status string) object {
	out := object{
		"id": a.id, "object": "response", "created_at": a.at, "status": status, "model": Model,
		"output": []object{}, "error": nil, "incomplete_details": nil, "instructions": nil,
		"metadata": object{}, "parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{},
		"temperature": 1, "top_p": 1, "usage": nil,
	}
	if status == "completed" {
		n := tokens(a.text())
		out["output"] = []object{a.message(status)}
		out["usage"] = object{
			"input_tokens": a.input, "input_tokens_details": object{"cached_tokens": 0},
			"output_tokens": n, "output_tokens_details": object{"reasoning_tokens": 0},
			"total_tokens": a.input + n,
		}
	}
	return out
}
