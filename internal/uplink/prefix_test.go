package uplink_test

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// sources is what the rules go by: "eth0: 192.0.2.10, 2001:db8::/64 lo x2", one uplink a line; "x2" is how many addresses.
func sources(v uplink.View) string {
	var lines []string
	for _, u := range v.Uplinks {
		var ss []string
		for _, s := range u.Sources {
			text := s.Prefix.String()
			if s.Prefix.IsSingleIP() {
				text = s.Prefix.Addr().String()
			}
			if s.Local {
				text += " lo"
			}
			if len(s.Addresses) > 1 {
				text += fmt.Sprintf(" x%d", len(s.Addresses))
			}
			ss = append(ss, text)
		}
		lines = append(lines, u.Name+": "+strings.Join(ss, ", "))
	}
	return strings.Join(lines, "\n")
}

func temporary(a *rpdb.Address)     { a.Temporary = true }
func tentative(a *rpdb.Address)     { a.Tentative = true }
func failed(a *rpdb.Address)        { a.DADFailed = true }
func deprecated(a *rpdb.Address)    { a.Deprecated = true }
func noPrefixRoute(a *rpdb.Address) { a.NoPrefixRoute = true }

// four is a link with two IPv4 addresses of one subnet; six one with an address of its own and a temporary one.
func four() *host {
	return newHost().eth("eth0", "eth1", "lan0").addr("eth0", "192.0.2.10/24").addr("eth0", "192.0.2.11/24").
		gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP)
}

func six() *host {
	return newHost().eth("eth0", "eth1", "lan0").addr("eth0", "2001:db8::10/64").addr("eth0", "2001:db8::aaaa/64", temporary).
		gateway("eth0", "fe80::1", rpdb.ProtoRA)
}

