package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// What the two providers give the host: one by DHCP, the other by PPPoE, and there by router advertisements as well.
const (
	dhcpAddress = "192.0.2.10"
	dhcpRouter  = "192.0.2.1"
	pppPrefix   = "2001:db8:b::/64"
	pppAddress6 = "2001:db8:b::64:100" // with the host's interface identifier, which IPv6CP agreed on (RFC 5072)
	pppRouter6  = "fe80::64:1"
	pppThird    = "10.64.0.151" // what the server hands out after pppSecond
)

// twoUplinks is the host with its two uplinks, and somebody in the Internet, who is behind both.
type twoUplinks struct {
	*guestHost
	*dsl
	cable   *testnet.NS // the provider with DHCP
	inet    *testnet.NS
	dhcp    *program // dhclient
	routers int
	radvd   *program
}

// guestTwoUplinks plays the life of two uplinks whose providers drop what has foreign addresses.
//
//	          +-- eth0  DHCP    -- cable --+
//	host -----+                            +-- inet
//	          +-- dsl0  PPPoE   -- isp ----+
//	                    ppp0
func guestTwoUplinks(t *testing.T) {
	u := newTwoUplinks(t)
	u.connects()
	u.outlivesTheDaemon()
	u.losesItsPeer()
	u.hangsUp()
	u.ends()
}

// connects: both sessions are there before the daemon, and half of what comes in is not answered; then all of it is.
func (u *twoUplinks) connects() {
	u.t.Helper()
	t := u.t
	u.startDHCP()
	u.startServer(t, pppFirst)
	u.startClient(t)
	u.awaitAddresses(pppFirst)
	u.eventually("the Internet is answered by "+dhcpAddress, u.answers(dhcpAddress))
	if err := u.answers(pppFirst)(); err == nil {
		t.Error("the host answers by the second uplink even without uplinkd: what follows proves nothing")
	}
	u.startDaemon()
	u.works(pppFirst)
	u.say("both are connected")
}

// startDHCP starts the provider's dnsmasq and the host's dhclient.
func (u *twoUplinks) startDHCP() {
	t := u.t
	t.Helper()
	server := run(t, filepath.Join(u.dir, "dnsmasq.log"), u.cable.Command(testnet.Need(t, "dnsmasq"), "--no-daemon", "--conf-file=/dev/null",
		"--port=0", "--interface=cust", "--bind-interfaces", "--dhcp-authoritative", "--no-ping", "--log-dhcp", "--leasefile-ro", "--pid-file=",
		fmt.Sprintf("--dhcp-range=%s,%s,255.255.255.0,10m", dhcpAddress, dhcpAddress), "--dhcp-option=option:router,"+dhcpRouter))
	server.await("IP range")
	write(t, filepath.Join(u.dir, "dhclient.conf"), dhclientConf)
	u.dhcp = run(t, filepath.Join(u.dir, "dhclient.log"), u.dhclient("-d"))
	u.dhcp.await("bound to " + dhcpAddress)
}

func (u *twoUplinks) dhclient(option string) *exec.Cmd {
	file := func(name string) string { return filepath.Join(u.dir, name) }
	return exec.Command(testnet.Need(u.t, "dhclient"), "-v", "-4", option, "-cf", file("dhclient.conf"), "-lf", file("dhclient.leases"),
		"-pf", file("dhclient.pid"), "eth0")
}

