package rawjson

import (
	"bytes"
	"errors"
	"slices"
	"strings"
)

// Edits collects changes to a Doc and applies them in one copy. The zero value
// with Doc set is ready; it is used once. Each change sees what those before it
// have made, whichever fields they touch.
//
// A path is keys of nested objects, joined by dots ("stream_options.include_usage");
// the first is a top-level one. Elements of arrays have no path. Where a key of an
// inner object repeats, its last value counts and a change leaves that one alone.
type Edits struct {
	Doc *Doc

	changes []change
	added   []addition
}

// change is what becomes of one field that is there.
type change struct {
	field   int // index in Doc.Fields
	gone    bool
	renamed bool
	key     string // where renamed
	raw     []byte // the new value; nil: as it was, but for what follows
	inner   *Edits // changes inside the value, an object
	spans   []span // ranges inside the value
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

// errNotObject says that a path leads through something that holds no fields.
var errNotObject = errors.New("the path leads through what is no object")

// Set gives the field at path a raw value, making the field and the objects around
// it where they are missing (null counts as missing). It fails, and changes
// nothing, if the path leads through anything but objects.
func (e *Edits) Set(path string, raw []byte) error {
	key, rest, nested := strings.Cut(path, ".")
	if !nested {
		e.set(key, raw)
		return nil
	}
	i, j := e.find(key)
	old := e.value(i, j)
	if IsNull(old) {
		e.set(key, wrap(rest, raw))
		return nil
	}
	return e.within(i, j, func(inner *Edits) error { return inner.Set(rest, raw) })
}

// Delete takes the field at path away, with one comma; a missing one is no change.
func (e *Edits) Delete(path string) {
	key, rest, nested := strings.Cut(path, ".")
	i, j := e.find(key)
	if !nested {
		e.remove(i, j)
		return
	}
	_ = e.within(i, j, func(inner *Edits) error { inner.Delete(rest); return nil })
}

// Rename gives the field at path another last key and keeps its place. A field of
// that key that is there already stays, unless it is null, and the old one is
// deleted instead.
func (e *Edits) Rename(path, to string) {
	key, rest, nested := strings.Cut(path, ".")
	i, j := e.find(key)
	if nested {
		_ = e.within(i, j, func(inner *Edits) error { inner.Rename(rest, to); return nil })
		return
	}
	if i < 0 && j < 0 || key == to {
		return
	}
	if there, thereAdded := e.find(to); !IsNull(e.value(there, thereAdded)) {
		e.remove(i, j)
		return
	}
	e.remove(e.find(to))
	if i >= 0 {
		c := e.change(i)
		c.renamed, c.key = true, to
		return
	}
	_, j = e.find(key) // what was removed may have stood before it
	e.added[j].key = to
}

// ReplaceRange puts raw in place of body[start:end], which must lie inside one
// top-level field's value. Of two ranges that overlap the one that begins first,
// or is wider, wins.
func (e *Edits) ReplaceRange(start, end int, raw []byte) {
	for i := range e.Doc.Fields {
		f := &e.Doc.Fields[i]
		if start < f.ValStart || end > f.ValEnd {
			continue
		}
		c := e.change(i)
		if start == f.ValStart && end == f.ValEnd {
			c.raw, c.inner, c.spans = raw, nil, nil
		} else if c.raw == nil && c.inner == nil {
			c.spans = append(c.spans, span{start, end, raw})
		}
		return
	}
}

// Empty tells whether nothing would change.
func (e *Edits) Empty() bool { return len(e.changes)+len(e.added) == 0 }

// find is where a key stands now: an index in Doc.Fields, or one in added; both -1
// if it is nowhere.
func (e *Edits) find(key string) (field, added int) {
	for n := range e.changes {
		if c := &e.changes[n]; c.renamed && !c.gone && c.key == key {
			return c.field, -1
		}
	}
	for i := len(e.Doc.Fields) - 1; i >= 0; i-- {
		if string(e.Doc.Fields[i].Key) != key {
			continue
		}
		if c := e.changed(i); c == nil || !c.gone && !c.renamed {
			return i, -1
		}
	}
	return -1, slices.IndexFunc(e.added, func(a addition) bool { return a.key == key })
}

// changed is what becomes of a field; nil if nothing does.
func (e *Edits) changed(field int) *change {
	for n := range e.changes {
		if e.changes[n].field == field {
			return &e.changes[n]
		}
	}
	return nil
}

// change notes that something becomes of a field, and that it is the only one of
// its key.
func (e *Edits) change(field int) *change {
	if c := e.changed(field); c != nil {
		return c
	}
	key := e.Doc.Fields[field].Key
	for i := range field {
		if bytes.Equal(e.Doc.Fields[i].Key, key) && e.changed(i) == nil {
			e.changes = append(e.changes, change{field: i, gone: true})
		}
	}
	e.changes = append(e.changes, change{field: field})
	return &e.changes[len(e.changes)-1]
}

// value is a raw value as it stands, but for changes inside it; nil if it is
// nowhere.
func (e *Edits) value(field, added int) []byte {
	switch {
	case added >= 0:
		return e.added[added].raw
	case field < 0:
		return nil
	}
	if c := e.changed(field); c != nil && c.raw != nil {
		return c.raw
	}
	f := &e.Doc.Fields[field]
	return e.Doc.Body[f.ValStart:f.ValEnd]
}

func (e *Edits) set(key string, raw []byte) {
	switch i, j := e.find(key); {
	case i >= 0:
		c := e.change(i)
		c.raw, c.inner, c.spans = raw, nil, nil
	case j >= 0:
		e.added[j].raw = raw
	default:
		e.added = append(e.added, addition{key, raw})
	}
}

func (e *Edits) remove(field, added int) {
	if field >= 0 {
		e.change(field).gone = true
	}
	if added >= 0 {
		e.added = slices.Delete(e.added, added, added+1)
	}
}

// within makes changes inside the object that stands at a place.
func (e *Edits) within(field, added int, edit func(*Edits) error) error {
	value := e.value(field, added)
	if !IsObject(value) {
		return errNotObject
	}
	var c *change
	if field >= 0 {
		c = e.changed(field)
	}
	if c != nil && c.inner != nil {
		return edit(c.inner)
	}
	if c != nil && c.raw == nil && c.spans != nil {
		value = e.spanned(c)
	}
	doc, err := Scan(value, nil)
	if err != nil {
		return errNotObject // or one with more fields than we look into
	}
	inner := &Edits{Doc: &doc}
	if err := edit(inner); err != nil || inner.Empty() {
		return err
	}
	switch {
	case added >= 0:
		e.added[added].raw = inner.Apply(nil)
	case c != nil && (c.raw != nil || c.spans != nil):
		c.raw, c.spans = inner.Apply(nil), nil
	default:
		e.change(field).inner = inner
	}
	return nil
}

// spanned is a field's value with the ranges in it replaced.
func (e *Edits) spanned(c *change) []byte {
	f := &e.Doc.Fields[c.field]
	return splice(nil, e.Doc.Body[:f.ValEnd], f.ValStart, inOrder(slices.Clone(c.spans)))
}

// wrap is an object that holds raw at path.
func wrap(path string, raw []byte) []byte {
	text := make([]byte, 0, len(path)+len(raw)+8)
	depth := 0
	for key := range strings.SplitSeq(path, ".") {
		text = append(AppendString(append(text, '{'), key), ':')
		depth++
	}
	text = append(text, raw...)
	for range depth {
		text = append(text, '}')
	}
	return text
}
