package convert

import (
	"slices"
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// readMessages turns messages into items, one after another: an assistant's message
// with calls becomes several.
func (w *responsesWriter) readMessages(raw []byte) error {
	if !rawjson.IsArray(raw) || rawjson.IsEmpty(raw) {
		return realm.Invalid("messages", "The field `messages` must be an array with at least one message.")
	}
	w.messages = true
	w.input = slices.Grow(w.input, grown(raw))
	w.client.items = slices.Grow(w.client.items, len(raw)/usualElement+2)
	for i, message := range w.objects(raw) {
		if err := w.readMessage(place{list: "messages", i: i}, message); err != nil {
			return err
		}
		w.forget()
	}
	return nil
}

func (w *responsesWriter) readMessage(p place, message object) error {
	if !message.is() {
		return p.refused("", "must be a message: an object with a role and content.")
	}
	switch role := plain(message.get("role")); string(role) {
	case "system", "developer", "user":
		return w.addSaid(p, role, message.get("content"))
	case "assistant":
		return w.readAssistant(p, message)
	case "tool":
		return w.readOutput(p, message)
	case "function":
		return w.readFunctionOutput(p, message)
	default:
		return p.refused(".role", "must be system, developer, user, assistant, tool or function.")
	}
}

// openMessage begins a message; its parts come next, each with a comma behind it.
func (w *responsesWriter) openMessage(role []byte) {
	w.input = append(append(w.input, `{"type":"message","role":"`...), role...)
	w.input = append(w.input, `","content":[`...)
}

// closeParts closes a list of at least one part.
func (w *responsesWriter) closeParts() {
	w.input[len(w.input)-1] = ']' // was the last comma
}

// endItem closes an item, and remembers which of the client's fields it was.
func (w *responsesWriter) endItem(p place) {
	w.input = append(w.input, '}', ',')
	w.client.items = append(w.client.items, p)
}

// addSaid adds a message of somebody but the assistant.
func (w *responsesWriter) addSaid(p place, role, content []byte) error {
	w.openMessage(role)
	var last object
	if rawjson.IsString(content) {
		w.addText(`{"type":"input_text"`, "text", content)
	} else {
		var err error
		if _, last, err = w.addParts(p, content); err != nil {
			return err
		}
	}
	w.closeParts()
	w.endItem(p)
	w.noteBreakpoint(last)
	return nil
}

// breakpoint marks the end of a part as one of a prefix that is worth keeping. In
// Responses what a client says may be marked, what a model has said may not: OpenAI
// refuses it.
const breakpoint = "prompt_cache_breakpoint"

// partEnd is what stands behind the last part of an item: the ends of the part, of the
// list, and of the item.
const partEnd = "}]},"

// noteBreakpoint remembers where a breakpoint can be put: behind the part that was
// written last, unless it has one.
func (w *responsesWriter) noteBreakpoint(last object) {
	w.markAt = 0
	if last.get(breakpoint) == nil {
		w.markAt = len(w.input) - len(partEnd)
	}
}

// moveBreakpoint puts the breakpoint of an answer's part where the nearest can be that
// is ahead of it: of the prefix that the client wants kept, it keeps the most.
func (w *responsesWriter) moveBreakpoint(raw []byte) {
	if raw == nil || w.markAt == 0 {
		return
	}
	w.input = slices.Insert(w.input, w.markAt, appendField(nil, breakpoint, raw)...)
	w.markAt = 0
}

// addText adds a part that is a text, begun with its type.
func (w *responsesWriter) addText(begun, key string, text []byte) {
	w.input = append(appendField(append(w.input, begun...), key, text), '}', ',')
}

// addParts adds the parts of what is no answer; it tells how many there are, and which
// is the last.
func (w *responsesWriter) addParts(p place, content []byte) (n int, last object, err error) {
	if !rawjson.IsArray(content) || rawjson.IsEmpty(content) {
		return 0, last, p.refused(".content", "must be a text or an array of parts.")
	}
	for j, part := range w.objects(content) {
		if err := w.addPart(p.in(".content").at(j), part); err != nil {
			return 0, last, err
		}
		n, last = j+1, part
	}
	return n, last, nil
}

// addPart adds one part of what is no answer.
func (w *responsesWriter) addPart(p place, part object) error {
	var need []byte // what makes it one, and where that stands
	var name string
	switch string(plain(part.get("type"))) {
	case "text":
		need, name = part.get("text"), ".text"
		w.input = appendField(append(w.input, `{"type":"input_text"`...), "text", need)
	case "image_url":
		need, name = w.openImage(part.get("image_url"))
	case "input_audio":
		audio := part.get("input_audio")
		need, name = at(audio, "data"), ".input_audio.data"
		w.input = appendField(append(w.input, `{"type":"input_audio"`...), "input_audio", audio)
	case "file":
		need, name = w.openFile(part.get("file")), ".file.file_data"
	default:
		return p.refused(".type", "must be text, image_url, input_audio or file: the model's upstream knows no others.")
	}
	if !rawjson.IsString(need) {
		return p.refused(name, "must be a string.")
	}
	w.input = append(appendField(w.input, breakpoint, part.get(breakpoint)), '}', ',')
	return nil
}

// openImage begins a part with an image, and tells which URL it is of.
func (w *responsesWriter) openImage(raw []byte) (url []byte, name string) {
	url, name = raw, ".image_url" // some clients send the URL itself
	var detail []byte
	if rawjson.IsObject(raw) {
		image := w.object(raw)
		url, name = image.get("url"), ".image_url.url"
		detail = image.get("detail")
	}
	w.input = appendField(append(w.input, `{"type":"input_image"`...), "image_url", url)
	if detail == nil {
		detail = []byte(`"auto"`)
	}
	w.input = appendField(w.input, "detail", detail)
	return url, name
}

// openFile begins a part with a file, and tells which it is, or what is in it.
func (w *responsesWriter) openFile(raw []byte) []byte {
	file := w.object(raw)
	w.input = file.appendFields(append(w.input, `{"type":"input_file"`...), "file_id", "file_data", "filename")
	if id := file.get("file_id"); id != nil {
		return id
	}
	return file.get("file_data")
}

// readAssistant converts an earlier answer: its reasoning, its text, its calls.
func (w *responsesWriter) readAssistant(p place, message object) error {
	if err := message.mustHave(p, answerTypes); err != nil {
		return err
	}
	if message.get("audio") != nil {
		return p.refused(".audio", "cannot be carried: the model's upstream keeps no spoken answers. Send the text instead.")
	}
	w.addReasoning(p, message.get("reasoning_details"))
	if err := w.addAnswer(p, message); err != nil {
		return err
	}
	for j, call := range w.objects(message.get("tool_calls")) {
		if err := w.addCall(p.in(".tool_calls").at(j), call); err != nil {
			return err
		}
	}
	function := message.get("function_call")
	if function == nil {
		return nil
	}
	w.made++
	w.functionCall = "call_function_" + strconv.Itoa(w.made)
	return w.addFunctionCall(p.to(".function_call"), rawjson.AppendString(nil, w.functionCall), w.object(function))
}

// addAnswer adds what an earlier answer said, if it did.
func (w *responsesWriter) addAnswer(p place, message object) error {
	content, refusal := message.get("content"), message.get("refusal")
	begun := len(w.input)
	w.openMessage([]byte("assistant"))
	opened := len(w.input)
	marked, err := w.addAnswerParts(p, content)
	if err != nil {
		return err
	}
	if rawjson.IsString(refusal) {
		w.addText(`{"type":"refusal"`, "refusal", refusal)
	}
	called := !rawjson.IsEmpty(message.get("tool_calls")) || message.get("function_call") != nil
	silent := rawjson.IsEmpty(content) && len(inside(refusal)) == 0
	if len(w.input) == opened || called && silent { // "" beside calls says nothing
		w.input = w.input[:begun]
		return nil
	}
	w.closeParts()
	w.endItem(p)
	w.moveBreakpoint(marked)
	return nil
}

// addAnswerParts adds what the content of an answer holds: a string, parts, or nothing.
// It gives the first breakpoint among them.
func (w *responsesWriter) addAnswerParts(p place, content []byte) (marked []byte, err error) {
	switch {
	case rawjson.IsString(content):
		w.addText(`{"type":"output_text"`, "text", content)
		return nil, nil
	case content == nil:
		return nil, nil
	case !rawjson.IsArray(content):
		return nil, p.refused(".content", "must be a text or an array of parts.")
	}
	for j, part := range w.objects(content) {
		begun, key := `{"type":"output_text"`, "text"
		switch kind := part.get("type"); {
		case rawjson.Equal(kind, "refusal"):
			begun, key = `{"type":"refusal"`, "refusal"
		case !rawjson.Equal(kind, "text"):
			return nil, p.in(".content").at(j).refused(".type", "must be text or refusal: an answer has no other parts.")
		}
		text := part.get(key)
		if !rawjson.IsString(text) {
			return nil, p.in(".content").at(j).refused("."+key, "must be a string.")
		}
		w.addText(begun, key, text)
		if marked == nil {
			marked = part.get(breakpoint)
		}
	}
	return marked, nil
}

// addReasoning sends encrypted reasoning back that an answer of ours brought: one
// item each. Other details are what the client was shown, which no upstream takes.
func (w *responsesWriter) addReasoning(p place, details []byte) {
	for _, detail := range w.objects(details) {
		data := detail.get("data")
		if !rawjson.Equal(detail.get("type"), reasoningEncrypted) || !rawjson.Equal(detail.get("format"), reasoningFormat) || len(inside(data)) == 0 {
			continue
		}
		w.encrypted = true
		w.input = detail.appendFields(append(w.input, `{"type":"reasoning"`...), "id")
		w.input = appendField(append(w.input, `,"summary":[]`...), "encrypted_content", data)
		w.endItem(p)
	}
}
