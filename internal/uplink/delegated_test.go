package uplink_test

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/config"
	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// delegate adds the lease of a prefix.
func (h *host) delegate(link, prefix string, seq uint64, source ...lease.Source) *host {
	p := netip.MustParsePrefix(prefix)
	l := lease.Lease{Source: lease.SourceDhclient6, Address: p.Addr(), Prefix: p, Delegated: true}
	if len(source) > 0 {
		l.Source = source[0]
	}
	h.Leases = append(h.Leases, uplink.Lease{Link: h.index(link), Seq: seq, Lease: l})
	return h
}

// configured says that a link has static prefixes.
func (h *host) configured(link string, prefixes ...string) *host {
	u := config.Uplink{Interface: link, Settings: config.Settings{Configured: true, Fence: true}}
	for _, p := range prefixes {
		u.Delegated = append(u.Delegated, netip.MustParsePrefix(p))
	}
	h.Config.Uplinks = append(h.Config.Uplinks, u)
	return h
}

// twoSix is a host with two IPv6 uplinks and a LAN.
func twoSix() *host {
	return newHost().eth("eth0", "eth1", "lan0").
		addr("eth0", "2001:db8:a::10/64").gateway("eth0", "fe80::1", rpdb.ProtoRA).
		addr("eth1", "2001:db8:b::10/64").gateway("eth1", "fe80::1", rpdb.ProtoRA)
}

// delegations is who has what, and the problems.
func delegations(v uplink.View) string {
	var lines []string
	for _, u := range v.Uplinks {
		if len(u.Delegated) > 0 {
			lines = append(lines, fmt.Sprintf("%s %s %s", u.Name, u.State, strings.Trim(fmt.Sprint(u.Delegated), "[]")))
		}
		for _, p := range u.Problems {
			lines = append(lines, u.Name+": "+p)
		}
	}
	return strings.Join(append(lines, v.Problems...), "\n")
}

