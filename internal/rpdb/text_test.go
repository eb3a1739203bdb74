package rpdb_test

import (
	"net/netip"
	"testing"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

func TestRuleText(t *testing.T) {
	a := netip.MustParsePrefix("192.0.2.10/32")
	for want, r := range map[string]rpdb.Rule{
		"0: from all lookup local":                                  {Action: rpdb.ActLookup, Table: rpdb.TableLocal},
		"4200: from 192.0.2.10 lookup 7001 suppress_prefixlength 0": {Priority: 4200, Src: a, Action: rpdb.ActLookup, Table: 7001, Suppress: rpdb.Suppress(0)},
		"4500: from 192.0.2.10 unreachable":                         {Priority: 4500, Src: a, Action: rpdb.ActUnreachable},
		"10: from all to 10.0.0.0/8 blackhole":                      {Priority: 10, Dst: netip.MustParsePrefix("10.0.0.0/8"), Action: rpdb.ActBlackhole},
		"11: not from all fwmark 0x100/0xff00 lookup main":          {Priority: 11, Invert: true, Mark: 0x100, Mask: 0xff00, Action: rpdb.ActLookup, Table: rpdb.TableMain},
		"12: from all fwmark 0x1 iif lan0 oif wan0 prohibit":        {Priority: 12, Mark: 1, Mask: ^uint32(0), IIF: "lan0", OIF: "wan0", Action: rpdb.ActProhibit},
		"13: from all goto 99":                                      {Priority: 13, Action: rpdb.ActGoto, Goto: 99},
		"14: from all nop":                                          {Priority: 14, Action: rpdb.ActNop},
		"15: from all action 77":                                    {Priority: 15, Action: 77},
		`16: from all oif a\x1b\x5c lookup default`:                 {Priority: 16, OIF: "a\x1b\\", Action: rpdb.ActLookup, Table: rpdb.TableDefault},
	} {
		if got := r.String(); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestRouteText(t *testing.T) {
	name := func(int) string { return "eth0" }
	key := func(table uint32, dst string, metric uint32) rpdb.RouteKey {
		return rpdb.RouteKey{Table: table, Dst: netip.MustParsePrefix(dst), Metric: metric}
	}
	for want, r := range map[string]rpdb.Route{
		"default via 192.0.2.1 dev eth0 table 7000 src 192.0.2.10": {RouteKey: key(7000, "0.0.0.0/0", 0), Type: rpdb.Unicast, OIF: 2,
			Via: netip.MustParseAddr("192.0.2.1"), Src: netip.MustParseAddr("192.0.2.10")},
		"192.0.2.0/24 dev eth0 table main scope link": {RouteKey: key(254, "192.0.2.0/24", 0), Type: rpdb.Unicast, OIF: 2, Scope: rpdb.ScopeLink},
		"default via fe80::1 dev eth0 table 7000 metric 1024 onlink": {RouteKey: key(7000, "::/0", 1024), Type: rpdb.Unicast, OIF: 2,
			Via: netip.MustParseAddr("fe80::1"), Onlink: true},
		"default via inet6 fe80::1 dev eth0 table main": {RouteKey: key(254, "0.0.0.0/0", 0), Type: rpdb.Unicast, OIF: 2, Via: netip.MustParseAddr("fe80::1")},
		"unreachable 10.0.0.1 table main":               {RouteKey: key(254, "10.0.0.1/32", 0), Type: rpdb.Unreachable},
		"type 42 default table local":                   {RouteKey: key(255, "0.0.0.0/0", 0), Type: 42},
	} {
		if got := r.Text(name); got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
}

func TestEventMerge(t *testing.T) {
	var e rpdb.Event
	for i := range 20 {
		e.Merge(rpdb.Event{Rules: true, By: []rpdb.Culprit{{Port: uint32(i / 2), Comm: "ip", What: "rule"}}})
	}
	e.Merge(rpdb.Event{Overrun: true, Links: true})
	if !e.Rules || !e.Overrun || !e.Links || e.Addresses || e.Routes {
		t.Errorf("merged to %+v", e)
	}
	if len(e.By) != 8 {
		t.Errorf("%d culprits are kept, want the first 8, each once", len(e.By))
	}
}

func TestSnapshotLinkName(t *testing.T) {
	s := rpdb.Snapshot{Links: []rpdb.Link{{Index: 2, Name: "eth0"}}}
	if a, b := s.LinkName(2), s.LinkName(7); a != "eth0" || b != "if7" {
		t.Errorf("got %q and %q", a, b)
	}
}
