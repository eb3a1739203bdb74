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

// dhcpLink is one uplink with its client and its provider's server.
type dhcpLink struct {
	*lab.ISP
	h *dhcpHost
	// What the server hands out: address with the subnet's length, router, and when to renew and to rebind (0: as
	// dnsmasq likes).
	lease           netip.Prefix
	router          netip.Addr
	renew, rebind   time.Duration
	options         []string // more for dnsmasq
	server, process *program // the provider's server, the client
	starts          int
}

func newDHCPLink(h *dhcpHost, isp *lab.ISP) *dhcpLink {
	return &dhcpLink{ISP: isp, h: h, lease: isp.Host4, router: isp.GW4}
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
	l.server = l.run("dnsmasq", l.Router.Command(testnet.Need(t, "dnsmasq"), args...))
	l.server.await("IP range")
}

// stopServer ends the provider's dnsmasq.
func (l *dhcpLink) stopServer() {
	l.h.t.Helper()
	testnet.Must(l.h.t, l.server.cmd.Process.Signal(syscall.SIGTERM))
	l.server.wait()
	l.server = nil
}

// start starts the client, without waiting for a lease.
func (l *dhcpLink) start() {
	l.h.t.Helper()
	l.process = l.h.client.start(l)
}

// bind starts the client and waits for its lease: its hooks have been run then.
func (l *dhcpLink) bind() {
	l.h.t.Helper()
	l.start()
	l.awaitLease()
}

// awaitLease waits until the client has the lease that its provider hands out, its hooks included.
func (l *dhcpLink) awaitLease() {
	l.h.t.Helper()
	l.h.eventually(fmt.Sprintf("%s has %v", l.Dev, l.addr()), func() error {
		if l.h.client.leased(l, l.addr()) == 0 {
			return errors.New("not yet")
		}
		return nil
	})
}

// release has the lease given back; it ends the client.
func (l *dhcpLink) release() {
	l.h.t.Helper()
	l.h.client.release(l)
	l.process.wait()
}

// kill ends the client without a warning.
func (l *dhcpLink) kill() {
	l.h.t.Helper()
	l.process.kill()
}

// run starts a program for this link, with a log of its own.
func (l *dhcpLink) run(name string, cmd *exec.Cmd) *program {
	l.h.t.Helper()
	l.starts++
	return run(l.h.t, l.file(fmt.Sprintf("%s-%d.log", name, l.starts)), cmd)
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

// eventuallyFull waits until uplinks work, and have all their rules and routes: a client may make one work by itself.
func (h *dhcpHost) eventuallyFull(links ...*dhcpLink) {
	h.t.Helper()
	for _, l := range links {
		h.eventuallyIs(l.Dev, l.full(), func() string { return l.state() })
	}
	h.eventuallyWorks(links...)
}

// full is the rules and routes of an uplink that works.
func (l *dhcpLink) full() string {
	a, dev, more := l.addr(), l.Dev, ""
	if l.h.client.manners().routerRoute {
		more = fmt.Sprintf("inet rule 4180: from %v to %v lookup %s suppress_prefixlength 0\n", a, l.router, dev)
	}
	return more + fmt.Sprintf(`inet rule 4190: from %[1]v to %[4]v lookup main suppress_prefixlength %[5]d
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
