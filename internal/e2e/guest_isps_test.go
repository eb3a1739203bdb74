package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// newTwoUplinks connects the host and the Internet by two providers; nobody has asked for an address yet.
func newTwoUplinks(t *testing.T) *twoUplinks {
	h := newGuestHost(t)
	u := &twoUplinks{guestHost: h, cable: testnet.New(t), inet: testnet.New(t)}
	u.dsl = &dsl{host: h.NS, isp: testnet.New(t), server: filepath.Join(t.TempDir(), "pppoe-server.pid"), places: 2,
		serves: "+ipv6\nipv6 ::64:1,", asks: "+ipv6 ipv6 ::64:100,"}
	testnet.Must(t, u.inet.Addr("lo", rpdb.HostPrefix(lab.InetAddr(rpdb.IPv4)).String()),
		u.inet.Addr("lo", rpdb.HostPrefix(lab.InetAddr(rpdb.IPv6)).String()))
	testnet.Must(t,
		testnet.Veth(h.NS, "eth0", u.cable, "cust"), testnet.Veth(h.NS, "dsl0", u.isp, "dsl0"),
		testnet.Veth(u.cable, "up", u.inet, "cable"), testnet.Veth(u.isp, "up", u.inet, "isp"),
		u.cable.Addr("cust", dhcpRouter+"/24"),
		u.behind("cable", u.cable, 1, "192.0.2.0/24"), u.behind("isp", u.isp, 2, "10.64.0.0/24", pppPrefix),
		dropForeign(u.cable, "cust", "192.0.2.0/24"),
		// A session may begin before the provider has forgotten the last.
		dropForeign(u.isp, "ppp0", "10.64.0.0/24", pppPrefix), dropForeign(u.isp, "ppp1", "10.64.0.0/24", pppPrefix))
	for _, n := range []*testnet.NS{h.NS, u.inet} {
		stop, err := lab.Echo(n)
		testnet.Must(t, err)
		t.Cleanup(stop)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("pppd said:\n%s", u.log.String())
		}
	})
	installHooks(t)
	installDhclientHooks(t)
	return u
}

// behind connects a provider to the Internet, which knows where its customers' prefixes are.
func (u *twoUplinks) behind(dev string, isp *testnet.NS, n int, prefixes ...string) error {
	var errs []error
	for f, net := range map[rpdb.Family]string{rpdb.IPv4: fmt.Sprintf("198.18.%d.%%d/30", n), rpdb.IPv6: fmt.Sprintf("2001:db8:f%d::%%d/64", n)} {
		far, near := fmt.Sprintf(net, 1), fmt.Sprintf(net, 2)
		errs = append(errs, u.inet.Addr(dev, far), isp.Addr("up", near), isp.Route("default via "+netip.MustParsePrefix(far).Addr().String()))
		for _, p := range prefixes {
			if rpdb.FamilyOf(netip.MustParsePrefix(p).Addr()) == f {
				errs = append(errs, u.inet.Route(fmt.Sprintf("%s via %v src %v", p, netip.MustParsePrefix(near).Addr(), lab.InetAddr(f))))
			}
		}
	}
	return errors.Join(append(errs, isp.Sysctl("net/ipv4/ip_forward", "1"), isp.Sysctl("net/ipv6/conf/all/forwarding", "1"))...)
}

// dropForeign has a provider forward only what has its customers' addresses (BCP 38).
func dropForeign(isp *testnet.NS, dev string, prefixes ...string) error {
	var errs []error
	for _, p := range prefixes {
		f := rpdb.FamilyOf(netip.MustParsePrefix(p).Addr())
		errs = append(errs, isp.Rule(f, fmt.Sprintf("from %s iif %s lookup main priority 100", p, dev)),
			isp.Rule(f, fmt.Sprintf("iif %s blackhole priority 101", dev)))
	}
	return errors.Join(errs...)
}

// installDhclientHooks does what the package does, and keeps the guest's resolv.conf out of it.
func installDhclientHooks(t *testing.T) {
	t.Helper()
	const hook = "dhclient-exit-hooks.d/uplinkd"
	text, err := os.ReadFile(filepath.Join(os.Getenv(envHooks), hook))
	testnet.Must(t, err, os.MkdirAll("/etc/dhcp/dhclient-enter-hooks.d", 0o755))
	program := regexp.MustCompile(`/[-/a-z]*/uplink-hook`)
	write(t, filepath.Join("/etc/dhcp", hook), program.ReplaceAllString(string(text), filepath.Join(os.Getenv(envBin), "uplink-hook")))
	write(t, "/etc/dhcp/dhclient-enter-hooks.d/resolv", "make_resolv_conf() { :; }\n")
}
