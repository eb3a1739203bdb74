package kernel

import (
	"fmt"
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
