package catalog

import (
	"context"
	"fmt"
	"time"

	"realms/internal/store"
)

// Inner is the verbs over one transaction. Each returns what it changed, nothing
// if all was as it should be. An error may join several *realm.Error, whose
// Field is relative to the object ("endpoints[0].base_url").
//
// Whether a codex_oauth channel meets other users in a group depends on what else
// the transaction does: whoever composes verbs ends with CheckCodexGroups.
type Inner struct {
	Repos store.Repos
	Actor string    // for the audit row: "cli", a user's id
	Now   time.Time // of the transaction
}

func (x Inner) record(ctx context.Context, m store.Mutation) ([]store.Mutation, error) {
	if err := x.Repos.Record(ctx, x.Actor, m); err != nil {
		return nil, fmt.Errorf("%s %s: %w", m.Verb, m.Kind, err)
	}
	return []store.Mutation{m}, nil
}
