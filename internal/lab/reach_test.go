package lab

import (
	"net/netip"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestReach: every way in which an answer can fail to come has its own word.
func TestReach(t *testing.T) {
	l := newLab(t)
	testnet.Must(t, l.Host.Rule(rpdb.IPv4, "fwmark 0x7 prohibit priority 10"))
	quick := 50 * time.Millisecond
	for _, c := range []struct {
		name string
		from *testnet.NS
		to   netip.Addr
		p    Probe
		want string
	}{
		{"answer", l.Host, InetAddr(rpdb.IPv4), Probe{}, "ok"},
		{"answer over UDP and IPv6", l.Host, InetAddr(rpdb.IPv6), Probe{UDP: true}, "ok"},
		{"no echo server", l.Host, l.A.GW4, Probe{}, "refused"},
		{"nobody at that address", l.Host, netip.MustParseAddr("192.0.2.99"), Probe{Timeout: quick}, "lost"},
		{"foreign source address", l.Host, InetAddr(rpdb.IPv4), Probe{Src: l.B.Host4.Addr(), Timeout: quick}, "lost"},
		{"not its own address", l.Host, InetAddr(rpdb.IPv4), Probe{Src: netip.MustParseAddr("192.0.2.11")}, "no address"},
		{"no such device", l.Host, InetAddr(rpdb.IPv4), Probe{Device: "eth9"}, "no device"},
		{"no route", l.Inet, netip.MustParseAddr("10.9.9.9"), Probe{}, "no route"},
		{"marked", l.Host, InetAddr(rpdb.IPv4), Probe{Mark: 7}, "forbidden"},
	} {
		if got := Why(Reach(c.from, c.to, c.p)); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
