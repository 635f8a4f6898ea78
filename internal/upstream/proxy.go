package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"realms/internal/netguard"
	"realms/internal/realm"
)

// readProxy reads a proxy's URL; nil for none. The error does not repeat it: it
// may hold a password.
func readProxy(proxy realm.Secret) (*url.URL, error) {
	if proxy == "" {
		return nil, nil //nolint:nilnil // no proxy is no error
	}
	u, err := url.Parse(proxy.Reveal())
	if err != nil {
		return nil, errors.New("the proxy's url cannot be parsed")
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, errors.New("the proxy's url is none of http, https, socks5 and socks5h")
	}
	if u.Hostname() == "" {
		return nil, errors.New("the proxy's url has no host")
	}
	return u, nil
}

// useProxy sends a transport's connections through a proxy, which resolves the
// upstream's name, with socks5 as with socks5h. Its address is dialled, and so
// judged, like any other.
func useProxy(t *http.Transport, proxy *url.URL) {
	if proxy.Scheme == "https" {
		// net/http would offer HTTP/2 to the proxy and then speak HTTP/1.1 to it.
		// So the dialer brings TLS along, and net/http knows of none.
		plain := *proxy
		plain.Scheme = "http"
		if proxy.Port() == "" {
			plain.Host = net.JoinHostPort(proxy.Hostname(), "443")
		}
		secure := t.TLSClientConfig.Clone()
		secure.ServerName = proxy.Hostname()
		t.DialContext = dialTLS(t.DialContext, secure)
		proxy = &plain
	}
	if strings.HasPrefix(proxy.Scheme, "socks") {
		t.DialContext = dialSocks(t.DialContext)
	}
	t.Proxy = http.ProxyURL(proxy)
	t.OnProxyConnectResponse = func(_ context.Context, _ *url.URL, _ *http.Request, res *http.Response) error {
		if res.StatusCode == http.StatusOK {
			return nil
		}
		return errors.New("the proxy refused the connection: " + statusText(res.StatusCode))
	}
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

func dialTLS(dial dialFunc, c *tls.Config) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if err != nil {
			return nil, err
		}
		// net/http dials on when the request has given up.
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		secure := tls.Client(raw, c)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return secure, nil
	}
}

// dialSocks bounds the time in which a proxy must have answered: net/http's own
// client waits for ever, even when the request has given up.
func dialSocks(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		raw, err := dial(ctx, network, address)
		if c, ok := raw.(*conn); ok && err == nil {
			c.socks = true
			err = c.SetDeadline(time.Now().Add(handshakeTimeout))
		}
		return raw, err
	}
}

// errNumber is a host that some resolvers take for an address, and others not.
var errNumber = errors.New("base url's host is a number and no address")

// checkTarget judges a host that a proxy will dial, if it is an address and not a
// name: behind the proxy nobody else does.
func checkTarget(g *netguard.Guard, host string) error {
	host = strings.TrimSuffix(host, ".")
	if addr, err := netip.ParseAddr(host); err == nil {
		return g.Check(addr)
	}
	// "127.1", "0x7f000001" and "2130706433" are addresses to inet_aton.
	last := strings.ToLower(host[strings.LastIndexByte(host, '.')+1:])
	if hex, ok := strings.CutPrefix(last, "0x"); ok && strings.Trim(hex, "0123456789abcdef") == "" || isNumber(last) {
		return errNumber
	}
	return nil
}
