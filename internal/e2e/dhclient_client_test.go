package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"time"
)

// dhclient is ISC dhclient with Debian's dhclient-script, one process a link.
type dhclient struct{}

// dhclientConf asks for what dhclient asks for by default on Debian, and does not wait long.
const dhclientConf = `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name-servers, rfc3442-classless-static-routes;
initial-interval 1;
backoff-cutoff 2;
retry 1;
timeout 15;
`

func (dhclient) install(h *dhcpHost) {
	h.t.Helper()
	h.file("dhclient.conf", dhclientConf, 0o644)
	h.file("etc/dhcp/dhclient-exit-hooks.d/uplinkd", h.repository("hooks/dhclient-exit-hooks.d/uplinkd"), 0o644)
	// What resolvconf's enter hook does: this host's /etc/resolv.conf is not the client's business.
	h.file("etc/dhcp/dhclient-enter-hooks.d/resolv", "make_resolv_conf() { :; }\n", 0o644)
	h.bind("etc/dhcp", "/etc/dhcp")
}

func (c dhclient) start(l *dhcpLink) *program { return l.run("dhclient", c.command(l, "-4", "-d")) }

func (dhclient) command(l *dhcpLink, options ...string) *exec.Cmd {
	args := append([]string{"-v", "-cf", l.h.path("dhclient.conf"), "-lf", l.file("leases"), "-pf", l.file("pid")}, options...)
	return l.h.command("dhclient", append(args, l.Dev)...)
}

// leased counts what dhclient says when its script, and so the hook, has ended.
func (dhclient) leased(l *dhcpLink, a netip.Addr) int {
	word := "bound to "
	if a.IsValid() {
		word += a.String() + " "
	}
	return strings.Count(l.process.text(), word)
}

// renew: dhclient cannot be told to; it renews when the server's option 58 says so.
func (dhclient) renew(*dhcpLink) {}

func (c dhclient) release(l *dhcpLink) { c.giveBack(l, "-4") }

func (c dhclient) giveBack(l *dhcpLink, family string) {
	l.h.t.Helper()
	if out, err := c.command(l, family, "-r").CombinedOutput(); err != nil {
		l.h.t.Fatalf("dhclient %s -r %s: %v\n%s", family, l.Dev, err, out)
	}
}

func (c dhclient) start6(l *dhcpLink) *program { return l.run("dhclient6", c.command(l, "-6", "-d")) }

func (dhclient) leased6(l *dhcpLink) bool {
	return strings.Contains(l.process.text(), "Bound to lease")
}

func (c dhclient) release6(l *dhcpLink) { c.giveBack(l, "-6") }

func (dhclient) holds(l *dhcpLink) error {
	leases, err := os.ReadFile(l.file("leases"))
	if err != nil {
		return err
	}
	if !strings.Contains(string(leases), "fixed-address "+l.addr().String()) {
		return fmt.Errorf("leases:\n%s", leases)
	}
	return nil
}

// manners: dhclient-script adds a default route that the kernel refuses while there is another client's, and does not
// touch it when the router changes and the address does not.
func (dhclient) manners() manners {
	const first = "inet route default via 192.0.2.1 dev eth1 table main proto boot\n"
	return manners{main: first, replaced: first, shortest: 3 * time.Second,
		rogue: "inet route default via 198.51.100.20 dev eth2 table main proto boot\n"}
}
