package convert

import (
	"strconv"
	"strings"

	"realms/internal/protocol/rawjson"
)

// noIndex is the place of a call that the upstream does not count.
const noIndex = -1

// callDelta converts a piece of a call, which begins at an offset of the chunk.
func (s *responseStream) callDelta(dst, raw []byte, from int) []byte {
	doc, err := rawjson.Scan(raw, nil)
	if err != nil || s.ended {
		return dst
	}
	get := func(key string) []byte { value, _ := doc.Get(key); return value }
	index := int64(noIndex)
	if n, ok := rawjson.Int(get("index")); ok && n >= 0 {
		index = n
	}
	id, _ := rawjson.String(get("id"))
	called, custom := get("custom"), true
	if !rawjson.IsObject(called) {
		called, custom = get("function"), false
	}
	name, _ := rawjson.String(at(called, "name"))
	it := s.findCall(index, id, name)
	if custom && !s.isCustom(it, name) || !rawjson.IsObject(called) && isOtherCall(get("type")) {
		s.noteLoss(raw)
		return dst
	}
	if it == nil {
		s.effects++
		dst = s.settle(dst)
		it = s.openCall(index)
	}
	if it.callID == "" && !it.told {
		it.callID = id
		s.keep(len(id))
	}
	s.last = it
	if custom {
		return s.customDelta(dst, it, called, name)
	}
	if f := doc.Field("function"); f != nil {
		from += f.ValStart
	}
	return s.functionDelta(dst, it, called, from)
}

// isOtherCall tells whether a type of calls is another than Chat's own.
func isOtherCall(kind []byte) bool {
	return !rawjson.IsEmpty(kind) && !rawjson.Equal(kind, "function")
}

// isCustom tells whether a piece with a name is of a custom tool's call: one that has
// begun, unless it is nil.
func (s *responseStream) isCustom(it *outputItem, name string) bool {
	if it == nil {
		return s.c.names[name].kind == toolCustom
	}
	return it.kind == outputCustom
}

// customDelta converts a piece of a call in the form that Chat has for custom tools. The
// upstream was offered functions, and yet a model may know the other form: then the input
// stands in no JSON.
func (s *responseStream) customDelta(dst []byte, it *outputItem, custom []byte, name string) []byte {
	s.effects += 2 // no mold: it looks for arguments
	if !it.told {
		it.wire = name
		dst = s.tell(dst, it)
	}
	input := inside(at(custom, "input"))
	s.keep(len(input))
	return s.argumentEvent(dst, it, it.half.join(input))
}

// settle tells of a call with a tool's name that waits for more of it, because another
// call begins: those without arguments keep their order too.
func (s *responseStream) settle(dst []byte) []byte {
	if s.last == nil || s.last.told {
		return dst
	}
	if _, ok := s.c.names[s.last.wire]; !ok {
		return dst
	}
	return s.tell(dst, s.last)
}

// openCall begins a call. It has no place in the output before the client is told of
// it: until then another item may come first.
func (s *responseStream) openCall(index int64) *outputItem {
	it := s.newItem(outputFunction)
	it.callIndex = index
	s.calls = append(s.calls, it)
	return it
}

// findCall is the call that a piece belongs to; nil if it begins another. Upstreams
// leave out the index or the id, repeat the name, or give all calls one index.
func (s *responseStream) findCall(index int64, id, name string) *outputItem {
	if s.whole {
		return nil
	}
	for i := len(s.calls) - 1; i >= 0; i-- {
		it := s.calls[i]
		switch {
		case index != noIndex && it.callIndex == index:
			if it.endsBefore(id, name) {
				return nil // another call under the same index
			}
			return it
		case index == noIndex && id != "" && it.callID == id:
			return it
		}
	}
	if index != noIndex || s.last == nil {
		return nil
	}
	switch {
	case name == "":
		return s.last
	case id != "" && s.last.callID != "" || name != s.last.wire || s.last.complete():
		return nil
	default:
		return s.last
	}
}

// endsBefore tells whether a piece under a call's index begins another call. Ids tell,
// where both have one; else that a name comes when the call has all its arguments, or
// has some and another name. A name alone does not: some upstreams repeat it.
func (it *outputItem) endsBefore(id, name string) bool {
	switch {
	case name == "":
		return false
	case id != "" && it.callID != "":
		return id != it.callID
	case it.wire == "":
		return false
	case name != it.wire:
		return it.argued()
	default:
		return it.complete()
	}
}

// argued tells whether any arguments of a call have come.
func (it *outputItem) argued() bool { return len(it.text) != 0 || len(it.unwrap.all) != 0 }

// complete tells whether a call's arguments are all there.
func (it *outputItem) complete() bool {
	if it.kind == outputCustom {
		return it.brackets.close(it.unwrap.all)
	}
	return it.brackets.close(it.text)
}

// legacyCall is the one call of the deprecated kind.
func (s *responseStream) legacyCall() *outputItem {
	if s.legacy == nil {
		s.legacy = s.openCall(noIndex)
	}
	return s.legacy
}

