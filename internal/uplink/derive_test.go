package uplink_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// host builds an Input.
type host struct {
	uplink.Input
	snap rpdb.Snapshot
}

func newHost() *host {
	h := &host{Input: uplink.Input{Config: config.Default(), Ages: uplink.Ages{}}}
	h.Snapshot = &h.snap
	return h
}

func (h *host) link(l rpdb.Link) *host {
	l.Index = len(h.snap.Links) + 2
	l.Up, l.Carrier = true, true
	if l.Type == 0 {
		l.Type = 1
	}
	h.snap.Links = append(h.snap.Links, l)
	return h
}

func (h *host) eth(names ...string) *host {
	for _, n := range names {
		h.link(rpdb.Link{Name: n})
	}
	return h
}

func (h *host) index(name string) int {
	for _, l := range h.snap.Links {
		if l.Name == name {
			return l.Index
		}
	}
	panic("no link " + name)
}

func (h *host) addr(link, cidr string, change ...func(*rpdb.Address)) *host {
	a := rpdb.Address{Link: h.index(link), Prefix: netip.MustParsePrefix(cidr)}
	for _, c := range change {
		c(&a)
	}
	h.snap.Addresses = append(h.snap.Addresses, a)
	return h
}

func (h *host) route(link, dst string, change ...func(*rpdb.Route)) *host {
	r := rpdb.Route{Type: rpdb.Unicast, OIF: h.index(link), Scope: rpdb.ScopeLink, Protocol: rpdb.ProtoBoot}
	r.Table, r.Dst = rpdb.TableMain, netip.MustParsePrefix(dst)
	for _, c := range change {
		c(&r)
	}
	h.snap.Routes = append(h.snap.Routes, r)
	return h
}

func (h *host) down(name string) *host {
	for i := range h.snap.Links {
		if h.snap.Links[i].Name == name {
			h.snap.Links[i].Up = false
		}
	}
	return h
}

func (h *host) gateway(link, via string, protocol uint8, change ...func(*rpdb.Route)) *host {
	r := rpdb.Route{Type: rpdb.Unicast, OIF: h.index(link), Protocol: protocol}
	r.Table = rpdb.TableMain
	r.Dst = rpdb.IPv4.Any()
	if via != "" {
		r.Via = addr(via)
		r.Dst = rpdb.FamilyOf(r.Via).Any()
	}
	for _, c := range change {
		c(&r)
	}
	h.snap.Routes = append(h.snap.Routes, r)
	return h
}

// by makes the last lease another source's, with a lifetime.
func (h *host) by(source lease.Source, life time.Duration) *host {
	l := &h.Leases[len(h.Leases)-1]
	l.Source, l.Lifetime = source, life
	return h
}

// permanent makes the last address one without a lifetime.
func (h *host) permanent() *host {
	h.snap.Addresses[len(h.snap.Addresses)-1].Permanent = true
	return h
}

func (h *host) lease(link, ip string, seq uint64, routers ...string) *host {
	l := uplink.Lease{Link: h.index(link), Seq: seq, Lease: lease.Lease{Source: "dhclient", Address: addr(ip)}}
	for _, r := range routers {
		l.Routers = append(l.Routers, addr(r))
	}
	h.Leases = append(h.Leases, l)
	return h
}

