package catalog

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"realms/internal/realm"
	"realms/internal/store"
)

// maxReason is the longest state reason that is kept, in characters.
const maxReason = 190

// CredentialOutOfUse keeps requests from a credential whose key its upstream
// refused, until somebody mends it; cr is as it was when it was used. Of several
// that say so of one credential, one is told a mutation. When the key has become
// another since, nothing happens: the refusal was not about that one.
func (x Inner) CredentialOutOfUse(ctx context.Context, cr *realm.Credential, reason string) ([]store.Mutation, error) {
	reason = oneLine(reason)
	moved, err := x.Repos.Credentials.Refuse(ctx, cr.ID, cr.APIKey, reason, x.Now)
	m := store.Mutation{
		Verb: "out_of_use", Kind: store.KindCredential,
		Fields: []store.FieldChange{
			{Field: "state", Before: string(realm.CredentialOK), After: string(realm.CredentialDisabled)},
			{Field: "state_reason", After: reason},
		},
	}
	return x.stateMoved(ctx, cr.ID, m, moved, err)
}

// CredentialMended lets requests go to a credential that was out of use; one that
// waits for a sign-in it cannot help.
func (x Inner) CredentialMended(ctx context.Context, id realm.ID) ([]store.Mutation, error) {
	cr, err := x.Repos.Credentials.Get(ctx, id)
	if err != nil {
		return nil, noCredentialID(err, id)
	}
	if NeedsSignIn(cr) {
		return nil, conflict("The credential %q cannot be mended: %s.", cr.Name, cr.StateReason)
	}
	moved, err := x.Repos.Credentials.SetState(ctx, id, realm.CredentialDisabled, realm.CredentialOK, "", time.Time{})
	m := store.Mutation{
		Verb: "mended", Kind: store.KindCredential,
		Fields: []store.FieldChange{{Field: "state", Before: string(realm.CredentialDisabled), After: string(realm.CredentialOK)}},
	}
	return x.stateMoved(ctx, id, m, moved, err)
}

// stateMoved records what became of a credential's state, if anything did.
func (x Inner) stateMoved(ctx context.Context, id realm.ID, m store.Mutation, moved bool, err error) ([]store.Mutation, error) {
	if err != nil {
		return nil, fmt.Errorf("set the credential's state: %w", err)
	}
	cr, err := x.Repos.Credentials.Get(ctx, id)
	if err != nil {
		return nil, noCredentialID(err, id)
	}
	if !moved {
		return nil, nil
	}
	m.ID, m.Name = id, cr.Name
	return x.record(ctx, m)
}

func noCredentialID(err error, id realm.ID) error {
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("read credential: %w", err)
	}
	return &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("There is no credential %s.", id), Err: err}
}

// MendChannel mends the credentials of that name on a channel's endpoints; an
// empty name means all of them that mending can help. Those that are in use are
// left as they are.
func (x Inner) MendChannel(ctx context.Context, channel, credential string) ([]store.Mutation, error) {
	ch, err := x.Repos.Channels.ByName(ctx, channel)
	if err != nil {
		return nil, notFound(err, "channel", channel)
	}
	endpoints, err := x.Repos.Endpoints.ByChannel(ctx, ch.ID)
	if err != nil {
		return nil, fmt.Errorf("read the endpoints: %w", err)
	}
	var all []store.Mutation
	credential = strings.TrimSpace(credential)
	found := credential == ""
	for _, ep := range endpoints {
		credentials, err := x.Repos.Credentials.ByEndpoint(ctx, ep.ID)
		if err != nil {
			return nil, fmt.Errorf("read the credentials: %w", err)
		}
		for _, cr := range credentials {
			if credential != "" && cr.Name != credential || credential == "" && (NeedsSignIn(cr) || cr.Unreadable != nil) {
				continue
			}
			found = true
			done, err := x.CredentialMended(ctx, cr.ID)
			if err != nil {
				return nil, err
			}
			all = append(all, done...)
		}
	}
	if !found {
		return nil, noCredential(ch.Name, credential)
	}
	return all, nil
}

// oneLine makes a reason that came from outside fit a column and a log line.
func oneLine(reason string) string { return clipped(reason, maxReason) }

// clipped is a text on one line, of at most so many characters.
func clipped(text string, most int) string {
	text = strings.Join(strings.Fields(strings.ToValidUTF8(text, "")), " ")
	if r := []rune(text); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return text
}
