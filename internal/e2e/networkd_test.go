package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// TestNetworkd runs the built programs with systemd-networkd, which has no hooks: what it knows of leases is in its lease
// files, and what it does about them is in the kernel.
func TestNetworkd(t *testing.T) {
	for _, program := range []string{"go", "dnsmasq", "radvd", "ip", "unshare", "mount", "setpriv", "dbus-daemon", "networkctl"} {
		testnet.Need(t, program)
	}
	if _, err := os.Stat(networkdProgram); err != nil {
		testnet.Skip(t, networkdProgram+" is not installed")
	}
	needUserIDs(t, "systemd-networkd runs as a user of its own")
	bin := buildPrograms(t)
	for name, s := range networkdScenarios() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &networkd{network: s.network}
			s.run(newDHCPHost(t, bin, n), n)
		})
	}
}

// networkdScenario is one scenario, and more for every link's .network file.
type networkdScenario struct {
	network string
	run     func(*dhcpHost, *networkd)
}

func networkdScenarios() map[string]networkdScenario {
	shared := func(f func(*dhcpHost)) func(*dhcpHost, *networkd) { // one of every client's
		return func(h *dhcpHost, _ *networkd) { f(h) }
	}
	return map[string]networkdScenario{
		"bind":            {run: networkdBind},
		"router":          {run: shared(scenarioOtherRouter)},
		"renumber":        {run: shared(scenarioRenumber)},
		"expire":          {run: shared(scenarioExpire)},
		"kill":            {run: shared(scenarioKill)},
		"reboot":          {run: shared(scenarioReboot)},
		"unplugged":       {run: shared(scenarioUnplugged)},
		"crash":           {run: shared(scenarioCrash)},
		"hostile-renewal": {run: networkdHostileRenewal},
		"restart":         {run: networkdRestart},
		"carrier-short":   {network: "IgnoreCarrierLoss=20s\n", run: shared(scenarioCarrier)},
		"carrier":         {run: networkdCarrier},
		"stop":            {run: networkdStop},
		"reconfigure":     {run: networkdReconfigure},
		"no-routes":       {network: "[DHCPv4]\nUseRoutes=no\n", run: networkdNoDefault},
		"no-gateway":      {network: "[DHCPv4]\nUseGateway=no\n", run: networkdNoDefault},
		"dispatcher":      {network: "[DHCPv4]\nUseRoutes=no\n", run: networkdDispatcher},
		"ra":              {run: networkdRA},
		"dhcpv6":          {run: networkdDHCPv6},
	}
}

// networkdBind: networkd gives each link a default route in main, and yet only what is bound to a device finds the second
// one. The daemon, which comes later, needs no hook to put that right.
func networkdBind(h *dhcpHost, _ *networkd) {
	h.bindBoth()
	h.eventuallyIs("the defaults in main", h.client.manners().main, h.inMain)
	h.eventually("one uplink of two works", func() error {
		if a, b := h.a.works(), h.b.works(); (a == nil) == (b == nil) {
			return errors.New(fmt.Sprint("eth1: ", a, ", eth2: ", b))
		}
		return nil
	})
	h.startUplinkd()
	h.eventuallyWorks(h.a, h.b)
	h.eventuallyIs("rules and routes", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })
}

// networkdCarrier: networkd holds on to a link without carrier for a while, and then takes its address away.
func networkdCarrier(h *dhcpHost, n *networkd) {
	h.withDaemon()
	h.losesCarrier()
	if err := n.holds(h.b); err != nil {
		h.t.Error(err)
	}
}

// networkdRestart: systemd restarts networkd with a signal upon which it gives nothing back (RestartKillSignal= of its unit).
// Nothing happens to the uplinks.
func networkdRestart(h *dhcpHost, n *networkd) {
	h.withDaemon()
	before := h.ours()
	events := watchRules(h.t, h.lab.Host)
	s := h.b.stream()
	s.flows()
	testnet.Must(h.t, n.process.cmd.Process.Signal(syscall.SIGUSR2))
	n.process.wait()
	h.a.bind()
	h.b.bind()
	s.flows()
	s.lossless("eth2")
	if got := h.ours(); got != before || events.count() > 0 {
		h.t.Errorf("before:\n%safter:\n%sevents:\n%s", before, got, events.texts(0))
	}
}

// networkdStop: networkd gives both leases back when it is stopped, and gets them again when it is started.
func networkdStop(h *dhcpHost, n *networkd) {
	h.withDaemon()
	testnet.Must(h.t, n.process.cmd.Process.Signal(os.Interrupt))
	n.process.wait()
	h.eventuallyIs("both stopped", "", func() string { return h.a.state() + h.b.state() })
	h.a.bind()
	h.b.bind()
	h.eventuallyIs("both again", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })
	h.eventuallyWorks(h.a, h.b)
}

