package testkit

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
)

// onePixel is a picture as small as one can be.
const onePixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

// other is the body of the answers that are no streams and no texts; "" if the
// fake has no such path.
func other(r *Request, path string, reply *Reply) string {
	model := quote(reply.Model)
	post := r.Method == http.MethodPost
	switch {
	case path == "/models" && r.Method == http.MethodGet:
		return `{"object":"list","data":[{"id":"gpt-fake","object":"model","created":1780000000,"owned_by":"fake"},{"id":"gpt-fake-mini","object":"model","created":1780000000,"owned_by":"fake"}]}`
	case path == "/embeddings" && post:
		return `{"object":"list","data":[` + embedding(r) + `],"model":` + model + wholeUsage(reply, fmt.Sprintf(`{"prompt_tokens":%d,"total_tokens":%d}`, reply.Tokens.Input, reply.Tokens.Input)) + `}`
	case path == "/moderations" && post:
		return `{"id":"modr-fake","model":` + model + `,"results":[{"flagged":false,"categories":{"violence":false},"category_scores":{"violence":0.0001}}]}`
	case path == "/rerank" && post:
		return `{"id":"rerank-fake","model":` + model + `,"results":[{"index":1,"relevance_score":0.98},{"index":0,"relevance_score":0.12}]` + wholeUsage(reply, fmt.Sprintf(`{"total_tokens":%d}`, reply.Tokens.Input)) + `}`
	case strings.HasPrefix(path, "/images/") && post:
		return `{"created":1780000000,"data":[{"b64_json":"` + onePixel + `"}]` + wholeUsage(reply, responsesUsage(reply.Tokens)) + `}`
	case path == "/audio/transcriptions" && post, path == "/audio/translations" && post:
		return `{"text":` + quote(strings.Join(reply.Deltas, "")) + wholeUsage(reply, `{"type":"tokens",`+responsesUsage(reply.Tokens)[1:]) + `}`
	case path == "/responses/input_tokens" && post:
		return fmt.Sprintf(`{"object":"response.input_tokens","input_tokens":%d}`, reply.Tokens.Input)
	case path == "/responses/compact" && post:
		return `{"id":"resp_compact","object":"response.compaction","created_at":1780000000,"output":[{"type":"compaction","id":"cmp_fake","encrypted_content":"opaque"}]` + wholeUsage(reply, responsesUsage(reply.Tokens)) + `}`
	case strings.HasPrefix(path, "/responses/"):
		return object(r, path, reply)
	}
	return ""
}

func embedding(r *Request) string {
	if encoding, _ := r.JSON()["encoding_format"].(string); encoding == "base64" {
		floats := []byte{0, 0, 0, 63, 0, 0, 128, 62} // 0.5 and 0.25, little endian
		return `{"object":"embedding","index":0,"embedding":"` + base64.StdEncoding.EncodeToString(floats) + `"}`
	}
	return `{"object":"embedding","index":0,"embedding":[0.5,0.25]}`
}

// object answers what acts on a stored response.
func object(r *Request, path string, reply *Reply) string {
	id, rest, _ := strings.Cut(strings.TrimPrefix(path, "/responses/"), "/")
	switch {
	case rest == "" && r.Method == http.MethodGet, rest == "cancel" && r.Method == http.MethodPost:
		return strings.Replace(responsesWhole(r, reply), responseID, id, 1)
	case rest == "" && r.Method == http.MethodDelete:
		return `{"id":` + quote(id) + `,"object":"response","deleted":true}`
	case rest == "input_items" && r.Method == http.MethodGet:
		return `{"object":"list","data":[],"first_id":null,"last_id":null,"has_more":false}`
	}
	return ""
}

// speech is binary, without a length, in pieces.
func speech(r *Request, reply *Reply) *Answer {
	if format, _ := r.JSON()["stream_format"].(string); format == "sse" {
		return stream(reply, []string{
			data(`{"type":"speech.audio.delta","audio":"SUQzBAA="}`),
			data(`{"type":"speech.audio.done","usage":` + responsesUsage(reply.Tokens) + `}`),
		})
	}
	audio := make([]byte, 8<<10)
	for i := range audio {
		audio[i] = byte(i * 7)
	}
	return &Answer{
		Reply: *reply, Status: http.StatusOK, Header: answerHeader("audio/mpeg"),
		Chunks: [][]byte{audio[:1024], audio[1024:4096], audio[4096:]},
	}
}

func imageStream(reply *Reply) []string {
	return []string{
		event("image_generation.partial_image", `{"type":"image_generation.partial_image","partial_image_index":0,"b64_json":"`+onePixel+`"}`),
		event("image_generation.completed", `{"type":"image_generation.completed","b64_json":"`+onePixel+`","usage":`+responsesUsage(reply.Tokens)+`}`),
	}
}

func transcriptStream(reply *Reply) []string {
	var out []string
	for _, d := range reply.Deltas {
		out = append(out, data(`{"type":"transcript.text.delta","delta":`+quote(d)+`}`))
	}
	return append(out, data(`{"type":"transcript.text.done","text":`+quote(strings.Join(reply.Deltas, ""))+`,"usage":{"type":"tokens",`+responsesUsage(reply.Tokens)[1:]+`}`))
}