// functionDelta converts a piece of a function's name and arguments.
func (s *responseStream) functionDelta(dst []byte, it *outputItem, function []byte, from int) []byte {
	doc, err := rawjson.Scan(function, nil)
	if err != nil {
		return dst
	}
	if name, _ := doc.Get("name"); !rawjson.IsEmpty(name) {
		s.effects++
		if text, ok := rawjson.String(name); ok && !it.told {
			dst = s.named(dst, it, text)
		}
	}
	if f := s.textField(&doc, "arguments"); f != nil {
		s.mold.note(moldArguments, it, from+f.ValStart+1, from+f.ValEnd-1)
		dst = s.argue(dst, it, doc.Body[f.ValStart+1:f.ValEnd-1])
	} else if value, _ := doc.Get("arguments"); !rawjson.IsNull(value) && !rawjson.IsString(value) { // which should be text
		s.effects += 2
		dst = s.argue(dst, it, inside(rawjson.AppendString(nil, string(value))))
	}
	return dst
}

// named takes in a call's name. A few upstreams send it in pieces: what a longer name of
// a tool begins with waits for the next piece or for the arguments, be it a tool's name
// itself.
func (s *responseStream) named(dst []byte, it *outputItem, piece string) []byte {
	name := it.wire + piece
	_, whole := s.c.names[name]
	begins := s.c.begins(name)
	if it.wire == "" || whole || begins { // else it was only said again
		it.wire = name
	}
	if begins && !s.whole {
		return dst
	}
	return s.tell(dst, it)
}

// begins tells whether a longer name of a tool begins so.
func (c *responsesClient) begins(name string) bool {
	for offered := range c.names {
		if len(offered) > len(name) && strings.HasPrefix(offered, name) {
			return true
		}
	}
	return false
}

// tell tells the client of a call, once its name is known: it says what kind of call
// it is. A message ends here, as it does where Responses come from OpenAI: there are
// clients that take what they read next for a part of the call.
func (s *responseStream) tell(dst []byte, it *outputItem) []byte {
	s.keep(len(it.wire))
	dst = s.closeOpen(dst)
	it.told = true
	tool, ok := s.c.names[it.wire]
	if !ok {
		tool = toolName{name: it.wire} // the model's own idea: the client will say so
	}
	it.tool = tool
	switch tool.kind {
	case toolCustom:
		it.kind = outputCustom
	case toolSearch:
		it.kind = outputSearch
	case toolFunction:
	}
	s.seat(it)
	if it.callID == "" {
		it.callID = "call_" + s.base + "_" + strconv.Itoa(it.index)
	}
	early := it.text // arguments that came ahead of the name
	it.text, it.brackets = nil, brackets{}
	dst = s.itemEvent(dst, "response.output_item.added", it, it.json("in_progress"))
	if len(early) != 0 {
		dst = s.argue(dst, it, early)
	}
	return dst
}

// argue adds to a call's arguments.
func (s *responseStream) argue(dst []byte, it *outputItem, text []byte) []byte {
	s.keep(len(text))
	if !it.told && it.wire != "" {
		dst = s.tell(dst, it) // no more of its name will come
	}
	switch {
	case !it.told:
		it.text = append(it.text, text...)
		return dst
	case it.kind == outputCustom:
		text = it.unwrap.add(text)
	default:
		text = it.half.join(text)
	}
	return s.argumentEvent(dst, it, text)
}

// argumentEvent writes the event of a piece of a call's arguments or input.
func (s *responseStream) argumentEvent(dst []byte, it *outputItem, text []byte) []byte {
	if len(text) == 0 {
		return dst
	}
	it.text = append(it.text, text...)
	if s.quiet || it.kind == outputSearch {
		return dst
	}
	if it.pieces == nil {
		kind := callEvent[it.kind] + ".delta"
		it.pieces = append(it.place([]byte("event: "+kind+"\ndata: {\"type\":\""+kind+"\"")), `,"delta":"`...)
	}
	dst = append(append(append(dst, it.pieces...), text...), `","sequence_number":`...)
	dst = strconv.AppendInt(dst, s.sequence, 10)
	s.sequence++
	return append(dst, "}\n\n"...)
}

// callEvent are the names of the events of a call, without their ends.
var callEvent = map[outputKind]string{
	outputFunction: "response.function_call_arguments",
	outputCustom:   "response.custom_tool_call_input",
}

// closeCalls ends all calls. One without a name, and without arguments, is none.
func (s *responseStream) closeCalls(dst []byte) []byte {
	for _, it := range s.calls {
		if !it.told && it.wire != "" {
			dst = s.tell(dst, it)
		}
	}
	for _, it := range s.items {
		if it.isCall() {
			dst = s.closeCall(dst, it)
		}
	}
	return dst
}

// closeCall ends a call.
func (s *responseStream) closeCall(dst []byte, it *outputItem) []byte {
	rest := it.half.rest()
	switch {
	case it.kind == outputCustom:
		rest = append(rest, it.unwrap.rest()...)
	case it.kind == outputFunction && !it.argued() && rest == nil && s.reason() == "":
		rest = []byte("{}") // there are none: clients read them as JSON
	}
	dst = s.argumentEvent(dst, it, rest)
	it.done = it.json(s.itemStatus())
	if !s.quiet && it.kind != outputSearch {
		key := "arguments"
		if it.kind == outputCustom {
			key = "input"
		}
		dst = s.head(dst, callEvent[it.kind]+".done", it)
		dst = s.tail(appendTextField(dst, key, it.text))
	}
	return s.itemEvent(dst, "response.output_item.done", it, it.done)
}
