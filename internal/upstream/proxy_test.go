package upstream_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/netguard"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/upstream"
)

// testProxy is a proxy that speaks HTTP (CONNECT and plain) or SOCKS5, asks for a
// user's password if one is set, and resolves names that nobody else knows.
type testProxy struct {
	listener net.Listener
	serve    func(*testProxy, net.Conn) error
	user     string
	password string
	hang     bool
	names    map[string]string // host → address to dial
	open     atomic.Int32      // clients' connections

	mu      sync.Mutex
	targets []string
	conns   map[net.Conn]struct{}
	wg      sync.WaitGroup
}

func startProxy(t *testing.T, p *testProxy) *testProxy {
	t.Helper()
	if p.listener == nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.listener = ln
	}
	p.conns = map[net.Conn]struct{}{}
	p.wg.Go(func() {
		for {
			c, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.hold(c)
			p.open.Add(1)
			p.wg.Go(func() {
				defer p.open.Add(-1)
				if err := p.serve(p, c); err != nil {
					_ = c.Close()
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = p.listener.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.wg.Wait()
	})
	return p
}

func (p *testProxy) hold(c net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns[c] = struct{}{}
}

func (p *testProxy) url(scheme string) realm.Secret {
	u := url.URL{Scheme: scheme, Host: p.listener.Addr().String()}
	if p.user != "" {
		u.User = url.UserPassword(p.user, p.password)
	}
	return realm.Secret(u.String())
}

func (p *testProxy) asked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.targets...)
}

// dial reaches a target for a client.
func (p *testProxy) dial(target string) (net.Conn, error) {
	p.mu.Lock()
	p.targets = append(p.targets, target)
	p.mu.Unlock()
	host, port, err := net.SplitHostPort(target)
	if err != nil {
		return nil, err
	}
	if address, ok := p.names[host]; ok {
		host = address
	}
	c, err := net.Dial("tcp", net.JoinHostPort(host, port))
	if err == nil {
		p.hold(c)
	}
	return c, err
}

func (p *testProxy) join(client io.ReadWriteCloser, in io.Reader, up net.Conn) {
	p.wg.Go(func() {
		_, _ = io.Copy(up, in)
		_ = up.Close()
	})
	_, _ = io.Copy(client, up)
	_ = client.Close()
}

func serveHTTPProxy(p *testProxy, c net.Conn) error {
	br := bufio.NewReader(c)
	for {
		req, err := http.ReadRequest(br)
		if err != nil {
			return err
		}
		if p.hang {
			_, err := io.Copy(io.Discard, br)
			return errors.Join(err, io.EOF)
		}
		want := "Basic " + base64.StdEncoding.EncodeToString([]byte(p.user+":"+p.password))
		if p.user != "" && req.Header.Get("Proxy-Authorization") != want {
			_, err := io.WriteString(c, "HTTP/1.1 407 "+req.Header.Get("Proxy-Authorization")+"\r\nContent-Length: 0\r\n\r\n")
			return errors.Join(err, io.EOF)
		}
		if req.Method == http.MethodConnect {
			up, err := p.dial(req.Host)
			if err != nil {
				return err
			}
			if _, err := io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
				return err
			}
			p.join(c, br, up)
			return nil
		}
		up, err := p.dial(req.URL.Host)
		if err != nil {
			return err
		}
		req.Header.Del("Proxy-Authorization")
		if err := req.Write(up); err != nil {
			return err
		}
		res, err := http.ReadResponse(bufio.NewReader(up), req)
		if err != nil {
			return err
		}
		if err := errors.Join(res.Write(c), up.Close()); err != nil {
			return err
		}
	}
}

