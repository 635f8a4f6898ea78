package convert

import (
	"bytes"
	"errors"
	"math"

	"realms/internal/protocol/rawjson"
)

// itemKind is what an item is to a Chat client.
type itemKind uint8

const (
	itemMessage itemKind = iota + 1
	itemReasoning
	itemCall
	itemImage
)

// streamItem is an output item of which something came.
type streamItem struct {
	kind    itemKind
	id      []byte // the inside of the raw string; nil: none
	index   int64  // output_index; -1: none
	place   int    // among the items of the stream
	added   bool   // an event of its own began it
	closed  bool   // an event of its own ended it
	matched bool   // found again in the last event

	// A message: the parts of which text went out, by content_index. An image: whole
	// when it went out.
	parts         uint64
	annotated     bool
	start, before int // letters of the content ahead of it, and of its latest part
	// Reasoning: its parts go by their own indices.
	reasoning reasoningKind
	detailed  bool

	call streamCall
}

// reasoningKind is which text of a reasoning item went out.
type reasoningKind uint8

const (
	reasoningSummary reasoningKind = iota + 1
	reasoningText
)

// whole is the set of all parts: for text that does not say which part it is of.
const whole = math.MaxUint64

func partBit(event *rawjson.Doc) uint64 {
	raw, _ := event.Get("content_index")
	if n, ok := rawjson.Int(raw); ok && n >= 0 && n < 64 {
		return 1 << n
	}
	return whole
}

// mark is what an event tells of which item it is about.
type mark struct {
	index      int64  // output_index; -1: not told
	id, callID []byte // the insides of raw strings; nil: not told
}

// partMark is the mark of an event about a part of an item, itemMark that of one which
// holds the item.
func partMark(event *rawjson.Doc) mark {
	id, _ := event.Get("item_id")
	return mark{index: outputIndex(event), id: inside(id)}
}

func itemMark(event *rawjson.Doc, get func(string) []byte) mark {
	return mark{index: outputIndex(event), id: inside(get("id")), callID: inside(get("call_id"))}
}

func outputIndex(event *rawjson.Doc) int64 {
	raw, _ := event.Get("output_index")
	if n, ok := rawjson.Int(raw); ok && n >= 0 {
		return n
	}
	return -1
}

// contradicts tells whether both are known and differ.
func contradicts(a, b []byte) bool {
	return len(a) != 0 && len(b) != 0 && !bytes.Equal(a, b)
}

// is tells whether an item is surely the one of a mark; may, whether nothing speaks
// against it. An item that has ended is no longer spoken of without its name.
func (it *streamItem) is(m mark) bool {
	return len(m.callID) != 0 && bytes.Equal(it.call.id, m.callID) ||
		len(m.id) != 0 && bytes.Equal(it.id, m.id) && it.index == m.index
}

func (it *streamItem) may(m mark) bool {
	return !it.closed && !contradicts(it.id, m.id) && (m.index < 0 || it.index < 0 || m.index == it.index)
}

// learn takes over what an event tells of an item that none before it has told.
func (s *chatStream) learn(it *streamItem, m mark) {
	if len(it.id) == 0 {
		it.id = s.hold(m.id)
	}
	if it.index < 0 {
		it.index = m.index
	}
}

// find is the item of a mark. Some upstreams give an item another id in each event,
// some all items the same index, some neither, or not from the beginning: the most
// exact match counts, the latest of several. Two calls have two call_ids; some name
// them where others have the item's id.
func (s *chatStream) find(kind itemKind, m mark) *streamItem {
	var byID, byIndex, possible *streamItem
	for i := len(s.items) - 1; i >= 0; i-- {
		it := &s.items[i]
		if it.kind != kind || contradicts(it.call.id, m.callID) {
			continue
		}
		if it.is(m) {
			return it
		}
		switch sameIndex := m.index >= 0 && it.index == m.index; {
		case byID == nil && len(m.id) != 0 && (bytes.Equal(it.id, m.id) || bytes.Equal(it.call.id, m.id)):
			byID = it
		case byIndex == nil && sameIndex && !it.closed:
			byIndex = it
		case possible == nil && it.may(m):
			possible = it
		}
	}
	switch {
	case byID != nil:
		return byID
	case byIndex != nil:
		return byIndex
	default:
		return possible
	}
}

// item is the item of a mark, a new one if none came yet; nil if there are too many.
func (s *chatStream) item(kind itemKind, m mark) *streamItem {
	it := s.find(kind, m)
	if it == nil {
		return s.note(kind, m)
	}
	s.learn(it, m)
	return it
}

// note adds an item; nil if there are too many.
func (s *chatStream) note(kind itemKind, m mark) *streamItem {
	if len(s.items) == maxItems {
		s.full = true
		return nil
	}
	n := len(s.items)
	s.items = append(s.items, streamItem{kind: kind, index: m.index, id: s.hold(m.id), place: n, call: streamCall{number: -1}})
	return &s.items[n]
}

