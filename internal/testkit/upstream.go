package testkit

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

// patience is how long the helpers wait before they end a test.
const patience = 10 * time.Second

// Protocol is how an Upstream is spoken to.
type Protocol int

// The protocols of an Upstream.
const (
	HTTP1 Protocol = iota // in the clear
	TLS                   // HTTP/1.1 over TLS
	H2                    // HTTP/2 over TLS
)

// Options configure an Upstream; the zero value is a healthy one over HTTP/1.1.
type Options struct {
	Protocol Protocol
	// Script chooses what goes wrong with a request; nil answers all of them well.
	Script Script
	// Early is asked when a request's header has come and its body has not. A Fault
	// that it gives is answered at once; the body is read afterwards (HTTP/1) or not
	// at all (HTTP/2).
	Early Script
	// TLSFault breaks the handshake; TLS and H2 only.
	TLSFault TLSFault
}

// Upstream is a fake OpenAI-compatible provider on a free port of 127.0.0.1.
type Upstream struct {
	// URL is scheme and authority; BaseURL is URL + "/v1".
	URL, BaseURL string
	// RootCAs trust the certificate of the TLS variants.
	RootCAs *x509.CertPool

	options  Options
	listener net.Listener
	h2       *http.Server
	ctx      context.Context
	stop     context.CancelFunc
	wg       sync.WaitGroup

	mu       sync.Mutex
	script   Script
	requests []*Request
	conns    map[net.Conn]struct{}
	accepted int
}

// NewUpstream starts an upstream that ends with the test.
func NewUpstream(t testing.TB, o Options) *Upstream {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	u := &Upstream{options: o, listener: listener, script: o.Script, conns: map[net.Conn]struct{}{}}
	u.ctx, u.stop = context.WithCancel(context.Background())
	scheme := "http://"
	var config *tls.Config
	if o.Protocol != HTTP1 {
		scheme = "https://"
		config, u.RootCAs = serverTLS(t, o)
	}
	u.URL = scheme + listener.Addr().String()
	u.BaseURL = u.URL + "/v1"
	if o.Protocol == H2 && o.TLSFault == TLSGood {
		u.h2 = u.h2Server(config)
		u.wg.Go(func() { _ = u.h2.ServeTLS(countingListener{u}, "", "") })
	} else {
		u.wg.Go(func() { u.accept(config) })
	}
	t.Cleanup(u.Close)
	return u
}

// Close ends the upstream and every connection to it. Tests call it to let an
// upstream go down; it may be called again.
func (u *Upstream) Close() {
	u.stop()
	_ = u.listener.Close()
	if u.h2 != nil {
		_ = u.h2.Close()
	}
	u.mu.Lock()
	for c := range u.conns {
		_ = c.Close()
	}
	u.mu.Unlock()
	u.wg.Wait()
}

// CloseIdle cuts all connections at once, as a server does that has waited long
// enough for the next request.
func (u *Upstream) CloseIdle() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.conns {
		_ = c.Close()
	}
}

// SetScript changes the script for the requests to come.
func (u *Upstream) SetScript(s Script) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.script = s
}

// Requests are those that came so far, in order of their numbers.
func (u *Upstream) Requests() []*Request {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]*Request(nil), u.requests...)
}

// Count is the number of requests that came so far.
func (u *Upstream) Count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.requests)
}

// Connections is the number of connections that were ever accepted.
func (u *Upstream) Connections() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.accepted
}

// WaitRequests returns the first n requests once they have come, and ends the
// test if they do not in time.
func (u *Upstream) WaitRequests(t testing.TB, n int) []*Request {
	t.Helper()
	Poll(t, "requests at the fake upstream", func() bool { return u.Count() >= n })
	return u.Requests()[:n]
}

// Poll returns when ok does, and ends the test if that takes too long.
func Poll(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
		<-time.After(time.Millisecond)
	}
}

func (u *Upstream) accept(config *tls.Config) {
	for {
		c, err := u.listener.Accept()
		if err != nil {
			return
		}
		if !u.track(c) {
			return
		}
		u.wg.Go(func() {
			defer u.forget(c)
			u.serveConn(c, config)
		})
	}
}

// track remembers a connection, unless the upstream has ended meanwhile.
func (u *Upstream) track(c net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ctx.Err() != nil {
		_ = c.Close()
		return false
	}
	u.accepted++
	u.conns[c] = struct{}{}
	return true
}

func (u *Upstream) forget(c net.Conn) {
	_ = c.Close()
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.conns, c)
}

// serveConn speaks HTTP/1.1 by hand, so that a fault may write what it likes.
func (u *Upstream) serveConn(raw net.Conn, config *tls.Config) {
	c := raw
	if config != nil {
		if brokenHandshake(u.ctx, raw, u.options.TLSFault) {
			return
		}
		secure := tls.Server(raw, config)
		if secure.HandshakeContext(u.ctx) != nil {
			return
		}
		c = secure
	}
	br := bufio.NewReader(c)
	for served := 0; ; served++ {
		req, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if !u.serve(c, raw, br, req, served > 0) {
			return
		}
	}
}

// serve answers one request and tells whether the connection lives on.
func (u *Upstream) serve(c, raw net.Conn, br *bufio.Reader, req *http.Request, reused bool) bool {
	r := newRequest(req, reused)
	fault := Fault(nil)
	if u.options.Early != nil {
		fault = u.options.Early(r)
	}
	early := fault != nil
	if !early {
		var err error
		if r.Body, err = io.ReadAll(req.Body); err != nil {
			return false
		}
		r.read()
	}
	u.record(r)
	if !early {
		fault = u.choose(r)
	}
	a := Compose(r, Reply{})
	if fault != nil {
		fault(r, a)
	}
	ctx, cancel := context.WithCancelCause(u.ctx)
	defer cancel(nil)
	watched := make(chan error, 1)
	if early {
		watched <- nil
	} else {
		u.wg.Go(func() { watched <- u.watch(br, r, cancel) })
	}
	alive := deliverHTTP1(ctx, c, raw, r, a)
	r.finish()
	if early {
		_, err := io.Copy(io.Discard, req.Body)
		alive = alive && err == nil
	}
	if !alive || req.Close {
		_ = c.Close()
		<-watched
		return false
	}
	return <-watched == nil
}

// watch waits for the client's next bytes: none come before the answer's end
// unless the client goes away.
func (u *Upstream) watch(br *bufio.Reader, r *Request, cancel context.CancelCauseFunc) error {
	_, err := br.Peek(1)
	if err != nil {
		r.cancel()
		cancel(errClientGone)
	}
	return err
}

var errClientGone = errors.New("the client went away")

func (u *Upstream) record(r *Request) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r.Number = len(u.requests) + 1
	u.requests = append(u.requests, r)
}

func (u *Upstream) choose(r *Request) Fault {
	u.mu.Lock()
	script := u.script
	u.mu.Unlock()
	if script == nil {
		return nil
	}
	return script(r)
}
