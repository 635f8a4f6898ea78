package catalog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"realms/internal/realm"
)

// SharedAccount is a group in which a codex_oauth channel meets users who are no
// administrators.
type SharedAccount struct {
	Channel, Group string
	Users          []string
}

// Err says what to do about it.
func (s *SharedAccount) Err() *realm.Error {
	quoted := make([]string, len(s.Users))
	for i, u := range s.Users {
		quoted[i] = fmt.Sprintf("%q", u)
	}
	holds, are := "the user", "is no administrator"
	if len(quoted) > 1 {
		holds, are = "the users", "are no administrators"
	}
	return &realm.Error{Code: realm.CodeConflict, Field: "groups", Message: fmt.Sprintf("The channel %q goes out with the operator's own ChatGPT account, which nobody else may use, and its group %q holds %s %s, who %s: "+
		"give the channel a group of its own, take the group from them (`realms user set NAME --groups OTHER`), or make them administrators.",
		s.Channel, s.Group, holds, some(quoted), are)}
}

// CheckCodexGroups tells whether no group of a codex_oauth channel, enabled or
// not, holds a user who is no administrator. Whoever composes verbs about channels
// and users asks it before the end of the transaction, whatever their order was.
func (x Inner) CheckCodexGroups(ctx context.Context) error {
	shared, err := x.SharedAccounts(ctx)
	if err != nil {
		return err
	}
	return sharedError(shared)
}

func sharedError(shared []*SharedAccount) error {
	list := make([]error, 0, len(shared))
	for _, s := range shared {
		list = append(list, s.Err())
	}
	return errors.Join(list...)
}

// checkOwnGroups is CheckCodexGroups for one channel.
func (x Inner) checkOwnGroups(ctx context.Context, channel string) error {
	shared, err := x.SharedAccounts(ctx)
	if err != nil {
		return err
	}
	return sharedError(slices.DeleteFunc(shared, func(s *SharedAccount) bool { return s.Channel != strings.TrimSpace(channel) }))
}

// SharedAccounts is every group in which that is so, by channel and group.
func (x Inner) SharedAccounts(ctx context.Context) ([]*SharedAccount, error) {
	channels, err := x.Repos.Channels.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the channels: %w", err)
	}
	channels = slices.DeleteFunc(channels, func(ch *realm.Channel) bool { return ch.Type != realm.CodexOAuth })
	if len(channels) == 0 {
		return nil, nil
	}
	users, err := x.Repos.Users.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the users: %w", err)
	}
	groups, err := x.Repos.Groups.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the groups: %w", err)
	}
	var all []*SharedAccount
	for _, ch := range channels {
		for _, g := range groups {
			if !slices.Contains(ch.Groups, g.ID) {
				continue
			}
			if others := othersIn(users, g.ID); len(others) > 0 {
				all = append(all, &SharedAccount{Channel: ch.Name, Group: g.Name, Users: others})
			}
		}
	}
	return all, nil
}

// othersIn names the users of a group who are no administrators. A disabled one
// counts: enabling is not a way in.
func othersIn(users []*realm.User, group realm.ID) []string {
	var names []string
	for _, u := range users {
		if slices.Contains(u.Groups, group) && !u.Role.Administers() {
			names = append(names, u.Name)
		}
	}
	return names
}
