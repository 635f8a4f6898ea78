package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/store"
)

var channelListCommand = command{
	name: "channel list", short: "show how the channels are: what is out of use, until when and why",
	long: `
Of the running server it shows, for each credential: its state, its requests in
flight, and of the last 5 and 60 minutes how many attempts succeeded and after
what time their answers began, on average. The states:

  out of use   the upstream refused the key; until it is mended
  told         the upstream said when to come back; it is not asked before
  open         it failed too often; asked only where nothing else is left
  half-open    one request at a time tries whether that has passed
  recovering   back, with little load at first

What is said of a channel or an endpoint holds for everything below it. Without
a server, or with --stored, it shows what is declared: groups and models too.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		asJSON := f.Bool("json", false, "print everything as JSON")
		stored := f.Bool("stored", false, "what the store holds, whether a server runs or not")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.listChannels(ctx, *asJSON, *stored)
		}
	},
}

func (c *cli) listChannels(ctx context.Context, asJSON, stored bool) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if !stored {
		raw, err := newControl(cfg).channels(ctx)
		switch {
		case err == nil && asJSON:
			return c.printJSON(raw)
		case err == nil:
			return c.showLive(ctx, cfg, raw)
		case !errors.Is(err, errNoServer):
			return err
		}
	}
	return c.readConfigured(ctx, cfg, func(s *store.Store) error {
		state, err := catalog.New(catalog.Options{Store: s}).State(ctx)
		if err != nil {
			return err
		}
		if !stored {
			fmt.Fprintln(c.stderr, "no server is running on this data directory; this is what the store holds:")
		}
		kept := server.Channels{At: time.Now(), Channels: server.StoredChannels(state.Channels)}
		if asJSON {
			return c.printJSON(kept)
		}
		off, err := accountsOff(ctx, cfg, s)
		if err != nil {
			return err
		}
		off = off && hasAccounts(&kept)
		if err := c.showChannels(state, off); err != nil {
			return err
		}
		return c.print(append(c.offAdvice(off), advice(&kept, c.again)...))
	})
}

// showChannels lists what is declared; off: without the use of ChatGPT accounts.
func (c *cli) showChannels(state *catalog.State, off bool) error {
	rows := [][]string{{"NAME", "STATE", "PRIORITY", "WEIGHT", "GROUPS", "MODELS", "ENDPOINT", "CREDENTIALS"}}
	for _, ch := range state.Channels {
		st := "enabled"
		switch {
		case !ch.Enabled:
			st = "disabled"
		case off && ch.Type == realm.CodexOAuth:
			st = "accounts off"
		}
		row := []string{
			ch.Name, st, strconv.Itoa(ch.Priority), strconv.Itoa(ch.Weight),
			strings.Join(state.Spec(ch).Groups, ","), bound(ch.Bindings),
		}
		if len(ch.Endpoints) == 0 {
			rows = append(rows, append(row, "none", ""))
		}
		for _, ep := range ch.Endpoints {
			rows = append(rows, append(row[:len(row):len(row)], catalog.EndpointName(ep.BaseURL), credentials(ep.Credentials)))
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

// isOff tells whether a channel of the running server answers nobody because the use
// of ChatGPT accounts is off, as far as that can be found out.
func (c *cli) isOff(ctx context.Context, cfg config.Config, name string) bool {
	all, err := newControl(cfg).state(ctx)
	if err != nil || !slices.ContainsFunc(all.Channels, func(ch server.ChannelState) bool { return ch.Name == name && ofAccounts(&ch) }) {
		return false
	}
	off, err := c.readAccountsOff(ctx, cfg)
	return err == nil && off
}

func (c *cli) testChannel(ctx context.Context, cfg config.Config, name, model string) error {
	r, err := newControl(cfg).testChannel(ctx, name, model)
	if errors.Is(err, errNoServer) {
		return fmt.Errorf("%w, and it is the server that asks: start it with `%s`", err, c.again("serve"))
	}
	if err != nil {
		return err
	}
	if !r.OK && c.isOff(ctx, cfg, name) {
		return fmt.Errorf("%s is not asked: %s", name, c.accountsOff())
	}
	if !r.OK {
		return fmt.Errorf("%s does not answer for %s: %s (status %d, %d ms)", name, r.Model, r.Error, r.Status, r.LatencyMS)
	}
	_, err = fmt.Fprintf(c.stdout, "%s answers for %s: status %d in %d ms\n", name, r.Model, r.Status, r.LatencyMS)
	return err
}
