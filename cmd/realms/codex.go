package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"time"

	"realms/internal/catalog"
	"realms/internal/codex"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/settings"
	"realms/internal/store"
)

// codexArgs is how a credential of a channel of ChatGPT accounts is named.
const codexArgs = "CHANNEL[/CREDENTIAL]"

// codexArg is that one argument.
func codexArg(args []string) (string, error) { return oneArg(args, "the account's "+codexArgs) }

// codexTarget finds which credential is meant. Names may have slashes in them, so
// the channels say where one ends; what names none of them is split at its first.
func codexTarget(ref string, channels []*realm.Channel) codex.Target {
	var found string
	for _, ch := range channels {
		if (ref == ch.Name || strings.HasPrefix(ref, ch.Name+"/")) && len(ch.Name) > len(found) {
			found = ch.Name
		}
	}
	if found == "" {
		found, _, _ = strings.Cut(ref, "/")
	}
	return codex.Target{Channel: found, Credential: strings.TrimPrefix(strings.TrimPrefix(ref, found), "/")}
}

// withAccounts is what a command does with the accounts' keeper. What a person should
// know meanwhile is said under its context.
type withAccounts func(ctx context.Context, accounts *codex.Service, to codex.Target) error

// withProvider runs a verb that speaks with the provider: through the same pieces
// as the server, since a channel's proxy and certificates hold for this too. A
// running server sees what has changed, whatever came of it.
func (c *cli) withProvider(ctx context.Context, ref string, fn withAccounts) (err error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	if err := c.requireStore(cfg); err != nil {
		return err
	}
	app, err := server.OpenBeside(ctx, cfg, c.wordsOnly(cfg))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, app.Close()) }()
	channels, err := app.Store.Read().Channels.List(ctx)
	if err != nil {
		return fmt.Errorf("read the channels: %w", err)
	}
	to := codexTarget(strings.TrimSpace(ref), channels)
	defer newControl(cfg).poke(context.WithoutCancel(ctx))
	ctx = codex.WithNotice(ctx, func(sentence string) { fmt.Fprintln(c.stderr, sentence) })
	return c.explainCodex(fn(ctx, app.Codex, to), to)
}

// explainCodex adds what to type to an error that does not say it.
func (c *cli) explainCodex(err error, to codex.Target) error {
	var own *realm.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled) && !errors.As(err, &own):
		return errStopped
	}
	name := shellQuote(to.Channel)
	if to.Credential != "" {
		name += "/" + shellQuote(to.Credential)
	}
	hint, reason := "", realm.AsError(err).Reason
	switch {
	case errors.Is(err, codex.ErrRefused), strings.HasPrefix(reason, "refresh_token_"):
		hint = "`" + c.again("codex login "+name) + "`"
	case reason == "device_login_disabled":
		hint = fmt.Sprintf("with a browser on this machine it is `%s`, with one elsewhere `%s`",
			c.again("codex login "+name+" --browser"), c.again("codex login "+name+" --paste"))
	case reason == "blocked":
		hint = "a proxy in the channel's settings is used for sign-ins too"
	case reason == "taken_over":
		hint = fmt.Sprintf("`%s` looks at the account, `%s` takes the file over all the same",
			c.again("codex refresh "+name), c.again("codex import "+name+" FILE --replace"))
	case reason == "workspace_unchecked":
		hint = fmt.Sprintf("`%s` looks again", c.again("codex refresh "+name))
	case reason == "workspace_routing", reason == "workspace_missing":
		hint = fmt.Sprintf("the account is kept out of use; `%s` signs another one in, `%s` forgets it",
			c.again("codex login "+name+" --replace"), c.again("codex remove "+name))
	}
	if hint == "" {
		return err
	}
	return fmt.Errorf("%s (%s)", words(err), hint)
}

// errStopped is for who gave up before anything was done.
var errStopped = errors.New("stopped; nothing has changed")

// accountsOff tells whether nobody has accepted what the use of accounts means.
func accountsOff(ctx context.Context, cfg config.Config, s *store.Store) (bool, error) {
	state := settings.New(settings.Options{Store: s, SelfMode: cfg.SelfMode.Enable})
	if err := state.Load(ctx); err != nil {
		return false, err
	}
	return !state.State().CodexAccepted(), nil
}

// readAccountsOff is accountsOff beside a running server, with or without its key.
func (c *cli) readAccountsOff(ctx context.Context, cfg config.Config) (off bool, err error) {
	if err := c.requireStore(cfg); err != nil {
		return false, err
	}
	err = c.openSealed(ctx, cfg, func(s *store.Store) (err error) {
		off, err = accountsOff(ctx, cfg, s)
		return err
	})
	return off, err
}

