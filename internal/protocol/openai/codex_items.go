package openai

import (
	"unicode/utf8"

	"realms/internal/protocol/rawjson"
)

// maxItemID is how many characters an item's id may have at the Codex backend. Ids
// that other providers made are longer.
const maxItemID = 64

// items is the input if it is a list.
func (b *codexBody) items() *rawjson.Field {
	f := b.r.Doc.Field("input")
	if f == nil || !rawjson.IsArray(b.value(f)) {
		return nil
	}
	return f
}

// look goes through the input once, for what is hardly ever in it.
func (b *codexBody) look() {
	f := b.items()
	if b.looked || f == nil || !b.r.Doc.MayHave("id") {
		return
	}
	b.looked = true
	var it codexItem
	w := rawjson.NewWalker(b.value(f))
	for w.Next() {
		switch w.Depth() {
		case 0: // the list
		case 1:
			b.found(&it)
			it = codexItem{}
		default:
			it.read(w)
			w.Skip()
		}
	}
	b.found(&it)
}

func (b *codexBody) found(it *codexItem) {
	b.references = b.references || it.reference()
	b.longIDs = b.longIDs || it.longID
}

// codexItem is what matters of an item of the input.
type codexItem struct{ typed, named, role, id, longID bool }

// read takes in one field of the item. Of a repeated key the last value counts.
func (it *codexItem) read(w *rawjson.Walker) {
	switch value := w.Value(); string(w.Key()) {
	case "type":
		it.typed, it.named = !rawjson.IsNull(value), rawjson.Equal(value, "item_reference")
	case "role":
		it.role = true
	case "id":
		it.id = rawjson.IsString(value)
		it.longID = longID(value)
	}
}

// reference tells whether the item only names one that is kept upstream. It may leave
// its type out, and then its want of a role shows it.
func (it *codexItem) reference() bool { return it.id && (it.named || !it.typed && !it.role) }

func longID(raw []byte) bool {
	if len(raw) <= maxItemID+2 { // with its quotes; escapes only shorten it
		return false
	}
	id, ok := rawjson.String(raw)
	return ok && utf8.RuneCountInString(id) > maxItemID
}

// losesItems: some of the input names what the backend would have to keep, or is what
// another account has encrypted.
func (b *codexBody) losesItems() bool {
	b.look()
	return b.references || b.losesEncrypted()
}

func (b *codexBody) losesEncrypted() bool {
	return b.e.DropEncrypted && b.r.encryptedIn() != nil && b.items() != nil
}

func (b *codexBody) dropItems() {
	too := b.losesEncrypted()
	b.r.dropItems(b.edits, b.items(), func(item []byte) bool {
		return isReference(item) || too && encrypted(item)
	})
}

func isReference(item []byte) bool {
	var it codexItem
	w := rawjson.NewWalker(item)
	for w.Next() {
		if w.Depth() > 0 {
			it.read(w)
			w.Skip()
		}
	}
	return it.reference()
}

func (b *codexBody) hasLongIDs() bool {
	b.look()
	return b.longIDs
}

// dropLongIDs takes ids off items. Such an item is written anew, so its role is seen
// to here as well.
func (b *codexBody) dropLongIDs() {
	f := b.items()
	for at, item := range rawjson.Elements(b.value(f)) {
		doc, err := rawjson.Scan(item, nil)
		if err != nil {
			continue // no object
		}
		if id, _ := doc.Get("id"); !longID(id) {
			continue
		}
		edits := rawjson.Edits{Doc: &doc}
		edits.Delete("id")
		for _, f := range doc.Fields {
			if string(f.Key) == "role" && rawjson.Equal(item[f.ValStart:f.ValEnd], "system") {
				edits.ReplaceRange(f.ValStart, f.ValEnd, []byte(`"developer"`))
			}
		}
		start := f.ValStart + at
		b.edits.ReplaceRange(start, start+len(item), edits.Apply(nil))
	}
}
