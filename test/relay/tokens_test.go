package relay

import (
	"context"
	"database/sql"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"realms/internal/account"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

var unauthenticated = fault{http.StatusUnauthorized, "invalid_request_error", "invalid_api_key", ""}

// asToken is a request with another token, or with none if it is empty.
func asToken(t testing.TB, app *testapp.App, token string) *testapp.Answer {
	t.Helper()
	req := app.Request(t, http.MethodPost, "/v1/chat/completions", chatBody)
	req.Header.Del("Authorization")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return app.Ask(t, req)
}

// isRefused checks a 401 that no client repeats and that tells nobody the token.
func isRefused(t testing.TB, a *testapp.Answer, token string) {
	t.Helper()
	isFault(t, a, unauthenticated)
	if a.Header.Get("X-Should-Retry") != "false" || a.Header.Get("Retry-After") != "" {
		t.Errorf("a 401 that asks to come again: %v", a.Header)
	}
	if token != "" && strings.Contains(a.Body, token) {
		t.Errorf("the answer repeats the token: %s", a.Body)
	}
}

// elsewhere is another process on the app's store, such as a command.
func elsewhere(t testing.TB, app *testapp.App) *account.Service {
	t.Helper()
	st, err := store.Open(t.Context(), store.Options{DSN: app.Config.StoreDSN()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	s := account.New(account.Options{Store: st})
	if err := s.Load(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

// K-05: a token of ours with a wrong checksum is refused without a look into the
// store. The proof: the store cannot tell anything, and that is not noticed.
func TestWrongChecksumAsksNobody(t *testing.T) {
	app, up := one(t, nil)
	db, err := sql.Open("sqlite", app.Config.SQLiteFile())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE tokens RENAME TO tokens_away"); err != nil {
		t.Fatal(err)
	}
	for _, unknown := range []string{account.MintToken().Reveal(), "another-" + strings.Repeat("x", 20)} {
		a := asToken(t, app, unknown)
		isFault(t, a, fault{http.StatusServiceUnavailable, "server_error", "unavailable", ""})
		if a.Header.Get("Retry-After") == "" {
			t.Errorf("a store that is away: %v", a.Header)
		}
	}
	for i := range len(app.Token) {
		other := []byte(app.Token)
		if other[i]++; other[i] == '{' || other[i] == '[' || other[i] == ':' {
			other[i] = 'a'
		}
		if strings.HasPrefix(string(other), "rlm_") {
			isRefused(t, asToken(t, app, string(other)), string(other))
		}
	}
	for _, wrong := range []string{app.Token[:36], app.Token + "0", "rlm_", "rlm_" + strings.Repeat("0", 33), strings.ToUpper(app.Token[4:5]) + "x"} {
		isRefused(t, asToken(t, app, wrong), "")
	}
	if a := asToken(t, app, app.Token); a.StatusCode != http.StatusOK || up.Count() != 1 {
		t.Errorf("a known token: %d, %d requests reached the upstream", a.StatusCode, up.Count())
	}
	if _, err := db.ExecContext(t.Context(), "ALTER TABLE tokens_away RENAME TO tokens"); err != nil {
		t.Fatal(err)
	}
	// A flood of them keeps nobody out who is new: one more made elsewhere is known
	// at once, within the fifty questions a second.
	for range 100 {
		asToken(t, app, app.Token[:35]+"00")
	}
	fresh, _, err := elsewhere(t, app).CreateToken(t.Context(), "test", account.TokenSpec{User: "owner", Name: "fresh"})
	if err != nil {
		t.Fatal(err)
	}
	if a := asToken(t, app, fresh.Reveal()); a.StatusCode != http.StatusOK {
		t.Errorf("a token made a moment ago: %d %s", a.StatusCode, a.Body)
	}
}

// K-05: a revoked token is refused within a second, whoever revoked it, and its
// open streams go on to their end.
func TestRevocationIsSoonAndLeavesStreamsAlone(t *testing.T) {
	app, _ := one(t, func(r *testkit.Request) testkit.Fault {
		if r.Stream {
			return testkit.Pace(160 * time.Millisecond)
		}
		return nil
	})
	other := elsewhere(t, app)
	for name, end := range map[string]func(ctx context.Context, token string) error{
		"token revoked": func(ctx context.Context, token string) error {
			_, err := other.RevokeToken(ctx, "test", account.TokenRef{Text: token})
			return err
		},
		"user disabled": func(ctx context.Context, _ string) error {
			_, err := other.SetUserEnabled(ctx, "test", "user disabled", false)
			return err
		},
		"token expired": func(context.Context, string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			user := account.UserSpec{Name: name, Role: realm.RoleUser, Groups: []string{realm.DefaultGroup}, Enabled: true}
			if _, err := app.Accounts.UpsertUser(t.Context(), "test", user); err != nil {
				t.Fatal(err)
			}
			spec := account.TokenSpec{User: name, Name: "test"}
			if name == "token expired" {
				spec.ExpiresAt = time.Now().Add(400 * time.Millisecond)
			}
			token := app.NewToken(t, spec)
			res, err := app.Client.Do(app.Request(t, http.MethodPost, "/v1/chat/completions", chatStream, "Authorization", "Bearer "+token))
			if err != nil || res.StatusCode != http.StatusOK {
				t.Fatal(res, err)
			}
			defer func() { _ = res.Body.Close() }()
			begun := time.Now()
			if err := end(t.Context(), token); err != nil {
				t.Fatal(err)
			}
			var a *testapp.Answer
			testkit.Poll(t, "the token to be refused", func() bool {
				a = asToken(t, app, token)
				return a.StatusCode != http.StatusOK
			})
			isRefused(t, a, token)
			if took := time.Since(begun); took > time.Second {
				t.Errorf("refused after %v", took)
			}
			if body, err := io.ReadAll(res.Body); err != nil || !strings.HasSuffix(string(body), "data: [DONE]\n\n") {
				t.Errorf("the open stream: %v %s", err, body)
			}
			if time.Since(begun) < time.Second {
				t.Error("the stream was over too soon to prove anything")
			}
			if row := app.Record(t, res); row.Ended != realm.EndedCompleted {
				t.Errorf("row: %+v", endingOf(row))
			}
		})
	}
}

// Either header holds the token. Two that differ, or a form that is not quite
// right, are refused: nobody is ever taken for somebody else.
func TestTokenIsReadFromEitherHeader(t *testing.T) {
	app, up := one(t, nil)
	good, other := app.Token, app.NewToken(t, account.TokenSpec{User: "owner", Name: "other"})
	accepted := 0
	for name, tt := range map[string]struct {
		path   string
		header []string
		want   int
	}{
		"bearer":                 {"", []string{"Authorization: Bearer " + good}, 200},
		"bearer in small":        {"", []string{"authorization: bearer " + good}, 200},
		"bearer and spaces":      {"", []string{"Authorization:   Bearer   " + good + "  "}, 200},
		"x-api-key":              {"", []string{"x-api-key: " + good}, 200},
		"the same in both":       {"", []string{"x-api-key: " + good, "Authorization: Bearer " + good}, 200},
		"two that differ":        {"", []string{"x-api-key: " + other, "Authorization: Bearer " + good}, 401},
		"one good, one empty":    {"", []string{"x-api-key: ", "Authorization: Bearer " + good}, 401},
		"bearer twice":           {"", []string{"Authorization: Bearer " + good, "Authorization: Bearer " + other}, 401},
		"the same bearer twice":  {"", []string{"Authorization: Bearer " + good, "Authorization: Bearer " + good}, 401},
		"x-api-key twice":        {"", []string{"x-api-key: " + good, "x-api-key: " + good}, 401},
		"two in one line":        {"", []string{"Authorization: Bearer " + good + ", Bearer " + good}, 401},
		"basic":                  {"", []string{"Authorization: Basic " + good}, 401},
		"no scheme":              {"", []string{"Authorization: " + good}, 401},
		"a tab":                  {"", []string{"Authorization: Bearer\t" + good}, 401},
		"bearer alone":           {"", []string{"Authorization: Bearer"}, 401},
		"bearer of nothing":      {"", []string{"Authorization: Bearer "}, 401},
		"nothing":                {"", nil, 401},
		"an underscore":          {"", []string{"X_Api_Key: " + good}, 401},
		"another vendor's name":  {"", []string{"api-key: " + good}, 401},
		"a cookie":               {"", []string{"Cookie: token=" + good}, 401},
		"proxy authorization":    {"", []string{"Proxy-Authorization: Bearer " + good}, 401},
		"key in the query":       {"?key=" + good, nil, 401},
		"token in the query":     {"?token=" + good, nil, 401},
		"access_token":           {"?access_token=" + good + "&api_key=" + good, nil, 401},
		"a token in letters":     {"", []string{"x-api-key: " + strings.ToUpper(good)}, 401},
		"a token cut":            {"", []string{"x-api-key: " + good[:len(good)-1]}, 401},
		"its hash":               {"", []string{"x-api-key: " + strings.Repeat("0123456789abcdef", 4)}, 401},
		"far too long":           {"", []string{"x-api-key: " + strings.Repeat("x", 20_000)}, 401},
		"bytes that are no text": {"", []string{"x-api-key: \xff\xfe" + good}, 401},
		"an injection":           {"", []string{"x-api-key: ' OR '1'='1' -- ....."}, 401},
	} {
		t.Run(name, func(t *testing.T) {
			w := dialWire(t, app)
			w.send("POST /v1/chat/completions" + tt.path + " HTTP/1.1\r\nHost: relay.test\r\n" + strings.Join(append(tt.header, bodyLength), "\r\n") + "\r\n\r\n" + chatBody)
			a := w.answer(http.MethodPost)
			if tt.want == 401 {
				isRefused(t, a, good)
				return
			}
			if accepted++; a.StatusCode != http.StatusOK {
				t.Errorf("%d %s", a.StatusCode, a.Body)
			}
		})
	}
	if up.Count() != accepted {
		t.Errorf("%d requests reached the upstream, want %d", up.Count(), accepted)
	}
}

// A token may be bound to networks. Where the client is, proxies that are trusted
// tell, and nobody else.
func TestTokenIsBoundToItsNetworks(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")}
	loopback, local := netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")
	direct, _ := one(t, nil)
	behind, up := oneWith(t, nil, func(c *config.Config) { c.Server.TrustedProxies = []netip.Prefix{loopback, local} })
	for name, tt := range map[string]struct {
		app  *testapp.App
		from []string // X-Forwarded-For, line by line
		want int
	}{
		"nobody is trusted":            {direct, []string{"192.0.2.7"}, 403},
		"nobody is trusted, no header": {direct, nil, 403},
		"told by a proxy":              {behind, []string{"192.0.2.7"}, 200},
		"told by two proxies":          {behind, []string{"192.0.2.7, 10.0.0.1"}, 200},
		"told on two lines":            {behind, []string{"192.0.2.7", "10.1.1.1, 10.0.0.1"}, 200},
		"over IPv6":                    {behind, []string{"2001:db8::7"}, 200},
		"mapped":                       {behind, []string{"::ffff:192.0.2.7"}, 200},
		"a lie before the truth":       {behind, []string{"192.0.2.7, 198.51.100.9"}, 403},
		"a lie on a line before":       {behind, []string{"192.0.2.7", "198.51.100.9, 10.0.0.1"}, 403},
		"elsewhere":                    {behind, []string{"198.51.100.9"}, 403},
		"not an address":               {behind, []string{"192.0.2.7, unknown"}, 403},
		"an address and a port":        {behind, []string{"192.0.2.7:80"}, 403},
		"nothing":                      {behind, []string{""}, 403},
		"no header":                    {behind, nil, 403},
		"proxies alone":                {behind, []string{"10.0.0.1, 10.0.0.2"}, 403},
	} {
		t.Run(name, func(t *testing.T) {
			token := tt.app.NewToken(t, account.TokenSpec{User: "owner", Name: name, Networks: networks})
			req := tt.app.Request(t, http.MethodPost, "/v1/chat/completions", chatBody, "Authorization", "Bearer "+token,
				"X-Real-Ip", "192.0.2.7", "Forwarded", "for=192.0.2.7", "X-Client-Ip", "192.0.2.7", "X_forwarded_for", "192.0.2.7")
			req.Header["X-Forwarded-For"] = tt.from
			before := up.Count()
			a := tt.app.Ask(t, req)
			if tt.want == 403 {
				isFault(t, a, fault{403, "permission_error", "forbidden", ""})
				if up.Count() != before {
					t.Error("the upstream was asked")
				}
			} else if a.StatusCode != tt.want || up.Count() != before+1 {
				t.Errorf("%d %s", a.StatusCode, a.Body)
			}
		})
	}
}
