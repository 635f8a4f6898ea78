package codexauth_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/url"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

func TestBrowserSignIn(t *testing.T) {
	c, f := pair(t, codextest.Options{})
	p, state := fresh(t)
	callback := f.Authorize(t, c.AuthorizeURL(state, p, codexauth.RedirectURI))
	gotState, code, err := codexauth.ParseCallback(" " + callback + "\n")
	if err != nil || gotState != state {
		t.Fatalf("state %q of %q, %v", gotState, state, err)
	}
	other, _ := fresh(t)
	if _, err := c.Exchange(t.Context(), codexauth.Code{Code: realm.Secret(code), Verifier: other.Verifier, RedirectURI: codexauth.RedirectURI}); !failed(t, err).Permanent {
		t.Errorf("another's verifier: %v", err)
	}
	tokens, err := c.Exchange(t.Context(), codexauth.Code{Code: realm.Secret(code), Verifier: p.Verifier, RedirectURI: codexauth.RedirectURI})
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := codexauth.ReadClaims(tokens.CodexTokens); err != nil || claims.AccountID != codextest.AccountID {
		t.Errorf("the claims are %+v, %v", claims, err)
	}

	f.Refuse(true)
	callback = f.Authorize(t, c.AuthorizeURL(state, p, codexauth.RedirectURI))
	gotState, _, err = codexauth.ParseCallback(callback)
	if e := realm.AsError(err); gotState != state || e.Reason != "access_denied" || !strings.Contains(e.Message, "user said no") {
		t.Errorf("a refused sign-in: state %q, %v", gotState, err)
	}
}

func fresh(t *testing.T) (codexauth.PKCE, string) {
	t.Helper()
	p, err := codexauth.NewPKCE()
	if err != nil {
		t.Fatal(err)
	}
	state, err := codexauth.NewState()
	if err != nil {
		t.Fatal(err)
	}
	return p, state
}

func TestPKCEAndStateAreFreshAndLong(t *testing.T) {
	p, state := fresh(t)
	q, another := fresh(t)
	if p.Verifier == q.Verifier || state == another {
		t.Error("a second one is the same")
	}
	sum := sha256.Sum256([]byte(p.Verifier.Reveal()))
	if p.Challenge != base64.RawURLEncoding.EncodeToString(sum[:]) {
		t.Error("the challenge is not the verifier's")
	}
	for _, s := range []string{p.Verifier.Reveal(), state} {
		if raw, err := base64.RawURLEncoding.DecodeString(s); err != nil || len(raw) < 32 || len(s) > 128 {
			t.Errorf("%d characters, %d bytes, %v", len(s), len(raw), err)
		}
	}
}

func TestAuthorizeURL(t *testing.T) {
	u, err := url.Parse((&codexauth.Client{}).AuthorizeURL("a state", codexauth.PKCE{Challenge: "a+challenge"}, codexauth.RedirectURI))
	if err != nil || u.Scheme != "https" || u.Host != "auth.openai.com" || u.Path != "/oauth/authorize" {
		t.Fatalf("%v, %v", u, err)
	}
	q := u.Query()
	for name, want := range map[string]string{
		"state": "a state", "code_challenge": "a+challenge", "code_challenge_method": "S256", "response_type": "code",
		"client_id": codextest.ClientID, "redirect_uri": "http://localhost:1455/auth/callback", "originator": "",
	} {
		if q.Get(name) != want {
			t.Errorf("%s is %q, want %q", name, q.Get(name), want)
		}
	}
}

func TestParseCallbackRefuses(t *testing.T) {
	const good = "http://localhost:1455/auth/callback?code=abc&state=xyz"
	if state, code, err := codexauth.ParseCallback(good); err != nil || state != "xyz" || code != "abc" {
		t.Fatalf("%q %q %v", state, code, err)
	}
	if _, _, err := codexauth.ParseCallback(strings.Replace(good, "localhost:1455", "[::1]:1457", 1)); err != nil {
		t.Errorf("the issuer's other redirects: %v", err)
	}
	for name, address := range map[string]string{
		"nothing":           "",
		"a bare query":      "code=abc&state=xyz",
		"a query with mark": "?code=abc&state=xyz",
		"code and state":    "abc#xyz",
		"no scheme":         "localhost:1455/auth/callback?code=abc&state=xyz",
		"https":             strings.Replace(good, "http:", "https:", 1),
		"another host":      strings.Replace(good, "localhost:1455", "example.com", 1),
		"a host like ours":  strings.Replace(good, "localhost:1455", "localhost.example.com", 1),
		"another path":      strings.Replace(good, "/auth/callback", "/oauth/authorize", 1),
		"no code":           "http://localhost:1455/auth/callback?state=xyz",
		"no state":          "http://localhost:1455/auth/callback?code=abc",
		"two codes":         good + "&code=def",
		"two states":        good + "&state=def",
		"a broken escape":   good + "%zz",
		"a semicolon":       good + ";x=1",
		"a line break":      "http://localhost:1455/auth/callback?code=a%0abc&state=xyz",
		"endless":           good + strings.Repeat("a", 9<<10),
	} {
		state, code, err := codexauth.ParseCallback(address)
		if err == nil || state != "" || code != "" {
			t.Errorf("%s: got %q %q %v", name, state, code, err)
			continue
		}
		if e := realm.AsError(err); e.Code != realm.CodeInvalid || strings.Contains(e.Error(), "abc") || !strings.HasSuffix(strings.TrimSuffix(e.Message, "?"), ".") && !strings.Contains(e.Message, codexauth.RedirectURI) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
