package main

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// anotherAccount is somebody else's than codextest.AccountID.
const anotherAccount = "acc-0002"

// provider is a scenario's fake of the provider of ChatGPT accounts.
type provider struct {
	testing.TB // of all scenarios; what may end a test goes to ts
	ts         *testscript.TestScript
	fake       *codextest.Fake
	secrets    []string     // that were in the store when unseen looked
	late       atomic.Int64 // nanoseconds that its clock is behind
	release    func()       // of block
}

func (p *provider) Helper()                           {}
func (p *provider) Cleanup(f func())                  { p.ts.Defer(f) }
func (p *provider) Fatal(args ...any)                 { p.ts.Fatalf("%v", args) }
func (p *provider) Fatalf(format string, args ...any) { p.ts.Fatalf(format, args...) }

// providerKey finds a scenario's provider among its values.
type providerKey struct{}

// chatgptWords are what chatgpt can be told; an argument that is missing is empty.
var chatgptWords = map[string]func(p *provider, a, b string){
	// start [nodevice]: it is there, for programs that start from then on.
	"start": (*provider).start,
	// confirm CODE [ACCOUNT]: somebody types a device's code into the page.
	"confirm": func(p *provider, code, account string) { p.visitor(account).Confirm(p, code) },
	// deny CODE: somebody refuses there.
	"deny": func(p *provider, code, _ string) { p.fake.Deny(p, code) },
	// visit URL [ACCOUNT]: somebody signs in there. CALLBACK is where the browser ends,
	// CALLBACK_PATH without the host.
	"visit": func(p *provider, address, account string) { p.visit(p.visitor(account), address) },
	// decline URL: somebody refuses there.
	"decline": func(p *provider, address, _ string) {
		p.fake.Refuse(true)
		p.visit(p.fake, address)
		p.fake.Refuse(false)
	},
	// authfile FILE [ACCOUNT]: the Codex CLI signs in, and writes its file.
	"authfile": (*provider).authFile,
	// late DURATION: what is issued from now on was issued so long ago.
	"late": func(p *provider, by, _ string) {
		d, err := time.ParseDuration(by)
		p.ts.Check(err)
		p.late.Store(int64(d))
	},
	// used PERCENT: of the account's first window.
	"used": func(p *provider, percent, _ string) {
		n, err := strconv.ParseFloat(percent, 64)
		p.ts.Check(err)
		p.fake.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows[0].UsedPercent = n })
	},
	// endless: the provider does not say when its first window resets.
	"endless": func(p *provider, _, _ string) {
		p.fake.Change(codextest.AccountID, func(a *codextest.Account) { a.Windows[0].ResetsAt = time.Time{} })
	},
	// elsewhere ORIGIN: the account's workspace is served at another address.
	"elsewhere": func(p *provider, origin, _ string) {
		p.fake.Change(codextest.AccountID, func(a *codextest.Account) { a.Origin = origin })
	},
	// firewall PATH: its page answers the next request of a path.
	"firewall": func(p *provider, path, _ string) { p.fake.Instead(path, codextest.Challenge()) },
	// refuse CODE: no refresh token is taken any more.
	"refuse": func(p *provider, code, _ string) { p.fake.Always(codextest.PathToken, codextest.RefreshRefused(code)) },
	// away PATH: it has no other answer any more than that it has none.
	"away": func(p *provider, path, _ string) {
		p.fake.Always(path, testkit.Status(http.StatusServiceUnavailable, ""))
	},
	// block PATH: answers of a path wait for release; waiting PATH: until one does.
	"block":   func(p *provider, path, _ string) { p.release = p.fake.Block(path) },
	"waiting": func(p *provider, path, _ string) { p.fake.Waiting(p, path, 1) },
	"release": func(p *provider, _, _ string) { p.release() },
	// leased CHANNEL: another process is renewing its account; unleased: it has ended.
	"leased":   func(p *provider, channel, _ string) { p.lease(channel, time.Now().Add(time.Minute)) },
	"unleased": func(p *provider, channel, _ string) { p.lease(channel, time.Now().Add(-time.Minute)) },
	// asked PATH N: so many requests of a path have come.
	"asked": func(p *provider, path, n string) {
		if got := strconv.Itoa(p.fake.Calls(path)); got != n {
			p.ts.Fatalf("%s requests of %s, want %s", got, path, n)
		}
	},
	// unseen FILE: it shows nothing secret of what has gone to the provider, or was in
	// the store when this was asked.
	"unseen": (*provider).unseen,
}

// chatgpt WORD ...: see chatgptWords.
func chatgpt(ts *testscript.TestScript, _ bool, args []string) {
	do := chatgptWords[args[0]]
	if do == nil {
		ts.Fatalf("chatgpt %s is not known here", args[0])
	}
	p := ts.Value(providerKey{}).(*provider)
	p.ts = ts
	args = append(args[1:], "", "")
	do(p, args[0], args[1])
}

