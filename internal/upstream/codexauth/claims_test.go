package codexauth_test

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"realms/internal/realm"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

// jwt is a token with this payload and no signature.
func jwt(payload string) realm.Secret {
	encode := base64.RawURLEncoding.EncodeToString
	return realm.Secret(encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(payload)) + ".")
}

// padded is the same, with base64's padding.
func padded(payload string) realm.Secret {
	encode := base64.URLEncoding.EncodeToString
	return realm.Secret(encode([]byte(`{"alg":"none"}`)) + "." + encode([]byte(payload)) + ".x")
}

func TestReadClaims(t *testing.T) {
	const (
		inAuth   = `"https://api.openai.com/auth":`
		all      = `{"exp":1790000000,"email":"a@example.com",` + inAuth + `{"chatgpt_account_id":"acc","chatgpt_user_id":"u1","user_id":"u2","chatgpt_plan_type":"prolite","chatgpt_account_is_fedramp":true}}`
		profile  = `{"https://api.openai.com/profile":{"email":"p@example.com"},` + inAuth + `{"chatgpt_account_id":"acc","user_id":"u2"}}`
		another  = `{"exp":5,"email":"b@example.com",` + inAuth + `{"chatgpt_account_id":"other","chatgpt_plan_type":"pro"}}`
		nothing  = `{"exp":1790000000}`
		strange  = `{"exp":"soon","email":7,` + inAuth + `{"chatgpt_account_id":"acc","chatgpt_plan_type":["x"],"chatgpt_account_is_fedramp":"true","user_id":"a\u0000b"}}`
		noHeader = `{` + inAuth + `{"chatgpt_account_id":"a\nb"}}`
	)
	full := codexauth.Claims{AccountID: "acc", UserID: "u1", Email: "a@example.com", Plan: "prolite", FedRAMP: true, ExpiresAt: time.Unix(1790000000, 0).UTC()}
	withoutExpiry := full
	withoutExpiry.ExpiresAt = time.Time{}
	for name, tc := range map[string]struct {
		access, id realm.Secret
		want       codexauth.Claims // the zero value: no account
	}{
		"access token alone":               {jwt(all), "", full},
		"padded":                           {padded(all), "", full},
		"ID token alone has no expiry":     {"", jwt(all), withoutExpiry},
		"an opaque access token":           {"opaque", jwt(all), withoutExpiry},
		"profile and fallback":             {jwt(profile), "", codexauth.Claims{AccountID: "acc", UserID: "u2", Email: "p@example.com"}},
		"the ID token fills":               {jwt(nothing), jwt(all), full},
		"the access token's account rules": {jwt(`{` + inAuth + `{"chatgpt_account_id":"acc"}}`), jwt(another), codexauth.Claims{AccountID: "acc"}},
		"claims of a wrong kind":           {jwt(strange), "", codexauth.Claims{AccountID: "acc"}},
		"an account that is no header":     {jwt(noHeader), "", codexauth.Claims{}},
		"no account anywhere":              {jwt(nothing), jwt(nothing), codexauth.Claims{}},
		"nothing":                          {"", "", codexauth.Claims{}},
		"two parts":                        {"a.b", "", codexauth.Claims{}},
		"no base64":                        {"a.%%%.c", "", codexauth.Claims{}},
		"no JSON":                          {jwt(`[1]`), jwt(`null`), codexauth.Claims{}},
		"far too long":                     {jwt(`{"x":"` + strings.Repeat("y", 64<<10) + `",` + all[1:]), "", codexauth.Claims{}},
	} {
		got, err := codexauth.ReadClaims(realm.CodexTokens{Access: tc.access, ID: tc.id})
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s:\n%s", name, diff)
		}
		if missing := tc.want == (codexauth.Claims{}); missing != (err != nil) {
			t.Errorf("%s: error %v", name, err)
		} else if missing && (failed(t, err).Code != codexauth.CodeNoAccount || !failed(t, err).Permanent) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The fake's tokens are like the issuer's.
func TestReadClaimsOfASignIn(t *testing.T) {
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	_, f := pair(t, codextest.Options{Now: func() time.Time { return now }, AccessLife: time.Hour})
	tokens := f.SignIn(t, codextest.AccountID)
	me := codextest.DefaultAccount()
	want := codexauth.Claims{AccountID: me.ID, UserID: me.UserID, Email: me.Email, Plan: me.Plan, ExpiresAt: now.Add(time.Hour)}
	for name, part := range map[string]realm.CodexTokens{"both": tokens, "access": {Access: tokens.Access}} {
		got, err := codexauth.ReadClaims(part)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
}
