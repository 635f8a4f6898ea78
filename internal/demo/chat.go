package demo

import (
	"crypto/rand"
	"encoding/hex"
	"net/http"
	"strings"
)

type chatRequest struct {
	Model         string
	Messages      []message
	Stream        bool
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
}

func (h *handler) chat(w http.ResponseWriter, r *http.Request) {
	var req chatRequest
	if !read(w, r, &req) || unknownModel(w, req.Model) {
		return
	}
	pieces := reply(lastWords(req.Messages))
	text := strings.Join(pieces, "")
	in, out := total(req.Messages), tokens(text)
	usage := object{"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out}
	head := object{"id": "chatcmpl-" + identifier(), "created": h.now().Unix(), "model": Model}
	if req.Stream {
		h.streamChat(r, newStream(w), head, pieces, req.StreamOptions.IncludeUsage, usage)
		return
	}
	head["object"], head["usage"] = "chat.completion", usage
	head["choices"] = []object{{
		"index": 0, "finish_reason": "stop", "logprobs": nil,
		"message": object{"role": "assistant", "content": text, "refusal": nil},
	}}
	answer(w, head)
}

func (h *handler) streamChat(r *http.Request, s *stream, head object, pieces []string, includeUsage bool, usage object) {
	head["object"] = "chat.completion.chunk"
	if includeUsage {
		head["usage"] = nil
	}
	send := func(delta object, finish any) {
		head["choices"] = []object{{"index": 0, "delta": delta, "finish_reason": finish}}
		s.send("", head)
	}
	send(object{"role": "assistant", "content": ""}, nil)
	for _, piece := range pieces {
		if !h.wait(r.Context()) {
			return
		}
		send(object{"content": piece}, nil)
	}
	send(object{}, "stop")
	if includeUsage {
		head["choices"], head["usage"] = []object{}, usage
		s.send("", head)
	}
	s.send("", "[DONE]")
}

func identifier() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // crypto/rand.Read never fails since Go 1.24
	return hex.EncodeToString(b[:])
}
