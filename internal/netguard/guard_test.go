package netguard_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"realms/internal/netguard"
)

// privateHosts are refused unless private ranges are open.
var privateHosts = []string{
	"0.0.0.0", "127.0.0.1", "127.8.9.10", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
	"100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "192.88.99.1", "198.18.0.1", "198.19.255.255",
	"198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
	"::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:7f00:1", "0:0:0:0:0:ffff:192.168.0.1",
	"::ffff:0:127.0.0.1", "2002:7f00:1::", "2002:a00:1::", "2002:c0a8:101::1", "64:ff9b::127.0.0.1", "64:ff9b::a00:1",
	"64:ff9b:1::1", "64:ff9b:1:808:8:800::", "2001::1", "2001:db8::1", "3fff::1", "5f00::1", "100::1",
	"fc00::1", "fd12:3456::1", "fec0::1", "ff02::1", "ff0e::1", "4000::1", "::2",
}

// metadataHosts are refused whatever the options say.
var metadataHosts = []string{
	"169.254.169.254", "169.254.0.1", "169.254.170.2", "100.100.100.200", "168.63.129.16", "192.0.0.192",
	"fe80::1", "fe80::1%lo", "febf::1", "fd00:ec2::254", "fd20:ce::254", "fd00:0ec2:0:0:0:0:0:254",
	"::ffff:169.254.169.254", "::ffff:a9fe:a9fe", "::169.254.169.254", "::ffff:0:169.254.169.254",
	"2002:a9fe:a9fe::", "2002:a9fe:a9fe::1", "64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe",
	"64:ff9b:1:a9fe:a9:fe00::", "64:ff9b:1::a9fe:a9fe", "::ffff:100.100.100.200", "2002:6464:64c8::",
}

var publicHosts = []string{
	"1.1.1.1", "8.8.8.8", "99.255.255.255", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "169.253.1.1",
	"198.17.0.1", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
}

func TestCheck(t *testing.T) {
	closed := netguard.New(netguard.Options{})
	open := netguard.New(netguard.Options{AllowPrivate: true})
	for _, tc := range []struct {
		name     string
		hosts    []string
		inOpen   bool
		inClosed bool
	}{
		{name: "private", hosts: privateHosts, inOpen: true},
		{name: "metadata", hosts: metadataHosts},
		{name: "public", hosts: publicHosts, inOpen: true, inClosed: true},
	} {
		for _, host := range tc.hosts {
			t.Run(tc.name+"/"+host, func(t *testing.T) {
				addr := netip.MustParseAddr(host)
				if err := closed.Check(addr); (err == nil) != tc.inClosed {
					t.Errorf("private networks shut: Check = %v, want allowed = %v", err, tc.inClosed)
				}
				if err := open.Check(addr); (err == nil) != tc.inOpen {
					t.Errorf("private networks open: Check = %v, want allowed = %v", err, tc.inOpen)
				}
			})
		}
	}
	if err := open.Check(netip.Addr{}); err == nil {
		t.Error("the zero address is allowed")
	}
}

