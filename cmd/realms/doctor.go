package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
)

var doctorCommand = command{
	name: "doctor", short: "check configuration, store, clock, data directory, address, limits and upstreams",
	long: `
It changes nothing, spends no tokens and shows no secret. Each line says what is
wrong and what to do; the exit code is 1 when something is.`,
	setup: func(c *cli, _ *flag.FlagSet) action {
		return func(ctx context.Context, args []string) error {
			if err := noArgs(args); err != nil {
				return err
			}
			d := &doctor{c: c, now: time.Now}
			d.run(ctx)
			if d.failed {
				return &silentError{}
			}
			return nil
		}
	},
}

// doctor examines an installation, one matter a method.
type doctor struct {
	c      *cli
	cfg    config.Config
	now    func() time.Time
	failed bool
	// codexAccepted tells whether the operator has accepted what ChatGPT accounts may
	// break; false while the store has not said.
	codexAccepted bool
	// codexEnding is why an account's sign-in ends with its access token, and when.
	codexEnding map[realm.ID]*realm.CodexAccount
}

func (d *doctor) run(ctx context.Context) {
	if !d.config() {
		return // nothing else could be looked for in the right place
	}
	d.dataDir()
	running := d.address(ctx)
	d.descriptors()
	state := d.store(ctx, running)
	d.clock()
	if state != nil {
		d.catalogue(state)
		if running && len(state.Channels) > 0 {
			d.live(ctx)
		}
		d.upstreams(ctx, state)
	}
}

func (d *doctor) ok(what, format string, args ...any)   { d.say("ok  ", what, format, args...) }
func (d *doctor) note(what, format string, args ...any) { d.say("note", what, format, args...) }

func (d *doctor) bad(what, format string, args ...any) {
	d.failed = true
	d.say("BAD ", what, format, args...)
}

func (d *doctor) say(mark, what, format string, args ...any) {
	fmt.Fprintf(d.c.stdout, "%s  %-9s  %s\n", mark, what, fmt.Sprintf(format, args...))
}

func (d *doctor) config() bool {
	for _, line := range config.UnknownEnv(d.c.env) {
		d.bad("config", "%s", line)
	}
	cfg, err := config.Load(d.c.configFile, d.c.env)
	if err != nil {
		for _, line := range lines(err.Error()) {
			d.bad("config", "%s", line)
		}
		return false
	}
	d.cfg = cfg
	d.ok("config", "address %s, data directory %s, self mode %v", cfg.Server.Addr, cfg.DataDir, cfg.SelfMode.Enable)
	d.codexStandIns()
	return true
}

// store opens the store if there is one, and reads the catalogue if its schema
// is this program's.
func (d *doctor) store(ctx context.Context, running bool) *catalog.State {
	if err := d.c.requireStore(d.cfg); err != nil {
		d.note("store", "%s is not there yet; serve makes it", d.cfg.SQLiteFile())
		return nil
	}
	var state *catalog.State
	err := d.c.openStore(ctx, d.cfg, func(s *store.Store) (err error) {
		fresh, missing, err := pending(ctx, s)
		switch {
		case err != nil:
			return err
		case fresh:
			d.note("store", "the %s store has no schema yet; serve makes it", s.Engine())
			return nil
		case len(missing) > 0 && running:
			d.bad("store", "%d schema migrations are missing while a server runs: restart it, it applies them", len(missing))
			return nil
		case len(missing) > 0:
			d.note("store", "%d schema migrations are missing, first %s; serve applies them, or run %s", len(missing), missing[0].Name, d.c.again("migrate up"))
			return nil
		}
		if err := s.CheckSchema(ctx); err != nil { // one that is newer than this program
			return err
		}
		d.ok("store", "%s, schema up to date", s.Engine())
		if err := d.codexSetting(ctx, s); err != nil {
			return err
		}
		return s.View(ctx, func(r store.Repos) (err error) {
			if state, err = catalog.Read(ctx, r); err != nil {
				return err
			}
			return d.storeClock(ctx, r)
		})
	})
	if err != nil {
		d.bad("store", "%s", words(err))
	}
	return state
}

