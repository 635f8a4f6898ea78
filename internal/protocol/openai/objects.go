package openai

import (
	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// readObjects collects the ids in a top-level field that name objects upstream.
// Only the fields that can hold some are looked into, and only when a tell-tale key
// may be anywhere in the body.
func (r *Request) readObjects(key string, raw []byte) error {
	switch key {
	case "previous_response_id":
		return r.readID(key, raw)
	case "conversation":
		if rawjson.IsObject(raw) {
			return r.readInnerID(key, raw)
		}
		return r.readID(key, raw)
	case "prompt":
		if !rawjson.IsObject(raw) {
			return nil // a text: completions, images
		}
		if err := r.readInnerID(key, raw); err != nil {
			return err
		}
		return r.walk(key, raw)
	case "input":
		r.findCompaction(raw)
		if err := r.readItems(raw); err != nil {
			return err
		}
		return r.walk(key, raw)
	case "messages", "tools", "images", "mask":
		return r.walk(key, raw)
	default:
		return nil
	}
}

func (r *Request) addRef(field, id string) error {
	if id == "" {
		return nil
	}
	if len(r.Objects) == maxRefs {
		return realm.Invalid(field, "The request names too many objects: 256 ids at most.")
	}
	r.Objects = append(r.Objects, ObjectRef{Field: field, ID: id})
	return nil
}

func (r *Request) readID(key string, raw []byte) error {
	if rawjson.IsNull(raw) {
		return nil
	}
	id, ok := rawjson.String(raw)
	if !ok {
		return realm.Invalid(key, "The field `"+key+"` must be an id.")
	}
	return r.addRef(key, id)
}

// readInnerID reads {"id": …}. A repeated key is refused: the upstream might take
// another one than we do.
func (r *Request) readInnerID(key string, raw []byte) error {
	inner, err := rawjson.Parse(raw, nil)
	if err != nil {
		return realm.Invalid(key, "The field `"+key+"` must be an object without repeated keys.")
	}
	id, _ := inner.Get("id")
	return r.readID(key+".id", id)
}

// item is what tells a reference from an item of the conversation. An item
// reference may leave its type out, and then only its want of a role shows it.
type item struct {
	typed, role, reference bool
	ids                    []ObjectRef
}

// readItems finds item references in input. All of a repeated key's values count,
// because which of them the upstream reads is not known.
func (r *Request) readItems(raw []byte) error {
	if !rawjson.IsArray(raw) || !r.Doc.MayHave("id") {
		return nil
	}
	var it item
	w := rawjson.NewWalker(raw)
	for w.Next() {
		switch w.Depth() {
		case 0:
		case 1:
			if err := r.addItem(&it); err != nil {
				return err
			}
		default:
			it.read(w)
			w.Skip()
		}
	}
	return r.addItem(&it)
}

func (it *item) read(w *rawjson.Walker) {
	value := w.Value()
	switch string(w.Key()) {
	case "type":
		it.typed = true
		it.reference = it.reference || rawjson.IsNull(value) || rawjson.Equal(value, "item_reference")
	case "role":
		it.role = true
	case "id":
		if id, ok := rawjson.String(value); ok {
			it.ids = append(it.ids, ObjectRef{Field: "input" + w.Path(), ID: id})
		}
	}
}

func (r *Request) addItem(it *item) error {
	if it.reference || !it.typed && !it.role {
		for _, ref := range it.ids {
			if err := r.addRef(ref.Field, ref.ID); err != nil {
				return err
			}
		}
	}
	*it = item{ids: it.ids[:0]}
	return nil
}

// walk collects the ids that stand under a tell-tale key, as a string or in an
// array, at any depth.
func (r *Request) walk(field string, raw []byte) error {
	if !r.mayNameObjects() {
		return nil
	}
	w := rawjson.NewWalker(raw)
	for w.Next() {
		switch string(w.Name()) {
		case "parameters", "annotations":
			// A tool's schema, and where an answer's text was taken from: names, not uses.
			w.Skip()
			continue
		case "file_id", "file_ids", "vector_store_ids", "container":
		case "container_id":
			// On an item of the input it only says where a past call ran.
			if field == "input" && w.Depth() <= 2 {
				continue
			}
		default:
			continue
		}
		if id, ok := rawjson.String(w.Value()); ok {
			if err := r.addRef(field+w.Path(), id); err != nil {
				return err
			}
		}
	}
	return nil
}

// objectKeys are the keys under which ids stand.
var objectKeys = [...]string{"file_id", "file_ids", "vector_store_ids", "container", "container_id"}

func (r *Request) mayNameObjects() bool {
	for _, key := range objectKeys {
		if r.Doc.MayHave(key) {
			return true
		}
	}
	return false
}