func serveSocks(p *testProxy, c net.Conn) error {
	if p.hang {
		_, _ = io.Copy(io.Discard, c)
		return io.EOF
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		return err
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(c, methods); err != nil {
		return err
	}
	if p.user == "" {
		_, _ = c.Write([]byte{5, 0})
	} else {
		_, _ = c.Write([]byte{5, 2})
		said := make([]byte, 3+len(p.user)+len(p.password))
		if _, err := io.ReadFull(c, said); err != nil {
			return err
		}
		if string(said[2:2+len(p.user)]) != p.user || string(said[3+len(p.user):]) != p.password {
			_, _ = c.Write([]byte{1, 1})
			return io.EOF
		}
		_, _ = c.Write([]byte{1, 0})
	}
	target, err := readSocksTarget(c)
	if err != nil {
		return err
	}
	up, err := p.dial(target)
	if err != nil {
		_, _ = c.Write([]byte{5, 4, 0, 1, 0, 0, 0, 0, 0, 0})
		return err
	}
	if _, err := c.Write([]byte{5, 0, 0, 1, 0, 0, 0, 0, 0, 0}); err != nil {
		return err
	}
	p.join(c, c, up)
	return nil
}

func readSocksTarget(c net.Conn) (string, error) {
	head := make([]byte, 4)
	if _, err := io.ReadFull(c, head); err != nil {
		return "", err
	}
	size := net.IPv4len
	if head[3] == 3 {
		one := make([]byte, 1)
		if _, err := io.ReadFull(c, one); err != nil {
			return "", err
		}
		size = int(one[0])
	}
	rest := make([]byte, size+2)
	if _, err := io.ReadFull(c, rest); err != nil {
		return "", err
	}
	host := string(rest[:size])
	if head[3] == 1 {
		host = net.IP(rest[:size]).String()
	}
	return net.JoinHostPort(host, strconv.Itoa(int(binary.BigEndian.Uint16(rest[size:])))), nil
}

// through is a chat request to a base URL by way of a proxy.
func through(proxy realm.Secret, base string) *upstream.Exchange {
	x := chat(base, false)
	x.Attempt.Channel.Settings.Proxy = proxy
	return x
}

// caFile writes the certificate of a TLS upstream, which is its own authority.
func caFile(t *testing.T, u *testkit.Upstream) string {
	t.Helper()
	c, err := tls.Dial("tcp", strings.TrimPrefix(u.URL, "https://"), &tls.Config{RootCAs: u.RootCAs})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.ConnectionState().PeerCertificates[0].Raw})
	name := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(name, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestProxies(t *testing.T) {
	for name, protocol := range protocols {
		for _, scheme := range []string{"http", "socks5", "socks5h"} {
			for _, user := range []string{"", "operator"} {
				t.Run(name+" "+scheme+" "+user, func(t *testing.T) {
					u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol})
					p := &testProxy{serve: serveHTTPProxy, user: user, names: map[string]string{"localhost": "127.0.0.1"}}
					if user != "" {
						p.password = rand.Text() + "+/=@:%"
					}
					if scheme != "http" {
						p.serve = serveSocks
					}
					startProxy(t, p)
					proxy := p.url(scheme)
					e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
					// A name that the proxy is to resolve.
					base := strings.Replace(u.BaseURL, "127.0.0.1", "localhost", 1)
					for i := range 3 {
						x := through(proxy, base)
						x.FreshConn = i == 2
						res := mustDo(t, e, x)
						if got, err := readAll(res); err != nil || !strings.Contains(got, "upstream.") || res.Reused != (i == 1) {
							t.Fatalf("answer %d = %q, %v, reused %v", i, got, err, res.Reused)
						}
					}
					for _, target := range p.asked() {
						if !strings.HasPrefix(target, "localhost:") {
							t.Errorf("the proxy was asked for %s", target)
						}
					}
					if r := u.WaitRequests(t, 3)[0]; r.Key != testKey || r.Header.Get("Proxy-Authorization") != "" {
						t.Errorf("request = %+v", r)
					}
				})
			}
		}
	}
}

