package main

import (
	"context"
	"flag"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"realms/internal/account"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
)

var userListCommand = command{
	name: "user list", short: "list the users",
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(_ config.Config, s *store.Store) error { return c.listUsers(ctx, s) })
		}
	},
}

func (c *cli) listUsers(ctx context.Context, s *store.Store) error {
	users, err := account.New(account.Options{Store: s}).ListUsers(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "ROLE", "STATE", "GROUPS"}}
	for _, u := range users {
		state := "enabled"
		if !u.Enabled {
			state = "disabled"
		}
		rows = append(rows, []string{u.Name, string(u.Role), state, strings.Join(u.Groups, ",")})
	}
	return c.table(rows)
}

var userSetCommand = command{
	name: "user set", args: "NAME", short: "make a user, or change one",
	long: `
What no flag names stays as it is. A new user has the role user and the group
default. A disabled user's tokens are refused.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		role := f.String("role", "", "`ROLE`: user, admin or root")
		groups := f.String("groups", "", "`GROUPS` with commas, in order of preference")
		disable := f.Bool("disable", false, "refuse the user's tokens")
		enable := f.Bool("enable", false, "take the user's tokens again")
		return func(ctx context.Context, args []string) error {
			name, err := oneArg(args, "the user's NAME")
			if err != nil {
				return err
			}
			if *disable && *enable {
				return usagef("--disable and --enable exclude each other")
			}
			return c.setUser(ctx, name, func(spec *account.UserSpec) {
				if *role != "" {
					spec.Role = realm.Role(*role)
				}
				if *groups != "" {
					spec.Groups = listOf(*groups)
				}
				spec.Enabled = (spec.Enabled || *enable) && !*disable
			})
		}
	},
}

func (c *cli) setUser(ctx context.Context, name string, change func(*account.UserSpec)) error {
	return c.withStore(ctx, func(cfg config.Config, s *store.Store) error {
		accounts := account.New(account.Options{Store: s})
		users, err := accounts.ListUsers(ctx)
		if err != nil {
			return err
		}
		spec := account.UserSpec{Name: name, Role: realm.RoleUser, Enabled: true, Groups: []string{realm.DefaultGroup}}
		var was *account.UserSpec
		if i := slices.IndexFunc(users, func(u account.UserInfo) bool { return u.Name == strings.TrimSpace(name) }); i >= 0 {
			spec, was = users[i].UserSpec, &users[i].UserSpec
		}
		change(&spec)
		done, err := writeUser(ctx, accounts, was, spec)
		if err != nil {
			return err
		}
		if len(done) == 0 {
			fmt.Fprintf(c.stderr, "the user %q is so already\n", spec.Name)
			return nil
		}
		newControl(cfg).poke(ctx)
		fmt.Fprintf(c.stderr, "user %q: %s\n", spec.Name, done[0].Verb)
		return nil
	})
}

// writeUser makes a user what it is to be. Who is only disabled may be in any group,
// though nobody could put it there: it reaches nothing.
func writeUser(ctx context.Context, accounts *account.Service, was *account.UserSpec, spec account.UserSpec) ([]store.Mutation, error) {
	if was != nil && !spec.Enabled {
		disabled := *was
		if disabled.Enabled = false; reflect.DeepEqual(spec, disabled) {
			return accounts.DisableUser(ctx, actor, spec.Name)
		}
	}
	return accounts.UpsertUser(ctx, actor, spec)
}
