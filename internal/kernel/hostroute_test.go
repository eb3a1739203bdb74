package kernel

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// hostRoutes puts routes to n single hosts into main, of somebody's protocol.
func hostRoutes(t testing.TB, ns *testnet.NS, link, n int, protocol uint8) {
	t.Helper()
	other := open(t, ns, protocol)
	ops := make([]rpdb.Op, n)
	for i := range ops {
		r := route(rpdb.TableMain, fmt.Sprintf("11.%d.%d.%d/32", i>>16, i>>8&255, i&255), "192.0.1.1", link)
		r.Protocol = protocol
		ops[i] = addRoute(r)
	}
	for part := range slices.Chunk(ops, 10_000) {
		apply(t, other, part...)
	}
}

// TestHostRoutesAreBounded: of somebody's list the first are held, the same ones each time, and nothing else is lost for it.
func TestHostRoutesAreBounded(t *testing.T) {
	ns := uplinks(t)
	hostRoutes(t, ns, index(t, ns, "wan0"), maxHostRoutes+500, rpdb.ProtoStatic)
	testnet.Must(t, ns.Route("blackhole 12.0.0.0/8 table 100 proto static"))
	k := open(t, ns, ours)
	s := snapshot(t, k)
	var hosts []rpdb.Route
	for _, r := range s.Routes {
		if r.Table == rpdb.TableMain && hostRoute(r) {
			hosts = append(hosts, r)
		}
	}
	if len(hosts) != maxHostRoutes || hosts[0].Dst != prefix("11.0.0.0/32") || hosts[maxHostRoutes-1].Dst != prefix("11.0.3.255/32") {
		t.Errorf("%d routes to hosts, from %v to %v", len(hosts), hosts[0].Dst, hosts[len(hosts)-1].Dst)
	}
	if !slices.ContainsFunc(s.Routes, func(r rpdb.Route) bool { return r.Type == rpdb.Blackhole }) {
		t.Error("what comes behind them is not held")
	}
	if again := snapshot(t, k); !slices.Equal(s.Routes, again.Routes) {
		t.Error("a second snapshot holds others")
	}
}

// TestHostRoute: each thing that makes a route of main another's business than a VPN's.
func TestHostRoute(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*rpdb.Route)
		want   bool
	}{
		"a VPN's to its server": {func(*rpdb.Route) {}, true},
		"of a DHCP client":      {func(r *rpdb.Route) { r.Protocol = rpdb.ProtoDHCP }, true},
		"of ip(8)":              {func(r *rpdb.Route) { r.Protocol = rpdb.ProtoBoot }, true},
		"to a single IPv6 host": {func(r *rpdb.Route) { r.Dst, r.Via = prefix("2001:db8::1/128"), addr("fe80::1") }, true},
		"of a routing daemon":   {func(r *rpdb.Route) { r.Protocol = 186 }, false},
		"to a network":          {func(r *rpdb.Route) { r.Dst = prefix("203.0.113.0/31") }, false},
		"without a next hop":    {func(r *rpdb.Route) { r.Via = netip.Addr{} }, false},
		"by several":            {func(r *rpdb.Route) { r.Multipath = true }, false},
		"to nowhere":            {func(r *rpdb.Route) { r.Type = rpdb.Blackhole }, false},
	} {
		r := rpdb.Route{RouteKey: rpdb.RouteKey{Table: rpdb.TableMain, Dst: prefix("203.0.113.1/32")}, Type: rpdb.Unicast, Via: addr("192.0.2.1"), OIF: 2, Protocol: rpdb.ProtoStatic}
		c.change(&r)
		if got := hostRoute(r); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