func TestDelegate(t *testing.T) {
	for _, tc := range []struct {
		name string
		host *host
		want string
	}{
		{"one each", twoSix().delegate("eth0", "2001:db8:1::/56", 1).delegate("eth1", "2001:db8:2::/56", 2), "eth0 up 2001:db8:1::/56\neth1 up 2001:db8:2::/56"},
		{"two of one link", twoSix().delegate("eth0", "2001:db8:2::/56", 1).delegate("eth0", "2001:db8:1::/56", 2), "eth0 up 2001:db8:2::/56 2001:db8:1::/56"},
		{"said by two clients", twoSix().delegate("eth0", "2001:db8:1::/56", 1).delegate("eth0", "2001:db8:1::/56", 2, "generic"), "eth0 up 2001:db8:1::/56"},
		{"the LAN has an address in it", twoSix().addr("lan0", "2001:db8:1:1::1/64").delegate("eth0", "2001:db8:1::/56", 1), "eth0 up 2001:db8:1::/56"},
		{"its own link has an address in it (RFC 6603)", twoSix().addr("eth0", "2001:db8:1:ff::1/64").delegate("eth0", "2001:db8:1::/56", 1), "eth0 up 2001:db8:1::/56"},
		{"a unique local one", twoSix().delegate("eth0", "fd00:1:2::/56", 1), "eth0 up fd00:1:2::/56"},
		{"a wide unique local one", twoSix().delegate("eth0", "fd00::/40", 1), "prefix fd00::/40, delegated on eth0 by dhclient6, is refused: it is too wide"},
		{"too wide", twoSix().delegate("eth0", "2001:db8::/31", 1), "prefix 2001:db8::/31, delegated on eth0 by dhclient6, is refused: it is too wide"},
		{"as wide as may be", twoSix().delegate("eth0", "2001:db9::/32", 1), "eth0 up 2001:db9::/32"},
		{"a /64", twoSix().delegate("eth0", "2001:db8:1::/64", 1), "eth0 up 2001:db8:1::/64"},
		{"less than a LAN", twoSix().delegate("eth0", "2001:db8:1::/65", 1), "prefix 2001:db8:1::/65, delegated on eth0 by dhclient6, is refused: it is longer than /64"},
		{"not global", twoSix().delegate("eth0", "4000::/56", 1), "prefix 4000::/56, delegated on eth0 by dhclient6, is refused: it is not global unicast IPv6"},
		{"multicast", twoSix().delegate("eth0", "ff0e::/56", 1), "prefix ff0e::/56, delegated on eth0 by dhclient6, is refused: it is not global unicast IPv6"},
		{"NAT64's", twoSix().delegate("eth0", "64:ff9b:1::/48", 1), "prefix 64:ff9b:1::/48, delegated on eth0 by dhclient6, is refused: it is not global unicast IPv6"},
		{"IPv4", twoSix().delegate("eth0", "203.0.113.0/24", 1), "prefix 203.0.113.0/24, delegated on eth0 by dhclient6, is refused: it is not global unicast IPv6"},
		{"around another uplink's address", twoSix().delegate("eth1", "2001:db8:a::/56", 1), "prefix 2001:db8:a::/56, delegated on eth1 by dhclient6, is refused: it overlaps 2001:db8:a::10/64 of eth0"},
		{"inside another uplink's subnet", twoSix().addr("eth0", "2001:db8:7::10/48").delegate("eth1", "2001:db8:7:1::/64", 1),
			"prefix 2001:db8:7:1::/64, delegated on eth1 by dhclient6, is refused: it overlaps 2001:db8:7::10/48 of eth0"},
		{"the first keeps it", twoSix().delegate("eth1", "2001:db8:1:1::/64", 2).delegate("eth0", "2001:db8:1::/56", 1),
			"eth0 up 2001:db8:1::/56\nprefix 2001:db8:1:1::/64, delegated on eth1 by dhclient6, is refused: 2001:db8:1::/56 is delegated on eth0"},
		{"whichever that is", twoSix().delegate("eth1", "2001:db8:1:1::/64", 1).delegate("eth0", "2001:db8:1::/56", 2),
			"eth1 up 2001:db8:1:1::/64\nprefix 2001:db8:1::/56, delegated on eth0 by dhclient6, is refused: 2001:db8:1:1::/64 is delegated on eth1"},
		{"what was given before comes before what is older", twoSix().delegate("eth1", "2001:db8:1::/56", 1).delegate("eth0", "2001:db8:1::/56", 2).remember("eth0", "2001:db8:1::", uplink.ClassClient),
			"eth0 up 2001:db8:1::/56\nprefix 2001:db8:1::/56, delegated on eth1 by dhclient6, is refused: 2001:db8:1::/56 is delegated on eth0"},
		{"and before an address that came later", twoSix().addr("eth1", "2001:db8:1:1::9/64").delegate("eth0", "2001:db8:1::/56", 2).remember("eth0", "2001:db8:1::", uplink.ClassClient),
			"eth0 up 2001:db8:1::/56\nprefix 2001:db8:1::/56, delegated on eth0 by dhclient6, was there before: it overlaps 2001:db8:1:1::9/64 of eth1"},
		{"the configuration comes before all", twoSix().configured("eth1", "2001:db8:1::/48").delegate("eth0", "2001:db8:1:1::/64", 1).remember("eth0", "2001:db8:1:1::", uplink.ClassClient),
			"eth1 up 2001:db8:1::/48\nprefix 2001:db8:1:1::/64, delegated on eth0 by dhclient6, is refused: 2001:db8:1::/48 is delegated on eth1"},
		{"one section for two links", twoSix().configured("eth*", "2001:db8:1::/48"),
			"eth0 up 2001:db8:1::/48\nprefix 2001:db8:1::/48, delegated on eth1 by the configuration, is refused: 2001:db8:1::/48 is delegated on eth0"},
		{"IPv4 by the configuration, without such a gateway", twoSix().configured("eth0", "203.0.113.8/29"), "prefix 203.0.113.8/29, delegated on eth0 by the configuration, waits: the link has no gateway for it"},
		{"IPv4 by the configuration", twoSix().addr("eth0", "192.0.2.10/24").gateway("eth0", "192.0.2.1", rpdb.ProtoDHCP).configured("eth0", "203.0.113.8/29"), "eth0 up 203.0.113.8/29"},
		{"no IPv6 router yet", twoSix().delegate("lan0", "2001:db8:1::/56", 1), "prefix 2001:db8:1::/56, delegated on lan0 by dhclient6, waits: the link has no gateway for it"},
		{"somebody else's rule about a part of it", twoSix().delegate("eth0", "2001:db8:1::/56", 1).foreignRule("2001:db8:1:1::/64"),
			`prefix 2001:db8:1::/56, delegated on eth0 by dhclient6, is refused: somebody else's rule "9000: from 2001:db8:1:1::/64 lookup 900" steers it: delete that to have it done here`},
		{"somebody else's rule about what comes in by a link", twoSix().delegate("eth0", "2001:db8:1::/56", 1).sorting(rpdb.Rule{IIF: "lan0"}),
			`prefix 2001:db8:1::/56, delegated on eth0 by dhclient6, is refused: rule "30000: from all iif lan0 lookup 200" sorts forwarded packets, and would come too late: name the prefix in delegated to have it all the same`},
		{"somebody else's rule about a mark", twoSix().delegate("eth0", "2001:db8:1::/56", 1).sorting(rpdb.Rule{Mark: 1, Mask: 1}),
			`prefix 2001:db8:1::/56, delegated on eth0 by dhclient6, is refused: rule "30000: from all fwmark 0x1/0x1 lookup 200" sorts forwarded packets, and would come too late: name the prefix in delegated to have it all the same`},
		{"such a rule of this host's own packets", twoSix().delegate("eth0", "2001:db8:1::/56", 1).sorting(rpdb.Rule{IIF: "lo"}), "eth0 up 2001:db8:1::/56"},
		{"such a rule, and the configuration names it", twoSix().configured("eth0", "2001:db8:1::/56").sorting(rpdb.Rule{IIF: "lan0"}), "eth0 up 2001:db8:1::/56"},
		{"another length was there before", twoSix().delegate("eth1", "2001:db8:1::/48", 2).delegate("eth0", "2001:db8:1:100::/56", 1).
			remember("eth1", "2001:db8:1::", uplink.ClassClient).lengthOfMemory(64),
			"eth0 up 2001:db8:1:100::/56\nprefix 2001:db8:1::/48, delegated on eth1 by dhclient6, is refused: 2001:db8:1:100::/56 is delegated on eth0"},
		{"an ordinary user's word", newHost().link(rpdb.Link{Name: "tun0", Kind: "tun", PointToPoint: true}).configured("tun0").addr("tun0", "2001:db8:a::10/64").
			delegate("tun0", "2001:db8:1::/56", 1, "generic@1000"), "prefix 2001:db8:1::/56, delegated on tun0 by generic@1000, is refused: an ordinary user may have said it, and it is about packets of others"},
		{"the router went", newHost().eth("eth0").addr("eth0", "2001:db8:a::10/64").delegate("eth0", "2001:db8:1::/56", 1).
			remember("eth0", "2001:db8:a::10", uplink.ClassClient).remember("eth0", "2001:db8:1::", uplink.ClassClient),
			"eth0 degraded 2001:db8:1::/56\neth0: no gateway for 2001:db8:a::10 any more: its packets stop here (fence = false lets them out by another uplink)" +
				"\neth0: no gateway for delegated 2001:db8:1::/56 any more: its packets stop here (fence = false lets them out by another uplink)"},
		{"the addresses too", newHost().eth("eth0", "lan0").addr("lan0", "2001:db8:1:1::1/64").delegate("eth0", "2001:db8:1::/56", 1).remember("eth0", "2001:db8:1::", uplink.ClassClient),
			"eth0 degraded 2001:db8:1::/56\neth0: no gateway for delegated 2001:db8:1::/56 any more: its packets stop here (fence = false lets them out by another uplink)"},
		{"the addresses too, and the link was up all the time", newHost().eth("eth0").ourRoute("eth0").delegate("eth0", "2001:db8:1::/56", 1).remember("eth0", "2001:db8:1::", uplink.ClassClient),
			"eth0 degraded 2001:db8:1::/56\neth0: no gateway for delegated 2001:db8:1::/56 any more: its packets stop here (fence = false lets them out by another uplink)"},
		{"the link is down", newHost().eth("eth0").down("eth0").delegate("eth0", "2001:db8:1::/56", 1).remember("eth0", "2001:db8:1::", uplink.ClassStatic),
			"eth0 down 2001:db8:1::/56\neth0: the link is down: only the fence stands"},
		{"an administrator's static route went: meant so", newHost().eth("eth0").addr("eth0", "2001:db8:a::10/64").ourRoute("eth0").delegate("eth0", "2001:db8:1::/56", 1).
			remember("eth0", "2001:db8:1::", uplink.ClassStatic), "prefix 2001:db8:1::/56, delegated on eth0 by dhclient6, waits: the link has no gateway for it"},
		{"memory without a lease is nothing", newHost().eth("eth0").remember("eth0", "2001:db8:1::", uplink.ClassClient), ""},
		{"a LAN in another uplink's iif", twoSix().addr("lan0", "2001:db8:2:1::1/64").configured("eth0").iif("lan0").delegate("eth1", "2001:db8:2::/56", 1),
			"eth0: its iif takes what comes from lan0 before delegated 2001:db8:2::/56 of eth1 is looked at: take that link out of iif\neth1 up 2001:db8:2::/56"},
		{"or in its own", twoSix().addr("lan0", "2001:db8:1:1::1/64").configured("eth0").iif("lan0").delegate("eth0", "2001:db8:1::/56", 1), "eth0 up 2001:db8:1::/56"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if d := cmp.Diff(tc.want, delegations(uplink.Derive(tc.host.Input))); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func (h *host) remember(link, first string, c uplink.Class) *host {
	h.Held = append(h.Held, uplink.Held{Link: h.index(link), Addr: addr(first), Class: c, Gateway: addr("fe80::1"), Source: lease.SourceDhclient6})
	return h
}

func (h *host) foreignRule(src string) *host {
	h.snap.Rules = append(h.snap.Rules, rpdb.Rule{
		Family: rpdb.IPv6, Priority: 9000, Src: netip.MustParsePrefix(src), Action: rpdb.ActLookup, Table: 900, Protocol: rpdb.ProtoStatic,
	})
	return h
}

func (h *host) ourRoute(link string) *host {
	return h.route(link, "2001:db8:a::/64", func(r *rpdb.Route) { r.Table, r.Protocol = 7000, h.Config.Protocol })
}

func (h *host) iif(name string) *host {
	u := &h.Config.Uplinks[len(h.Config.Uplinks)-1]
	u.IIF = append(u.IIF, name)
	return h
}

// TestDelegatedBehindItsOwnRouter: of two gateways of a link it goes by that of the address that came from the same server.
func TestDelegatedBehindItsOwnRouter(t *testing.T) {
	h := newHost().eth("eth0").addr("eth0", "2001:db8:a::10/64").addr("eth0", "2001:db8:b::10/64").
		gateway("eth0", "2001:db8:a::1", rpdb.ProtoStatic).gateway("eth0", "2001:db8:b::1", rpdb.ProtoStatic).
		lease("eth0", "2001:db8:b::10", 1).by(lease.SourceDhclient6, 0)
	for source, want := range map[lease.Source]string{lease.SourceDhclient6: "eth0-2001:db8:b::1", "generic": "eth0"} {
		h.Leases = h.Leases[:1]
		v := uplink.Derive(h.delegate("eth0", "2001:db8:1::/56", 2, source).Input)
		if len(v.Uplinks) != 2 || delegations(v) != want+" up 2001:db8:1::/56" {
			t.Errorf("%s: %s", source, delegations(v))
		}
	}
}

// TestDelegatedNeverTwice: whatever servers say on three links, and in whatever order it is listed, each packet has one uplink; and
// what is given is remembered, so that it is given to the same one again.
func TestDelegatedNeverTwice(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := twoSix()
		n := rapid.IntRange(0, 8).Draw(t, "n")
		for i := range n {
			base := rapid.SampledFrom([]string{"2001:db8:1::", "2001:db8:1:100::", "2001:db8:2::", "2001:db8:a::", "fd00:1::", "ff00::"}).Draw(t, "base")
			p := netip.PrefixFrom(addr(base), rapid.SampledFrom([]int{28, 40, 48, 56, 64, 80}).Draw(t, "bits")).Masked()
			h.delegate(rapid.SampledFrom([]string{"eth0", "eth1", "lan0"}).Draw(t, "link"), p.String(), uint64(i), lease.Source(rapid.SampledFrom([]string{"dhclient6", "dhcpcd6"}).Draw(t, "source")))
		}
		v := uplink.Derive(h.Input)
		for i, u := range v.Uplinks {
			for _, o := range v.Uplinks[:i] {
				if slices.ContainsFunc(u.Delegated, func(p netip.Prefix) bool { return slices.ContainsFunc(o.Delegated, p.Overlaps) }) {
					t.Errorf("%s and %s overlap:\n%s", u.Name, o.Name, delegations(v))
				}
			}
		}
		again := h.Input
		again.Leases = slices.Clone(h.Leases)
		rand.Shuffle(len(again.Leases), func(i, j int) { again.Leases[i], again.Leases[j] = again.Leases[j], again.Leases[i] })
		if d := cmp.Diff(delegations(v), delegations(uplink.Derive(again))); d != "" {
			t.Errorf("in another order (-want +got):\n%s", d)
		}
		again.Held = v.Held
		for i := range again.Leases {
			again.Leases[i].Seq = uint64(n - i)
		}
		for i, u := range uplink.Derive(again).Uplinks {
			for _, p := range v.Uplinks[i].Delegated {
				if !slices.Contains(u.Delegated, p) {
					t.Errorf("%s has lost %s by new words", u.Name, p)
				}
			}
		}
	})
}

// TestDelegatedRemembersTheFall: the link went down and came back without its router. The prefix stays fenced at every look from
// then on, also where the gateway had been a static one, of which nothing tells any more that it went with the link.
func TestDelegatedRemembersTheFall(t *testing.T) {
	h := newHost().eth("eth0").down("eth0").delegate("eth0", "2001:db8:1::/56", 1).remember("eth0", "2001:db8:1::", uplink.ClassStatic)
	v := uplink.Derive(h.Input)
	if len(v.Held) != 1 || !v.Held[0].Fell {
		t.Fatalf("held %+v", v.Held)
	}
	back := newHost().eth("eth0").ourRoute("eth0").delegate("eth0", "2001:db8:1::/56", 1)
	for look := range 2 {
		back.Held = v.Held
		v = uplink.Derive(back.Input)
		if len(v.Uplinks) != 1 || !slices.Equal(v.Uplinks[0].Delegated, []netip.Prefix{prefix("2001:db8:1::/56")}) || v.Uplinks[0].State != uplink.Degraded {
			t.Errorf("look %d after it came back: %s", look+1, delegations(v))
		}
	}
}

// sorting adds a rule of somebody else's, behind our block and before main.
func (h *host) sorting(r rpdb.Rule) *host {
	r.Family, r.Priority, r.Action, r.Table = rpdb.IPv6, 30000, rpdb.ActLookup, 200
	h.snap.Rules = append(h.snap.Rules, r)
	return h
}

// lengthOfMemory gives what is remembered a prefix length.
func (h *host) lengthOfMemory(bits int) *host {
	for i := range h.Held {
		h.Held[i].Bits = bits
	}
	return h
}
