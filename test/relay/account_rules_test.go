package relay

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"realms/internal/account"
	"realms/internal/realm"
	"realms/internal/store/storetest"
	"realms/internal/testkit/codextest"
	"realms/internal/testkit/testapp"
)

// builtOn are requests that build on what a backend keeps, by the field that says so.
var builtOn = map[string]form{
	"store":                {path: "/v1/responses", body: `{"model":"%s","input":"hello","store":true}`},
	"previous_response_id": {path: "/v1/responses", body: `{"model":"%s","input":"hello","previous_response_id":"resp_1"}`},
	"conversation":         {path: "/v1/responses", body: `{"model":"%s","input":"hello","conversation":"conv_1"}`},
}

// An account keeps nothing. What asks for that is refused by the field's name, or goes
// to a channel that keeps answers.
func TestAccountKeepsNothing(t *testing.T) {
	t.Parallel()
	alone, beside := newAccounts(t, accountOptions{}), newAccounts(t, accountOptions{paid: true})
	served := 0
	for field, f := range builtOn {
		e := alone.refused(t, alone.ask(t, f), http.StatusBadRequest, "invalid_request_error", "")
		if e["param"] != field || !strings.Contains(fmt.Sprint(e["message"]), "`"+field+"`") {
			t.Errorf("%s: %v", field, e)
		}
		beside.good(t, beside.ask(t, f))
		served++
	}
	alone.counts(t, 0, 0, 0)
	beside.counts(t, 0, 0, served)
}

// unavailable fails unless a token meets no trace of the accounts' model.
func (a *accounts) unavailable(t *testing.T, token string) {
	t.Helper()
	as := func(req *http.Request) *answer {
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		return a.do(req)
	}
	before := a.fake.Server.Count()
	for _, f := range forms {
		e := a.refused(t, as(a.request(t, f)), http.StatusNotFound, "invalid_request_error", "model_not_found")
		if strings.Contains(fmt.Sprint(e["message"]), "account") {
			t.Errorf("the refusal tells of the account: %v", e)
		}
	}
	for _, path := range []string{"/v1/models", "/v1/models?client_version=0.169.0"} {
		list := as(a.Request(t, http.MethodGet, path, ""))
		if list.StatusCode != http.StatusOK || strings.Contains(list.body, accountModel) {
			t.Errorf("%s: %d %s", path, list.StatusCode, list.body)
		}
	}
	if one := as(a.Request(t, http.MethodGet, "/v1/models/"+accountModel, "")); one.StatusCode != http.StatusNotFound {
		t.Errorf("the model itself: %d %s", one.StatusCode, one.body)
	}
	if n := a.fake.Server.Count(); n != before {
		t.Errorf("the fake was asked %d times", n-before)
	}
}

