package testnet

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
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

// Deprecated adds an address whose preferred lifetime is over, or makes one that is there such a one.
func (n *NS) Deprecated(dev, cidr string) error {
	return n.addr(dev, cidr, "", func(l netlink.Link, a *netlink.Addr) error {
		a.ValidLft = int(time.Hour.Seconds())
		return n.link.AddrReplace(l, a)
	})
}

// Tentative adds an IPv6 address that stays tentative for as long as a test may take: duplicate address detection asks a
// hundred times, a second apart.
func (n *NS) Tentative(dev, cidr string) error {
	return errors.Join(n.detect(dev, cidr, 100), n.flagged(dev, cidr, unix.IFA_F_TENTATIVE))
}

// Duplicate adds an IPv6 address that is on the other end of the link, too, and waits until the kernel has found that.
func (n *NS) Duplicate(dev, cidr string) error {
	return errors.Join(n.detect(dev, cidr, 1), n.flagged(dev, cidr, unix.IFA_F_DADFAILED))
}

// detect adds an address with duplicate address detection, which is off for all others.
func (n *NS) detect(dev, cidr string, asks int) error {
	conf := "net/ipv6/conf/" + dev
	err := errors.Join(n.Sysctl(conf+"/accept_dad", "1"), n.Sysctl(conf+"/dad_transmits", strconv.Itoa(asks)))
	if err != nil {
		return err
	}
	return n.addr(dev, cidr, "", func(l netlink.Link, a *netlink.Addr) error {
		a.Flags = 0
		return n.link.AddrAdd(l, a)
	})
}

// flagged waits until an address has a flag (IFA_F_*).
func (n *NS) flagged(dev, cidr string, flag int) error {
	p, err := parsePrefix(cidr)
	if err != nil {
		return err
	}
	return Wait(ready, func() error {
		as, err := n.Addresses(dev)
		if err == nil && as[p]&flag == 0 {
			err = fmt.Errorf("namespace %s: %s: address %s has flags %#x, want %#x", n.Name, dev, cidr, as[p], flag)
		}
		return err
	})
}

// Addresses are those of a device with their flags (IFA_F_*).
func (n *NS) Addresses(dev string) (map[netip.Prefix]int, error) {
	l, err := n.dev(dev)
	if err != nil {
		return nil, err
	}
	list, err := n.link.AddrList(l, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("namespace %s: list addresses of %s: %w", n.Name, dev, err)
	}
	as := make(map[netip.Prefix]int)
	for _, a := range list {
		ip, _ := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		as[netip.PrefixFrom(ip.Unmap(), bits)] = a.Flags
	}
	return as, nil
}

// Rotating adds an IPv6 address beside which the kernel makes temporary ones (RFC 8981, IFA_F_MANAGETEMPADDR), a new one
// some seconds before the last is deprecated, and removes each after life, which is at least 5 s.
func (n *NS) Rotating(dev, cidr string, life time.Duration) error {
	conf := "net/ipv6/conf/" + dev
	seconds := int(life.Seconds())
	for _, s := range []struct {
		name  string
		value int
	}{
		{"use_tempaddr", 2}, {"dad_transmits", 0}, {"max_desync_factor", 0}, {"temp_valid_lft", seconds},
		{"temp_prefered_lft", seconds - 1}, //nolint:misspell // as the kernel spells it
	} {
		if err := n.Sysctl(conf+"/"+s.name, strconv.Itoa(s.value)); err != nil {
			return err
		}
	}
	return n.addr(dev, cidr, "", func(l netlink.Link, a *netlink.Addr) error {
		a.Flags |= unix.IFA_F_MANAGETEMPADDR
		a.ValidLft, a.PreferedLft = int(time.Hour.Seconds()), int(time.Hour.Seconds())
		return n.link.AddrAdd(l, a)
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
