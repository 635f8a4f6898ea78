package demo

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"hash/fnv"
	"math"
	"net/http"
)

// defaultDimensions is a vector's length unless the request names one.
const defaultDimensions = 256

type embeddingsRequest struct {
	Model          string
	Input          texts
	Dimensions     int
	EncodingFormat string `json:"encoding_format"`
}

// texts is one text, several, or anything else as the text of its JSON.
type texts []string

// UnmarshalJSON reads every shape of the field: lists of token numbers too.
func (t *texts) UnmarshalJSON(b []byte) error {
	if json.Unmarshal(b, (*[]string)(t)) != nil {
		var one string
		if json.Unmarshal(b, &one) != nil {
			one = string(b)
		}
		*t = texts{one}
	}
	return nil
}

func (h *handler) embeddings(w http.ResponseWriter, r *http.Request) {
	var req embeddingsRequest
	if !read(w, r, &req) || unknownModel(w, req.Model) {
		return
	}
	if req.Dimensions <= 0 || req.Dimensions > 4096 {
		req.Dimensions = defaultDimensions
	}
	data, used := []object{}, 0
	for i, text := range req.Input {
		vector := embed(text, req.Dimensions)
		item := object{"object": "embedding", "index": i, "embedding": vector}
		if req.EncodingFormat == "base64" {
			item["embedding"] = packed(vector)
		}
		data = append(data, item)
		used += tokens(text)
	}
	answer(w, object{
		"object": "list", "model": Model, "data": data,
		"usage": object{"prompt_tokens": used, "total_tokens": used},
	})
}

// embed makes a vector of length 1 that depends on nothing but the text.
func embed(text string, dimensions int) []float32 {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(text)) // a hash never fails
	state, sum := hash.Sum64()|1, 0.0
	vector := make([]float32, dimensions)
	for i := range vector {
		state ^= state << 13 // xorshift
		state ^= state >> 7
		state ^= state << 17
		v := float64(state>>11)/(1<<52) - 1
		vector[i] = float32(v)
		sum += v * v
	}
	length := float32(math.Sqrt(sum))
	for i := range vector {
		vector[i] /= length
	}
	return vector
}

// packed is how SDKs ask for vectors: little-endian 32-bit floats in base64.
func packed(vector []float32) string {
	out := make([]byte, 0, 4*len(vector))
	for _, v := range vector {
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(out)
}

func (h *handler) models(w http.ResponseWriter, _ *http.Request) {
	answer(w, object{"object": "list", "data": []object{h.entry()}})
}

func (h *handler) model(w http.ResponseWriter, r *http.Request) {
	if !unknownModel(w, r.PathValue("model")) {
		answer(w, h.entry())
	}
}

func (h *handler) entry() object {
	return object{"id": Model, "object": "model", "created": h.now().Unix(), "owned_by": "realms"}
}