// networkdReconfigure: when networkd configures a link anew, it removes all rules and all routes of the link that are not its
// own (networkd.conf(5): ManageForeignRoutingPolicyRules=, ManageForeignRoutes=, both on by default). They come back.
func networkdReconfigure(h *dhcpHost, n *networkd) {
	h.withDaemon()
	want := h.ours()
	n.networkctl("reconfigure", h.a.Dev)
	h.eventually("networkd removes what it does not know", func() error {
		text := n.process.text()
		if !strings.Contains(text, "Removing foreign routing policy rule") || !strings.Contains(text, "Removing foreign route") {
			return errors.New("not yet")
		}
		return nil
	})
	h.eventuallyIs("rules and routes", want, h.ours)
	h.eventuallyWorks(h.a, h.b)
}

// networkdNoDefault: the configuration keeps networkd from putting a default route into main, and so main knows no gateway;
// the lease file does.
func networkdNoDefault(h *dhcpHost, n *networkd) {
	h.withDaemon()
	if got := h.inMain(); got != "" {
		h.t.Errorf("in main:\n%s", got)
	}
	h.eventuallyIs("rules and routes", h.a.full()+h.b.full(), func() string { return h.a.state() + h.b.state() })

	// Another router, of which the lease file alone tells.
	testnet.Must(h.t, h.a.Router.Addr(atRouter, "192.0.2.2/24"))
	h.a.router = h.a.router.Next()
	h.a.serve()
	n.renew(h.a)
	h.eventuallyIs("eth1's other router", h.a.full(), func() string { return h.a.state() })

	before := h.ours()
	h.killUplinkd()
	h.startUplinkd()
	if got := h.ours(); got != before {
		h.t.Errorf("before the restart:\n%safter it:\n%s", before, got)
	}
	h.eventuallyWorks(h.b)
}

// networkdHostileRenewal: a renewal names a router that can be none. networkd takes it at its word and gives up the route that
// worked; the uplink keeps the gateway that it had.
func networkdHostileRenewal(h *dhcpHost, n *networkd) {
	h.withDaemon()
	h.b.router = netip.MustParseAddr("127.0.0.1")
	h.b.serve()
	h.b.renewed()
	h.uplinkd.await("127.0.0.1")
	if got := h.inMain(); !strings.Contains(got, "default via 127.0.0.1 dev eth2") {
		h.t.Errorf("in main:\n%s", got)
	}
	h.b.router = h.b.GW4
	_, want, _ := strings.Cut(h.b.full(), "\n") // less the rule for networkd's route to the router
	h.eventuallyIs("eth2", want, func() string { return h.b.state() })
	testnet.Must(h.t, h.b.works())
}

// networkdDispatcher: the scripts for networkd-dispatcher, run as that runs them, say something to the daemon and take nothing
// away.
func networkdDispatcher(h *dhcpHost, n *networkd) {
	h.withDaemon()
	want := h.ours()
	events := watchRules(h.t, h.lab.Host)
	for _, state := range []string{"routable", "degraded", "no-carrier", "off"} {
		name := "networkd-dispatcher/" + state + ".d/uplinkd"
		h.file(name, h.repository("hooks/"+name), 0o755)
		cmd := h.command(h.path(name))
		cmd.Env = append(cmd.Env, "IFACE="+h.b.Dev, "STATE="+state, "ADDR=198.51.100.20", "IP_ADDRS=198.51.100.20", "IP6_ADDRS=",
			"OperationalState="+state, "AdministrativeState=configured", `json={"Type":"ether"}`)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			h.t.Errorf("%s: %v\n%s", state, err, out)
		}
	}
	if got := h.ours(); got != want || events.count() > 0 {
		h.t.Errorf("before:\n%safter:\n%sevents:\n%s", want, got, events.texts(0))
	}
	if left := h.spooled(); len(left) > 0 {
		h.t.Errorf("the daemon did not hear of it: %v", left)
	}
}

// networkdRA: the address and the gateway come by a router advertisement, which networkd takes, not the kernel.
func networkdRA(h *dhcpHost, n *networkd) {
	for l, token := range map[*dhcpLink]string{h.a: "::10", h.b: "::20"} {
		n.configure(l, "no", "IPv6AcceptRA=yes\n[IPv6AcceptRA]\nToken=static:"+token+"\n")
	}
	h.routerAdvertisements(func(l *dhcpLink) { l.start() })
}

// networkdDHCPv6: the address comes by DHCPv6, as the router advertisement says.
func networkdDHCPv6(h *dhcpHost, n *networkd) {
	for _, l := range []*dhcpLink{h.a, h.b} {
		n.configure(l, "ipv6", "IPv6AcceptRA=yes\n")
	}
	h.dhcpv6Addresses(func(l *dhcpLink) { l.start() })
}
