package codexauth_test

import (
	"strings"
	"testing"
	"time"

	"realms/internal/realm"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

func TestParseAuthFile(t *testing.T) {
	now := time.Date(2026, 11, 22, 21, 32, 27, 735830001, time.UTC)
	_, f := pair(t, codextest.Options{Now: func() time.Time { return now }})
	tokens := f.SignIn(t, codextest.AccountID)
	file := string(f.AuthFile(tokens, codextest.AccountID))
	for name, text := range map[string]string{
		"as the CLI writes it":  file,
		"old, without a mode":   strings.Replace(file, `"auth_mode": "chatgpt",`, "", 1),
		"a mode that is null":   strings.Replace(file, `"chatgpt"`, "null", 1),
		"an empty key":          strings.Replace(file, `"OPENAI_API_KEY": null`, `"OPENAI_API_KEY": ""`, 1),
		"a key beside the mode": strings.Replace(file, `"OPENAI_API_KEY": null`, `"OPENAI_API_KEY": "sk"`, 1),
		"space around it":       "\n " + file + "\n",
	} {
		got, err := codexauth.ParseAuthFile([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got.CodexTokens != tokens || got.AccountID != codextest.AccountID || !got.RefreshedAt.Equal(now) {
			t.Errorf("%s: the account is %q, refreshed at %v", name, got.AccountID, got.RefreshedAt)
		}
	}
	got, err := codexauth.ParseAuthFile([]byte(`{"tokens":{"refresh_token":"rt"},"last_refresh":"yesterday"}`))
	if err != nil || got.Refresh.Reveal() != "rt" || !got.RefreshedAt.IsZero() || got.AccountID != "" {
		t.Errorf("only a refresh token: %v", err)
	}
}

func TestParseAuthFileRefuses(t *testing.T) {
	for name, tc := range map[string]struct{ file, says string }{
		"nothing":                {"", "not an auth.json"},
		"no JSON":                {"hello", "not an auth.json"},
		"an array":               {"[]", "not an auth.json"},
		"broken":                 {`{"tokens":`, "not an auth.json"},
		"huge":                   {`{"tokens":{"refresh_token":"` + strings.Repeat("a", 1<<20) + `"}}`, "not an auth.json"},
		"a mode that is no text": {`{"auth_mode":7,"tokens":{"refresh_token":"canary"}}`, "not an auth.json"},
		"an API key":             {`{"auth_mode":"apikey","OPENAI_API_KEY":"canary"}`, "openai_compatible"},
		"an old API key":         {`{"OPENAI_API_KEY":"canary","tokens":{"refresh_token":"canary"}}`, "openai_compatible"},
		"another's tokens":       {`{"auth_mode":"chatgptAuthTokens","tokens":{"refresh_token":"canary"}}`, "only a sign-in with ChatGPT"},
		"an agent":               {`{"auth_mode":"agent_identity"}`, "only a sign-in with ChatGPT"},
		"the keyring":            {`{"auth_mode":"chatgpt","tokens":null}`, "keyring"},
		"tokens that are a text": {`{"auth_mode":"chatgpt","tokens":"canary"}`, "keyring"},
		"no refresh token":       {`{"auth_mode":"chatgpt","tokens":{"access_token":"canary"}}`, "no refresh token"},
		"a damaged token":        {`{"auth_mode":"chatgpt","tokens":{"access_token":"canary\u0007","refresh_token":"canary"}}`, "damaged"},
	} {
		got, err := codexauth.ParseAuthFile([]byte(tc.file))
		if e := realm.AsError(err); got != nil || err == nil || e.Code != realm.CodeInvalid || !strings.Contains(e.Message, tc.says) || strings.Contains(e.Error(), "canary") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