var errTooManyItems = errors.New("the response has too many output items")

// kindOf is what an item is to a Chat client; false if nothing.
func kindOf(typ []byte) (kind itemKind, custom, ok bool) {
	switch string(inside(typ)) {
	case "message":
		return itemMessage, false, true
	case "reasoning":
		return itemReasoning, false, true
	case "function_call":
		return itemCall, false, true
	case "custom_tool_call":
		return itemCall, true, true
	case "image_generation_call":
		return itemImage, false, true
	default:
		return 0, false, false
	}
}

// added notes an item; a call is announced. The item may be one of which a delta came
// ahead of this.
func (s *chatStream) added(dst []byte, event *rawjson.Doc) ([]byte, error) {
	raw, _ := event.Get("item")
	get := s.inner.object(raw).get
	kind, custom, ok := kindOf(get("type"))
	if !ok {
		s.foreign = true
		return dst, nil
	}
	m := itemMark(event, get)
	it := s.find(kind, m)
	if it == nil || !it.is(m) && (it.added || !it.may(m)) {
		if it = s.note(kind, m); it == nil {
			return dst, errTooManyItems
		}
	}
	s.learn(it, m)
	it.added = true
	if kind == itemCall {
		dst = s.addedCall(dst, it, get, custom)
	}
	return dst, nil
}

// done sends what of an item did not come in pieces.
func (s *chatStream) done(dst []byte, event *rawjson.Doc) ([]byte, error) {
	raw, _ := event.Get("item")
	get := s.inner.object(raw).get
	kind, custom, ok := kindOf(get("type"))
	if !ok {
		s.foreign = true
		return dst, nil
	}
	it := s.item(kind, itemMark(event, get))
	if it == nil {
		return dst, errTooManyItems
	}
	it.closed = true
	return s.complete(dst, it, get, custom), nil
}

// last sends what of the items of the last event has not come before. Those that can
// be known by their ids are found first: what is left goes by its order.
func (s *chatStream) last(dst, output []byte) ([]byte, error) {
	var places []int
	for _, raw := range rawjson.Elements(output) {
		places = append(places, s.known(s.inner.object(raw).get))
	}
	n := -1
	for _, raw := range rawjson.Elements(output) {
		n++
		get := s.inner.object(raw).get
		kind, custom, ok := kindOf(get("type"))
		if !ok {
			continue
		}
		var it *streamItem
		if places[n] >= 0 {
			it = &s.items[places[n]]
		} else if it = s.again(kind, get, custom); it == nil {
			it = s.note(kind, mark{index: -1, id: inside(get("id"))})
		}
		if it == nil {
			return dst, errTooManyItems
		}
		it.matched = true
		dst = s.complete(dst, it, get, custom)
	}
	return dst, nil
}

// known finds an item of the last event again by its ids: its place in s.items, or -1.
func (s *chatStream) known(get func(string) []byte) int {
	kind, _, _ := kindOf(get("type"))
	id, callID := inside(get("id")), inside(get("call_id"))
	for i := range s.items {
		it := &s.items[i]
		if it.kind != kind || it.matched || contradicts(it.call.id, callID) {
			continue
		}
		if len(id) != 0 && bytes.Equal(it.id, id) || len(callID) != 0 && bytes.Equal(it.call.id, callID) {
			it.matched = true
			return i
		}
	}
	return -1
}

// again finds an item of the last event again whose ids are others now: by the order
// of those that are left.
func (s *chatStream) again(kind itemKind, get func(string) []byte, custom bool) *streamItem {
	speaks := says(get, kind)
	for i := range s.items {
		it := &s.items[i]
		switch {
		case it.kind != kind || it.matched || it.parts != 0 && !speaks:
		case kind == itemCall && !it.call.mayBe(get, custom):
		default:
			return it
		}
	}
	return nil
}

// says tells whether an item has any text that went out, if it was streamed: one
// without cannot be one that had some.
func says(get func(string) []byte, kind itemKind) bool {
	switch kind {
	case itemMessage:
		for _, part := range rawjson.Elements(get("content")) {
			if what, ok := partText(reader(part)); ok && len(what.text) != 0 {
				return true
			}
		}
		return false
	case itemReasoning:
		return len(reasoningTexts(get)) != 0
	case itemImage:
		return len(inside(get("result"))) != 0
	default:
		return true
	}
}

// complete sends what of a whole item has not gone out.
func (s *chatStream) complete(dst []byte, it *streamItem, get func(string) []byte, custom bool) []byte {
	switch it.kind {
	case itemMessage:
		return s.completeMessage(dst, it, get("content"))
	case itemReasoning:
		return s.completeReasoning(dst, it, get)
	case itemImage:
		return s.completeImage(dst, it, get)
	default:
		return s.completeCall(dst, it, get, custom)
	}
}
