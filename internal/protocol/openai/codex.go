package openai

import (
	"slices"

	"realms/internal/protocol/rawjson"
	"realms/internal/realm"
)

// CodexRules make a body one that the Codex backend takes.
type CodexRules struct {
	// Client: it comes from Codex CLI, which knows what the backend wants of it.
	Client bool
}

const (
	includeField      = "include"
	encryptedIncluded = `"reasoning.encrypted_content"`
)

// codexUnsupported are fields that the backend refuses. All are advisory, or limits
// that a plan does not need.
var codexUnsupported = [...]string{
	"max_output_tokens", "max_completion_tokens", "max_tokens", "temperature", "top_p", "frequency_penalty", "presence_penalty",
	"user", "truncation", "safety_identifier", "prompt_cache_retention", "stream_options", "context_management", "metadata",
}

// codexRule is one thing that the backend insists on.
type codexRule struct {
	name string
	when func(*codexBody) bool
	edit func(*codexBody)
}

// codexRules is all that is changed, and so all that there is to follow when the
// backend changes its mind. A body that keeps the rules is not touched.
var codexRules = [...]codexRule{
	{"store is false", (*codexBody).answers, func(b *codexBody) { b.set("store", "false") }},
	{"stream is true", (*codexBody).answers, func(b *codexBody) { b.set("stream", "true") }},
	{"instructions are there", (*codexBody).foreign, func(b *codexBody) { b.fill("instructions", `""`) }},
	{"no unsupported field", (*codexBody).always, (*codexBody).dropUnsupported},
	{"service_tier is priority", (*codexBody).always, (*codexBody).dropTier},
	{"reasoning comes encrypted", (*codexBody).asksForReasoning, (*codexBody).include},
	{"input is a list", (*codexBody).always, (*codexBody).wrapInput},
	{"no system message", (*codexBody).always, func(b *codexBody) { b.r.developerRole(b.edits, "input") }},
	{"no item that is kept elsewhere", (*codexBody).losesItems, (*codexBody).dropItems},
	{"no long id", (*codexBody).hasLongIDs, (*codexBody).dropLongIDs},
}

// codexBody is a body while the rules are applied to it.
type codexBody struct {
	r     *Request
	e     *Rewrite
	edits *rawjson.Edits

	looked, references, longIDs bool // what look has found in the input
}

// obeysCodex tells whether an attempt's body is one that the rules are for.
func (r *Request) obeysCodex(e *Rewrite) bool {
	return e.Codex != nil && r.Form == nil && len(r.Doc.Body) != 0 &&
		(r.Op.API == realm.APIResponses || r.Op.API == realm.APICompact)
}

// appendCodex is AppendEdit for the backend. The rules have the last word, so where an
// operator's edits may have changed what they look at, they see the edited body.
func (r *Request) appendCodex(dst []byte, e Rewrite) []byte {
	if len(e.Edits) != 0 {
		rules := Rewrite{Codex: e.Codex, DropEncrypted: e.DropEncrypted, Drop: e.Drop}
		e.Codex, e.DropEncrypted = nil, false
		edited := r.AppendEdit(nil, e)
		doc, err := rawjson.Scan(edited, nil)
		if err != nil {
			return edited // nested too deep by now: the backend's to refuse
		}
		r, e = &Request{Op: r.Op, Doc: doc}, rules
	}
	edits := rawjson.Edits{Doc: &r.Doc}
	r.edit(&edits, &e)
	b := codexBody{r: r, e: &e, edits: &edits}
	for i := range codexRules {
		if rule := &codexRules[i]; rule.when(&b) {
			rule.edit(&b)
		}
	}
	return r.apply(dst, &edits)
}

// codexAdded is which of the fields that an attempt adds may be left out again. What
// the backend insists on is none of them, and what it refuses is gone already.
func (r *Request) codexAdded(added []string, e Rewrite) []string {
	added = slices.DeleteFunc(added, func(field string) bool { return field == storeField || field == safetyField })
	b := codexBody{r: r, e: &e}
	if own, _ := r.Doc.Get(includeField); rawjson.IsNull(own) && b.asksForReasoning() {
		added = append(added, includeField)
	}
	return added
}

func (b *codexBody) always() bool { return true }

// answers: the request makes a response, rather than a shorter conversation.
func (b *codexBody) answers() bool { return b.r.Op.API == realm.APIResponses }

func (b *codexBody) foreign() bool { return !b.e.Codex.Client }

// asksForReasoning: nothing is kept there, so that a model's reasoning goes on in the
// next turn only if the client has it. Codex CLI asks by itself where it wants it.
func (b *codexBody) asksForReasoning() bool {
	return b.answers() && b.foreign() && !slices.Contains(b.e.Drop, includeField)
}

// set gives a field a value unless it has it.
func (b *codexBody) set(field, value string) {
	if own, _ := b.r.Doc.Get(field); string(own) != value {
		_ = b.edits.Set(field, []byte(value)) // fails for nested paths alone, as all that follow
	}
}

// fill gives a field a value unless it has one.
func (b *codexBody) fill(field, value string) {
	if own, _ := b.r.Doc.Get(field); rawjson.IsNull(own) {
		_ = b.edits.Set(field, []byte(value))
	}
}

func (b *codexBody) dropUnsupported() {
	for _, field := range codexUnsupported {
		b.edits.Delete(field)
	}
}

func (b *codexBody) dropTier() {
	if tier, ok := b.r.Doc.Get(tierField); ok && !rawjson.Equal(tier, "priority") {
		b.edits.Delete(tierField)
	}
}

// include adds to what the client wants included.
func (b *codexBody) include() {
	f := b.r.Doc.Field(includeField)
	if f == nil || rawjson.IsNull(b.value(f)) {
		_ = b.edits.Set(includeField, []byte("["+encryptedIncluded+"]"))
		return
	}
	raw := b.value(f)
	if !rawjson.IsArray(raw) {
		return // the backend's to refuse
	}
	end := -1
	for at, entry := range rawjson.Elements(raw) {
		if rawjson.Equal(entry, encryptedIncluded[1:len(encryptedIncluded)-1]) {
			return
		}
		end = at + len(entry)
	}
	if end < 0 {
		b.insert(f.ValStart+1, encryptedIncluded)
		return
	}
	b.insert(f.ValStart+end, ","+encryptedIncluded)
}

// wrapInput makes a text the one message of a list.
func (b *codexBody) wrapInput() {
	f := b.r.Doc.Field("input")
	if f == nil || !rawjson.IsString(b.value(f)) {
		return
	}
	list := slices.Concat([]byte(`[{"type":"message","role":"user","content":[{"type":"input_text","text":`), b.value(f), []byte(`}]}]`))
	_ = b.edits.Set("input", list)
}

func (b *codexBody) value(f *rawjson.Field) []byte { return b.r.Doc.Body[f.ValStart:f.ValEnd] }

func (b *codexBody) insert(at int, text string) { b.edits.ReplaceRange(at, at, []byte(text)) }