func TestProxyOverTLS(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{Protocol: testkit.TLS})
	other := testkit.NewUpstream(t, testkit.Options{})
	cert, leaf := selfSigned(t)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"h2", "http/1.1"}})
	if err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, &testProxy{serve: serveHTTPProxy, listener: ln})
	roots := u.RootCAs.Clone()
	roots.AddCert(leaf)
	e := newExecutor(t, upstream.Options{RootCAs: roots})
	for range 3 {
		for _, base := range []string{u.BaseURL, other.BaseURL} {
			if got, err := readAll(mustDo(t, e, through(p.url("https"), base))); err != nil || !strings.Contains(got, "upstream.") {
				t.Fatalf("answer = %q, %v", got, err)
			}
		}
	}
	if u.Connections() != 1 {
		t.Errorf("%d connections to the upstream", u.Connections())
	}
	// Nobody trusts the proxy.
	stranger := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
	if o := mustFail(t, stranger, through(p.url("https"), u.BaseURL)).Outcome; verdictOf(o) != connectFailed {
		t.Errorf("outcome = %+v", o)
	}
}

// selfSigned is a certificate for 127.0.0.1 that is its own authority.
func selfSigned(t *testing.T) (tls.Certificate, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "proxy"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, leaf
}

func TestProxyFailures(t *testing.T) {
	password := rand.Text()
	u := testkit.NewUpstream(t, testkit.Options{})
	secure := testkit.NewUpstream(t, testkit.Options{Protocol: testkit.TLS})
	e := newExecutor(t, upstream.Options{RootCAs: secure.RootCAs})
	wrong := func(p *testProxy, scheme string) realm.Secret {
		return realm.Secret(scheme + "://operator:" + password + "@" + p.listener.Addr().String())
	}
	guarded := startProxy(t, &testProxy{serve: serveHTTPProxy, user: "operator", password: rand.Text()})
	socks := startProxy(t, &testProxy{serve: serveSocks, user: "operator", password: rand.Text()})
	hangs := startProxy(t, &testProxy{serve: serveHTTPProxy, hang: true})
	socksHangs := startProxy(t, &testProxy{serve: serveSocks, hang: true})
	open := startProxy(t, &testProxy{serve: serveSocks})
	refused := strings.TrimSuffix(strings.TrimPrefix(testkit.Refused(t), "http://"), "/v1")
	for name, tc := range map[string]struct {
		proxy realm.Secret
		base  string
		word  string // in the error
	}{
		"refused":              {realm.Secret("http://operator:" + password + "@" + refused), u.BaseURL, "refused"},
		"refused socks":        {realm.Secret("socks5://operator:" + password + "@" + refused), u.BaseURL, "refused"},
		"wrong password":       {wrong(guarded, "http"), secure.BaseURL, "407"},
		"wrong password socks": {wrong(socks, "socks5"), u.BaseURL, "authentication"},
		"hangs":                {wrong(hangs, "http"), secure.BaseURL, "timeout"},
		"hangs, socks":         {wrong(socksHangs, "socks5"), u.BaseURL, "timeout"},
		"no way on":            {open.url("socks5"), testkit.Refused(t), "socks"},
		"another scheme":       {realm.Secret("ftp://operator:" + password + "@127.0.0.1"), u.BaseURL, "none of"},
		"no url":               {realm.Secret("http://operator:" + password + "@127.0.0.1:x"), u.BaseURL, "parsed"},
		"no host":              {realm.Secret("http://operator:" + password + "@"), u.BaseURL, "no host"},
		"forbidden proxy":      {realm.Secret("http://operator:" + password + "@169.254.169.254"), u.BaseURL, "link-local"},
	} {
		t.Run(name, func(t *testing.T) {
			x := through(tc.proxy, tc.base)
			x.Timeouts.Connect = 300 * time.Millisecond
			o := mustFail(t, e, x).Outcome
			if verdictOf(o) != connectFailed || o.Err == nil {
				t.Fatalf("outcome = %+v", o)
			}
			text := o.Err.Error()
			if !strings.Contains(text, tc.word) || strings.Contains(text, password) ||
				strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("operator:" + password))[:20]) {
				t.Errorf("error = %q", text)
			}
			testkit.Poll(t, "the body to be closed", func() bool { return x.Body.(*payload).closed.Load() > 0 })
		})
	}
	if u.Count() != 0 {
		t.Errorf("the upstream was asked %d times", u.Count())
	}
}

