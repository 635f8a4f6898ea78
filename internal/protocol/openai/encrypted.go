package openai

import (
	"slices"

	"realms/internal/protocol/rawjson"
)

// EncryptedContent is what upstreams call the encrypted reasoning in a body's
// input, and Droppable too: it is no top-level field, but in items.
const EncryptedContent = "encrypted_content"

// compactionItems are the types of input items that hold a conversation as one
// account has encrypted it. (A compaction_trigger only asks for one.)
var compactionItems = [...]string{"compaction", "compaction_summary", "context_compaction"}

// findCompaction notes whether an item of the input is a compaction.
func (r *Request) findCompaction(input []byte) {
	if !rawjson.IsArray(input) || !slices.ContainsFunc(compactionItems[:], r.Doc.MayHave) {
		return
	}
	w := rawjson.NewWalker(input)
	for w.Next() {
		if w.Depth() < 2 {
			continue // the list, an item
		}
		if string(w.Key()) == "type" {
			value := w.Value()
			r.HasCompaction = r.HasCompaction ||
				slices.ContainsFunc(compactionItems[:], func(kind string) bool { return rawjson.Equal(value, kind) })
		}
		w.Skip()
	}
}

// HasEncrypted tells whether the input has reasoning items with encrypted content,
// which none but the account that made them can read.
func (r *Request) HasEncrypted() bool {
	f := r.encryptedIn()
	if f == nil {
		return false
	}
	for _, item := range rawjson.Elements(r.Doc.Body[f.ValStart:f.ValEnd]) {
		if encrypted(item) {
			return true
		}
	}
	return false
}

// encryptedIn is the field that may hold encrypted reasoning; nil if there is none.
func (r *Request) encryptedIn() *rawjson.Field {
	if r.Form != nil || len(r.Doc.Body) == 0 || !r.Doc.MayHave(EncryptedContent) {
		return nil
	}
	return r.Doc.Field("input")
}

// encrypted tells whether an item is reasoning with encrypted content. Of a
// repeated key the last value counts, as it does for most readers.
func encrypted(item []byte) bool {
	reasoning, content := false, false
	w := rawjson.NewWalker(item)
	for w.Next() {
		if w.Depth() == 0 {
			continue
		}
		switch string(w.Key()) {
		case "type":
			reasoning = rawjson.Equal(w.Value(), "reasoning")
		case EncryptedContent:
			content = !rawjson.IsNull(w.Value())
		}
		w.Skip()
	}
	return reasoning && content
}

// dropEncrypted takes the encrypted reasoning out of the input.
func (r *Request) dropEncrypted(edits *rawjson.Edits) {
	if f := r.encryptedIn(); f != nil {
		r.dropItems(edits, f, encrypted)
	}
}

// dropItems takes items out of a list, each with one comma.
func (r *Request) dropItems(edits *rawjson.Edits, f *rawjson.Field, goes func(item []byte) bool) {
	const none = -1
	kept, before, first := false, none, none // before: where the last item ended; first: where one begins that goes up to the next
	for at, item := range rawjson.Elements(r.Doc.Body[f.ValStart:f.ValEnd]) {
		start := f.ValStart + at
		if first != none {
			edits.ReplaceRange(first, start, nil)
			first = none
		}
		switch {
		case !goes(item):
			kept = true
		case kept:
			edits.ReplaceRange(before, start+len(item), nil)
		default:
			first = start
		}
		before = start + len(item)
	}
	if first != none {
		edits.ReplaceRange(first, before, nil)
	}
}