func (p *provider) start(how, _ string) {
	another := codextest.DefaultAccount()
	another.ID, another.UserID, another.Email, another.Plan = anotherAccount, "user-0002", "somebody@example.com", "pro"
	p.fake = codextest.Start(p, codextest.Options{
		Accounts: []codextest.Account{codextest.DefaultAccount(), another}, NoDevice: how == "nodevice",
		Now: func() time.Time { return time.Now().Add(-time.Duration(p.late.Load())) },
	})
	p.ts.Setenv("REALMS_CODEX_TEST_ISSUER", p.fake.Issuer())
	p.ts.Setenv("REALMS_CODEX_TEST_BACKEND", p.fake.Backend())
}

// visitor makes an account the one that signs in next; empty: the default one.
func (p *provider) visitor(account string) *codextest.Fake {
	if account == "" {
		account = codextest.AccountID
	}
	p.fake.Visit(account)
	return p.fake
}

func (p *provider) visit(f *codextest.Fake, address string) {
	callback := f.Authorize(p, address)
	p.ts.Setenv("CALLBACK", callback)
	p.ts.Setenv("CALLBACK_PATH", strings.TrimPrefix(callback, "http://localhost:1455"))
}

func (p *provider) authFile(file, account string) {
	if account == "" {
		account = codextest.AccountID
	}
	t := p.fake.SignIn(p, account)
	text, err := json.Marshal(map[string]any{
		"auth_mode": "chatgpt", "OPENAI_API_KEY": nil, "last_refresh": "2026-11-20T10:00:00Z",
		"tokens": map[string]string{
			"id_token": t.ID.Reveal(), "access_token": t.Access.Reveal(), "refresh_token": t.Refresh.Reveal(), "account_id": account,
		},
	})
	p.ts.Check(err)
	p.ts.Check(os.WriteFile(p.ts.MkAbs(file), text, 0o600))
}

func (p *provider) unseen(file, _ string) {
	shown := p.ts.ReadFile(file)
	p.secrets = append(p.secrets, p.kept()...)
	secrets := append(p.sent(), p.secrets...)
	if len(secrets) < 5 || len(shown) < 1000 {
		p.ts.Fatalf("%d secrets and %d bytes are not enough to tell anything", len(secrets), len(shown))
	}
	for _, secret := range secrets {
		for part := range strings.SplitSeq(secret, ".") { // of a JWT each part by itself
			if len(part) >= 16 && strings.Contains(shown, part) {
				p.ts.Fatalf("%s shows a secret, such as one that begins with %.12s…", file, part)
			}
		}
	}
}

// sent is what the provider was shown: tokens, codes, verifiers, ids of devices.
func (p *provider) sent() (secrets []string) {
	for _, r := range p.fake.Server.Requests() {
		if r.Key != "" {
			secrets = append(secrets, r.Key)
		}
		fields := map[string]string{}
		if json.Unmarshal(r.Body, &fields) != nil {
			form, _ := url.ParseQuery(string(r.Body)) // or neither: no secret is in it
			for name := range form {
				fields[name] = form.Get(name)
			}
		}
		for _, name := range []string{"refresh_token", "token", "code", "code_verifier", "device_auth_id"} {
			if fields[name] != "" {
				secrets = append(secrets, fields[name])
			}
		}
	}
	return secrets
}

// lease makes somebody the one who renews a channel's account until a time.
func (p *provider) lease(channel string, until time.Time) {
	ctx, cfg := context.Background(), config.Config{DataDir: filepath.Join(p.ts.Getenv("WORK"), "data")}
	s, err := store.Open(ctx, store.Options{DSN: cfg.StoreDSN()})
	p.ts.Check(err)
	defer func() { p.ts.Check(s.Close()) }()
	state, err := catalog.New(catalog.Options{Store: s}).State(ctx)
	p.ts.Check(err)
	cr := state.Channel(channel).Endpoints[0].Credentials[0]
	p.ts.Check(s.Tx(ctx, func(r store.Repos) error {
		at, err := r.CodexAccounts.Progress(ctx, cr.ID)
		if err != nil {
			return err
		}
		// Whatever lease there is, this one takes its place.
		_, err = r.CodexAccounts.Lease(ctx, cr.ID, at.Version, "somebody", until.Add(time.Hour), until)
		return err
	}))
}

// kept is what the store of the scenario holds now.
func (p *provider) kept() (secrets []string) {
	ctx, cfg := context.Background(), config.Config{DataDir: filepath.Join(p.ts.Getenv("WORK"), "data")}
	s, err := store.Open(ctx, store.Options{DSN: cfg.StoreDSN()})
	p.ts.Check(err)
	defer func() { p.ts.Check(s.Close()) }()
	accounts, err := s.Read().CodexAccounts.List(ctx)
	p.ts.Check(err)
	for _, shown := range accounts {
		a, err := s.Read().CodexAccounts.Get(ctx, shown.Credential)
		p.ts.Check(err)
		secrets = append(secrets, a.Tokens.ID.Reveal(), a.Tokens.Access.Reveal(), a.Tokens.Refresh.Reveal())
	}
	return secrets
}