// awaitAddresses waits for a session, has the provider advertise its prefix on it, and waits for what the host makes of that.
func (u *twoUplinks) awaitAddresses(address string) {
	t := u.t
	t.Helper()
	u.eventually("the host has "+address, u.has(address))
	dev := u.farEnd(address)
	// The route to the prefix, and the router's address on it.
	if out, err := u.isp.Command("ip", "addr", "add", "2001:db8:b::1/64", "dev", dev, "nodad").CombinedOutput(); err != nil {
		t.Fatalf("give the provider's %s its address: %v\n%s", dev, err, out)
	}
	u.routers++
	conf := filepath.Join(u.dir, "radvd.conf")
	write(t, conf, fmt.Sprintf(`interface %s {
	AdvSendAdvert on;
	MinRtrAdvInterval 3;
	MaxRtrAdvInterval 4;
	prefix %s { AdvOnLink on; AdvAutonomous on; };
};
`, dev, pppPrefix))
	testnet.Must(t, os.Chmod(conf, 0o644))
	if u.radvd != nil {
		u.radvd.kill()
	}
	u.radvd = run(t, filepath.Join(u.dir, fmt.Sprintf("radvd-%d.log", u.routers)), u.isp.Command(testnet.Need(t, "radvd"),
		"--nodaemon", "--logmethod=stderr", "--debug=1", "--config="+conf, "--pidfile="+filepath.Join(u.dir, "radvd.pid")))
	u.eventually("the host has "+pppAddress6, u.has(pppAddress6))
}

// farEnd is the provider's device that leads to an address of the host.
func (u *twoUplinks) farEnd(address string) (dev string) {
	u.t.Helper()
	u.eventually("the provider has the other end of the session", func() error {
		r, err := u.isp.RouteGet(testnet.Lookup{Dst: netip.MustParseAddr(address)})
		if err != nil {
			return err
		}
		name, err := u.isp.LinkNames()
		if err != nil {
			return err
		}
		if dev = name(r.OIF); !strings.HasPrefix(dev, "ppp") {
			return fmt.Errorf("%s is behind %s", address, dev)
		}
		return nil
	})
	return dev
}

// has is nil when an address is the host's.
func (u *twoUplinks) has(address string) func() error {
	return func() error {
		a := netip.MustParseAddr(address)
		r, err := u.RouteGet(testnet.Lookup{Dst: a})
		if err == nil && r.Type != syscall.RTN_LOCAL {
			err = fmt.Errorf("%v is not an address of the host", a)
		}
		return err
	}
}

// answers is nil when somebody in the Internet who connects to an address of the host gets an answer.
func (u *twoUplinks) answers(address string) func() error {
	return func() error { return lab.Reach(u.inet, netip.MustParseAddr(address), lab.Probe{Timeout: time.Second}) }
}

// works: what comes in is answered on each uplink, and what is bound to an address leaves by its uplink; the table of PPP is right.
func (u *twoUplinks) works(address string) {
	t := u.t
	t.Helper()
	u.cableWorks()
	for _, a := range []string{address, pppAddress6} {
		u.leaves(netip.MustParseAddr(a), "ppp0")
		u.eventually("the Internet is answered by "+a, u.answers(a))
		if err := lab.Reach(u.NS, lab.InetAddr(rpdb.FamilyOf(netip.MustParseAddr(a))),
			lab.Probe{Src: netip.MustParseAddr(a), UDP: true, Timeout: time.Second}); err != nil {
			t.Errorf("from %s to the Internet: %v", a, err)
		}
	}
	want := strings.ReplaceAll(fmt.Sprintf(`inet route default dev ppp0 table T scope link src ADDRESS
inet route %s dev ppp0 table T scope link src ADDRESS
inet6 route default via %s dev ppp0 table T metric 1024
inet6 route %s dev ppp0 table T metric 1024
`, pppServer, pppRouter6, pppPrefix), "ADDRESS", address)
	u.eventually("the table of ppp0", func() error {
		if diff := cmp.Diff(want, u.tableOfPPP()); diff != "" {
			return errors.New(diff)
		}
		return nil
	})
}

// cableWorks: the uplink with DHCP does not notice what happens to the other.
func (u *twoUplinks) cableWorks() {
	u.t.Helper()
	u.leaves(netip.MustParseAddr(dhcpAddress), "eth0")
	u.eventually("the Internet is answered by "+dhcpAddress, u.answers(dhcpAddress))
}

