// Package testapp runs a whole Realms process inside a test, or beside it the real
// program: a real port of this machine, over a real SQLite file, with the fake
// upstreams of testkit behind it.
//
// It owns starting, asking and stopping one. It is for tests only, and never
// reaches into the app's insides where a request would do.
package testapp

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"realms/internal/account"
	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/server"
	"realms/internal/store"
	"realms/internal/testkit"
	"realms/internal/testkit/codextest"
)

// Options of Start; the zero value is a relay in self mode without a channel.
type Options struct {
	// Configure changes the configuration before the start.
	Configure func(*config.Config)
	// Models and Channels are declared before the start. A channel without groups
	// is in the default one.
	Models   []realm.Model
	Channels []catalog.ChannelSpec
	// Codex stands in for ChatGPT: the use of accounts is accepted, and the fake's
	// visitor signed in for every credential of the Channels that have accounts.
	Codex *codextest.Fake
	// Role of the owner of Token; root when empty.
	Role realm.Role
	// Token is another app's over the same store: its owner is there already, and
	// nothing is declared.
	Token string
	// Log hears the app's log lines; nil: nobody does.
	Log io.Writer
	// Program is the path of a built realms. Where it is given, the app runs as
	// `realms serve`, in a process of its own, and what is in this one is an
	// operator's: Store, Catalog and Accounts are of the same store, and nothing
	// else of App means anything.
	Program string
}

// App is a running Realms.
type App struct {
	*server.App
	URL    string // http://127.0.0.1:port
	Token  string // of the user "owner"
	Client *http.Client

	program *program // nil: it runs in this process
	stop    func() error
}

