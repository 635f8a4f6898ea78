package testapp

import (
	"testing"

	"realms/internal/catalog"
	"realms/internal/codex"
	"realms/internal/realm"
	"realms/internal/testkit/codextest"
)

// CodexChannel is a channel whose credentials have ChatGPT accounts. It offers every
// model.
func CodexChannel(name string, credentials ...string) catalog.ChannelSpec {
	ch := catalog.ChannelSpec{
		Name: name, Type: realm.CodexOAuth, Enabled: true, Weight: 1, APIs: catalog.DefaultAPIs(realm.CodexOAuth),
		Bindings: []realm.Binding{{Model: realm.AnyModel, Upstream: realm.AnyModel}},
	}
	var ep catalog.EndpointSpec
	for _, credential := range credentials {
		ep.Credentials = append(ep.Credentials, catalog.CredentialSpec{Name: credential, Enabled: true, Weight: 1})
	}
	ch.Endpoints = []catalog.EndpointSpec{ep}
	return ch
}

// signInAll does for the channels that a test begins with what an operator does:
// accepts the use of accounts, and signs in for each credential.
func (a *App) signInAll(t testing.TB, o Options) {
	t.Helper()
	if o.Codex == nil {
		return
	}
	if err := a.Codex.Enable(t.Context(), "test"); err != nil {
		t.Fatalf("accept the use of accounts: %v", err)
	}
	for _, ch := range o.Channels {
		if ch.Type != realm.CodexOAuth {
			continue
		}
		for _, cr := range ch.Endpoints[0].Credentials {
			a.SignIn(t, o.Codex, ch.Name, cr.Name)
		}
	}
}

// SignIn signs the fake's visitor in for a credential, in place of whoever was.
func (a *App) SignIn(t testing.TB, f *codextest.Fake, channel, credential string) *codex.Account {
	t.Helper()
	ctx := t.Context()
	in, err := a.Codex.StartDevice(ctx, "test", codex.Target{Channel: channel, Credential: credential, Replace: true})
	if err != nil {
		t.Fatalf("begin to sign in for %s/%s: %v", channel, credential, err)
	}
	f.Confirm(t, in.UserCode)
	account, err := a.Codex.PollDevice(ctx, "test", in.State)
	if err != nil {
		t.Fatalf("sign in for %s/%s: %v", channel, credential, err)
	}
	return account
}

// Account is what the store has of a credential's account, for a test that looks.
func (a *App) Account(t testing.TB, credential realm.ID) *realm.CodexAccount {
	t.Helper()
	account, err := a.Store.Read().CodexAccounts.Get(t.Context(), credential)
	if err != nil {
		t.Fatalf("read the account: %v", err)
	}
	return account
}
