package lab

import (
	"net/netip"
	"sync"

	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// Promise is one thing that has to work on a host with several uplinks.
type Promise struct {
	Kind   string // one of Kinds
	ISP    *ISP   // the uplink that it is about; nil: the host as a whole
	Family rpdb.Family
	from   *testnet.NS
	to     netip.Addr
	probe  Probe
}

// Kinds lists the kinds of promises in the order in which they are told; the last is about the host, the others about
// every uplink.
func Kinds() []string {
	return []string{
		"Internet -> the uplink's address",
		"the uplink's address -> Internet",
		"bound to the device -> Internet",
		"LAN -> the uplink's address",
		"the uplink's address -> LAN",
		"not bound -> Internet",
	}
}

// Promises lists what has to work over TCP, or over UDP, for both families.
func (l *Lab) Promises(udp bool) []Promise {
	kinds := Kinds()
	var all []Promise
	for _, f := range rpdb.Families() {
		far, lan := InetAddr(f), LANAddr(f).Addr()
		for _, isp := range l.ISPs() {
			addr := isp.Address(f)
			add := func(kind string, from *testnet.NS, to netip.Addr, p Probe) {
				p.UDP = udp
				all = append(all, Promise{Kind: kind, ISP: isp, Family: f, from: from, to: to, probe: p})
			}
			add(kinds[0], l.Inet, addr, Probe{})
			add(kinds[1], l.Host, far, Probe{Src: addr})
			add(kinds[2], l.Host, far, Probe{Device: isp.Dev})
			add(kinds[3], l.LAN, addr, Probe{})
			add(kinds[4], l.Host, lan, Probe{Src: addr})
		}
		all = append(all, Promise{Kind: kinds[5], Family: f, from: l.Host, to: far, probe: Probe{UDP: udp}})
	}
	return all
}

// Address is the host's address on the uplink by its first lease.
func (isp *ISP) Address(f rpdb.Family) netip.Addr {
	if f == rpdb.IPv4 {
		return isp.Host4.Addr()
	}
	return isp.Host6.Addr()
}

// Subnet is the uplink's prefix that holds Address.
func (isp *ISP) Subnet(f rpdb.Family) netip.Prefix {
	if f == rpdb.IPv4 {
		return isp.Host4.Masked()
	}
	return isp.Host6.Masked()
}

// String is "tcp inet eth1: KIND", or without a device.
func (p Promise) String() string {
	text := "tcp "
	if p.probe.UDP {
		text = "udp "
	}
	text += p.Family.String()
	if p.ISP != nil {
		text += " " + p.ISP.Dev
	}
	return text + ": " + p.Kind
}

// Check tries it, and is nil when it holds.
func (p Promise) Check() error { return Reach(p.from, p.to, p.probe) }

// CheckAll tries all promises at once; the results are in the order of the promises.
func CheckAll(all []Promise) []error {
	results := make([]error, len(all))
	var wg sync.WaitGroup
	for i, p := range all {
		wg.Go(func() { results[i] = p.Check() })
	}
	wg.Wait()
	return results
}
