package relay

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/codex"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/store"
	"realms/internal/store/storetest"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
	"realms/internal/testkit/testapp"
)

const accountModel = "gpt-5.5"

// accountOptions say how a world with the operator's own accounts begins.
type accountOptions struct {
	fake codextest.Options
	// paid: beside the accounts stands a channel with an API key, asked after them;
	// its script says what goes wrong there.
	paid       bool
	paidScript testkit.Script
	// credentials of the channel of accounts; nil: one.
	credentials []string
	channel     func(*spec)
	configure   func(*config.Config)
	program     string
	// old: they signed in eleven days ago, so that the tokens that they were given are
	// over for the fake; expire lets Realms know.
	old bool
}

// accounts is a world whose model the operator's own accounts offer.
type accounts struct {
	*world
	fake  *codextest.Fake
	clock *fakeClock
	paid  *testkit.Upstream // nil: there is none
	// signedIn is how many questions to the issuer the beginning took.
	signedIn int
}

// fakeClock is the fake's: real time, moved.
type fakeClock struct{ offset atomic.Int64 }

func (c *fakeClock) now() time.Time       { return time.Now().Add(time.Duration(c.offset.Load())) }
func (c *fakeClock) move(d time.Duration) { c.offset.Store(int64(d)) }

func newAccounts(t testing.TB, o accountOptions) *accounts {
	t.Helper()
	a := &accounts{clock: &fakeClock{}}
	o.fake.Now = a.clock.now
	if o.old {
		a.clock.move(-11 * 24 * time.Hour)
	}
	a.fake = codextest.Start(t, o.fake)
	a.start(t, o, "")
	a.signedIn = a.fake.Calls(codextest.PathToken)
	return a
}

// start runs an app before the fake: the first, or, with a token, another over the
// same store.
func (a *accounts) start(t testing.TB, o accountOptions, token string) {
	t.Helper()
	credentials := o.credentials
	if credentials == nil {
		credentials = []string{"main"}
	}
	mine := testapp.CodexChannel("mine", credentials...)
	mine.Priority, mine.Bindings = 100, []realm.Binding{{Model: accountModel, Upstream: accountModel}}
	for i := range mine.Endpoints[0].Credentials {
		mine.Endpoints[0].Credentials[i].Priority = 100 - i
	}
	if o.channel != nil {
		o.channel(&mine)
	}
	channels := []catalog.ChannelSpec{mine}
	var key string
	if o.paid {
		if a.paid == nil {
			a.paid = testkit.NewUpstream(t, testkit.Options{Script: o.paidScript})
		}
		key = "test-" + strings.ToLower(realm.NewRequestID(time.Now(), 1, 2).String())
		paid := testapp.Channel("paid", a.paid.BaseURL, key)
		paid.Endpoints[0].Credentials[0].Name = "key"
		paid.Bindings = mine.Bindings
		channels = append(channels, paid)
	}
	a.world = startWorld(t, testapp.Options{
		Codex: a.fake, Channels: channels, Configure: o.configure, Token: token, Program: o.program,
		Models: []realm.Model{{Name: accountModel, OwnedBy: "test", Enabled: true}},
	})
	if o.paid && token == "" {
		a.secrets = append(a.secrets, key)
	}
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Errorf("stop the app: %v", err)
		}
		a.noTrace(t, "the log", a.log.String())
	})
}

// ask asks for the accounts' model.
func (a *accounts) ask(t testing.TB, f form, header ...string) *answer {
	t.Helper()
	return a.do(a.request(t, f, header...))
}

func (a *accounts) request(t testing.TB, f form, header ...string) *http.Request {
	t.Helper()
	return a.Request(t, http.MethodPost, f.path, strings.ReplaceAll(f.body, "%s", accountModel), header...)
}

// asked is how often the backend was asked for an answer, and renewed how often the
// issuer for new tokens.
func (a *accounts) asked() int   { return a.fake.Calls(codextest.PathResponses) }
func (a *accounts) renewed() int { return a.fake.Calls(codextest.PathToken) - a.signedIn }

// counts fails unless backend, issuer and the paid channel were asked so often.
func (a *accounts) counts(t testing.TB, asked, renewed, paid int) {
	t.Helper()
	got := 0
	if a.paid != nil {
		got = a.paid.Count()
	}
	if a.asked() != asked || a.renewed() != renewed || got != paid {
		t.Errorf("the account was asked %d times, renewed %d times, the paid channel asked %d times; want %d, %d, %d",
			a.asked(), a.renewed(), got, asked, renewed, paid)
	}
}

// good fails unless an answer is one.
func (a *accounts) good(t testing.TB, got *answer) {
	t.Helper()
	if got.Response == nil || got.StatusCode != http.StatusOK || got.err != nil || !strings.Contains(got.body, "upstream") {
		t.Fatalf("no good answer: %v %+v\n%.2000s", got.err, got.Response, got.body)
	}
	a.noTrace(t, "the answer", got.body+headerText(got.Header))
}

