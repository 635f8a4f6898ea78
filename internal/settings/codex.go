package settings

import (
	"context"
	"errors"
	"fmt"

	"realms/internal/store"
)

// codexAccepted is the setting that State().CodexAccepted is read from. It has a
// verb of its own: Set does not know it, so that nobody accepts by the way.
const codexAccepted = "codex_accepted"

// Its values; anything else, and none, is a no.
const (
	codexYes = "true"
	codexNo  = "false"
)

// SetCodexAccepted says whether ChatGPT accounts may be used; the same again
// changes nothing.
func (x Inner) SetCodexAccepted(ctx context.Context, accepted bool) ([]store.Mutation, error) {
	value := codexNo
	if accepted {
		value = codexYes
	}
	old, err := x.Repos.Settings.Get(ctx, codexAccepted)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("read setting: %w", err)
	}
	if old == value || old == "" && !accepted {
		return nil, nil
	}
	return x.write(ctx, codexAccepted, old, value)
}

// SetCodexAccepted is Inner.SetCodexAccepted in a transaction of its own.
func (s *Service) SetCodexAccepted(ctx context.Context, actor string, accepted bool) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.SetCodexAccepted(ctx, accepted) })
}
