package main

import (
	"context"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"realms/internal/config"
	"realms/internal/declare"
	"realms/internal/store"
	"realms/internal/yamldoc"
)

// example is a declarative file to begin with.
//
//go:embed example.yaml
var example string

var applyCommand = command{
	name: "apply", args: "-f FILE", short: "make channels, models, groups and users what a YAML file says",
	long: `
Applying a file again changes nothing. Either all of it happens, or nothing.
Things are matched by name, endpoints by their base URL. A section that is
absent is left alone; what a section does not name is kept, unless --prune:
then it is deleted, and users are disabled. A channel's models, groups and apis
are taken as they are written. A credential without api_key keeps the key it
has; one of a codex_oauth channel stands for a ChatGPT account, which codex login
signs in. ${NAME} stands for a variable of the environment, a value file:PATH for
what a file holds, $$ for a dollar sign.

A running server sees the change at once.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		file := f.String("f", "", "the declarative `FILE`, - for standard input")
		dryRun := f.Bool("dry-run", false, "show what would change, and change nothing")
		prune := f.Bool("prune", false, "remove what the file's sections do not name")
		show := f.Bool("example", false, "print a file to begin with, and do nothing else")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			if *show {
				_, err := io.WriteString(c.stdout, example)
				return err
			}
			if *file == "" {
				return usagef("name the file with -f FILE; --example prints one to begin with")
			}
			return c.apply(ctx, *file, declare.Options{DryRun: *dryRun, Prune: *prune})
		}
	},
}

func (c *cli) apply(ctx context.Context, file string, o declare.Options) error {
	data, name, err := c.readInput(file)
	if err != nil {
		return err
	}
	doc, err := declare.Read(name, data, declare.ReadOptions{Dir: filepath.Dir(file), Lookup: c.lookup})
	if err != nil {
		return c.refuse(ctx, doc, err)
	}
	if o.DryRun {
		return c.dryRun(ctx, doc, o, name)
	}
	return c.withStore(ctx, func(cfg config.Config, s *store.Store) error {
		result, err := c.applyTo(ctx, s, doc, o)
		if err != nil {
			return err
		}
		if len(result.Changes) > 0 {
			newControl(cfg).poke(ctx)
		}
		fmt.Fprintf(c.stderr, "%s applied: %s\n", name, result.Summary())
		return nil
	})
}

// refuse completes what is wrong with a file by what only the store can tell;
// where there is no store yet, none is made for that.
func (c *cli) refuse(ctx context.Context, doc *declare.Document, found error) error {
	var all yamldoc.Problems
	err := c.readStore(ctx, func(_ config.Config, s *store.Store) (err error) {
		all, err = doc.Check(ctx, s)
		return err
	})
	var none *noStoreError
	if errors.As(err, &none) {
		all, err = doc.Check(ctx, nil)
	}
	if err != nil {
		fmt.Fprintf(c.stderr, "note: whether the file's groups exist was not checked: %s\n", words(err))
		return found
	}
	return all.Err()
}

// dryRun shows what a file would change; where there is no store yet, in one of
// its own that goes again.
func (c *cli) dryRun(ctx context.Context, doc *declare.Document, o declare.Options, name string) (err error) {
	show := func(_ config.Config, s *store.Store) error {
		result, err := c.applyTo(ctx, s, doc, o)
		if err == nil {
			fmt.Fprintf(c.stderr, "dry run of %s: %s\n", name, result.Summary())
		}
		return err
	}
	err = c.readStore(ctx, show)
	var none *noStoreError
	if !errors.As(err, &none) {
		return err
	}
	dir, err := os.MkdirTemp("", "realms-dry-run-")
	if err != nil {
		return fmt.Errorf("make a folder for the dry run: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	cfg := config.Default()
	cfg.DataDir = dir
	return c.openStore(ctx, cfg, func(s *store.Store) error {
		if _, err := s.Migrate(ctx); err != nil {
			return err
		}
		return show(cfg, s)
	})
}

func (c *cli) applyTo(ctx context.Context, s *store.Store, doc *declare.Document, o declare.Options) (*declare.Result, error) {
	o.Store, o.Actor = s, actor
	result, err := doc.Apply(ctx, o)
	if err != nil {
		return nil, err
	}
	if err := result.Print(c.stdout); err != nil {
		return nil, fmt.Errorf("print the changes: %w", err)
	}
	return result, nil
}

// maxInput is the most that is read of a file a command is given.
const maxInput = 16 << 20

// readInput reads a file, or standard input for "-", and names it for errors.
func (c *cli) readInput(file string) (data []byte, name string, err error) {
	if file == "-" {
		data, err = io.ReadAll(io.LimitReader(c.stdin, maxInput+1))
		return data, "standard input", err
	}
	data, err = os.ReadFile(file)
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = fmt.Errorf("%s cannot be read: %w", file, pe.Err)
	}
	return data, file, err
}

// lookup finds a variable of the environment.
func (c *cli) lookup(name string) (value string, ok bool) {
	for _, kv := range c.env {
		if n, v, _ := strings.Cut(kv, "="); n == name {
			value, ok = v, true // the last one counts
		}
	}
	return value, ok
}

var exportCommand = command{
	name: "export", short: "print channels, models, groups and users in the form that apply reads",
	long: `
Without --with-secrets the credentials' keys are left out; applied to the same
store, the export then keeps the keys it has.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		secrets := f.Bool("with-secrets", false, "include the credentials' keys")
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			return c.readStore(ctx, func(_ config.Config, s *store.Store) error {
				out, err := declare.Export(ctx, s, declare.ExportOptions{Secrets: *secrets})
				if err != nil {
					return err
				}
				_, err = c.stdout.Write(out)
				return err
			})
		}
	},
}
