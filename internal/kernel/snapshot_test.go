package kernel

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestSnapshotLinks(t *testing.T) {
	ns, other := testnet.New(t), testnet.New(t)
	testnet.Must(t, testnet.Veth(ns, "wan0", other, "isp0"), testnet.Veth(ns, "a$(id)b", other, "isp1"))
	testnet.Must(t, ns.Bridge("br0", "wan0"), ns.MTU("wan0", 1400), other.Down("isp1"))
	mac := func(dev string) string { m, err := ns.MAC(dev); testnet.Must(t, err); return m.String() }
	want := []rpdb.Link{
		{Index: 1, Name: "lo", Type: unix.ARPHRD_LOOPBACK, MTU: 65536, Up: true, Carrier: true, Loopback: true},
		{Index: index(t, ns, "wan0"), Name: "wan0", Kind: "veth", Type: unix.ARPHRD_ETHER, MAC: mac("wan0"), MTU: 1400,
			Master: index(t, ns, "br0"), Up: true, Carrier: true},
		{Index: index(t, ns, "a$(id)b"), Name: "a$(id)b", Kind: "veth", Type: unix.ARPHRD_ETHER, MAC: mac("a$(id)b"), MTU: 1500, Up: true},
		{Index: index(t, ns, "br0"), Name: "br0", Kind: "bridge", Type: unix.ARPHRD_ETHER, MAC: mac("br0"), MTU: 1400, Up: true, Carrier: true},
	}
	k := open(t, ns, ours)
	testnet.Eventually(t, time.Second, func() error { // the bridge port takes a moment
		got := snapshot(t, k).Links
		slices.SortFunc(got, func(a, b rpdb.Link) int { return a.Index - b.Index })
		if d := diff(want, got); d != "" {
			return errors.New("(-want +got)\n" + d)
		}
		return nil
	})
}

func TestSnapshotPPPLink(t *testing.T) {
	ns := testnet.New(t)
	tun, err := ns.Tun("ppp0", testnet.ARPHRDPPP)
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
		testnet.Skip(t, "/dev/net/tun is not for this user")
	}
	testnet.Must(t, err)
	defer tun.Close()
	want := rpdb.Link{Index: index(t, ns, "ppp0"), Name: "ppp0", Kind: "tun", Type: unix.ARPHRD_PPP, MTU: 1500, PointToPoint: true}
	s := snapshot(t, open(t, ns, ours))
	if got, _ := s.Link(want.Index); got != want {
		t.Errorf("(-want +got)\n%s", diff(want, got))
	}
}

