package openai

import (
	"errors"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// FieldError is a request that is wrong: a realm.Error of CodeInvalid, whose Field
// names what is wrong where something does.
type FieldError = realm.Error

// Bounds of what a request may ask for. A body's size is bounded before it is read.
const (
	maxModelName = 256
	maxChoices   = 128 // OpenAI's own bound of n
	maxRefs      = 256
)

// Request is what routing, limits and editing need to know of a body.
type Request struct {
	Op   *Operation
	Doc  rawjson.Doc // a JSON body
	Form *Form       // a multipart body; nil for JSON

	Model        string // as asked, suffix and all; Op.DefaultModel where the body names none
	Stream       bool   // events are asked for
	IncludeUsage bool   // the client itself asked for usage in a chat or completions stream
	Store        *bool  // nil: absent or null
	Choices      int    // n, at least 1
	MaxTokens    int64  // the greatest of the max_*tokens fields; 0: none
	RouteKey     string // prompt_cache_key
	Objects      []ObjectRef
	// HasCompaction: the input has an item in which one account has encrypted the
	// conversation so far; no other can go on with it.
	HasCompaction bool
}

// ObjectRef is an id in a body that names an object upstream.
type ObjectRef struct {
	Field string // "previous_response_id", "input[3].id", "tools[0].vector_store_ids[1]"
	ID    string
}

// ReadJSON reads a JSON body in place; the Request aliases it. fields may be nil
// or is reused. Errors are *FieldError.
func ReadJSON(op *Operation, body []byte, fields []rawjson.Field) (*Request, error) {
	if fields == nil {
		fields = make([]rawjson.Field, 0, usualFields)
	}
	doc, err := rawjson.Parse(body, fields)
	if err != nil {
		return nil, notJSON(err)
	}
	r := &Request{Op: op, Doc: doc, Model: op.DefaultModel, Choices: 1}
	for i := range doc.Fields {
		f := &doc.Fields[i]
		if err := r.read(string(f.Key), body[f.ValStart:f.ValEnd]); err != nil {
			return nil, err
		}
	}
	if r.Model == "" {
		return nil, realm.Invalid("model", "The field `model` is missing: name the model to use.")
	}
	return r, nil
}

func notJSON(err error) *FieldError {
	var syntax *rawjson.SyntaxError
	if errors.As(err, &syntax) {
		return realm.Invalid("", "The body is not a valid JSON object: "+syntax.Error()+".")
	}
	return realm.Invalid("", "The body is not a valid JSON object.")
}

// read takes in one top-level field. The ones that are not named here travel on
// unread.
func (r *Request) read(key string, raw []byte) error {
	switch key {
	case "model":
		return r.readModel(raw)
	case "stream":
		on, err := readBool(key, raw)
		r.Stream = r.Stream || on && r.Op.Stream != StreamNone
		return err
	case "stream_format": // speech
		r.Stream = r.Stream || r.Op.Stream == StreamSpeech && rawjson.Equal(raw, "sse")
		return nil
	case "stream_options":
		return r.readStreamOptions(raw)
	case "store":
		on, err := readBool(key, raw)
		if err == nil && !rawjson.IsNull(raw) {
			r.Store = &on
		}
		return err
	case "background":
		on, err := readBool(key, raw)
		if on {
			err = realm.Invalid(key, "Background responses are not supported yet: leave `background` out or set it to false.")
		}
		return err
	case "n", "best_of":
		return r.readChoices(key, raw)
	case "max_tokens", "max_completion_tokens", "max_output_tokens":
		return r.readMaxTokens(key, raw)
	case "prompt_cache_key":
		r.RouteKey, _ = rawjson.String(raw)
		return nil
	default:
		return r.readObjects(key, raw)
	}
}

func (r *Request) readModel(raw []byte) error {
	if rawjson.IsNull(raw) && r.Model != "" {
		return nil
	}
	name, ok := rawjson.String(raw)
	if !ok || name == "" {
		return realm.Invalid("model", "The field `model` must be the name of a model.")
	}
	return r.setModel(name)
}

func (r *Request) setModel(name string) error {
	if len(name) > maxModelName {
		return realm.Invalid("model", "The model's name is too long: 256 bytes at most.")
	}
	r.Model = name
	return nil
}

func (r *Request) readStreamOptions(raw []byte) error {
	if rawjson.IsNull(raw) {
		return nil
	}
	options, err := rawjson.Parse(raw, nil)
	if err != nil {
		return realm.Invalid("stream_options", "The field `stream_options` must be an object without repeated keys.")
	}
	usage, _ := options.Get("include_usage")
	r.IncludeUsage, err = readBool("stream_options.include_usage", usage)
	return err
}

func (r *Request) readChoices(key string, raw []byte) error {
	if rawjson.IsNull(raw) {
		return nil
	}
	n, ok := rawjson.Int(raw)
	if !ok || n < 1 || n > maxChoices {
		return realm.Invalid(key, "The field `"+key+"` must be a whole number from 1 to 128.")
	}
	if key == "n" {
		r.Choices = int(n)
	}
	return nil
}

func (r *Request) readMaxTokens(key string, raw []byte) error {
	if rawjson.IsNull(raw) {
		return nil
	}
	n, ok := rawjson.Int(raw)
	if !ok {
		return realm.Invalid(key, "The field `"+key+"` must be a whole number.")
	}
	r.MaxTokens = max(r.MaxTokens, n)
	return nil
}

// readBool reads true or false; null and absent are false.
func readBool(key string, raw []byte) (bool, error) {
	if rawjson.IsNull(raw) {
		return false, nil
	}
	on, ok := rawjson.Bool(raw)
	if !ok {
		return false, realm.Invalid(key, "The field `"+key+"` must be true or false.")
	}
	return on, nil
}
