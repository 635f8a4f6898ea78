package gateway

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
	"realms/internal/upstream"
)

// editRoom is by how much an attempt's edits usually lengthen a body.
const editRoom = 256

// edited is the request's body for an attempt: as it came, or in a copy with all
// the attempt's edits.
func (x *exchange) edited(rw openai.Rewrite) *bodyReader {
	var copied *body
	if size := len(x.form.body.buf) + editRoom; size <= largeBody {
		copied = newBody(size, nil)
	} else {
		copied = ownBody(nil) // made by the edit, if there is one
	}
	defer copied.release() // the reader keeps its own reference
	edited := x.form.req.AppendEdit(copied.buf, rw)
	if sameBytes(edited, x.form.body.buf) {
		return x.form.body.reader()
	}
	copied.buf, copied.budget, copied.taken = edited, x.g.o.Limits.BodyMemory, int64(len(edited))
	copied.budget.Add(copied.taken)
	return copied.reader()
}

// rewrite says what this attempt changes in the body.
func (x *exchange) rewrite(a *realm.Attempt) openai.Rewrite {
	f := x.form
	rw := openai.Rewrite{Effort: x.effort, Drop: f.dropped}
	if a.Model != f.req.Model {
		rw.Model = a.Model
	}
	refused := x.g.learned.refuses(x.snap, a.Channel.ID, fieldStreamOptions)
	rw.ForceUsage = f.req.Stream && !refused
	if f.conv != nil && f.op.API == realm.APIChat && refused {
		rw.Drop = append(rw.Drop[:len(rw.Drop):len(rw.Drop)], fieldStreamOptions) // the conversion has put it there
	}
	if x.model != nil && x.model.Compat != nil {
		rw.Compat = x.model.Compat
	} else {
		rw.Compat = openai.Preset(a.Model)
	}
	// What another account has encrypted none but that one can read; and once an
	// upstream has refused it, no other is asked with it.
	rw.DropEncrypted = a.Leaves || slices.Contains(f.dropped, openai.EncryptedContent)
	s := &a.Channel.Settings
	rw.ServiceTier, rw.Store, rw.SafetyIdentifier = s.ServiceTier, s.Store, s.SafetyIdentifier
	if s.SafetyIdentifier == realm.SafetyHMAC {
		rw.SafetyText = x.g.pseudonym(x.principal.UserID)
	}
	rw.Edits = editsFor(s.BodyEdits, x.need.Model)
	if a.Channel.Type == realm.CodexOAuth {
		rw.Codex = &openai.CodexRules{Client: upstream.IsCodexClient(x.call.Header)}
	}
	return rw
}

// pseudonym stands for a user upstream: the same each time, and of no use to
// whoever has not the key. Empty without a key.
func (g *Gateway) pseudonym(user realm.ID) string {
	if len(g.o.PseudonymKey) == 0 {
		return ""
	}
	mac := hmac.New(sha256.New, g.o.PseudonymKey)
	_, _ = mac.Write([]byte(user.String())) // a hash never fails
	return hex.EncodeToString(mac.Sum(nil))
}

// editsFor is those of a channel's edits that a public model's name has. The list
// itself is given where that is all of them.
func editsFor(all []realm.BodyEdit, model string) []realm.BodyEdit {
	applies := func(e realm.BodyEdit) bool { return len(e.Models) == 0 || slices.ContainsFunc(e.Models, fits(model)) }
	for i := range all {
		if applies(all[i]) {
			continue
		}
		some := slices.Clone(all[:i])
		for _, e := range all[i+1:] {
			if applies(e) {
				some = append(some, e)
			}
		}
		return some
	}
	return all
}

// fits tells whether a name, or a pattern that ends in a star, means the model.
func fits(model string) func(string) bool {
	return func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, realm.AnyModel); ok {
			return strings.HasPrefix(model, prefix)
		}
		return model == pattern
	}
}

const fieldStreamOptions = "stream_options"

// learn decides on a field that the upstream refuses: taken away once, it may
// serve; named again, or the client's own to keep, its refusal is the answer.
func (x *exchange) learn(ex *upstream.Exchange, taught *upstream.Failure) {
	if taught.Outcome.Next != realm.NextWithoutField {
		return
	}
	field := taught.Outcome.Field
	ours := slices.Contains(ex.AddedFields, field)
	f := x.form
	if f.req == nil || slices.Contains(f.dropped, field) || (!ours && !f.req.Droppable(field)) {
		taught.Outcome.Next, taught.Outcome.Cause = realm.NextStop, realm.CauseClientError
		return
	}
	f.dropped = append(f.dropped, field)
	if ours && strings.HasPrefix(field, fieldStreamOptions) {
		x.g.learned.learn(x.snap, ex.Attempt.Channel.ID, fieldStreamOptions)
	}
}

func sameBytes(a, b []byte) bool {
	return len(a) == len(b) && (len(a) == 0 || &a[0] == &b[0])
}
