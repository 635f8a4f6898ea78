package rawjson

import (
	"fmt"
	"slices"
	"strings"
)

// Edits collects changes to a Doc and applies them in one copy. The zero value
// with Doc set is ready; it is used once. A path is a top-level key, or a key in a
// top-level object after a dot ("stream_options.include_usage").
type Edits struct {
	Doc *Doc

	spans []span
	gone  []int // indices of deleted fields
	added []addition
}

// span puts text in place of a range of the body.
type span struct {
	start, end int
	text       []byte
}

type addition struct {
	key string
	raw []byte
}

// Set gives the field at path a raw value, making field and parent where they are
// missing (a null parent counts as missing). It fails if the parent is not an object.
func (e *Edits) Set(path string, raw []byte) error {
	parent, child, nested := strings.Cut(path, ".")
	if !nested {
		e.set(path, raw)
		return nil
	}
	inner, _ := e.value(parent)
	if IsNull(inner) {
		inner = []byte("{}")
	}
	doc, err := Parse(inner, nil)
	if err != nil {
		return fmt.Errorf("%s is not an object: %w", parent, err)
	}
	sub := Edits{Doc: &doc}
	sub.set(child, raw)
	e.set(parent, sub.Apply(nil))
	return nil
}

// Delete takes the field at path away, with one comma; a missing one is no change.
func (e *Edits) Delete(path string) {
	parent, child, nested := strings.Cut(path, ".")
	if !nested {
		e.remove(path)
		return
	}
	inner, _ := e.value(parent)
	doc, err := Parse(inner, nil)
	if err != nil {
		return // no object: nothing in it to take away
	}
	sub := Edits{Doc: &doc}
	if sub.remove(child); !sub.Empty() {
		e.set(parent, sub.Apply(nil))
	}
}

// Rename gives a top-level field another key and keeps its place. If a field of
// that key is there already, the old one is deleted instead.
func (e *Edits) Rename(key, to string) {
	i := e.index(key)
	if i < 0 {
		return
	}
	if _, there := e.value(to); there {
		e.remove(key)
		return
	}
	f := &e.Doc.Fields[i]
	e.ReplaceRange(f.KeyStart, f.KeyEnd, AppendString(nil, to))
}

// ReplaceRange puts raw in place of body[start:end], which must lie inside one
// value that no other edit touches.
func (e *Edits) ReplaceRange(start, end int, raw []byte) {
	for i := range e.spans {
		if e.spans[i].start == start && e.spans[i].end == end {
			e.spans[i].text = raw
			return
		}
	}
	e.spans = append(e.spans, span{start, end, raw})
}

// Empty tells whether nothing would change.
func (e *Edits) Empty() bool { return len(e.spans)+len(e.gone)+len(e.added) == 0 }

// index finds a top-level field that is not deleted; -1 if there is none.
func (e *Edits) index(key string) int {
	for i := range e.Doc.Fields {
		if string(e.Doc.Fields[i].Key) == key && !slices.Contains(e.gone, i) {
			return i
		}
	}
	return -1
}

// value is a top-level field's raw value as edited so far.
func (e *Edits) value(key string) (raw []byte, ok bool) {
	if i := e.index(key); i >= 0 {
		f := &e.Doc.Fields[i]
		for _, s := range e.spans {
			if s.start == f.ValStart && s.end == f.ValEnd {
				return s.text, true
			}
		}
		return e.Doc.Body[f.ValStart:f.ValEnd], true
	}
	for _, a := range e.added {
		if a.key == key {
			return a.raw, true
		}
	}
	return nil, false
}

func (e *Edits) set(key string, raw []byte) {
	if i := e.index(key); i >= 0 {
		e.ReplaceRange(e.Doc.Fields[i].ValStart, e.Doc.Fields[i].ValEnd, raw)
		return
	}
	for i := range e.added {
		if e.added[i].key == key {
			e.added[i].raw = raw
			return
		}
	}
	e.added = append(e.added, addition{key, raw})
}

func (e *Edits) remove(key string) {
	if i := e.index(key); i >= 0 {
		e.gone = append(e.gone, i)
	}
	e.added = slices.DeleteFunc(e.added, func(a addition) bool { return a.key == key })
}

// Apply appends the edited body to dst; with too little room one slice of the size
// needed is made.
func (e *Edits) Apply(dst []byte) []byte {
	spans := e.plan()
	size := len(e.Doc.Body)
	for _, s := range spans {
		size += len(s.text)
	}
	dst = slices.Grow(dst, size)
	at := 0
	for _, s := range spans {
		if s.start < at {
			continue // inside a range that went already
		}
		dst = append(dst, e.Doc.Body[at:s.start]...)
		dst = append(dst, s.text...)
		at = s.end
	}
	return append(dst, e.Doc.Body[at:]...)
}

// plan is every change as ranges of the body, in order.
func (e *Edits) plan() []span {
	spans := slices.Clone(e.spans)
	fields := e.Doc.Fields
	kept := false
	for i := range fields {
		if !slices.Contains(e.gone, i) {
			kept = true
			continue
		}
		switch {
		case kept: // with the comma before it
			spans = append(spans, span{start: fields[i-1].ValEnd, end: fields[i].ValEnd})
		case i+1 < len(fields): // with the comma after it
			spans = append(spans, span{start: fields[i].KeyStart, end: fields[i+1].KeyStart})
		default:
			spans = append(spans, span{start: fields[i].KeyStart, end: fields[i].ValEnd})
		}
	}
	if len(e.added) != 0 {
		at := e.Doc.open + 1
		if len(fields) != 0 {
			at = fields[len(fields)-1].ValEnd
		}
		spans = append(spans, span{at, at, e.addedText(kept)})
	}
	// Where ranges begin together the wider one goes first and wins.
	slices.SortStableFunc(spans, func(a, b span) int {
		if a.start != b.start {
			return a.start - b.start
		}
		return b.end - a.end
	})
	return spans
}

func (e *Edits) addedText(comma bool) []byte {
	var text []byte
	for _, a := range e.added {
		if comma {
			text = append(text, ',')
		}
		comma = true
		text = AppendString(text, a.key)
		text = append(text, ':')
		text = append(text, a.raw...)
	}
	return text
}