// refused fails unless an answer is an error of ours of this kind; it gives the
// error object.
func (a *accounts) refused(t testing.TB, got *answer, status int, kind, code string) map[string]any {
	t.Helper()
	var body struct {
		Error map[string]any `json:"error"`
	}
	if got.Response == nil {
		t.Fatalf("no answer: %v", got.err)
	}
	if err := json.Unmarshal([]byte(got.body), &body); err != nil || got.StatusCode != status || body.Error["type"] != kind || orEmpty(body.Error["code"]) != code {
		t.Fatalf("answer is %d %s, want %d %s %s (%v)", got.StatusCode, got.body, status, kind, code, err)
	}
	a.noTrace(t, "the answer", got.body+headerText(got.Header))
	return body.Error
}

// orEmpty is a text of an error object, which may be null.
func orEmpty(v any) string {
	text, _ := v.(string)
	return text
}

func headerText(h http.Header) string {
	var b strings.Builder
	_ = h.Write(&b)
	return "\n" + b.String()
}

// causes is how a request's attempts ended.
func causes(rec realm.RequestRecord) string {
	var list []string
	for _, try := range rec.Tries {
		list = append(list, string(try.Cause))
	}
	return strings.Join(list, " ")
}

// row waits for an answer's row, which must not show the account.
func (a *accounts) row(t testing.TB, got *answer) realm.RequestRecord {
	t.Helper()
	rec := a.Record(t, got.Response)
	text, err := json.Marshal(rec)
	if err != nil {
		t.Fatal(err)
	}
	a.noTrace(t, "the row", string(text))
	return rec
}

// allRows waits until there are n rows.
func (a *accounts) allRows(t testing.TB, n int) (all []realm.RequestRecord) {
	t.Helper()
	testkit.Poll(t, "the rows", func() bool {
		all = a.rows(t)
		return len(all) >= n
	})
	return all
}

// list is what operators see of the accounts.
func (a *accounts) list(t testing.TB) []*codex.Account {
	t.Helper()
	list, err := a.Codex.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(list)
	if err != nil {
		t.Fatal(err)
	}
	a.noToken(t, "the list of accounts", string(text))
	return list
}

// expire makes the access tokens of all accounts such that have been over for a
// while, as after a night. They come from accountOptions.old.
func (a *accounts) expire(t testing.TB) {
	t.Helper()
	past := time.Now().Add(-time.Hour).UnixMilli()
	_, err := storetest.Raw(t, a.Config.StoreDSN()).ExecContext(t.Context(), "UPDATE codex_accounts SET refreshed_at = ?, expires_at = ?", past-1000, past)
	if err != nil {
		t.Fatal(err)
	}
	a.clock.move(0)
	a.reread(t)
}

// reread has the app read all accounts again.
func (a *accounts) reread(t testing.TB) {
	t.Helper()
	var changes []store.Change
	for _, one := range a.list(t) {
		changes = append(changes, store.Change{Kind: store.KindCodexAccount, ID: one.CredentialID})
	}
	if err := a.Codex.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
}

// tokens are all that the fake has ever given, and what was exchanged for them.
func (a *accounts) tokens(t testing.TB) []string {
	t.Helper()
	list := a.fake.Issued()
	for _, r := range a.fake.Server.Requests() {
		for _, field := range []string{"code", "code_verifier", "device_auth_id"} {
			if form, err := url.ParseQuery(string(r.Body)); err == nil && form.Get(field) != "" {
				list = append(list, form.Get(field))
			}
			if v, ok := r.JSON()[field].(string); ok && v != "" {
				list = append(list, v)
			}
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// noTrace fails if a text has anything of a token, or the account's id.
func (a *accounts) noTrace(t testing.TB, where, text string) {
	t.Helper()
	a.noToken(t, where, text)
	if at := strings.Index(text, codextest.AccountID); at >= 0 {
		t.Errorf("%s names the account: …%s…", where, text[max(0, at-80):min(len(text), at+80)])
	}
}

func (a *accounts) noToken(t testing.TB, where, text string) {
	t.Helper()
	noPiece(t, where, text, a.tokens(t))
}

// pieceOfToken is how much of a secret is too much.
const pieceOfToken = 12

// noPiece fails if a text has a piece of a secret: as it is, in base64 or in hex. The
// head that all tokens of the kind begin with is no secret.
func noPiece(t testing.TB, where, text string, secrets []string) {
	t.Helper()
	pieces := map[string]struct{}{}
	add := func(s string) {
		for i := 0; i+pieceOfToken <= len(s); i++ {
			pieces[s[i:i+pieceOfToken]] = struct{}{}
		}
	}
	for _, s := range secrets {
		_, body, _ := strings.Cut(s, ".")
		if body == "" {
			body = s
		}
		add(body)
		add(hex.EncodeToString([]byte(body)))
		add(strings.ToUpper(hex.EncodeToString([]byte(body))))
		for shift := range 3 {
			whole := body[shift : shift+(len(body)-shift)/3*3]
			add(base64.StdEncoding.EncodeToString([]byte(whole)))
			add(base64.RawURLEncoding.EncodeToString([]byte(whole)))
		}
	}
	for i := 0; i+pieceOfToken <= len(text); i++ {
		if _, found := pieces[text[i:i+pieceOfToken]]; found {
			t.Errorf("%s holds a piece of a secret at %d: …%s…", where, i, text[max(0, i-60):min(len(text), i+60)])
			return
		}
	}
}

// target is the credential that the tests sign in for.
var target = codex.Target{Channel: "mine", Credential: "main"}
