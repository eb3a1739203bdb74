package uplink_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// allow is the configuration's list.
func (h *host) allow(list ...string) *host {
	for _, p := range list {
		h.Config.ClasslessRoutes = append(h.Config.ClasslessRoutes, prefix(p))
	}
	return h
}

// classless gives the newest lease routes, each "DST GATEWAY".
func (h *host) classless(routes ...string) *host {
	l := &h.Leases[len(h.Leases)-1]
	for _, r := range routes {
		dst, gw, _ := strings.Cut(r, " ")
		l.Classless = append(l.Classless, lease.Route{Dst: prefix(dst), Gateway: addr(gw)})
	}
	return h
}

// routesOf are the classless routes of all uplinks, one a line, and what is said of those that were refused.
func routesOf(v uplink.View) string {
	var lines []string
	for _, u := range v.Uplinks {
		for _, r := range u.Routes {
			line := u.Name + " " + r.Dst.String()
			if r.Via.IsValid() {
				line += " via " + r.Via.String()
			}
			if r.Onlink {
				line += " onlink"
			}
			lines = append(lines, line+" src "+r.Src.String()+" by "+r.Source)
		}
		for _, p := range u.Problems {
			lines = append(lines, u.Name+": "+p)
		}
	}
	return strings.Join(lines, "\n")
}