func TestSources(t *testing.T) {
	for _, tc := range []struct {
		name string
		host *host
		want string
	}{
		{"one IPv4 address", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP), "eth0: 192.0.2.10"},
		{"the same twice is one", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").addr("eth0", "192.0.2.10/32").
			gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP), "eth0: 192.0.2.10"},
		{"two of one subnet", four(), "eth0: 192.0.2.0/24 lo x2"},
		{"two of two subnets", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").addr("eth0", "198.51.100.20/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP), "eth0: 192.0.2.10, 198.51.100.20"},
		{"a third one beside two", four().addr("eth0", "203.0.113.7/32"), "eth0: 192.0.2.0/24 lo x2, 203.0.113.7"},
		{"one IPv6 address, for the temporary ones to come", newHost().eth("eth0").addr("eth0", "2001:db8::10/64").gateway("eth0", "fe80::1", rpdb.ProtoRA),
			"eth0: 2001:db8::/64 lo"},
		{"a temporary one beside it", six(), "eth0: 2001:db8::/64 lo x2"},
		{"a deprecated one stays", six().addr("eth0", "2001:db8::bbbb/64", temporary, deprecated), "eth0: 2001:db8::/64 lo x3"},
		{"nothing comes of a tentative one, nor of a duplicate", six().addr("eth0", "2001:db8::c/64", tentative).addr("eth0", "2001:db8::d/64", failed),
			"eth0: 2001:db8::/64 lo x2"},
		{"two prefixes", six().addr("eth0", "2001:db8:1::10/64"), "eth0: 2001:db8::/64 lo x2, 2001:db8:1::/64 lo"},
		{"a DHCPv6 host address in the prefix on the link", six().addr("eth0", "2001:db8::d6/128"), "eth0: 2001:db8::/64 lo x3"},
		{"one that is alone in it", newHost().eth("eth0").addr("eth0", "2001:db8::d6/128").route("eth0", "2001:db8::/64").
			gateway("eth0", "fe80::1", rpdb.ProtoRA), "eth0: 2001:db8::/64 lo"},
		{"one in no prefix", six().addr("eth0", "2001:db8:5::d6/128"), "eth0: 2001:db8::/64 lo x2, 2001:db8:5::d6"},
		{"a prefix that is not on-link", newHost().eth("eth0").addr("eth0", "2001:db8::10/64", noPrefixRoute).
			addr("eth0", "2001:db8::aaaa/64", noPrefixRoute, temporary).gateway("eth0", "fe80::1", rpdb.ProtoRA), "eth0: 2001:db8::/64 lo x2"},
		{"a peer is no subnet", newHost().link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true}).
			addr("ppp0", "10.64.0.100/32", func(a *rpdb.Address) { a.Peer = netip.MustParsePrefix("10.64.0.1/32") }).
			addr("ppp0", "2001:db8::7/128", func(a *rpdb.Address) { a.Peer = netip.MustParsePrefix("2001:db8::8/128") }),
			"ppp0: 10.64.0.100, 2001:db8::7"},
		{"a down link has the fence by the prefix", four().down("eth0"), "eth0: 192.0.2.0/24 lo x2"},
		{"an address of another uplink in it", four().addr("eth1", "192.0.2.20/24").gateway("eth1", "192.0.2.1", rpdb.ProtoDHCP),
			"eth0: 192.0.2.10, 192.0.2.11\neth1: 192.0.2.20"},
		{"one of a LAN", six().addr("lan0", "2001:db8::1/128"), "eth0: 2001:db8::10, 2001:db8::aaaa"},
		{"one of a LAN, tentative yet", six().addr("lan0", "2001:db8::1/128", tentative), "eth0: 2001:db8::10, 2001:db8::aaaa"},
		{"a LAN inside a wide one", newHost().eth("eth0", "lan0").addr("eth0", "10.0.0.5/8").addr("eth0", "10.0.0.6/8").addr("lan0", "10.5.0.1/16").
			gateway("eth0", "10.0.0.1", rpdb.ProtoDHCP), "eth0: 10.0.0.5, 10.0.0.6"},
		{"the inner one of two uplinks keeps its prefix", newHost().eth("eth0", "eth1").addr("eth0", "2001:db8::5/48").addr("eth1", "2001:db8:0:1::5/64").
			gateway("eth0", "fe80::1", rpdb.ProtoRA).gateway("eth1", "fe80::2", rpdb.ProtoRA), "eth0: 2001:db8::5\neth1: 2001:db8:0:1::/64 lo"},
		{"of nested ones of a link each has its own", newHost().eth("eth0").addr("eth0", "2001:db8::5/48").addr("eth0", "2001:db8:0:1::5/64").
			addr("eth0", "2001:db8:0:1::6/48").gateway("eth0", "fe80::1", rpdb.ProtoRA), "eth0: 2001:db8::/48 lo, 2001:db8:0:1::/64 lo x2"},
		{"somebody else's rule is about one of them", four().rule("192.0.2.11/32"), "eth0: 192.0.2.10"},
		{"two gateways in one prefix", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").addr("eth0", "192.0.2.11/24").addr("eth0", "192.0.2.12/24").
			lease("eth0", "192.0.2.10", 1, "192.0.2.1").lease("eth0", "192.0.2.11", 1, "192.0.2.1").lease("eth0", "192.0.2.12", 1, "192.0.2.2"),
			"eth0: 192.0.2.10, 192.0.2.11\neth0-192.0.2.2: 192.0.2.12"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, sources(uplink.Derive(tc.host.Input))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// rule is one of somebody else's, behind our block.
func (h *host) rule(from string) *host {
	h.snap.Rules = append(h.snap.Rules, rpdb.Rule{Family: rpdb.IPv4, Priority: 20000, Src: netip.MustParsePrefix(from), Action: rpdb.ActLookup, Table: 200})
	return h
}

// TestSourcesWhileDown: the fence of a link that is down goes by what its rules went by while it was up, also where the kernel
// was told to add no routes to the subnets.
func TestSourcesWhileDown(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24", noPrefixRoute).addr("eth0", "192.0.2.11/24", noPrefixRoute).
		gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP).route("eth0", "192.0.2.0/24")
	want := "eth0: 192.0.2.0/24 lo x2"
	if got := sources(h.look()); got != want {
		t.Errorf("up: %q, want %q", got, want)
	}
	h.down("eth0").snap.Routes = nil
	if got := sources(h.look()); got != want {
		t.Errorf("down: %q, want %q", got, want)
	}
}

// TestSourcesWithoutRouter: the router went silent, the address is fenced. The kernel makes temporary addresses for as long as
// the prefix is valid, and no word routes those; they go to the same fence. What else comes without a router is nobody's
// business, as before.
func TestSourcesWithoutRouter(t *testing.T) {
	for _, tc := range []struct {
		name, want string
		change     func(*rpdb.Address)
	}{
		{"temporary", "eth0: 2001:db8::/64 lo x2", temporary},
		{"by hand", "eth0: 2001:db8::10, 2001:db8::aaaa", func(*rpdb.Address) {}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := six()
			h.look()
			v := h.lose("eth0").addr("eth0", "2001:db8::bbbb/64", tc.change).look()
			if got := sources(v); got != tc.want {
				t.Errorf("%q, want %q", got, tc.want)
			}
			if n := len(v.Uplinks[0].Addresses); n != 2 {
				t.Errorf("%d addresses, want the two that had a router", n)
			}
		})
	}
}

