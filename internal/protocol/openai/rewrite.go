package openai

import (
	"slices"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// Rewrite is what one attempt changes in a body. The zero value changes nothing. In
// a form only the model can be changed.
type Rewrite struct {
	Model      string   // the upstream's name; empty: as asked
	Effort     string   // set unless the body sets its own; empty: none
	ForceUsage bool     // chat and completions streams: stream_options.include_usage = true
	Compat     []string // see Preset
	Drop       []string // fields to leave out, for one more try; also undoes what we would add

	ServiceTier      realm.ServiceTier
	Store            realm.StorePolicy
	SafetyIdentifier realm.SafetyIdentifier
	SafetyText       string // for SafetyHMAC; empty: the field is left out
	// DropEncrypted takes reasoning items with encrypted content out of the input:
	// their account is another.
	DropEncrypted bool
	// Edits are the channel's that apply to the model, in order. They see what all of
	// the above but Drop have made of the body.
	Edits []realm.BodyEdit
	// Codex makes the body one that the Codex backend takes, whatever all of the above
	// made of it; nil: it goes elsewhere. Only bodies for /responses and
	// /responses/compact are changed.
	Codex *CodexRules
}

const (
	usageField  = "stream_options.include_usage"
	maxTokens   = "max_tokens"
	maxComplete = "max_completion_tokens"
)

// Edit is the body for an attempt: all changes in one copy, or the original slice
// when there is nothing to change.
func (r *Request) Edit(e Rewrite) []byte { return r.AppendEdit(nil, e) }

// AppendEdit is Edit that puts the copy behind dst, whose capacity it uses. When
// there is nothing to change, dst is not touched and the original is returned.
func (r *Request) AppendEdit(dst []byte, e Rewrite) []byte {
	if r.Form != nil {
		return r.Form.edit(dst, e.Model)
	}
	if len(r.Doc.Body) == 0 {
		return nil
	}
	if r.obeysCodex(&e) {
		return r.appendCodex(dst, e)
	}
	edits := rawjson.Edits{Doc: &r.Doc}
	r.edit(&edits, &e)
	return r.apply(dst, &edits)
}

// edit notes all changes but those of Rewrite.Codex.
func (r *Request) edit(edits *rawjson.Edits, e *Rewrite) {
	r.editModel(edits, e.Model)
	if path := r.effortPath(*e); path != "" {
		// A reasoning field that is no object is the upstream's to refuse.
		_ = edits.Set(path, rawjson.AppendString(nil, e.Effort))
	}
	if r.forcesUsage(*e) {
		_ = edits.Set(usageField, []byte("true")) // an object or absent: ReadJSON made sure
	}
	r.editCompat(edits, *e)
	r.editPolicies(edits, e)
	editByOperator(edits, e.Edits)
	for _, field := range e.Drop {
		r.drop(edits, field)
	}
}

func (r *Request) apply(dst []byte, edits *rawjson.Edits) []byte {
	if edits.Empty() {
		return r.Doc.Body
	}
	return edits.Apply(dst)
}

func (r *Request) editModel(edits *rawjson.Edits, model string) {
	if model == "" {
		return
	}
	asked, ok := r.Doc.Get("model")
	if ok && rawjson.Equal(asked, model) || rawjson.IsNull(asked) && model == r.Op.DefaultModel {
		return
	}
	_ = edits.Set("model", rawjson.AppendString(nil, model)) // fails for nested paths alone
}

// effortPath is where the effort goes; empty where none is to be set.
func (r *Request) effortPath(e Rewrite) string {
	if e.Effort == "" {
		return ""
	}
	var path string
	var own []byte
	switch r.Op.API {
	case realm.APIChat:
		path = "reasoning_effort"
		own, _ = r.Doc.Get(path)
	case realm.APIResponses, realm.APICompact, realm.APIInputTokens:
		path = "reasoning.effort"
		own = r.inner("reasoning", "effort")
	default:
		return ""
	}
	if !rawjson.IsNull(own) || slices.Contains(e.Drop, path) {
		return ""
	}
	return path
}

// inner is the raw value of a field in a top-level object; nil if there is none.
func (r *Request) inner(parent, child string) []byte {
	raw, _ := r.Doc.Get(parent)
	if !rawjson.IsObject(raw) {
		return nil
	}
	doc, err := rawjson.Scan(raw, nil)
	if err != nil {
		return nil
	}
	value, _ := doc.Get(child)
	return value
}

func (r *Request) forcesUsage(e Rewrite) bool {
	streams := r.Op.Stream == StreamChat || r.Op.Stream == StreamCompletions
	return e.ForceUsage && streams && r.Stream && !r.IncludeUsage &&
		!slices.Contains(e.Drop, "stream_options") && !slices.Contains(e.Drop, usageField)
}

func (r *Request) editCompat(edits *rawjson.Edits, e Rewrite) {
	chat := r.Op.API == realm.APIChat
	if !chat && r.Op.API != realm.APIResponses {
		return
	}
	for _, word := range e.Compat {
		switch word {
		case CompatMaxCompletionTokens:
			if chat && !slices.Contains(e.Drop, maxComplete) {
				edits.Rename(maxTokens, maxComplete)
			}
		case CompatNoSampling:
			for _, field := range samplingFields {
				edits.Delete(field)
			}
		case CompatDeveloperRole:
			r.developerRole(edits, "messages")
			r.developerRole(edits, "input")
		}
	}
}

// developerRole turns the role of system messages into developer.
func (r *Request) developerRole(edits *rawjson.Edits, key string) {
	f := r.Doc.Field(key)
	if f == nil || !r.Doc.MayHave("system") {
		return
	}
	w := rawjson.NewWalker(r.Doc.Body[f.ValStart:f.ValEnd])
	for w.Next() {
		if w.Depth() < 2 {
			continue // the list, a message
		}
		if value := w.Value(); string(w.Key()) == "role" && rawjson.Equal(value, "system") {
			start := f.ValStart + w.Offset()
			edits.ReplaceRange(start, start+len(value), []byte(`"developer"`))
		}
		w.Skip()
	}
}

// drop leaves a field out. The two names of the token limit stand in for one
// another, so that the limit itself is never lost.
func (r *Request) drop(edits *rawjson.Edits, field string) {
	chat := r.Op.API == realm.APIChat
	switch {
	case chat && field == maxTokens:
		edits.Rename(maxTokens, maxComplete)
	case chat && field == maxComplete:
		edits.Rename(maxComplete, maxTokens)
	default:
		edits.Delete(field)
	}
}

// AddedFields names the fields that Edit adds and the client did not send, so that
// an upstream's complaint about one can be told from the client's own fault. What
// the operator's edits add is not among them: that is not ours to take away.
func (r *Request) AddedFields(e Rewrite) []string {
	if r.Form != nil {
		return nil
	}
	var added []string
	if r.forcesUsage(e) {
		added = append(added, usageField)
		if raw, _ := r.Doc.Get("stream_options"); rawjson.IsNull(raw) {
			added = append(added, "stream_options")
		}
	}
	if path := r.effortPath(e); path != "" {
		added = append(added, path)
		if raw, _ := r.Doc.Get("reasoning"); path == "reasoning.effort" && rawjson.IsNull(raw) {
			added = append(added, "reasoning")
		}
	}
	if r.Op.API == realm.APIChat && slices.Contains(e.Compat, CompatMaxCompletionTokens) &&
		r.Doc.Field(maxTokens) != nil && r.Doc.Field(maxComplete) == nil {
		added = append(added, maxComplete)
	}
	if own, _ := r.Doc.Get(storeField); r.forcesStore(&e) && rawjson.IsNull(own) {
		added = append(added, storeField)
	}
	if own, _ := r.Doc.Get(safetyField); r.forcesSafety(&e) && rawjson.IsNull(own) {
		added = append(added, safetyField)
	}
	if r.obeysCodex(&e) {
		added = r.codexAdded(added, e)
	}
	return added
}

// Droppable tells whether a field of the client's that an upstream complains about
// may be left out: one that the body has, and that is only advisory. All but
// EncryptedContent, which DropEncrypted takes away, can be given in Rewrite.Drop.
func (r *Request) Droppable(field string) bool {
	if field == EncryptedContent {
		return r.HasEncrypted()
	}
	if r.Form != nil || r.Doc.Field(field) == nil {
		return false
	}
	if field == maxTokens || field == maxComplete {
		return r.Op.API == realm.APIChat
	}
	return slices.Contains(samplingFields, field)
}
