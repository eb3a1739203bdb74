package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// scenarioExpire: the server falls silent, and the lease runs out. When it is back, so is the uplink. The server is the
// lab's: dnsmasq gives no lease of less than two minutes.
func scenarioExpire(h *dhcpHost) {
	server, err := h.b.DHCP()
	testnet.Must(h.t, err)
	h.t.Cleanup(server.Close)
	short := server.Params()
	short.Lifetime = h.client.manners().shortest
	server.Set(short)
	h.startUplinkd()
	h.a.serve()
	h.a.bind()
	h.b.bind()
	h.eventuallyWorks(h.a, h.b)

	other := h.a.state()
	s := h.a.stream()
	server.Silence(true)
	testnet.Eventually(h.t, short.Lifetime+patience, func() error {
		if got := h.b.state(); got != "" {
			return fmt.Errorf("eth2:\n%s", got)
		}
		return nil
	})
	s.flows()
	s.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
	short.Lifetime = time.Hour
	server.Set(short)
	server.Silence(false)
	h.eventuallyIs("eth2 again", h.b.full(), func() string { return h.b.state() })
	h.eventuallyWorks(h.b)
}

// scenarioClassless: option 121 has the default route, and its router counts (RFC 3442). The server's other routes do not
// get in: a rogue one would draw the LAN's packets to itself. Where the client itself puts them into main, that is done.
func scenarioClassless(h *dhcpHost) {
	h.b.options = []string{"--dhcp-option=option:classless-static-route,0.0.0.0/0,198.51.100.1,10.0.0.0/25,198.51.100.1"}
	h.b.router = netip.MustParseAddr("198.51.100.99")
	h.b.serve()
	h.b.router = netip.MustParseAddr("198.51.100.1")
	h.startUplinkd()
	h.a.serve()
	h.a.bind()
	h.b.bind()
	h.eventuallyWorks(h.a, h.b)
	h.eventuallyIs("eth2", h.b.full(), func() string { return h.b.state() })
	r, err := h.lab.Host.RouteGet(testnet.Lookup{Dst: lab.LANAddr(rpdb.IPv4).Addr(), Src: h.b.addr()})
	dev := lab.LANDev
	if h.client.manners().hijacked {
		dev = h.b.Dev
	}
	if index, _ := h.lab.Host.Index(dev); err != nil || r.OIF != index {
		h.t.Errorf("a packet of eth2 to the LAN leaves by device %d, %v", r.OIF, err)
	}
}

// scenarioSlash32: an address without a subnet, and a gateway outside of it, as in many clouds.
func scenarioSlash32(h *dhcpHost) {
	h.b.options = []string{"--dhcp-option-force=1,255.255.255.255"}
	h.startUplinkd()
	h.bindBoth()
	h.eventuallyWorks(h.a, h.b)
	want := strings.ReplaceAll(h.b.full(), "inet route 198.51.100.0/24 dev eth2 table eth2 scope link src 198.51.100.20\n", "")
	want = strings.ReplaceAll(want, "inet rule 4190: from 198.51.100.20 to 198.51.100.0/24 lookup main suppress_prefixlength 24\n", "")
	want = strings.ReplaceAll(want, "table eth2 src 198.51.100.20", "table eth2 src 198.51.100.20 onlink")
	h.eventuallyIs("eth2", want, func() string { return h.b.state() })
	h.b.release()
	h.eventuallyIs("eth2", "", func() string { return h.b.state() })
}

// scenarioReboot: a client that was killed starts again, and gets the address that is still there. Nothing happens.
func scenarioReboot(h *dhcpHost) {
	h.withDaemon()
	before := h.ours()
	s := h.b.stream()
	s.flows()
	events := watchRules(h.t, h.lab.Host)
	h.b.kill()
	h.b.bind()
	s.flows()
	s.lossless("eth2")
	if got := h.ours(); got != before || events.count() > 0 {
		h.t.Errorf("before:\n%safter:\n%sevents:\n%s", before, got, events.texts(0))
	}
}

// scenarioHostile: a rogue server names routers that can be none: loopback, multicast, the host's own, broadcast, off the
// subnet. Each is refused with a word in the log, and the other uplink works.
func scenarioHostile(h *dhcpHost) {
	h.startUplinkd()
	// The kernel takes the host's own address for a gateway, so the client's default route in main is rogue as well.
	h.b.bindRogue("198.51.100.20")
	h.eventuallyIs("in main", h.client.manners().rogue, h.inMain)
	h.b.drop()
	h.a.serve()
	h.a.bind()
	rogues := []string{"127.0.0.1", "224.0.0.1", "198.51.100.20", "192.0.2.10", "255.255.255.255"}
	if !h.client.manners().offLink {
		rogues = append(rogues, "203.0.113.1")
	}
	for _, router := range rogues {
		h.b.bindRogue(router)
		h.eventuallyWorks(h.a)
		h.b.drop()
	}
}

