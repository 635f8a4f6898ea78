package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"realms/internal/account"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
)

// tokenFlags are what a new token may do.
type tokenFlags struct {
	user, name, groups, models, networks string
	expires                              time.Duration
}

func newTokenFlags(f *flag.FlagSet) *tokenFlags {
	t := &tokenFlags{}
	f.StringVar(&t.user, "user", "", "the `NAME` of the user it belongs to")
	f.StringVar(&t.name, "name", "", "a `LABEL` to know it by")
	f.StringVar(&t.groups, "groups", "", "only these `GROUPS` of the user, with commas, in order (default: all of them)")
	f.StringVar(&t.models, "models", "", "only these `MODELS`, with commas (default: all)")
	f.StringVar(&t.networks, "networks", "", "only from these `NETWORKS`, with commas, such as 10.0.0.0/8 (default: from anywhere)")
	f.DurationVar(&t.expires, "expires", 0, "for this `DURATION` only, such as 720h (default: for ever)")
	return t
}

func (t *tokenFlags) spec(now time.Time) (account.TokenSpec, error) {
	spec := account.TokenSpec{User: t.user, Name: t.name, Groups: listOf(t.groups), Models: listOf(t.models)}
	switch {
	case t.user == "":
		return spec, usagef("say whose token it is with --user NAME")
	case t.name == "":
		return spec, usagef("give the token a label with --name LABEL")
	case t.expires < 0:
		return spec, usagef("--expires is in the past")
	case t.expires > 0:
		spec.ExpiresAt = now.Add(t.expires)
	}
	for _, text := range listOf(t.networks) {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, addrErr := netip.ParseAddr(text)
			if addrErr != nil {
				return spec, usagef("--networks: %q is not a network: write one such as 10.0.0.0/8, or an address", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		spec.Networks = append(spec.Networks, p)
	}
	return spec, nil
}

var tokenCreateCommand = command{
	name: "token create", args: "--user NAME --name LABEL", short: "make a token and print it, once",
	long: `
The token alone goes to standard output. Only its hash is kept: it cannot be
shown again.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		flags := newTokenFlags(f)
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			spec, err := flags.spec(time.Now())
			if err != nil {
				return err
			}
			return c.withAccounts(ctx, func(accounts *account.Service) error {
				text, t, err := accounts.CreateToken(ctx, actor, spec)
				if err != nil {
					return c.explainUser(err, spec.User)
				}
				fmt.Fprintf(c.stderr, "token %s of user %q; it is shown this once:\n", t.ID, spec.User)
				_, err = fmt.Fprintln(c.stdout, text.Reveal())
				return err
			})
		}
	},
}

var tokenImportCommand = command{
	name: "token import", args: "--user NAME --name LABEL", short: "take in a key that was made elsewhere",
	long: `
The key is read from standard input, or a file: never from the command line,
which others on the machine can see. Its holder goes on using it as it is.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		flags := newTokenFlags(f)
		file := f.String("file", "-", "the `FILE` that holds the key, - for standard input")
		return func(ctx context.Context, args []string) error {
			if len(args) > 0 {
				return usagef("the key does not belong on the command line: give it on standard input, or name its file with --file")
			}
			spec, err := flags.spec(time.Now())
			if err != nil {
				return err
			}
			data, _, err := c.readInput(*file)
			if err != nil {
				return err
			}
			text := realm.Secret(strings.TrimSpace(string(data)))
			return c.withAccounts(ctx, func(accounts *account.Service) error {
				t, err := accounts.ImportToken(ctx, actor, spec, text)
				if err != nil {
					return c.explainUser(err, spec.User)
				}
				fmt.Fprintf(c.stderr, "token %s of user %q: imported\n", t.ID, spec.User)
				return nil
			})
		}
	},
}

// explainUser adds how a missing user is made, and a disabled one enabled.
func (c *cli) explainUser(err error, user string) error {
	switch e := realm.AsError(err); {
	case e.Field != "user":
		return err
	case strings.HasPrefix(e.Message, "There is no user"):
		return fmt.Errorf("there is no user %q: make one with `%s`", user, c.again("user set "+shellQuote(user)))
	case strings.Contains(e.Message, "is disabled"):
		return fmt.Errorf("the user %q is disabled: enable it with `%s`", user, c.enabling(user))
	}
	return err
}

// withAccounts runs a verb about tokens and makes a running server see it.
func (c *cli) withAccounts(ctx context.Context, fn func(accounts *account.Service) error) error {
	return c.withStore(ctx, func(cfg config.Config, s *store.Store) error {
		if err := fn(account.New(account.Options{Store: s})); err != nil {
			return err
		}
		newControl(cfg).poke(ctx)
		return nil
	})
}

var tokenListCommand = command{
	name: "token list", short: "list the tokens",
	setup: func(c *cli, f *flag.FlagSet) action {
		user := f.String("user", "", "only those of the user `NAME`")
		all := f.Bool("all", false, "revoked and expired ones too")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(_ config.Config, s *store.Store) error {
				list, err := account.New(account.Options{Store: s}).ListTokens(ctx, *user)
				if err != nil {
					return err
				}
				return c.showTokens(list, *all, time.Now())
			})
		}
	},
}

func (c *cli) showTokens(list []account.TokenInfo, all bool, now time.Time) error {
	rows := [][]string{{"ID", "USER", "NAME", "BEGINS", "GROUPS", "MODELS", "EXPIRES", "STATE"}}
	for _, t := range list {
		state := tokenState(t.Token, now)
		if state != live && !all {
			continue
		}
		rows = append(rows, []string{
			t.ID.String(), t.User, t.Name, t.Hint + "…", orAll(t.GroupNames), orAll(t.Models), moment(t.ExpiresAt, "never"), state,
		})
	}
	return c.table(rows)
}

// live is the state of a token that is taken.
const live = "live"

func tokenState(t realm.Token, now time.Time) string {
	switch {
	case !t.RevokedAt.IsZero():
		return "revoked"
	case !t.ExpiresAt.IsZero() && !now.Before(t.ExpiresAt):
		return "expired"
	}
	return live
}

func orAll(list []string) string {
	if list == nil {
		return "all"
	}
	return strings.Join(list, ",")
}

var tokenRevokeCommand = command{
	name: "token revoke", args: "ID", short: "end a token",
	long: `
Besides its id, the label or the beginning that token list shows will do where
only one live token has it. Servers refuse it within a second; open streams end
by themselves.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		user := f.String("user", "", "among the tokens of the user `NAME`")
		return func(ctx context.Context, args []string) error {
			ref, err := oneArg(args, "the token's ID")
			if err != nil {
				return err
			}
			return c.withAccounts(ctx, func(accounts *account.Service) error {
				t, err := accounts.RevokeToken(ctx, actor, account.TokenRef{Text: strings.TrimSuffix(ref, "…"), User: *user})
				if err != nil {
					return err
				}
				fmt.Fprintf(c.stderr, "token %s (%s): revoked at %s\n", t.ID, t.Name, moment(t.RevokedAt, ""))
				return nil
			})
		}
	},
}
