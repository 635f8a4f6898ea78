package main

import (
	"context"
	"flag"
	"fmt"

	"realms/internal/version"
)

var versionCommand = command{
	name: "version", short: "print which build this is",
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(_ context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			_, err := fmt.Fprintln(c.stdout, version.String())
			return err
		}
	},
}
