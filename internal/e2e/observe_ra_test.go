package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// deafen makes the host one whose kernel takes no advertisements: what a client in user space would have put there is put there
// by hand, as that does it. Two addresses in each prefix stand for the temporary ones.
func (m *multihomed) deafen() {
	m.t.Helper()
	for i, r := range m.routers {
		dev := []string{"eth0", "eth0", "eth1"}[i]
		testnet.Must(m.t, m.host.Sysctl("net/ipv6/conf/"+dev+"/accept_ra", "0"))
		local := []string{"fe80::1", "fe80::2", "fe80::1"}[i]
		for _, host := range []byte{0x10, 0x11} {
			a := r.prefix.Addr().As16()
			a[15] = host
			testnet.Must(m.t, m.host.Addr(dev, netip.PrefixFrom(netip.AddrFrom16(a), 64).String()))
		}
		testnet.Must(m.t, m.host.Route(fmt.Sprintf("default via %s dev %s proto ra metric %d", local, dev, 1024+i)))
	}
}

// status is what the operator sees.
func (m *multihomed) status() string {
	out, err := exec.Command(filepath.Join(m.bin, "uplinkctl"), "--runtime-dir", filepath.Join(m.dir, "run"), "status").CombinedOutput()
	return fmt.Sprintf("%s%v", out, err)
}

// says waits until the status has a text, or has it not.
func (m *multihomed) says(text string, want bool) {
	m.t.Helper()
	testnet.Eventually(m.t, patience, func() error {
		s := m.status()
		if unwrapped := strings.Join(strings.Fields(s), " "); strings.Contains(unwrapped, text) != want {
			return fmt.Errorf("%q in the status: want %v\n%s", text, want, s)
		}
		return nil
	})
}

// configure writes the configuration, which has more in it.
func (m *multihomed) configure(more string) {
	m.t.Helper()
	write(m.t, filepath.Join(m.dir, "uplinkd.toml"), fmt.Sprintf("rt_tables_dir = %q\n%s", filepath.Join(m.dir, "rt_tables.d"), more))
}

// reload has uplinkd take another configuration.
func (m *multihomed) reload(more string) {
	m.t.Helper()
	m.more = more
	m.configure(more)
	m.uplinkd.signal(syscall.SIGHUP)
}

// rawSockets is how many raw IPv6 sockets uplinkd has: nothing else on the host has one when it is asked.
func (m *multihomed) rawSockets() int {
	m.t.Helper()
	var text []byte
	testnet.Must(m.t, m.host.Run(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/raw6")
		return err
	}))
	return strings.Count(string(text), "\n") - 1
}

const (
	observeRA = "[[uplink]]\ninterface = \"eth*\"\nobserve_ra = true\n"
	whichNote = "eth0 has 2 IPv6 routers and 2 prefixes, and nobody says which router announced which: set observe_ra = true"
	complaint = "observe_ra of eth0 needs CAP_NET_RAW"
	// oftenRouter is what newMultihomed has, and rareRouter the default of routers.
	oftenRouter = "MinRtrAdvInterval 3; MaxRtrAdvInterval 4;"
	// askedOnce is longer than a router takes for an answer, with the 3 s between two that it has to leave (RFC 4861 section 6.2.6).
	askedOnce  = 7 * time.Second
	rareRouter = "MinRtrAdvInterval 200; MaxRtrAdvInterval 600;"
)

// TestObserveRA: the kernel of the host takes no advertisements. Without observe_ra one router has the packets of all prefixes, and the
// status says so; with it each has those of its own, at once, though it advertises every ten minutes only.
func TestObserveRA(t *testing.T) {
	m := newMultihomed(t)
	m.deafen()
	for _, r := range m.routers {
		conf, err := os.ReadFile(r.conf)
		testnet.Must(t, err)
		write(t, r.conf, strings.Replace(string(conf), oftenRouter, rareRouter, 1))
		m.advertise(r)
	}
	one := map[int]int{1: 1, 2: 1, 3: 3}
	own := map[int]int{1: 1, 2: 2, 3: 3}

	m.startUplinkd()
	m.eventually("nobody says who announced what", one)
	m.says(whichNote, true)
	m.says("eth1 has", false)
	if n := m.rawSockets(); n != 0 {
		t.Errorf("%d raw sockets that nobody wanted", n)
	}
	without := m.ours()

	start := time.Now()
	m.reload(observeRA)
	m.eventually("each by its own", own)
	if d := time.Since(start); d > askedOnce {
		t.Errorf("known after %v: a router that was asked had answered before", d)
	}
	t.Logf("known after %v:\n%s", time.Since(start), m.ours())
	m.says(whichNote, false)
	m.says("eth0-fe80::2", true)
	if n := m.rawSockets(); n != 1 {
		t.Errorf("%d raw sockets, want one", n)
	}
	before := m.ours()

	// A crash, while no router says anything: what they announced is on disk.
	for _, r := range m.routers {
		r.radvd.signal(syscall.SIGSTOP)
	}
	events := watchRules(t, m.host)
	m.uplinkd.kill()
	m.startUplinkd()
	m.eventually("after a crash", own)
	if n := events.count(); n > 0 {
		t.Errorf("the kernel tells of rules that come and go:\n%s", events.texts(0))
	}
	if after := m.ours(); after != before {
		t.Errorf("before the crash:\n%safter:\n%s", before, after)
	}
	m.reload("")
	testnet.Eventually(t, patience, func() error {
		if n := m.rawSockets(); n != 0 {
			return fmt.Errorf("%d raw sockets after it was switched off", n)
		}
		return nil
	})
	t.Logf("without it:\n%s", without)
}

// TestObserveRAWithoutCapability: all else works, the status says what is missing, and the log does once.
func TestObserveRAWithoutCapability(t *testing.T) {
	m := newMultihomed(t)
	m.deafen()
	for _, r := range m.routers {
		m.advertise(r)
	}
	m.more = observeRA
	m.startUplinkd(testnet.Need(t, "setpriv"), "--bounding-set=-net_raw", "--inh-caps=-net_raw")
	m.says(complaint, true)
	m.says("observe_ra of eth1 needs CAP_NET_RAW", true)
	m.eventually("nobody says who announced what", map[int]int{1: 1, 2: 1, 3: 3})
	if n := strings.Count(m.uplinkd.text(), complaint); n != 1 {
		t.Errorf("logged %d times:\n%s", n, m.uplinkd.text())
	}
}
