package e2e

import "github.com/uplinkd/uplinkd/internal/testnet"

// losesCarrier: the provider's end goes down, and the client takes the address away after a while. No packet of it leaves by
// the other uplink, before or after. When the carrier is back, all is.
func (h *dhcpHost) losesCarrier() { h.loses(h.b.Router, atRouter) }

// loses does so by a device that eth2's carrier depends on, or eth2 itself.
func (h *dhcpHost) loses(ns *testnet.NS, dev string) {
	h.t.Helper()
	other := h.a.state()
	capture := h.watchA()
	undisturbed, crossing := h.a.stream(), h.b.stream()
	crossing.flows()
	testnet.Must(h.t, ns.Down(dev))
	h.eventuallyIs("eth2 without a carrier", "", func() string { return h.b.state() })
	undisturbed.flows()
	crossing.end()
	if h.has(h.b.addr()) {
		h.t.Errorf("the client keeps %v", h.b.addr())
	}
	h.drain(capture)
	if n := capture.Seen(h.b.addr()); n > 0 {
		h.t.Errorf("%d packets with an address of eth2 left by eth1", n)
	}
	testnet.Must(h.t, ns.Up(dev))
	h.eventuallyIs("eth2 again", h.b.full(), func() string { return h.b.state() })
	h.eventuallyWorks(h.b)
	undisturbed.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}
