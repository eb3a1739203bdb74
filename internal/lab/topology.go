package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// The names of devices. Those of the host are in its ISP values.
const (
	customer = "cust"    // the provider's side of the host's uplink
	transit  = "transit" // the provider's side of the Internet
	LANDev   = "lan0"    // the host's device on the LAN, and the LAN host's
)

// ISP is one provider and the host's link to it.
type ISP struct {
	Name   string
	Dev    string      // the host's device
	Router *testnet.NS // the provider's router
	// Host4 and Host6 are the host's addresses on this link, with the length of the subnet, by the first lease.
	Host4, Host6 netip.Prefix
	// GW4 and GW6 are the router's addresses on the link.
	GW4, GW6     netip.Addr
	PointToPoint bool // a tun device of type PPP, no gateway needed

	number int // from 1: makes the addresses of the transit link
	detach func()
}

// Lab is the whole.
//
//	            +--- eth1  ISP A  192.0.2.0/24     2001:db8:a::/64 ---+
//	LAN --- Host+--- eth2  ISP B  198.51.100.0/24  2001:db8:b::/64 ---+--- Inet
//	            +--- ppp0  ISP C  198.18.7.2       2001:db8:c::/64 ---+
//
// The host's uplinks have no addresses in the beginning: a DHCP client brings them, or Static.
type Lab struct {
	Host, LAN, Inet *testnet.NS
	A, B            *ISP
	C               *ISP // after AddPPP
	closers         []func()
}

// InetAddr is the address of the host in the Internet.
func InetAddr(f rpdb.Family) netip.Addr {
	if f == rpdb.IPv4 {
		return netip.AddrFrom4([4]byte{203, 0, 113, 250})
	}
	return netip.MustParseAddr("2001:db8:ffff::1")
}

// LANAddr is the address of the host in the LAN, with its subnet.
func LANAddr(f rpdb.Family) netip.Prefix {
	if f == rpdb.IPv4 {
		return netip.MustParsePrefix("10.0.0.2/24")
	}
	return netip.MustParsePrefix("fd00:10::2/64")
}

// LANHost is the address of the host with the uplinks on the LAN, with its subnet.
func LANHost(f rpdb.Family) netip.Prefix {
	if f == rpdb.IPv4 {
		return netip.MustParsePrefix("10.0.0.1/24")
	}
	return netip.MustParsePrefix("fd00:10::1/64")
}

// New builds the lab with the ISPs A and B. Close it.
func New() (*Lab, error) {
	l := &Lab{
		A: &ISP{Name: "ISP A", Dev: "eth1", number: 1,
			Host4: netip.MustParsePrefix("192.0.2.10/24"), GW4: netip.MustParseAddr("192.0.2.1"),
			Host6: netip.MustParsePrefix("2001:db8:a::10/64"), GW6: netip.MustParseAddr("2001:db8:a::1")},
		B: &ISP{Name: "ISP B", Dev: "eth2", number: 2,
			Host4: netip.MustParsePrefix("198.51.100.20/24"), GW4: netip.MustParseAddr("198.51.100.1"),
			Host6: netip.MustParsePrefix("2001:db8:b::20/64"), GW6: netip.MustParseAddr("2001:db8:b::1")},
	}
	if err := l.build(); err != nil {
		l.Close()
		return nil, fmt.Errorf("build the lab: %w", err)
	}
	return l, nil
}

func (l *Lab) build() error {
	for _, n := range []struct {
		ns   **testnet.NS
		name string
	}{{&l.Host, "host"}, {&l.LAN, "lan"}, {&l.Inet, "inet"}} {
		var err error
		if *n.ns, err = l.open(n.name); err != nil {
			return err
		}
	}
	if err := l.buildEnds(); err != nil {
		return err
	}
	for _, isp := range []*ISP{l.A, l.B} {
		if err := l.addISP(isp); err != nil {
			return fmt.Errorf("%s: %w", isp.Name, err)
		}
		if err := testnet.Veth(l.Host, isp.Dev, isp.Router, customer); err != nil {
			return err
		}
		if err := isp.serve(); err != nil {
			return fmt.Errorf("%s: %w", isp.Name, err)
		}
	}
	return nil
}

// open makes a namespace whose sysctls are the kernel's own defaults: a new one may inherit the machine's.
func (l *Lab) open(name string) (*testnet.NS, error) {
	n, err := testnet.Open(name)
	if err != nil {
		return nil, err
	}
	l.closers = append(l.closers, n.Close)
	return n, errors.Join(
		n.Sysctl("net/ipv4/conf/all/rp_filter", "0"), n.Sysctl("net/ipv4/conf/default/rp_filter", "0"))
}

