package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/store"
)

var backupCommand = command{
	name: "backup", args: "FILE", short: "write everything the store holds into a file",
	long: `
It may run beside a server: the file is the store at one instant. Secrets are in
it as in the store: sealed if there is a master key, else in the clear; that key
is not in it. It is readable by its owner alone. - writes to standard output. An
existing file is never overwritten.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			file, err := oneArg(args, "the FILE to write")
			if err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			if err := c.requireStore(cfg); err != nil {
				return err
			}
			return c.openSealed(ctx, cfg, func(s *store.Store) error { return c.backup(ctx, cfg, s, file) })
		}
	},
}

func (c *cli) backup(ctx context.Context, cfg config.Config, s *store.Store, file string) error {
	switch fresh, _, err := pending(ctx, s); {
	case err != nil:
		return err
	case fresh:
		return c.noStore(cfg)
	}
	if err := s.CheckSchema(ctx); err != nil {
		return err
	}
	if file == "-" {
		return s.Backup(ctx, c.stdout)
	}
	if err := writeNew(file, func(w io.Writer) error { return s.Backup(ctx, w) }); err != nil {
		return err
	}
	fmt.Fprintf(c.stderr, "%s written; it holds secrets, keep it safe\n", file)
	return nil
}

// writeNew writes a file that was not there, wholly or not at all, and makes it
// durable before it has its name.
func writeNew(file string, write func(io.Writer) error) (err error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = errors.New("it exists already: choose another name, or remove it")
		}
		return fmt.Errorf("%s: %w", file, err)
	}
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+"-*") // readable by its owner alone
	if err != nil {
		return fmt.Errorf("%s cannot be written: %w", file, pathCause(err))
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(f.Name()))
		}
	}()
	buffered := bufio.NewWriterSize(f, 1<<16)
	err = write(buffered)
	for _, step := range []func() error{buffered.Flush, f.Sync} {
		if err == nil {
			err = step()
		}
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), file); err != nil { // unlike a rename, it replaces nothing
		return fmt.Errorf("%s cannot be written: %w", file, err)
	}
	return os.Remove(f.Name())
}

func pathCause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

var restoreCommand = command{
	name: "restore", args: "FILE", short: "load a backup into an empty store",
	long: `
The store must be empty: a new data directory, or a new database. A backup of
SQLite can be restored into MySQL, and the other way round. - reads standard
input. Nothing happens unless all of it does. Sealed secrets need the master key
they were sealed with from the next start on. Credentials with a ChatGPT account
are out of use then: realms codex refresh puts back one whose old store is not
used any more; else it takes a new sign-in.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			file, err := oneArg(args, "the FILE to read")
			if err != nil {
				return err
			}
			cfg, err := c.loadConfig()
			if err != nil {
				return err
			}
			return c.restore(ctx, cfg, file)
		}
	},
}

// fromBackup is why a restored account is out of use. Whoever renews its tokens first
// ends the sign-in for all who have a copy of them.
const fromBackup = "it came with a backup; try codex refresh if its old store is used no more, or else"

func (c *cli) restore(ctx context.Context, cfg config.Config, file string) error {
	if h, err := newControl(cfg).health(ctx); err == nil {
		return fmt.Errorf("a server is running on the data directory %s, at %s: stop it first", cfg.DataDir, h.Addr)
	}
	in := c.stdin
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return fmt.Errorf("%s cannot be read: %w", file, pathCause(err))
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	return c.openSealed(ctx, cfg, func(s *store.Store) error {
		var accounts []string
		err := s.Restore(ctx, bufio.NewReaderSize(in, 1<<16), store.RestoreOptions{SignedOut: func(channel, credential string) string {
			accounts = append(accounts, catalog.AccountArg(channel, credential))
			return catalog.ReasonSignIn(fromBackup, channel, credential)
		}})
		if err != nil {
			return err
		}
		fmt.Fprintf(c.stderr, "%s restored\n", file)
		for _, account := range accounts {
			fmt.Fprintf(c.stderr, "%s: out of use, since its old store may use the account still: if not, `%s`; else sign in anew\n", account, c.again("codex refresh "+account))
		}
		return nil
	})
}
