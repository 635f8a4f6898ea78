package codexauth

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"net/url"
	"strings"

	"realms/internal/realm"
)

// RedirectURI is where the issuer sends a browser after a sign-in: an address of
// the browser's own machine. The issuer takes no other.
const RedirectURI = "http://localhost:1455/auth/callback"

const (
	callbackPath = "/auth/callback"
	maxCallback  = 8 << 10

	// randomBytes are those of a state and of a verifier: 64 characters.
	randomBytes = 48
)

// PKCE ties an authorization code to who asked for it. Challenge is the SHA-256 of
// Verifier.
type PKCE struct {
	Verifier  realm.Secret
	Challenge string
}

// NewPKCE makes a fresh one.
func NewPKCE() (PKCE, error) {
	verifier, err := randomText()
	if err != nil {
		return PKCE{}, err
	}
	sum := sha256.Sum256([]byte(verifier))
	return PKCE{Verifier: realm.Secret(verifier), Challenge: base64.RawURLEncoding.EncodeToString(sum[:])}, nil
}

// NewState makes the text by which a callback finds its sign-in.
func NewState() (string, error) { return randomText() }

func randomText() (string, error) {
	b := make([]byte, randomBytes)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("random bytes: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// AuthorizeURL is the page where somebody signs in. It names no originator: the
// name of another program would be false, and none of ours is registered.
func (c *Client) AuthorizeURL(state string, p PKCE, redirect string) string {
	q := url.Values{
		"response_type":              {"code"},
		"client_id":                  {clientID},
		"redirect_uri":               {redirect},
		"scope":                      {"openid profile email offline_access"},
		"code_challenge":             {p.Challenge},
		"code_challenge_method":      {"S256"},
		"state":                      {state},
		"id_token_add_organizations": {"true"},
		"codex_cli_simplified_flow":  {"true"},
	}
	return c.issuer() + "/oauth/authorize?" + q.Encode()
}

// ParseCallback reads the address that a browser ended at. The error is a
// realm.Error; where the issuer refused the sign-in its Reason is the issuer's code
// and the state is given too. Nothing is quoted but that.
func ParseCallback(rawURL string) (state, code string, err error) {
	u, err := callbackURL(strings.TrimSpace(rawURL))
	if err != nil {
		return "", "", err
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(q["state"]) > 1 || len(q["code"]) > 1 {
		return "", "", realm.Invalid("callback", "The address is damaged; copy it again, all of it.")
	}
	state, code = q.Get("state"), q.Get("code")
	switch refusal := q.Get("error"); {
	case !visible(code, maxCallback) || !visible(state, maxCallback):
		return "", "", realm.Invalid("callback", "The address is damaged; copy it again, all of it.")
	case refusal != "":
		return state, "", refused(refusal, q.Get("error_description"))
	case code == "":
		return "", "", realm.Invalid("callback", "The address has no code in it; copy the one that the browser shows after the sign-in, all of it.")
	case state == "":
		return "", "", realm.Invalid("callback", "The address has no state in it; copy the one that the browser shows after the sign-in, all of it.")
	}
	return state, code, nil
}

func callbackURL(s string) (*url.URL, error) {
	if len(s) > maxCallback {
		return nil, realm.Invalid("callback", "The address is too long to be the one of a sign-in.")
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" || u.Host == "" {
		return nil, realm.Invalid("callback", "Give the whole address that the browser shows after the sign-in; it begins with "+RedirectURI+"?")
	}
	if u.Path != callbackPath || !loopback(u.Hostname()) {
		return nil, realm.Invalid("callback", "This is not the address after the sign-in; that one begins with "+RedirectURI+"?")
	}
	return u, nil
}

func refused(code, description string) error {
	e := &realm.Error{Code: realm.CodeForbidden, Field: "callback", Reason: cleanCode(code, nil), Message: "The sign-in was refused"}
	if e.Reason != "" {
		e.Message += " (" + e.Reason + ")"
	}
	if d := cleanText(description, nil); d != "" {
		e.Message += ": " + d
	}
	e.Message += ". Begin another sign-in."
	return e
}

// loopback tells whether a host is this machine, by its name alone.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
