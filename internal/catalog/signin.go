package catalog

import (
	"context"
	"fmt"
	"strings"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

// signInCommand begins the command that signs an account in. A reason that holds
// it is one that nothing but a sign-in mends.
const signInCommand = "run `realms codex login "

// maxWhy is how much is kept of why an account is to be signed in, in characters:
// the command behind it is the part that matters.
const maxWhy = 100

// ReasonNotSignedIn is the state reason of a credential that has no account yet.
func ReasonNotSignedIn(channel, credential string) string {
	return ReasonSignIn("not signed in", channel, credential)
}

// ReasonSignIn is the state reason of a credential whose account has to be signed
// in, for a reason in few words. Its own words never name the command.
func ReasonSignIn(why, channel, credential string) string {
	return clipped(strings.ReplaceAll(why, "`", "'"), maxWhy) + ": " + signInCommand + AccountArg(channel, credential) + "`"
}

// NeedsSignIn tells whether a credential is out of use until somebody signs an
// account in for it.
func NeedsSignIn(cr *realm.Credential) bool {
	return cr.State != realm.CredentialOK && IsSignInReason(cr.StateReason)
}

// IsSignInReason tells whether a state reason is one of ReasonSignIn.
func IsSignInReason(reason string) bool { return strings.Contains(reason, ": "+signInCommand) }

// AccountArg names a credential to the commands, as one word for a shell.
func AccountArg(channel, credential string) string { return quoteArg(channel + "/" + credential) }

// quoteArg makes a text one word for a shell.
func quoteArg(text string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./", r)
	}
	if strings.TrimFunc(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// CredentialSignedIn lets requests go to a credential whose account was signed in,
// whatever had put it out of use.
func (x Inner) CredentialSignedIn(ctx context.Context, id realm.ID) ([]store.Mutation, error) {
	cr, err := x.codexByID(ctx, id)
	if err != nil || cr.State == realm.CredentialOK {
		return nil, err
	}
	return x.putState(ctx, cr, "signed_in", realm.CredentialOK, "")
}

// CredentialSignedOut keeps requests from a credential until its account is signed
// in; another reason than it has replaces it. An empty reason is that of a
// credential without an account.
func (x Inner) CredentialSignedOut(ctx context.Context, id realm.ID, reason string) ([]store.Mutation, error) {
	cr, err := x.codexByID(ctx, id)
	if err != nil {
		return nil, err
	}
	if reason == "" {
		reason = ReasonNotSignedIn(cr.Endpoint.Channel.Name, cr.Name)
	}
	if cr.State == realm.CredentialDisabled && cr.StateReason == reason {
		return nil, nil
	}
	return x.putState(ctx, cr, "signed_out", realm.CredentialDisabled, reason)
}

func (x Inner) putState(ctx context.Context, cr *realm.Credential, verb string, state realm.CredentialState, reason string) ([]store.Mutation, error) {
	var d diff
	d.text("state", string(cr.State), string(state))
	d.text("state_reason", cr.StateReason, reason)
	moved := *cr
	moved.State, moved.StateReason = state, reason
	switch {
	case state == realm.CredentialOK:
		moved.StateSince = time.Time{}
	case cr.State == realm.CredentialOK:
		moved.StateSince = x.Now
	}
	if err := x.Repos.Credentials.Update(ctx, &moved); err != nil {
		return nil, fmt.Errorf("set the credential's state: %w", err)
	}
	return x.record(ctx, store.Mutation{Verb: verb, Kind: store.KindCredential, ID: cr.ID, Name: cr.Name, Fields: d.fields})
}

// codexByID reads a credential with its endpoint and channel, which has to be of
// the type codex_oauth.
func (x Inner) codexByID(ctx context.Context, id realm.ID) (*realm.Credential, error) {
	cr, err := x.Repos.Credentials.Get(ctx, id)
	if err != nil {
		return nil, noCredentialID(err, id)
	}
	if cr.Endpoint, err = x.Repos.Endpoints.Get(ctx, cr.EndpointID); err != nil {
		return nil, fmt.Errorf("read endpoint: %w", err)
	}
	if cr.Endpoint.Channel, err = x.Repos.Channels.Get(ctx, cr.Endpoint.ChannelID); err != nil {
		return nil, fmt.Errorf("read channel: %w", err)
	}
	if ch := cr.Endpoint.Channel; ch.Type != realm.CodexOAuth {
		return nil, realm.Invalid("credential", fmt.Sprintf("The credential %q of channel %q has an API key and no account to sign in.", cr.Name, ch.Name))
	}
	return cr, nil
}
