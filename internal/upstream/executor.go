package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/url"
	"time"

	"realms/internal/netguard"
	"realms/internal/realm"
)

// Limits of the connections. Nothing of them is a setting: they protect this
// process, and no upstream that behaves comes near.
const (
	maxHeaderBytes    = 64 << 10
	maxErrorBody      = 64 << 10
	maxIdlePerHost    = 1024
	idleConnTimeout   = 30 * time.Second // below the keep-alive time of common servers
	handshakeTimeout  = 10 * time.Second // a backstop: Timeouts.Connect is the limit
	errorBodyTimeout  = 5 * time.Second
	streamWindow      = 256 << 10 // what an h2 upstream may send ahead of a slow client
	h2PingAfter       = 30 * time.Second
	h2PingTimeout     = 15 * time.Second
	defaultDecodedMax = 64 << 20
)

// Options configure an Executor.
type Options struct {
	Guard *netguard.Guard
	// RootCAs are trusted for TLS; nil means the system's.
	RootCAs *x509.CertPool
	// DecodedLimit bounds what a gzipped 2xx body may inflate to, in bytes; 0 means
	// 64 MiB.
	DecodedLimit int64
	// Now is the clock for dates in headers; nil is time.Now. Time limits run on the
	// runtime's timers.
	Now func() time.Time
	// CodexBackend is where realm.CodexOAuth channels go; "" means DefaultCodexBackend.
	// Any other must pass CheckCodexBackend, or those channels serve nothing.
	CodexBackend string
	// Version is this build's, for the user agent that the Codex backend sees.
	Version string
}

// Executor sends exchanges. It is safe for use by many goroutines.
type Executor struct {
	guard        *netguard.Guard
	outlets      outlets
	urls         urlCache
	codex        *codexBackend
	decodedLimit int64
	now          func() time.Time
}

// New builds an Executor.
func New(o Options) *Executor {
	e := &Executor{guard: o.Guard, codex: newCodexBackend(&o), decodedLimit: o.DecodedLimit, now: o.Now}
	if e.decodedLimit == 0 {
		e.decodedLimit = defaultDecodedMax
	}
	if e.now == nil {
		e.now = time.Now
	}
	e.outlets = outlets{o: &o, now: e.now, plain: *newOutlet(&o, o.RootCAs, nil), made: make(map[outletKey]*madeOutlet)}
	return e
}

// newOutlet makes an outlet that trusts the roots (nil: the system's) and goes
// through a proxy, if there is one.
func newOutlet(o *Options, roots *x509.CertPool, proxy *url.URL) *outlet {
	out := &outlet{pooled: newTransport(o, roots), fresh: newTransport(o, roots)}
	out.fresh.DisableKeepAlives = true
	if proxy != nil {
		useProxy(out.pooled, proxy)
		useProxy(out.fresh, proxy)
	}
	return out
}

func newTransport(o *Options, roots *x509.CertPool) *http.Transport {
	var protocols http.Protocols
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Transport{
		Proxy:                  nil, // the environment's proxies are not ours
		DialContext:            dialer(o.Guard),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
		TLSHandshakeTimeout:    handshakeTimeout,
		DisableCompression:     true, // or 260 KB may become 256 MiB unasked
		MaxIdleConns:           0,    // no limit in all; per host below
		MaxIdleConnsPerHost:    maxIdlePerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: maxHeaderBytes,
		Protocols:              &protocols,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: streamWindow,
			SendPingTimeout:           h2PingAfter,
			PingTimeout:               h2PingTimeout,
		},
	}
}

// Retain lets go of the connections that no channel of the snapshot would use:
// through proxies, and with certificates, that none names any more; and of the
// cookies of credentials that are gone. Exchanges under way go on to their end.
func (e *Executor) Retain(snap *realm.Snapshot) {
	used := make(map[outletKey]struct{})
	for _, ch := range snap.Channels() {
		used[keyOf(&ch.Settings)] = struct{}{}
	}
	e.outlets.retain(used)
	e.codex.cookies.retain(snap)
}

// Close lets idle connections go. Exchanges under way go on.
func (e *Executor) Close() {
	e.outlets.plain.close()
	e.outlets.retain(nil)
}

// call is all that one exchange needs, in one piece of memory.
type call struct {
	attempt  attempt
	body     answerBody
	response Response
}

