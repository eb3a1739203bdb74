package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"syscall"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// dhcpcdExit: dhcpcd that is told to exit takes the address off the link, without giving the lease back.
func dhcpcdExit(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	s := h.a.stream()
	s.flows()
	h.client.(dhcpcd).tell(h.b, "-4", "-x")
	h.b.process.wait()
	h.eventuallyIs("eth2", "", func() string { return h.b.state() })
	s.flows()
	s.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// dhcpcdCarrier: dhcpcd takes the address away as soon as the carrier is lost.
func dhcpcdCarrier(h *dhcpHost) {
	h.withDaemon()
	h.losesCarrier()
}

// dhcpcdLinkDown: and when somebody sets the link down.
func dhcpcdLinkDown(h *dhcpHost) {
	h.withDaemon()
	h.loses(h.lab.Host, h.b.Dev)
}

// dhcpcdOffLink: a router outside of the subnet. The lease's word for it is refused; but dhcpcd makes it reachable and puts a
// default route by it into main, and what the host itself uses counts. Only this uplink has to do with it.
func dhcpcdOffLink(h *dhcpHost) {
	h.b.router = netip.MustParseAddr("203.0.113.1")
	h.startUplinkd()
	h.bindBoth()
	want := strings.ReplaceAll(h.b.full(), "table eth2 src 198.51.100.20", "table eth2 src 198.51.100.20 onlink")
	h.eventuallyIs("eth2", want, func() string { return h.b.state() })
	h.eventuallyFull(h.a)
}

// dhcpcdManager: one process manages both links, as the service does. It is told to renew (-N), which changes nothing; to
// read its configuration again (SIGHUP), for which it takes its routes away for a moment; and to end.
func dhcpcdManager(h *dhcpHost) {
	h.startUplinkd()
	h.a.serve()
	h.b.serve()
	h.a.process = h.a.run("dhcpcd", h.command("dhcpcd", "-f", h.path("dhcpcd.conf"), "-4", "-B", "-d", h.a.Dev, h.b.Dev))
	h.b.process = h.a.process
	h.a.awaitLease()
	h.b.awaitLease()
	h.eventuallyFull(h.a, h.b)
	events := watchRules(h.t, h.lab.Host)
	before := h.client.leased(h.b, h.b.addr())
	h.client.(dhcpcd).tell(h.b, "-N")
	h.b.leasedSince(before)
	if n := events.count(); n > 0 {
		h.t.Errorf("a renewal without news:\n%s", events.texts(0))
	}
	before = h.client.leased(h.b, h.b.addr())
	// A signal that comes while dhcpcd waits for its hook is lost on it (9.4.1).
	h.eventually("dhcpcd reads its configuration again", func() error {
		h.b.process.signal(syscall.SIGHUP)
		return testnet.Wait(3*time.Second, func() error {
			if n := h.client.leased(h.b, h.b.addr()); n <= before {
				return fmt.Errorf("bound or renewed %d times", n)
			}
			return nil
		})
	})
	h.eventuallyFull(h.a, h.b)
	h.a.process.signal(syscall.SIGTERM)
	h.a.process.wait()
	h.eventuallyIs("both", "", h.ours)
}

// dhcpcdAdvertised: router advertisements alone, which dhcpcd takes in the kernel's stead. The addresses are made of the MAC
// (RFC 4291 appendix A).
func dhcpcdAdvertised(h *dhcpHost) {
	for _, l := range []*dhcpLink{h.a, h.b} {
		mac, err := h.lab.Host.MAC(l.Dev)
		testnet.Must(h.t, err)
		a := l.Host6.Masked().Addr().As16()
		copy(a[8:], []byte{mac[0] ^ 2, mac[1], mac[2], 0xff, 0xfe, mac[3], mac[4], mac[5]})
		l.Host6 = netip.PrefixFrom(netip.AddrFrom16(a), l.Host6.Bits())
	}
	h.routerAdvertisements(func(l *dhcpLink) { l.process = h.client.(dhcpcd).start6(l) })
}
