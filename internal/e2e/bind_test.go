package e2e

import (
	"errors"
	"net/netip"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// scenarioBind: with two clients alone only one uplink works, and the packets of the other leave by the wrong one; the
// daemon, which comes later, puts that right with what the hooks have left in the spool.
func scenarioBind(h *dhcpHost) {
	h.bindBoth()
	h.eventuallyIs("the defaults in main", h.client.manners().main, h.inMain)
	capture := h.watchA()
	h.eventually("eth1 works", h.a.works)
	for name, probe := range h.b.probes() {
		// Only a client that gives every default route a metric of its own makes this one work.
		bound := strings.Contains(name, "bound to device") && strings.Contains(h.inMain(), h.b.Dev)
		if probe() == nil && !bound {
			h.t.Errorf("eth2 without uplinkd: %s works", name)
		}
	}
	if capture.Seen(h.b.addr()) == 0 {
		h.t.Error("without uplinkd no packet with an address of eth2 left by eth1")
	}
	if n := len(h.spooled()); n == 0 != h.client.manners().silent {
		h.t.Errorf("%d messages in the spool", n)
	}

	h.startUplinkd()
	h.eventuallyWorks(h.a, h.b)
	h.eventuallyIs("rules and routes", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })
	if left := h.spooled(); len(left) > 0 {
		h.t.Errorf("still in the spool: %v", left)
	}
	seen := capture.Seen(h.b.addr())
	testnet.Must(h.t, h.b.works())
	if err := lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{}); err != nil {
		h.t.Errorf("not bound -> Internet: %v", err)
	}
	h.drain(capture)
	if more := capture.Seen(h.b.addr()) - seen; more > 0 {
		h.t.Errorf("%d packets with an address of eth2 left by eth1", more)
	}
}

// watchA counts what arrives at ISP A.
func (h *dhcpHost) watchA() *lab.Capture {
	h.t.Helper()
	c, err := h.a.Watch()
	testnet.Must(h.t, err)
	h.t.Cleanup(c.Close)
	return c
}

// drain waits until a capture at ISP A has seen all that was sent so far: a packet that is sent now has arrived.
func (h *dhcpHost) drain(c *lab.Capture) {
	h.t.Helper()
	before := c.Seen(h.a.addr())
	h.eventually("a packet from eth1", func() error {
		if err := lab.Reach(h.lab.Host, h.a.GW4, lab.Probe{Src: h.a.addr(), UDP: true}); err == nil {
			return errors.New("the router answers echo")
		}
		if c.Seen(h.a.addr()) == before {
			return errors.New("not seen")
		}
		return nil
	})
}

// scenarioOtherRouter: the provider has another router, and says so in a renewal. What the client leaves in main may be
// stale; the uplink's table follows the lease.
func scenarioOtherRouter(h *dhcpHost) {
	// The server has an address of its own that stays, as with a provider whose DHCP is not in the router.
	server := netip.MustParseAddr("192.0.2.254")
	testnet.Must(h.t, h.a.Router.DelAddr(atRouter, "192.0.2.1/24"), h.a.Router.Addr(atRouter, server.String()+"/24"),
		h.a.Router.Addr(atRouter, "192.0.2.1/24"))
	h.a.renewOften()
	h.withDaemon()
	other := h.b.state()

	testnet.Must(h.t, h.a.Router.DelAddr(atRouter, "192.0.2.1/24"), h.a.Router.Addr(atRouter, "192.0.2.2/24"))
	h.a.router = netip.MustParseAddr("192.0.2.2")
	h.a.serve()
	h.client.renew(h.a)
	h.eventuallyIs("eth1", h.a.full(), func() string { return h.a.state() })
	h.eventuallyIs("the defaults in main", h.client.manners().replaced, h.inMain)
	r, err := h.lab.Host.RouteGet(testnet.Lookup{Dst: lab.InetAddr(rpdb.IPv4), Src: h.a.addr()})
	if err != nil || r.Via != h.a.router {
		h.t.Errorf("a packet from %v goes via %v, %v", h.a.addr(), r.Via, err)
	}
	h.eventually("eth1 by its address", func() error {
		return errors.Join(h.a.probes()["Internet -> address"](), h.a.probes()["bound to address -> Internet"](),
			h.a.probes()["bound to device -> Internet"]())
	})
	if got := h.b.state(); got != other {
		h.t.Errorf("eth2 was:\n%sand is:\n%s", other, got)
	}
}

// scenarioRenumber: the provider moves its customer to another subnet. The client is refused (DHCPNAK) and begins anew.
func scenarioRenumber(h *dhcpHost) {
	h.b.renewOften()
	h.withDaemon()
	other, old := h.a.state(), h.b.addr()

	h.b.moveTo("198.51.101.77/24")
	h.b.serve()
	h.client.renew(h.b)
	h.b.awaitLease()
	h.eventuallyIs("eth2", h.b.full(), func() string { return h.b.state(old) })
	h.eventuallyWorks(h.b)
	if !strings.Contains(h.b.server.text(), "DHCPNAK") {
		h.t.Error("the server sent no DHCPNAK")
	}
	if h.has(old) {
		h.t.Errorf("the host still has %v", old)
	}
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// renewOften makes a client that heeds options 58 and 59 renew every few seconds. dnsmasq takes no less than three seconds for
// the first, and where it is less gives one that is a second under the other; networkd shifts each by a second, up or down, and
// waits for a minute where both come out the same.
func (l *dhcpLink) renewOften() { l.renew, l.rebind = 3*time.Second, 7*time.Second }

// moveTo has the provider hand out another address of another subnet from the next serve on; the router has both.
func (l *dhcpLink) moveTo(prefix string) {
	l.h.t.Helper()
	l.lease = netip.MustParsePrefix(prefix)
	l.router = l.lease.Masked().Addr().Next()
	// The provider's side of its link to the Internet, as internal/lab numbers it.
	back := map[string]string{"eth1": "203.0.113.10", "eth2": "203.0.113.18"}[l.Dev]
	testnet.Must(l.h.t, l.Router.Addr(atRouter, netip.PrefixFrom(l.router, l.lease.Bits()).String()),
		l.Router.Rule(rpdb.IPv4, "from "+l.lease.Masked().String()+" iif "+atRouter+" lookup main priority 100"),
		l.h.lab.Inet.Route(l.lease.Masked().String()+" via "+back+" src "+lab.InetAddr(rpdb.IPv4).String()))
}
