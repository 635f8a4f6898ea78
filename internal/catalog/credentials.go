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

// CredentialOutOfUse keeps requests from a credential until somebody mends it.
// Of several that say so of one credential, one is told a mutation.
func (x Inner) CredentialOutOfUse(ctx context.Context, id realm.ID, reason string) ([]store.Mutation, error) {
	return x.setCredentialState(ctx, id, realm.CredentialOK, realm.CredentialDisabled, oneLine(reason))
}

// CredentialMended lets requests go to a credential that was out of use.
func (x Inner) CredentialMended(ctx context.Context, id realm.ID) ([]store.Mutation, error) {
	return x.setCredentialState(ctx, id, realm.CredentialDisabled, realm.CredentialOK, "")
}

func (x Inner) setCredentialState(ctx context.Context, id realm.ID, from, to realm.CredentialState, reason string) ([]store.Mutation, error) {
	since := x.Now
	if to == realm.CredentialOK {
		since = time.Time{}
	}
	moved, err := x.Repos.Credentials.SetState(ctx, id, from, to, reason, since)
	if err != nil {
		return nil, fmt.Errorf("set the credential's state: %w", err)
	}
	cr, err := x.Repos.Credentials.Get(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, &realm.Error{Code: realm.CodeNotFound, Message: fmt.Sprintf("There is no credential %s.", id), Err: err}
	}
	if err != nil {
		return nil, fmt.Errorf("read credential: %w", err)
	}
	if !moved {
		return nil, nil
	}
	m := store.Mutation{
		Verb: "mended", Kind: store.KindCredential, ID: id, Name: cr.Name,
		Fields: []store.FieldChange{{Field: "state", Before: string(from), After: string(to)}},
	}
	if to == realm.CredentialDisabled {
		m.Verb = "out_of_use"
		m.Fields = append(m.Fields, store.FieldChange{Field: "state_reason", After: reason})
	}
	return x.record(ctx, m)
}

// oneLine makes a reason that came from outside fit a column and a log line.
func oneLine(reason string) string {
	reason = strings.Join(strings.Fields(strings.ToValidUTF8(reason, "")), " ")
	if r := []rune(reason); len(r) > maxReason {
		return string(r[:maxReason-1]) + "…"
	}
	return reason
}