// TestProxiesHaveNoSecrets: what a proxy or upstream says back is clean of the
// proxy's password and of what the channel's headers hold.
func TestProxiesHaveNoSecrets(t *testing.T) {
	password, header := rand.Text(), rand.Text()
	u := testkit.NewUpstream(t, script(testkit.Error(400, "invalid_request_error", "bad", "You sent "+password+" and "+header+".")))
	p := startProxy(t, &testProxy{serve: serveHTTPProxy, user: "operator", password: password})
	x := through(p.url("http"), u.BaseURL)
	x.Attempt.Channel.Settings.SetHeaders = map[string]realm.Secret{"X-Access": realm.Secret(header)}
	f := mustFail(t, newExecutor(t, upstream.Options{}), x)
	text := f.Error.Message + string(f.Body) + f.Outcome.Err.Error()
	if strings.Contains(text, password) || strings.Contains(text, header) || !strings.Contains(text, "You sent") {
		t.Errorf("failure = %q", text)
	}
	if !upstream.Shows(x, []byte("… "+password)) || !upstream.Shows(x, []byte(header)) || upstream.Shows(x, []byte("… operator")) {
		t.Error("Shows sees other secrets")
	}
}

// TestProxyTargets: an address in the base URL is judged here, since behind the
// proxy nobody does; the proxy's own is judged as it is dialled.
func TestProxyTargets(t *testing.T) {
	p := startProxy(t, &testProxy{serve: serveHTTPProxy})
	private := newExecutor(t, upstream.Options{})
	public := newExecutor(t, upstream.Options{Guard: netguard.New(netguard.Options{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})})
	for _, base := range []string{
		"http://169.254.169.254/v1", "https://169.254.169.254./v1", "http://[fe80::1%25eth0]/v1", "http://[::ffff:169.254.169.254]/v1",
		"http://0xa9fea9fe/v1", "http://2852039166/v1", "http://169.254.43518/v1", "http://169.254.169.0xfe/v1",
	} {
		if o := mustFail(t, private, through(p.url("http"), base)).Outcome; verdictOf(o) != connectFailed || o.Passing {
			t.Errorf("%s: outcome = %+v", base, o)
		}
	}
	if o := mustFail(t, public, through(p.url("socks5"), "http://10.0.0.1/v1")).Outcome; !strings.Contains(o.Err.Error(), "private") {
		t.Errorf("outcome = %+v", o)
	}
	if asked := p.asked(); len(asked) != 0 {
		t.Errorf("the proxy was asked for %v", asked)
	}
	strict := newExecutor(t, upstream.Options{Guard: netguard.New(netguard.Options{})})
	if o := mustFail(t, strict, through(p.url("http"), "http://name.test/v1")).Outcome; !strings.Contains(o.Err.Error(), "loopback") {
		t.Errorf("a proxy that may not be dialled: %+v", o)
	}
}

func TestCAFile(t *testing.T) {
	for _, protocol := range []testkit.Protocol{testkit.TLS, testkit.H2} {
		u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol})
		name := caFile(t, u)
		now := time.Now()
		var mu sync.Mutex
		clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
		pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
		e := newExecutor(t, upstream.Options{Now: clock})
		ask := func() (*upstream.Response, *upstream.Failure) {
			x := chat(u.BaseURL, false)
			x.Attempt.Channel.Settings.CAFile = name
			return e.Do(t.Context(), x)
		}
		good := func(what string) {
			t.Helper()
			res, failure := ask()
			if failure != nil {
				t.Fatalf("%s: %+v", what, failure.Outcome)
			}
			if got, err := readAll(res); err != nil || !strings.Contains(got, "upstream.") {
				t.Fatalf("%s: %q, %v", what, got, err)
			}
		}
		bad := func(what, word string) {
			t.Helper()
			res, failure := ask()
			if res != nil {
				_ = res.Body.Close()
				t.Fatalf("%s: answered", what)
			}
			if o := failure.Outcome; verdictOf(o) != connectFailed || !strings.Contains(o.Err.Error(), word) {
				t.Fatalf("%s: outcome = %+v", what, o)
			}
		}
		if o := mustFail(t, e, chat(u.BaseURL, false)).Outcome; verdictOf(o) != connectFailed {
			t.Errorf("without the file: %+v", o)
		}
		good("with the file")
		good("again")
		if u.Connections() > 4 { // one for the file, one refused, one kept
			t.Errorf("%d connections", u.Connections())
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		mustWrite(t, name, "no certificate "+testKey)
		good("not looked at yet")
		pass(time.Minute)
		bad("spoiled", name)
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		bad("gone", "no such file")
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
		bad("a folder", "no regular file")
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
		mustWrite(t, name, string(text))
		good("mended, at once")
		mustWrite(t, name, string(text)+"\n")
		pass(time.Minute)
		good("written again")
	}
}