// storeClock looks for rows from the future: the clock was set back, or another
// machine's is wrong.
func (d *doctor) storeClock(ctx context.Context, r store.Repos) error {
	entries, err := r.Audit.List(ctx, store.AuditPage{Limit: 1})
	if err != nil || len(entries) == 0 {
		return err
	}
	if ahead := entries[0].At.Sub(d.now()); ahead > maxSkew {
		d.bad("clock", "the newest change in the store was made %s from now: set this machine's clock, or that of the one which made it", ahead.Round(time.Second))
	}
	return nil
}

func (d *doctor) clock() {
	if now := d.now(); now.Before(realm.Epoch) {
		d.bad("clock", "it says %s, which is before Realms was written: set it", now.Format(time.DateOnly))
		return
	}
	d.ok("clock", "%s", d.now().Format(time.RFC3339))
}

// catalogue says what keeps requests from being answered at all.
func (d *doctor) catalogue(state *catalog.State) {
	if len(state.Channels) == 0 {
		d.note("channels", "there is none yet: %s", d.c.again("apply -f FILE"))
		return
	}
	for _, ch := range state.Channels {
		if ch.Type == realm.CodexOAuth {
			d.codex(ch)
		} else {
			d.keys(ch)
		}
		switch {
		case len(ch.Groups) == 0:
			d.note("channels", "the channel %q is in no group, so nobody reaches it", ch.Name)
		case len(ch.Bindings) == 0:
			d.note("channels", "the channel %q offers no model", ch.Name)
		}
	}
}

// keys says which credentials of a channel wait for somebody to mend them.
func (d *doctor) keys(ch *realm.Channel) {
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			if cr.State != realm.CredentialOK {
				d.bad("channels", "the credential %q of channel %q is out of use since %s (%s): give it a new api_key with apply, or put it back with %s",
					cr.Name, ch.Name, moment(cr.StateSince, "long ago"), cr.StateReason, d.c.again("channel mend "+shellQuote(ch.Name)+" "+shellQuote(cr.Name)))
			}
		}
	}
}

// live says which channels the running server does not use, or not fully.
func (d *doctor) live(ctx context.Context) {
	all, err := newControl(d.cfg).state(ctx)
	if err != nil {
		d.bad("channels", "the server does not say how they are: %s", err)
		return
	}
	var away, hurt []string
	for _, ch := range all.Channels {
		switch {
		case !ch.Enabled:
		case !usable(&ch):
			away = append(away, ch.Name)
		case marked(&ch) || outOfUse(&ch):
			hurt = append(hurt, ch.Name)
		}
	}
	look := d.c.again("channel list")
	switch {
	case len(away) > 0:
		d.bad("channels", "%s: not usable now%s; %s says until when and why", strings.Join(away, ", "), also(hurt), look)
	case len(hurt) > 0:
		d.note("channels", "%s: partly out of use now; %s says until when and why", strings.Join(hurt, ", "), look)
	default:
		d.ok("channels", "nothing is out of use")
	}
}

func also(hurt []string) string {
	if len(hurt) == 0 {
		return ""
	}
	return ", partly: " + strings.Join(hurt, ", ")
}

// address tells whether a server runs, and if not, whether one could.
func (d *doctor) address(ctx context.Context) (running bool) {
	h, err := newControl(d.cfg).health(ctx)
	switch {
	case err == nil:
		d.ok("address", "a server answers at %s (%s)", h.Addr, h.Version)
		return true
	case !errors.Is(err, errNoServer):
		d.bad("address", "the server does not answer its control socket: %s", err)
		return true
	}
	if err := d.tryListen(ctx); err != nil {
		d.bad("address", "%s cannot be listened on: %s; stop what uses it, or choose another with REALMS_SERVER_ADDR", d.cfg.Server.Addr, innermost(err))
		return false
	}
	d.ok("address", "%s is free; no server is running", d.cfg.Server.Addr)
	return false
}