// Before the operator has accepted what it means nobody uses an account, and nobody
// after it was taken back.
func TestAccountIsUsedOnlyWhileAccepted(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	w.good(t, w.ask(t, respEvents))
	if err := w.Codex.Disable(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	w.unavailable(t, "")
	if err := w.Codex.Enable(t.Context(), "test"); err != nil {
		t.Fatal(err)
	}
	w.good(t, w.ask(t, respEvents))

	fake := codextest.Start(t, codextest.Options{})
	mine := testapp.CodexChannel("mine", "main")
	mine.Bindings = []realm.Binding{{Model: accountModel, Upstream: accountModel}}
	never := &accounts{fake: fake, world: startWorld(t, testapp.Options{
		Models: []realm.Model{{Name: accountModel, OwnedBy: "test", Enabled: true}}, Channels: []spec{mine},
	})}
	never.unavailable(t, "")
}

// A user's own requests go past the account, whatever groups the two are in.
func TestAccountIsForAdministratorsAlone(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{})
	if _, err := w.Catalog.UpsertGroup(t.Context(), "test", realm.Group{Name: "friends", Multiplier: realm.OnePPM}); err != nil {
		t.Fatal(err)
	}
	friend := w.userToken(t, "friend", "friends")

	// No declaration brings the two together.
	if _, err := w.Accounts.UpsertUser(t.Context(), "test", account.UserSpec{Name: "guest", Role: realm.RoleUser, Groups: []string{realm.DefaultGroup}, Enabled: true}); err == nil {
		t.Error("a user is in the account's group")
	} else if !strings.Contains(err.Error(), "mine") {
		t.Errorf("the refusal does not name the channel: %v", err)
	}
	state, err := w.Catalog.State(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	declared := state.Spec(state.Channels[0])
	declared.Groups = append(declared.Groups, "friends")
	if _, err := w.Catalog.UpsertChannel(t.Context(), "test", declared); err == nil {
		t.Error("the account is in a user's group")
	}
	if _, err := w.Accounts.UpsertUser(t.Context(), "test", account.UserSpec{Name: "owner", Role: realm.RoleUser, Groups: []string{realm.DefaultGroup}, Enabled: true}); err == nil {
		t.Error("the owner is no administrator any more, and in the account's group")
	}
	w.unavailable(t, friend)

	// Nor does it help if the store says it all the same.
	db := storetest.Raw(t, w.Config.StoreDSN())
	if _, err := db.ExecContext(t.Context(), "UPDATE users SET role = 'user' WHERE name = 'owner'"); err != nil {
		t.Fatal(err)
	}
	if err := w.Accounts.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.unavailable(t, "")
	if got := w.ask(t, respEvents, "X-Realms-Channel", "mine"); got.StatusCode != http.StatusForbidden {
		t.Errorf("a user who names the channel: %d %s", got.StatusCode, got.body)
	}
}

// A user's request for a model that both offer goes to the other channel.
func TestAccountIsPassedByForUsers(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	db := storetest.Raw(t, w.Config.StoreDSN())
	if _, err := db.ExecContext(t.Context(), "UPDATE users SET role = 'user' WHERE name = 'owner'"); err != nil {
		t.Fatal(err)
	}
	if err := w.Accounts.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, f := range forms {
		w.good(t, w.ask(t, f))
	}
	w.counts(t, 0, 0, len(forms))
	if list := w.do(w.Request(t, http.MethodGet, "/v1/models", "")); !strings.Contains(list.body, accountModel) {
		t.Errorf("the list: %s", list.body)
	}
}

// Signed out, the account is forgotten here and at the issuer.
func TestAccountThatWasRemoved(t *testing.T) {
	t.Parallel()
	w := newAccounts(t, accountOptions{paid: true})
	old := w.Account(t, w.list(t)[0].CredentialID)
	w.good(t, w.ask(t, respEvents))
	if unrevoked, err := w.Codex.Remove(t.Context(), "test", "mine", "main"); err != nil || unrevoked != nil {
		t.Fatal(err, unrevoked)
	}
	w.good(t, w.ask(t, respEvents))
	w.counts(t, 1, 0, 1)
	w.needsSignIn(t, "not signed in")
	if w.fake.Serves(old.Tokens.Refresh) {
		t.Error("the issuer still takes the refresh token")
	}
	if _, err := w.Store.Read().CodexAccounts.Get(t.Context(), old.Credential); err == nil {
		t.Error("the row is still there")
	}
}

// What an account has answered is kept nowhere, whatever it is called by.
func TestAccountAnswersAreNotFoundAgain(t *testing.T) {
	t.Parallel()
	for _, paid := range []bool{false, true} {
		w := newAccounts(t, accountOptions{paid: paid})
		for _, f := range []form{respWhole, respEvents} {
			w.good(t, w.ask(t, f))
		}
		before := w.fake.Server.Count()
		got := w.do(w.Request(t, http.MethodGet, "/v1/responses/resp_fake", ""))
		if got.StatusCode != http.StatusNotFound {
			t.Errorf("paid %v: the answer is found again: %d %s", paid, got.StatusCode, got.body)
		}
		f := form{path: "/v1/responses", body: `{"model":"%s","input":"hello","previous_response_id":"resp_fake"}`}
		if got := w.ask(t, f); paid {
			w.good(t, got)
		} else if e := w.refused(t, got, http.StatusBadRequest, "invalid_request_error", ""); e["param"] != "previous_response_id" {
			t.Errorf("refused by another field: %v", e)
		}
		if n := w.fake.Server.Count(); n != before {
			t.Errorf("paid %v: the fake was asked %d times", paid, n-before)
		}
	}
}
