package codexauth_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
	"realms/internal/upstream/codexauth"
)

// piece is how many characters of a secret in a row must not be seen.
const piece = 10

// echoes are servers that repeat what they were sent, all of it, in every place
// that a client may quote.
func echoes() map[string]func(told string) testkit.Fault {
	return map[string]func(string) testkit.Fault{
		"message":          func(s string) testkit.Fault { return testkit.Error(400, "bad", "bad", "You sent "+s+" to us.") },
		"message with 401": func(s string) testkit.Fault { return testkit.Error(401, "bad", "", s) },
		"code":             func(s string) testkit.Fault { return testkit.Error(400, s, s, "No.") },
		"error as text":    func(s string) testkit.Fault { return testkit.Status(503, `{"error":`+strconv.Quote(s)+`}`) },
		"description": func(s string) testkit.Fault {
			return testkit.Status(500, `{"error":"x","error_description":`+strconv.Quote(s)+`}`)
		},
		"detail":        func(s string) testkit.Fault { return testkit.Status(400, `{"detail":`+strconv.Quote(s)+`}`) },
		"detail's code": func(s string) testkit.Fault { return testkit.Status(402, `{"detail":{"code":`+strconv.Quote(s)+`}}`) },
		"quoted": func(s string) testkit.Fault {
			return testkit.Error(429, "bad", "", `The token "`+s+`", (`+s+`) is bad`)
		},
		"escaped": func(s string) testkit.Fault { return testkit.Error(400, "bad", "", url.QueryEscape(s)) },
		"cut":     func(s string) testkit.Fault { return testkit.Error(400, "bad", "", s[:len(s)/2]+"... "+s[len(s)/2:]) },
		"base64": func(s string) testkit.Fault {
			return testkit.Error(400, "bad", "", base64.StdEncoding.EncodeToString([]byte(s)))
		},
		"HTML":        func(s string) testkit.Fault { return testkit.Status(502, "<p>"+s+"</p>") },
		"plain":       func(s string) testkit.Fault { return testkit.Status(400, s) },
		"status line": func(s string) testkit.Fault { return testkit.Raw("HTTP/1.1 " + s + "\r\n\r\n") },
		"no HTTP":     func(s string) testkit.Fault { return testkit.Raw(s + "\r\n\r\n") },
		"header": func(s string) testkit.Fault {
			return testkit.Raw("HTTP/1.1 200 OK\r\n" + s + " : x\r\nContent-Length: " + s + "\r\n\r\n")
		},
		"location":      func(s string) testkit.Fault { return testkit.Redirect(307, "http://127.0.0.1:1/?"+url.QueryEscape(s)) },
		"a good status": func(s string) testkit.Fault { return testkit.Body("application/json", s) },
		"a number": func(s string) testkit.Fault {
			return testkit.Body("application/json", `{"access_token":{`+strconv.Quote(s)+`:1},"accounts":`+strconv.Quote(s)+`,"rate_limit":`+strconv.Quote(s)+`}`)
		},
		"a broken token": func(s string) testkit.Fault {
			return testkit.Body("application/json", `{"access_token":`+strconv.Quote(s+"\n")+`,"rate_limit":1}`)
		},
	}
}

func TestNoErrorShowsASecret(t *testing.T) {
	for shape, secret := range map[string]string{
		"letters alone": strings.Repeat("canaryofatoken", 3),
		"capitals":      strings.Repeat("CANARY", 2),
		"random":        "rt_" + base64.RawURLEncoding.EncodeToString(randomBytes(t)),
		"like a JWT":    jwt(`{"x":1}`).Reveal() + base64.RawURLEncoding.EncodeToString(randomBytes(t)),
	} {
		for how, echo := range echoes() {
			c, f := pair(t, codextest.Options{})
			for _, path := range []string{codextest.PathToken, codextest.PathRevoke, codextest.PathDeviceToken, codextest.PathCheck, codextest.PathUsage} {
				f.Always(path, echo(secret))
			}
			for op, err := range everyCall(t, c, realm.Secret(secret)) {
				if err == nil {
					if op == "revoke" || op == "refresh" {
						continue // a good status is all that the one wants, and an object the other
					}
					t.Errorf("%s, %s: %s went well", shape, how, op)
					continue
				}
				unseen(t, fmt.Sprintf("%s, %s, %s", shape, how, op), err, secret)
			}
		}
	}
}

