package convert

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"realms/internal/protocol/rawjson"
)

var (
	errTooMuchHeld  = errors.New("the calls of the response are too large, or what its items are called")
	errNamelessCall = errors.New("the response has a call that it never names")
)

// streamCall is what is known of a call. The client hears of it as soon as it has a
// name and an id, which may be later than the first arguments: these wait.
type streamCall struct {
	number   int      // its index for the client; -1 until it was announced
	id, name []byte   // call_id and name, the insides of raw strings; nil: not told
	custom   bool     // of a custom tool
	sent     sentText // what of the input went out
	input    []byte   // the inside of a raw string: what waits, or came with the announcement
}

// stray tells whether no event has named the call that arguments are of.
func (c *streamCall) stray() bool {
	return c.number < 0 && len(c.name) == 0 && len(c.input) != 0
}

// mayBe tells whether a call can be one that the last event has, under another call_id
// there: it keeps its name, and what waits of it is all that it was given.
func (c *streamCall) mayBe(get func(string) []byte, custom bool) bool {
	if c.number >= 0 {
		return !contradicts(c.id, inside(get("call_id"))) || bytes.Equal(c.name, inside(get("name")))
	}
	given, _ := rawjson.String(callInput(get, custom))
	waiting, _ := rawjson.String(quoted(c.input))
	return !contradicts(c.name, inside(get("name"))) && (waiting == "" || waiting == given)
}

// hold copies what is kept of an item.
func (s *chatStream) hold(text []byte) []byte {
	s.held += len(text)
	return bytes.Clone(text)
}

// identify takes over what an item tells of a call.
func (s *chatStream) identify(c *streamCall, get func(string) []byte, custom bool) {
	if c.number < 0 {
		c.custom = custom
	}
	if id := inside(get("call_id")); len(c.id) == 0 && len(id) != 0 {
		c.id = s.hold(id)
	}
	if name := inside(get("name")); len(c.name) == 0 && len(name) != 0 {
		c.name = s.hold(name)
	}
}

// addedCall announces a call that the client can answer, which takes an id; a later
// event may tell that of another.
func (s *chatStream) addedCall(dst []byte, it *streamItem, get func(string) []byte, custom bool) []byte {
	c := &it.call
	s.identify(c, get, custom)
	if c.number >= 0 {
		return dst
	}
	waiting := c.input
	if len(waiting) == 0 {
		c.input = s.hold(inside(callInput(get, custom))) // deltas may bring it again
	}
	if len(c.name) == 0 || len(c.id) == 0 && len(it.id) == 0 {
		return dst
	}
	dst = s.announce(dst, it)
	return s.sendInput(dst, c, waiting)
}

