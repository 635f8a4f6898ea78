package codextest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"realms/internal/realm"
)

// tokens are all that were ever given out.
type tokens struct {
	refresh map[string]*family // by refresh token, spent ones too
	access  map[string]*access
	id      []string
	reuses  int
}

// family are the tokens that descend from one sign-in.
type family struct {
	account string
	current string // the refresh token that serves
	dead    string // the code that its refresh tokens are refused with; empty: it lives
}

type access struct {
	family  *family
	expires time.Time
	invalid string // the code that it is refused with
}

func newTokens() tokens {
	return tokens{refresh: map[string]*family{}, access: map[string]*access{}}
}

func (t *tokens) family(account string) *family { return &family{account: account} }

// issue makes fresh tokens of a family. The caller holds the lock.
func (f *Fake) issue(of *family) realm.CodexTokens {
	now := f.options.Now()
	person := f.person(of.account)
	auth := map[string]any{
		"chatgpt_account_id": person.ID, "chatgpt_plan_type": person.Plan,
		"chatgpt_user_id": person.UserID, "user_id": person.UserID,
		"chatgpt_account_is_fedramp": person.FedRAMP,
		"organizations":              []any{},
	}
	expires := now.Add(f.life)
	claims := map[string]any{
		"iss": f.Issuer(), "sub": person.UserID, "iat": now.Unix(), "jti": random(8), "https://api.openai.com/auth": auth,
	}
	claims["aud"], claims["exp"] = []string{"https://api.openai.com/v1"}, expires.Unix()
	claims["https://api.openai.com/profile"] = map[string]any{"email": person.Email, "email_verified": true}
	accessToken := f.JWT(claims)
	delete(claims, "https://api.openai.com/profile")
	claims["aud"], claims["exp"], claims["email"] = []string{ClientID}, now.Add(time.Hour).Unix(), person.Email
	of.current = "rt_" + random(24)
	f.tokens.refresh[of.current] = of
	f.tokens.access[accessToken] = &access{family: of, expires: expires}
	idToken := f.JWT(claims)
	f.tokens.id = append(f.tokens.id, idToken)
	return realm.CodexTokens{ID: realm.Secret(idToken), Access: realm.Secret(accessToken), Refresh: realm.Secret(of.current)}
}

// JWT is a signed token with these claims, which nobody has been given.
func (f *Fake) JWT(claims map[string]any) string {
	payload, err := json.Marshal(claims)
	if err != nil {
		panic("codextest: claims that are no JSON: " + err.Error())
	}
	text := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(payload)
	mac := hmac.New(sha256.New, f.key)
	_, _ = mac.Write([]byte(text))
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// AuthFile is the auth.json of a Codex CLI that has these tokens.
func (f *Fake) AuthFile(t realm.CodexTokens, account string) []byte {
	file, err := json.MarshalIndent(map[string]any{
		"auth_mode": "chatgpt", "OPENAI_API_KEY": nil,
		"tokens": map[string]any{
			"id_token": t.ID.Reveal(), "access_token": t.Access.Reveal(), "refresh_token": t.Refresh.Reveal(), "account_id": account,
			"oauth_provenance": map[string]any{"issuer": f.Issuer(), "client_id": ClientID}, "login_owner_id": "owner-0001",
		},
		"last_refresh": f.options.Now().UTC().Format(time.RFC3339Nano),
	}, "", "  ")
	if err != nil {
		panic("codextest: auth.json: " + err.Error())
	}
	return file
}

// Invalidate lets the backend refuse all access tokens that an account has now
// (401 token_invalidated). A refresh gives one that it takes.
func (f *Fake) Invalidate(account string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, a := range f.tokens.access {
		if a.family.account == account {
			a.invalid = "token_invalidated"
		}
	}
}

// EndRefresh lets the issuer refuse all refresh tokens that an account has now,
// with a code such as refresh_token_expired.
func (f *Fake) EndRefresh(account, code string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, of := range f.tokens.refresh {
		if of.account == account {
			of.dead = code
		}
	}
}

// Reuses is how often a refresh token was used that had served before.
func (f *Fake) Reuses() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tokens.reuses
}

// Serves tells whether the issuer would take a refresh token.
func (f *Fake) Serves(refresh realm.Secret) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	of := f.tokens.refresh[refresh.Reveal()]
	return of != nil && of.dead == "" && of.current == refresh.Reveal()
}

// Accepts tells whether the backend would take an access token.
func (f *Fake) Accepts(token realm.Secret) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.tokens.access[token.Reveal()]
	return a != nil && a.invalid == "" && f.options.Now().Before(a.expires)
}
