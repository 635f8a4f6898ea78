package codex

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"realms/internal/realm"
	"realms/internal/upstream/codexauth"
)

// Why there is no identity, for errors.Is. Any other error passes.
var (
	// ErrNotSignedIn: no account is signed in for the credential.
	ErrNotSignedIn = errors.New("no account is signed in")
	// ErrRefused: the provider takes the account's tokens no more; somebody has to
	// sign in again.
	ErrRefused = errors.New("the account has to be signed in again")
	// ErrNotAccepted: the operator has not accepted the use of ChatGPT accounts.
	ErrNotAccepted = errors.New("the use of ChatGPT accounts is not accepted")
)

// ErrPending says that nobody has confirmed the device's code yet.
var ErrPending = codexauth.ErrPending

// ErrSlow says that the tokens are being renewed, which takes longer than a request
// waits. It passes.
var ErrSlow = errors.New("renewing the tokens takes long")

var (
	errNoAccess = errors.New("the provider's answer holds no access token")

	errClosed = errors.New("the service is closed")
	// errAnotherAccount: tokens that were renewed came back as somebody else's.
	errAnotherAccount = errors.New("the provider answered with the tokens of another account")
)

func notAccepted() error {
	return &realm.Error{
		Code: realm.CodeConflict, Err: ErrNotAccepted,
		Message: "ChatGPT accounts are not in use here: read what it means and accept it with `realms codex enable`.",
	}
}

func notSignedIn() error {
	return &realm.Error{Code: realm.CodeUnavailable, Err: ErrNotSignedIn, Message: "No ChatGPT account is signed in for this credential."}
}

// refused is for tokens that will not be renewed; why is what the provider said.
func refused(why string) error {
	return &realm.Error{
		Code: realm.CodeUnavailable, Err: fmt.Errorf("%w: %s", ErrRefused, why),
		Message: "The provider takes the account's sign-in no more: it has to be signed in again.",
	}
}

// unreadableWhy is why a credential is out of use whose account's tokens are damaged.
const unreadableWhy = "its tokens in the store cannot be read"

func unreadable(err error) error {
	return &realm.Error{
		Code: realm.CodeUnavailable, Err: fmt.Errorf("%w: %w", ErrRefused, err),
		Message: "The account's tokens in the store cannot be read: it has to be signed in again.",
	}
}

// later is a failure that may pass by itself.
func later(err error, wait time.Duration) error {
	return &realm.Error{Code: realm.CodeUnavailable, RetryAfter: wait, Err: err, Message: "The account's sign-in cannot be renewed just now."}
}

// told is a failure of the provider's in words for whoever ran a verb.
func told(err error) error {
	var e *codexauth.Error
	if !errors.As(err, &e) {
		return err
	}
	code := realm.CodeUnavailable
	if e.Permanent || e.Code == codexauth.CodeWorkspaceMissing {
		code = realm.CodeConflict
	}
	return &realm.Error{Code: code, Reason: e.Code, RetryAfter: e.RetryAfter, Message: sentence(e.Message), Err: err}
}

// sentence makes a message of codexauth one.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + strings.TrimRight(text[size:], ".") + "."
}

// why is a permanent failure in the few words that a row keeps.
func why(err error) string {
	var e *codexauth.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if e.Code == "" {
		return e.Message
	}
	return e.Message + " (" + e.Code + ")"
}

// asAuth finds the provider's failure in a chain; nil: it is none.
func asAuth(err error) *codexauth.Error {
	var e *codexauth.Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}
