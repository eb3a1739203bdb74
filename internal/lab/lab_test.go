package lab

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

func TestMain(m *testing.M) { testnet.Main(m) }

// newLab is a lab with static addresses on both uplinks, the default by A in the host's main table, and echo servers.
func newLab(t *testing.T) *Lab {
	t.Helper()
	l, err := New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	testnet.Must(t, l.Static(l.A), l.Static(l.B), l.DefaultVia(l.A, 100))
	for _, ns := range []*testnet.NS{l.Host, l.Inet, l.LAN} {
		stop, err := Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	return l
}

// addPPP adds ISP C by the means that this machine has.
func addPPP(t *testing.T, l *Lab) {
	t.Helper()
	if err := l.AddPPP(); err != nil {
		testnet.Skip(t, err.Error())
	}
	testnet.Must(t, l.Static(l.C))
}

// broken tries all promises over TCP and UDP, and tells those that do not hold.
func broken(l *Lab) []string {
	var all []Promise
	for _, udp := range []bool{false, true} {
		all = append(all, l.Promises(udp)...)
	}
	var list []string
	for i, err := range CheckAll(all) {
		if p := all[i]; err != nil {
			list = append(list, p.String()+": "+Why(err))
		}
	}
	return list
}

// TestProblem shows what the lab is for: without policy routing only the first uplink works.
func TestProblem(t *testing.T) {
	l := newLab(t)
	want := []string{
		"tcp inet eth2: Internet -> the uplink's address: lost", // the answer leaves by A, which drops it
		"tcp inet eth2: the uplink's address -> Internet: lost", // likewise
		"tcp inet eth2: bound to the device -> Internet: lost",  // no route: IPv4 asks for the far host by ARP
		"tcp inet6 eth2: Internet -> the uplink's address: lost",
		"tcp inet6 eth2: the uplink's address -> Internet: lost",
		"tcp inet6 eth2: bound to the device -> Internet: no route",
		"udp inet eth2: Internet -> the uplink's address: lost",
		"udp inet eth2: the uplink's address -> Internet: lost",
		"udp inet eth2: bound to the device -> Internet: lost",
		"udp inet6 eth2: Internet -> the uplink's address: lost",
		"udp inet6 eth2: the uplink's address -> Internet: lost",
		"udp inet6 eth2: bound to the device -> Internet: no route",
	}
	if diff := cmp.Diff(want, broken(l)); diff != "" {
		t.Error(diff)
	}
}

// recipe puts DESIGN's tables and rules by hand, for every address of every uplink.
func recipe(t *testing.T, l *Lab) {
	t.Helper()
	for i, isp := range l.ISPs() {
		table := 7000 + i
		for _, a := range []struct {
			addr netip.Prefix
			gw   netip.Addr
		}{{isp.Host4, isp.GW4}, {isp.Host6, isp.GW6}} {
			src, f := a.addr.Addr(), rpdb.FamilyOf(a.addr.Addr())
			connected := fmt.Sprintf("%v dev %s table %d src %v", a.addr.Masked(), isp.Dev, table, src)
			way := fmt.Sprintf("default via %v dev %s table %d src %v", a.gw, isp.Dev, table, src)
			if isp.PointToPoint {
				connected = fmt.Sprintf("%v dev %s table %d src %v", a.gw, isp.Dev, table, src)
				way = fmt.Sprintf("%s dev %s table %d src %v", map[rpdb.Family]string{rpdb.IPv4: "default", rpdb.IPv6: "default6"}[f],
					isp.Dev, table, src)
			}
			testnet.Must(t, l.Host.Route(connected), l.Host.Route(way))
			for _, rule := range []string{
				"from %[1]v lookup %[2]d suppress_prefixlength 0 priority 4200",
				"from %[1]v lookup main suppress_prefixlength 1 priority 4300",
				"from %[1]v lookup %[2]d priority 4400",
				"from %[1]v unreachable priority 4500",
			} {
				testnet.Must(t, l.Host.Rule(f, fmt.Sprintf(rule, src, table)))
			}
			testnet.Must(t, l.Host.Rule(f, fmt.Sprintf("oif %s lookup %d priority 4600", isp.Dev, table)))
		}
	}
}

// allWell fails for everything that does not hold.
func allWell(t *testing.T, l *Lab) {
	t.Helper()
	for _, b := range broken(l) {
		t.Error(b)
	}
}

// TestRecipe shows that the rules that uplinkd is to make cure the problem, for both families.
func TestRecipe(t *testing.T) {
	l := newLab(t)
	recipe(t, l)
	allWell(t, l)
}

// TestRecipeWithPointToPoint has the third uplink as a PPP link, and strict reverse path filtering on the host.
func TestRecipeWithPointToPoint(t *testing.T) {
	l := newLab(t)
	addPPP(t, l)
	testnet.Must(t, l.Host.Sysctl("net/ipv4/conf/all/rp_filter", "1"))
	recipe(t, l)
	allWell(t, l)
}

// TestRecipeWithPeer is the same where there is no /dev/net/tun.
func TestRecipeWithPeer(t *testing.T) {
	l := newLab(t)
	testnet.Must(t, l.AddPeer(), l.Static(l.C))
	l.C.PointToPoint = false // the route has to name the gateway
	recipe(t, l)
	allWell(t, l)
}

// TestFence: while a table has no default, its addresses' packets leave by no other uplink.
func TestFence(t *testing.T) {
	l := newLab(t)
	recipe(t, l)
	capture, err := l.A.Watch()
	testnet.Must(t, err)
	defer capture.Close()
	for _, c := range []struct{ src, gw netip.Addr }{{l.B.Host4.Addr(), l.B.GW4}, {l.B.Host6.Addr(), l.B.GW6}} {
		testnet.Must(t, l.Host.DelRoute(fmt.Sprintf("default via %v table 7001", c.gw)))
		if got := Why(Reach(l.Host, InetAddr(rpdb.FamilyOf(c.src)), Probe{Src: c.src})); got != "no route" {
			t.Errorf("%v with the fence: %s, want no route", c.src, got)
		}
		if n := capture.Seen(c.src); n != 0 {
			t.Errorf("%d packets of %v left by uplink A", n, c.src)
		}
		fence := fmt.Sprintf("from %v unreachable priority 4500", c.src)
		testnet.Must(t, l.Host.DelRule(rpdb.FamilyOf(c.src), fence))
		if got := Why(Reach(l.Host, InetAddr(rpdb.FamilyOf(c.src)), Probe{Src: c.src})); got != "lost" {
			t.Errorf("%v without the fence: %s, want lost", c.src, got)
		}
		testnet.Eventually(t, time.Second, func() error {
			if capture.Seen(c.src) == 0 {
				return fmt.Errorf("the capture does not see %v leave by the wrong uplink", c.src)
			}
			return nil
		})
	}
}

// TestHangup: a PPP link that ends takes its device along.
func TestHangup(t *testing.T) {
	l := newLab(t)
	addPPP(t, l)
	l.C.Hangup()
	testnet.Eventually(t, time.Second, func() error {
		if _, err := l.Host.Index(l.C.Dev); err == nil {
			return fmt.Errorf("%s is still there", l.C.Dev)
		}
		return nil
	})
}
