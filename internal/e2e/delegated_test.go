package e2e

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// delegatedLink is an uplink whose provider delegates a prefix, of which the LAN has a subnet.
type delegatedLink struct {
	*dhcpLink
	prefix netip.Prefix
	lan    netip.Addr // the LAN host's address in it
	metric int        // of its default route in main
}

// delegationClient is a client that can be told to ask for a prefix, and for nothing else.
type delegationClient interface {
	startPD(l *dhcpLink) *program
	releasePD(l *dhcpLink)
}

func (c dhclient) startPD(l *dhcpLink) *program {
	return l.run("dhclient6", c.command(l, "-6", "-P", "-d"))
}

func (c dhclient) releasePD(l *dhcpLink) {
	l.h.t.Helper()
	if out, err := c.command(l, "-6", "-P", "-r").CombinedOutput(); err != nil {
		l.h.t.Fatalf("dhclient -6 -P -r %s: %v\n%s", l.Dev, err, out)
	}
	l.process.wait()
}

// TestDelegatedPrefixes: two providers that drop foreign sources each delegate a prefix to a real dhclient, and a host of the LAN
// has an address of both. Each of its packets has to leave by the provider whose address it has. DHCPv6 delegates to nobody who
// does not ask, and what it gives is no address of the link: there the rest is static.
func TestDelegatedPrefixes(t *testing.T) {
	for _, program := range []string{"go", "dhclient", "ip", "unshare", "mount"} {
		testnet.Need(t, program)
	}
	delegatedPrefixes(newDHCPHost(t, buildPrograms(t), dhclient{}))
}

func delegatedPrefixes(h *dhcpHost) {
	h.t.Helper()
	a := &delegatedLink{h.a, netip.MustParsePrefix("2001:db8:a100::/56"), netip.MustParseAddr("2001:db8:a100:1::2"), 100}
	b := &delegatedLink{h.b, netip.MustParsePrefix("2001:db8:b100::/56"), netip.MustParseAddr("2001:db8:b100:1::2"), 200}
	testnet.Must(h.t, h.lab.Host.Sysctl("net/ipv6/conf/all/forwarding", "1"),
		h.lab.Static(h.lab.A), h.lab.Static(h.lab.B), h.lab.DefaultVia(h.lab.A, a.metric), h.lab.DefaultVia(h.lab.B, b.metric))
	stop, err := lab.Echo(h.lab.LAN)
	testnet.Must(h.t, err)
	h.t.Cleanup(stop)
	h.startUplinkd()
	for _, l := range []*delegatedLink{a, b} {
		l.delegate()
	}
	h.eventually("the first provider's address works without rules of its own", a.works)
	if err := b.works(); lab.Why(err) != "lost" {
		h.t.Errorf("without uplinkd knowing of it, the second provider's address: %v", err)
	}
	for _, l := range []*delegatedLink{a, b} {
		l.bindPD()
		h.eventuallyIs(l.Dev, l.rules(), l.state)
		h.eventually("delegated on "+l.Dev, l.works)
	}
	h.killUplinkd()
	h.startUplinkd()
	for _, l := range []*delegatedLink{a, b} {
		h.eventuallyIs(l.Dev, l.rules(), l.state)
	}

	// While B is down nothing of its prefix leaves by A, where it would be lost: the LAN host is told at once.
	testnet.Must(h.t, h.lab.Host.Down(b.Dev))
	h.eventuallyIs("eth2 down", b.fenced(), b.state)
	// Between namespaces the answer to the SYN comes while connect(2) still holds the socket, and counts only from the second on.
	if err := b.asks(patience); lab.Why(err) != "no route" {
		h.t.Errorf("delegated on eth2, which is down: %v", err)
	}
	h.eventually("eth1 still works", a.works)
	testnet.Must(h.t, h.lab.Host.Up(b.Dev), b.static6())
	h.eventuallyIs("eth2 up again", b.rules(), b.state)
	h.eventually("delegated on eth2", b.works)

	client := h.client.(delegationClient)
	client.releasePD(b.dhcpLink)
	h.eventuallyIs("eth2 given back", "", b.state)
	h.eventually("eth1 still works", a.works)
}

// delegate starts the provider's server, and gives the LAN its subnet and the host there its address.
func (l *delegatedLink) delegate() {
	l.h.t.Helper()
	s, err := l.Delegate(l.prefix, time.Hour)
	testnet.Must(l.h.t, err)
	l.h.t.Cleanup(s.Close)
	testnet.Must(l.h.t, l.h.lab.Inet.Route(fmt.Sprintf("%v via %v", l.prefix, l.transit())),
		l.h.lab.Host.Addr(lab.LANDev, netip.PrefixFrom(l.lan.Prev(), 64).String()),
		l.h.lab.LAN.Addr(lab.LANDev, netip.PrefixFrom(l.lan, 64).String()))
}

// transit is the provider's address in the Internet: the next hop of its customers' networks there.
func (l *delegatedLink) transit() netip.Addr {
	l.h.t.Helper()
	r, err := l.h.lab.Inet.RouteGet(testnet.Lookup{Dst: l.Host6.Addr()})
	testnet.Must(l.h.t, err)
	return r.Via
}

// bindPD starts the client, which asks for a prefix alone.
func (l *delegatedLink) bindPD() {
	l.h.t.Helper()
	l.process = l.h.client.(delegationClient).startPD(l.dhcpLink)
	l.process.await("Bound to lease")
	testnet.Must(l.h.t, l.static6())
}

// static6 puts the host's static IPv6 address, and the route with it, back: it goes when the link is down, and dhclient-script
// takes what is permanent away before it begins.
func (l *delegatedLink) static6() error {
	return errors.Join(l.h.lab.Host.Addr(l.Dev, l.Host6.String()),
		l.h.lab.Host.ReplaceRoute(fmt.Sprintf("default via %v dev %s metric %d proto static", l.GW6, l.Dev, l.metric)))
}

// works is nil when the LAN's host has the Internet by this provider, both ways, and the host itself by its address on the LAN.
func (l *delegatedLink) works() error {
	return errors.Join(l.asks(0), lab.Reach(l.h.lab.Inet, l.lan, lab.Probe{}), lab.Reach(l.h.lab.Inet, l.lan, lab.Probe{UDP: true}),
		lab.Reach(l.h.lab.Host, lab.InetAddr(rpdb.IPv6), lab.Probe{Src: l.lan.Prev()}))
}

// asks has the LAN's host ask in the Internet, with the usual timeout where none is given.
func (l *delegatedLink) asks(timeout time.Duration) error {
	return lab.Reach(l.h.lab.LAN, lab.InetAddr(rpdb.IPv6), lab.Probe{Src: l.lan, Timeout: timeout})
}

// state is the rules about the prefix.
func (l *delegatedLink) state() string {
	l.h.t.Helper()
	var b strings.Builder
	for line := range strings.Lines(l.h.ours()) {
		if strings.Contains(line, " from "+l.prefix.String()+" ") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func (l *delegatedLink) rules() string {
	return fmt.Sprintf(`inet6 rule 4300: from %[1]v lookup main suppress_prefixlength 4
inet6 rule 4410: from %[1]v lookup %[2]s
inet6 rule 4500: from %[1]v unreachable
`, l.prefix, l.Dev)
}

// fenced is what is left while the link is down: its LAN sees the others, and no more.
func (l *delegatedLink) fenced() string {
	return fmt.Sprintf(`inet6 rule 4300: from %[1]v lookup main suppress_prefixlength 4
inet6 rule 4500: from %[1]v unreachable
`, l.prefix)
}
