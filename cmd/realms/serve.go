package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/store"
)

var serveCommand = command{
	name: "serve", short: "start Realms",
	long: `
It brings the store's schema up to date first; a SQLite file is copied before.
SIGINT or SIGTERM ends it: open answers go on for server.drain, a second signal
ends it at once.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			return c.serve(ctx, cfg)
		}
	},
}

func (c *cli) serve(ctx context.Context, cfg config.Config) error {
	if h, err := newControl(cfg).health(ctx); err == nil {
		return fmt.Errorf("a server is running on the data directory %s already, at %s: stop it first, or choose another directory with REALMS_DATA_DIR", cfg.DataDir, h.Addr)
	}
	unlock, err := server.Lock(cfg.DataDir)
	if err != nil {
		return err
	}
	defer unlock()
	log := c.logger(cfg)
	if err := c.migrateFirst(ctx, cfg, log); err != nil {
		return err
	}
	app, err := server.Open(ctx, cfg, log)
	if err != nil {
		return err
	}
	err = c.runApp(ctx, app, func(addr string) error {
		return c.welcome(context.WithoutCancel(ctx), c.stderr, cfg, app.Store, addr)
	})
	return errors.Join(err, app.Close())
}

// migrateFirst brings the schema up to date: a server is what needs it, and a
// machine where nobody typed anything has to work.
func (c *cli) migrateFirst(ctx context.Context, cfg config.Config, log *slog.Logger) (err error) {
	keys, err := server.Keys(cfg)
	if err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Options{DSN: cfg.StoreDSN(), Log: log, Keys: keys})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	_, err = s.Migrate(ctx)
	return err
}

// runApp runs the server and calls listening with its address once it is there.
func (c *cli) runApp(ctx context.Context, app *server.App, listening func(addr string) error) error {
	work, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	work.Go(func() error {
		defer stop() // whoever waits for the address need not wait any more
		return app.Run(ctx)
	})
	work.Go(func() error {
		addr, err := app.Addr(ctx)
		if err == nil {
			return listening(addr)
		}
		if ctx.Err() != nil {
			err = nil // Run says why it ended
		}
		return err
	})
	return work.Wait()
}

// welcome says where Realms is and what is still missing before it can be asked.
func (c *cli) welcome(ctx context.Context, w io.Writer, cfg config.Config, s *store.Store, addr string) error {
	channels, err := s.Read().Channels.List(ctx)
	if err != nil {
		return fmt.Errorf("read the channels: %w", err)
	}
	users, err := s.Read().Users.List(ctx)
	if err != nil {
		return fmt.Errorf("read the users: %w", err)
	}
	tokens, err := s.Read().Tokens.List(ctx)
	if err != nil {
		return fmt.Errorf("read the tokens: %w", err)
	}
	owner := slices.IndexFunc(users, func(u *realm.User) bool { return u.Enabled })
	form := "self mode"
	if !cfg.SelfMode.Enable {
		form = "for several users"
	}
	where := cfg.SQLiteFile()
	if where == "" {
		where = cfg.DB.DSN.String()
	}
	fmt.Fprintf(w, "\nRealms answers at %s/v1 (%s; store: %s)\n", baseURL(addr), form, where)
	switch {
	case len(channels) == 0:
		fmt.Fprintf(w, "\nThere is no channel yet, so there is nobody to ask. Next, in another terminal:\n\n")
		fmt.Fprintf(w, "  %s apply --example > channels.yaml   # then put your provider and its key into it\n", c.program)
		fmt.Fprintf(w, "  %s\n", c.again("apply -f channels.yaml"))
	case owner < 0 && len(users) > 0:
		fmt.Fprintf(w, "\nEvery user is disabled, so nobody may ask. Next, in another terminal:\n\n")
		fmt.Fprintf(w, "  %s\n", c.enabling(toEnable(users)))
	case owner < 0:
		fmt.Fprintf(w, "\nThere is no user who may ask yet. Next, in another terminal:\n\n")
		fmt.Fprintf(w, "  %s\n", c.again("user set owner --role root"))
	case !slices.ContainsFunc(tokens, func(t *realm.Token) bool { return tokenState(*t, time.Now()) == live }):
		fmt.Fprintf(w, "\nThere is no token to ask with yet. Next, in another terminal:\n\n")
		fmt.Fprintf(w, "  %s\n", c.again("token create --user "+shellQuote(users[owner].Name)+" --name laptop"))
	}
	fmt.Fprintln(w)
	return nil
}

// toEnable is the user whom an operator would enable first: a root if there is one.
func toEnable(users []*realm.User) string {
	i := slices.IndexFunc(users, func(u *realm.User) bool { return u.Role == realm.RoleRoot })
	return users[max(i, 0)].Name
}

// enabling is the command line that enables a user.
func (c *cli) enabling(user string) string {
	return c.again("user set " + shellQuote(user) + " --enable")
}

// baseURL is how a client on this machine reaches what listens on an address.
func baseURL(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "http://" + addr
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}
