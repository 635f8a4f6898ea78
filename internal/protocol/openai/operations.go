package openai

import (
	"net/url"
	"strings"

	"realms/internal/realm"
)

// BodyKind says how a request's body is written.
type BodyKind uint8

// The kinds of bodies.
const (
	BodyNone BodyKind = iota
	BodyJSON
	BodyMultipart
	BodyEither // JSON or multipart, as the content type says
)

// StreamKind says which events an operation streams.
type StreamKind uint8

// The kinds of streams.
const (
	StreamNone StreamKind = iota
	StreamResponses
	StreamChat
	StreamCompletions
	StreamImages
	StreamSpeech
	StreamTranscription
)

// AnswerKind says what a whole, successful answer looks like.
type AnswerKind uint8

// The kinds of answers.
const (
	AnswerJSON      AnswerKind = iota // an object, its usage under "usage" if it has one
	AnswerResponse                    // a response object
	AnswerChat                        // a chat.completion or text_completion object
	AnswerJSONOrRaw                   // JSON or text or bytes, as the content type says
)

// Operation is one endpoint that goes upstream.
type Operation struct {
	Name   string // "chat.completions": log field, metric label and column
	API    realm.API
	Method string
	Path   string // below /v1, with {id} for an object's id
	Body   BodyKind
	Stream StreamKind
	Answer AnswerKind
	// Meters: the answer's usage is this request's own. (An answer that shows an
	// earlier response again does not meter.)
	Meters bool
	// Object: it acts on an object that lives on one account; {id} names it.
	Object bool
	// Keeps: the answer's ids name objects that the upstream keeps (unless the
	// request's store is false).
	Keeps bool
	// Binary: the answer may be other than text (audio).
	Binary bool
	// DefaultModel is the one that a body without a model means; empty: the model
	// is required.
	DefaultModel string
}

var operations = []Operation{
	{Name: "responses", API: realm.APIResponses, Method: "POST", Path: "/responses", Body: BodyJSON, Stream: StreamResponses, Answer: AnswerResponse, Meters: true, Keeps: true},
	{Name: "responses.compact", API: realm.APICompact, Method: "POST", Path: "/responses/compact", Body: BodyJSON, Meters: true},
	{Name: "responses.input_tokens", API: realm.APIInputTokens, Method: "POST", Path: "/responses/input_tokens", Body: BodyJSON},
	{Name: "responses.get", API: realm.APIResponses, Method: "GET", Path: "/responses/{id}", Stream: StreamResponses, Answer: AnswerResponse, Object: true},
	{Name: "responses.delete", API: realm.APIResponses, Method: "DELETE", Path: "/responses/{id}", Object: true},
	{Name: "responses.cancel", API: realm.APIResponses, Method: "POST", Path: "/responses/{id}/cancel", Answer: AnswerResponse, Object: true},
	{Name: "responses.input_items", API: realm.APIResponses, Method: "GET", Path: "/responses/{id}/input_items", Object: true},
	{Name: "chat.completions", API: realm.APIChat, Method: "POST", Path: "/chat/completions", Body: BodyJSON, Stream: StreamChat, Answer: AnswerChat, Meters: true},
	{Name: "completions", API: realm.APICompletions, Method: "POST", Path: "/completions", Body: BodyJSON, Stream: StreamCompletions, Answer: AnswerChat, Meters: true},
	{Name: "embeddings", API: realm.APIEmbeddings, Method: "POST", Path: "/embeddings", Body: BodyJSON, Meters: true},
	{Name: "moderations", API: realm.APIModerations, Method: "POST", Path: "/moderations", Body: BodyJSON, Meters: true, DefaultModel: "omni-moderation-latest"},
	{Name: "rerank", API: realm.APIRerank, Method: "POST", Path: "/rerank", Body: BodyJSON, Meters: true},
	{Name: "images.generations", API: realm.APIImages, Method: "POST", Path: "/images/generations", Body: BodyJSON, Stream: StreamImages, Meters: true},
	{Name: "images.edits", API: realm.APIImages, Method: "POST", Path: "/images/edits", Body: BodyEither, Stream: StreamImages, Meters: true},
	{Name: "images.variations", API: realm.APIImages, Method: "POST", Path: "/images/variations", Body: BodyMultipart, Meters: true},
	{Name: "audio.speech", API: realm.APIAudio, Method: "POST", Path: "/audio/speech", Body: BodyJSON, Stream: StreamSpeech, Answer: AnswerJSONOrRaw, Meters: true, Binary: true},
	{Name: "audio.transcriptions", API: realm.APIAudio, Method: "POST", Path: "/audio/transcriptions", Body: BodyMultipart, Stream: StreamTranscription, Answer: AnswerJSONOrRaw, Meters: true},
	{Name: "audio.translations", API: realm.APIAudio, Method: "POST", Path: "/audio/translations", Body: BodyMultipart, Answer: AnswerJSONOrRaw, Meters: true},
}

// Operations is every endpoint that goes upstream, in listed order. The slice is
// the caller's own; what it holds must not be changed.
func Operations() []*Operation {
	ops := make([]*Operation, len(operations))
	for i := range operations {
		ops[i] = &operations[i]
	}
	return ops
}

// Target is the path for one object: Path with {id} in place, escaped.
func (o *Operation) Target(id string) string {
	return strings.Replace(o.Path, "{id}", url.PathEscape(id), 1)
}
