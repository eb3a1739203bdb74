package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestNetworkManager runs the built programs with NetworkManager: with the repository's script for its dispatcher, and in places
// without it.
func TestNetworkManager(t *testing.T) {
	for _, program := range []string{"go", "dnsmasq", "radvd", "ip", "unshare", "mount", "dbus-daemon", "NetworkManager", "nmcli"} {
		testnet.Need(t, program)
	}
	bin := buildPrograms(t)
	for name, s := range networkManagerScenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &networkManager{hookless: strings.HasPrefix(name, "hookless/"), ip: s.ip, carrierWait: s.carrierWait}
			s.run(newDHCPHost(t, bin, n), n)
		})
	}
}

// networkManagerScenario is one scenario, and how NetworkManager is configured for it.
type networkManagerScenario struct {
	ip          map[string]string
	carrierWait time.Duration
	run         func(*dhcpHost, *networkManager)
}

func networkManagerScenarios() map[string]networkManagerScenario {
	all := map[string]networkManagerScenario{
		"down-up":      {run: networkManagerDownUp},
		"carrier":      {run: networkManagerCarrier},
		"no-default":   {ip: nmNoDefault(), run: networkManagerNoDefault},
		"ready-at-up":  {run: networkManagerReadyAtUp},
		"stop":         {run: networkManagerStop},
		"main-changed": {run: networkManagerMainChanged},
		"static":       {ip: nmStatic(), run: networkManagerStatic},
		"ra":           {ip: nmIPv6("token=::10", "token=::20"), run: networkManagerRA},
		"dhcpv6":       {ip: nmIPv6("", ""), run: networkManagerDHCPv6},

		"hookless/bind":    {run: networkManagerBind},
		"hookless/down-up": {run: networkManagerDownUp},
		"hookless/carrier": {run: networkManagerCarrier},
		"hookless/static":  {ip: nmStatic(), run: networkManagerStatic},
		"hookless/ra":      {ip: nmIPv6("token=::10", "token=::20"), run: networkManagerRA},
		"hookless/dhcpv6":  {ip: nmIPv6("", ""), run: networkManagerDHCPv6},
	}
	shared := brokenScenarios()
	shared["broken/hangs"] = networkManagerHangs
	for name, scenario := range map[string]func(*dhcpHost){
		"bind": scenarioBind, "router": scenarioOtherRouter, "renumber": scenarioRenumber, "expire": scenarioExpire,
		"kill": scenarioKill, "reboot": scenarioReboot, "unplugged": scenarioUnplugged, "crash": scenarioCrash,
		"drift": scenarioDrift, "hostile-renewal": scenarioHostileRenewal, "carrier-short": scenarioCarrier,
		"hookless/router": scenarioOtherRouter, "hookless/renumber": scenarioRenumber, "hookless/crash": scenarioCrash,
	} {
		shared[name] = scenario
	}
	for name, scenario := range shared {
		all[name] = networkManagerScenario{run: func(h *dhcpHost, _ *networkManager) { scenario(h) }}
	}
	all["carrier-short"] = networkManagerScenario{carrierWait: time.Minute, run: all["carrier-short"].run}
	return all
}

// networkManagerBind: without a hook, the daemon learns all from the kernel.
func networkManagerBind(h *dhcpHost, _ *networkManager) {
	h.withDaemon()
	h.eventuallyIs("rules and routes", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })
	if left := h.spooled(); len(left) > 0 {
		h.t.Errorf("in the spool: %v", left)
	}
}

// networkManagerDownUp: a connection is taken down by hand and up again; the other one does not notice.
func networkManagerDownUp(h *dhcpHost, n *networkManager) {
	h.withDaemon()
	other := h.a.state()
	s := h.a.stream()
	s.flows()
	n.nmcli("connection", "down", h.b.Dev)
	h.eventuallyIs("eth2 taken down", "", func() string { return h.b.state() })
	if h.has(h.b.addr()) {
		h.t.Errorf("the host still has %v", h.b.addr())
	}
	n.nmcli("connection", "up", h.b.Dev)
	h.eventuallyIs("eth2 again", h.b.full(), func() string { return h.b.state() })
	h.eventuallyWorks(h.b)
	s.lossless("eth1")
	if got := h.a.state(); got != other {
		h.t.Errorf("eth1 was:\n%sand is:\n%s", other, got)
	}
}

// networkManagerCarrier: NetworkManager takes the address away when the carrier stays away.
func networkManagerCarrier(h *dhcpHost, _ *networkManager) {
	h.withDaemon()
	h.losesCarrier()
}

