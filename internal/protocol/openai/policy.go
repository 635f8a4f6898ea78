package openai

import (
	"bytes"
	"slices"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

const (
	tierField   = "service_tier"
	storeField  = "store"
	safetyField = "safety_identifier"
)

// editPolicies does what the channel says of single fields.
func (r *Request) editPolicies(edits *rawjson.Edits, e *Rewrite) {
	if tier, ok := r.Doc.Get(tierField); ok && !passes(e.ServiceTier, tier) {
		edits.Delete(tierField)
	}
	if r.forcesStore(e) {
		_ = edits.Set(storeField, []byte("false")) // fails for nested paths alone, as the next
	}
	switch {
	case r.forcesSafety(e):
		_ = edits.Set(safetyField, rawjson.AppendString(nil, e.SafetyText))
	case e.SafetyIdentifier == realm.SafetyDrop, e.SafetyIdentifier == realm.SafetyHMAC:
		edits.Delete(safetyField)
	}
	if e.DropEncrypted && !r.obeysCodex(e) { // or it is done with what else leaves the input
		r.dropEncrypted(edits)
	}
}

// passes tells whether a value of service_tier may go up.
func passes(t realm.ServiceTier, raw []byte) bool {
	if t.Drop {
		return false
	}
	if len(t.Only) == 0 || rawjson.IsNull(raw) {
		return true
	}
	name, ok := rawjson.String(raw)
	return ok && slices.Contains(t.Only, name)
}

// forcesStore: Responses keep what they make unless told not to; elsewhere nothing
// is kept unless the body asks for it.
func (r *Request) forcesStore(e *Rewrite) bool {
	if e.Store != realm.StoreFalse || slices.Contains(e.Drop, storeField) {
		return false
	}
	own, _ := r.Doc.Get(storeField)
	if rawjson.IsNull(own) {
		return r.Op.API == realm.APIResponses
	}
	return string(own) != "false"
}

// forcesSafety: the two that have the field get it; elsewhere it only takes the
// client's place.
func (r *Request) forcesSafety(e *Rewrite) bool {
	if e.SafetyIdentifier != realm.SafetyHMAC || e.SafetyText == "" || slices.Contains(e.Drop, safetyField) {
		return false
	}
	return r.Op.API == realm.APIResponses || r.Op.API == realm.APIChat || r.Doc.Field(safetyField) != nil
}

// editByOperator does the operator's own edits. They come after ours, so they win;
// one that does not fit the body is no change.
func editByOperator(edits *rawjson.Edits, list []realm.BodyEdit) {
	for i := range list {
		switch edit := &list[i]; edit.Op {
		case realm.BodySet:
			if value := bytes.TrimSpace(edit.Value); rawjson.Valid(value) == nil {
				_ = edits.Set(edit.Path, value) // a path through what is no object is skipped
			}
		case realm.BodyDelete:
			edits.Delete(edit.Path)
		case realm.BodyRename:
			edits.Rename(edit.Path, edit.To)
		}
	}
}