func TestSnapshotAddresses(t *testing.T) {
	ns := uplinks(t)
	testnet.Must(t, ns.DelAddr("wan1", "192.0.2.10/24"), ns.DelAddr("wan1", "2001:db8:2::10/64"))
	testnet.Must(t, ns.Peer("wan1", "10.64.0.100", "10.64.0.1"), ns.Peer("wan1", "10.65.0.1", "10.65.9.2/24"),
		ns.Peer("wan1", "2001:db8:64::100", "2001:db8:64::1"))
	wan0, wan1 := index(t, ns, "wan0"), index(t, ns, "wan1")
	flagged(t, ns, wan0, "192.0.1.11/24", unix.IFA_F_NOPREFIXROUTE, 0)
	flagged(t, ns, wan0, "2001:db8:1::11/64", unix.IFA_F_NOPREFIXROUTE|unix.IFA_F_NODAD, 1)
	want := []rpdb.Address{
		{Link: wan0, Prefix: prefix("192.0.1.10/24"), Permanent: true},
		{Link: wan0, Prefix: prefix("192.0.1.11/24"), Permanent: true, NoPrefixRoute: true}, // IFA_F_SECONDARY is not IFA_F_TEMPORARY
		{Link: wan0, Prefix: prefix("2001:db8:1::10/64"), Permanent: true},
		{Link: wan0, Prefix: prefix("2001:db8:1::11/64"), NoPrefixRoute: true, Deprecated: true},
		{Link: wan1, Prefix: prefix("10.64.0.100/32"), Permanent: true, Peer: prefix("10.64.0.1/32")},
		{Link: wan1, Prefix: prefix("10.65.0.1/32"), Permanent: true, Peer: prefix("10.65.9.2/24")},
		{Link: wan1, Prefix: prefix("2001:db8:64::100/128"), Permanent: true, Peer: prefix("2001:db8:64::1/128")},
	}
	var got []rpdb.Address
	for _, a := range snapshot(t, open(t, ns, ours)).Addresses {
		switch {
		case a.Prefix.Addr().IsLinkLocalUnicast():
			if a.Scope != rpdb.ScopeLink {
				t.Errorf("scope of %+v", a)
			}
		case a.Link == wan0 || a.Link == wan1:
			got = append(got, a)
		}
	}
	byText := func(a, b rpdb.Address) int { return a.Prefix.Addr().Compare(b.Prefix.Addr()) }
	slices.SortFunc(got, byText)
	slices.SortFunc(want, byText)
	if d := diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// flagged adds an address with flags, and deprecated where its preferred lifetime is 1 (of 1000 seconds none is left).
func flagged(t *testing.T, ns *testnet.NS, link int, cidr string, flags int, deprecated int) {
	t.Helper()
	a, err := netlink.ParseAddr(cidr)
	testnet.Must(t, err)
	a.Flags = flags
	if deprecated != 0 {
		a.ValidLft = 1000
	}
	ns.Do(t, func() {
		l, err := netlink.LinkByIndex(link)
		testnet.Must(t, err, netlink.AddrAdd(l, a))
	})
}

func TestSnapshotRoutes(t *testing.T) {
	ns := uplinks(t)
	wan0, wan1 := index(t, ns, "wan0"), index(t, ns, "wan1")
	testnet.Must(t,
		ns.Route("default via 192.0.1.1 dev wan0 proto dhcp metric 5"),
		ns.Route("default via fe80::1 dev wan1 proto ra"),
		ns.Route("10.0.0.0/8 via 192.0.1.1 dev wan0 proto static"),  // main, with a next hop: not held
		ns.Route("203.0.113.1/32 via 192.0.1.1 dev wan0"),           // main, with a next hop, to a single host
		ns.Route("203.0.113.2/32 via 192.0.1.1 dev wan0 proto 186"), // the same of a routing daemon's: not held
		ns.Route("2001:db8:9::1/128 via fe80::1 dev wan0 proto static"),
		ns.Route("2001:dc0::/32 via fe80::1 dev wan0 proto static"),           // 32 bits are no host in IPv6: not held
		ns.Route("10.1.0.0/16 via 192.0.1.1 dev wan0 proto static table 253"), // default: not held
		ns.Route("10.2.0.0/16 via 192.0.1.1 dev wan0 proto static table 100"), // another table
		ns.Route("10.3.0.0/16 via 192.0.1.1 dev wan0 proto 157"),              // ours, in main
		ns.Route("blackhole 10.5.0.0/16 table 100 proto static"),
		ns.Route("unreachable 2001:db8:5::/48 table 100 proto static metric 7"),
		ns.Route("10.6.0.0/16 via 203.0.113.1 dev wan0 onlink table 100 proto static src 192.0.1.10"),
		ns.Route("2001:db8:6::/48 via fe80::1 dev wan0 table 100 proto static src 2001:db8:1::10"),
		ns.Route("blackhole 10.7.0.0/16 proto static"), // main, without a next hop, and no subnet either
	)
	across := route(70000, "10.4.0.0/16", "fe80::9", wan0) // RTA_VIA
	across.Protocol = rpdb.ProtoStatic
	apply(t, open(t, ns, stranger), addRoute(across))
	tosRoute(t, ns, "10.9.0.0/16", wan0) // a TOS is more identity than a RouteKey has: not held
	multipathRoute(t, ns, "10.8.0.0/16", wan0, "192.0.1.1", wan1, "192.0.2.1")
	multipathRoute(t, ns, "2001:db8:8::/48", wan0, "fe80::1", wan1, "fe80::2")
	const want = `inet route 10.2.0.0/16 via 192.0.1.1 dev wan0 table 100 proto static
inet route blackhole 10.5.0.0/16 table 100 proto static
inet route 10.6.0.0/16 via 203.0.113.1 dev wan0 table 100 src 192.0.1.10 onlink proto static
inet route 10.8.0.0/16 via 192.0.1.1 dev wan0 table 100 proto static
inet route 10.8.0.0/16 via 192.0.2.1 dev wan1 table 100 proto static
inet route default via 192.0.1.1 dev wan0 table main metric 5 proto dhcp
inet route 10.3.0.0/16 via 192.0.1.1 dev wan0 table main proto 157
inet route 192.0.1.0/24 dev wan0 table main scope link src 192.0.1.10 proto kernel
inet route 192.0.2.0/24 dev wan1 table main scope link src 192.0.2.10 proto kernel
inet route 203.0.113.1 via 192.0.1.1 dev wan0 table main proto boot
inet route 10.4.0.0/16 via inet6 fe80::9 dev wan0 table 70000 proto static
inet6 route unreachable 2001:db8:5::/48 table 100 metric 7 proto static
inet6 route 2001:db8:6::/48 via fe80::1 dev wan0 table 100 src 2001:db8:1::10 metric 1024 proto static
inet6 route 2001:db8:8::/48 via fe80::1 dev wan0 table 100 metric 1024 proto static
inet6 route 2001:db8:8::/48 via fe80::2 dev wan1 table 100 metric 1024 proto static
inet6 route default via fe80::1 dev wan1 table main metric 1024 proto ra
inet6 route 2001:db8:1::/64 dev wan0 table main metric 256 proto kernel
inet6 route 2001:db8:2::/64 dev wan1 table main metric 256 proto kernel
inet6 route 2001:db8:9::1 via fe80::1 dev wan0 table main metric 1024 proto static
inet6 route fe80::/64 dev wan0 table main metric 256 proto kernel
inet6 route fe80::/64 dev wan1 table main metric 256 proto kernel
`
	s := snapshot(t, open(t, ns, ours))
	if d := diff(want, testnet.Text(nil, s.Routes, s.LinkName, nil)); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
	for _, r := range s.Routes {
		if several := r.Dst == prefix("10.8.0.0/16") || r.Dst == prefix("2001:db8:8::/48"); r.Multipath != several {
			t.Errorf("multipath: %+v", r)
		}
	}
}

// tosRoute adds a route for one TOS to table 100.
func tosRoute(t *testing.T, ns *testnet.NS, dst string, oif int) {
	t.Helper()
	_, n, err := net.ParseCIDR(dst)
	testnet.Must(t, err)
	ns.Do(t, func() {
		testnet.Must(t, netlink.RouteAdd(&netlink.Route{Dst: n, Table: 100, Tos: 0x10, LinkIndex: oif, Scope: unix.RT_SCOPE_LINK}))
	})
}

// multipathRoute adds a route with two next hops to table 100.
func multipathRoute(t *testing.T, ns *testnet.NS, dst string, oif1 int, via1 string, oif2 int, via2 string) {
	t.Helper()
	_, n, err := net.ParseCIDR(dst)
	testnet.Must(t, err)
	r := &netlink.Route{Dst: n, Table: 100, Protocol: unix.RTPROT_STATIC, MultiPath: []*netlink.NexthopInfo{
		{LinkIndex: oif1, Gw: addr(via1).AsSlice()}, {LinkIndex: oif2, Gw: addr(via2).AsSlice()},
	}}
	ns.Do(t, func() { testnet.Must(t, netlink.RouteAdd(r)) })
}

func TestSnapshotRulesMatchTheJudge(t *testing.T) {
	ns := testnet.New(t)
	for i, text := range []string{
		"from 192.0.2.1 lookup 7001 suppress_prefixlength 0 priority 100 proto 157",
		"not from 192.0.2.0/24 to 198.51.100.0/24 fwmark 0x1/0xff iif lo oif wan9 lookup 70001 priority 101 proto 99",
		"from all goto 200 priority 102 proto 99",
		"from 192.0.2.1 unreachable priority 103 proto 157",
		"from all nop priority 200 proto 99",
	} {
		if err := ns.Rule(rpdb.IPv4, text); err != nil {
			t.Fatalf("rule %d: %v", i, err)
		}
	}
	testnet.Must(t, ns.Rule(rpdb.IPv6, "from 2001:db8::1 lookup 7001 priority 100 proto 157"))
	ns.Do(t, func() { // ports select too
		r := netlink.NewRule()
		r.Family, r.Priority, r.Table, r.Dport = unix.AF_INET, 300, 100, netlink.NewRulePortRange(53, 53)
		testnet.Must(t, netlink.RuleAdd(r))
	})
	want, err := ns.Rules()
	testnet.Must(t, err)
	got := snapshot(t, open(t, ns, ours)).Rules
	for i := range got {
		if opaque := got[i].Priority == 300; got[i].Opaque != opaque {
			t.Errorf("opaque: %+v", got[i])
		}
		got[i].Opaque, want[i].Opaque = false, false
	}
	if d := diff(want, got); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// What was added is what is listed, for any rule that the kernel takes.
func TestSnapshotListsWhatWasAdded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ns, k := fresh(t)
		defer ns.Close()
		defer k.Close()
		want := rapid.SliceOfNDistinct(rapid.Custom(anyRule), 1, 5, func(r rpdb.Rule) uint32 { return r.Priority }).Draw(t, "rules")
		for _, r := range want {
			if err := k.Apply(context.Background(), []rpdb.Op{addRule(r)})[0]; err != nil {
				t.Fatal(err)
			}
		}
		s, err := k.Snapshot(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		got := slices.DeleteFunc(s.Rules, func(r rpdb.Rule) bool { return r.Priority == 0 || r.Priority > 32765 })
		slices.SortFunc(got, rpdb.CompareRules)
		slices.SortFunc(want, rpdb.CompareRules)
		if d := diff(want, got); d != "" {
			t.Fatalf("(-want +got)\n%s", d)
		}
	})
}