func mustWrite(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestRetain: a proxy that no channel names loses its idle connections, and an
// exchange through it goes on to its end.
func TestRetain(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			u := testkit.NewUpstream(t, testkit.Options{Protocol: protocol, Script: testkit.Always(testkit.Pace(20 * time.Millisecond))})
			p, scheme := startProxy(t, &testProxy{serve: serveHTTPProxy}), "http"
			if protocol == testkit.HTTP1 { // which an HTTP proxy would carry answer by answer
				p, scheme = startProxy(t, &testProxy{serve: serveSocks}), "socks5"
			}
			e := newExecutor(t, upstream.Options{RootCAs: u.RootCAs})
			if _, err := readAll(mustDo(t, e, through(p.url(scheme), u.BaseURL))); err != nil {
				t.Fatal(err)
			}
			x := through(p.url(scheme), u.BaseURL)
			used := realm.NewSnapshot(1, nil, nil, []*realm.Channel{x.Attempt.Channel})
			e.Retain(used)
			res := mustDo(t, e, x)
			if !res.Reused {
				t.Error("a connection that is still wanted was closed")
			}
			first := make([]byte, 1)
			if _, err := io.ReadFull(res.Body, first); err != nil {
				t.Fatal(err)
			}
			e.Retain(realm.NewSnapshot(2, nil, nil, []*realm.Channel{{Name: "other"}}))
			if got, err := readAll(res); err != nil || len(got) == 0 {
				t.Errorf("the exchange under way ended with %q, %v", got, err)
			}
			res = mustDo(t, e, through(p.url(scheme), u.BaseURL))
			if _, err := readAll(res); err != nil || res.Reused {
				t.Errorf("reused = %v, %v", res.Reused, err)
			}
			e.Retain(realm.NewSnapshot(3, nil, nil, nil))
			if protocol != testkit.H2 { // there one that was busy a moment ago goes when it has been idle for long
				testkit.Poll(t, "idle connections to be closed", func() bool { return p.open.Load() == 0 })
			}
		})
	}
}

// TestProxyExtraBytes: what follows an answer's end is nobody's next answer behind
// a proxy either.
func TestProxyExtraBytes(t *testing.T) {
	u := testkit.NewUpstream(t, testkit.Options{Protocol: testkit.TLS, Script: testkit.Always(testkit.ExtraBytes())})
	cert, leaf := selfSigned(t)
	roots := u.RootCAs.Clone()
	roots.AddCert(leaf)
	for _, scheme := range []string{"http", "https", "socks5"} {
		p := &testProxy{serve: serveHTTPProxy}
		switch scheme {
		case "https":
			ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{cert}})
			if err != nil {
				t.Fatal(err)
			}
			p.listener = ln
		case "socks5":
			p.serve = serveSocks
		}
		startProxy(t, p)
		e := newExecutor(t, upstream.Options{RootCAs: roots})
		for range 50 {
			res, failure := e.Do(context.Background(), through(p.url(scheme), u.BaseURL))
			switch {
			case failure != nil && verdictOf(failure.Outcome) != stale:
				t.Errorf("outcome = %+v", failure.Outcome)
			case res != nil:
				if got, err := readAll(res); err != nil || !strings.Contains(got, `"chat.completion"`) {
					t.Errorf("answer = %q, %v", got, err)
				}
			}
		}
	}
}