// outline is a view in short: "eth0 up 192.0.2.10/24>192.0.2.1", one uplink a line.
func outline(v uplink.View) string {
	var lines []string
	for _, u := range v.Uplinks {
		line := u.Name + " " + string(u.State)
		for _, a := range u.Addresses {
			line += fmt.Sprintf(" %s/%d", a.Addr, a.Bits)
		}
		for _, g := range u.Gateways {
			via := "dev"
			if g.Via.IsValid() {
				via = g.Via.String()
			}
			if g.Onlink {
				via += " onlink"
			}
			line += " > " + via
			if g.Src.IsValid() {
				line += " src " + g.Src.String()
			}
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestDerive(t *testing.T) {
	tentative := func(a *rpdb.Address) { a.Tentative = true }
	for _, tc := range []struct {
		name string
		host *host
		want string
	}{
		{"a LAN is no uplink", newHost().eth("lan0").addr("lan0", "10.0.0.1/24"), ""},
		{"a default route makes one", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").gateway("eth0", "192.0.2.1", rpdb.ProtoBoot),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"an administrator's in another table does not: that is policy routing", newHost().eth("lan0").addr("lan0", "192.168.1.1/24").
			gateway("lan0", "192.168.1.5", rpdb.ProtoBoot, func(r *rpdb.Route) { r.Table = 200 }), ""},
		{"a client's in another table does", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Table = 77 }),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"but not in one of ours", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Table = 7005 }), ""},
		{"a lease makes one", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").lease("eth0", "192.0.2.10", 1, "192.0.2.1"),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"of one age a route of protocol dhcp beats a lease", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 0, "192.0.2.1").gateway("eth0", "192.0.2.2", rpdb.ProtoDHCP),
			"eth0 up 192.0.2.10/24 > 192.0.2.2 src 192.0.2.10"},
		{"and a lease one of protocol boot, which its client's script may have left", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 0, "192.0.2.1").gateway("eth0", "192.0.2.2", rpdb.ProtoBoot),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"one of protocol static somebody meant, however new the lease", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 9, "192.0.2.1").gateway("eth0", "192.0.2.2", rpdb.ProtoStatic),
			"eth0 up 192.0.2.10/24 > 192.0.2.2 src 192.0.2.10"},
		{"a client that keeps its routes true would have its own there", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 9, "192.0.2.1").by("networkd", 0).gateway("eth0", "192.0.2.2", rpdb.ProtoBoot),
			"eth0 up 192.0.2.10/24 > 192.0.2.2 src 192.0.2.10"},
		{"and without one its lease counts", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 9, "192.0.2.1").by("networkd", time.Hour),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"but not for an address that has no lifetime where the lease has one", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			permanent().lease("eth0", "192.0.2.10", 9, "192.0.2.1").by("networkd", time.Hour), ""},
		{"a lease for ever is one for such an address", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			permanent().lease("eth0", "192.0.2.10", 9, "192.0.2.1").by("networkd", lease.Infinite),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"of a client's route and a better one beside it the kernel takes the better", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.9", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Metric = 1024 }).
			gateway("eth0", "192.0.2.1", rpdb.ProtoStatic, func(r *rpdb.Route) { r.Metric = 10 }),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"of a static one and an advertisement of low preference, too", newHost().eth("eth0").addr("eth0", "2001:db8::9/64").
			gateway("eth0", "fe80::9", rpdb.ProtoRA, func(r *rpdb.Route) { r.Metric, r.Pref = 1024, rpdb.PrefLow }).
			gateway("eth0", "fe80::1", rpdb.ProtoStatic, func(r *rpdb.Route) { r.Metric = 1024 }),
			"eth0 up 2001:db8::9/64 > fe80::1"},
		{"a newer lease beats a route of protocol dhcp", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 3, "192.0.2.1").gateway("eth0", "192.0.2.2", rpdb.ProtoDHCP),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"of several routes main's counts, then the smaller metric", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.3", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Metric = 200 }).
			gateway("eth0", "192.0.2.2", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Metric = 100 }).
			gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Table = 9 }),
			"eth0 up 192.0.2.10/24 > 192.0.2.2 src 192.0.2.10"},
		{"a tentative address waits", newHost().eth("eth0").addr("eth0", "2001:db8::1/64", tentative).gateway("eth0", "fe80::1", rpdb.ProtoRA), ""},
		{"a duplicate one too", newHost().eth("eth0").addr("eth0", "2001:db8::1/64", func(a *rpdb.Address) { a.DADFailed = true }).
			gateway("eth0", "fe80::1", rpdb.ProtoRA), ""},
		{"link-local addresses are none", newHost().eth("eth0").addr("eth0", "fe80::1/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }).
			addr("eth0", "169.254.3.4/16").gateway("eth0", "169.254.0.1", rpdb.ProtoBoot), ""},
		{"a deprecated address stays, and is not preferred", newHost().eth("eth0").
			addr("eth0", "192.0.2.10/24", func(a *rpdb.Address) { a.Deprecated = true }).addr("eth0", "192.0.2.11/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoBoot),
			"eth0 up 192.0.2.10/24 192.0.2.11/24 > 192.0.2.1 src 192.0.2.11"},
		{"the address in the gateway's subnet is preferred", newHost().eth("eth0").addr("eth0", "203.0.113.9/32").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoBoot),
			"eth0 up 192.0.2.10/24 203.0.113.9/32 > 192.0.2.1 src 192.0.2.10"},
		{"a private address behind a public gateway is a LAN's", newHost().eth("eth0").addr("eth0", "10.0.0.9/24").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoBoot), "eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"the leased address is preferred", newHost().eth("eth0").addr("eth0", "192.0.2.5/24").addr("eth0", "192.0.2.50/24").
			lease("eth0", "192.0.2.50", 1, "192.0.2.1"), "eth0 up 192.0.2.5/24 192.0.2.50/24 > 192.0.2.1 src 192.0.2.50"},
		{"then the kernel's own first one", newHost().eth("eth0").addr("eth0", "192.0.2.50/24").addr("eth0", "192.0.2.5/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoBoot), "eth0 up 192.0.2.5/24 192.0.2.50/24 > 192.0.2.1 src 192.0.2.50"},
		{"a default whose subnet is gone is stale", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "10.1.5.1", rpdb.ProtoBoot).gateway("eth0", "192.0.2.1", rpdb.ProtoBoot, func(r *rpdb.Route) { r.Metric = 100 }),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"},
		{"a host route holds its gateway", newHost().eth("eth0").addr("eth0", "192.0.2.10/32").
			gateway("eth0", "10.254.0.1", rpdb.ProtoBoot).route("eth0", "10.254.0.1/32"),
			"eth0 up 192.0.2.10/32 > 10.254.0.1 onlink src 192.0.2.10"},
		{"also one in the default's own table", newHost().eth("eth0").addr("eth0", "203.0.113.7/32").
			gateway("eth0", "172.31.1.1", rpdb.ProtoDHCP, func(r *rpdb.Route) { r.Table = 100 }).
			route("eth0", "172.31.1.1/32", func(r *rpdb.Route) { r.Table = 100 }),
			"eth0 up 203.0.113.7/32 > 172.31.1.1 onlink src 203.0.113.7"},
		{"one gateway is one uplink, whoever says that it is onlink", newHost().eth("eth0").addr("eth0", "192.0.2.2/24").
			addr("eth0", "192.0.2.3/24").lease("eth0", "192.0.2.2", 9, "192.0.2.1").
			gateway("eth0", "192.0.2.1", rpdb.ProtoBoot, func(r *rpdb.Route) { r.Onlink = true }),
			"eth0 up 192.0.2.2/24 192.0.2.3/24 > 192.0.2.1 onlink src 192.0.2.2"},
		{"without a route to its subnet the gateway is onlink", newHost().eth("eth0").
			addr("eth0", "192.0.2.10/24", func(a *rpdb.Address) { a.NoPrefixRoute = true }).lease("eth0", "192.0.2.10", 1, "192.0.2.1"),
			"eth0 up 192.0.2.10/24 > 192.0.2.1 onlink src 192.0.2.10"},
		{"a link-local gateway may be another link's own address", newHost().eth("eth0", "br0").addr("eth0", "2001:db8::1/64").
			addr("br0", "fe80::1/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }).gateway("eth0", "fe80::1", rpdb.ProtoRA),
			"eth0 up 2001:db8::1/64 > fe80::1"},
		{"but not its own link's", newHost().eth("eth0").addr("eth0", "2001:db8::1/64").
			addr("eth0", "fe80::1/64", func(a *rpdb.Address) { a.Scope = rpdb.ScopeLink }).gateway("eth0", "fe80::1", rpdb.ProtoRA), ""},
		{"the router that says it is preferred", newHost().eth("eth0").addr("eth0", "2001:db8::1/64").
			gateway("eth0", "fe80::1", rpdb.ProtoRA).gateway("eth0", "fe80::3", rpdb.ProtoRA, func(r *rpdb.Route) { r.Pref = rpdb.PrefHigh }),
			"eth0 up 2001:db8::1/64 > fe80::3"},
		{"a point-to-point link needs no gateway", newHost().link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true}).
			addr("ppp0", "10.64.0.100/32", func(a *rpdb.Address) { a.Peer = netip.MustParsePrefix("10.64.0.1/32") }),
			"ppp0 up 10.64.0.100/32 > dev src 10.64.0.100"},
		{"a server's ends of its clients' sessions are no uplinks", newHost().
			link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true}).link(rpdb.Link{Name: "ppp1", Type: 512, PointToPoint: true}).
			addr("ppp0", "10.64.0.1/32", func(a *rpdb.Address) { a.Peer = netip.MustParsePrefix("10.64.0.100/32") }).
			addr("ppp1", "10.64.0.1/32", func(a *rpdb.Address) { a.Peer = netip.MustParsePrefix("10.64.0.101/32") }), ""},
		{"a VPN's tunnel is none by itself", newHost().link(rpdb.Link{Name: "wg0", Kind: "wireguard", Type: 65534}).
			addr("wg0", "10.8.0.2/24").gateway("wg0", "", rpdb.ProtoBoot), ""},
		{"a port of a bridge is none", newHost().link(rpdb.Link{Name: "eth0", Master: 9}).addr("eth0", "192.0.2.10/24").
			gateway("eth0", "192.0.2.1", rpdb.ProtoBoot), ""},
		{"a default route with no gateway", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").gateway("eth0", "", rpdb.ProtoStatic),
			"eth0 up 192.0.2.10/24 > dev src 192.0.2.10"},
		{"IPv4 by way of an IPv6 next hop", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "fe80::1", rpdb.ProtoStatic, func(r *rpdb.Route) { r.Dst = rpdb.IPv4.Any() }),
			"eth0 up 192.0.2.10/24 > fe80::1 src 192.0.2.10"},
		{"but not by a lease, nor the other way round", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").addr("eth0", "2001:db8::1/64").
			lease("eth0", "192.0.2.10", 1, "fe80::1").lease("eth0", "2001:db8::1", 1, "192.0.2.1"), ""},
		{"both families in one", newHost().eth("eth0").addr("eth0", "2001:db8::1/64").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "fe80::1", rpdb.ProtoRA).gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP),
			"eth0 up 192.0.2.10/24 2001:db8::1/64 > 192.0.2.1 src 192.0.2.10 > fe80::1"},
		{"a /0 is refused", newHost().eth("eth0").addr("eth0", "192.0.2.10/0").gateway("eth0", "192.0.2.1", rpdb.ProtoBoot), ""},
		{"an off-link gateway of a route is on the link", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			gateway("eth0", "10.254.0.1", rpdb.ProtoStatic, func(r *rpdb.Route) { r.Onlink = true }),
			"eth0 up 192.0.2.10/24 > 10.254.0.1 onlink src 192.0.2.10"},
		{"while the link is down there is no gateway, whatever the lease says", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 1, "192.0.2.1").down("eth0"), "eth0 down 192.0.2.10/24"},
		{"the first good router of a lease counts", newHost().eth("eth0").addr("eth0", "192.0.2.10/24").
			lease("eth0", "192.0.2.10", 1, "0.0.0.0", "240.0.0.1", "192.0.2.9", "192.0.2.1"),
			"eth0 up 192.0.2.10/24 > 192.0.2.9 src 192.0.2.10"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, outline(uplink.Derive(tc.host.Input))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

// TestConfiguredTunnel: what the configuration names is an uplink whatever its kind, and one session of a server's too.
func TestConfiguredTunnel(t *testing.T) {
	h := newHost().link(rpdb.Link{Name: "wg0", Kind: "wireguard", Type: 65534}).addr("wg0", "10.8.0.2/24").gateway("wg0", "", rpdb.ProtoBoot)
	h.Config.Uplinks = []config.Uplink{{Kind: "wireguard", Settings: config.Settings{Configured: true}}}
	if got, want := outline(uplink.Derive(h.Input)), "wg0 up 10.8.0.2/24 > dev src 10.8.0.2"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestOption121: with option 121 the router option does not count (RFC 3442); without a default in it there is none.
func TestOption121(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24").lease("eth0", "192.0.2.10", 1, "192.0.2.1")
	l := &h.Leases[0]
	l.HasClassless = true
	l.Classless = []lease.Route{{Dst: netip.MustParsePrefix("10.0.0.0/8"), Gateway: addr("192.0.2.8")}}
	if got := outline(uplink.Derive(h.Input)); got != "" {
		t.Errorf("without a default: %s", got)
	}
	l.Classless = append(l.Classless, lease.Route{Dst: rpdb.IPv4.Any(), Gateway: addr("192.0.2.7")})
	if got, want := outline(uplink.Derive(h.Input)), "eth0 up 192.0.2.10/24 > 192.0.2.7 src 192.0.2.10"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestNoPrefixRoute: a subnet counts as connected only if the kernel, or whoever told it to leave that alone, has a
// route to it.
func TestNoPrefixRoute(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8::1/64", func(a *rpdb.Address) { a.NoPrefixRoute = true }).
		gateway("eth0", "fe80::1", rpdb.ProtoRA)
	subnet := func() netip.Prefix { return uplink.Derive(h.Input).Uplinks[0].Addresses[0].Subnet }
	if got := subnet(); got.IsValid() {
		t.Errorf("off-link: connected to %s", got)
	}
	h.snap.Routes = append(h.snap.Routes, rpdb.Route{
		RouteKey: rpdb.RouteKey{Table: rpdb.TableMain, Dst: netip.MustParsePrefix("2001:db8::/64"), Metric: 256},
		Type:     rpdb.Unicast, OIF: 2, Protocol: rpdb.ProtoRA,
	})
	if got, want := subnet(), netip.MustParsePrefix("2001:db8::/64"); got != want {
		t.Errorf("on-link: connected to %s, want %s", got, want)
	}
}

// TestHostAddress: an address of DHCPv6 is a host address; its subnet is the prefix that a router announced as on-link.
func TestHostAddress(t *testing.T) {
	h := newHost().eth("eth0", "eth1").addr("eth0", "2001:db8::1/128").gateway("eth0", "fe80::1", rpdb.ProtoRA)
	onLink := func(dst string, dev string) {
		h.snap.Routes = append(h.snap.Routes, rpdb.Route{
			RouteKey: rpdb.RouteKey{Table: rpdb.TableMain, Dst: netip.MustParsePrefix(dst), Metric: 256},
			Type:     rpdb.Unicast, OIF: h.index(dev), Protocol: rpdb.ProtoKernel,
		})
	}
	onLink("2001:db8::1/128", "eth0")
	onLink("2001:db8:9::/64", "eth0")
	onLink("2001:db8::/80", "eth1")
	subnet := func() netip.Prefix { return uplink.Derive(h.Input).Uplinks[0].Addresses[0].Subnet }
	if got := subnet(); got.IsValid() {
		t.Errorf("connected to %s: that is another link's, or itself", got)
	}
	onLink("2001:db8::/32", "eth0")
	onLink("2001:db8::/64", "eth0")
	if got, want := subnet(), netip.MustParsePrefix("2001:db8::/64"); got != want {
		t.Errorf("connected to %s, want the longest, %s", got, want)
	}
}

// TestTwoRoutersIPv6: with two gateways of one family on a link the kernel's choice of a source by the link is not
// enough, so each default route says which.
func TestTwoRoutersIPv6(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8:a::1/64").addr("eth0", "2001:db8:b::1/64").
		gateway("eth0", "2001:db8:a::ff", rpdb.ProtoStatic).gateway("eth0", "2001:db8:b::ff", rpdb.ProtoStatic, func(r *rpdb.Route) { r.Metric = 2 })
	want := "eth0 up 2001:db8:a::1/64 > 2001:db8:a::ff src 2001:db8:a::1\n" +
		"eth0-2001:db8:b::ff up 2001:db8:b::1/64 > 2001:db8:b::ff src 2001:db8:b::1"
	if d := cmp.Diff(want, outline(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestHeld: what an address had is remembered, and holds it when its gateway goes without a word; not when an
// administrator's own route goes, for then the administrator meant it.
func TestHeld(t *testing.T) {
	for _, tc := range []struct {
		name     string
		protocol uint8
		flushed  bool
		down     bool
		want     string
	}{
		{"a client's route goes", rpdb.ProtoRA, false, false, "eth0 degraded 192.0.2.10/24"},
		{"an administrator's route goes", rpdb.ProtoStatic, false, false, ""},
		{"an administrator's route went with a link that is up again", rpdb.ProtoStatic, true, false, "eth0 degraded 192.0.2.10/24"},
		{"the link goes down", rpdb.ProtoStatic, true, true, "eth0 down 192.0.2.10/24"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24").gateway("eth0", "192.0.2.1", tc.protocol)
			h.Held = uplink.Derive(h.Input).Held
			// What is in our own table: the kernel flushes it with the link, and only then.
			ours := rpdb.Route{RouteKey: rpdb.RouteKey{Table: 7001, Dst: netip.MustParsePrefix("192.0.2.0/24")}, OIF: 2, Protocol: h.Config.Protocol}
			if h.snap.Routes = nil; !tc.flushed {
				h.snap.Routes = []rpdb.Route{ours}
			}
			h.snap.Links[0].Up = !tc.down
			if got := outline(uplink.Derive(h.Input)); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestHeldStays: once the gateway fell with the link, the fence stands until there is a gateway again, also when other routes
// of ours are back; and a lease whose gateways are refused is no word that there is none.
func TestHeldStays(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24")
	h.snap.Routes = []rpdb.Route{{
		RouteKey: rpdb.RouteKey{Table: 7001, Dst: netip.MustParsePrefix("192.0.2.0/24")}, OIF: 2, Protocol: h.Config.Protocol,
	}}
	h.Held = []uplink.Held{{Link: 2, Addr: addr("192.0.2.10"), Class: uplink.ClassStatic, Fell: true}}
	v := uplink.Derive(h.Input)
	if got, want := outline(v), "eth0 degraded 192.0.2.10/24"; got != want || !v.Held[0].Fell {
		t.Errorf("got %q, want %q; held %+v", got, want, v.Held)
	}
	h.Held = []uplink.Held{{Link: 2, Addr: addr("192.0.2.10"), Class: uplink.ClassClient, Gateway: addr("192.0.2.1")}}
	h.lease("eth0", "192.0.2.10", 1)
	h.Leases[0].Refused = true
	if got, want := outline(uplink.Derive(h.Input)), "eth0 degraded 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10"; got != want {
		t.Errorf("got %q, want %q: the gateway that the client's route named still counts", got, want)
	}
	h.Held[0].Class = uplink.ClassConfig
	if got, want := outline(uplink.Derive(h.Input)), "eth0 degraded 192.0.2.10/24"; got != want {
		t.Errorf("got %q, want %q: what the configuration said and says no more", got, want)
	}
	h.Leases[0].Refused = false
	if got := outline(uplink.Derive(h.Input)); got != "" {
		t.Errorf("got %q: the client says that there is no gateway", got)
	}
}

// TestHeldIsKeptWhereItCanBe: what worked before takes the place of a refused gateway for the address whose lease that is, and only
// as long as it can be a gateway itself.
func TestHeldIsKeptWhereItCanBe(t *testing.T) {
	h := newHost().eth("eth0", "lan0").addr("eth0", "192.0.2.10/24").addr("eth0", "198.51.100.20/24").
		lease("eth0", "192.0.2.10", 1).lease("eth0", "198.51.100.20", 1)
	h.Leases[0].Refused, h.Leases[1].Refused = true, true
	h.Held = []uplink.Held{
		{Link: 2, Addr: addr("192.0.2.10"), Class: uplink.ClassLease, Gateway: addr("192.0.2.1")},
		{Link: 2, Addr: addr("198.51.100.20"), Class: uplink.ClassLease, Gateway: addr("198.51.100.1")},
	}
	if got := outline(uplink.Derive(h.Input)); !strings.Contains(got, "> 192.0.2.1 src 192.0.2.10") || !strings.Contains(got, "> 198.51.100.1 src 198.51.100.20") {
		t.Errorf("both are kept: %q", got)
	}
	h.addr("lan0", "192.0.2.1/32")
	if got := outline(uplink.Derive(h.Input)); strings.Contains(got, "> 192.0.2.1 ") || !strings.Contains(got, "> 198.51.100.1 src 198.51.100.20") {
		t.Errorf("the one is the host's own by now: %q", got)
	}
	h.Leases = h.Leases[:1]
	if got := outline(uplink.Derive(h.Input)); strings.Contains(got, ">") {
		t.Errorf("nobody speaks of the other one any more: %q", got)
	}
}

// TestHeldWithoutRouter: a DHCPv6 lease has no place for a gateway. When the router's advertisement runs out, that lease does not
// say that it was meant: the fence stands.
func TestHeldWithoutRouter(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8::9/128").lease("eth0", "2001:db8::9", 1)
	h.snap.Routes = []rpdb.Route{{
		RouteKey: rpdb.RouteKey{Table: 7001, Dst: netip.MustParsePrefix("2001:db8::/64")}, OIF: 2, Protocol: h.Config.Protocol,
	}}
	h.Held = []uplink.Held{{Link: 2, Addr: addr("2001:db8::9"), Class: uplink.ClassClient, Gateway: addr("fe80::1")}}
	if got, want := outline(uplink.Derive(h.Input)), "eth0 degraded 2001:db8::9/128"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestMetricsOfRoute: whoever says which gateway it is, the path's MTU is that of the route to it.
func TestMetricsOfRoute(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24").lease("eth0", "192.0.2.10", 9, "192.0.2.1").
		gateway("eth0", "192.0.2.9", rpdb.ProtoBoot, func(r *rpdb.Route) { r.Metrics = "nine" }).
		gateway("eth0", "192.0.2.1", rpdb.ProtoBoot, func(r *rpdb.Route) { r.Metrics, r.Metric = "one", 5 })
	if g := uplink.Derive(h.Input).Uplinks[0].Gateways[0]; g.Metrics != "one" || g.Source != "dhclient" {
		t.Errorf("metrics %q of a gateway by %s", g.Metrics, g.Source)
	}
}

// TestOthers: which tables others have asked for every packet, after our block.
func TestOthers(t *testing.T) {
	h := newHost().eth("eth0")
	lookup := func(priority, table uint32, change ...func(*rpdb.Rule)) {
		r := rpdb.Rule{Family: rpdb.IPv4, Priority: priority, Action: rpdb.ActLookup, Table: table, Protocol: rpdb.ProtoBoot}
		for _, c := range change {
			c(&r)
		}
		h.snap.Rules = append(h.snap.Rules, r)
	}
	lookup(32766, rpdb.TableMain)
	lookup(32765, rpdb.TableLocal)
	lookup(5280, 53)
	lookup(5270, 52)
	lookup(5271, 52)
	lookup(100, 51)                                                             // before ours: it needs no help
	lookup(5272, 54, func(r *rpdb.Rule) { r.Mask = 1 })                         // not for every packet
	lookup(5273, 55, func(r *rpdb.Rule) { r.Invert = true })                    // nor this
	lookup(5274, 56, func(r *rpdb.Rule) { r.Opaque = true })                    // nor, as far as is known, this
	lookup(5275, 57, func(r *rpdb.Rule) { r.Protocol = h.Config.Protocol })     // ours
	lookup(5276, 7005)                                                          // our table
	lookup(5277, 58, func(r *rpdb.Rule) { r.Action, r.Table = rpdb.ActNop, 0 }) // no lookup
	want := uplink.Others{
		Tables:  []uplink.Table{{Family: rpdb.IPv4, Number: 52}, {Family: rpdb.IPv4, Number: 53}},
		NoLocal: []rpdb.Family{rpdb.IPv4},
	}
	if d := cmp.Diff(want, uplink.Derive(h.Input).Others); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

func TestDNSOfLease(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "192.0.2.10/24").lease("eth0", "192.0.2.10", 1, "192.0.2.1")
	h.Leases[0].DNS = []netip.Addr{addr("192.0.2.53"), addr("127.0.0.53"), addr("192.0.2.10"), addr("192.0.2.53"), addr("9.9.9.9")}
	got := uplink.Derive(h.Input).Uplinks[0].DNS
	if want := []netip.Addr{addr("9.9.9.9"), addr("192.0.2.53")}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v: neither loopback nor the host's own, each once", got, want)
	}
}

// TestOneNameTwice: a pinned name that matches two links is the first one's.
func TestOneNameTwice(t *testing.T) {
	h := newHost().eth("eth0", "eth1").addr("eth0", "192.0.2.10/24").gateway("eth0", "192.0.2.1", rpdb.ProtoBoot).
		addr("eth1", "198.51.100.10/24").gateway("eth1", "198.51.100.1", rpdb.ProtoBoot)
	h.Config.Uplinks = []config.Uplink{{Interface: "eth*", Settings: config.Settings{Name: "dsl"}}}
	want := "dsl up 192.0.2.10/24 > 192.0.2.1 src 192.0.2.10\n" +
		"dsl-eth1 degraded 198.51.100.10/24 > 198.51.100.1 src 198.51.100.10"
	if d := cmp.Diff(want, outline(uplink.Derive(h.Input))); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestDeriveIgnoresOrder: the same facts in any order are the same view. The order of addresses is a fact: the kernel's
// choice of a source goes by it.
func TestDeriveIgnoresOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := anyHost(t)
		want := uplink.Derive(h.Input)
		r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		s := rpdb.Snapshot{Links: slices.Clone(h.snap.Links), Addresses: slices.Clone(h.snap.Addresses), Routes: slices.Clone(h.snap.Routes)}
		r.Shuffle(len(s.Links), reflect.Swapper(s.Links))
		r.Shuffle(len(s.Routes), reflect.Swapper(s.Routes))
		leases := slices.Clone(h.Leases)
		r.Shuffle(len(leases), reflect.Swapper(leases))
		in := h.Input
		in.Snapshot, in.Leases = &s, leases
		if a, b := outline(want), outline(uplink.Derive(in)); a != b {
			t.Errorf("%s\nand in another order\n%s", a, b)
		}
	})
}

// anyHost draws a host of three links, and few enough addresses and gateways that they meet.
func anyHost(t *rapid.T) *host {
	h := newHost().eth("eth0", "eth1").link(rpdb.Link{Name: "ppp0", Type: 512, PointToPoint: true})
	link := rapid.SampledFrom([]string{"eth0", "eth1", "ppp0"})
	seen := map[string]bool{}
	for range rapid.IntRange(0, 6).Draw(t, "addresses") {
		l := link.Draw(t, "link")
		cidr := rapid.SampledFrom([]string{"192.0.2.10/24", "192.0.2.11/24", "198.51.100.20/24", "203.0.113.7/32", "2001:db8::1/64", "2001:db8::2/64"}).Draw(t, "cidr")
		if seen[l+cidr] {
			continue
		}
		seen[l+cidr] = true
		h.addr(l, cidr)
	}
	gw := rapid.SampledFrom([]string{"192.0.2.1", "192.0.2.2", "198.51.100.1", "fe80::1", "fe80::2", "10.254.0.1", "192.0.2.10"})
	for i := range rapid.IntRange(0, 4).Draw(t, "routes") {
		l := link.Draw(t, "link")
		h.gateway(l, gw.Draw(t, "gateway"), rapid.SampledFrom([]uint8{3, 9, 16}).Draw(t, "protocol"), func(r *rpdb.Route) { r.Metric = uint32(i) })
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "leases") {
		ip := rapid.SampledFrom([]string{"192.0.2.10", "198.51.100.20", "203.0.113.7", "2001:db8::1"}).Draw(t, "leased")
		h.lease(link.Draw(t, "link"), ip, uint64(i), gw.Draw(t, "router"))
	}
	return h
}
