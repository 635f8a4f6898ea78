package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
)

var channelListCommand = command{
	name: "channel list", short: "list the channels",
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(cfg config.Config, s *store.Store) error {
				state, err := catalog.New(catalog.Options{Store: s}).State(ctx)
				if err != nil {
					return err
				}
				if _, err := newControl(cfg).health(ctx); errors.Is(err, errNoServer) {
					fmt.Fprintln(c.stderr, "no server is running on this data directory; this is what the store holds:")
				}
				return c.showChannels(state)
			})
		}
	},
}

func (c *cli) showChannels(state *catalog.State) error {
	rows := [][]string{{"NAME", "STATE", "PRIORITY", "WEIGHT", "GROUPS", "MODELS", "ENDPOINT", "CREDENTIALS"}}
	for _, ch := range state.Channels {
		st := "enabled"
		if !ch.Enabled {
			st = "disabled"
		}
		row := []string{
			ch.Name, st, strconv.Itoa(ch.Priority), strconv.Itoa(ch.Weight),
			strings.Join(state.Spec(ch).Groups, ","), bound(ch.Bindings),
		}
		if len(ch.Endpoints) == 0 {
			rows = append(rows, append(row, "none", ""))
		}
		for _, ep := range ch.Endpoints {
			rows = append(rows, append(row[:len(row):len(row)], ep.BaseURL, credentials(ep.Credentials)))
			row = []string{"", "", "", "", "", ""} // said once a channel
		}
	}
	return c.table(rows)
}

func bound(bindings []realm.Binding) string {
	names := make([]string, len(bindings))
	for i, b := range bindings {
		names[i] = b.Model
	}
	return strings.Join(names, ",")
}

// credentials names each with what keeps it from being used.
func credentials(list []*realm.Credential) string {
	texts := make([]string, len(list))
	for i, cr := range list {
		texts[i] = cr.Name
		switch {
		case !cr.Enabled:
			texts[i] += " (disabled)"
		case !cr.Usable():
			texts[i] += " (out of use: " + cr.StateReason + ")"
		}
	}
	return strings.Join(texts, ", ")
}

var channelTestCommand = command{
	name: "channel test", args: "NAME", short: "ask a channel one small question through the running server",
	long: `
It spends a few tokens at the provider.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		model := f.String("model", "", "the public name of the `MODEL` to ask (default: the channel's first)")
		return func(ctx context.Context, args []string) error {
			name, err := oneArg(args, "the channel's NAME")
			if err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			return c.testChannel(ctx, cfg, name, *model)
		}
	},
}

func (c *cli) testChannel(ctx context.Context, cfg config.Config, name, model string) error {
	r, err := newControl(cfg).testChannel(ctx, name, model)
	if errors.Is(err, errNoServer) {
		return fmt.Errorf("%w, and it is the server that asks: start it with `%s`", err, c.again("serve"))
	}
	if err != nil {
		return err
	}
	if !r.OK {
		return fmt.Errorf("%s does not answer for %s: %s (status %d, %d ms)", name, r.Model, r.Error, r.Status, r.LatencyMS)
	}
	_, err = fmt.Fprintf(c.stdout, "%s answers for %s: status %d in %d ms\n", name, r.Model, r.Status, r.LatencyMS)
	return err
}
