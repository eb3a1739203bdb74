package e2e

import (
	"net/netip"
	"syscall"
	"testing"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestUdhcpc runs the built programs with BusyBox's client, whose second default route in main the kernel refuses: only the
// hook knows the second gateway.
func TestUdhcpc(t *testing.T) {
	for _, program := range []string{"go", "udhcpc", "busybox", "dnsmasq", "ip", "unshare", "mount"} {
		testnet.Need(t, program)
	}
	bin := buildPrograms(t)
	testClient(t, bin, "debian/", debianUdhcpc(), map[string]func(*dhcpHost){
		"bind":            scenarioBind,
		"together":        scenarioTogether,
		"router":          scenarioOtherRouter,
		"second-router":   udhcpcSecondRouter,
		"renumber":        scenarioRenumber,
		"classless":       scenarioClassless,
		"slash32":         scenarioSlash32,
		"release":         scenarioRelease,
		"expire":          scenarioExpire,
		"kill":            scenarioKill,
		"carrier":         scenarioCarrier,
		"link-down":       scenarioLinkDown,
		"unplugged":       scenarioUnplugged,
		"change-unseen":   scenarioChangeUnseen,
		"hostile":         scenarioHostile,
		"hostile-renewal": scenarioHostileRenewal,
	}, brokenScenarios())
	exits := debianUdhcpc()
	exits.releaseAtExit = true
	testClient(t, bin, "debian/", exits, map[string]func(*dhcpHost){"exit": udhcpcExit})
	testClient(t, bin, "alpine/", alpineUdhcpc(), map[string]func(*dhcpHost){
		"bind":            scenarioBind,
		"router":          scenarioOtherRouter,
		"second-router":   udhcpcSecondRouter,
		"renumber":        scenarioRenumber,
		"release":         scenarioRelease,
		"carrier":         scenarioCarrier,
		"change-unseen":   scenarioChangeUnseen,
		"hostile-renewal": scenarioHostileRenewal,
	}, brokenScenarios())
}

// udhcpcExit: with -R, udhcpc gives its lease back when it is told to end; it was the first to have put a default route into
// main, and with it goes the only one.
func udhcpcExit(h *dhcpHost) {
	h.withDaemon()
	other := h.b.state()
	s := h.b.stream()
	s.flows()
	h.a.process.signal(syscall.SIGTERM)
	h.a.process.wait()
	h.eventuallyIs("eth1", "", func() string { return h.a.state() })
	if got := h.inMain(); got != "" {
		h.t.Errorf("in main:\n%s", got)
	}
	s.flows()
	s.lossless("eth2")
	if got := h.b.state(); got != other {
		h.t.Errorf("eth2 was:\n%sand is:\n%s", other, got)
	}
}

// udhcpcSecondRouter: the second uplink, which has no default route in main, gets another router by a renewal: only the hook
// tells of either.
func udhcpcSecondRouter(h *dhcpHost) {
	h.withDaemon()
	other := h.a.state()
	testnet.Must(h.t, h.b.Router.Addr(atRouter, "198.51.100.2/24"))
	h.b.router = netip.MustParseAddr("198.51.100.2")
	h.b.serve()
	h.b.renewed()
	h.eventuallyFull(h.b)
	h.eventuallyIs("in main", h.client.manners().main, h.inMain)
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}
