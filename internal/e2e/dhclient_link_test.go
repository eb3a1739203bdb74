package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// atRouter is the provider's device on the customer's link, as internal/lab names it.
const atRouter = "cust"

// clientSetup gives a client a view of the file system in which the exit hook is installed, and starts it; nothing of it is
// seen outside of the mount namespace that it runs in. Arguments: what is to be /etc/dhcp, /usr/libexec/uplinkd and
// /run/uplinkd, then the command.
const clientSetup = `set -e
mount --rbind /etc /etc
mount -o remount,bind,ro /etc
mount --bind "$1" /etc/dhcp
mount -t tmpfs none /usr/libexec
mkdir /usr/libexec/uplinkd
mount --bind "$2" /usr/libexec/uplinkd
mount -t tmpfs none /run
mkdir /run/uplinkd
mount --bind "$3" /run/uplinkd
shift 3
exec "$@"`

// dhclientConf asks for what dhclient asks for by default on Debian, and does not wait long.
const dhclientConf = `option rfc3442-classless-static-routes code 121 = array of unsigned integer 8;
request subnet-mask, broadcast-address, routers, domain-name-servers, rfc3442-classless-static-routes;
initial-interval 1;
backoff-cutoff 2;
retry 1;
timeout 15;
`

// dhcpLink is one uplink with its client and its provider's server.
type dhcpLink struct {
	*lab.ISP
	h *dhcpHost
	// What the server hands out: address with the subnet's length, router, and when to renew and to rebind (0: as
	// dnsmasq likes).
	lease          netip.Prefix
	router         netip.Addr
	renew, rebind  time.Duration
	options        []string // more for dnsmasq
	server, client *program
	starts         int
}

func newDHCPLink(h *dhcpHost, isp *lab.ISP) *dhcpLink {
	l := &dhcpLink{ISP: isp, h: h, lease: isp.Host4, router: isp.GW4}
	write(h.t, h.path("dhclient.conf"), dhclientConf)
	return l
}

func (l *dhcpLink) addr() netip.Addr { return l.lease.Addr() }

// file is a file of this link's.
func (l *dhcpLink) file(name string) string { return l.h.path(l.Dev + "-" + name) }

// serve starts the provider's dnsmasq, in place of the one that runs.
func (l *dhcpLink) serve() {
	t := l.h.t
	t.Helper()
	if l.server != nil {
		l.stopServer()
	}
	mask := net.IP(net.CIDRMask(l.lease.Bits(), 32))
	args := []string{"--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=" + atRouter, "--bind-interfaces",
		"--dhcp-authoritative", "--no-ping", "--log-dhcp", "--leasefile-ro", "--pid-file=",
		fmt.Sprintf("--dhcp-range=%v,%v,%v,2m", l.addr(), l.addr(), mask),
		fmt.Sprintf("--dhcp-option=option:router,%v", l.router)}
	if l.renew > 0 {
		args = append(args, fmt.Sprintf("--dhcp-option-force=58,%d", int(l.renew.Seconds())),
			fmt.Sprintf("--dhcp-option-force=59,%d", int(l.rebind.Seconds())))
	}
	args = append(args, l.options...)
	l.starts++
	l.server = run(t, l.file(fmt.Sprintf("dnsmasq-%d.log", l.starts)), l.Router.Command(testnet.Need(t, "dnsmasq"), args...))
	l.server.await("IP range")
}

// stopServer ends the provider's dnsmasq.
func (l *dhcpLink) stopServer() {
	l.h.t.Helper()
	testnet.Must(l.h.t, l.server.cmd.Process.Signal(syscall.SIGTERM))
	l.server.wait()
	l.server = nil
}

// dhclient is the command that runs dhclient on the host, for this link.
func (l *dhcpLink) dhclient(options ...string) *exec.Cmd {
	args := []string{"--mount", "--uts", "--propagation", "private", "sh", "-c", clientSetup, "sh",
		l.h.path("etc"), l.h.path("libexec"), l.h.path("run"),
		testnet.Need(l.h.t, "dhclient"), "-v", "-cf", l.h.path("dhclient.conf"), "-lf", l.file("leases"), "-pf", l.file("pid")}
	return l.h.lab.Host.Command(testnet.Need(l.h.t, "unshare"), append(append(args, options...), l.Dev)...)
}

