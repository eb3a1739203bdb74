package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"os/user"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// networkdProgram is where systemd's packages have it on every distribution: it is in no PATH.
const networkdProgram = "/lib/systemd/systemd-networkd"

// networkd is systemd-networkd: one process for all links of one host, and no hook.
type networkd struct {
	h       *dhcpHost
	process *program
	// network is more for the .network file of every link: lines of [Network], then sections.
	network string
}

// networkFile is one link's configuration; a link without carrier is given up after two seconds instead of at once.
const networkFile = `[Match]
Name=%s
[Network]
DHCP=%s
LinkLocalAddressing=ipv6
IPv6AcceptRA=no
IgnoreCarrierLoss=2s
%s`

func (n *networkd) install(h *dhcpHost) {
	h.t.Helper()
	n.h = h
	account, err := user.Lookup("systemd-network")
	testnet.Must(h.t, err)
	uid, _ := strconv.Atoi(account.Uid)
	gid, _ := strconv.Atoi(account.Gid)
	testnet.Must(h.t, os.MkdirAll(h.path("run/systemd/netif"), 0o755), os.Chown(h.path("run/systemd/netif"), uid, gid))
	for _, l := range []*dhcpLink{h.a, h.b} {
		n.configure(l, "ipv4", n.network)
	}
}

// configure writes a link's configuration; dhcp is no, ipv4, ipv6 or yes. It counts from the next start or reload on.
func (n *networkd) configure(l *dhcpLink, dhcp, more string) {
	l.h.t.Helper()
	l.h.file("run/systemd/network/"+l.Dev+".network", fmt.Sprintf(networkFile, l.Dev, dhcp, more), 0o644)
}

// start starts the one process, or has the one that runs serve this link as well, which it does by itself. It runs as its unit
// runs it: as its own user with four capabilities. (If it changed its user by itself, the kernel would forget that it is to
// die with this process, prctl(2) PR_SET_PDEATHSIG; so it is told again, after the change.)
func (n *networkd) start(l *dhcpLink) *program {
	h := l.h
	h.t.Helper()
	if n.process != nil && !n.process.ended() {
		return n.process
	}
	if _, err := os.Stat(h.path("run/dbus")); err != nil {
		h.startBus()
	}
	const caps = "+net_admin,+net_bind_service,+net_broadcast,+net_raw"
	h.starts++
	n.process = run(h.t, h.path(fmt.Sprintf("networkd-%d.log", h.starts)), h.withoutUdev("setpriv",
		"--reuid=systemd-network", "--regid=systemd-network", "--clear-groups", "--inh-caps=-all,"+caps, "--ambient-caps="+caps,
		"--pdeathsig=KILL", "env", "SYSTEMD_LOG_LEVEL=debug", "SYSTEMD_LOG_TARGET=console", networkdProgram))
	return n.process
}

// leased counts how often the address of a lease was set, or set again.
func (n *networkd) leased(l *dhcpLink, a netip.Addr) int {
	address := `[0-9.]+`
	if a.IsValid() {
		address = regexp.QuoteMeta(a.String())
	}
	set := regexp.MustCompile(`(?m)^` + l.Dev + `: Configuring DHCPv4 address \([^)]*\): ` + address + `/`)
	return len(set.FindAllString(l.process.text(), -1))
}

func (n *networkd) renew(l *dhcpLink) { n.networkctl("renew", l.Dev) }

// release: networkd gives back a lease when it ends, and that of all links.
func (n *networkd) release(l *dhcpLink) {
	l.h.t.Helper()
	testnet.Must(l.h.t, n.process.cmd.Process.Signal(os.Interrupt))
}

func (n *networkd) holds(l *dhcpLink) error {
	text, err := os.ReadFile(n.leaseFile(l))
	if err == nil && !strings.Contains(string(text), fmt.Sprintf("ADDRESS=%v\n", l.addr())) {
		err = fmt.Errorf("lease:\n%s", text)
	}
	return err
}

func (n *networkd) leaseFile(l *dhcpLink) string {
	l.h.t.Helper()
	index, err := l.h.lab.Host.Index(l.Dev)
	testnet.Must(l.h.t, err)
	return l.h.path(fmt.Sprintf("run/systemd/netif/leases/%d", index))
}

// manners: every default route has the address that it is for, so each link has its own. Before it comes a route to the
// router itself.
func (n *networkd) manners() manners {
	const route = "inet route default via %s dev %s table main src %s metric 1024 proto dhcp\n"
	second := fmt.Sprintf(route, "198.51.100.1", "eth2", "198.51.100.20")
	return manners{main: fmt.Sprintf(route, "192.0.2.1", "eth1", "192.0.2.10") + second,
		replaced: fmt.Sprintf(route, "192.0.2.2", "eth1", "192.0.2.10") + second,
		shortest: 3 * time.Second, routerRoute: !strings.Contains(n.network, "Use")}
}

// networkctl tells networkd something over the bus.
func (n *networkd) networkctl(args ...string) {
	n.h.t.Helper()
	if out, err := n.h.command("networkctl", args...).CombinedOutput(); err != nil {
		n.h.t.Fatalf("networkctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