// accountsOff is what is said of that, and what to type.
func (c *cli) accountsOff() string {
	return fmt.Sprintf("the use of ChatGPT accounts is off: `%s` says what it means, and how to turn it on", c.again("codex enable"))
}

// codexMeans is what an operator accepts. Each paragraph is about one thing that
// may go wrong.
const codexMeans = `A channel of the type codex_oauth asks with a ChatGPT account that you sign in, as
the Codex CLI does, in the place of an API key. What that means:

- It is for your own account and your own use. To share an account, to resell what
  it gives, or to pool several may break the provider's terms, and the provider may
  close the account. That risk is yours.
- The interface behind it is documented nowhere and promised to nobody. It may
  change, or stop working, on any day.
- Only tokens of administrators reach such a channel, and its groups hold no other
  users. Realms refuses whatever would change that.
- No limit is worked around: an allowance that is used up is waited for, and no
  other ChatGPT account is asked in its place.
- You sign in on the provider's own page, and no password passes through Realms. The
  tokens that come of it are kept in the store: sealed if there is a
  security.master_key, else in the clear.
- For a team, for customers, for anything public, use API keys, in channels of the
  type openai_compatible.
`

var codexEnableCommand = command{
	name: "codex enable", short: "allow the use of your own ChatGPT account; says first what that means",
	long: `
Without --accept it only says what it means, and changes nothing. It is experimental
and off until then, whatever is declared.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		accept := f.Bool("accept", false, "you have read what it means and accept it")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if !*accept {
				fmt.Fprint(c.stdout, codexMeans)
				return fmt.Errorf("nothing has changed: to accept this, type `%s`", c.again("codex enable --accept"))
			}
			return c.acceptCodex(ctx, true)
		}
	},
}

var codexDisableCommand = command{
	name: "codex disable", short: "stop the use of ChatGPT accounts; they stay signed in",
	long: `
Requests that are under way go on. To forget an account as well: codex remove.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.acceptCodex(ctx, false)
		}
	},
}

func (c *cli) acceptCodex(ctx context.Context, accept bool) error {
	return c.withStore(ctx, func(cfg config.Config, s *store.Store) error {
		service := settings.New(settings.Options{Store: s, SelfMode: cfg.SelfMode.Enable})
		done, err := service.SetCodexAccepted(ctx, actor, accept)
		if err != nil {
			return err
		}
		now := "off"
		if accept {
			now = "on"
		}
		if len(done) == 0 {
			fmt.Fprintf(c.stderr, "the use of ChatGPT accounts is %s already\n", now)
			return nil
		}
		newControl(cfg).poke(ctx)
		fmt.Fprintf(c.stderr, "the use of ChatGPT accounts is %s\n", now)
		return nil
	})
}

var codexImportCommand = command{
	name: "codex import", args: codexArgs + " FILE", short: "take over the sign-in in an auth.json of the Codex CLI",
	long: `
FILE is the auth.json of its home folder, - for standard input. The sign-in then
belongs to Realms alone, for its refresh token serves once: the CLI that had it has
to sign in again. A sign-in of its own, by codex login, is better.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		replace := f.Bool("replace", false, "in the place of another account that is signed in")
		return func(ctx context.Context, args []string) error {
			switch len(args) {
			case 0:
				return usagef("the account's %s and the FILE are missing", codexArgs)
			case 1:
				return usagef("the FILE is missing, - for standard input")
			case 2:
				return c.importCodex(ctx, args[0], args[1], *replace)
			}
			return usagef("%q is one argument too many", args[2])
		}
	},
}

func (c *cli) importCodex(ctx context.Context, ref, file string, replace bool) error {
	data, _, err := c.readInput(file)
	if err != nil {
		return err
	}
	return c.withProvider(ctx, ref, func(ctx context.Context, accounts *codex.Service, to codex.Target) error {
		to.Replace = replace
		a, err := accounts.Import(ctx, actor, to, data)
		if err != nil {
			return err
		}
		fmt.Fprintln(c.stderr, "the sign-in is Realms' own now: the Codex CLI that had it has to sign in again")
		c.sayClear()
		return c.print(signedInLines(a, time.Now()))
	})
}

// sayClear tells who has just signed in that the tokens lie open.
func (c *cli) sayClear() {
	cfg, err := config.Load(c.configFile, c.env) // it was loaded before, and its warnings said
	if err == nil && cfg.Security.MasterKey == "" {
		fmt.Fprintf(c.stderr, "its tokens are stored in the clear, since there is no security.master_key: `%s` makes one\n", c.again("secrets key"))
	}
}

var codexRefreshCommand = command{
	name: "codex refresh", args: codexArgs, short: "renew an account's tokens now",
	long: `
The server renews them by itself before they expire. This also looks again whether
the account's workspace can be used, and puts it back into use if so.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return c.withAccount(func(ctx context.Context, accounts *codex.Service, to codex.Target) error {
			a, err := accounts.Refresh(ctx, actor, to.Channel, to.Credential)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.stdout, "%s: renewed; the access token expires %s\n", accountName(a), moment(a.ExpiresAt, "at a time that it does not say"))
			if x := a.ExpiresAt; !x.IsZero() && !x.After(a.RefreshedAt) {
				fmt.Fprintln(c.stderr, "it seems over as it comes: is this machine's clock right?")
			}
			return nil
		})
	},
}

