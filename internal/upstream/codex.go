package upstream

import (
	"errors"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"realms/internal/realm"
)

// DefaultCodexBackend is the only place an account's tokens go to, the issuer apart.
const DefaultCodexBackend = "https://chatgpt.com/backend-api"

// codexPath is where the backend keeps what OpenAI's API has below /v1.
const codexPath = "/codex"

var (
	errIdentity = errors.New("the credential is not signed in, or its access token is no token")
	errBackend  = errors.New("the codex backend is neither the provider's own nor a loopback address")
)

// CheckCodexBackend says why an address may not stand in for DefaultCodexBackend. A
// token shown to anybody else would be given away, so only a test's server, on a
// literal loopback address, may.
func CheckCodexBackend(address string) error {
	if address == "" || address == DefaultCodexBackend {
		return nil
	}
	u, err := parseBase(address)
	if err != nil {
		return err
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err != nil || !ip.IsLoopback() || u.RawQuery != "" {
		return errBackend
	}
	return nil
}

// codexBackend is what all exchanges with the backend have in common.
type codexBackend struct {
	base      *url.URL // nil: err says why nothing is sent
	err       error
	userAgent string
	cookies   cookieJars
}

func newCodexBackend(o *Options) *codexBackend {
	b := &codexBackend{userAgent: "realms"}
	if o.Version != "" && printable(o.Version) {
		b.userAgent += "/" + o.Version
	}
	address := o.CodexBackend
	if address == "" {
		address = DefaultCodexBackend
	}
	if b.err = CheckCodexBackend(address); b.err == nil {
		b.base, b.err = parseBase(strings.TrimRight(address, "/"))
	}
	return b
}

// onCodex tells whether an exchange goes to the Codex backend.
func onCodex(x *Exchange) bool {
	return x.Attempt.Channel != nil && x.Attempt.Channel.Type == realm.CodexOAuth
}

// codexRequest builds what is sent to the backend: the endpoint's base URL and the
// credential's key play no part.
func (e *Executor) codexRequest(x *Exchange) (*http.Request, *Failure) {
	if !shows(x.Identity) {
		return nil, &Failure{Outcome: realm.Outcome{
			Cause: realm.CauseAuth, Scope: realm.ScopeCredential, Next: realm.NextOther, Err: errIdentity,
		}}
	}
	u, err := e.codex.url(x.Path, x.RawQuery)
	if err != nil {
		return nil, badTarget(err)
	}
	if settings(x).Proxy != "" {
		if err := checkTarget(e.guard, u.Hostname()); err != nil {
			return nil, badTarget(err)
		}
	}
	req := &http.Request{
		Method: x.Method, URL: u, Host: u.Host,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: e.codex.headersUp(x), Body: x.Body, ContentLength: x.Length,
	}
	e.codex.cookies.add(x, req)
	return req, nil
}

// shows tells whether an identity can be shown in a header.
func shows(id *realm.CodexIdentity) bool {
	return id != nil && id.AccessToken != "" && id.AccountID != "" && printable(id.AccessToken.Reveal()) && printable(id.AccountID)
}

// url is the address of a path below /v1 at the backend.
func (b *codexBackend) url(path, rawQuery string) (*url.URL, error) {
	if b.err != nil {
		return nil, b.err
	}
	decoded, err := checkPath(path)
	if err != nil {
		return nil, err
	}
	return &url.URL{
		Scheme: b.base.Scheme, Host: b.base.Host,
		Path: b.base.Path + codexPath + decoded, RawPath: b.base.EscapedPath() + codexPath + path,
		RawQuery: cleanQuery(rawQuery),
	}, nil
}
