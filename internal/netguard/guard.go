// Package netguard decides which addresses this process may dial on somebody
// else's word, and dials them.
//
// It owns the table of special-purpose ranges and looks at the address that is
// really dialled, after every name has been resolved: no spelling of a host, no
// rebinding name server and no redirect can step around it. It never resolves
// names itself, never reads proxy variables and knows nothing of HTTP.
package netguard

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// DefaultConnectTimeout bounds name resolution and connecting together.
const DefaultConnectTimeout = 3 * time.Second

// Options configure a Guard.
type Options struct {
	// AllowPrivate opens private, loopback, carrier-grade NAT and unique-local
	// ranges, and the reserved ones. Metadata and link-local stay shut.
	AllowPrivate bool
	// Allow opens single networks where AllowPrivate is not set. It cannot open
	// metadata or link-local addresses.
	Allow []netip.Prefix
	// ConnectTimeout is for resolving and connecting together; 0 means
	// DefaultConnectTimeout.
	ConnectTimeout time.Duration
	// Resolver is for tests; nil is the system's.
	Resolver *net.Resolver
}

// Guard dials, and refuses what its options do not allow. It is safe for use by
// many goroutines.
type Guard struct {
	allowPrivate bool
	allow        []netip.Prefix
	dialer       net.Dialer
}

// New builds a Guard.
func New(o Options) *Guard {
	g := &Guard{allowPrivate: o.AllowPrivate}
	for _, p := range o.Allow {
		g.allow = append(g.allow, unmap(p).Masked())
	}
	timeout := o.ConnectTimeout
	if timeout == 0 {
		timeout = DefaultConnectTimeout
	}
	g.dialer = net.Dialer{
		Timeout:        timeout,
		KeepAlive:      30 * time.Second,
		Resolver:       o.Resolver,
		ControlContext: g.control,
	}
	return g
}

// unmap turns ::ffff:10.0.0.0/104 into 10.0.0.0/8: addresses are judged unmapped.
func unmap(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// RefusedError says that an address may not be dialled, and why.
type RefusedError struct {
	Addr   netip.Addr
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("address %s refused: %s", e.Addr, e.Reason)
}

// DialContext connects to host:port over TCP. The error of a forbidden address
// holds a *RefusedError.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	return g.dialer.DialContext(ctx, network, address)
}

// control runs for every address that a name resolved to, after the socket is
// made and before it connects.
func (g *Guard) control(_ context.Context, _, address string, _ syscall.RawConn) error {
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("address that is not one: %w", err)
	}
	return g.Check(ap.Addr())
}
