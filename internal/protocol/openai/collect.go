package openai

import (
	"bytes"
	"cmp"
	"errors"
	"slices"

	"realms/internal/protocol/rawjson"
	"realms/internal/sse"
)

// What keeps a Collector from giving a response.
var (
	// ErrTooLarge says that the response would take more memory than it may.
	ErrTooLarge = errors.New("response is larger than may be collected")
	// ErrUnfinished says that the stream has not told its response.
	ErrUnfinished = errors.New("stream ended without its response")
	// ErrPieces says that an event came in pieces: whoever collects takes none.
	ErrPieces = errors.New("event in pieces cannot be collected")
)

// Collector makes of the events of a Responses stream the one object that a client
// gets who asked for no stream: the terminal event's own, byte for byte, whether the
// response is complete, incomplete, cancelled or failed (which StreamState tells
// too). Where that leaves its output out, it is put together from the items that the
// stream told as done; the rest stays as it was written.
type Collector struct {
	limit    int
	size     int // of what is held
	items    []collected
	response []byte // the terminal event's; nil before it
	output   bool   // response has its output
	err      error  // the first, which is the last word
	fields   []rawjson.Field
}

// collected is an output item that is done.
type collected struct {
	index int64
	raw   []byte
}

// itemCost is about what keeping an item takes beside its bytes.
const itemCost = 64

// NewCollector makes one that holds at most limit bytes of items and response, and as
// much again while Response puts them together.
func NewCollector(limit int) *Collector { return &Collector{limit: limit} }

// Add takes in the stream's next event. A *DataError means data that is not a JSON
// object; after an error none but it comes. What follows the terminal event counts
// for nothing.
func (c *Collector) Add(ev sse.Event) error {
	if c.err != nil || c.response != nil {
		return c.err
	}
	c.err = c.add(ev)
	return c.err
}

func (c *Collector) add(ev sse.Event) error {
	if ev.Part {
		return ErrPieces
	}
	data := bytes.TrimSpace(ev.Data)
	if ev.Comment || len(data) == 0 || bytes.Equal(data, done) {
		return nil
	}
	if typ := typePrefix(data); bytes.HasSuffix(typ, []byte(".delta")) {
		return nil // most of a stream, and what is done repeats it
	}
	doc, err := rawjson.Scan(data, c.fields)
	if err != nil {
		return &DataError{err}
	}
	c.fields = doc.Fields[:0]
	switch string(eventType(ev, &doc)) {
	case "response.output_item.done":
		return c.addItem(&doc)
	case "response.completed", "response.incomplete", "response.done", "response.cancelled", "response.failed":
		return c.finish(&doc)
	}
	return nil
}

// addItem keeps an item in its place. One that is told again takes the first's place.
func (c *Collector) addItem(doc *rawjson.Doc) error {
	raw, _ := doc.Get("item")
	if !rawjson.IsObject(raw) {
		return nil
	}
	index := int64(0)
	if n := len(c.items); n > 0 {
		index = c.items[n-1].index + 1 // behind the others, if it does not say
	}
	if text, ok := doc.Get("output_index"); ok {
		if n, ok := rawjson.Int(text); ok && n >= 0 && n < maxCount {
			index = n
		}
	}
	at, found := slices.BinarySearchFunc(c.items, index, func(it collected, index int64) int { return cmp.Compare(it.index, index) })
	if found {
		c.size -= len(c.items[at].raw) + itemCost
	} else {
		c.items = slices.Insert(c.items, at, collected{index: index})
	}
	if err := c.take(len(raw) + itemCost); err != nil {
		return err
	}
	c.items[at].raw = bytes.Clone(raw)
	return nil
}

// finish keeps the terminal event's response.
func (c *Collector) finish(doc *rawjson.Doc) error {
	raw, _ := doc.Get("response")
	response, err := rawjson.Scan(raw, nil)
	if err != nil {
		return ErrUnfinished
	}
	output, _ := response.Get("output")
	if !rawjson.IsEmpty(output) || len(c.items) == 0 && rawjson.IsArray(output) {
		c.items, c.size, c.output = nil, 0, true
	}
	if err := c.take(len(raw)); err != nil {
		return err
	}
	c.response = bytes.Clone(raw)
	return nil
}

func (c *Collector) take(n int) error {
	if c.size += n; c.size > c.limit {
		c.items = nil
		return ErrTooLarge
	}
	return nil
}

// Response is the whole response object, which is the caller's own. The error is
// Add's, or ErrUnfinished before the terminal event.
func (c *Collector) Response() ([]byte, error) {
	switch {
	case c.err != nil:
		return nil, c.err
	case c.response == nil:
		return nil, ErrUnfinished
	case c.output:
		return c.response, nil
	}
	output := append(make([]byte, 0, c.size+2), '[')
	for i, it := range c.items {
		if i > 0 {
			output = append(output, ',')
		}
		output = append(output, it.raw...)
	}
	doc, err := rawjson.Scan(c.response, nil)
	if err != nil {
		return nil, err // it was read before
	}
	edits := rawjson.Edits{Doc: &doc}
	_ = edits.Set("output", append(output, ']')) // fails for nested paths alone
	c.response, c.items, c.output = edits.Apply(nil), nil, true
	return c.response, nil
}

// Ending is the data of the stream's terminal event with the whole response in it, for
// who gets the events; false: it is as it came.
func (c *Collector) Ending(data []byte) ([]byte, bool) {
	if c.err != nil || c.response == nil || c.output {
		return nil, false
	}
	response, err := c.Response()
	if err != nil {
		return nil, false
	}
	doc, err := rawjson.Scan(bytes.TrimSpace(data), nil)
	if err != nil {
		return nil, false // it was read before
	}
	edits := rawjson.Edits{Doc: &doc}
	_ = edits.Set("response", response) // fails for nested paths alone
	return edits.Apply(nil), true
}
