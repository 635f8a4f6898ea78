package main

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"time"

	"realms/internal/config"
	"realms/internal/store"
)

var migrateUpCommand = command{
	name: "migrate up", short: "bring the store's schema to this program's version",
	long: `
A SQLite file is copied next to itself first. serve does the same at its start.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			return c.openStore(ctx, cfg, func(s *store.Store) error {
				applied, err := s.Migrate(ctx)
				for _, name := range applied {
					fmt.Fprintln(c.stdout, "applied", name)
				}
				if err == nil && len(applied) == 0 {
					fmt.Fprintln(c.stdout, "nothing to apply")
				}
				return err
			})
		}
	},
}

var migrateStatusCommand = command{
	name: "migrate status", short: "list the schema's migrations",
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			if err := c.requireStore(cfg); err != nil {
				return err
			}
			return c.openSealed(ctx, cfg, func(s *store.Store) error { return c.migrations(ctx, cfg, s) })
		}
	},
}

func (c *cli) migrations(ctx context.Context, _ config.Config, s *store.Store) error {
	all, err := s.MigrationStatus(ctx)
	if err != nil {
		return err
	}
	rows := [][]string{{"VERSION", "NAME", "APPLIED"}}
	for _, m := range all {
		rows = append(rows, []string{strconv.FormatInt(m.Version, 10), m.Name, moment(m.AppliedAt, "pending")})
	}
	return c.table(rows)
}

// moment shows an instant in the reader's time zone, or a word for the zero one.
func moment(t time.Time, zero string) string {
	if t.IsZero() {
		return zero
	}
	return t.Local().Format("2006-01-02 15:04:05")
}
