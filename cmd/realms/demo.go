package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"realms/internal/account"
	"realms/internal/config"
	"realms/internal/declare"
	"realms/internal/demo"
	"realms/internal/realm"
	"realms/internal/server"
)

var demoCommand = command{
	name: "demo", short: "start Realms with a sample upstream: no key, no network, nothing kept",
	long: `
The store is made anew at each start, in a temporary folder that goes with it.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.demo(ctx)
		}
	},
}

// sample is what the demonstration declares.
const sample = `
models:
  - {name: %[1]s, owned_by: realms}
channels:
  - name: demo
    apis: [responses, chat, embeddings]
    endpoints:
      - base_url: %[2]s
        credentials: [{name: none}]
    models: [%[1]s]
users:
  - {name: demo, role: root}
`

func (c *cli) demo(ctx context.Context) (err error) {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "realms-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demonstration: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	// The folder is this process's alone: it needs no lock.
	loopback := true // where the sample upstream is
	cfg.DataDir, cfg.DB.DSN, cfg.Upstream.AllowPrivateNetworks = dir, "", &loopback
	up, err := demo.Start(ctx, demo.Options{Pause: demo.DefaultPause})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.Close()) }()
	return c.serveDemo(ctx, cfg, up.BaseURL)
}

func (c *cli) serveDemo(ctx context.Context, cfg config.Config, upstream string) error {
	app, err := server.Open(ctx, cfg, c.logger(quieter(cfg)))
	if err != nil {
		return err
	}
	token, err := c.fillDemo(ctx, app, upstream)
	if err == nil {
		err = c.runApp(ctx, app, func(addr string) error { return c.welcomeDemo(baseURL(addr)+"/v1", token) })
	}
	return errors.Join(err, app.Close())
}

// fillDemo declares the sample and makes a token for it.
func (c *cli) fillDemo(ctx context.Context, app *server.App, upstream string) (realm.Secret, error) {
	doc, err := declare.Read("the demonstration", fmt.Appendf(nil, sample, demo.Model, upstream), declare.ReadOptions{Lookup: c.lookup})
	if err != nil {
		return "", err
	}
	if _, err := doc.Apply(ctx, declare.Options{Store: app.Store, Actor: actor}); err != nil {
		return "", err
	}
	if err := app.Catalog.Load(ctx); err != nil {
		return "", err
	}
	token, _, err := app.Accounts.CreateToken(ctx, actor, account.TokenSpec{User: "demo", Name: "demo"})
	return token, err
}

func (c *cli) welcomeDemo(base string, token realm.Secret) error {
	_, err := fmt.Fprintf(c.stdout, strings.TrimPrefix(`
Realms answers at %[1]s, with a sample upstream behind it.
Nothing leaves this machine, and nothing is kept when it ends (Ctrl-C).

Ask it:

  curl %[1]s/chat/completions -H 'Authorization: Bearer %[2]s' -H 'Content-Type: application/json' -d '{"model": "%[3]s", "stream": true, "messages": [{"role": "user", "content": "Hello!"}]}'

Codex: put this into ~/.codex/config.toml, or into a folder of its own that
CODEX_HOME names:

model = "%[3]s"
model_provider = "realms"

[model_providers.realms]
name = "Realms"
base_url = "%[1]s"
env_key = "REALMS_API_KEY"
wire_api = "responses"

and run:

  REALMS_API_KEY=%[2]s codex exec --skip-git-repo-check "Hello!"

`, "\n"), base, token.Reveal(), demo.Model)
	return err
}
