package codexauth

import (
	"context"
	"net/http"
	"net/url"

	"realms/internal/realm"
)

// Code is what a confirmed sign-in gave, to be exchanged once for tokens.
type Code struct {
	Code, Verifier realm.Secret
	RedirectURI    string // the one that the sign-in was asked with
}

// Tokens are those that an answer held; a field is empty where it had none.
type Tokens struct{ realm.CodexTokens }

// Reason is why tokens are refreshed, as the issuer is told.
type Reason string

// The reasons.
const (
	ReasonExpiry       Reason = "proactive_expiry"
	ReasonUnauthorized Reason = "unauthorized_recovery"
)

// Exchange turns a sign-in's code into tokens. There is an access token in them; a
// refresh token need not be.
func (c *Client) Exchange(ctx context.Context, code Code) (*Tokens, error) {
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"client_id":     {clientID},
		"code":          {code.Code.Reveal()},
		"redirect_uri":  {code.RedirectURI},
		"code_verifier": {code.Verifier.Reveal()},
	}
	a, err := c.do(ctx, &call{
		op: "exchange", method: http.MethodPost, url: c.issuer() + "/oauth/token", limit: maxAnswer,
		contentType: "application/x-www-form-urlencoded", body: []byte(form.Encode()),
		secrets: []realm.Secret{code.Code, code.Verifier},
	})
	if err != nil {
		return nil, err
	}
	if !a.good() {
		e := a.failure(c.now())
		e.Permanent = !e.Blocked && (a.status == http.StatusUnauthorized || a.status == http.StatusBadRequest && e.Code == codeInvalidGrant)
		return nil, e
	}
	t, err := a.tokens()
	if err == nil && t.Access == "" {
		return nil, a.bad("the answer holds no access token")
	}
	return t, err
}

// Refresh trades a refresh token, which serves once, for fresh tokens. The answer
// may lack any of them: what it lacks is still good.
func (c *Client) Refresh(ctx context.Context, refresh realm.Secret, reason Reason) (*Tokens, error) {
	q, err := post("refresh", c.issuer()+"/oauth/token", map[string]string{
		"client_id": clientID, "grant_type": "refresh_token", "refresh_reason": string(reason), "refresh_token": refresh.Reveal(),
	}, refresh)
	if err != nil {
		return nil, err
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return nil, err
	}
	if !a.good() {
		return nil, c.refreshRefused(a)
	}
	return a.tokens()
}

// refreshWords say of each permanent code what has happened.
var refreshWords = map[string]string{
	CodeRefreshExpired:     "the sign-in has expired",
	CodeRefreshReused:      "somebody else has used the same sign-in",
	CodeRefreshInvalidated: "the sign-in has been revoked",
}

func (c *Client) refreshRefused(a *answer) error {
	e := a.failure(c.now())
	if e.Blocked {
		return e
	}
	if words, known := refreshWords[e.Code]; known {
		e.Permanent, e.Message = true, words
	}
	e.Permanent = e.Permanent || a.status == http.StatusUnauthorized || a.status == http.StatusBadRequest && e.Code == codeInvalidGrant
	return e
}

// Revoke ends a sign-in by its refresh token.
func (c *Client) Revoke(ctx context.Context, token realm.Secret) error {
	q, err := post("revoke", c.issuer()+"/oauth/revoke",
		map[string]string{"token": token.Reveal(), "token_type_hint": "refresh_token", "client_id": clientID}, token)
	if err != nil {
		return err
	}
	a, err := c.do(ctx, q)
	if err != nil {
		return err
	}
	if !a.good() {
		return a.failure(c.now())
	}
	return nil
}

// tokens reads what the token endpoint answered.
func (a *answer) tokens() (*Tokens, error) {
	var got struct {
		ID      string `json:"id_token"`
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if err := a.object(&got); err != nil {
		return nil, err
	}
	for _, token := range [...]string{got.ID, got.Access, got.Refresh} {
		if !visible(token, maxToken) {
			return nil, a.bad("the answer holds a token that cannot be one")
		}
	}
	if len(got.ID)+len(got.Access)+len(got.Refresh) > maxTokens {
		return nil, a.bad("the answer holds tokens that are too long to be kept")
	}
	return &Tokens{realm.CodexTokens{
		ID: realm.Secret(got.ID), Access: realm.Secret(got.Access), Refresh: realm.Secret(got.Refresh),
	}}, nil
}
