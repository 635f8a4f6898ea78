package main

import (
	"context"
	"errors"
	"flag"
	"fmt"

	"realms/internal/config"
	"realms/internal/secret"
	"realms/internal/server"
	"realms/internal/store"
)

var secretsKeyCommand = command{
	name: "secrets key", short: "print a new master key",
	long: `
The key seals the secrets in the store once it is security.master_key. Keep it in
a file that only Realms may read, and a copy elsewhere than the store and its
backups: without it nothing that is sealed can be read again.

  umask 077; realms secrets key > realms.key
  REALMS_SECURITY_MASTER_KEY_FILE=realms.key realms serve`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.print([]string{secret.NewKey().Reveal()})
		}
	},
}

var secretsStatusCommand = command{
	name: "secrets status", short: "say whether the secrets in the store are sealed, and with which key",
	long: `
Keys are named by their ids, which tell nothing of them. It fails when the
configured keys do not open the store.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(cfg config.Config, s *store.Store) error {
				keys, err := server.Keys(cfg)
				if err != nil {
					return err
				}
				state, err := s.SealState(ctx)
				if err != nil {
					return err
				}
				return c.print(sealLines(state, keys.Master()))
			})
		}
	},
}

// sealLines says how a store is sealed and what to do next; master is the id of
// the configured key.
func sealLines(state store.SealState, master string) []string {
	switch {
	case state.Key == "" && master == "":
		return []string{"in the clear: there is no security.master_key; realms secrets key prints a new one"}
	case state.Key == "":
		return []string{"in the clear: the next start of realms serve seals them with the key " + master}
	case state.Clear:
		return []string{"being sealed with the key " + state.Key + ": the next start of realms serve goes on with it"}
	case state.Key != master:
		return []string{"sealed with the previous key " + state.Key + ", not with the master key " + master + ": realms secrets rotate changes that"}
	case state.Earlier:
		return []string{"sealed with the key " + state.Key + ", some with an earlier one: realms secrets rotate goes on"}
	}
	return []string{"sealed with the key " + state.Key}
}

var secretsRotateCommand = command{
	name: "secrets rotate", short: "seal every secret in the store with the master key",
	long: `
For a change of the key: make the new one security.master_key and put the old one
into security.previous_keys, start every server anew so that each knows both, then
run this beside them. It ends with all secrets sealed with the new key and none
with another; what was cut short goes on when it is run again.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(cfg config.Config, s *store.Store) error { return c.rotate(ctx, cfg, s) })
		}
	},
}

func (c *cli) rotate(ctx context.Context, cfg config.Config, s *store.Store) error {
	state, err := s.SealState(ctx)
	if err != nil {
		return err
	}
	if state.Clear {
		return errors.New("the secrets are not sealed yet: set security.master_key and start realms serve, which seals them")
	}
	done, err := s.Seal(ctx, actor)
	if err != nil {
		if done.Rows > 0 {
			fmt.Fprintf(c.stderr, "%d rows were sealed anew before it failed; run it again\n", done.Rows)
		}
		return err
	}
	lines := []string{fmt.Sprintf("%d rows sealed anew; every secret is sealed with the key %s", done.Rows, done.Key)}
	if len(cfg.Security.PreviousKeys) > 0 {
		lines = append(lines, "nothing in the store needs another key any more: security.previous_keys may be emptied; backups from before still need the old key")
	}
	return c.print(lines)
}
