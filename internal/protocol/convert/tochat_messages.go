package convert

import (
	"slices"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// piece is one part of a message's content.
type piece struct {
	text []byte // the inside of a string; nil if the part is no text
	part object // as the client has it
	mark []byte // its prompt_cache_breakpoint: up to there a prompt is to be cached

	refusal bool // by which the assistant would not answer
}

// open begins a message.
func (w *chatWriter) open(role string) {
	if w.wrote() {
		w.out = append(w.out, ',')
	}
	w.out = append(append(append(w.out, `{"role":"`...), role...), '"')
}

// wrote tells whether there is a message.
func (w *chatWriter) wrote() bool { return w.out[len(w.out)-1] != '[' }

// say adds to the first message, which is the system's. All that it says ahead of the
// conversation is one message: the templates of many models know no second one.
func (w *chatWriter) say(p piece) {
	if len(w.system) != 0 || len(p.text) != 0 {
		w.system = append(w.system, p)
	}
}

// begin writes the first message, if the system had something to say.
func (w *chatWriter) begin() {
	if w.opened {
		return
	}
	w.opened = true
	if len(w.system) != 0 {
		w.open("system")
		w.out = append(appendTexts(append(w.out, `,"content":`...), w.system, paragraph), '}')
	}
}

func (w *chatWriter) readMessage(p place, item object) error {
	role := plain(item.get("role"))
	switch string(role) {
	case "assistant":
		return w.readTurn(p, item.get("content"))
	case "user", "system", "developer":
	default:
		return realm.Invalid(p.field(".role"), "The field `"+p.field(".role")+"` must be user, assistant, system or developer.")
	}
	if err := w.flush(); err != nil {
		return err
	}
	allowed := systemPart
	if string(role) == "user" {
		allowed = shownPart
	}
	pieces, err := w.pieces(p, "content", item.get("content"), allowed)
	switch {
	case err != nil:
		return err
	case string(role) == "user":
		w.begin()
		w.open("user")
		err = w.content(p.in(".content"), pieces)
	case !w.opened:
		for _, more := range pieces {
			w.say(more)
		}
		return nil
	default:
		w.open("system") // developer is a word that few upstreams know
		w.out = appendTexts(append(w.out, `,"content":`...), pieces, paragraph)
	}
	w.out = append(w.out, '}')
	return err
}

// readTurn takes in what the assistant said.
func (w *chatWriter) readTurn(p place, content []byte) error {
	if w.turn.spoke || len(w.turn.calls) != 0 {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.turn.spoke = true
	pieces, err := w.pieces(p, "content", content, saidPart)
	for _, said := range pieces {
		switch {
		case len(said.text) == 0 && said.mark == nil:
		case said.refusal:
			w.turn.refusal = append(w.turn.refusal, said)
		default:
			w.turn.content = append(w.turn.content, said)
		}
	}
	return err
}

// partRule refuses a part that is no text where it cannot stand.
type partRule func(p place, part object) error

// systemPart is the rule of what the system says.
func systemPart(p place, _ object) error {
	p.inner = ""
	return p.refused(".content", "must be text: the model's upstream takes nothing else from the system.")
}

// saidPart is the rule of what the assistant said.
func saidPart(p place, _ object) error { return notInChat(p.field(".type")) }

// shownPart is the rule of what a user's message shows.
func shownPart(p place, part object) error {
	if !part.is() {
		return wrongType(p.field(""), anObject)
	}
	switch string(plain(part.get("type"))) {
	case "input_image", "input_file", "input_audio":
		return nil
	default:
		return notInChat(p.field(".type"))
	}
}

// pieces takes content apart. They are good until the next content is read. A part that
// is not allowed is refused before the next is read: of such parts a request may have
// millions, and each that is kept takes many times its length.
func (w *chatWriter) pieces(p place, key string, content []byte, allowed partRule) ([]piece, error) {
	w.parts = w.parts[:0]
	if rawjson.IsString(content) {
		w.parts = append(w.parts, piece{text: inside(content)})
		return w.parts, nil
	}
	if !rawjson.IsArray(content) {
		return nil, realm.Invalid(p.field("."+key), "The field `"+p.field("."+key)+"` must be a text or an array of parts.")
	}
	p = p.in("." + key)
	for i, part := range w.objects(content) {
		said, field := piece{part: part, mark: part.get("prompt_cache_breakpoint")}, "text"
		switch kind := plain(part.get("type")); string(kind) {
		case "input_text", "output_text", "text":
			said.text = inside(part.get("text"))
		case "refusal":
			field, said.refusal = "refusal", true
			said.text = inside(part.get("refusal"))
		default:
			field = ""
			if err := allowed(p.at(i), part); err != nil {
				return nil, err
			}
		}
		if field != "" && said.text == nil {
			return nil, wrongType(p.at(i).field("."+field), aString)
		}
		w.parts = append(w.parts, said)
	}
	return w.parts, nil
}

// onlyTexts tells whether there is nothing but text.
func onlyTexts(pieces []piece) bool {
	return !slices.ContainsFunc(pieces, func(p piece) bool { return p.text == nil })
}

// content writes what the user says: one text if it is nothing but text, because many
// upstreams take a string alone, else Chat's parts.
func (w *chatWriter) content(p place, pieces []piece) error {
	w.out = append(w.out, `,"content":`...)
	if onlyTexts(pieces) {
		w.out = appendTexts(w.out, pieces, paragraph)
		return nil
	}
	w.out = append(w.out, '[')
	for i, said := range pieces {
		if i > 0 {
			w.out = append(w.out, ',')
		}
		var err error
		if w.out, err = said.appendPart(w.out, p.at(i)); err != nil {
			return err
		}
	}
	w.out = append(w.out, ']')
	return nil
}

// appendTexts appends texts as one, with what is between them; as a list of parts where
// one of them is marked, which only a part can be.
func appendTexts(dst []byte, texts []piece, between string) []byte {
	if !slices.ContainsFunc(texts, func(p piece) bool { return p.mark != nil }) {
		return appendJoined(dst, texts, between)
	}
	dst = append(dst, '[')
	for i := range texts {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = texts[i].appendText(dst)
	}
	return append(dst, ']')
}

// appendJoined appends texts as one string. A character that lies across two of them,
// half in each, is put together.
func appendJoined(dst []byte, texts []piece, between string) []byte {
	dst = append(dst, '"')
	for i := range texts {
		if i > 0 && !splitsPair(texts[i-1].text, texts[i].text) {
			dst = append(dst, between...)
		}
		dst = append(dst, texts[i].text...)
	}
	return append(dst, '"')
}

// appendText appends a text as a part of its own.
func (p *piece) appendText(dst []byte) []byte {
	dst = append(append(append(dst, `{"type":"text","text":"`...), p.text...), '"')
	return p.end(dst)
}

// end appends what all parts end with.
func (p *piece) end(dst []byte) []byte {
	return append(appendField(dst, "prompt_cache_breakpoint", p.mark), '}')
}

// appendPart appends a part that shownPart allows.
func (p *piece) appendPart(dst []byte, at place) ([]byte, error) {
	if p.text != nil {
		return p.appendText(dst), nil
	}
	var err error
	switch string(plain(p.part.get("type"))) {
	case "input_image":
		dst, err = appendChatImage(dst, at, p.part)
	case "input_file":
		dst, err = appendChatFile(dst, at, p.part)
	default: // the last that shownPart allows
		dst, err = appendChatAudio(dst, at, p.part)
	}
	return p.end(dst), err
}

func appendChatImage(dst []byte, at place, part object) ([]byte, error) {
	if part.get("file_id") != nil {
		return nil, notInChat(at.field(".file_id"))
	}
	url, detail := part.get("image_url"), part.get("detail")
	if !rawjson.IsString(url) {
		return nil, wrongType(at.field(".image_url"), aString)
	}
	if rawjson.Equal(detail, "original") { // finer than what Chat has a word for
		detail = []byte(`"high"`)
	}
	dst = append(append(dst, `{"type":"image_url","image_url":{"url":`...), url...)
	return append(appendField(dst, "detail", detail), '}'), nil
}

// appendChatFile appends a file. How finely it is to be looked at Chat has no word for.
func appendChatFile(dst []byte, at place, part object) ([]byte, error) {
	if part.get("file_url") != nil {
		return nil, notInChat(at.field(".file_url"))
	}
	if detail := part.get("detail"); detail != nil && !rawjson.Equal(detail, "auto") {
		return nil, notInChat(at.field(".detail"))
	}
	if err := mustHave(at.field(""), part.get, fileTypes); err != nil {
		return nil, err
	}
	if part.get("file_data") == nil && part.get("file_id") == nil {
		return nil, realm.Invalid(at.field(".file_data"), "The field `"+at.field(".file_data")+"` must be what is in the file, unless `file_id` names one.")
	}
	dst = append(dst, `{"type":"file","file":`...)
	begun := len(dst)
	for _, f := range fileTypes {
		dst = appendField(dst, f.key, part.get(f.key))
	}
	dst[begun] = '{' // was the first comma
	return append(dst, '}'), nil
}

func appendChatAudio(dst []byte, at place, part object) ([]byte, error) {
	audio := copyFields(nil, part.get("input_audio"), "data", "format")
	if len(audio) == 0 {
		return nil, realm.Invalid(at.field(".input_audio"), "The field `"+at.field(".input_audio")+"` must be an object with the sound.")
	}
	return append(append(dst, `{"type":"input_audio","input_audio":`...), fields(audio)...), nil
}

// toolMessage writes what a call gave. Chat has room for text there; what else there
// is, is shown by a message of the user's behind the outputs.
func (w *chatWriter) toolMessage(i int, id string) error {
	item, p := &w.items[i], place{list: "input", i: i}
	w.open("tool")
	w.out = append(rawjson.AppendString(append(w.out, `,"tool_call_id":`...), id), `,"content":`...)
	content := item.get("output")
	switch string(item.kind) {
	case "tool_search_output":
		content = item.get("tools")
		w.out = append(rawjson.AppendString(w.out, string(content)), '}')
		return nil
	case "shell_call_output":
		if !aList.is(content) {
			return wrongType(p.field(".output"), aList)
		}
		w.out = append(rawjson.AppendString(w.out, string(content)), '}')
		return nil
	case "apply_patch_call_output":
		if content == nil {
			content = item.get("status")
		}
	}
	pieces, err := w.pieces(p, "output", content, shownPart)
	if err == nil && !onlyTexts(pieces) {
		err = w.show(p.in(".output"), id, pieces)
	}
	w.out = append(appendTexts(w.out, pieces, paragraph), '}')
	return err
}

// show keeps the parts that are no text for the next message of the user's, and leaves
// a word in their places.
func (w *chatWriter) show(p place, id string, pieces []piece) error {
	w.shown = rawjson.AppendString(append(w.shown, `,{"type":"text","text":`...), "From the output of the tool call "+id+":")
	w.shown = append(w.shown, '}')
	for i := range pieces {
		if pieces[i].text != nil {
			continue
		}
		var err error
		if w.shown, err = pieces[i].appendPart(append(w.shown, ','), p.at(i)); err != nil {
			return err
		}
		pieces[i] = piece{text: []byte("(It follows in the next message.)")}
	}
	return nil
}
