// Command gotest runs `go test` and says plainly what came of it: what failed
// and how, what was skipped and why, and how many tests there were.
//
//	go run ./test/gotest [-strict] [arguments of go test]
//
// It owns the summary. It never decides which tests run, and never hides a
// failure: its exit code is that of `go test`, or 1 where -strict forbids what
// happened (a skipped test, or none at all).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		code = 1
	}
	os.Exit(code)
}

// run gives the exit code.
func run(ctx context.Context, args []string) (int, error) {
	strict := len(args) > 0 && args[0] == "-strict"
	if strict {
		args = args[1:]
	}
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 30 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 1, fmt.Errorf("open the output of go test: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return 1, fmt.Errorf("start go test: %w", err)
	}
	sum, readErr := read(out, os.Stdout)
	err = cmd.Wait()
	sum.print(os.Stdout)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(1, exit.ExitCode()), readErr
	}
	if err := errors.Join(err, readErr); err != nil {
		return 1, fmt.Errorf("run go test: %w", err)
	}
	if err := sum.strict(); strict && err != nil {
		return 1, err
	}
	return 0, nil
}