func TestCheckListedNetworks(t *testing.T) {
	g := netguard.New(netguard.Options{Allow: []netip.Prefix{
		netip.MustParsePrefix("10.1.2.3/16"), // not masked
		netip.MustParsePrefix("::ffff:192.168.0.0/112"),
		netip.MustParsePrefix("fd00::/8"),
		netip.MustParsePrefix("169.254.0.0/16"),
	}})
	for host, want := range map[string]bool{
		"10.1.0.1": true, "10.1.255.255": true, "10.2.0.1": false, "::ffff:10.1.0.1": true, "2002:a01:1::": true,
		"192.168.9.9": true, "192.169.0.1": true, "127.0.0.1": false,
		"fd12::1": true, "fc00::1": false, "fd00:ec2::254": false, "169.254.169.254": false,
	} {
		if err := g.Check(netip.MustParseAddr(host)); (err == nil) != want {
			t.Errorf("%s: Check = %v, want allowed = %v", host, err, want)
		}
	}
	all := netguard.New(netguard.Options{Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	for _, host := range metadataHosts {
		if all.Check(netip.MustParseAddr(host)) == nil {
			t.Errorf("%s: listing everything opened it", host)
		}
	}
}

// spellings are what people write for 127.0.0.1 and its kin to get past a check
// on the text. Those that are no literals for Go are looked up; the name server
// of the test plays the worst one there is and answers 127.0.0.1 to everything.
var spellings = []string{
	"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0x7f.1", "017700000001", "0177.0.0.1",
	"0177.1", "127.0.0.1.", "localhost", "localhost.", "LOCALHOST", "localhost.localdomain", "0", "0.0.0.0", "0x0", "00000000000",
	"[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::1%lo]", "[64:ff9b::7f00:1]",
	"[2002:7f00:1::]", "[fec0::1]", "[fe80::1%lo]", "[fc00::1]", "169.254.169.254", "[::ffff:169.254.169.254]", "0xa9fea9fe", "2852039166",
	"0251.0376.0251.0376", "metadata.google.internal", "100.64.0.1", "198.18.0.1", "240.0.0.1", "255.255.255.255", "224.0.0.1",
	"127.0.0.1.nip.io", "xn--localhost-.", "xn--127.0.0.1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1", "spoofed.test", "user@127.0.0.1", "a.b.c.test",
}

func TestDialRefusesEverySpelling(t *testing.T) {
	ln, accepted := trap(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ns := startNameServer(t, func(int) [4]byte { return [4]byte{127, 0, 0, 1} })
	g := netguard.New(netguard.Options{Resolver: ns.resolver(), ConnectTimeout: 2 * time.Second})
	for _, host := range spellings {
		t.Run(host, func(t *testing.T) {
			conn, err := g.DialContext(t.Context(), "tcp", host+":"+port)
			if err == nil {
				_ = conn.Close()
				t.Fatal("dialled")
			}
			var refused *netguard.RefusedError
			var dns *net.DNSError
			var bad *net.AddrError
			if !errors.As(err, &refused) && !errors.As(err, &dns) && !errors.As(err, &bad) {
				t.Errorf("error = %v, want a refusal or a name that does not resolve", err)
			}
		})
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections reached the trap", n)
	}
	if ns.asked.Load() == 0 {
		t.Error("no name was looked up: the spellings were not put to the test")
	}
}

// TestDialRebinding: the name server gives a public address first and a private
// one on every later question; the check is on what is dialled.
func TestDialRebinding(t *testing.T) {
	ln, accepted := trap(t)
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	ns := startNameServer(t, func(n int) [4]byte {
		if n == 1 {
			return [4]byte{198, 41, 0, 4}
		}
		return [4]byte{127, 0, 0, 1}
	})
	resolver := ns.resolver()
	if _, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.test"); err != nil {
		t.Fatalf("the innocent look-up failed: %v", err)
	}
	g := netguard.New(netguard.Options{Resolver: resolver})
	for range 20 {
		conn, err := g.DialContext(t.Context(), "tcp4", "rebind.test:"+port)
		var refused *netguard.RefusedError
		if !errors.As(err, &refused) {
			if conn != nil {
				_ = conn.Close()
			}
			t.Fatalf("error = %v, want a refusal", err)
		}
	}
	if n := accepted.Load(); n != 0 {
		t.Errorf("%d connections reached the trap", n)
	}
}

func TestDialAllowed(t *testing.T) {
	ln, accepted := trap(t)
	for name, o := range map[string]netguard.Options{
		"private open": {AllowPrivate: true},
		"listed":       {Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}},
	} {
		t.Run(name, func(t *testing.T) {
			before := accepted.Load()
			conn, err := netguard.New(o).DialContext(t.Context(), "tcp", ln.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			_ = conn.Close()
			waitFor(t, func() bool { return accepted.Load() == before+1 })
		})
	}
}

func TestDialNetworks(t *testing.T) {
	g := netguard.New(netguard.Options{AllowPrivate: true})
	for _, network := range []string{"unix", "udp", "ip", "tcp7", ""} {
		if _, err := g.DialContext(t.Context(), network, "127.0.0.1:1"); err == nil {
			t.Errorf("%q: dialled", network)
		}
	}
}

// TestConnectTimeout resolves through a server that never answers.
func TestConnectTimeout(t *testing.T) {
	// The resolver's own goroutines outlive the dial; the cleanup ends them by
	// closing what they read from.
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		silent, far := net.Pipe()
		context.AfterFunc(ctx, func() { _ = silent.Close() })
		go func() { _, _ = io.Copy(io.Discard, far) }()
		return silent, nil
	}}
	const limit = 150 * time.Millisecond
	g := netguard.New(netguard.Options{AllowPrivate: true, Resolver: resolver, ConnectTimeout: limit})
	start := time.Now()
	_, err := g.DialContext(t.Context(), "tcp", "nowhere.test:80")
	if took := time.Since(start); err == nil || took < limit/2 || took > 10*limit {
		t.Errorf("err = %v after %v, want a timeout after about %v", err, took, limit)
	}
	var timeout net.Error
	if !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Errorf("err = %v, want a timeout", err)
	}
}

// trap listens on loopback and counts who gets through.
func trap(t *testing.T) (net.Listener, *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var accepted atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			accepted.Add(1)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = ln.Close()
		<-done
	})
	return ln, &accepted
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain")
		}
		<-time.After(time.Millisecond)
	}
}