// Where IPv6 is off, its dumps fail or answer with IPv4's messages.
func TestListWithoutIPv6(t *testing.T) {
	k := open(t, uplinks(t), ours)
	var got []rpdb.Route
	var d dumped
	routes := func(out []rpdb.Route, b []byte) ([]rpdb.Route, error) {
		return appendRoutes(out, b, func(listing) bool { return true })
	}
	testnet.Must(t, listParts(k.ask, &d, routeRequest(rpdb.IPv4, 0), rpdb.IPv6, &got, routes))
	if len(got) > 0 {
		t.Errorf("IPv4's routes taken for IPv6's: %v", got)
	}
	decnet := request{typ: unix.RTM_GETRULE, body: append([]byte{unix.AF_DECnet}, make([]byte, sizeofRuleHdr-1)...)}
	var rules []rpdb.Rule
	if err := listParts(k.ask, &d, decnet, rpdb.IPv6, &rules, one(decodeRule)); err != nil {
		t.Errorf("a family that is not there, taken for IPv6: %v", err)
	}
	if err := listParts(k.ask, &d, decnet, rpdb.IPv4, &rules, one(decodeRule)); !absent(err) {
		t.Errorf("a family that is not there, taken for IPv4: %v", err)
	}
}

// A decoder that fails does not leave the rest of the dump in the socket.
func TestDumpReadsToTheEnd(t *testing.T) {
	k := open(t, uplinks(t), ours)
	wrong := errors.New("wrong")
	n := 0
	if _, err := k.ask.dump(linkRequest(), func([]byte) error { n++; return wrong }); !errors.Is(err, wrong) || n != 1 {
		t.Errorf("%v after %d messages", err, n)
	}
	snapshot(t, k)
}

