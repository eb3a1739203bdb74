package e2e

import (
	"errors"
	"fmt"
	"regexp"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// dhcpClient6 is a client that can do DHCPv6 as well.
type dhcpClient6 interface {
	dhcpClient
	// start6 runs the client for the link's IPv6 lease, and does not wait.
	start6(l *dhcpLink) *program
	// leased6 says whether it has got one, and has run its hooks to the end.
	leased6(l *dhcpLink) bool
	// release6 has the lease given back and the client end; it need not wait for the end.
	release6(l *dhcpLink)
}

// scenarioIPv6: the address comes from DHCPv6, the gateway from a router advertisement, which the kernel itself takes or the
// client in its stead. Then one lease is given back, and the daemon crashes; the other uplink sees nothing of either.
func scenarioIPv6(h *dhcpHost) {
	for _, l := range []*dhcpLink{h.a, h.b} {
		l.serve6()
		l.bind6()
	}
	h.eventually("without uplinkd", func() error {
		if h.a.works6() == nil && h.b.works6() == nil {
			return errors.New("both uplinks work")
		}
		return nil
	})
	h.startUplinkd()
	for _, l := range []*dhcpLink{h.a, h.b} {
		h.eventually(l.Dev+" works", l.works6)
		h.eventuallyIs(l.Dev, l.full6(), l.state6)
	}
	h.b.release6()
	h.eventuallyIs("eth2 released", "", h.b.state6)
	h.b.bind6()
	h.eventually("eth2 works again", h.b.works6)

	events := watchRules(h.t, h.lab.Host)
	h.killUplinkd()
	h.startUplinkd()
	if n := events.count(); n > 0 {
		h.t.Errorf("the kernel tells of rules that come and go:\n%s", events.texts(0))
	}
	// IPv6 addresses go when the link goes down: no fence is needed.
	testnet.Must(h.t, h.lab.Host.Down(h.b.Dev))
	h.eventuallyIs("eth2 down", "", h.b.state6)
	h.eventually("eth1 works", h.a.works6)
	h.eventuallyIs("eth1", h.a.full6(), h.a.state6)
}

// serve6 starts a dnsmasq that advertises the router, and hands out the host's address.
func (l *dhcpLink) serve6() {
	l.h.t.Helper()
	args := []string{"--no-daemon", "--conf-file=/dev/null", "--port=0", "--interface=" + atRouter, "--bind-interfaces",
		"--dhcp-authoritative", "--log-dhcp", "--leasefile-ro", "--pid-file=", "--enable-ra",
		fmt.Sprintf("--dhcp-range=%v,%v,%d,2m", l.Host6.Addr(), l.Host6.Addr(), l.Host6.Bits())}
	l.server = l.run("dnsmasq6", l.Router.Command(testnet.Need(l.h.t, "dnsmasq"), args...))
	l.server.await("IP range")
}

// bind6 starts a client and waits for its lease, and for the kernel to have a default route of the router's.
func (l *dhcpLink) bind6() {
	l.h.t.Helper()
	client := l.h.client.(dhcpClient6)
	l.process = client.start6(l)
	l.h.eventually("lease, address and router", func() error {
		if !client.leased6(l) {
			return errors.New("no lease")
		}
		if !l.h.has(l.Host6.Addr()) {
			return errors.New("no address")
		}
		if client.manners().main == "" {
			return nil // it puts no default routes into main
		}
		r, err := l.h.lab.Host.RouteGet(testnet.Lookup{Dst: lab.InetAddr(rpdb.IPv6), OIF: l.Dev})
		if err == nil && !r.Via.IsValid() {
			err = errors.New("no router")
		}
		return err
	})
}

// release6 has the lease given back; it ends the client.
func (l *dhcpLink) release6() {
	l.h.t.Helper()
	l.h.client.(dhcpClient6).release6(l)
	l.process.wait()
}

// works6 is nil when the uplink's IPv6 address works both ways.
func (l *dhcpLink) works6() error {
	far, near := lab.InetAddr(rpdb.IPv6), l.Host6.Addr()
	err := errors.Join(
		lab.Reach(l.h.lab.Inet, near, lab.Probe{}),
		lab.Reach(l.h.lab.Host, far, lab.Probe{Src: near}),
		lab.Reach(l.h.lab.Host, far, lab.Probe{Device: l.Dev}),
		lab.Reach(l.h.lab.Host, far, lab.Probe{Device: l.Dev, UDP: true}))
	if err != nil {
		return fmt.Errorf("%s: %w", l.Name, err)
	}
	return nil
}

// state6 is the IPv6 rules and routes that the link has now; the router's address, which its MAC makes, is ROUTER.
func (l *dhcpLink) state6() string {
	l.h.t.Helper()
	text := l.h.of(rpdb.IPv6, l.Dev, "from "+l.Host6.Addr().String(), "from "+l.Host6.Masked().String())
	return regexp.MustCompile(`via fe80::[0-9a-f:]+`).ReplaceAllString(text, "via ROUTER")
}

// full6 is the rules and routes of an uplink that works. DHCPv6 gives an address and no subnet (RFC 8415 section 21.6): it is
// the router advertisement that says what is on the link, main has it, and so our table has it too, and the rules are about it.
func (l *dhcpLink) full6() string {
	return fmt.Sprintf(`inet6 rule 4190: from %[1]s to %[1]s iif lo lookup main suppress_prefixlength %[3]d
inet6 rule 4200: from %[1]s iif lo lookup %[2]s suppress_prefixlength 0
inet6 rule 4300: from %[1]s iif lo lookup main suppress_prefixlength 4
inet6 rule 4400: from %[1]s iif lo lookup %[2]s
inet6 rule 4500: from %[1]s iif lo unreachable
inet6 rule 4600: from all oif %[2]s lookup main suppress_prefixlength 4
inet6 rule 4610: from all oif %[2]s lookup %[2]s
inet6 route default via ROUTER dev %[2]s table %[2]s metric 1024
inet6 route %[1]s dev %[2]s table %[2]s metric 1024
`, l.Host6.Masked(), l.Dev, l.Host6.Bits())
}
