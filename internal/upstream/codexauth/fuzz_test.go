package codexauth_test

import (
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/upstream/codexauth"
)

// header tells whether a text may stand in a header.
func header(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

func FuzzParseAuthFile(f *testing.F) {
	f.Add([]byte(`{"auth_mode":"chatgpt","OPENAI_API_KEY":null,"tokens":{"id_token":"a","access_token":"b","refresh_token":"c","account_id":"d"},"last_refresh":"2026-11-22T21:32:27.735830001Z"}`))
	f.Add([]byte(`{"OPENAI_API_KEY":"k"}`))
	f.Add([]byte(`{"auth_mode":{},"tokens":[]}`))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := codexauth.ParseAuthFile(file)
		if (got == nil) != (err != nil) {
			t.Fatalf("got %v and %v", got, err)
		}
		if err != nil {
			if e := realm.AsError(err); e.Code != realm.CodeInvalid || e.Message == "" {
				t.Fatalf("the error is %v", err)
			}
			return
		}
		if got.Refresh == "" || !header(got.ID.Reveal()) || !header(got.Access.Reveal()) || !header(got.Refresh.Reveal()) || !header(got.AccountID) {
			t.Fatal("a token that cannot be one")
		}
		if _, err := codexauth.ReadClaims(got.CodexTokens); err != nil {
			failedOnly(t, err)
		}
	})
}

func FuzzReadClaims(f *testing.F) {
	f.Add(`{"exp":1790000000,"email":"a@example.com","https://api.openai.com/auth":{"chatgpt_account_id":"acc","user_id":"u"}}`, "", true)
	f.Add(`{"exp":1e400,"https://api.openai.com/auth":null}`, "a.b.c", false)
	f.Fuzz(func(t *testing.T, payload, id string, encode bool) {
		access := realm.Secret(payload)
		if encode {
			access = jwt(payload)
		}
		c, err := codexauth.ReadClaims(realm.CodexTokens{Access: access, ID: realm.Secret(id)})
		if err != nil {
			failedOnly(t, err)
			return
		}
		if c.AccountID == "" || !header(c.AccountID) {
			t.Fatalf("the account is %q", c.AccountID)
		}
		for _, s := range []string{c.UserID, c.Email, c.Plan} {
			if strings.ContainsAny(s, "\x00\x1b\n\r") || len(s) > 255 {
				t.Fatalf("a text that may not be shown: %q", s)
			}
		}
		if !c.ExpiresAt.IsZero() && (c.ExpiresAt.Before(time.Unix(0, 0)) || c.ExpiresAt.Year() > 3000) {
			t.Fatalf("it expires at %v", c.ExpiresAt)
		}
	})
}

func failedOnly(t *testing.T, err error) {
	t.Helper()
	if e := failed(t, err); e.Code != codexauth.CodeNoAccount {
		t.Fatalf("the error is %v", err)
	}
}

func FuzzParseCallback(f *testing.F) {
	f.Add("http://localhost:1455/auth/callback?code=abc&state=xyz")
	f.Add("http://localhost:1455/auth/callback?error=access_denied&error_description=No+thanks&state=xyz")
	f.Add("code=abc#xyz")
	f.Fuzz(func(t *testing.T, address string) {
		state, code, err := codexauth.ParseCallback(address)
		switch {
		case err == nil && (state == "" || code == "" || !header(state) || !header(code)):
			t.Fatalf("state %q, code %q", state, code)
		case err != nil && (code != "" || !header(state)):
			t.Fatalf("a code with an error: %v", err)
		case err != nil && (realm.AsError(err).Message == "" || strings.ContainsAny(err.Error(), "\x00\x1b\n\r<>")):
			t.Fatalf("the error is %q", err)
		}
	})
}
