package testnet

import (
	"errors"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

func TestRouteGet(t *testing.T) {
	n, _ := pair(t)
	Must(t,
		n.Route("default via 192.0.2.2 dev eth0 table 7000"),
		n.Rule(rpdb.IPv4, "from 192.0.2.1 lookup 7000 priority 10"),
		n.Rule(rpdb.IPv4, "fwmark 0x5 lookup 7000 priority 11"),
		n.Rule(rpdb.IPv4, "oif eth0 lookup 7000 priority 12"),
		n.Route("unreachable 10.0.0.0/8"), n.Rule(rpdb.IPv4, "to 10.9.0.0/16 prohibit priority 13"),
		n.Route("default via 2001:db8::2 dev eth0 table 7001"),
		n.Rule(rpdb.IPv6, "from 2001:db8::1 lookup 7001 priority 10"))
	far4, far6 := netip.MustParseAddr("203.0.113.1"), netip.MustParseAddr("2001:db8:9::1")
	for _, c := range []struct {
		name  string
		q     Lookup
		table uint32
		via   string
		err   error
	}{
		{"unbound", Lookup{Dst: far4}, 0, "", unix.ENETUNREACH},
		{"source", Lookup{Dst: far4, Src: netip.MustParseAddr("192.0.2.1")}, 7000, "192.0.2.2", nil},
		{"mark", Lookup{Dst: far4, Mark: 5}, 7000, "192.0.2.2", nil},
		{"device", Lookup{Dst: far4, OIF: "eth0"}, 7000, "192.0.2.2", nil},
		{"unreachable route", Lookup{Dst: netip.MustParseAddr("10.1.1.1")}, 0, "", unix.EHOSTUNREACH},
		{"prohibiting rule", Lookup{Dst: netip.MustParseAddr("10.9.1.1")}, 0, "", unix.EACCES},
		{"source v6", Lookup{Dst: far6, Src: netip.MustParseAddr("2001:db8::1")}, 7001, "2001:db8::2", nil},
		{"unbound v6", Lookup{Dst: far6}, 0, "", unix.ENETUNREACH},
	} {
		r, err := n.RouteGet(c.q)
		if !errors.Is(err, c.err) || r.Table != c.table || r.Via.IsValid() && r.Via.String() != c.via {
			t.Errorf("%s: %+v, %v; want table %d via %s, %v", c.name, r, err, c.table, c.via, c.err)
		}
	}
}
