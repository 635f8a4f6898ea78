package openai

import (
	"errors"
	"sync"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// Answer is what a whole JSON answer tells.
type Answer struct {
	ID           string
	Model        string
	Usage        realm.Usage
	SuspectUsage bool
	Empty        bool           // completed without any output
	Error        *UpstreamError // an error inside a success
	OutputIDs    []string
}

// answerRoom is where the fields of an answer are noted while it is read.
type answerRoom struct {
	answer, choice, message []rawjson.Field
	usage                   usageState
}

var answerRooms = sync.Pool{New: func() any { return new(answerRoom) }}

// InspectAnswer reads a whole answer of a success status. The error says that it
// is not the JSON object it should be.
func InspectAnswer(op *Operation, body []byte) (Answer, error) {
	a := Answer{Usage: unknownUsage}
	room, _ := answerRooms.Get().(*answerRoom)
	defer answerRooms.Put(room)
	doc, err := rawjson.Scan(body, room.answer)
	if err != nil {
		return a, err
	}
	room.answer = doc.Fields
	get := func(key string) []byte { raw, _ := doc.Get(key); return raw }
	a.ID, _ = rawjson.String(get("id"))
	a.Model, _ = rawjson.String(get("model"))
	a.readUsage(op, &room.usage, get("usage"), get("meta"))
	if a.Error = errorInside(op, &doc); a.Error == nil {
		err = a.readOutput(op, room, get)
	}
	return a, err
}

// InspectHead reads what the beginning of an answer tells that is too large to be
// held whole: its id, and whether it is an error after all.
func InspectHead(op *Operation, head []byte) Answer {
	a := Answer{Usage: unknownUsage}
	doc := rawjson.Head(head, nil)
	get := func(key string) []byte { raw, _ := doc.Get(key); return raw }
	a.ID, _ = rawjson.String(get("id"))
	failed := op.Answer == AnswerResponse && !op.Object && rawjson.Equal(get("status"), "failed")
	if raw := get("error"); failed || !op.Object && !rawjson.IsEmpty(raw) {
		e := errorFrom(raw)
		a.Error = &e
	}
	return a
}

// readOutput looks for output where the kind of answer has it.
func (a *Answer) readOutput(op *Operation, room *answerRoom, get func(string) []byte) error {
	switch op.Answer {
	case AnswerResponse:
		output, status := get("output"), get("status")
		if output == nil && status == nil && a.ID == "" {
			return errors.New("not a response object")
		}
		var s StreamState
		s.Reset(StreamResponses, 1)
		a.OutputIDs = outputIDs(output)
		a.Empty = rawjson.Equal(status, "completed") && !s.hasOutput(output)
	case AnswerChat:
		if !rawjson.IsArray(get("choices")) {
			return errors.New("an answer without choices")
		}
		a.Empty, a.Error = room.readChoices(get("choices"))
	case AnswerJSON, AnswerJSONOrRaw:
	}
	return nil
}

// readUsage reads the usage object, or where there is none Cohere's meta.tokens.
func (a *Answer) readUsage(op *Operation, u *usageState, usage, meta []byte) {
	u.reset()
	u.take(usage)
	if op.API == realm.APIRerank && rawjson.IsNull(usage) && rawjson.IsObject(meta) {
		if doc, err := rawjson.Scan(meta, nil); err == nil {
			tokens, _ := doc.Get("tokens")
			u.take(tokens)
		}
	}
	a.Usage, a.SuspectUsage = u.usage, u.suspect
}

// errorInside finds an error in an answer of a success status. A response object
// that is asked for by its id may tell of its own failure, which is none now.
func errorInside(op *Operation, doc *rawjson.Doc) *UpstreamError {
	raw, _ := doc.Get("error")
	object, _ := doc.Get("object")
	if op.Object && rawjson.Equal(object, "response") {
		return nil
	}
	status, _ := doc.Get("status")
	failed := op.Answer == AnswerResponse && rawjson.Equal(status, "failed")
	if !rawjson.IsEmpty(raw) || failed {
		e := ParseError(doc.Body)
		if failed {
			e = errorFrom(raw)
		}
		return &e
	}
	// {"detail":…}, and {"message":…} where a whole answer should be.
	detail, _ := doc.Get("detail")
	message, _ := doc.Get("message")
	if rawjson.IsEmpty(detail) && rawjson.IsEmpty(message) {
		return nil
	}
	for _, key := range [...]string{"id", "choices", "output", "data", "results", "text", "input_tokens", "deleted"} {
		if doc.Field(key) != nil {
			return nil
		}
	}
	e := ParseError(doc.Body)
	return &e
}

// readChoices tells whether all choices ended by themselves without any output, and
// what one told of its own failure.
func (room *answerRoom) readChoices(choices []byte) (empty bool, failed *UpstreamError) {
	empty = true
	for _, raw := range rawjson.Elements(choices) {
		choice, err := rawjson.Scan(raw, room.choice)
		if err != nil {
			continue
		}
		room.choice = choice.Fields
		finish, _ := choice.Get("finish_reason")
		if failed = choiceFailure(&choice, finish); failed != nil {
			return false, failed
		}
		text, _ := choice.Get("text")
		if !rawjson.IsEmpty(text) || !rawjson.IsEmpty(finish) && !plainFinish(finish) {
			empty = false
		}
		raw, _ := choice.Get("message")
		message, err := rawjson.Scan(raw, room.message)
		if err != nil {
			continue
		}
		room.message = message.Fields
		empty = empty && messageOutput(&message) == 0
	}
	return empty, nil
}