// TestSourcesTemporaryOfAnother: with another router's uplink it is another thing: that one's rules are about it.
func TestSourcesTemporaryOfAnother(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8::10/64").addr("eth0", "2001:db8::aaaa/64", temporary).
		lease("eth0", "2001:db8::10", 1, "fe80::1").lease("eth0", "2001:db8::aaaa", 1, "fe80::2")
	if got, want := sources(uplink.Derive(h.Input)), "eth0: 2001:db8::10\neth0-fe80::2: 2001:db8::aaaa"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSourcesOfShared: the same address on two links, and the prefix with it: the owner keeps the rules, by address.
func TestSourcesOfShared(t *testing.T) {
	h := six().addr("eth1", "2001:db8::10/64").gateway("eth1", "fe80::2", rpdb.ProtoRA)
	if got, want := sources(uplink.Derive(h.Input)), "eth0: 2001:db8::10, 2001:db8::aaaa\neth1: "; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestSourcesServeEach: whatever the addresses, each that is not left has one source, which holds it; and no packet of an
// address of the host finds rules of an uplink that it is not of.
func TestSourcesServeEach(t *testing.T) {
	cidrs := []string{
		"192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/25", "192.0.2.12/32", "192.0.2.200/24", "198.51.100.20/24",
		"2001:db8::10/64", "2001:db8::11/64", "2001:db8::12/128", "2001:db8::13/48", "2001:db8:0:1::1/64",
	}
	rapid.Check(t, func(rt *rapid.T) {
		h := newHost().eth("eth0", "eth1", "lan0")
		for _, cidr := range rapid.SliceOfN(rapid.SampledFrom(cidrs), 0, 8).Draw(rt, "addresses") {
			dev := rapid.SampledFrom([]string{"eth0", "eth0", "eth1", "lan0"}).Draw(rt, "dev")
			h.addr(dev, cidr, func(a *rpdb.Address) {
				a.Temporary, a.Tentative = rapid.Bool().Draw(rt, "temporary"), rapid.IntRange(0, 5).Draw(rt, "tentative") == 0
			})
		}
		for _, gw := range rapid.SliceOfN(rapid.SampledFrom([]string{"192.0.2.1", "198.51.100.1", "fe80::1"}), 0, 3).Draw(rt, "gateways") {
			h.gateway(rapid.SampledFrom([]string{"eth0", "eth1"}).Draw(rt, "by"), gw, rpdb.ProtoDHCP)
		}
		checkSources(rt, h.snap.Addresses, uplink.Derive(h.Input))
	})
}

func checkSources(t *rapid.T, host []rpdb.Address, v uplink.View) {
	owner := make(map[netip.Addr]string)
	for _, u := range v.Uplinks {
		for _, a := range u.Addresses {
			n := 0
			for _, s := range u.Sources {
				if slices.Contains(s.Addresses, a.Addr) && s.Prefix.Contains(a.Addr) {
					n++
				}
			}
			if n > 1 || (n == 0) != a.Left {
				t.Fatalf("%s of %s has %d sources; left: %v\n%s", a.Addr, u.Name, n, a.Left, sources(v))
			}
			if !a.Left {
				owner[a.Addr] = u.Name
			}
		}
	}
	for _, u := range v.Uplinks {
		for _, s := range u.Sources {
			for _, a := range host {
				ip := a.Prefix.Addr()
				unrouted := a.Tentative || a.Link == u.Link.Index && a.Temporary
				if s.Prefix.Contains(ip) && owner[ip] != u.Name && !unrouted {
					t.Fatalf("%s of %s takes the packets of %s on link %d\n%s", s.Prefix, u.Name, ip, a.Link, sources(v))
				}
			}
		}
	}
}

// TestSourcesOfConfigured: a tunnel's address with the length of its network, as WireGuard's are, goes by the same.
func TestSourcesOfConfigured(t *testing.T) {
	h := newHost().link(rpdb.Link{Name: "wg0", Kind: "wireguard", Type: 65534, PointToPoint: true}).addr("wg0", "10.8.0.2/24").addr("wg0", "2001:db8:8::2/64")
	h.Config.Uplinks = []config.Uplink{{Kind: "wireguard", Settings: config.Settings{Configured: true}}}
	if got, want := sources(uplink.Derive(h.Input)), "wg0: 10.8.0.2, 2001:db8:8::/64 lo"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