// Do sends the exchange and waits for the answer's header. Exactly one of the
// results is set. Its time limits and ctx go on to rule the response's Body until
// that is closed.
func (e *Executor) Do(ctx context.Context, x *Exchange) (*Response, *Failure) {
	c := &call{}
	req, failure := e.request(x)
	if failure != nil {
		closeBody(x)
		return nil, failure
	}
	out, err := e.outlets.get(keyOf(settings(x)))
	if err != nil {
		closeBody(x)
		return nil, badTarget(scrubError(err, x))
	}
	ctx = c.attempt.begin(ctx, &x.Timeouts)
	transport := out.pooled
	if x.FreshConn {
		transport = out.fresh
	}
	// RoundTrip and not a Client: redirects are answers here, never followed.
	res, err := transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		c.attempt.finish()
		return nil, c.attempt.classifySendError(err, x)
	}
	first := time.Since(c.attempt.start)
	if onCodex(x) {
		e.codex.cookies.keep(x, req.URL, res)
	}
	if failure := e.refuse(c, x, res); failure != nil {
		failure.FirstByte = first
		return nil, failure
	}
	return e.accept(c, x, res, first), nil
}

// noSettings are those of an exchange without a channel.
var noSettings = &realm.ChannelSettings{}

// settings are the channel's.
func settings(x *Exchange) *realm.ChannelSettings {
	if x.Attempt.Channel == nil {
		return noSettings
	}
	return &x.Attempt.Channel.Settings
}

func closeBody(x *Exchange) {
	if x.Body != nil {
		_ = x.Body.Close()
	}
}

// request builds what is sent. Its context is still to come.
func (e *Executor) request(x *Exchange) (*http.Request, *Failure) {
	if onCodex(x) {
		return e.codexRequest(x)
	}
	u, err := e.urls.join(x.Attempt.Endpoint.BaseURL, x.Path, x.RawQuery)
	if err != nil {
		return nil, badTarget(err)
	}
	if settings(x).Proxy != "" {
		if err := checkTarget(e.guard, u.Hostname()); err != nil {
			return nil, badTarget(err)
		}
	}
	if !printable(x.Attempt.Credential.APIKey.Reveal()) {
		return nil, &Failure{Outcome: realm.Outcome{
			Cause: realm.CauseAuth, Scope: realm.ScopeCredential, Next: realm.NextOther, Err: errKey,
		}}
	}
	return &http.Request{
		Method: x.Method, URL: u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: headersUp(x), Body: x.Body, ContentLength: x.Length,
	}, nil
}

// refuse turns anything but an answer that says it is well into a Failure, and
// closes its body. Nil means that the answer may be read.
func (e *Executor) refuse(c *call, x *Exchange, res *http.Response) *Failure {
	success, err := acceptable(x, res)
	if success {
		var decoded io.Reader
		if decoded, err = decode(res.Header, res.Body, e.decodedLimit); err == nil {
			c.body = answerBody{attempt: &c.attempt, raw: res.Body, decoded: decoded}
			return nil
		}
	}
	defer c.attempt.finish()
	if err != nil {
		_ = res.Body.Close()
		return &Failure{Outcome: BadAnswer(res.StatusCode, err)}
	}
	limit := errorBodyTimeout
	if idle := x.Timeouts.Idle; idle > 0 {
		limit = min(limit, idle)
	}
	c.attempt.enter(phaseError, limit)
	body := readErrorBody(res)
	if c.attempt.parent.Err() != nil {
		return &Failure{Outcome: gone(c.attempt.parent)}
	}
	return e.classify(x, res, body)
}

// accept starts the clock of the body.
func (e *Executor) accept(c *call, x *Exchange, res *http.Response, first time.Duration) *Response {
	length := res.ContentLength
	if _, inflated := c.body.decoded.(*inflater); inflated {
		length = -1
	}
	c.response = Response{
		Status:    res.StatusCode,
		Header:    headersDown(res.Header, x),
		MediaType: mediaType(get(res.Header, "Content-Type")),
		Length:    length,
		Body:      &c.body,
		FirstByte: first,
		Reused:    c.attempt.reused,
		attempt:   &c.attempt,
		idle:      x.Timeouts.Idle,
	}
	if onCodex(x) {
		c.response.Limits, _ = ReadCodexLimits(res.Header, e.now())
	}
	if x.Stream && x.Timeouts.FirstEvent > 0 && c.response.EventStream() {
		c.attempt.enter(phaseEvent, x.Timeouts.FirstEvent)
	} else {
		c.attempt.enter(phaseIdle, x.Timeouts.Idle)
	}
	return &c.response
}

// Cut ends the exchange from any goroutine: a Read under way returns with an error.
// The body must be closed all the same.
func (r *Response) Cut() { r.attempt.cancel() }

// Started says that the first substantive event has been read: from here on
// Timeouts.Idle rules, and FirstEvent no longer.
func (r *Response) Started() { r.attempt.enter(phaseIdle, r.idle) }
