package upstream

import (
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"sync"
	"time"

	"realms/internal/realm"
)

// outlet is one way out of this process: directly or through a proxy, trusting
// the usual certificates or a file's too.
type outlet struct {
	pooled *http.Transport
	fresh  *http.Transport // dials anew for every exchange
}

// outletKey is what tells one outlet from another. The zero value is the default
// one.
type outletKey struct {
	proxy  realm.Secret
	caFile string
}

// outlets makes outlets when they are first needed, and remembers them.
type outlets struct {
	o     *Options
	now   func() time.Time
	plain outlet // the default one

	mu   sync.RWMutex
	made map[outletKey]*madeOutlet
}

// madeOutlet is an outlet and the state of the file that it was made with.
type madeOutlet struct {
	mu      sync.Mutex
	outlet  *outlet // nil: not made yet, or its file has changed
	file    os.FileInfo
	checked time.Time // when the file was looked at last
}

const (
	maxCAFile = 1 << 20 // bytes; all the world's authorities take a quarter of it
	// caFileCheck is how often a file is looked at for a change.
	caFileCheck = 5 * time.Second
)

var errNoCertificates = errors.New("it holds no certificate in PEM")

// keyOf says which outlet an exchange takes.
func keyOf(s *realm.ChannelSettings) outletKey { return outletKey{s.Proxy, s.CAFile} }

// get finds or makes an outlet. The error shows neither a secret nor a file's
// text, and the next call tries again.
func (o *outlets) get(key outletKey) (*outlet, error) {
	if key == (outletKey{}) {
		return &o.plain, nil
	}
	o.mu.RLock()
	m := o.made[key]
	o.mu.RUnlock()
	if m == nil {
		o.mu.Lock()
		if m = o.made[key]; m == nil {
			m = &madeOutlet{}
			o.made[key] = m
		}
		o.mu.Unlock()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := o.refresh(key, m); err != nil {
		m.drop()
		return nil, err
	}
	return m.outlet, nil
}

// refresh makes the outlet if there is none, or if its file is another by now. The
// caller holds the outlet's mutex.
func (o *outlets) refresh(key outletKey, m *madeOutlet) error {
	if m.outlet != nil {
		if key.caFile == "" || o.now().Sub(m.checked) < caFileCheck {
			return nil
		}
		info, err := os.Stat(key.caFile)
		if err != nil {
			return fmt.Errorf("ca_file %s: %w", key.caFile, withoutPath(err))
		}
		m.checked = o.now()
		if os.SameFile(info, m.file) && info.ModTime().Equal(m.file.ModTime()) && info.Size() == m.file.Size() {
			return nil
		}
	}
	roots := o.o.RootCAs
	var info os.FileInfo
	if key.caFile != "" {
		var err error
		if roots, info, err = rootsWith(roots, key.caFile); err != nil {
			return fmt.Errorf("ca_file %s: %w", key.caFile, err)
		}
	}
	p, err := readProxy(key.proxy)
	if err != nil {
		return err
	}
	m.drop()
	m.outlet, m.file, m.checked = newOutlet(o.o, roots, p), info, o.now()
	return nil
}

// drop forgets the outlet. Exchanges under way go on; what they leave idle closes.
func (m *madeOutlet) drop() {
	if m.outlet != nil {
		m.outlet.close()
		m.outlet = nil
	}
}

// retain forgets every outlet that none of the keys means.
func (o *outlets) retain(used map[outletKey]struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for key, m := range o.made {
		if _, ok := used[key]; ok {
			continue
		}
		delete(o.made, key)
		m.mu.Lock()
		m.drop()
		m.mu.Unlock()
	}
}

// clientTimeout is how long one exchange of Client may take, its body included.
const clientTimeout = 30 * time.Second

// Client is for the few small exchanges of a channel that are none of a client's (its
// accounts' sign-in): through the same dialer, proxy and certificates. It follows no
// redirect and keeps no cookie. Request bodies must be in memory.
func (e *Executor) Client(set *realm.ChannelSettings) *http.Client {
	if set == nil {
		set = noSettings
	}
	return &http.Client{
		Transport:     &channelTransport{e: e, set: set},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Timeout:       clientTimeout,
	}
}

// channelTransport finds the channel's outlet anew each time: it may have been made
// again since.
type channelTransport struct {
	e   *Executor
	set *realm.ChannelSettings
}

func (t *channelTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	out, err := t.e.outlets.get(keyOf(t.set))
	if err == nil && t.set.Proxy != "" {
		err = checkTarget(t.e.guard, req.URL.Hostname())
	}
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	trace := httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		if info.Reused {
			settle(info.Conn)
		}
	}}
	return out.pooled.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), &trace)))
}

func (o *outlet) close() {
	o.pooled.CloseIdleConnections()
	o.fresh.CloseIdleConnections()
}

// rootsWith is the usual certificates and those of a PEM file.
func rootsWith(usual *x509.CertPool, name string) (*x509.CertPool, os.FileInfo, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	if !info.Mode().IsRegular() { // opening a pipe might wait for ever
		return nil, nil, errors.New("it is no regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	defer func() { _ = f.Close() }()
	pem, err := io.ReadAll(io.LimitReader(f, maxCAFile+1))
	if err != nil {
		return nil, nil, withoutPath(err)
	}
	if len(pem) > maxCAFile {
		return nil, nil, errors.New("it is larger than 1 MiB")
	}
	roots := usual
	if roots != nil {
		roots = roots.Clone()
	} else if roots, err = x509.SystemCertPool(); err != nil {
		return nil, nil, fmt.Errorf("the system's certificates: %w", err)
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, nil, errNoCertificates
	}
	return roots, info, nil
}

// withoutPath is an error of the file system without the path, which is told
// already.
func withoutPath(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
