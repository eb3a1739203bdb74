package e2e

import (
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// advertise starts a radvd at the provider's, which says that it is a router and what the prefix of the link is.
func (l *dhcpLink) advertise() {
	l.h.t.Helper()
	conf := l.file("radvd.conf")
	write(l.h.t, conf, fmt.Sprintf(`interface %s {
	AdvSendAdvert on;
	MinRtrAdvInterval 3;
	MaxRtrAdvInterval 4;
	prefix %v { AdvOnLink on; AdvAutonomous on; };
};
`, atRouter, l.Host6.Masked()))
	l.server = l.run("radvd", l.Router.Command(testnet.Need(l.h.t, "radvd"),
		"--nodaemon", "--logmethod=stderr", "--debug=1", "--config="+conf, "--pidfile="+l.file("radvd.pid")))
}

// routerAdvertisements: two uplinks whose addresses and gateways come from router advertisements. One router ceases to be
// one and comes back; the daemon crashes; the other uplink sees nothing of either.
func (h *dhcpHost) routerAdvertisements(start func(*dhcpLink)) {
	for _, l := range []*dhcpLink{h.a, h.b} {
		// The kernel would take an advertisement that comes before the client, and make an address of its own.
		testnet.Must(h.t, h.lab.Host.Sysctl("net/ipv6/conf/"+l.Dev+"/accept_ra", "0"))
		l.advertise()
		start(l)
	}
	for _, l := range []*dhcpLink{h.a, h.b} {
		h.eventually(l.Dev+" has its address", func() error {
			if !h.has(l.Host6.Addr()) {
				return errors.New("no")
			}
			return nil
		})
	}
	h.startUplinkd()
	for _, l := range []*dhcpLink{h.a, h.b} {
		h.eventually(l.Dev+" works", l.works6)
		h.eventuallyIs(l.Dev, l.full6(), l.state6)
	}
	other := h.a.state6()

	// A radvd that ends says so, with a router lifetime of 0 (RFC 4861 section 6.2.5).
	testnet.Must(h.t, h.b.server.cmd.Process.Signal(syscall.SIGTERM))
	h.b.server.wait()
	h.eventually("eth2 without a router", func() error {
		if got := h.b.state6(); strings.Contains(got, "default") || got == "" {
			return fmt.Errorf("got:\n%s", got)
		}
		return nil
	})
	if err := lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv6), lab.Probe{Src: h.b.Host6.Addr()}); lab.Why(err) != "no route" {
		h.t.Errorf("a packet of eth2 without a router: %v", err)
	}
	h.b.advertise()
	h.eventuallyIs("eth2", h.b.full6(), h.b.state6)
	h.eventually("eth2 works", h.b.works6)
	if got := h.a.state6(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}

	events := watchRules(h.t, h.lab.Host)
	h.killUplinkd()
	h.startUplinkd()
	if n := events.count(); n > 0 {
		h.t.Errorf("the kernel tells of rules that come and go:\n%s", events.texts(0))
	}
}

// dhcpv6Addresses: two uplinks whose addresses come from DHCPv6, to which the routers' advertisements refer.
func (h *dhcpHost) dhcpv6Addresses(start func(*dhcpLink)) {
	h.startUplinkd()
	for _, l := range []*dhcpLink{h.a, h.b} {
		l.serve6()
		start(l)
	}
	for _, l := range []*dhcpLink{h.a, h.b} {
		h.eventually(l.Dev+" works", l.works6)
		h.eventuallyIs(l.Dev, l.full6(), l.state6)
	}
}
