package upstream

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"realms/internal/protocol/openai"
	"realms/internal/realm"
)

// awkwardKey has characters that encodings change.
var awkwardKey = "sk-" + "proj+a/b=c&d " + strings.Repeat("Q7", 12) + "\"end"

// leaks finds any piece of 12 characters of the secret, in any of its forms, that
// a text still holds.
func leaks(text, secret string) string {
	text = strings.ToLower(text)
	n := min(12, len(secret))
	for i := 0; i+n <= len(secret); i++ {
		piece := secret[i : i+n]
		for _, form := range []string{piece, url.QueryEscape(piece), url.PathEscape(piece), hex.EncodeToString([]byte(piece)), base64.RawStdEncoding.EncodeToString([]byte(piece))[:n]} {
			if strings.Contains(text, strings.ToLower(form)) {
				return form
			}
		}
	}
	return ""
}

func TestScrubText(t *testing.T) {
	for _, secret := range []string{awkwardKey, "sk-" + strings.Repeat("abcdefghij", 4), "short6", "elevenchars"} {
		s := newScrubber(secret)
		basic := base64.StdEncoding.EncodeToString([]byte("user:" + secret))
		for name, text := range map[string]string{
			"whole":            "key: " + secret + ".",
			"twice":            secret + " and " + secret,
			"alone":            secret,
			"upper case":       strings.ToUpper(secret),
			"lower case":       "x " + strings.ToLower(secret),
			"first characters": "Incorrect API key: " + secret[:min(len(secret), 14)] + "...",
			"last characters":  "Incorrect API key: ..." + secret[max(0, len(secret)-14):],
			"middle":           "…" + secret[min(4, len(secret)-1):max(len(secret)-3, min(4, len(secret)-1))] + "…",
			"query":            "GET /?key=" + url.QueryEscape(secret),
			"path":             "/x/" + url.PathEscape(secret) + "/y",
			"hex":              hex.EncodeToString([]byte(secret)),
			"base64":           base64.StdEncoding.EncodeToString([]byte(secret)),
			"base64 url":       base64.RawURLEncoding.EncodeToString([]byte(secret)),
			"basic":            "Authorization: Basic " + basic,
			"basic, shifted":   base64.StdEncoding.EncodeToString([]byte("u:" + secret)),
			"basic, shifted 2": base64.StdEncoding.EncodeToString([]byte("us:" + secret)),
			"among umlauts":    "schlüßel ÄÖÜ " + secret + " ẞ",
		} {
			got := s.text(text)
			if len(secret) >= 12 || name == "whole" || name == "twice" || name == "alone" {
				if piece := leaks(got, secret); piece != "" {
					t.Errorf("%s of %q: %q still holds %q", name, secret, got, piece)
				}
			}
			if name == "among umlauts" && got != "schlüßel ÄÖÜ [redacted] ẞ" {
				t.Errorf("%q", got)
			}
		}
	}
}

func TestScrubLeavesTheRest(t *testing.T) {
	s := newScrubber("sk-" + strings.Repeat("abcdefghij", 4))
	for _, text := range []string{"", "x", "Rate limit reached for gpt-5.5 in organization org-1.", "sk-abcdefgh", strings.Repeat("abc", 5000)} {
		if got := s.text(text); got != text {
			t.Errorf("%.60q became %.60q", text, got)
		}
	}
	if got := newScrubber("abc").text("abc abc"); got != "abc abc" {
		t.Errorf("a secret of three letters: %q", got)
	}
	if got := newScrubber("").text("text"); got != "text" {
		t.Errorf("no secret: %q", got)
	}
}

func TestScrubBody(t *testing.T) {
	secret := "sk-" + strings.Repeat("k3y/", 8)
	s := newScrubber(secret)
	escaped := ""
	for _, c := range []byte(secret) {
		escaped += `\u00` + hex.EncodeToString([]byte{c})
	}
	for name, tc := range map[string]struct{ body, want string }{
		"plain":         {`{"error":{"message":"key ` + secret + ` is bad"}}`, `{"error":{"message":"key [redacted] is bad"}}`},
		"nothing in it": {`{"error":{"message":"no","x":12345678901234567890}}`, `{"error":{"message":"no","x":12345678901234567890}}`},
		"escaped":       {`{"error":{"message":"key ` + escaped + ` is bad"}}`, ``},
		"slashes":       {`{"error":{"message":"key ` + strings.ReplaceAll(secret, "/", `\/`) + ` is bad"}}`, ``},
		"other escapes": {`{"error":{"message":"a \"word\" \u00e9\n"}}`, `{"error":{"message":"a \"word\" \u00e9\n"}}`},
		"as a name":     {`{"` + secret + `":1}`, `{"[redacted]":1}`},
		"not an object": {`"` + secret + `"`, ``},
		"page":          {`<html>`, ``},
	} {
		if got := string(s.body([]byte(tc.body))); got != tc.want {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}

// TestFailuresAreScrubbed sends the key back in every place an upstream has.
func TestFailuresAreScrubbed(t *testing.T) {
	secret := awkwardKey
	x := testExchange()
	x.Attempt.Credential.APIKey = realm.Secret(secret)
	quoted, _ := json.Marshal(secret)
	inJSON := strings.Trim(string(quoted), `"`)
	for name, body := range map[string]string{
		"message": `{"error":{"message":"Incorrect API key provided: ` + inJSON + `","type":"invalid_request_error","code":"invalid_api_key"}}`,
		"code":    `{"error":{"message":"No.","type":"` + inJSON + `","param":"` + inJSON + `","code":"` + inJSON + `"}}`,
		"detail":  `{"detail":"` + inJSON + `"}`,
		"text":    "Bad key: " + secret,
		"page":    "<html>" + secret + "</html>",
		"field":   `{"error":{"message":"Unsupported parameter: '` + inJSON + `'"}}`,
		"header":  `{"error":{"message":"Authorization: Basic ` + base64.StdEncoding.EncodeToString([]byte("x:"+secret)) + `"}}`,
	} {
		for _, status := range []int{400, 401, 403, 404, 413, 429, 500} {
			f := testExecutor().classify(x, &http.Response{StatusCode: status, Header: header()}, []byte(body))
			assertClean(t, name, f, secret)
		}
		inside := testExecutor().ClassifyError(x, header(), openai.ParseError([]byte(body)))
		assertClean(t, name+" inside", inside, secret)
	}
	for _, err := range []error{
		errors.New("malformed HTTP response \"" + secret + "\""),
		errors.New(strings.Repeat("x", 2000) + secret),
		errors.New("\xff\xfe" + secret),
	} {
		a := &attempt{parent: t.Context()}
		assertClean(t, "send", a.classifySendError(err, x), secret)
	}
}

func assertClean(t *testing.T, name string, f *Failure, secret string) {
	t.Helper()
	all := strings.Join([]string{f.Outcome.Err.Error(), f.Outcome.Field, f.Error.Message, f.Error.Type, f.Error.Param, f.Error.Code, string(f.Body)}, "\n")
	if piece := leaks(all, secret); piece != "" {
		t.Errorf("%s: %q leaks in %q", name, piece, all)
	}
	if len(f.Outcome.Err.Error()) > 1<<10 {
		t.Errorf("%s: an error of %d bytes", name, len(f.Outcome.Err.Error()))
	}
}

func BenchmarkScrub(b *testing.B) {
	secret := "sk-" + strings.Repeat("abcdefghij", 16)
	text := strings.Repeat("The server had an error while processing your request. ", 6)
	b.ReportAllocs()
	for b.Loop() {
		_ = newScrubber(secret).text(text)
	}
}