// networkManagerReadyAtUp: the other scripts, and who waits for NetworkManager's word that a link is up, find the rules in
// place, for NetworkManager has waited for the one in pre-up.d.
func networkManagerReadyAtUp(h *dhcpHost, _ *networkManager) {
	h.file("nm-dispatcher.d/50-look", fmt.Sprintf("#!/bin/sh\n[ \"$2\" = up ] || exit 0\nexec %s rule show >/run/uplinkd/rules-$1\n",
		testnet.Need(h.t, "ip")), 0o755)
	h.startUplinkd()
	h.bindBoth()
	for _, l := range []*dhcpLink{h.a, h.b} {
		rules, err := os.ReadFile(h.path("run/uplinkd/rules-" + l.Dev))
		if err != nil || !strings.Contains(string(rules), fmt.Sprintf("4400:	from %v lookup ", l.addr())) {
			h.t.Errorf("when %s was up: %v\n%s", l.Dev, err, rules)
		}
	}
}

// networkManagerMainChanged: somebody takes an uplink's default route out of main, as VPN programs do. What the hook has said of
// the gateway is still true.
func networkManagerMainChanged(h *dhcpHost, _ *networkManager) {
	h.withDaemon()
	before := h.ours()
	s := h.b.stream()
	testnet.Must(h.t, h.lab.Host.DelRoute("default via 198.51.100.1 dev eth2 proto dhcp metric 101"))
	for range 5 { // long enough for the daemon to have seen it
		s.flows()
	}
	if got := h.inMain(); strings.Contains(got, "eth2") {
		h.t.Errorf("in main:\n%s", got)
	}
	s.lossless("eth2")
	testnet.Must(h.t, h.b.works())
	if got := h.ours(); got != before {
		h.t.Errorf("before:\n%safter:\n%s", before, got)
	}
}

// networkManagerStop: when NetworkManager is stopped, it leaves all as it is, and so does uplinkd; when it starts again,
// nothing happens either.
func networkManagerStop(h *dhcpHost, n *networkManager) {
	h.withDaemon()
	before := h.ours()
	events := watchRules(h.t, h.lab.Host)
	s := h.b.stream()
	testnet.Must(h.t, n.process.cmd.Process.Signal(syscall.SIGTERM))
	n.process.wait()
	s.flows()
	h.a.bind()
	h.b.bind()
	s.flows()
	s.lossless("eth2")
	if got := h.ours(); got != before || events.count() > 0 {
		h.t.Errorf("before:\n%safter:\n%sevents:\n%s", before, got, events.texts(0))
	}
}

// networkManagerNoDefault: the profiles keep NetworkManager from putting default routes into main: one all routes, one the
// default route. The hook says which routers the leases have.
func networkManagerNoDefault(h *dhcpHost, _ *networkManager) {
	h.withDaemon()
	if got := h.inMain(); got != "" {
		h.t.Errorf("in main:\n%s", got)
	}
	h.eventuallyIs("rules and routes", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })
	before := h.ours()
	h.killUplinkd()
	h.startUplinkd()
	if got := h.ours(); got != before {
		h.t.Errorf("before the restart:\n%safter it:\n%s", before, got)
	}
}

// networkManagerStatic: an address and a gateway by hand, then another address, which is applied to the link as it is.
func networkManagerStatic(h *dhcpHost, n *networkManager) {
	h.startUplinkd()
	h.a.start()
	h.eventuallyWorks(h.a, h.b)
	h.eventuallyIs("rules and routes", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })
	h.b.process = h.a.process
	n.nmcli("connection", "modify", h.b.Dev, "ipv4.addresses", "198.51.100.33/24")
	old := h.b.addr()
	h.b.lease = netip.MustParsePrefix("198.51.100.33/24")
	n.nmcli("device", "reapply", h.b.Dev)
	h.eventuallyIs("eth2 reapplied", h.b.full(), func() string { return h.b.state(old) })
	h.eventuallyWorks(h.b)
	n.nmcli("connection", "down", h.b.Dev)
	h.eventuallyIs("eth2 taken down", "", func() string { return h.b.state(old) })
}

// networkManagerRA: addresses and gateways by router advertisements.
func networkManagerRA(h *dhcpHost, _ *networkManager) {
	h.routerAdvertisements(func(l *dhcpLink) { l.start() })
}

// networkManagerDHCPv6: addresses by DHCPv6, gateways by router advertisements.
func networkManagerDHCPv6(h *dhcpHost, _ *networkManager) {
	h.dhcpv6Addresses(func(l *dhcpLink) { l.start() })
}
