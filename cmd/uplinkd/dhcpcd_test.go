package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestRecordedAdvertisements replays the calls of a real dhcpcd while a router is there, says that it is none any more, and
// comes back. Without it the address stays, and its packets must not leave by the other uplink.
func TestRecordedAdvertisements(t *testing.T) {
	const own, other = "2001:db8:a:0:a371:2bbc:c5a5:3bf0", "2001:db8:b:0:375b:3835:8e2b:eea6"
	const prefix, second = "2001:db8:a::/64 iif lo", "2001:db8:b::/64 iif lo" // what the rules are about
	p := newPlace(t)
	testnet.Must(t, testnet.Veth(p.host, "wan0", testnet.New(t), "far1"), p.host.Addr("wan0", own+"/64"),
		p.host.Leased("wan0", own+"/64", time.Hour))
	p.start()
	replay := func(record string) {
		t.Helper()
		p.hook(t, "dhcpcd", nil, recordedEnv(t, filepath.Join("../../internal/lease/testdata/dhcpcd", record+".env")))
	}
	replay("071-ROUTERADVERT-v6-na-pd-ra")
	p.wantState(t, "4400: from "+prefix+" lookup ", "4500: from "+prefix+" unreachable", "inet6 route default via fe80::5eff:fe00:101 dev wan0 table ")
	fine := p.state()
	replay("073-ROUTERADVERT-v6-unchanged")
	p.wantExactly(t, fine)

	replay("081-ROUTERADVERT-v6-server-replaced") // lifetime 0
	fenced := p.state()
	if !strings.Contains(fenced, "4500: from "+prefix+" unreachable") || strings.Contains(fenced, "default") {
		t.Errorf("want a fence and no router:\n%s", fenced)
	}
	// After the carrier has gone, a call names no router at all.
	replay("077-ROUTERADVERT-v6-carrier-loss")
	p.wantExactly(t, fenced)

	// Two prefixes while the network is renumbered.
	testnet.Must(t, p.host.Addr("wan0", other+"/64"), p.host.Leased("wan0", other+"/64", time.Hour))
	replay("084-ROUTERADVERT-v6-server-renumbered")
	p.wantState(t, "4400: from "+prefix+" lookup ", "4400: from "+second+" lookup ", "inet6 route default via fe80::5eff:fe00:101 dev wan0 table ")

	// dhcpcd stops, and its addresses are gone before it says so.
	testnet.Must(t, p.host.DelAddr("wan0", own+"/64"), p.host.DelAddr("wan0", other+"/64"))
	replay("096-STOPPED-v6-release")
	p.wantState(t)
}