// start starts the client, without waiting for a lease.
func (l *dhcpLink) start() {
	l.h.t.Helper()
	l.starts++
	l.client = run(l.h.t, l.file(fmt.Sprintf("dhclient-%d.log", l.starts)), l.dhclient("-4", "-d"))
}

// bind starts the client and waits for its lease: the script and its hooks have been run then.
func (l *dhcpLink) bind() {
	l.h.t.Helper()
	l.start()
	l.client.await(fmt.Sprintf("bound to %v", l.addr()))
}

// release has the lease given back; it ends the client.
func (l *dhcpLink) release() {
	l.h.t.Helper()
	out, err := l.dhclient("-4", "-r").CombinedOutput()
	if err != nil {
		l.h.t.Fatalf("dhclient -r %s: %v\n%s", l.Dev, err, out)
	}
	l.client.wait()
}

// declined is nil when the server has granted a lease and was not given it back.
func (l *dhcpLink) declined() error {
	text := l.server.text()
	if !strings.Contains(text, "DHCPACK("+atRouter+") "+l.addr().String()) {
		return errors.New("no DHCPACK")
	}
	if strings.Contains(text, "DHCPDECLINE") {
		return errors.New("DHCPDECLINE")
	}
	return nil
}

// probes are what has to work on an uplink, each a TCP connection and an answer.
func (l *dhcpLink) probes() map[string]func() error {
	far, near := lab.InetAddr(rpdb.IPv4), l.addr()
	out := func(p lab.Probe) func() error {
		return func() error { return lab.Reach(l.h.lab.Host, far, p) }
	}
	in := func(p lab.Probe) func() error {
		return func() error { return lab.Reach(l.h.lab.Inet, near, p) }
	}
	return map[string]func() error{
		"Internet -> address":             in(lab.Probe{}),
		"bound to address -> Internet":    out(lab.Probe{Src: near}),
		"bound to device -> Internet":     out(lab.Probe{Device: l.Dev}),
		"UDP, address -> Internet":        out(lab.Probe{Src: near, UDP: true}),
		"UDP, Internet -> address":        in(lab.Probe{UDP: true}),
		"UDP bound to device -> Internet": out(lab.Probe{Device: l.Dev, UDP: true}),
	}
}

// works is nil when all probes get their answers.
func (l *dhcpLink) works() error {
	var errs []error
	for name, probe := range l.probes() {
		if err := probe(); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", l.Name, name, err))
		}
	}
	return errors.Join(errs...)
}

func (h *dhcpHost) eventuallyWorks(links ...*dhcpLink) {
	h.t.Helper()
	for _, l := range links {
		h.eventually(l.Dev+" works", l.works)
	}
}

// full is the rules and routes of an uplink that works.
func (l *dhcpLink) full() string {
	a, dev := l.addr(), l.Dev
	return fmt.Sprintf(`inet rule 4190: from %[1]v to %[4]v lookup main suppress_prefixlength %[5]d
inet rule 4200: from %[1]v lookup %[2]s suppress_prefixlength 0
inet rule 4300: from %[1]v lookup main suppress_prefixlength 1
inet rule 4400: from %[1]v lookup %[2]s
inet rule 4500: from %[1]v unreachable
inet rule 4600: from all oif %[2]s lookup main suppress_prefixlength 1
inet rule 4610: from all oif %[2]s lookup %[2]s
inet route default via %[3]v dev %[2]s table %[2]s src %[1]v
inet route %[4]v dev %[2]s table %[2]s scope link src %[1]v
`, a, dev, l.router, l.lease.Masked(), l.lease.Bits())
}

// state is the IPv4 rules and routes that the link has now: those of the device, of its address, and of more addresses.
func (l *dhcpLink) state(addrs ...netip.Addr) string {
	l.h.t.Helper()
	words := []string{l.Dev, l.addr().String()}
	for _, a := range addrs {
		words = append(words, a.String())
	}
	return l.h.of(rpdb.IPv4, words...)
}

// hookFile replaces uplink-hook by a script; empty: by nothing.
func (h *dhcpHost) hookFile(script string) {
	h.t.Helper()
	path := filepath.Join(h.dir, "libexec/uplink-hook")
	testnet.Must(h.t, os.Remove(path))
	if script != "" {
		testnet.Must(h.t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	}
}
