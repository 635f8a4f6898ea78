package convert

import (
	"iter"
	"slices"
	"strconv"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// object is a value of the request whose fields have been found, if it is an object.
type object struct {
	raw    []byte
	fields []rawjson.Field // of raw
}

// is tells whether the value is an object at all.
func (o object) is() bool { return rawjson.IsObject(o.raw) }

// get is the raw value of a field; nil if it is not there, or null.
func (o object) get(key string) []byte {
	for i := len(o.fields) - 1; i >= 0; i-- { // of a key that is there twice the last counts
		f := &o.fields[i]
		if string(f.Key) != key {
			continue
		}
		if value := o.raw[f.ValStart:f.ValEnd]; !rawjson.IsNull(value) {
			return value
		}
		return nil
	}
	return nil
}

// appendFields appends fields as they are written, those that are there, a comma before
// each.
func (o object) appendFields(dst []byte, keys ...string) []byte {
	for _, key := range keys {
		dst = appendField(dst, key, o.get(key))
	}
	return dst
}

// mustHave refuses an object of which a field is there and of another type, or that has
// too many to be read: none of them would count.
func (o object) mustHave(p place, fields []typedField) error {
	if o.is() && len(o.fields) == 0 && !rawjson.IsEmpty(o.raw) {
		return p.refused("", "has too many fields.")
	}
	if wrong := wrongField(o.get, fields); wrong != nil {
		return wrongType(p.field("."+wrong.key), wrong.jsonType)
	}
	return nil
}

// objectReader reads the objects of a request, each once: schemas and long texts take
// most of the time that a conversion takes, each time that they are looked at.
type objectReader struct {
	room  []rawjson.Field // what was made room for last
	spare []rawjson.Field // what of it no object has yet
}

// spareFields is how many fields are made room for at once, at most.
const spareFields = 128

// objects yields the elements of a raw array; nothing if raw is no array. The pass that
// finds where an element ends is the one that finds its fields.
func (r *objectReader) objects(raw []byte) iter.Seq2[int, object] {
	return func(yield func(int, object) bool) {
		if !rawjson.IsArray(raw) {
			return
		}
		rest := unspaced(raw[1:])
		for i := 0; rest[0] != ']'; i++ {
			o := r.object(rest)
			if !yield(i, o) {
				return
			}
			if rest = unspaced(rest[len(o.raw):]); rest[0] == ',' {
				rest = unspaced(rest[1:])
			}
		}
	}
}

// object reads the value that text begins with, whatever follows it. One with more
// fields than are ever needed has none.
func (r *objectReader) object(text []byte) object {
	if !rawjson.IsObject(text) {
		return object{raw: rawjson.Prefix(text)}
	}
	if cap(r.spare) < usualFields {
		r.room = make([]rawjson.Field, 0, min(2*cap(r.room)+2*usualFields, spareFields))
		r.spare = r.room
	}
	found := rawjson.Head(text, r.spare).Fields
	if len(found) > cap(r.spare) {
		r.room = found[:0] // it has outgrown the room
	}
	r.spare = found[len(found):]
	end := 1
	if len(found) != 0 {
		end = found[len(found)-1].ValEnd
	}
	rest := unspaced(text[end:])
	if rest[0] != '}' { // there are more fields than Head looks at
		return object{raw: rawjson.Prefix(text)}
	}
	return object{raw: text[:len(text)-len(rest)+1], fields: found[:len(found):len(found)]}
}

// forget gives the room of all objects that were read to those that are read next. The
// fields of none of them may be looked at any more.
func (r *objectReader) forget() { r.spare = r.room[:0] }

// unspaced is text without the white space that it begins with.
func unspaced(text []byte) []byte {
	for len(text) != 0 && text[0] <= ' ' {
		text = text[1:]
	}
	return text
}

// place is where in the request something stands. It is put in words only where that is
// refused: hardly ever.
type place struct {
	list  string // of the request's; none if it is empty
	i     int
	inner string // a list in that element, with its dot; none if it is empty
	j     int
	last  string // a field there, with its dot unless it is the request's; none if it is empty
}

// in is a list inside.
func (p place) in(key string) place {
	p.inner = key
	return p
}

// at is an element of that list.
func (p place) at(j int) place {
	p.j = j
	return p
}

// to is a field there, given with its dot.
func (p place) to(key string) place {
	p.last = key
	return p
}

// field names a field there, given with its dot; the place itself if it is empty.
func (p place) field(key string) string {
	name := p.last + key
	if p.inner != "" {
		name = p.inner + "[" + strconv.Itoa(p.j) + "]" + name
	}
	if p.list != "" {
		name = p.list + "[" + strconv.Itoa(p.i) + "]" + name
	}
	return name
}

// refused is the error that refuses a field there, given as field takes it; words say
// what is the matter with it.
func (p place) refused(key, words string) error {
	field := p.field(key)
	return realm.Invalid(field, "The field `"+field+"` "+words)
}

// at is the raw value at a path of keys; nil if it is not there, or null.
func at(raw []byte, path ...string) []byte {
	var room []rawjson.Field
	for _, key := range path {
		if !rawjson.IsObject(raw) {
			return nil
		}
		room = slices.Grow(room, usualFields)
		doc, _ := rawjson.Scan(raw, room) // without fields if it has too many
		if raw, _ = doc.Get(key); rawjson.IsNull(raw) {
			return nil
		}
	}
	return raw
}

// usualFields is how many fields nearly all objects inside have.
const usualFields = 8

// reader gives the raw values of an object's fields: nil for those that are not there,
// or null, and for all if raw is no object.
func reader(raw []byte) func(key string) []byte {
	var doc rawjson.Doc
	if rawjson.IsObject(raw) {
		doc, _ = rawjson.Scan(raw, make([]rawjson.Field, 0, usualFields)) // without fields if it has too many
	}
	return func(key string) []byte {
		value, _ := doc.Get(key)
		if rawjson.IsNull(value) {
			return nil
		}
		return value
	}
}

// appendField appends ,"key":raw unless there is no value.
func appendField(dst []byte, key string, raw []byte) []byte {
	if len(raw) == 0 {
		return dst
	}
	dst = append(append(append(dst, `,"`...), key...), `":`...)
	return append(dst, raw...)
}

// copyFields appends fields of an object as they are written, those that are there.
func copyFields(dst, object []byte, keys ...string) []byte {
	get := reader(object)
	for _, key := range keys {
		dst = appendField(dst, key, get(key))
	}
	return dst
}

// fields makes an object of what appendField wrote.
func fields(written []byte) []byte {
	object := slices.Clone(written)
	object[0] = '{' // was the first comma
	return append(object, '}')
}

// list makes an array of elements that are each followed by a comma.
func list(elements []byte) []byte {
	return appendList(make([]byte, 0, len(elements)+2), elements)
}

// appendList appends the same array.
func appendList(dst, elements []byte) []byte {
	if len(elements) != 0 {
		elements = elements[:len(elements)-1]
	}
	return append(append(append(dst, '['), elements...), ']')
}
