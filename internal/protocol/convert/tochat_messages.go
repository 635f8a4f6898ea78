package convert

import (
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// message writes a message that is not the assistant's.
func (w *chatWriter) message(role string, content []byte) {
	w.begin()
	message := appendField([]byte(`,"role":"`+role+`"`), "content", content)
	w.messages = append(append(w.messages, fields(message)...), ',')
}

// begin writes the first message, if the system had something to say. All that it says
// ahead of the conversation is one message: the templates of many models know no
// second one.
func (w *chatWriter) begin() {
	if w.opened {
		return
	}
	w.opened = true
	if len(w.system) != 0 {
		w.message("system", quoted(w.system))
	}
}

func (w *chatWriter) readInstructions() error {
	if len(w.instructions) == 0 {
		return nil
	}
	if !rawjson.IsString(w.instructions) {
		return realm.Invalid("instructions", "The field `instructions` must be a text.")
	}
	w.system = append(w.system, inside(w.instructions)...)
	return nil
}

func (w *chatWriter) readMessage(field string, get func(string) []byte) error {
	role, _ := rawjson.String(get("role"))
	content := get("content")
	switch role {
	case "assistant":
		return w.readTurn(field+".content", content)
	case "user", "system", "developer":
	default:
		return realm.Invalid(field+".role", "The field `"+field+".role` must be user, assistant, system or developer.")
	}
	if err := w.flush(); err != nil {
		return err
	}
	text, parts, err := w.parts(field+".content", content)
	switch {
	case err != nil:
		return err
	case role == "user" && parts != nil:
		w.message(role, list(parts))
	case role == "user":
		w.message(role, quoted(text))
	case parts != nil:
		return realm.Invalid(field+".content", "The field `"+field+".content` must be text: the model's upstream takes nothing else from the system.")
	case !w.opened:
		w.system = joined(w.system, text)
	default:
		w.message("system", quoted(text)) // developer is a word that few upstreams know
	}
	return nil
}

// readTurn takes in what the assistant said.
func (w *chatWriter) readTurn(field string, content []byte) error {
	if w.turn.spoke || len(w.turn.calls) != 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.turn.spoke = true
	if rawjson.IsString(content) {
		w.turn.content = append(w.turn.content, inside(content)...)
		return nil
	}
	if !rawjson.IsArray(content) {
		return notContent(field)
	}
	i := 0
	for _, part := range rawjson.Elements(content) {
		place := field + "[" + strconv.Itoa(i) + "]"
		i++
		text, ok := partInside(part)
		switch get := reader(part); {
		case !ok:
			return notInChat(place + ".type")
		case text == nil:
			return notText(place)
		case rawjson.Equal(get("type"), "refusal"):
			w.turn.refusal = append(w.turn.refusal, text...)
		default:
			w.turn.content = append(w.turn.content, text...)
		}
	}
	return nil
}

// partInside is the inside of a part's text, nil if it has none; ok is false if the
// part is of another kind.
func partInside(part []byte) (text []byte, ok bool) {
	get := reader(part)
	switch kind, _ := rawjson.String(get("type")); kind {
	case "input_text", "output_text", "text":
		return inside(get("text")), true
	case "refusal":
		return inside(get("refusal")), true
	default:
		return nil, false
	}
}

func notContent(field string) error {
	return realm.Invalid(field, "The field `"+field+"` must be a text or an array of parts.")
}

func notText(field string) error {
	return realm.Invalid(field+".text", "The field `"+field+".text` must be a text.")
}

// parts converts content: to one text if it is nothing but text, because many
// upstreams take a string alone, else to Chat's parts, each followed by a comma.
func (w *chatWriter) parts(field string, content []byte) (text, parts []byte, err error) {
	if rawjson.IsString(content) {
		return inside(content), nil, nil
	}
	if !rawjson.IsArray(content) {
		return nil, nil, notContent(field)
	}
	i, other := 0, false
	for _, part := range rawjson.Elements(content) {
		place := field + "[" + strconv.Itoa(i) + "]"
		if more, ok := partInside(part); ok {
			if more == nil {
				return nil, nil, notText(place)
			}
			if i > 0 {
				text = append(text, paragraph...)
			}
			text = append(text, more...)
			parts = append(appendField(append(parts, `{"type":"text"`...), "text", quoted(more)), '}', ',')
		} else {
			other = true
			if parts, err = mediaPart(parts, place, reader(part)); err != nil {
				return nil, nil, err
			}
		}
		i++
	}
	if !other {
		parts = nil
	}
	return text, parts, nil
}

// mediaPart appends a part that is no text.
func mediaPart(dst []byte, field string, get func(string) []byte) ([]byte, error) {
	kind, _ := rawjson.String(get("type"))
	switch kind {
	case "input_image":
		url := get("image_url")
		if !rawjson.IsString(url) {
			return nil, notInChat(field + ".file_id")
		}
		image := appendField(nil, "url", url)
		detail := get("detail")
		if rawjson.Equal(detail, "original") { // finer than what Chat has a word for
			detail = []byte(`"high"`)
		}
		return appendPart(dst, "image_url", appendField(image, "detail", detail)), nil
	case "input_file":
		file := appendField(appendField(nil, "file_data", get("file_data")), "file_id", get("file_id"))
		if len(file) == 0 {
			return nil, notInChat(field + ".file_url")
		}
		return appendPart(dst, "file", appendField(file, "filename", get("filename"))), nil
	case "input_audio":
		if audio := copyFields(nil, get("input_audio"), "data", "format"); len(audio) != 0 {
			return appendPart(dst, "input_audio", audio), nil
		}
	}
	return nil, notInChat(field + ".type")
}

func appendPart(dst []byte, kind string, inner []byte) []byte {
	dst = append(append(append(dst, `{"type":"`...), kind...), '"')
	return append(appendField(dst, kind, fields(inner)), '}', ',')
}

// toolMessage writes what a call gave. Chat has room for text there; what else there
// is, is shown by a message of the user's behind the outputs.
func (w *chatWriter) toolMessage(i int, id string) error {
	get := reader(w.items[i])
	content := get("output")
	kind, _ := rawjson.String(get("type"))
	switch {
	case kind == "tool_search_output":
		content = rawjson.AppendString(nil, string(get("tools")))
	case kind == "shell_call_output":
		content = rawjson.AppendString(nil, string(content))
	case content == nil && kind == "apply_patch_call_output":
		content = get("status")
	}
	text, parts, err := w.parts(inputField(i)+".output", content)
	if err != nil {
		return err
	}
	if parts != nil {
		w.show(id, parts)
		text = onlyTexts(parts)
	}
	message := appendField([]byte(`,"role":"tool"`), "tool_call_id", rawjson.AppendString(nil, id))
	w.messages = append(append(w.messages, fields(appendField(message, "content", quoted(text)))...), ',')
	return nil
}

// onlyTexts are the texts among parts, and a word in place of what else there is.
func onlyTexts(parts []byte) []byte {
	var text []byte
	for _, part := range rawjson.Elements(list(parts)) {
		more := inside(at(part, "text"))
		if more == nil {
			more = []byte("(It follows in the next message.)")
		}
		text = joined(text, more)
	}
	return text
}

// show keeps the parts that are no text.
func (w *chatWriter) show(id string, parts []byte) {
	what := rawjson.AppendString(nil, "From the output of the tool call "+id+":")
	w.shown = append(appendField(append(w.shown, `{"type":"text"`...), "text", what), '}', ',')
	for _, part := range rawjson.Elements(list(parts)) {
		if !rawjson.Equal(at(part, "type"), "text") {
			w.shown = append(append(w.shown, part...), ',')
		}
	}
}
