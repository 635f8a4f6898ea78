package catalog

import (
	"context"

	"realms/internal/realm"
	"realms/internal/store"
)

// UpsertGroup is Inner.UpsertGroup in a transaction of its own.
func (s *Service) UpsertGroup(ctx context.Context, actor string, g realm.Group) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.UpsertGroup(ctx, g) })
}

// DeleteGroup is Inner.DeleteGroup in a transaction of its own.
func (s *Service) DeleteGroup(ctx context.Context, actor, name string) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.DeleteGroup(ctx, name) })
}

// UpsertModel is Inner.UpsertModel in a transaction of its own.
func (s *Service) UpsertModel(ctx context.Context, actor string, m realm.Model) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.UpsertModel(ctx, m) })
}

// DeleteModel is Inner.DeleteModel in a transaction of its own.
func (s *Service) DeleteModel(ctx context.Context, actor, name string) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.DeleteModel(ctx, name) })
}

// UpsertChannel is Inner.UpsertChannel in a transaction of its own. A codex_oauth
// channel is refused groups that hold others than administrators.
func (s *Service) UpsertChannel(ctx context.Context, actor string, spec ChannelSpec) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) {
		done, err := x.UpsertChannel(ctx, spec)
		if err != nil {
			return nil, err
		}
		return done, x.checkOwnGroups(ctx, spec.Name)
	})
}

// SetChannelEnabled is Inner.SetChannelEnabled in a transaction of its own.
func (s *Service) SetChannelEnabled(ctx context.Context, actor, name string, enabled bool) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.SetChannelEnabled(ctx, name, enabled) })
}

// DeleteChannel is Inner.DeleteChannel in a transaction of its own.
func (s *Service) DeleteChannel(ctx context.Context, actor, name string) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.DeleteChannel(ctx, name) })
}

// serverActor is who acts when no person does.
const serverActor = "server"

// CredentialOutOfUse keeps requests from a credential that its upstream refused
// for good, until somebody mends it; cr is the one that was used, and nothing
// happens when its key has been changed since. The reason is shown to operators.
func (s *Service) CredentialOutOfUse(ctx context.Context, cr *realm.Credential, reason string) error {
	_, err := s.edit(ctx, serverActor, func(x Inner) ([]store.Mutation, error) {
		return x.CredentialOutOfUse(ctx, cr, reason)
	})
	return err
}

// CredentialMended is Inner.CredentialMended in a transaction of its own.
func (s *Service) CredentialMended(ctx context.Context, actor string, id realm.ID) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.CredentialMended(ctx, id) })
}

// MendChannel is Inner.MendChannel in a transaction of its own.
func (s *Service) MendChannel(ctx context.Context, actor, channel, credential string) ([]store.Mutation, error) {
	return s.edit(ctx, actor, func(x Inner) ([]store.Mutation, error) { return x.MendChannel(ctx, channel, credential) })
}
