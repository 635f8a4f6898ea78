package netguard

import "net/netip"

// class is why an address is not simply public.
type class struct {
	prefix netip.Prefix
	reason string
}

// never may be dialled by nobody: an instance's credentials answer there, and
// link-local has no other use for an upstream.
var never = table(
	"169.254.0.0/16", "link-local",
	"fe80::/10", "link-local",
	"fd00:ec2::254/128", "metadata service",
	"fd20:ce::254/128", "metadata service",
	"100.100.100.200/32", "metadata service",
	"168.63.129.16/32", "metadata service",
	"192.0.0.192/32", "metadata service",
)

// private is refused unless the options say otherwise: IANA's special-purpose
// registries for IPv4 (RFC 6890 and its updates) and IPv6.
var private = table(
	"0.0.0.0/8", "unspecified",
	"10.0.0.0/8", "private",
	"100.64.0.0/10", "carrier-grade NAT",
	"127.0.0.0/8", "loopback",
	"172.16.0.0/12", "private",
	"192.0.0.0/24", "reserved",
	"192.0.2.0/24", "documentation",
	"192.88.99.0/24", "reserved",
	"192.168.0.0/16", "private",
	"198.18.0.0/15", "benchmarking",
	"198.51.100.0/24", "documentation",
	"203.0.113.0/24", "documentation",
	"224.0.0.0/4", "multicast",
	"240.0.0.0/4", "reserved",
	"::/128", "unspecified",
	"::1/128", "loopback",
	"64:ff9b:1::/48", "local NAT64",
	"fc00::/7", "unique local",
	"fec0::/10", "site-local",
	"ff00::/8", "multicast",
	"2001::/23", "reserved",
	"2001:db8::/32", "documentation",
	"3fff::/20", "documentation",
)

var (
	globalUnicast = netip.MustParsePrefix("2000::/3")
	sixToFour     = netip.MustParsePrefix("2002::/16")
	nat64         = netip.MustParsePrefix("64:ff9b::/96")
	nat64Local    = netip.MustParsePrefix("64:ff9b:1::/48")
	compatible    = netip.MustParsePrefix("::/96")
	translated    = netip.MustParsePrefix("::ffff:0:0:0/96")
)

func table(pairs ...string) []class {
	out := make([]class, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		out = append(out, class{netip.MustParsePrefix(pairs[i]), pairs[i+1]})
	}
	return out
}

// Check tells whether the address may be dialled: nil, or a *RefusedError. An
// IPv4 address inside an IPv6 one (mapped, compatible, translated, 6to4, NAT64)
// is judged as the IPv4 address it leads to.
func (g *Guard) Check(addr netip.Addr) error {
	// A zone would keep every prefix from matching.
	bare := addr.WithZone("").Unmap()
	reason := g.refusal(bare)
	if reason == "" {
		return nil
	}
	return &RefusedError{Addr: addr, Reason: reason}
}

// refusal is the reason to refuse an address without zone; "" for none.
func (g *Guard) refusal(a netip.Addr) string {
	if !a.IsValid() {
		return "not an address"
	}
	forms := append(embedded(a), a)
	for _, f := range forms {
		if reason := find(never, f); reason != "" {
			return reason
		}
	}
	if g.allowPrivate {
		return ""
	}
	for _, f := range forms {
		if g.listed(f) {
			return ""
		}
	}
	for _, f := range forms {
		if reason := find(private, f); reason != "" {
			return reason
		}
	}
	// IANA has handed out 2000::/3 alone; the rest of IPv6 leads nowhere public.
	if a.Is6() && len(forms) == 1 && !globalUnicast.Contains(a) {
		return "reserved"
	}
	return ""
}

func (g *Guard) listed(a netip.Addr) bool {
	for _, p := range g.allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

func find(classes []class, a netip.Addr) string {
	for _, c := range classes {
		if c.prefix.Contains(a) {
			return c.reason
		}
	}
	return ""
}

// embedded lists the IPv4 addresses that an IPv6 one may lead to.
func embedded(a netip.Addr) []netip.Addr {
	if !a.Is6() || a.IsUnspecified() || a.IsLoopback() {
		return nil
	}
	b := a.As16()
	last := netip.AddrFrom4([4]byte(b[12:16]))
	switch {
	case compatible.Contains(a), translated.Contains(a), nat64.Contains(a):
		return []netip.Addr{last}
	case sixToFour.Contains(a):
		return []netip.Addr{netip.AddrFrom4([4]byte(b[2:6]))}
	case nat64Local.Contains(a):
		// A network may cut its own prefix from this one: RFC 6052's form for a /48
		// skips byte 8, the form for a /96 takes the end.
		return []netip.Addr{netip.AddrFrom4([4]byte{b[6], b[7], b[9], b[10]}), last}
	}
	return nil
}
