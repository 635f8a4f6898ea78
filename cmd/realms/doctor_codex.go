package main

import (
	"context"

	"realms/internal/catalog"
	"realms/internal/realm"
	"realms/internal/settings"
	"realms/internal/store"
)

// codexStandIns holds that tests replace all of the provider or nothing: tokens that
// one half gives are shown to the other.
func (d *doctor) codexStandIns() {
	issuer, backend := d.cfg.Codex.TestIssuer, d.cfg.Codex.TestBackend
	set, missing := "codex.test_issuer", "codex.test_backend"
	switch {
	case issuer == "" && backend == "":
		return
	case issuer != "" && backend != "":
		d.note("config", "%s stands in for the provider of ChatGPT accounts: no real account can be used", issuer)
		return
	case issuer == "":
		set, missing = missing, set
	}
	d.bad("config", "%s is set and %s is not: tokens of the one would be shown to the other, a real account's to what stands in for the provider; set both, for a test, or neither", set, missing)
}

func (d *doctor) codexSetting(ctx context.Context, s *store.Store) error {
	service := settings.New(settings.Options{Store: s, SelfMode: d.cfg.SelfMode.Enable})
	if err := service.Load(ctx); err != nil {
		return err
	}
	d.codexAccepted = service.State().CodexAccepted()
	accounts, err := s.Read().CodexAccounts.List(ctx)
	if err != nil {
		return err
	}
	d.codexEnding = make(map[realm.ID]*realm.CodexAccount)
	for _, a := range accounts {
		if a.RefreshError != "" {
			d.codexEnding[a.Credential] = a
		}
	}
	return nil
}

// codex says what keeps requests from a channel of ChatGPT accounts, as far as the
// store tells: whether the type is accepted, and who is signed in.
func (d *doctor) codex(ch *realm.Channel) {
	if !ch.Enabled {
		return
	}
	if !d.codexAccepted {
		d.bad("channels", "the channel %q goes out with a ChatGPT account, which is off until somebody accepts what that means: %s, or %s",
			ch.Name, d.c.again("codex enable"), d.c.again("channel disable "+shellQuote(ch.Name)))
	}
	signedIn := 0
	for _, ep := range ch.Endpoints {
		for _, cr := range ep.Credentials {
			switch {
			case !cr.Enabled:
			case cr.State == realm.CredentialOK:
				signedIn++
				if a := d.codexEnding[cr.ID]; a != nil {
					d.bad("channels", "the account of credential %q of channel %q is renewed no more (%s), and ends %s: %s", cr.Name, ch.Name,
						a.RefreshError, moment(a.ExpiresAt, "soon"), d.c.again("codex login "+catalog.AccountArg(ch.Name, cr.Name)))
				}
			case catalog.NeedsSignIn(cr):
				d.bad("channels", "the account of credential %q of channel %q is out of use since %s: %s", cr.Name, ch.Name, moment(cr.StateSince, "long ago"), cr.StateReason)
			default:
				d.bad("channels", "the account of credential %q of channel %q is out of use since %s (%s): sign it in again with %s, or put it back with %s",
					cr.Name, ch.Name, moment(cr.StateSince, "long ago"), cr.StateReason,
					d.c.again("codex login "+shellQuote(ch.Name)+"/"+shellQuote(cr.Name)), d.c.again("channel mend "+shellQuote(ch.Name)+" "+shellQuote(cr.Name)))
			}
		}
	}
	if signedIn > 0 {
		d.ok("channels", "the channel %q has %d signed-in ChatGPT account(s)", ch.Name, signedIn)
	}
}
