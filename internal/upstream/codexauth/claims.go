package codexauth

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"realms/internal/realm"
)

const (
	authClaim    = "https://api.openai.com/auth"
	profileClaim = "https://api.openai.com/profile"
)

// Claims are what tokens say of the account they are for. Nobody has checked their
// signature: they came from the issuer over TLS, or out of the operator's own file.
type Claims struct {
	AccountID string // never empty
	UserID    string
	Email     string
	Plan      string // as the provider calls it
	FedRAMP   bool
	ExpiresAt time.Time // of the access token; zero: it does not say
}

// ReadClaims reads the access token, and takes from the ID token what that one
// lacks, unless the two are of different accounts: then the access token is the one
// that the backend goes by. An *Error says that neither names an account.
func ReadClaims(t realm.CodexTokens) (Claims, error) {
	access, inAccess := readToken(t.Access)
	id, inID := readToken(t.ID)
	if !inAccess && !inID {
		return Claims{}, &Error{Op: "claims", Code: CodeNoAccount, Permanent: true, Message: "the tokens cannot be read"}
	}
	if access.AccountID == "" || access.AccountID == id.AccountID {
		access.fill(&id)
	}
	if access.AccountID == "" {
		return Claims{}, &Error{Op: "claims", Code: CodeNoAccount, Permanent: true, Message: "the tokens name no ChatGPT account"}
	}
	return access, nil
}

func (c *Claims) fill(other *Claims) {
	c.AccountID = first(c.AccountID, other.AccountID)
	c.UserID = first(c.UserID, other.UserID)
	c.Email = first(c.Email, other.Email)
	c.Plan = first(c.Plan, other.Plan)
	c.FedRAMP = c.FedRAMP || other.FedRAMP
}

// readToken reads the payload of a JWT; a claim of the wrong kind is as good as
// none.
func readToken(token realm.Secret) (c Claims, ok bool) {
	parts := strings.Split(token.Reveal(), ".")
	if len(parts) != 3 || len(parts[1]) > maxToken {
		return c, false
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return c, false
	}
	top := fields(raw)
	if top == nil {
		return c, false
	}
	auth, profile := fields(top[authClaim]), fields(top[profileClaim])
	if id := text(auth["chatgpt_account_id"]); visible(id, 255) {
		c.AccountID = id
	}
	c.UserID = label(first(text(auth["chatgpt_user_id"]), text(auth["user_id"])))
	c.Plan = label(text(auth["chatgpt_plan_type"]))
	c.Email = label(first(text(top["email"]), text(profile["email"])))
	c.FedRAMP = string(auth["chatgpt_account_is_fedramp"]) == "true"
	c.ExpiresAt = unixTime(top["exp"])
	return c, true
}

// unixTime reads seconds since 1970; zero if they are none, or not of our age.
func unixTime(raw json.RawMessage) time.Time {
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil || !(n > 0) || n > 32503680000 { // the year 3000; NaN is not > 0
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}
