package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/store"
)

var channelMendCommand = command{
	name: "channel mend", args: "NAME [CREDENTIAL]", short: "use again at once what is out of use",
	long: `
It puts back credentials that are out of use, and makes the running server forget
what it holds against the channel, its endpoints and its credentials: times that
the upstream named, and failures. With the name of a CREDENTIAL it is about that
one alone, on every endpoint that has it. What still fails is soon out of use
again. What an operator has disabled stays so, and a ChatGPT account that is not
signed in waits for codex login.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			switch len(args) {
			case 0:
				return usagef("the channel's NAME is missing")
			case 1:
				return c.mendChannel(ctx, args[0], "")
			case 2:
				return c.mendChannel(ctx, args[0], args[1])
			}
			return usagef("%q is one argument too many", args[2])
		}
	},
}

func (c *cli) mendChannel(ctx context.Context, name, credential string) error {
	return c.readStore(ctx, func(cfg config.Config, s *store.Store) error {
		stored, err := c.mendStored(ctx, s, name, credential)
		if err != nil {
			return err
		}
		live, err := newControl(cfg).mend(ctx, name, credential)
		if err != nil && !errors.Is(err, errNoServer) {
			return err
		}
		if err == nil {
			c.sayCleared(name, live.Cleared, time.Now())
			stored += len(live.Cleared)
		}
		if stored == 0 {
			fmt.Fprintf(c.stderr, "nothing of %q is out of use\n", name)
		}
		return nil
	})
}

// mendStored puts back the channel's credentials that the store has out of use,
// and tells how many it did, or could not put back.
func (c *cli) mendStored(ctx context.Context, s *store.Store, name, credential string) (int, error) {
	service := catalog.New(catalog.Options{Store: s})
	state, err := service.State(ctx)
	if err != nil {
		return 0, err
	}
	done, err := service.MendChannel(ctx, actor, name, credential)
	if err != nil {
		return 0, err
	}
	before := make(map[realm.ID]*realm.Credential)
	for _, ch := range state.Channels {
		for _, ep := range ch.Endpoints {
			for _, cr := range ep.Credentials {
				before[cr.ID] = cr
			}
		}
	}
	for _, m := range done {
		where, why := name+" / "+m.Name, ""
		if was := before[m.ID]; was != nil {
			where = name + " / " + catalog.EndpointName(was.Endpoint.BaseURL) + " / " + was.Name
			why = fmt.Sprintf("; it was out of use since %s (%s)", moment(was.StateSince, "long ago"), was.StateReason)
		}
		fmt.Fprintf(c.stderr, "%s: put back%s\n", where, why)
	}
	if credential == "" {
		return len(done) + c.sayUnmended(state.Channel(strings.TrimSpace(name))), nil
	}
	return len(done), nil
}

// sayUnmended names what mending a channel cannot help, and tells how many.
func (c *cli) sayUnmended(ch *realm.Channel) int {
	n := 0
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if catalog.NeedsSignIn(cr) {
				fmt.Fprintf(c.stderr, "%s / %s / %s: not put back: %s\n", ch.Name, catalog.EndpointName(ep.BaseURL), cr.Name, cr.StateReason)
				n++
			}
		}
	}
	return n
}

func (c *cli) sayCleared(channel string, list []server.Cleared, now time.Time) {
	for _, cleared := range list {
		what := []string{channel}
		for _, word := range []string{cleared.BaseURL, cleared.Credential} {
			if word != "" {
				what = append(what, word)
			}
		}
		fmt.Fprintf(c.stderr, "%s: cleared: %s\n", strings.Join(what, " / "), markText(cleared.Mark, now))
	}
}

var channelEnableCommand = command{
	name: "channel enable", args: "NAME", short: "let requests go to a channel",
	setup: func(c *cli, _ *flag.FlagSet) action { return c.enableChannel(true) },
}

var channelDisableCommand = command{
	name: "channel disable", args: "NAME", short: "keep requests from a channel; those under way go on",
	long: `
It stays so until channel enable. An apply of a file that names the channel
without enabled: false enables it too.`,
	setup: func(c *cli, _ *flag.FlagSet) action { return c.enableChannel(false) },
}

func (c *cli) enableChannel(enabled bool) action {
	return func(ctx context.Context, args []string) error {
		name, err := oneArg(args, "the channel's NAME")
		if err != nil {
			return err
		}
		return c.readStore(ctx, func(cfg config.Config, s *store.Store) error {
			done, err := catalog.New(catalog.Options{Store: s}).SetChannelEnabled(ctx, actor, name, enabled)
			if err != nil {
				return err
			}
			if len(done) == 0 {
				fmt.Fprintf(c.stderr, "the channel %q is so already\n", name)
				return nil
			}
			newControl(cfg).poke(ctx)
			fmt.Fprintf(c.stderr, "channel %q: %s\n", name, done[0].Verb)
			return nil
		})
	}
}