// tableOfPPP is the routes of ppp0's table, with T for its number.
func (u *twoUplinks) tableOfPPP() string {
	var b strings.Builder
	for line := range strings.Lines(u.ours()) {
		if strings.Contains(line, " route ") && strings.Contains(line, " dev ppp0 ") {
			b.WriteString(regexp.MustCompile(` table \d+`).ReplaceAllString(line, " table T"))
		}
	}
	return b.String()
}

// ofCable is what uplinkd has for the uplink with DHCP.
func (u *twoUplinks) ofCable() string {
	u.t.Helper()
	return u.oursWith("eth0", dhcpAddress, "192.0.2.0/24")
}

// ofPPP is what it has for any session.
func (u *twoUplinks) ofPPP() string {
	u.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(u.ours()) {
		if strings.Contains(line, "ppp0") || strings.Contains(line, "10.64.") || strings.Contains(line, "2001:db8:b:") {
			b.WriteString(line)
		}
	}
	return b.String()
}

// outlivesTheDaemon: a crash and a restart change nothing, not even for a moment.
func (u *twoUplinks) outlivesTheDaemon() {
	t := u.t
	before, events := u.ours(), watchRules(t, u.NS)
	u.killDaemon()
	if now := u.ours(); now != before {
		t.Errorf("a crash changed the kernel:\n%s", cmp.Diff(before, now))
	}
	for _, a := range []string{dhcpAddress, pppFirst, pppAddress6} {
		u.eventually("without a daemon the Internet is answered by "+a, u.answers(a))
	}
	u.startDaemon()
	if now := u.ours(); now != before || events.count() > 0 {
		t.Errorf("a restart changed the kernel:\n%s%s", cmp.Diff(before, now), events.texts(0))
	}
}

// losesItsPeer: the provider's end dies without a word and takes the session with it; the next one has another address, and comes
// while no daemon runs.
func (u *twoUplinks) losesItsPeer() {
	t := u.t
	cable := u.ofCable()
	u.stopServer(t)
	u.nothingOfPPP(cable)
	u.say("the peer died")
	u.killDaemon()
	u.startServer(t, pppSecond)
	u.awaitAddresses(pppSecond)
	if left := u.ofPPP(); left != "" {
		t.Errorf("there is no daemon, and something of ppp0:\n%s", left)
	}
	u.startDaemon()
	u.works(pppSecond)
	u.say("a new session, with another address")
}

// nothingOfPPP waits until nothing of a session is left, while the other uplink goes on as before.
func (u *twoUplinks) nothingOfPPP(cable string) {
	t := u.t
	t.Helper()
	u.eventually("nothing of ppp0 is left", func() error {
		if left := u.ofPPP(); left != "" {
			return errors.New(left)
		}
		return nil
	})
	u.cableWorks()
	if now := u.ofCable(); now != cable {
		t.Errorf("the other uplink changed:\n%s", cmp.Diff(cable, now))
	}
}

// hangsUp: SIGHUP has pppd end the session and begin another, for which the provider has yet another address.
func (u *twoUplinks) hangsUp() {
	t := u.t
	before := u.ours()
	testnet.Must(t, u.client.Process.Signal(syscall.SIGHUP))
	awaitHook(t, u.daemon.log, "ip-down", 1)
	awaitHook(t, u.daemon.log, "ip-up", 1)
	u.awaitAddresses(pppThird)
	u.works(pppThird)
	u.same("after a SIGHUP to pppd", strings.ReplaceAll(before, pppSecond, pppThird))
	u.say("pppd was told to hang up")
}

// ends: each client is told to stop, and with it goes all that there was for its uplink.
func (u *twoUplinks) ends() {
	t := u.t
	testnet.Must(t, u.client.Process.Signal(syscall.SIGTERM))
	u.nothingOfPPP(u.ofCable())
	u.say("pppd was stopped")
	if out, err := u.dhclient("-r").CombinedOutput(); err != nil {
		t.Fatalf("dhclient -r: %v\n%s", err, out)
	}
	u.same("dhclient gave its lease back", "")
}
