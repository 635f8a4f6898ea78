package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/url"
	"strings"
	"time"

	"realms/internal/codex"
	"realms/internal/realm"
)

var codexLoginCommand = command{
	name: "codex login", args: codexArgs, short: "sign a ChatGPT account in for a credential",
	long: `
It prints a page and a code; open the page in any browser, on any machine, sign in
there and type the code. The command waits until that is done. Where the account
does not allow codes:

  --browser   sign in with a browser on this machine, which comes back to
              127.0.0.1:1455
  --paste     sign in with a browser on any machine, and paste the address at which
              it ends

The CREDENTIAL may be left out where the channel has one. Signing the same account
in again is always possible.`,
	setup: func(c *cli, f *flag.FlagSet) action {
		browser := f.Bool("browser", false, "with a browser on this machine, without a code")
		paste := f.Bool("paste", false, "with a browser on any machine, without a code")
		replace := f.Bool("replace", false, "in the place of another account that is signed in")
		return func(ctx context.Context, args []string) error {
			ref, err := codexArg(args)
			if err != nil {
				return err
			}
			if *browser && *paste {
				return usagef("--browser and --paste exclude each other")
			}
			return c.withProvider(ctx, ref, func(ctx context.Context, accounts *codex.Service, to codex.Target) error {
				to.Replace = *replace
				signIn := c.loginByCode
				switch {
				case *browser:
					signIn = c.loginByBrowser
				case *paste:
					signIn = c.loginByPaste
				}
				a, err := signIn(ctx, accounts, to)
				if err != nil {
					return err
				}
				c.sayClear()
				return c.print(signedInLines(a, time.Now()))
			})
		}
	},
}

var (
	errLoginStopped = errors.New("stopped before anybody signed in; nothing has changed")
	errLoginOver    = errors.New("nobody has signed in in time: begin anew")
)

func (c *cli) loginByCode(ctx context.Context, accounts *codex.Service, to codex.Target) (*codex.Account, error) {
	in, err := accounts.StartDevice(ctx, actor, to)
	if err != nil {
		return nil, stopped(ctx, err)
	}
	err = c.print([]string{
		"To sign in for " + in.Channel + "/" + in.Credential + ", open this page in a browser and type the code there:",
		"", "  " + in.URL, "  " + in.UserCode, "",
		"The code is good until " + clock(in.ExpiresAt, time.Now()) + ". Give it to nobody. Waiting; Ctrl-C gives up.",
	})
	if err != nil {
		return nil, err
	}
	w := waiter{
		every: in.Interval, until: in.ExpiresAt,
		poll: func() (*codex.Account, error) { return accounts.PollDevice(ctx, actor, in.State) },
		note: func(err error) { fmt.Fprintf(c.stderr, "still waiting: %s\n", words(err)) },
	}
	return w.wait(ctx)
}

// stopped is an error, or that the person at the keyboard gave up.
func stopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return errLoginStopped
	}
	return err
}

// waiter asks again and again whether somebody has signed in.
type waiter struct {
	every time.Duration
	until time.Time
	poll  func() (*codex.Account, error)
	note  func(error) // told once of a failure that may pass
}

func (w *waiter) wait(ctx context.Context) (*codex.Account, error) {
	ctx, cancel := context.WithDeadlineCause(ctx, w.until, errLoginOver)
	defer cancel()
	next := time.NewTimer(w.every)
	defer next.Stop()
	var passing error
	for noted := false; ; {
		select {
		case <-ctx.Done():
			return nil, ended(ctx)
		case <-next.C:
		}
		a, err := w.poll()
		pause := w.every
		switch e := realm.AsError(err); {
		case err == nil:
			return a, nil
		case strings.HasPrefix(e.Reason, "workspace_"):
			return nil, err // signed in, whether anybody still waits or not
		case ctx.Err() != nil && (errors.Is(err, codex.ErrPending) || errors.Is(err, ctx.Err())):
			return nil, ended(ctx)
		case ctx.Err() != nil:
			return nil, err // of what was begun before, and could not be stopped
		case errors.Is(err, codex.ErrPending):
			passing = nil
		case e.Code == realm.CodeUnavailable:
			if !noted {
				w.note(err)
			}
			noted, passing, pause = true, err, max(pause, e.RetryAfter)
		default:
			// A failure after the sign-in was confirmed has used it up, and the next
			// question is answered by that alone.
			if e.Field != "state" {
				passing = nil
			}
			return nil, cmp.Or(passing, err)
		}
		next.Reset(pause)
	}
}

// ended is why waiting ended without a sign-in.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); errors.Is(cause, errLoginOver) {
		return cause
	}
	return errLoginStopped
}

func (c *cli) loginByPaste(ctx context.Context, accounts *codex.Service, to codex.Target) (*codex.Account, error) {
	in, err := accounts.StartBrowser(ctx, actor, to)
	if err != nil {
		return nil, stopped(ctx, err)
	}
	err = c.print([]string{
		"To sign in for " + in.Channel + "/" + in.Credential + ", open this page in a browser:", "", "  " + in.URL, "",
		"At the end the browser cannot open an address that begins with " + callbackURL + "?",
		"Copy that address, all of it, paste it here and press Enter. This has time until " + clock(in.ExpiresAt, time.Now()) + ".",
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithDeadlineCause(ctx, in.ExpiresAt, errLoginOver)
	defer cancel()
	lines := c.pastedLines(ctx)
	failed := errors.New("no address was pasted; nothing has changed")
	for {
		var line string
		var more bool
		select {
		case <-ctx.Done():
			return nil, ended(ctx)
		case line, more = <-lines:
		}
		if !more {
			return nil, failed
		}
		a, err := finishPasted(line, in.State, func(callback string) (*codex.Account, error) {
			return accounts.FinishBrowser(ctx, actor, callback)
		})
		if e := realm.AsError(err); err == nil || e.Code != realm.CodeInvalid || e.Field != "callback" {
			return a, err
		}
		failed = err
		fmt.Fprintf(c.stderr, "%s\n", realm.AsError(err).Message)
	}
}

// finishPasted ends the sign-in with an address, if that is its own: one of another
// sign-in would sign in for another credential.
func finishPasted(line, state string, finish func(callback string) (*codex.Account, error)) (*codex.Account, error) {
	if u, err := url.Parse(line); err == nil {
		if s := u.Query().Get("state"); s != "" && s != state {
			return nil, realm.Invalid("callback", "This is the address of another sign-in. Paste the one that the page above ends at.")
		}
	}
	return finish(line)
}

// pastedLines gives the lines of standard input that are not empty, and closes at
// its end. Reading cannot be given up: it ends with the input, or the program.
func (c *cli) pastedLines(ctx context.Context) <-chan string {
	lines := make(chan string)
	go func() {
		defer close(lines)
		for scan := bufio.NewScanner(c.stdin); scan.Scan(); {
			line := strings.TrimSpace(scan.Text())
			if line == "" {
				continue
			}
			select {
			case lines <- line:
			case <-ctx.Done():
				return
			}
		}
	}()
	return lines
}
