package main

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"realms/internal/codex"
)

// Where a browser comes back to after a sign-in. The provider knows this address
// and no other.
const (
	callbackAddr = "127.0.0.1:1455"
	callbackPath = "/auth/callback"
	callbackURL  = "http://localhost:1455" + callbackPath
)

// farewell is how long the browser has to fetch its last page.
const farewell = 5 * time.Second

func (c *cli) loginByBrowser(ctx context.Context, accounts *codex.Service, to codex.Target) (*codex.Account, error) {
	// Before the sign-in is begun: without the port there is no use in it.
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", callbackAddr)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be listened on (%s): another sign-in may be under way, of Realms or the Codex CLI; wait for its end, or use --paste", callbackAddr, innermost(err))
	}
	in, err := accounts.StartBrowser(ctx, actor, to)
	if err != nil {
		return nil, errors.Join(stopped(ctx, err), listener.Close())
	}
	err = c.print([]string{
		"To sign in for " + in.Channel + "/" + in.Credential + ", open this page in a browser on this machine:", "", "  " + in.URL, "",
		"It has time until " + clock(in.ExpiresAt, time.Now()) + ". Waiting; Ctrl-C gives up.",
	})
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	ctx, cancel := context.WithDeadlineCause(ctx, in.ExpiresAt, errLoginOver)
	defer cancel()
	b := &callback{state: in.State, begun: make(chan struct{}), done: make(chan struct{}), finish: func(address string) (*codex.Account, error) {
		return accounts.FinishBrowser(ctx, actor, address)
	}}
	return b.serve(ctx, listener)
}

// callback waits for the one request that a sign-in ends with. Whatever else comes,
// such as a web page's guess at the address, changes nothing.
type callback struct {
	state  string
	finish func(address string) (*codex.Account, error)

	once    sync.Once
	begun   chan struct{} // closed once the request has come
	done    chan struct{} // closed once there is a result
	account *codex.Account
	err     error
}

func (b *callback) serve(ctx context.Context, listener net.Listener) (*codex.Account, error) {
	srv := &http.Server{Handler: b, ReadTimeout: farewell, MaxHeaderBytes: 64 << 10}
	failed := make(chan error, 1)
	go func() { failed <- srv.Serve(listener) }()
	var err error
	select {
	case <-b.done:
	case <-ctx.Done():
	case err = <-failed:
		return nil, fmt.Errorf("wait for the browser: %w", err)
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if srv.Shutdown(last) != nil {
		_ = srv.Close() // the browser has had its time
	}
	<-failed
	select {
	case <-b.begun: // what came in the last moment is brought to its end
		<-b.done
		return b.account, b.err
	default:
		return nil, ended(ctx)
	}
}

func (b *callback) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Host != "localhost:1455" && r.Host != callbackAddr: // a name that somebody else points here
		page(w, http.StatusMisdirectedRequest, "This address is not served here.")
	case r.URL.Path != callbackPath:
		page(w, http.StatusNotFound, "There is nothing here.")
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		page(w, http.StatusMethodNotAllowed, "Only GET is allowed here.")
	case subtle.ConstantTimeCompare([]byte(r.URL.Query().Get("state")), []byte(b.state)) != 1:
		page(w, http.StatusBadRequest, "This is not the sign-in that Realms waits for. Open the page that it printed last.")
	default:
		b.arrive(w, r.URL.RawQuery)
	}
}

// arrive ends the sign-in and tells the browser.
func (b *callback) arrive(w http.ResponseWriter, query string) {
	first := false
	b.once.Do(func() {
		first = true
		close(b.begun)
		b.account, b.err = b.finish(callbackURL + "?" + query)
		close(b.done)
	})
	switch {
	case !first:
		page(w, http.StatusGone, "This sign-in is over. The terminal says what came of it.")
	case b.err != nil:
		page(w, http.StatusBadRequest, "The sign-in did not succeed: "+words(b.err))
	default:
		page(w, http.StatusOK, "You are signed in, and Realms has what it needs. This window can be closed.")
	}
}

// page answers with a plain text, which no browser takes for more.
func page(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Connection", "close")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text+"\n") // the browser may be gone
}