// buildEnds gives the Internet host its address, and the LAN its cable.
func (l *Lab) buildEnds() error {
	errs := []error{testnet.Veth(l.Host, LANDev, l.LAN, LANDev)}
	for _, f := range rpdb.Families() {
		errs = append(errs,
			l.Inet.Addr("lo", rpdb.HostPrefix(InetAddr(f)).String()),
			l.Host.Addr(LANDev, LANHost(f).String()), l.LAN.Addr(LANDev, LANAddr(f).String()),
			// Whatever address of the host the LAN talks to, it is behind lan0.
			l.LAN.Route(fmt.Sprintf("default via %v dev %s", LANHost(f).Addr(), LANDev)))
	}
	return errors.Join(errs...)
}

// addISP makes the provider's router and its link to the Internet, with routes both ways.
func (l *Lab) addISP(isp *ISP) (err error) {
	if isp.Router, err = l.open(isp.Name); err != nil {
		return err
	}
	near := fmt.Sprintf("isp%d", isp.number)
	if err := testnet.Veth(l.Inet, near, isp.Router, transit); err != nil {
		return err
	}
	n := isp.number
	inet4, isp4 := fmt.Sprintf("203.0.113.%d", 8*n+1), fmt.Sprintf("203.0.113.%d", 8*n+2)
	inet6, isp6 := fmt.Sprintf("2001:db8:f%d::1", n), fmt.Sprintf("2001:db8:f%d::2", n)
	return errors.Join(
		l.Inet.Addr(near, inet4+"/29"), isp.Router.Addr(transit, isp4+"/29"),
		l.Inet.Addr(near, inet6+"/64"), isp.Router.Addr(transit, isp6+"/64"),
		isp.Router.Sysctl("net/ipv4/ip_forward", "1"), isp.Router.Sysctl("net/ipv6/conf/all/forwarding", "1"),
		isp.Router.Route("default via "+inet4), isp.Router.Route("default via "+inet6),
		l.Inet.Route(fmt.Sprintf("%v via %s src %v", isp.Host4.Masked(), isp4, InetAddr(rpdb.IPv4))),
		l.Inet.Route(fmt.Sprintf("%v via %s src %v", isp.Host6.Masked(), isp6, InetAddr(rpdb.IPv6))))
}

// serve gives the router its addresses on the customer's link, and lets in only what has the customer's addresses.
func (isp *ISP) serve() error {
	r := isp.Router
	if !isp.PointToPoint {
		if err := errors.Join(r.Addr(customer, netip.PrefixFrom(isp.GW4, isp.Host4.Bits()).String()),
			r.Addr(customer, netip.PrefixFrom(isp.GW6, isp.Host6.Bits()).String())); err != nil {
			return err
		}
	}
	// BCP 38 by policy routing, the same for both families; what is for the router itself is found in table local first.
	for _, p := range []netip.Prefix{isp.Host4.Masked(), isp.Host6.Masked()} {
		f := rpdb.FamilyOf(p.Addr())
		if err := errors.Join(
			r.Rule(f, fmt.Sprintf("from %v iif %s lookup main priority 100", p, customer)),
			r.Rule(f, fmt.Sprintf("iif %s blackhole priority 101", customer))); err != nil {
			return err
		}
	}
	return nil
}

// Routed has the provider route a prefix to the host's address on its link, and let in what comes from it.
func (isp *ISP) Routed(p netip.Prefix) error {
	f, via := rpdb.FamilyOf(p.Addr()), isp.Host6.Addr()
	if f == rpdb.IPv4 {
		via = isp.Host4.Addr()
	}
	return errors.Join(
		isp.Router.Rule(f, fmt.Sprintf("from %v iif %s lookup main priority 99", p, customer)),
		isp.Router.Route(fmt.Sprintf("%v via %v dev %s", p, via, customer)))
}

// Static gives the host its addresses on a provider's link, by hand.
func (l *Lab) Static(isp *ISP) error {
	if isp.PointToPoint {
		return errors.Join(l.Host.Peer(isp.Dev, isp.Host4.Addr().String(), isp.GW4.String()),
			l.Host.Peer(isp.Dev, isp.Host6.Addr().String(), isp.GW6.String()))
	}
	return errors.Join(l.Host.Addr(isp.Dev, isp.Host4.String()), l.Host.Addr(isp.Dev, isp.Host6.String()))
}

// DefaultVia puts default routes by a provider into the host's table main, as an administrator would (proto static).
func (l *Lab) DefaultVia(isp *ISP, metric int) error {
	for _, gw := range []netip.Addr{isp.GW4, isp.GW6} {
		text := fmt.Sprintf("default via %v dev %s metric %d proto static", gw, isp.Dev, metric)
		if err := l.Host.Route(text); err != nil {
			return err
		}
	}
	return nil
}

// ISPs lists the providers that there are.
func (l *Lab) ISPs() []*ISP {
	if l.C == nil {
		return []*ISP{l.A, l.B}
	}
	return []*ISP{l.A, l.B, l.C}
}

// onClose has f called by Close, before all that was given earlier.
func (l *Lab) onClose(f func()) { l.closers = append(l.closers, f) }

// Close removes everything; the last made goes first.
func (l *Lab) Close() {
	for i := len(l.closers) - 1; i >= 0; i-- {
		l.closers[i]()
	}
	l.closers = nil
}