// announce tells the client of a call.
func (s *chatStream) announce(dst []byte, it *streamItem) []byte {
	c := &it.call
	c.number = s.calls
	s.calls++
	switch {
	case s.c.legacy && c.number > 0:
		return dst // function_call has room for one
	case s.c.legacy:
		dst = append(append(s.open(dst), `"function_call":{"name":"`...), c.name...)
		return s.close(append(dst, `","arguments":""}`...))
	}
	dst = append(s.open(dst), `"tool_calls":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(c.number), 10)
	dst = appendCallID(append(dst, `,"id":`...), c.id, it.id, c.number)
	if c.custom {
		dst = append(append(dst, `,"type":"custom","custom":{"name":"`...), c.name...)
		dst = append(dst, `","input":""}}]`...)
	} else {
		dst = append(append(dst, `,"type":"function","function":{"name":"`...), c.name...)
		dst = append(dst, `","arguments":""}}]`...)
	}
	return s.close(dst)
}

// arguments sends a piece of a call's arguments or input; of all of it, where the event
// has that, what the pieces before lack. What cannot go out yet waits.
func (s *chatStream) arguments(dst []byte, event *rawjson.Doc, key string, custom bool) ([]byte, error) {
	raw, _ := event.Get(key)
	text := inside(raw)
	if len(text) == 0 {
		return dst, nil
	}
	m := partMark(event)
	callID, _ := event.Get("call_id")
	m.callID = inside(callID)
	it := s.item(itemCall, m)
	if it == nil {
		return dst, errTooManyItems
	}
	c := &it.call
	if key != "delta" {
		text = c.rest(text)
	}
	if c.number >= 0 {
		return s.sendInput(dst, c, text), nil
	}
	s.held += len(text)
	c.input = append(c.input, text...)
	s.identify(c, func(key string) []byte { raw, _ := event.Get(key); return raw }, custom)
	return dst, nil
}

// rest is what of a whole input the pieces before lack, sent or waiting.
func (c *streamCall) rest(text []byte) []byte {
	if c.number >= 0 {
		return c.sent.rest(text)
	}
	if len(c.input) > longestEscape*len(text) {
		return nil // it is longer, and need not be read once more
	}
	var waiting sentText
	waiting.add(c.input)
	return waiting.rest(text)
}

// sendInput sends a piece of an input, if there is any.
func (s *chatStream) sendInput(dst []byte, c *streamCall, text []byte) []byte {
	s.sending = &c.sent
	s.sending.add(text)
	switch {
	case len(text) == 0:
		return dst
	case s.c.legacy && c.number > 0:
		return dst
	case s.c.legacy:
		dst = append(s.open(dst), `"function_call":{"arguments":"`...)
		return s.close(append(append(dst, text...), `"}`...))
	}
	dst = append(s.open(dst), `"tool_calls":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(c.number), 10)
	if c.custom {
		dst = append(dst, `,"custom":{"input":"`...)
	} else {
		dst = append(dst, `,"function":{"arguments":"`...)
	}
	s.textAt = len(dst)
	return s.close(append(append(dst, text...), `"}}]`...))
}

// completeCall sends what of a call has not gone out. One without a name waits for
// another event to tell it.
func (s *chatStream) completeCall(dst []byte, it *streamItem, get func(string) []byte, custom bool) []byte {
	c := &it.call
	s.identify(c, get, custom)
	text := inside(callInput(get, custom))
	if len(c.name) == 0 {
		if len(text) != 0 {
			c.input = s.hold(text)
		}
		return dst
	}
	if c.number < 0 {
		dst = s.announce(dst, it)
	}
	if len(text) == 0 {
		text = c.input
	}
	rest := c.sent.rest(text)
	if len(rest) != 0 {
		s.claim(rest)
	}
	return s.sendInput(dst, c, rest)
}

// claim forgets the strays that are pieces of a text: they came under ids of their
// own.
func (s *chatStream) claim(text []byte) {
	rest, _ := rawjson.String(quoted(text))
	var pieces []*streamCall
	for i := range s.items {
		c := &s.items[i].call
		if !c.stray() {
			continue
		}
		if piece, _ := rawjson.String(quoted(c.input)); strings.HasPrefix(rest, piece) {
			rest = rest[len(piece):]
			pieces = append(pieces, c)
		}
	}
	if rest != "" {
		return
	}
	for _, c := range pieces {
		c.input = nil
	}
}

// flush sends what has waited for events that did not come: calls without an id, the
// arguments that came with an announcement and never again, and those of strays, which
// are of the calls that have none.
func (s *chatStream) flush(dst []byte) []byte {
	for i := range s.items {
		it := &s.items[i]
		c := &it.call
		if it.kind != itemCall || len(c.name) == 0 || c.sent.units != 0 {
			continue
		}
		if c.number < 0 {
			dst = s.announce(dst, it)
		}
		if len(c.input) == 0 {
			c.input = s.takeStray()
		}
		dst = s.sendInput(dst, c, c.input)
	}
	return dst
}

func (s *chatStream) takeStray() []byte {
	for i := range s.items {
		if c := &s.items[i].call; c.stray() {
			input := c.input
			c.input = nil
			return input
		}
	}
	return nil
}

// nameless tells whether there is a call that the client cannot hear of. Where tools
// of other kinds were at work, arguments that no call claims may be theirs.
func (s *chatStream) nameless() bool {
	for i := range s.items {
		it := &s.items[i]
		if it.kind == itemCall && len(it.call.name) == 0 && (it.added || it.closed || it.matched || it.call.stray() && !s.foreign) {
			return true
		}
	}
	return false
}
