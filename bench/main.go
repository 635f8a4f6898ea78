package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// options are the command line's.
type options struct {
	realms   string        // path of the Realms binary; "" leaves it out
	targets  string        // comma-separated names, "" for all that can run
	rounds   int           // of every scenario against every target
	scale    float64       // of the number of requests in a run
	streams  int           // idle streams held at once
	out      string        // file that gets the report, "" for none
	deadline time.Duration // for everything
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// run plays the role that the first argument names; without one it measures.
func run(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case "upstream":
			return serveUpstream(ctx, os.Stdout)
		case "proxy":
			if len(args) != 2 {
				return errors.New("usage: bench proxy http://ADDRESS")
			}
			return serveProxy(ctx, args[1], os.Stdout)
		}
	}
	o, err := parse(args)
	if err != nil {
		return err
	}
	if err := pinSelf(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, o.deadline)
	defer cancel()
	return measure(ctx, o)
}

func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.StringVar(&o.realms, "realms", "bin/realms", "the Realms binary; empty leaves Realms out")
	f.StringVar(&o.targets, "targets", "", "comma-separated: direct,bare,bare2,nginx,realms,realms-norows (default: all that can run, but bare2)")
	f.IntVar(&o.rounds, "rounds", 7, "rounds; the report gives medians over them")
	f.Float64Var(&o.scale, "scale", 1, "multiplies the number of requests in every run")
	f.IntVar(&o.streams, "streams", 1000, "idle streams held at once")
	f.StringVar(&o.out, "out", "", "also write the report to this file")
	f.DurationVar(&o.deadline, "deadline", 20*time.Minute, "stop after this long, whatever is missing")
	if err := f.Parse(args); err != nil {
		return o, fmt.Errorf("read the flags: %w", err)
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	if o.rounds < 1 || o.scale <= 0 || o.streams < 1 {
		return o, errors.New("-rounds, -scale and -streams must be positive")
	}
	if o.realms != "" {
		abs, err := filepath.Abs(o.realms)
		if err != nil {
			return o, fmt.Errorf("find Realms: %w", err)
		}
		o.realms = abs
	}
	return o, nil
}

// The CPUs: the gateway under test has one for itself.
const (
	gatewayCPU = "0"
	loadCPU    = "1"
)

// pinnedEnv marks the process that pinSelf has already moved.
const pinnedEnv = "REALMS_BENCH_PINNED"

// pinSelf replaces this process with itself under taskset, so that generator
// and upstream keep off the gateway's CPU. Without taskset it does nothing, and
// the report says so.
func pinSelf(ctx context.Context) error {
	if os.Getenv(pinnedEnv) != "" || !canPin(ctx) {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own binary: %w", err)
	}
	taskset, err := exec.LookPath("taskset")
	if err != nil {
		return fmt.Errorf("find taskset: %w", err)
	}
	argv := append([]string{taskset, "-c", loadCPU, self}, os.Args[1:]...)
	return fmt.Errorf("exec taskset: %w", syscall.Exec(taskset, argv, append(os.Environ(), pinnedEnv+"=1")))
}

// canPin tells whether taskset is there and this machine has both CPUs.
func canPin(ctx context.Context) bool {
	for _, cpu := range []string{gatewayCPU, loadCPU} {
		if exec.CommandContext(ctx, "taskset", "-c", cpu, "true").Run() != nil {
			return false
		}
	}
	return true
}

// named tells whether the target was asked for; def is for an empty list.
func (o *options) named(name string, def bool) bool {
	if o.targets == "" {
		return def
	}
	for _, t := range strings.Split(o.targets, ",") {
		if strings.TrimSpace(t) == name {
			return true
		}
	}
	return false
}
