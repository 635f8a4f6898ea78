package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"realms/internal/config"
	"realms/internal/server"
	"realms/internal/store"
)

// actor is who stands in the audit rows of what commands change.
const actor = "command"

// cli is a command's surroundings.
type cli struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	env            []string
	program        string // what a person types to run this program

	configFile string // --config
}

// loadConfig reads the configuration and warns of variables that mean nothing.
func (c *cli) loadConfig() (config.Config, error) {
	for _, line := range config.UnknownEnv(c.env) {
		fmt.Fprintln(c.stderr, "warning:", line)
	}
	return config.Load(c.configFile, c.env)
}

// again is a command line that does args with this program and configuration.
func (c *cli) again(args string) string {
	line := c.program + " " + args
	if c.configFile != "" {
		line += " --config " + c.configFile
	}
	return line
}

func (c *cli) logger(cfg config.Config) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		level = slog.LevelInfo // config has checked it
	}
	o := &slog.HandlerOptions{Level: level}
	if cfg.Log.Format == "json" {
		return slog.New(slog.NewJSONHandler(c.stderr, o))
	}
	return slog.New(slog.NewTextHandler(c.stderr, o))
}

// wordsOnly is a logger for commands that say themselves what came of what they did:
// it leaves out all but what was lost, and writes that as a line for people. Who
// looks for a fault (log.level: debug) sees everything.
func (c *cli) wordsOnly(cfg config.Config) *slog.Logger {
	if cfg.Log.Level == "debug" {
		return c.logger(cfg)
	}
	return slog.New(wordsHandler{c.stderr})
}

// wordsHandler writes errors as "message (what it is about): cause".
type wordsHandler struct{ w io.Writer }

func (wordsHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= slog.LevelError
}

func (h wordsHandler) Handle(_ context.Context, r slog.Record) error {
	about, cause := "", ""
	r.Attrs(func(a slog.Attr) bool {
		switch a.Key {
		case "credential":
			about = " (" + a.Value.String() + ")"
		case "error":
			cause = ": " + a.Value.String()
		}
		return true
	})
	_, err := fmt.Fprintln(h.w, r.Message+about+cause)
	return err
}

func (h wordsHandler) WithAttrs([]slog.Attr) slog.Handler { return h }
func (h wordsHandler) WithGroup(string) slog.Handler      { return h }

// withStore opens the configured store beside whatever else uses it, gives a
// brand-new one its schema, and lets it go after fn. A schema that is behind is
// an error that names the command: a server of the older program may be running.
func (c *cli) withStore(ctx context.Context, fn func(cfg config.Config, s *store.Store) error) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	return c.openStore(ctx, cfg, func(s *store.Store) error {
		fresh, _, err := pending(ctx, s)
		if err != nil {
			return err
		}
		if fresh {
			if _, err := s.Migrate(ctx); err != nil {
				return err
			}
		}
		if err := s.CheckSchema(ctx); err != nil {
			return err
		}
		return fn(cfg, s)
	})
}

// readStore is withStore for what only looks: it never makes a store.
func (c *cli) readStore(ctx context.Context, fn func(cfg config.Config, s *store.Store) error) error {
	cfg, err := c.loadConfig()
	if err != nil {
		return err
	}
	return c.readConfigured(ctx, cfg, func(s *store.Store) error { return fn(cfg, s) })
}

// readConfigured is readStore for who has read the configuration already.
func (c *cli) readConfigured(ctx context.Context, cfg config.Config, fn func(s *store.Store) error) error {
	if err := c.requireStore(cfg); err != nil {
		return err
	}
	return c.openStore(ctx, cfg, func(s *store.Store) error {
		fresh, _, err := pending(ctx, s)
		switch {
		case err != nil:
			return err
		case fresh:
			return c.noStore(cfg)
		}
		if err := s.CheckSchema(ctx); err != nil {
			return err
		}
		return fn(s)
	})
}

// noStoreError: there is no store, or nothing in it, where the configuration
// looks for it.
type noStoreError struct{ message string }

func (e *noStoreError) Error() string { return e.message }

// requireStore refuses to go on where opening would make an empty file.
func (c *cli) requireStore(cfg config.Config) error {
	if file := cfg.SQLiteFile(); file != "" {
		if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
			return c.noStore(cfg)
		}
	}
	return nil
}

func (c *cli) noStore(cfg config.Config) error {
	where := cfg.SQLiteFile()
	if where == "" {
		where = cfg.DB.DSN.String()
	}
	return &noStoreError{fmt.Sprintf("there is no store at %s yet: `%s` makes one; if it is elsewhere, say where with REALMS_DATA_DIR or REALMS_DB_DSN", where, c.again("serve"))}
}

func (c *cli) openStore(ctx context.Context, cfg config.Config, fn func(s *store.Store) error) error {
	keys, err := server.Keys(cfg)
	if err != nil {
		return err
	}
	return c.openWith(ctx, store.Options{DSN: cfg.StoreDSN(), Log: c.logger(quieter(cfg)), Keys: keys}, fn)
}

// openSealed is openStore for what carries secrets without reading them: whether
// the keys fit does not matter.
func (c *cli) openSealed(ctx context.Context, cfg config.Config, fn func(s *store.Store) error) error {
	return c.openWith(ctx, store.Options{DSN: cfg.StoreDSN(), Log: c.logger(quieter(cfg)), KeepSealed: true}, fn)
}

func (c *cli) openWith(ctx context.Context, o store.Options, fn func(s *store.Store) error) (err error) {
	s, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return fn(s)
}

// quieter leaves out what a command shows itself.
func quieter(cfg config.Config) config.Config {
	if cfg.Log.Level == "info" {
		cfg.Log.Level = "warn"
	}
	return cfg
}

// pending tells what a store's schema lacks, and whether it has none at all.
func pending(ctx context.Context, s *store.Store) (fresh bool, missing []store.Migration, err error) {
	all, err := s.MigrationStatus(ctx)
	if err != nil {
		return false, nil, err
	}
	for _, m := range all {
		if m.AppliedAt.IsZero() {
			missing = append(missing, m)
		}
	}
	return len(missing) == len(all), missing, nil
}

// noArgs refuses what is no flag.
func noArgs(args []string) error {
	if len(args) > 0 {
		return usagef("%q is not expected here", args[0])
	}
	return nil
}

// oneArg is the one argument that is no flag.
func oneArg(args []string, what string) (string, error) {
	switch len(args) {
	case 0:
		return "", usagef("%s is missing", what)
	case 1:
		return args[0], nil
	}
	return "", usagef("%q is one argument too many", args[1])
}

// listOf is the words of a flag that holds a list; nil when it is empty.
func listOf(value string) []string {
	var list []string
	for item := range strings.SplitSeq(value, ",") {
		if item = strings.TrimSpace(item); item != "" {
			list = append(list, item)
		}
	}
	return list
}

// table prints rows in columns, the first one as a heading.
func (c *cli) table(rows [][]string) error {
	w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return w.Flush()
}

// print writes lines.
func (c *cli) print(lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(c.stdout, line); err != nil {
			return fmt.Errorf("print: %w", err)
		}
	}
	return nil
}

// printJSON prints a value to be read by people and programs alike.
func (c *cli) printJSON(v any) error {
	e := json.NewEncoder(c.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// shellQuote makes a text one word of a command line.
func shellQuote(text string) string {
	plain := func(r rune) bool {
		return r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
	}
	if text != "" && strings.IndexFunc(text, func(r rune) bool { return !plain(r) }) < 0 {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}