// TestClasslessRoutes: a lease's routes count as far as the configuration allows, and never where they lead traffic of others
// into the uplink.
func TestClasslessRoutes(t *testing.T) {
	refused := func(dst, why string) string {
		return "eth0: route " + dst + " of 192.0.2.10 by dhclient is refused: " + why
	}
	for name, c := range map[string]struct{ allow, route, want string }{
		"nothing allowed":          {"", "10.1.0.0/16 192.0.2.7", ""},
		"allowed":                  {"10.0.0.0/8", "10.1.0.0/16 192.0.2.7", "eth0 10.1.0.0/16 via 192.0.2.7 src 192.0.2.10 by dhclient"},
		"allowed itself":           {"10.1.0.0/16", "10.1.0.0/16 192.0.2.7", "eth0 10.1.0.0/16 via 192.0.2.7 src 192.0.2.10 by dhclient"},
		"wider than allowed":       {"10.1.0.0/16", "10.0.0.0/8 192.0.2.7", ""},
		"beside what is allowed":   {"10.0.0.0/8", "11.0.0.0/8 192.0.2.7", ""},
		"on the link":              {"10.0.0.0/8", "10.1.0.0/16 0.0.0.0", "eth0 10.1.0.0/16 src 192.0.2.10 by dhclient"},
		"a default route":          {"0.0.0.0/0", "0.0.0.0/0 192.0.2.7", ""},
		"half the Internet":        {"0.0.0.0/0", "128.0.0.0/1 192.0.2.7", "eth0 128.0.0.0/1 via 192.0.2.7 src 192.0.2.10 by dhclient"},
		"a metadata server":        {"169.254.169.254/32", "169.254.169.254/32 192.0.2.7", "eth0 169.254.169.254/32 via 192.0.2.7 src 192.0.2.10 by dhclient"},
		"its own subnet":           {"0.0.0.0/0", "192.0.2.0/24 0.0.0.0", ""},
		"a part of its own subnet": {"0.0.0.0/0", "192.0.2.128/25 192.0.2.7", "eth0 192.0.2.128/25 via 192.0.2.7 src 192.0.2.10 by dhclient"},
		"around a LAN":             {"0.0.0.0/0", "172.16.0.0/12 192.0.2.7", "eth0 172.16.0.0/12 via 192.0.2.7 src 192.0.2.10 by dhclient"},

		"main has it by another router": {"0.0.0.0/0", "10.67.1.0/24 192.0.2.7", "eth0 10.67.1.0/24 via 192.0.2.7 src 192.0.2.10 by dhclient"},
		"thrown out of main":            {"0.0.0.0/0", "10.68.1.0/24 192.0.2.7", "eth0 10.68.1.0/24 via 192.0.2.7 src 192.0.2.10 by dhclient"},

		"loopback":               {"0.0.0.0/0", "127.0.0.0/8 192.0.2.7", refused("127.0.0.0/8", "it is in 127.0.0.0/8, where no gateway leads")},
		"multicast":              {"0.0.0.0/0", "224.0.0.251/32 192.0.2.7", refused("224.0.0.251/32", "it is in 224.0.0.0/4, where no gateway leads")},
		"this network":           {"0.0.0.0/0", "0.1.0.0/16 192.0.2.7", refused("0.1.0.0/16", "it is in 0.0.0.0/8, where no gateway leads")},
		"a LAN":                  {"0.0.0.0/0", "172.16.1.0/24 192.0.2.7", refused("172.16.1.0/24", "it is in 172.16.1.0/24 of lan0")},
		"a part of a LAN":        {"0.0.0.0/0", "172.16.1.128/25 0.0.0.0", refused("172.16.1.128/25", "it is in 172.16.1.0/24 of lan0")},
		"another uplink's":       {"0.0.0.0/0", "198.51.100.64/26 192.0.2.7", refused("198.51.100.64/26", "it is in 198.51.100.0/24 of eth1")},
		"the other end of a PPP": {"0.0.0.0/0", "203.0.113.1/32 192.0.2.7", refused("203.0.113.1/32", "it is in 203.0.113.1/32 of ppp0")},
		"a VPN's":                {"0.0.0.0/0", "10.64.1.0/24 192.0.2.7", refused("10.64.1.0/24", "it is in 10.64.0.0/16, which is routed by wg0")},
		"in a table beside main": {"0.0.0.0/0", "100.64.0.7/32 192.0.2.7", refused("100.64.0.7/32", "it is in 100.64.0.0/10, which is routed by wg0")},
		"barred":                 {"0.0.0.0/0", "10.66.1.0/24 192.0.2.7", refused("10.66.1.0/24", "it is in 10.66.0.0/16, to which somebody has barred the way")},

		"its gateway is its own":    {"0.0.0.0/0", "10.1.0.0/16 192.0.2.10", refused("10.1.0.0/16", "its gateway 192.0.2.10: it is the host's own address")},
		"its gateway is far":        {"0.0.0.0/0", "10.1.0.0/16 10.9.9.9", refused("10.1.0.0/16", "its gateway 10.9.9.9: it is outside the subnet 192.0.2.0/24")},
		"its gateway is loopback":   {"0.0.0.0/0", "10.1.0.0/16 127.0.0.1", refused("10.1.0.0/16", "its gateway 127.0.0.1: it is a loopback address")},
		"its gateway is broadcast":  {"0.0.0.0/0", "10.1.0.0/16 192.0.2.255", refused("10.1.0.0/16", "its gateway 192.0.2.255: it is the broadcast address of 192.0.2.0/24")},
		"its gateway is the subnet": {"0.0.0.0/0", "10.1.0.0/16 192.0.2.0", refused("10.1.0.0/16", "its gateway 192.0.2.0: it is the network address of 192.0.2.0/24")},
		"of the other family":       {"::/0", "2001:db8:7::/48 192.0.2.7", refused("2001:db8:7::/48", "it is of the other family")},
	} {
		t.Run(name, func(t *testing.T) {
			h := crowded().lease("eth0", "192.0.2.10", 1, "192.0.2.1").classless(c.route)
			if c.allow != "" {
				h.allow(c.allow)
			}
			v := uplink.Derive(h.Input)
			if d := cmp.Diff(c.want, routesOf(v)); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
			if v.Uplinks[0].State != uplink.Up {
				t.Errorf("%s: the uplink works as it would without the route", v.Uplinks[0].State)
			}
		})
	}
}

// crowded is a host with an uplink, and all that a route could take traffic from: a LAN, another uplink, a PPP session, a VPN
// with routes in main and in a table of its own, and a barred prefix.
func crowded() *host {
	h := newHost().eth("eth0", "eth1", "lan0").link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true}).
		link(rpdb.Link{Name: "wg0", Kind: "wireguard", Type: 65534}).
		addr("eth0", "192.0.2.10/24").addr("eth1", "198.51.100.20/24").addr("lan0", "172.16.1.1/24").
		addr("ppp0", "203.0.113.9/32", func(a *rpdb.Address) { a.Peer = prefix("203.0.113.1/32") }).
		addr("wg0", "10.8.0.2/32").route("wg0", "10.64.0.0/16").route("wg0", "0.0.0.0/1").route("wg0", "128.0.0.0/1").
		route("wg0", "100.64.0.0/10", func(r *rpdb.Route) { r.Table = 52 }).
		route("wg0", "10.1.0.0/16", func(r *rpdb.Route) { r.Table = 53 }). // that nobody asks
		route("eth0", "10.66.0.0/16", func(r *rpdb.Route) { r.Type, r.OIF, r.Scope = rpdb.Unreachable, 0, rpdb.ScopeUniverse }).
		route("eth1", "10.67.0.0/16", func(r *rpdb.Route) { r.Via = addr("198.51.100.7") }).
		route("eth0", "10.68.0.0/16", func(r *rpdb.Route) { r.Type, r.OIF, r.Scope = rpdb.Throw, 0, rpdb.ScopeUniverse })
	h.snap.Rules = append(h.snap.Rules, rpdb.Rule{Family: rpdb.IPv4, Priority: 5270, Table: 52, Action: rpdb.ActLookup})
	return h
}

