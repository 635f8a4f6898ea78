package codextest

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
)

// code is an authorization code.
type code struct {
	challenge, redirect, account string
	used                         *family
}

// redirects are all that the issuer sends a browser to.
var redirects = []string{
	"http://localhost:1455/auth/callback", "http://127.0.0.1:1455/auth/callback",
	"http://localhost:1457/auth/callback", "http://127.0.0.1:1457/auth/callback",
}

// newCode makes one for the visitor. The caller holds the lock.
func (f *Fake) newCode(challenge, redirect, account string) string {
	name := "ac_" + random(24)
	f.codes[name] = &code{challenge: challenge, redirect: redirect, account: account}
	return name
}

func challengeOf(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// authorize is the page where the visitor signs in at once, or refuses.
func (f *Fake) authorize(r *testkit.Request, a *testkit.Answer) {
	q, err := url.ParseQuery(r.Query)
	scopes := strings.Fields(q.Get("scope"))
	switch {
	case err != nil, q.Get("client_id") != ClientID, !slices.Contains(redirects, q.Get("redirect_uri")):
		answer(a, http.StatusBadRequest, testkit.ErrorBody("invalid_request_error", "invalid_client", "", "The client or its redirect is unknown."))
		return
	case q.Get("response_type") != "code", q.Get("code_challenge_method") != "S256", len(q.Get("code_challenge")) != 43,
		len(q.Get("state")) < 32, !slices.Contains(scopes, "openid"), !slices.Contains(scopes, "offline_access"):
		answer(a, http.StatusBadRequest, testkit.ErrorBody("invalid_request_error", "invalid_request", "", "A parameter is missing or wrong."))
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	back := url.Values{"state": {q.Get("state")}}
	if f.refuses {
		back.Set("error", "access_denied")
		back.Set("error_description", "The user said no")
	} else {
		back.Set("code", f.newCode(q.Get("code_challenge"), q.Get("redirect_uri"), f.visitor))
		back.Set("scope", q.Get("scope"))
	}
	answer(a, http.StatusFound, "", "Location", q.Get("redirect_uri")+"?"+back.Encode())
}

// Authorize opens the page of a sign-in as the visitor's browser does and returns
// the address that it ends at.
func (f *Fake) Authorize(t testing.TB, address string) (callback string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal("the page's address cannot be opened")
	}
	res, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatalf("open the sign-in's page: %v", err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusFound {
		t.Fatalf("the sign-in's page answered HTTP %d", res.StatusCode)
	}
	return res.Header.Get("Location")
}

// parameters are those of a form or of a JSON object of texts.
func parameters(r *testkit.Request) map[string]string {
	got := map[string]string{}
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		_ = json.Unmarshal(r.Body, &got)
		return got
	}
	form, _ := url.ParseQuery(string(r.Body))
	for name := range form {
		got[name] = form.Get(name)
	}
	return got
}

func (f *Fake) token(r *testkit.Request, a *testkit.Answer) {
	p := parameters(r)
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case p["client_id"] != ClientID:
		answer(a, http.StatusUnauthorized, `{"error":"invalid_client","error_description":"Unknown client."}`)
	case p["grant_type"] == "authorization_code":
		f.exchange(p, a)
	case p["grant_type"] == "refresh_token":
		f.refresh(p["refresh_token"], a)
	default:
		answer(a, http.StatusBadRequest, `{"error":"unsupported_grant_type"}`)
	}
}

// exchange gives tokens for a code. One that comes again ends what it gave.
func (f *Fake) exchange(p map[string]string, a *testkit.Answer) {
	c := f.codes[p["code"]]
	if c != nil && c.used != nil {
		c.used.dead = "refresh_token_invalidated"
	}
	if c == nil || c.used != nil || c.redirect != p["redirect_uri"] || challengeOf(p["code_verifier"]) != c.challenge {
		answer(a, http.StatusBadRequest, `{"error":"invalid_grant","error_description":"The code is unknown, used, or not for this verifier."}`)
		return
	}
	c.used = f.tokens.family(c.account)
	f.give(f.issue(c.used), a)
}

// refresh spends a refresh token. One that has been spent before ends its whole
// family; the access tokens that it gave last as long as they would have.
func (f *Fake) refresh(token string, a *testkit.Answer) {
	of := f.tokens.refresh[token]
	switch {
	case of == nil:
		refuseRefresh(a, "refresh_token_invalidated")
	case of.current != token:
		f.tokens.reuses++
		if of.dead == "" {
			of.dead = "refresh_token_invalidated"
		}
		refuseRefresh(a, "refresh_token_reused")
	case of.dead != "":
		refuseRefresh(a, of.dead)
	default:
		fresh := f.issue(of)
		if f.omit["refresh_token"] {
			delete(f.tokens.refresh, of.current)
			of.current = token
		}
		f.give(fresh, a)
	}
}

func (f *Fake) give(t realm.CodexTokens, a *testkit.Answer) {
	body := map[string]any{
		"id_token": t.ID.Reveal(), "access_token": t.Access.Reveal(), "refresh_token": t.Refresh.Reveal(),
		"token_type": "Bearer", "expires_in": int(f.life.Seconds()), "scope": "openid profile email offline_access",
	}
	for field := range f.omit {
		delete(body, field)
	}
	answerJSON(a, http.StatusOK, body)
}

func (f *Fake) revoke(r *testkit.Request, a *testkit.Answer) {
	token := parameters(r)["token"]
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.tokens.refresh[token]
	if known := f.tokens.access[token]; known != nil {
		of = known.family
	}
	if of != nil {
		of.dead = "refresh_token_invalidated"
		for _, known := range f.tokens.access {
			if known.family == of {
				known.invalid = "token_revoked"
			}
		}
	}
	answer(a, http.StatusOK, `{}`) // for one that is unknown too
}

func answerJSON(a *testkit.Answer, status int, body any, header ...string) {
	text, err := json.Marshal(body)
	if err != nil {
		panic("codextest: an answer that is no JSON: " + err.Error())
	}
	answer(a, status, string(text), header...)
}
