package relay

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"realms/internal/catalog"
	"realms/internal/config"
	"realms/internal/realm"
	"realms/internal/testkit"
	"realms/internal/testkit/testapp"
)

// hasty is an upstream that refuses a request when it has seen its header, and
// reads the body afterwards, slowly.
type hasty struct {
	base string
	mu   sync.Mutex
	seen map[string]int // by protocol
	bad  []string       // bodies that were not one letter from end to end
}

func newHasty(t *testing.T, pair *tls.Certificate) *hasty {
	t.Helper()
	h := &hasty{seen: map[string]int{}}
	// Little fits into what the kernels hold, so that the sender is still at it.
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var failed error
		err := raw.Control(func(fd uintptr) { failed = smallWindow(int(fd)) })
		return errors.Join(err, failed)
	}}
	ln, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: h, HTTP2: &http.HTTP2Config{MaxReceiveBufferPerStream: 64 << 10, MaxReceiveBufferPerConnection: 64 << 10}}
	h.base = "http://" + ln.Addr().String() + "/v1"
	serve := srv.Serve
	if pair != nil {
		h.base = "https://" + ln.Addr().String() + "/v1"
		srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*pair}}
		serve = func(l net.Listener) error { return srv.ServeTLS(l, "", "") }
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = serve(ln) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
	return h
}

func (h *hasty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.EnableFullDuplex() // HTTP/2 is so anyway
	answer := testkit.ErrorBody("rate_limit_error", "rate_limit_exceeded", "", "Later.")
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(answer)))
	w.WriteHeader(http.StatusTooManyRequests)
	_, _ = io.WriteString(w, answer)
	_ = control.Flush()
	if r.ProtoMajor > 1 {
		// There a refusal's receiver stops sending, and waits for the answer's end.
		_ = control.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	}
	body, _ := io.ReadAll(slowly{r.Body}) // what comes
	_, filling, _ := bytes.Cut(body, []byte(`"input":"`))
	filling = bytes.TrimSuffix(filling, []byte(`"}`))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.seen[r.Proto]++
	if len(filling) > 0 && bytes.Count(filling, filling[:1]) != len(filling) {
		h.bad = append(h.bad, fmt.Sprintf("%d bytes from %q to %q", len(filling), filling[0], filling[len(filling)-1]))
	}
}

// slowly reads a little at a time.
type slowly struct{ io.Reader }

func (s slowly) Read(p []byte) (int, error) {
	<-time.After(time.Millisecond)
	return s.Reader.Read(p[:min(len(p), 16<<10)])
}

// askHasty sends many bodies past the hasty upstream to a good one. None may ever
// hold another's bytes, although all come from one pool.
func askHasty(t *testing.T, pair *tls.Certificate, proto string) {
	const requests = 60
	h, up := newHasty(t, pair), testkit.NewUpstream(t, testkit.Options{})
	first := testapp.Channel("hasty", h.base, "key-a")
	first.Priority = 10
	app := testapp.Start(t, testapp.Options{
		Channels:  []catalog.ChannelSpec{first, testapp.Channel("good", up.BaseURL, "key-b")},
		Configure: func(c *config.Config) { c.Limits.BodyBytes, c.Limits.BodyMemory = 256<<10, 4<<20 },
	})
	answers := make([]*testapp.Answer, requests)
	body := func(i int) string {
		// A model for each: what the hasty upstream refuses it is not asked for again.
		return `{"model":"gpt-` + strconv.Itoa(i) + `","input":"` + strings.Repeat(string(rune('A'+i)), 200<<10) + `"}`
	}
	inParallel(requests, 6, func(i int) { answers[i] = app.Post(t, "/v1/responses", body(i)) })
	whole := map[string]bool{}
	for _, r := range up.Requests() {
		whole[string(r.Body)] = true
	}
	for i, a := range answers {
		if a.StatusCode != http.StatusOK || !whole[body(i)] {
			t.Errorf("request %d: %d %s; its body reached the good upstream whole: %v", i, a.StatusCode, a.Body, whole[body(i)])
			continue
		}
		row := app.Record(t, a.Response)
		if endingOf(row) != (ending{realm.EndedCompleted, realm.CauseOK, http.StatusOK, 2}) || row.Tries[0].Cause != realm.CauseRateLimited {
			t.Errorf("row of request %d: %+v %+v", i, endingOf(row), row.Tries)
		}
	}
	testkit.Poll(t, "the hasty upstream to have read what it can", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.seen[proto] == requests
	})
	if len(h.bad) > 0 {
		t.Errorf("bodies were mixed: %v", h.bad)
	}
	budgetIsFree(t, app, 256<<10, 4<<20) // all that they held came back
}

// A body comes from a pool and goes back to it when the last transport has closed
// it, which after an early answer is later than the request's end.
func TestEarlyAnswerNeverMixesBodies(t *testing.T) { askHasty(t, nil, "HTTP/1.1") }

// The same over HTTP/2, which takes TLS: in a process of its own that trusts the
// upstream's certificate.
func TestEarlyAnswerNeverMixesBodiesOverHTTP2(t *testing.T) {
	const marker = "HASTY_UPSTREAM"
	if dir := os.Getenv(marker); dir != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		askHasty(t, &pair, "HTTP/2.0")
		return
	}
	dir := t.TempDir()
	writePair(t, dir)
	self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.timeout=60s")
	self.Env = append(os.Environ(), marker+"="+dir, "SSL_CERT_FILE="+filepath.Join(dir, "cert.pem"))
	if out, err := self.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func writePair(t *testing.T, dir string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
