package account

import (
	"errors"
	"fmt"
	"time"

	"realms/internal/realm"
)

// refusal is why a token may not be used. Whoever holds a token may know what
// became of it, so the reasons are told apart.
type refusal string

const (
	refusedMissing  refusal = "missing"
	refusedMistyped refusal = "mistyped"
	refusedUnknown  refusal = "unknown"
	refusedRevoked  refusal = "revoked"
	refusedDisabled refusal = "user disabled"
)

var refusalMessages = map[refusal]string{
	refusedMissing:  "No API token was sent. Send one as \"Authorization: Bearer " + tokenPrefix + "...\"; `realms token create` makes one.",
	refusedMistyped: "This API token was cut or changed on its way: its checksum is wrong. Copy the whole token again.",
	refusedUnknown:  "This API token is not known here. Check that it is whole and meant for this server, or create a new one.",
	refusedRevoked:  "This API token was revoked. Create a new one, or ask whoever gave it to you.",
	refusedDisabled: "The user of this API token is disabled. Ask the administrator of this server.",
}

// refuse is the error of a refusal. It never carries the token.
func refuse(reason refusal) *realm.Error {
	return &realm.Error{Code: realm.CodeUnauthenticated, Message: refusalMessages[reason]}
}

func refuseExpired(at time.Time) *realm.Error {
	return &realm.Error{Code: realm.CodeUnauthenticated, Message: fmt.Sprintf(
		"This API token expired at %s. Create a new one, or ask whoever gave it to you.",
		at.UTC().Format(time.RFC3339))}
}

var errStoreAway = errors.New("the store did not answer a moment ago")

func unavailable(err error) *realm.Error {
	return &realm.Error{
		Code:       realm.CodeUnavailable,
		Message:    "This API token cannot be checked now, because the server's database is not reachable. Try again in a moment.",
		RetryAfter: time.Second,
		Err:        err,
	}
}
