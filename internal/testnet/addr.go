package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Addr adds an address in CIDR notation, of either family, without duplicate address detection. On a link that runs,
// the address works when Addr returns.
func (n *NS) Addr(dev, cidr string) error { return n.Peer(dev, cidr, "") }

// Peer adds an address whose other end is peer, as a PPP link has it: Peer("ppp0", "192.0.2.2", "198.51.100.1").
func (n *NS) Peer(dev, addr, peer string) error {
	if err := n.addr(dev, addr, peer, n.link.AddrAdd); err != nil {
		return err
	}
	l, err := n.dev(dev)
	if err != nil || l.Attrs().RawFlags&unix.IFF_RUNNING == 0 {
		return err
	}
	return n.settled(l, addr, peer)
}

// settled waits until an IPv6 address works: the kernel joins its solicited-node group, and adds the routes of the
// address and of its peer, in a work queue (net/ipv6/addrconf.c: addrconf_dad_work).
func (n *NS) settled(l netlink.Link, addr, peer string) error {
	p, err := parsePrefix(addr)
	if err != nil || p.Addr().Is4() {
		return err
	}
	err = Wait(ready, func() error {
		if r, err := n.RouteGet(Lookup{Dst: p.Addr()}); err != nil || r.Type != unix.RTN_LOCAL {
			return errors.Join(errors.New("not local yet"), err)
		}
		if peer == "" {
			return nil
		}
		other, err := parsePrefix(peer)
		if err != nil {
			return err
		}
		return n.hasRoute(other, l.Attrs().Index)
	})
	if err != nil {
		return fmt.Errorf("namespace %s: %s: wait for address %s: %w", n.Name, l.Attrs().Name, addr, err)
	}
	return nil
}

// Leased gives an address that is there the lifetime that a DHCP client gives it.
func (n *NS) Leased(dev, cidr string, life time.Duration) error {
	return n.addr(dev, cidr, "", func(l netlink.Link, a *netlink.Addr) error {
		a.ValidLft, a.PreferedLft = int(life.Seconds()), int(life.Seconds())
		return n.link.AddrReplace(l, a)
	})
}

// DelAddr removes an address in CIDR notation.
func (n *NS) DelAddr(dev, cidr string) error { return n.addr(dev, cidr, "", n.link.AddrDel) }

// DelPeer removes an address that Peer added.
func (n *NS) DelPeer(dev, addr, peer string) error { return n.addr(dev, addr, peer, n.link.AddrDel) }

func (n *NS) hasRoute(dst netip.Prefix, index int) error {
	routes, err := n.Routes()
	if err != nil {
		return err
	}
	for _, r := range routes {
		if r.Dst == dst && r.OIF == index {
			return nil
		}
	}
	return fmt.Errorf("no route to %v yet", dst)
}

func (n *NS) addr(dev, cidr, peer string, do func(netlink.Link, *netlink.Addr) error) error {
	a := &netlink.Addr{Flags: unix.IFA_F_NODAD}
	var err error
	if a.IPNet, err = ipNet(cidr); err != nil {
		return err
	}
	if peer != "" {
		if a.Peer, err = ipNet(peer); err != nil {
			return err
		}
	}
	if a.IP.To4() != nil {
		a.Flags = 0
	}
	return n.on(dev, "address "+cidr, func(l netlink.Link) error { return do(l, a) })
}

// parsePrefix reads a prefix or a lone address, which is a host prefix.
func parsePrefix(text string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	return netip.ParsePrefix(text)
}

func ipNet(text string) (*net.IPNet, error) {
	p, err := parsePrefix(text)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", text, err)
	}
	return toIPNet(p), nil
}

func toIPNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