func randomBytes(t *testing.T) []byte {
	t.Helper()
	b := make([]byte, 48)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

// everyCall makes each call that sends a secret.
func everyCall(t *testing.T, c *codexauth.Client, secret realm.Secret) map[string]error {
	t.Helper()
	got := map[string]error{}
	id := realm.CodexIdentity{AccessToken: secret, AccountID: "account-" + secret.Reveal()}
	_, got["exchange"] = c.Exchange(t.Context(), codexauth.Code{Code: secret, Verifier: secret, RedirectURI: codexauth.RedirectURI})
	_, got["refresh"] = c.Refresh(t.Context(), secret, codexauth.ReasonExpiry)
	_, got["poll"] = c.PollDevice(t.Context(), secret, "ABCD-EFGH")
	got["revoke"] = c.Revoke(t.Context(), secret)
	got["workspace"] = c.Workspace(t.Context(), id)
	_, got["usage"] = c.Usage(t.Context(), id)
	return got
}

// unseen looks for pieces of the secret in every way to print an error, all that it
// wraps included.
func unseen(t *testing.T, what string, err error, secret string) {
	t.Helper()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("failed", "err", err)
	texts := []string{log.String()}
	for e := err; e != nil; e = errors.Unwrap(e) {
		texts = append(texts, e.Error(), fmt.Sprintf("%+v %#v", e, e))
	}
	all := strings.ToLower(strings.Join(texts, "\n"))
	for _, form := range []string{secret, base64.StdEncoding.EncodeToString([]byte(secret))} {
		form = strings.ToLower(form)
		for i := 0; i+piece <= len(form); i++ {
			if strings.Contains(all, form[i:i+piece]) {
				t.Errorf("%s: the secret is to be seen", what)
				return
			}
		}
	}
	if strings.ContainsAny(all, "<>") && strings.Contains(all, "<p") {
		t.Errorf("%s: HTML is to be seen", what)
	}
}

// What the provider says in plain words stays.
func TestErrorsKeepThePlainWords(t *testing.T) {
	for said, want := range map[string]string{
		"Your session has ended. Please log in again.":      "your session has ended. Please log in again",
		"Country, region, or territory not supported":       "country, region, or territory not supported",
		"JWT is malformed (HTTP 429)":                       "JWT is malformed (HTTP 429)",
		"Token abc123def456ghi for user-1a2b3c4d5e expired": "token … for … expired",
		"eyJhbGciOiJIUzI1NiJ9.e30.x":                        "the provider cannot answer now",
		"<p> Access denied </p>":                            "the provider cannot answer now",
		"<b>no</b>":                                         "the provider cannot answer now",
		"":                                                  "the provider cannot answer now",
		"… …":                                               "the provider cannot answer now",
		strings.Repeat("word ", 100):                        strings.TrimSpace(strings.Repeat("word ", 48)),
	} {
		c, f := pair(t, codextest.Options{})
		f.Instead(codextest.PathToken, testkit.Error(http.StatusServiceUnavailable, "server_error", "some_code", said))
		_, err := c.Refresh(t.Context(), "rt", codexauth.ReasonExpiry)
		e := failed(t, err)
		if e.Message != want || e.Code != "some_code" || e.Error() != "refresh: "+want+" (some_code, HTTP 503)" {
			t.Errorf("%q became %q\n  %v", said, e.Message, err)
		}
	}
}

// A code that could be a piece of a token is none.
func TestErrorsKeepCodesThatAreOnes(t *testing.T) {
	for said, want := range map[string]string{
		"server_is_overloaded": "server_is_overloaded", "error.v2-beta": "error.v2-beta",
		"ab12cd34ef56": "", "Not A Code": "", "a\u001bb": "", strings.Repeat("a", 65): "",
	} {
		c, f := pair(t, codextest.Options{})
		f.Instead(codextest.PathToken, testkit.Status(http.StatusServiceUnavailable, `{"error":"`+said+`"}`))
		if _, err := c.Refresh(t.Context(), "rt", codexauth.ReasonExpiry); failed(t, err).Code != want {
			t.Errorf("%q became %q", said, failed(t, err).Code)
		}
	}
}