// A route by a nexthop object is listed with its gateway and link; it is no connected subnet, gateway or not.
func TestSnapshotNexthopObjects(t *testing.T) {
	ns := uplinks(t)
	k := open(t, ns, ours)
	nexthop(t, k, 1, index(t, ns, "wan0"), "192.0.1.1")
	nexthop(t, k, 2, index(t, ns, "wan1"), "")
	byObject(t, k, rpdb.TableMain, "0.0.0.0/0", 1)
	byObject(t, k, rpdb.TableMain, "10.1.0.0/16", 2)
	byObject(t, k, 100, "10.2.0.0/16", 2)
	const want = `inet route 10.2.0.0/16 dev wan1 table 100 scope link
inet route default via 192.0.1.1 dev wan0 table main
`
	s := snapshot(t, k)
	got := testnet.Text(nil, s.Routes, s.LinkName, func(protocol uint8) bool { return protocol == stranger })
	if d := diff(want, strings.ReplaceAll(got, " proto 99", "")); d != "" {
		t.Errorf("(-want +got)\n%s", d)
	}
}

// nexthop adds a nexthop object: struct nhmsg, NHA_ID (1), NHA_OIF (5), NHA_GATEWAY (6) of linux/nexthop.h.
func nexthop(t *testing.T, k *Kernel, id uint32, oif int, gateway string) {
	t.Helper()
	body := appendUint32(appendUint32([]byte{unix.AF_INET, 0, 0, 0, 0, 0, 0, 0}, 1, id), 5, uint32(oif))
	if gateway != "" {
		body = appendAttr(body, 6, addr(gateway).AsSlice())
	}
	testnet.Must(t, k.ask.execute(request{unix.RTM_NEWNEXTHOP, unix.NLM_F_CREATE, body})[0])
}

func byObject(t *testing.T, k *Kernel, table uint32, dst string, id uint32) {
	t.Helper()
	r := route(table, dst, "", 0)
	r.Protocol = stranger
	if id == 1 {
		r.Scope = rpdb.ScopeUniverse
	}
	body, err := encodeRoute(r)
	testnet.Must(t, err)
	testnet.Must(t, k.ask.execute(request{unix.RTM_NEWROUTE, unix.NLM_F_CREATE, appendUint32(body, rtaNextHopID, id)})[0])
}