// Start runs an app until the test ends.
func Start(t testing.TB, o Options) *App {
	t.Helper()
	cfg := config.Default()
	cfg.Server.Addr = "127.0.0.1:0"
	cfg.Server.Drain = 100 * time.Millisecond
	if o.Program != "" {
		cfg.DataDir = programDir(t)
	} else {
		cfg.DataDir = t.TempDir()
	}
	cfg.DB.DSN = config.DSN("sqlite:" + filepath.Join(cfg.DataDir, "realms.db"))
	if o.Codex != nil {
		cfg.Codex.TestIssuer, cfg.Codex.TestBackend = o.Codex.Issuer(), o.Codex.Backend()
	}
	if o.Configure != nil {
		o.Configure(&cfg)
	}
	here, log := cfg, slog.New(slog.DiscardHandler)
	switch {
	case o.Program != "":
		here.Redis.URL = "" // that is the program's
	case o.Log != nil:
		log = slog.New(slog.NewJSONHandler(o.Log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	inner, err := server.Open(t.Context(), here, log)
	if err != nil {
		t.Fatalf("open the app: %v", err)
	}
	a := &App{App: inner, Client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}}
	if a.Token = o.Token; a.Token == "" {
		a.declare(t, o)
	}
	if o.Program != "" {
		a.serve(t, o, cfg)
	} else {
		a.run(t)
	}
	return a
}

// declare fills the store as an operator would.
func (a *App) declare(t testing.TB, o Options) {
	t.Helper()
	ctx := t.Context()
	role := o.Role
	if role == "" {
		role = realm.RoleRoot
	}
	for _, m := range o.Models {
		if _, err := a.Catalog.UpsertModel(ctx, "test", m); err != nil {
			t.Fatalf("declare the model %s: %v", m.Name, err)
		}
	}
	for _, ch := range o.Channels {
		a.Declare(t, ch)
	}
	a.signInAll(t, o)
	_, err := a.Accounts.UpsertUser(ctx, "test", account.UserSpec{Name: "owner", Role: role, Groups: []string{realm.DefaultGroup}, Enabled: true})
	if err != nil {
		t.Fatalf("declare the user: %v", err)
	}
	a.Token = a.NewToken(t, account.TokenSpec{User: "owner", Name: "test"})
}

// Declare makes a channel, or changes it to what is given: the next Request and
// whatever else is asked of the App meet it so.
func (a *App) Declare(t testing.TB, ch catalog.ChannelSpec) {
	t.Helper()
	if ch.Groups == nil {
		ch.Groups = []string{realm.DefaultGroup}
	}
	if _, err := a.Catalog.UpsertChannel(t.Context(), "test", ch); err != nil {
		t.Fatalf("declare the channel %s: %v", ch.Name, err)
	}
	if a.program != nil {
		a.program.declared.Add(1)
	}
}

// Mend has the app forget what it holds against a channel, so that the next request
// meets it as if it were new.
func (a *App) Mend(t testing.TB, channel string) {
	t.Helper()
	if a.program != nil {
		a.known(t)
		if err := a.program.ask(t.Context(), http.MethodPost, "/channels/"+url.PathEscape(channel)+"/mend", nil); err != nil {
			t.Fatal(err)
		}
		return
	}
	snap := a.Catalog.Snapshot()
	ch := snap.Channel(channel)
	if ch == nil {
		t.Fatalf("there is no channel %s", channel)
	}
	a.Scheduler.Mend(snap, ch.ID, 0, time.Now())
}

// NewToken makes another token.
func (a *App) NewToken(t testing.TB, spec account.TokenSpec) string {
	t.Helper()
	text, _, err := a.Accounts.CreateToken(t.Context(), "test", spec)
	if err != nil {
		t.Fatalf("create a token: %v", err)
	}
	return text.Reveal()
}

func (a *App) run(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	a.stop = sync.OnceValue(func() error {
		a.Client.CloseIdleConnections()
		cancel()
		err := <-done
		return errors.Join(err, a.App.Close())
	})
	a.cleanup(t)
	wait, forget := context.WithTimeout(ctx, 10*time.Second)
	defer forget()
	addr, err := a.Addr(wait)
	if err != nil {
		t.Fatalf("the app does not listen: %v", errors.Join(err, a.Stop()))
	}
	a.URL = "http://" + addr
}

func (a *App) cleanup(t testing.TB) {
	t.Cleanup(func() {
		if err := a.Stop(); err != nil {
			t.Errorf("stop the app: %v", err)
		}
	})
}

// Stop ends the app as a signal would, and waits for it. More calls do nothing.
func (a *App) Stop() error { return a.stop() }

// Channel is a channel in front of an upstream with one credential a key, whose
// name is the key. It offers every model.
func Channel(name, baseURL string, keys ...string) catalog.ChannelSpec {
	ch := catalog.ChannelSpec{
		Name: name, Type: realm.OpenAICompatible, Enabled: true, Weight: 1, APIs: realm.AllAPIs,
		Bindings: []realm.Binding{{Model: realm.AnyModel, Upstream: realm.AnyModel}},
	}
	ep := catalog.EndpointSpec{BaseURL: baseURL}
	for _, key := range keys {
		secret := realm.Secret(key)
		ep.Credentials = append(ep.Credentials, catalog.CredentialSpec{Name: key, APIKey: &secret, Enabled: true, Weight: 1})
	}
	ch.Endpoints = []catalog.EndpointSpec{ep}
	return ch
}

// Request makes a request with the owner's token; header pairs follow the body.
func (a *App) Request(t testing.TB, method, path, body string, header ...string) *http.Request {
	t.Helper()
	a.known(t)
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, a.URL+path, r)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+a.Token)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return req
}

// Answer is what came back, read to its end.
type Answer struct {
	*http.Response
	Body string
	Err  error // of reading the body
}

// Ask sends a request and reads the whole answer.
func (a *App) Ask(t testing.TB, req *http.Request) *Answer {
	t.Helper()
	res, err := a.Client.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL.Path, err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	return &Answer{Response: res, Body: string(body), Err: err}
}

// Post sends a JSON body to a path.
func (a *App) Post(t testing.TB, path, body string, header ...string) *Answer {
	t.Helper()
	return a.Ask(t, a.Request(t, http.MethodPost, path, body, header...))
}

// Record waits for the row of the request that an answer came from.
func (a *App) Record(t testing.TB, res *http.Response) realm.RequestRecord {
	t.Helper()
	id, err := realm.ParseRequestID(res.Header.Get("X-Request-Id"))
	if err != nil {
		t.Fatalf("the answer has no request id: %v", err)
	}
	var rec realm.RequestRecord
	testkit.Poll(t, "the row of request "+id.String(), func() bool {
		rec, err = a.Store.Read().Requests.Get(t.Context(), id)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			t.Fatalf("read the request's row: %v", err)
		}
		return err == nil
	})
	return rec
}