// bindRogue binds with a router that can be none. When the client says "bound", its hook has had its
// answer.
func (l *dhcpLink) bindRogue(router string) {
	l.h.t.Helper()
	l.router = netip.MustParseAddr(router)
	l.serve()
	l.bind()
	if got := l.state(); strings.Contains(got, "default") {
		l.h.t.Errorf("router %s:\n%s", router, got)
	}
	l.h.uplinkd.await(router)
}

// drop kills the client and takes its address off the link.
func (l *dhcpLink) drop() {
	l.h.t.Helper()
	l.kill()
	testnet.Must(l.h.t, l.h.lab.Host.DelAddr(l.Dev, l.lease.String()))
	l.h.eventuallyIs(l.Dev+" without an address", "", func() string { return l.state() })
}

// scenarioHostileRenewal: an uplink that works is told of a router that can be none. It goes on working.
func scenarioHostileRenewal(h *dhcpHost) {
	h.b.renewOften()
	h.withDaemon()
	h.b.router = netip.MustParseAddr("127.0.0.1")
	h.b.serve()
	h.b.renewed()
	h.uplinkd.await("127.0.0.1")
	h.b.router = h.b.GW4
	if got := h.b.state(); got != h.b.full() {
		h.t.Errorf("eth2 after the renewal is:\n%s", got)
	}
	testnet.Must(h.t, h.b.works())
}

// renewed has the client renew, and waits until it has, its hooks included.
func (l *dhcpLink) renewed() {
	l.h.t.Helper()
	before := l.h.client.leased(l, l.addr())
	l.h.client.renew(l)
	l.leasedSince(before)
}

// leasedSince waits until the client has bound or renewed the link's lease more often than before.
func (l *dhcpLink) leasedSince(before int) {
	l.h.t.Helper()
	l.h.eventually("a renewal", func() error {
		if n := l.h.client.leased(l, l.addr()); n <= before {
			return fmt.Errorf("bound or renewed %d times", n)
		}
		return nil
	})
}

// scenarioTogether: both clients start at once, and either may win main's default route. Then the winner gives its lease
// back: whatever is left in main, the other uplink works.
func scenarioTogether(h *dhcpHost) {
	h.startUplinkd()
	h.a.serve()
	h.b.serve()
	h.a.start()
	h.b.start()
	h.a.awaitLease()
	h.b.awaitLease()
	h.eventuallyFull(h.a, h.b)
	winner, other := h.a, h.b
	if strings.Contains(h.inMain(), "eth2") {
		winner, other = h.b, h.a
	}
	before := other.state()
	winner.release()
	h.eventuallyIs(winner.Dev, "", func() string { return winner.state() })
	h.eventuallyIs("in main", h.client.manners().left(other.Dev), h.inMain)
	if got := other.state(); got != before || got != other.full() {
		h.t.Errorf("%s was:\n%sand is:\n%s", other.Dev, before, got)
	}
	h.eventuallyWorks(other)
}

// scenarioCarrier: the provider's end goes down. The host's addresses and routes stay, and no packet of that uplink leaves
// by the other one; when the carrier is back, it works.
func scenarioCarrier(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	capture := h.watchA()
	crossing, undisturbed := h.b.stream(), h.a.stream()
	crossing.flows()
	testnet.Must(h.t, h.b.Router.Down(atRouter))
	undisturbed.flows()
	// What the kernel keeps for the neighbour comes in one burst with the carrier, and must not overflow the echo
	// server's socket, which both streams share.
	crossing.end()
	for range 3 {
		if err := lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{Src: h.b.addr(), UDP: true}); err == nil {
			h.t.Error("eth2 works without a carrier")
		}
	}
	if got := h.b.state(); got != h.b.full() {
		h.t.Errorf("eth2 without a carrier:\n%s", got)
	}
	h.drain(capture)
	if n := capture.Seen(h.b.addr()); n > 0 {
		h.t.Errorf("%d packets with an address of eth2 left by eth1", n)
	}
	testnet.Must(h.t, h.b.Router.Up(atRouter))
	h.eventuallyIs("eth2 again", h.b.full(), func() string { return h.b.state() })
	h.eventuallyWorks(h.b)
	undisturbed.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// scenarioUnplugged: the device goes, with all that was on it, while its client runs.
func scenarioUnplugged(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	s := h.a.stream()
	s.flows()
	testnet.Must(h.t, h.lab.Host.Delete(h.b.Dev))
	h.eventuallyIs("eth2", "", func() string { return h.b.state() })
	s.flows()
	s.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// scenarioReleaseWhileDown: the fence of a link that is down goes with its address.
func scenarioReleaseWhileDown(h *dhcpHost) {
	h.withDaemon()
	testnet.Must(h.t, h.lab.Host.Down(h.b.Dev))
	fence := fmt.Sprintf("inet rule 4500: from %v unreachable\n", h.b.addr())
	h.eventuallyIs("eth2 down", fence, func() string { return h.b.state() })
	h.b.release()
	h.eventuallyIs("eth2 released", "", func() string { return h.b.state() })
}
