package store

import (
	"context"
	"encoding/json"
	"fmt"

	"realms/internal/realm"
)

// Mutation is what a verb did to one object: its audit row, and a line of a dry
// run. It never holds a secret.
type Mutation struct {
	Verb   string // "create", "update", "delete", "revoke", …
	Kind   string // KindGroup, …
	ID     realm.ID
	Name   string
	Fields []FieldChange
}

// FieldChange is one field of a Mutation as a person reads it; empty: it was not
// there, or is gone.
type FieldChange struct {
	Field  string `json:"field"`
	Before string `json:"before,omitempty"`
	After  string `json:"after,omitempty"`
}

// Record writes a mutation's audit row and its change, which every verb owes in
// the transaction of the mutation itself.
func (r Repos) Record(ctx context.Context, actor string, m Mutation) error {
	detail, err := encodeFields(m.Fields)
	if err != nil {
		return fmt.Errorf("encode the audit detail: %w", err)
	}
	e := AuditEntry{
		Actor: actor, Verb: m.Kind + "." + m.Verb,
		ObjectKind: m.Kind, ObjectID: m.ID, ObjectName: m.Name, Detail: detail,
	}
	if err := r.Audit.Insert(ctx, &e); err != nil {
		return fmt.Errorf("write the audit row: %w", err)
	}
	if err := r.Changes.Bump(ctx, m.Kind, m.ID); err != nil {
		return fmt.Errorf("write the change: %w", err)
	}
	return nil
}

// A TEXT of MySQL holds 65,535 bytes. Few mutations come near: a channel's list
// of thousands of models may.
const (
	maxDetailValue = 1000 // characters
	maxDetail      = 60_000
)

// encodeFields is the fields as JSON: long values shortened, and the last fields
// left out, with a word about it, where even that is too long.
func encodeFields(fields []FieldChange) (json.RawMessage, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	out := []byte{'['}
	for i, f := range fields {
		item, err := json.Marshal(FieldChange{shorten(f.Field), shorten(f.Before), shorten(f.After)})
		if err != nil {
			return nil, err
		}
		if len(out)+len(item) > maxDetail {
			return fmt.Appendf(out, `{"field":"…","after":"%d more"}]`, len(fields)-i), nil
		}
		out = append(append(out, item...), ',')
	}
	out[len(out)-1] = ']'
	return out, nil
}

func shorten(s string) string {
	if len(s) <= maxDetailValue {
		return s
	}
	if r := []rune(s); len(r) > maxDetailValue {
		return string(r[:maxDetailValue]) + "…"
	}
	return s
}
