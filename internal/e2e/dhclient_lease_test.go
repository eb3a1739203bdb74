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

// dhclientExpire: the server falls silent, and the lease runs out. When it is back, so is the uplink. The server is the
// lab's: dnsmasq gives no lease of less than two minutes.
func dhclientExpire(h *dhcpHost) {
	server, err := h.b.DHCP()
	testnet.Must(h.t, err)
	h.t.Cleanup(server.Close)
	short := server.Params()
	short.Lifetime = 3 * time.Second
	server.Set(short)
	h.startUplinkd()
	h.a.serve()
	h.a.bind()
	h.b.bind()
	h.eventuallyWorks(h.a, h.b)

	other := h.a.state()
	s := h.a.stream()
	server.Silence(true)
	h.eventuallyIs("eth2", "", func() string { return h.b.state() })
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

// dhclientClassless: option 121 has the default route, and its router counts (RFC 3442). The server's other routes do not
// get in: a rogue one would draw the LAN's packets to itself.
func dhclientClassless(h *dhcpHost) {
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
	if index, _ := h.lab.Host.Index(lab.LANDev); err != nil || r.OIF != index {
		h.t.Errorf("a packet of eth2 to the LAN leaves by device %d, %v", r.OIF, err)
	}
}

// dhclientSlash32: an address without a subnet, and a gateway outside of it, as in many clouds.
func dhclientSlash32(h *dhcpHost) {
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

// dhclientReboot: a client that was killed starts again, and gets the address that is still there. Nothing happens.
func dhclientReboot(h *dhcpHost) {
	h.withDaemon()
	before := h.ours()
	s := h.b.stream()
	s.flows()
	events := watchRules(h.t, h.lab.Host)
	testnet.Must(h.t, h.b.client.cmd.Process.Kill())
	h.b.client.wait()
	h.b.bind()
	s.flows()
	s.lossless("eth2")
	if got := h.ours(); got != before || events.count() > 0 {
		h.t.Errorf("before:\n%safter:\n%sevents:\n%s", before, got, events.texts(0))
	}
}

// dhclientHostile: a rogue server names routers that can be none: loopback, multicast, the host's own, broadcast, off the
// subnet. Each is refused with a word in the log, and the other uplink works.
func dhclientHostile(h *dhcpHost) {
	h.startUplinkd()
	// The kernel takes the host's own address for a gateway, so dhclient-script's default route in main is rogue as well.
	h.b.bindRogue("198.51.100.20")
	if got, want := h.inMain(), "inet route default via 198.51.100.20 dev eth2 table main proto boot\n"; got != want {
		h.t.Errorf("in main:\n%swant:\n%s", got, want)
	}
	h.b.drop()
	h.a.serve()
	h.a.bind()
	for _, router := range []string{"127.0.0.1", "224.0.0.1", "198.51.100.20", "192.0.2.10", "255.255.255.255", "203.0.113.1"} {
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
	testnet.Must(l.h.t, l.client.cmd.Process.Kill())
	l.client.wait()
	testnet.Must(l.h.t, l.h.lab.Host.DelAddr(l.Dev, l.lease.String()))
	l.h.eventuallyIs(l.Dev+" without an address", "", func() string { return l.state() })
}

// dhclientHostileRenewal: an uplink that works is told of a router that can be none. It goes on working.
func dhclientHostileRenewal(h *dhcpHost) {
	h.b.renewOften()
	h.withDaemon()
	h.b.router = netip.MustParseAddr("127.0.0.1")
	h.b.serve()
	h.uplinkd.await("127.0.0.1")
	h.b.awaitRenewals(1)
	h.b.router = h.b.GW4
	if got := h.b.state(); got != h.b.full() {
		h.t.Errorf("eth2 after the renewal is:\n%s", got)
	}
	testnet.Must(h.t, h.b.works())
}

// awaitRenewals waits until the client has renewed so many times more, its hooks included.
func (l *dhcpLink) awaitRenewals(n int) {
	l.h.t.Helper()
	count := func() int { return strings.Count(l.client.text(), "bound to") }
	start := count()
	l.h.eventually("renewals", func() error {
		if got := count() - start; got < n {
			return fmt.Errorf("%d of %d", got, n)
		}
		return nil
	})
}

// dhclientTogether: both clients start at once, and either may win main's default route. Then the winner gives its lease
// back: nobody puts another default into main, and the other uplink works.
func dhclientTogether(h *dhcpHost) {
	h.startUplinkd()
	h.a.serve()
	h.b.serve()
	h.a.start()
	h.b.start()
	h.a.client.await("bound to")
	h.b.client.await("bound to")
	h.eventuallyWorks(h.a, h.b)
	winner, other := h.a, h.b
	if strings.Contains(h.inMain(), "eth2") {
		winner, other = h.b, h.a
	}
	before := other.state()
	winner.release()
	h.eventuallyIs(winner.Dev, "", func() string { return winner.state() })
	if got := h.inMain(); got != "" {
		h.t.Errorf("in main:\n%s", got)
	}
	if got := other.state(); got != before || got != other.full() {
		h.t.Errorf("%s was:\n%sand is:\n%s", other.Dev, before, got)
	}
	h.eventuallyWorks(other)
}

// dhclientCarrier: the provider's end goes down. The host's addresses and routes stay, and no packet of that uplink leaves
// by the other one; when the carrier is back, it works.
func dhclientCarrier(h *dhcpHost) {
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

// dhclientUnplugged: the device goes, with all that was on it, while its client runs.
func dhclientUnplugged(h *dhcpHost) {
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

// dhclientReleaseWhileDown: the fence of a link that is down goes with its address.
func dhclientReleaseWhileDown(h *dhcpHost) {
	h.withDaemon()
	testnet.Must(h.t, h.lab.Host.Down(h.b.Dev))
	fence := fmt.Sprintf("inet rule 4500: from %v unreachable\n", h.b.addr())
	h.eventuallyIs("eth2 down", fence, func() string { return h.b.state() })
	h.b.release()
	h.eventuallyIs("eth2 released", "", func() string { return h.b.state() })
}