func TestClasslessRoutesIPv6(t *testing.T) {
	h := newHost().eth("eth0", "lan0").addr("eth0", "2001:db8:a::10/64").addr("lan0", "2001:db8:1::1/64").
		lease("eth0", "2001:db8:a::10", 1, "fe80::1").allow("2001:db8::/32").
		classless("2001:db8:2::/48 fe80::7", "2001:db8:3::/48 ::", "2001:db8:1::/64 fe80::7", "2001:db9::/32 fe80::7", "ff02::/16 fe80::7", "2001:db8:4::/48 2001:db8:a::10")
	want := `eth0 2001:db8:2::/48 via fe80::7 src 2001:db8:a::10 by dhclient
eth0 2001:db8:3::/48 src 2001:db8:a::10 by dhclient
eth0: route 2001:db8:1::/64 of 2001:db8:a::10 by dhclient is refused: it is in 2001:db8:1::/64 of lan0
eth0: route 2001:db8:4::/48 of 2001:db8:a::10 by dhclient is refused: its gateway 2001:db8:a::10: it is the host's own address`
	if d := cmp.Diff(want, routesOf(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestClasslessRoutesOfEachAddress: a route belongs to the address whose lease it is, and goes to that one's table; a host
// address reaches its gateway on the link; the newest of two leases of one address has its way.
func TestClasslessRoutesOfEachAddress(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24").addr("eth0", "198.51.100.20/24").addr("eth0", "203.0.113.7/32").allow("10.0.0.0/8").
		lease("eth0", "192.0.2.10", 1, "192.0.2.1").classless("10.1.0.0/16 192.0.2.7", "10.2.0.0/16 192.0.2.7").
		lease("eth0", "192.0.2.10", 4, "192.0.2.1").classless("10.2.0.0/16 192.0.2.8").
		lease("eth0", "198.51.100.20", 2, "198.51.100.1").classless("10.1.0.0/16 198.51.100.7").
		lease("eth0", "203.0.113.7", 3, "203.0.113.1").classless("10.3.0.0/16 203.0.113.2").
		lease("eth0", "192.0.2.99", 5, "192.0.2.1").classless("10.9.0.0/16 192.0.2.9") // not on the link
	h.Leases[1].Source = "other"
	want := `eth0 10.2.0.0/16 via 192.0.2.8 src 192.0.2.10 by other
eth0 10.1.0.0/16 via 192.0.2.7 src 192.0.2.10 by dhclient
eth0-198.51.100.1 10.1.0.0/16 via 198.51.100.7 src 198.51.100.20 by dhclient
eth0-203.0.113.1 10.3.0.0/16 via 203.0.113.2 onlink src 203.0.113.7 by dhclient`
	if d := cmp.Diff(want, routesOf(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestClasslessRoutesOfTwoCards: where two cards are in one subnet, a part of it is as much the one's as the other's; what is
// the other's alone, inside of that, stays there.
func TestClasslessRoutesOfTwoCards(t *testing.T) {
	h := newHost().eth("eth0", "eth1", "vm0").addr("eth0", "192.0.2.10/24").addr("eth1", "192.0.2.11/24").addr("vm0", "192.0.2.129/25").allow("0.0.0.0/0").
		lease("eth0", "192.0.2.10", 1, "192.0.2.1").classless("192.0.2.64/26 192.0.2.7", "192.0.2.192/26 192.0.2.7")
	want := `eth0 192.0.2.64/26 via 192.0.2.7 src 192.0.2.10 by dhclient
eth0: route 192.0.2.192/26 of 192.0.2.10 by dhclient is refused: it is in 192.0.2.128/25 of vm0`
	if d := cmp.Diff(want, routesOf(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestClasslessRouteToThePeer: the other end of a point-to-point link has its route already.
func TestClasslessRouteToThePeer(t *testing.T) {
	h := newHost().link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true}).
		addr("ppp0", "203.0.113.9/32", func(a *rpdb.Address) { a.Peer = prefix("203.0.113.1/32") }).allow("0.0.0.0/0").
		lease("ppp0", "203.0.113.9", 1).classless("203.0.113.1/32 0.0.0.0", "203.0.113.2/32 0.0.0.0")
	if got, want := routesOf(uplink.Derive(h.Input)), "ppp0 203.0.113.2/32 src 203.0.113.9 by dhclient"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestClasslessProblemsBounded: whoever answers DHCP can name a hundred routes.
func TestClasslessProblemsBounded(t *testing.T) {
	for n, want := range map[int]string{8: "", 9: "eth0: and 1 routes more are refused", 100: "eth0: and 92 routes more are refused"} {
		h := crowded().lease("eth0", "192.0.2.10", 1, "192.0.2.1").allow("0.0.0.0/0")
		for i := range n {
			h.classless(fmt.Sprintf("172.16.1.%d/32 192.0.2.7", i))
		}
		lines := append(strings.Split(routesOf(uplink.Derive(h.Input)), "\n"), "")
		if len(lines) < 9 || lines[8] != want || len(lines) > 10 {
			t.Errorf("%d routes: %d lines, the ninth %q, want %q", n, len(lines)-1, lines[8], want)
		}
	}
}

// TestClasslessRoutesStayInside: whatever a lease says, every route is within what is allowed, takes nothing of a LAN or a VPN,
// is there once, and does not change where the uplink's own traffic goes.
func TestClasslessRoutesStayInside(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := crowded().lease("eth0", "192.0.2.10", 1, "192.0.2.1")
		before := outline(uplink.Derive(h.Input))
		any := rapid.Custom(func(t *rapid.T) netip.Prefix {
			a := rapid.SampledFrom([]string{"10.0.0.0", "10.64.1.2", "172.16.1.9", "192.0.2.129", "198.51.100.1", "127.0.0.1", "100.64.0.1", "0.0.0.0", "255.255.255.255"}).Draw(t, "address")
			return netip.PrefixFrom(addr(a), rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
		})
		for range rapid.IntRange(1, 6).Draw(t, "routes") {
			gw := rapid.SampledFrom([]string{"192.0.2.7", "0.0.0.0", "127.0.0.1", "10.1.1.1"}).Draw(t, "gateway")
			h.classless(any.Draw(t, "dst").String() + " " + gw)
		}
		h.Config.ClasslessRoutes = rapid.SliceOfN(any, 1, 3).Draw(t, "allowed")
		v := uplink.Derive(h.Input)
		if got := outline(v); got != before {
			t.Fatalf("without routes\n%s\nand with\n%s", before, got)
		}
		seen := map[netip.Prefix]bool{}
		for _, r := range v.Uplinks[0].Routes {
			inside := false
			for _, p := range h.Config.ClasslessRoutes {
				inside = inside || p.Bits() <= r.Dst.Bits() && p.Contains(r.Dst.Addr())
			}
			for _, p := range []string{"172.16.1.0/24", "198.51.100.0/24", "10.64.0.0/16", "127.0.0.0/8", "100.64.0.0/10", "240.0.0.0/4"} {
				barred := prefix(p).Bits() <= r.Dst.Bits() && prefix(p).Contains(r.Dst.Addr())
				inside = inside && !barred
			}
			if !inside || seen[r.Dst] || r.Dst.Bits() == 0 || r.Via.IsValid() && r.Via != addr("192.0.2.7") {
				t.Errorf("allowed %v, route %+v", h.Config.ClasslessRoutes, r)
			}
			seen[r.Dst] = true
		}
	})
}

// TestTunnelsLease: a tunnel is an uplink where a section says so, whatever leases there are of it; then it has its routes.
func TestTunnelsLease(t *testing.T) {
	for _, kind := range []string{"tun", "wireguard", "ovpn"} {
		h := newHost().link(rpdb.Link{Name: "tun0", Kind: kind, Type: 65534, PointToPoint: true}).addr("tun0", "10.8.0.2/24").
			lease("tun0", "10.8.0.2", 1, "10.8.0.1").classless("10.20.0.0/16 10.8.0.1").allow("10.20.0.0/16")
		h.Leases[0].Source = "openvpn"
		if v := uplink.Derive(h.Input); len(v.Uplinks) > 0 || len(v.Problems) > 0 {
			t.Errorf("%s: %s, %q", kind, outline(v), v.Problems)
		}
		h.Config.Uplinks = []config.Uplink{{Interface: "tun*", Settings: config.Settings{Configured: true, ClasslessRoutes: h.Config.ClasslessRoutes}}}
		v := uplink.Derive(h.Input)
		want := "tun0 up 10.8.0.2/24 > 10.8.0.1 src 10.8.0.2\ntun0 10.20.0.0/16 via 10.8.0.1 src 10.8.0.2 by openvpn"
		if d := cmp.Diff(want, outline(v)+"\n"+routesOf(v)); d != "" {
			t.Errorf("%s, with a section (-want +got):\n%s", kind, d)
		}
	}
}

// TestOrdinaryUsersLease: what an ordinary user may have said does not count for a link that is no tunnel: neither its gateway nor
// its name servers, nor its word that there is no gateway.
func TestOrdinaryUsersLease(t *testing.T) {
	for _, source := range []lease.Source{"openvpn", "generic@65534"} {
		h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24").lease("eth0", "192.0.2.10", 1, "192.0.2.1")
		want := outline(uplink.Derive(h.Input))
		h.lease("eth0", "192.0.2.10", 9, "192.0.2.66").classless("10.1.0.0/16 192.0.2.66").allow("0.0.0.0/0")
		h.Leases[1].Source, h.Leases[1].DNS = source, []netip.Addr{addr("192.0.2.66")}
		v := uplink.Derive(h.Input)
		if got := outline(v); got != want || len(v.Uplinks[0].DNS)+len(v.Uplinks[0].Routes) > 0 {
			t.Errorf("%s: %s, %+v", source, got, v.Uplinks[0])
		}
		problem := fmt.Sprintf("lease of 192.0.2.10 by %s on eth0 does not count: that is no tunnel", source)
		if d := cmp.Diff([]string{problem}, v.Problems); d != "" {
			t.Errorf("(-want +got):\n%s", d)
		}
		h.Leases = h.Leases[1:]
		h.Leases[0].Routers = nil
		if v := uplink.Derive(h.Input); len(v.Uplinks) > 0 {
			t.Errorf("%s alone makes an uplink: %s", source, outline(v))
		}
	}
}

// TestTwoAnnouncingRouters: of two prefixes that two routers announce on one link, each address goes by the router that announced
// its own (RFC 8028 section 3.1), though each router has a link-local address that says nothing of the prefix.
func TestTwoAnnouncingRouters(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8:a::1/64").addr("eth0", "2001:db8:b::1/64").addr("eth0", "fe80::10/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }).
		lease("eth0", "2001:db8:a::1", 1, "fe80::1").lease("eth0", "2001:db8:b::1", 2, "fe80::2")
	h.Leases[0].Source, h.Leases[1].Source = "dhcpcd-ra", "dhcpcd-ra"
	want := "eth0 up 2001:db8:a::1/64 > fe80::1 src 2001:db8:a::1\n" +
		"eth0-fe80::2 up 2001:db8:b::1/64 > fe80::2 src 2001:db8:b::1"
	v := uplink.Derive(h.Input)
	if d := cmp.Diff(want, outline(v)); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	for _, held := range v.Held {
		if held.Source != "dhcpcd-ra" || held.Class != uplink.ClassLease {
			t.Errorf("remembered: %+v", held)
		}
	}

	// What the first router says next makes no sense: its address keeps the gateway that it had, and the other one is not its.
	h.Held = v.Held
	h.Leases[0].Routers, h.Leases[0].Refused, h.Leases[0].Seq = nil, true, 3
	v = uplink.Derive(h.Input)
	want = strings.Replace(want, "eth0 up", "eth0 degraded", 1)
	if d := cmp.Diff(want, outline(v)); d != "" {
		t.Errorf("refused (-want +got):\n%s", d)
	}
	if p := v.Uplinks[0].Problems; len(p) != 1 || p[0] != "lease of 2001:db8:a::1 by dhcpcd-ra is refused: none of the gateways that it named can be one" {
		t.Errorf("problems: %q", p)
	}
}