var codexUsageCommand = command{
	name: "codex usage", args: codexArgs, short: "ask the provider how much of an account's plan is used up",
	setup: func(c *cli, _ *flag.FlagSet) action {
		return c.withAccount(func(ctx context.Context, accounts *codex.Service, to codex.Target) error {
			a, err := accounts.Usage(ctx, actor, to.Channel, to.Credential)
			if err != nil {
				return err
			}
			now := time.Now()
			if !usedUp(a, now) {
				fmt.Fprintf(c.stderr, "nothing is used up; a server that was told otherwise before waits until that time, or until `%s`\n",
					c.again("channel mend "+shellQuote(a.Channel)+" "+shellQuote(a.Credential)))
			}
			return c.print(usageLines(a, now))
		})
	},
}

var codexRemoveCommand = command{
	name: "codex remove", args: codexArgs, short: "sign an account out: revoke its tokens and forget them",
	long: `
Its credential stays declared, out of use until the next codex login. Where the
provider cannot be told it says so: the tokens are forgotten here all the same.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return c.withAccount(func(ctx context.Context, accounts *codex.Service, to codex.Target) error {
			unrevoked, err := accounts.Remove(ctx, actor, to.Channel, to.Credential)
			if err != nil {
				return err
			}
			name := strings.TrimSuffix(to.Channel+"/"+to.Credential, "/")
			if unrevoked != nil {
				fmt.Fprintf(c.stderr, "%s was removed here, but could not be revoked at the provider: %s Its sign-in stays valid there.\n", name, words(unrevoked))
				return nil
			}
			fmt.Fprintf(c.stderr, "%s: signed out, and its tokens are forgotten\n", name)
			return nil
		})
	},
}

// withAccount is withProvider for verbs whose one argument names the account.
func (c *cli) withAccount(fn withAccounts) action {
	return func(ctx context.Context, args []string) error {
		ref, err := codexArg(args)
		if err != nil {
			return err
		}
		return c.withProvider(ctx, ref, fn)
	}
}

var codexListCommand = command{
	name: "codex list", short: "list the ChatGPT accounts: who is signed in, until when, how much of the plan is used up",
	long: `
It shows what the store holds and asks nobody: of the plans what the provider said
last, at the time under AS OF. codex usage asks anew.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		asJSON := f.Bool("json", false, "print everything as JSON")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(cfg config.Config, s *store.Store) error { return c.listCodex(ctx, cfg, s, *asJSON) })
		}
	},
}

func (c *cli) listCodex(ctx context.Context, cfg config.Config, s *store.Store, asJSON bool) error {
	state := settings.New(settings.Options{Store: s, SelfMode: cfg.SelfMode.Enable})
	if err := state.Load(ctx); err != nil {
		return err
	}
	list, err := codex.New(codex.Options{Store: s, Catalog: catalog.New(catalog.Options{Store: s}), Settings: state}).List(ctx)
	if err != nil {
		return err
	}
	if !state.State().CodexAccepted() {
		fmt.Fprintln(c.stderr, c.accountsOff())
	}
	if asJSON {
		return c.printJSON(list)
	}
	if len(list) == 0 {
		fmt.Fprintln(c.stderr, "no channel of the type codex_oauth has a credential")
		return nil
	}
	now := time.Now()
	if err := c.table(accountRows(list, now)); err != nil {
		return err
	}
	return c.print(slices.Concat(accountAdvice(list, c.again)...))
}
