package account

import (
	"context"
	"fmt"
	"slices"

	"realms/internal/realm"
)

// refuseOwnersGroups holds, from the user's side, that no group of a codex_oauth
// channel, enabled or not, has a user who is no administrator; the catalogue holds
// it from the channel's.
func (x Inner) refuseOwnersGroups(ctx context.Context, name string) error {
	u, err := x.Repos.Users.ByName(ctx, name)
	if err != nil {
		return noSuch(err, "user", "name", name)
	}
	if u.Role.Administers() {
		return nil
	}
	channels, err := x.Repos.Channels.List(ctx)
	if err != nil {
		return fmt.Errorf("read the channels: %w", err)
	}
	names, err := groupNames(ctx, x.Repos)
	if err != nil {
		return err
	}
	for i, group := range u.Groups {
		at := slices.IndexFunc(channels, func(ch *realm.Channel) bool {
			return ch.Type == realm.CodexOAuth && slices.Contains(ch.Groups, group)
		})
		if at >= 0 {
			return conflict(index("groups", i), "The user %q has the role %s and cannot be in the group %q: its channel %q goes out with the operator's own ChatGPT account, "+
				"which nobody else may use. Give the user other groups, or the channel a group of its own.", u.Name, u.Role, names[group], channels[at].Name)
		}
	}
	return nil
}
