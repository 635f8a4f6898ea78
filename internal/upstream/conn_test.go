package upstream

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestOurs: the guard of a connection between two exchanges finds it under every
// layer that a proxy may put on it.
func TestOurs(t *testing.T) {
	c := &conn{Conn: &deadlines{}}
	once := tls.Client(c, &tls.Config{MinVersion: tls.VersionTLS12})
	for name, nc := range map[string]net.Conn{"plain": c, "TLS": once, "TLS in TLS": tls.Client(once, &tls.Config{MinVersion: tls.VersionTLS12})} {
		if ours(nc) != c {
			t.Errorf("%s: not found", name)
		}
	}
	if other := ours(&deadlines{}); other != nil {
		t.Errorf("found %v", other)
	}
}

// deadlines remembers what was set, and takes every write.
type deadlines struct {
	net.Conn
	set []bool // whether each was one, and not none
}

func (d *deadlines) SetDeadline(at time.Time) error {
	d.set = append(d.set, !at.IsZero())
	return nil
}

func (*deadlines) Write(p []byte) (int, error) { return len(p), nil }

// TestSocksHasADeadline until the proxy has let the first bytes for the upstream
// through.
func TestSocksHasADeadline(t *testing.T) {
	d := &deadlines{}
	dial := dialSocks(func(context.Context, string, string) (net.Conn, error) { return &conn{Conn: d}, nil })
	c, err := dial(t.Context(), "tcp", "proxy.test:1080")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		bytes string
		want  []bool
	}{
		{"\x05\x01\x00", []bool{true}},
		{"\x01\x01u\x01p", []bool{true}},
		{"\x05\x01\x00\x03", []bool{true}},
		{"\x16\x03\x01", []bool{true, false}},
		{"GET / HTTP/1.1\r\n\r\n", []bool{true, false}},
	} {
		if _, err := c.Write([]byte(tc.bytes)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(tc.want, d.set); diff != "" {
			t.Errorf("after %q (-want +got):\n%s", tc.bytes, diff)
		}
	}
	broken := errors.New("no way")
	dial = dialSocks(func(context.Context, string, string) (net.Conn, error) { return nil, broken })
	if _, err := dial(t.Context(), "tcp", "proxy.test:1080"); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
}
