// Command realms is the relay and everything its operator types. This package
// owns words, flags, exit codes and what is printed; it decides nothing itself:
// each command reads the configuration, asks one service, and shows the answer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"realms/internal/realm"
	"realms/internal/yamldoc"
)

// The exit codes of every command.
const (
	exitFailed = 1 // it was understood and did not succeed
	exitUsage  = 2 // it was not understood
)

func main() { os.Exit(run()) }

func run() int {
	// net/http tells the standard logger of bytes that an upstream sent unasked,
	// and quotes them. Nothing of an upstream's may reach a log.
	log.SetOutput(io.Discard)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	c := &cli{
		stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr,
		env: os.Environ(), program: programName(os.Args[0], os.TempDir()),
	}
	return c.run(ctx, os.Args[1:])
}

// programName is what a person types to run this program again.
func programName(arg0, temp string) string {
	if strings.HasPrefix(arg0, temp+string(os.PathSeparator)+"go-build") {
		return "go run ./cmd/realms"
	}
	return arg0
}

// command is one word, or two, that realms understands.
type command struct {
	name  string // "token create"
	args  string // "NAME", for the usage line
	short string
	long  string // more for --help, may be empty
	// setup declares the command's flags and returns what to do once they are read.
	setup func(c *cli, f *flag.FlagSet) action
}

// action does the command; args are what is no flag.
type action func(ctx context.Context, args []string) error

func commands() []command {
	return []command{
		serveCommand, demoCommand,
		applyCommand, exportCommand,
		userListCommand, userSetCommand,
		tokenCreateCommand, tokenListCommand, tokenRevokeCommand, tokenImportCommand,
		channelListCommand, channelTestCommand, channelMendCommand, channelEnableCommand, channelDisableCommand,
		codexEnableCommand, codexDisableCommand, codexLoginCommand, codexImportCommand,
		codexListCommand, codexRefreshCommand, codexUsageCommand, codexRemoveCommand,
		requestListCommand, requestShowCommand,
		migrateUpCommand, migrateStatusCommand,
		backupCommand, restoreCommand,
		secretsKeyCommand, secretsStatusCommand, secretsRotateCommand,
		doctorCommand, versionCommand,
	}
}

// usageError is a command line that was not understood.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// run finds the command, runs it and turns its error into words and a code.
func (c *cli) run(ctx context.Context, args []string) int {
	if len(args) == 0 {
		c.usage(c.stderr)
		return exitUsage
	}
	if isHelp(args[0]) {
		c.usage(c.stdout)
		return 0
	}
	if strings.TrimLeft(args[0], "-") == "version" {
		args = append([]string{"version"}, args[1:]...)
	}
	cmd, rest, err := find(args)
	if errors.Is(err, errHelp) {
		c.groupUsage(c.stdout, args[0])
		return 0
	}
	if err == nil {
		err = c.do(ctx, cmd, rest)
	}
	return c.report(cmd.name, err)
}

// find looks up the longest name that the arguments begin with.
func find(args []string) (command, []string, error) {
	var words, group []string
	for _, cmd := range commands() {
		name := strings.Fields(cmd.name)
		if len(args) >= len(name) && strings.Join(args[:len(name)], " ") == cmd.name {
			return cmd, args[len(name):], nil
		}
		if !slices.Contains(words, name[0]) {
			words = append(words, name[0])
		}
		if name[0] == args[0] {
			group = append(group, name[1])
		}
	}
	if len(group) > 0 && len(args) > 1 && isHelp(args[1]) {
		return command{}, nil, errHelp
	}
	if len(group) > 0 {
		return command{name: args[0]}, nil, usagef("say what to do: realms %s %s", args[0], strings.Join(group, "|"))
	}
	return command{}, nil, usagef("there is no command %q; %s", args[0], yamldoc.Suggest(args[0], words))
}

var errHelp = errors.New("help was asked for")

func (c *cli) do(ctx context.Context, cmd command, args []string) error {
	f := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&c.configFile, "config", "", "the configuration `FILE` (default: realms.yaml, if there is one)")
	act := cmd.setup(c, f)
	positional, err := parse(f, args)
	if errors.Is(err, errHelp) {
		cmd.help(c.stdout, f)
		return nil
	}
	if err != nil {
		return err
	}
	return act(ctx, positional)
}

// parse reads flags wherever they stand, also after what is no flag.
func parse(f *flag.FlagSet, args []string) (positional []string, err error) {
	for {
		err := f.Parse(args)
		switch {
		case errors.Is(err, flag.ErrHelp):
			return nil, errHelp
		case err != nil:
			return nil, usagef("%s", err)
		case f.NArg() == 0:
			return positional, nil
		}
		if used := len(args) - f.NArg(); used > 0 && args[used-1] == "--" {
			return append(positional, f.Args()...), nil
		}
		positional = append(positional, f.Arg(0))
		args = f.Args()[1:]
	}
}

// report prints an error as one line, or one a problem, and chooses the code.
func (c *cli) report(name string, err error) int {
	if err == nil {
		return 0
	}
	var usage *usageError
	if errors.As(err, &usage) {
		hint := strings.TrimSpace("realms " + name)
		fmt.Fprintf(c.stderr, "%s: %s (%s --help says more)\n", hint, usage.message, hint)
		return exitUsage
	}
	var silent *silentError
	if errors.As(err, &silent) {
		return exitFailed
	}
	var problems yamldoc.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(c.stderr, problems.Error())
		return exitFailed
	}
	fmt.Fprintf(c.stderr, "realms %s: %s\n", name, words(err))
	return exitFailed
}

// silentError is a failure that the command has described already.
type silentError struct{}

func (*silentError) Error() string { return "failed" }

// words is an error as its reader is to see it: the services' own words where it
// has some.
func words(err error) string {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []string
		for _, e := range joined.Unwrap() {
			all = append(all, words(e))
		}
		return strings.Join(all, "; ")
	}
	var e *realm.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if e.Field != "" {
		return e.Field + ": " + e.Message
	}
	return e.Message
}
