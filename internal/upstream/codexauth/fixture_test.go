package codexauth_test

import (
	"errors"
	"net/http"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

// pair is a client and the fake that it speaks with.
func pair(t *testing.T, o codextest.Options) (*codexauth.Client, *codextest.Fake) {
	t.Helper()
	f := codextest.Start(t, o)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &codexauth.Client{
		Issuer: f.Issuer(), Backend: f.Backend(), HTTP: &http.Client{Transport: transport}, Now: o.Now, UserAgent: "realms/test",
	}, f
}

// failed is the *Error in err; the test ends if there is none.
func failed(t *testing.T, err error) *codexauth.Error {
	t.Helper()
	var e *codexauth.Error
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want an *Error", err)
	}
	return e
}

// identity is that of the default account, freshly signed in.
func identity(t *testing.T, f *codextest.Fake) realm.CodexIdentity {
	t.Helper()
	return realm.CodexIdentity{AccessToken: f.SignIn(t, codextest.AccountID).Access, AccountID: codextest.AccountID}
}
