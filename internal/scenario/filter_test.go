package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// What is behind each of two home routers, and nowhere else.
const (
	behindA = "203.0.113.1"
	behindB = "198.51.100.1"
)

// twoRouters is a host between two home routers that are both 192.168.1.1/24 and have different networks behind them. The
// host's second uplink has fwmark 5.
func twoRouters(t *testing.T, first, second string) (s *script, w *realWorld, a, b *testnet.NS) {
	t.Helper()
	const marked = "[[uplink]]\ninterface = \"eth1\"\nfwmark = \"5\"\n"
	w = newRealWorld(t).(*realWorld)
	a, b = testnet.New(t), testnet.New(t)
	for router, far := range map[*testnet.NS]string{a: behindA, b: behindB} {
		dev := map[*testnet.NS]string{a: "eth0", b: "eth1"}[router]
		testnet.Must(t, testnet.Veth(w.host, dev, router, "lan"), router.Addr("lan", "192.168.1.1/24"), router.Addr("lo", far+"/32"))
		stop, err := lab.Echo(router)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	stop, err := lab.Echo(w.host)
	testnet.Must(t, err)
	t.Cleanup(stop)
	s = &script{t: t, w: w, files: map[string]string{"marked": marked, "strict": marked + "arp = \"strict\"\n"}, disk: &disk{}}
	t.Cleanup(s.stop)
	playAll(t, s,
		"start marked", "addr eth0 "+first+"/24", "route add default via 192.168.1.1 dev eth0",
		"lease eth0 dhclient "+first+" 192.168.1.1",
		"addr eth1 "+second+"/24", "lease eth1 dhclient "+second+" 192.168.1.1")
	return s, w, a, b
}

// ways tries all ways in and out of such a host, and lists those that work.
func ways(w *realWorld, a, b *testnet.NS, first, second string) string {
	one, two := netip.MustParseAddr(first), netip.MustParseAddr(second)
	var works []string
	a1, b1 := netip.MustParseAddr(behindA), netip.MustParseAddr(behindB)
	try := func(name string, from *testnet.NS, to netip.Addr, p lab.Probe) {
		if lab.Reach(from, to, p) == nil {
			works = append(works, name)
		}
	}
	try("in by A", a, one, lab.Probe{Src: a1})
	try("in by B", b, two, lab.Probe{Src: b1})
	try("out", w.host, a1, lab.Probe{})
	if first != second {
		try("out by B's address", w.host, b1, lab.Probe{Src: two})
	}
	try("out by device", w.host, b1, lab.Probe{Device: "eth1"})
	try("out by mark", w.host, b1, lab.Probe{Mark: 5})
	return strings.Join(works, ", ")
}

// TestTwoRouters: two home routers of one subnet. With different addresses everything works, whatever the reverse path filter
// is, and nobody is warned once the routers are seen to be two.
func TestTwoRouters(t *testing.T) {
	const first, second = "192.168.1.10", "192.168.1.11"
	s, w, a, b := twoRouters(t, first, second)
	for filter := range 3 {
		testnet.Must(t, w.Sysctl("all", "rp_filter", filter))
		const want = "in by A, in by B, out, out by B's address, out by device, out by mark"
		if got := ways(w, a, b, first, second); got != want {
			t.Errorf("rp_filter %d: %s", filter, got)
		}
	}
	testnet.Must(t, w.Sysctl("all", "rp_filter", 0))
	s.files["none"], s.files["problems"] = "", ""
	playAll(t, s, "notes none", "problems problems")
}

// TestTwoRoutersSameAddress: the first keeps its rules. The second says so, and works bound to the device or marked, unless its
// reverse path filter is strict: then status says that, too, and arp = "strict" is the mend.
func TestTwoRoutersSameAddress(t *testing.T) {
	const ip = "192.168.1.10"
	s, w, a, b := twoRouters(t, ip, ip)
	const works, shared = "in by A, out, out by device, out by mark", "eth1 (degraded): address 192.168.1.10 is on eth0 too, which keeps its rules; " +
		"this uplink is reached by oif and fwmark only"
	const filtered = "eth1 (degraded): the reverse path filter of eth1 is strict (rp_filter 1)%s and drops the answers to what is sent bound to the device or " +
		"marked: sysctl -w net.ipv4.conf.eth1.rp_filter=2, or arp = \"strict\" in its [[uplink]] section"
	for _, c := range []struct {
		filter          int
		config          string
		works, problems string
	}{
		{0, "marked", works, shared},
		{2, "marked", works, shared},
		{1, "marked", "in by A, out", shared + "\n" + fmt.Sprintf(filtered, ", and packets have been dropped since uplinkd started,")},
		{1, "strict", works, shared},
	} {
		testnet.Must(t, w.Sysctl("all", "rp_filter", c.filter))
		playAll(t, s, "reload "+c.config)
		if got := ways(w, a, b, ip, ip); got != c.works {
			t.Errorf("rp_filter %d, %s: what works: %s, want %s", c.filter, c.config, got, c.works)
		}
		s.files["problems"] = c.problems
		playAll(t, s, "problems problems")
	}
	s.files["notes"] = "eth1 (degraded): connections to 192.168.1.10 that come in by eth1 are answered by the link that keeps the rules: only a mark " +
		"(connmark, net.ipv4.tcp_fwmark_accept) or SO_BINDTODEVICE brings the answer back"
	playAll(t, s, "notes notes")
}

// TestMarkedWithAnotherAddress: an answer to a packet that a mark sent by the second uplink, with the first one's address, comes in
// by the second. A strict filter takes it for a martian, and the note says so.
func TestMarkedWithAnotherAddress(t *testing.T) {
	const first, second = "192.168.1.10", "192.168.1.11"
	s, w, _, _ := twoRouters(t, first, second)
	testnet.Must(t, lab.Reach(w.host, netip.MustParseAddr(behindA), lab.Probe{})) // both routers are known now
	answered := func() bool {
		return lab.Reach(w.host, netip.MustParseAddr(behindB), lab.Probe{Src: netip.MustParseAddr(first), Mark: 5}) == nil
	}
	s.files["none"] = ""
	s.files["note"] = "eth1 (up): the reverse path filter of eth1 is strict (rp_filter 1), and packets have been dropped since uplinkd started, and drops the " +
		"answers to packets with the mark and another link's address, as masqueraded ones are before they leave: sysctl -w net.ipv4.conf.eth1.rp_filter=2, " +
		"or arp = \"strict\" in its [[uplink]] section, or src_valid_mark = 1 and a connmark that is restored in prerouting"
	for _, c := range []struct {
		filter        int
		config, notes string
		works         bool
	}{{0, "marked", "none", true}, {1, "marked", "note", false}, {2, "marked", "none", true}, {1, "strict", "none", true}} {
		testnet.Must(t, w.Sysctl("all", "rp_filter", c.filter))
		playAll(t, s, "reload "+c.config)
		if got := answered(); got != c.works {
			t.Errorf("rp_filter %d, %s: answered %v, want %v", c.filter, c.config, got, c.works)
		}
		if c.config != "strict" { // whose other link is left as it is
			playAll(t, s, "notes "+c.notes)
		}
	}
}

// TestStrictReversePath: with a strict reverse path filter on all links nothing is lost that should arrive, over both families,
// TCP and UDP, from everywhere to everywhere, on Ethernet and on a point-to-point uplink; and the kernel has dropped nothing.
func TestStrictReversePath(t *testing.T) {
	l, err := lab.New()
	testnet.Must(t, err)
	t.Cleanup(l.Close)
	if err := l.AddPPP(); err != nil {
		testnet.Skip(t, err.Error())
	}
	for i, isp := range l.ISPs() {
		testnet.Must(t, l.Static(isp))
		if !isp.PointToPoint {
			testnet.Must(t, l.DefaultVia(isp, 100+i))
		}
	}
	for _, ns := range []*testnet.NS{l.Host, l.Inet, l.LAN} {
		stop, err := lab.Echo(ns)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	plainSettings(t, l.Host)
	testnet.Must(t, l.Host.Sysctl("net/ipv4/conf/all/rp_filter", "1"))
	s := &script{t: t, w: &realWorld{t: t, host: l.Host}, files: map[string]string{"none": ""}, disk: &disk{}}
	t.Cleanup(s.stop)
	playAll(t, s, "start", "problems none", "notes none")
	var lost []string
	for _, udp := range []bool{false, true} {
		promises := l.Promises(udp)
		for i, err := range lab.CheckAll(promises) {
			if err != nil {
				lost = append(lost, fmt.Sprintf("%s: %v", promises[i], err))
			}
		}
	}
	if diff := cmp.Diff([]string(nil), lost); diff != "" {
		t.Errorf("lost (-want +got):\n%s", diff)
	}
	testnet.Must(t, s.settle())
	st, err := s.agent.Status(context.Background())
	testnet.Must(t, err)
	if st.Filtered != 0 {
		t.Errorf("the reverse path filter dropped %d packets", st.Filtered)
	}
	// The counter counts: what has an uplink's address and comes in by another link is a martian.
	testnet.Must(t, l.Inet.Addr("lo", "192.0.2.99/32"))
	_ = lab.Reach(l.Inet, l.B.Address(rpdb.IPv4), lab.Probe{Src: netip.MustParseAddr("192.0.2.99"), UDP: true})
	testnet.Must(t, s.settle())
	if st, err = s.agent.Status(context.Background()); err != nil || st.Filtered == 0 {
		t.Errorf("a martian was counted as %d drops, %v", st.Filtered, err)
	}
}
