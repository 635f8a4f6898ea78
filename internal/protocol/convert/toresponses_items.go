package convert

import (
	"bytes"
	"errors"
	"math"

	"realms/internal/protocol/rawjson"
)

// maxItems bounds the items of one stream.
const maxItems = 4096

// itemKind is what an item is to a Chat client.
type itemKind uint8

const (
	itemMessage itemKind = iota + 1
	itemReasoning
	itemCall
)

// streamItem is an output item of which something came.
type streamItem struct {
	kind    itemKind
	id      []byte // the inside of the raw string; nil: none
	index   int64  // output_index; -1: none
	matched bool   // found again in the last event

	// A message: the parts of which text went out, by content_index.
	parts         uint64
	annotated     bool
	start, before int // letters of the content ahead of it, and of its latest part
	// Reasoning: its parts go by their own indices.
	reasoning reasoningKind
	detailed  bool

	// A call.
	callID    []byte
	call      int  // its index for the client; -1 until it was announced
	custom    bool // of a custom tool
	inputSent bool
	input     []byte // what the announcement had of it, as a raw string
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

// find is the item that an event is about. Some upstreams give an item another id in
// each event, some all items the same index, some neither: the most exact match
// counts, the latest of several.
func (s *chatStream) find(kind itemKind, index int64, id []byte) *streamItem {
	var byID, byIndex, latest *streamItem
	for i := len(s.items) - 1; i >= 0; i-- {
		it := &s.items[i]
		if it.kind != kind {
			continue
		}
		sameID := len(id) != 0 && bytes.Equal(it.id, id)
		sameIndex := index >= 0 && it.index == index
		switch {
		case sameID && (sameIndex || index < 0):
			return it
		case sameID && byID == nil:
			byID = it
		case sameIndex && byIndex == nil:
			byIndex = it
		case latest == nil:
			latest = it
		}
	}
	switch {
	case byID != nil:
		return byID
	case byIndex != nil:
		return byIndex
	case index < 0 && len(id) == 0:
		return latest
	default:
		return nil
	}
}

// item is the item that an event is about, a new one if none came yet; nil if there
// are too many.
func (s *chatStream) item(kind itemKind, index int64, id []byte) *streamItem {
	if it := s.find(kind, index, id); it != nil {
		return it
	}
	return s.note(kind, index, id)
}

// note adds an item; nil if there are too many.
func (s *chatStream) note(kind itemKind, index int64, id []byte) *streamItem {
	if len(s.items) == maxItems {
		return nil
	}
	s.items = append(s.items, streamItem{kind: kind, index: index, id: bytes.Clone(id), call: -1})
	return &s.items[len(s.items)-1]
}

// of is the item that an event of one of its parts is about.
func (s *chatStream) of(kind itemKind, event *rawjson.Doc) *streamItem {
	id, _ := event.Get("item_id")
	return s.item(kind, outputIndex(event), inside(id))
}

func outputIndex(event *rawjson.Doc) int64 {
	raw, _ := event.Get("output_index")
	if n, ok := rawjson.Int(raw); ok && n >= 0 {
		return n
	}
	return -1
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
	default:
		return 0, false, false
	}
}

// added notes an item; a call is announced.
func (s *chatStream) added(dst []byte, event *rawjson.Doc) ([]byte, error) {
	raw, _ := event.Get("item")
	get := reader(raw)
	kind, custom, ok := kindOf(get("type"))
	if !ok {
		return dst, nil
	}
	index, id := outputIndex(event), inside(get("id"))
	it := s.find(kind, index, id)
	if it == nil || !bytes.Equal(it.id, id) || it.index != index || len(id) == 0 {
		if it = s.note(kind, index, id); it == nil {
			return dst, errTooManyItems
		}
	}
	if kind == itemCall && it.call < 0 && len(inside(get("name"))) != 0 && len(inside(get("call_id"))) != 0 {
		dst = s.announce(dst, it, get, custom)
	}
	return dst, nil
}

// done sends what of an item did not come in pieces.
func (s *chatStream) done(dst []byte, event *rawjson.Doc) ([]byte, error) {
	raw, _ := event.Get("item")
	get := reader(raw)
	kind, custom, ok := kindOf(get("type"))
	if !ok {
		return dst, nil
	}
	it := s.find(kind, outputIndex(event), inside(get("id")))
	if it != nil && kind == itemCall && !sameCall(it, get) {
		it = nil
	}
	if it == nil {
		it = s.note(kind, outputIndex(event), inside(get("id")))
	}
	return s.complete(dst, it, get, custom)
}

// last sends what of an item of the last event has not come before. Items are known
// again by their ids or, where those change, by their order.
func (s *chatStream) last(dst, raw []byte) ([]byte, error) {
	get := reader(raw)
	kind, custom, ok := kindOf(get("type"))
	if !ok {
		return dst, nil
	}
	var it *streamItem
	id, speaks := inside(get("id")), says(get, kind)
	for i := range s.items {
		other := &s.items[i]
		if other.kind != kind || other.matched || kind == itemCall && !sameCall(other, get) {
			continue
		}
		if len(id) != 0 && bytes.Equal(other.id, id) {
			it = other
			break
		}
		if it == nil && (other.parts == 0 || speaks) {
			it = other
		}
	}
	if it == nil {
		it = s.note(kind, -1, id)
	}
	if it != nil {
		it.matched = true
	}
	return s.complete(dst, it, get, custom)
}

// says tells whether an item has any text that went out, if it was streamed: one
// without cannot be one that had some.
func says(get func(string) []byte, kind itemKind) bool {
	if kind == itemReasoning {
		return len(reasoningTexts(get)) != 0
	}
	for _, part := range rawjson.Elements(get("content")) {
		if what, ok := partText(reader(part)); ok && len(what.text) != 0 {
			return true
		}
	}
	return kind == itemCall
}

// sameCall tells whether a call can be the one that an item is: two calls have two
// ids.
func sameCall(it *streamItem, get func(string) []byte) bool {
	id := inside(get("call_id"))
	return len(id) == 0 || len(it.callID) == 0 || bytes.Equal(id, it.callID)
}

// complete sends what of a whole item has not gone out.
func (s *chatStream) complete(dst []byte, it *streamItem, get func(string) []byte, custom bool) ([]byte, error) {
	if it == nil {
		return dst, errTooManyItems
	}
	switch it.kind {
	case itemMessage:
		return s.completeMessage(dst, it, get("content")), nil
	case itemReasoning:
		return s.completeReasoning(dst, it, get), nil
	default:
		return s.completeCall(dst, it, get, custom), nil
	}
}
