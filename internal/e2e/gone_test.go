package e2e

import (
	"fmt"
	"strings"
	"time"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// scenarioRelease: a lease given back leaves nothing, and the other uplink does not notice.
func scenarioRelease(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	s := h.a.stream()
	s.flows()
	h.b.release()
	h.eventuallyIs("eth2", "", func() string { return h.b.state() })
	s.flows()
	s.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
	if h.has(h.b.addr()) {
		h.t.Errorf("the host still has %v", h.b.addr())
	}
	if err := lab.Reach(h.lab.Inet, h.a.addr(), lab.Probe{}); err != nil {
		h.t.Errorf("Internet -> eth1: %v", err)
	}
}

// scenarioKill: no hook tells of a client's death, and the address stays; what counts is the address.
func scenarioKill(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	events := watchRules(h.t, h.lab.Host)
	s := h.a.stream()
	h.b.kill()
	for range 5 { // a while, in which the daemon has nothing to do
		s.flows()
	}
	testnet.Must(h.t, h.b.works())
	if got := h.b.state(); got != h.b.full() || events.count() > 0 {
		h.t.Errorf("after the client's death:\n%s\nevents:\n%s", got, events.texts(0))
	}

	start := time.Now()
	testnet.Must(h.t, h.lab.Host.DelAddr(h.b.Dev, h.b.lease.String()))
	deleted := time.Now()
	h.eventuallyIs("eth2", "", func() string { return h.b.state() })
	h.eventually("six rules gone", func() error {
		if n := events.count(); n < 6 {
			return fmt.Errorf("%d events", n)
		}
		return nil
	})
	h.t.Logf("ip addr del: took %v; last rule gone %v after it began", deleted.Sub(start), events.last(0, "-").Sub(start))
	s.lossless("eth1")
	if texts := events.texts(0); strings.Contains(texts, "+") || strings.Contains(texts, h.a.addr().String()) {
		h.t.Errorf("more than eth2's rules went:\n%s", texts)
	}
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// scenarioLinkDown: a link that is down keeps its IPv4 address. Its packets fail at once, and none leaves by the other
// uplink, neither at the moment when the link goes down nor later. When the link is back, the lease is still known.
func scenarioLinkDown(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	capture := h.watchA()
	crossing, undisturbed := h.b.stream(), h.a.stream()
	crossing.flows()
	undisturbed.flows()

	testnet.Must(h.t, h.lab.Host.Down(h.b.Dev))
	fence := fmt.Sprintf("inet rule 4500: from %v unreachable\n", h.b.addr())
	h.eventuallyIs("eth2 down", fence, func() string { return h.b.state() })
	for _, udp := range []bool{false, true} {
		err := lab.Reach(h.lab.Host, lab.InetAddr(rpdb.IPv4), lab.Probe{Src: h.b.addr(), UDP: udp})
		if lab.Why(err) != "no route" {
			h.t.Errorf("a packet of eth2 while it is down, UDP %v: %v", udp, err)
		}
	}
	undisturbed.flows()
	sent, lost := crossing.lost()
	h.t.Logf("eth2's stream: %d packets sent, %d did not come back", sent, lost)
	if lost == 0 {
		h.t.Error("eth2 was down and nothing was lost")
	}
	h.drain(capture)
	if n := capture.Seen(h.b.addr()); n > 0 {
		h.t.Errorf("%d packets with an address of eth2 left by eth1", n)
	}

	testnet.Must(h.t, h.lab.Host.Up(h.b.Dev))
	h.eventuallyIs("eth2 up again", h.b.full(), func() string { return h.b.state() })
	h.eventuallyWorks(h.b)
	undisturbed.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}
