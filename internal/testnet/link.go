package testnet

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The ARPHRD_* numbers that Tun is wanted for (linux/if_arp.h).
const (
	ARPHRDPPP  = unix.ARPHRD_PPP
	ARPHRDNone = unix.ARPHRD_NONE
)

// ready is how long Ready waits: the kernel takes a few milliseconds, and a loaded machine some more.
const ready = 3 * time.Second

// Veth ties two namespaces together by a pair of devices; both are up and ready when it returns.
func Veth(a *NS, aName string, b *NS, bName string) error {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aName}, PeerName: bName, PeerNamespace: netlink.NsFd(b.Fd())}
	if err := a.link.LinkAdd(pair); err != nil {
		return fmt.Errorf("add veth %s in %s, %s in %s: %w", aName, a.Name, bName, b.Name, err)
	}
	if err := errors.Join(a.Up(aName), b.Up(bName)); err != nil {
		return err
	}
	return errors.Join(a.Ready(aName), b.Ready(bName))
}

// VethIndex is Veth with the ifindex of a's end, as "ip link add NAME index N".
func VethIndex(a *NS, aName string, index int, b *NS, bName string) error {
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: aName, Index: index}, PeerName: bName, PeerNamespace: netlink.NsFd(b.Fd())}
	if err := a.link.LinkAdd(pair); err != nil {
		return fmt.Errorf("add veth %s in %s with index %d: %w", aName, a.Name, index, err)
	}
	if err := errors.Join(a.Up(aName), b.Up(bName)); err != nil {
		return err
	}
	return errors.Join(a.Ready(aName), b.Ready(bName))
}

// Macvlan makes a device with a hardware address of its own beside that of its parent, and sets it up.
func (n *NS) Macvlan(name, parent string) error {
	p, err := n.Index(parent)
	if err != nil {
		return err
	}
	return n.add(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: name, ParentIndex: p}, Mode: netlink.MACVLAN_MODE_BRIDGE}, nil)
}

// Master puts a device into a bridge, or takes it out of the one that it is in: "".
func (n *NS) Master(dev, master string) error {
	index := 0
	if master != "" {
		var err error
		if index, err = n.Index(master); err != nil {
			return err
		}
	}
	return n.on(dev, "put into "+strconv.Quote(master), func(l netlink.Link) error { return n.link.LinkSetMasterByIndex(l, index) })
}

// Move puts a device into another namespace: it loses its addresses and is down there.
func (n *NS) Move(dev string, to *NS) error {
	return n.on(dev, "move to "+to.Name, func(l netlink.Link) error { return n.link.LinkSetNsFd(l, to.Fd()) })
}

// Ready waits until a device that is up works, for IPv6 too: the kernel tells addrconf of the carrier by a deferred
// event (net/core/link_watch.c), and until then an IPv6 address is tentative and answers no neighbour solicitation.
// The sign of it is the link-local address. Where IPv6 is off, or the device makes none, operational state up is enough.
func (n *NS) Ready(dev string) error {
	err := Wait(ready, func() error {
		l, err := n.dev(dev)
		if err != nil {
			return err
		}
		if l.Attrs().RawFlags&unix.IFF_RUNNING == 0 {
			return errors.New("is not running")
		}
		if l.Attrs().EncapType != "ether" || !n.hasIPv6(dev) {
			return nil
		}
		return n.linkLocal(l)
	})
	if err != nil {
		return fmt.Errorf("namespace %s: wait for %s: %w", n.Name, dev, err)
	}
	return nil
}

func (n *NS) hasIPv6(dev string) bool {
	var off []byte
	err := n.Run(func() (err error) {
		off, err = os.ReadFile("/proc/sys/net/ipv6/conf/" + dev + "/disable_ipv6")
		return err
	})
	return err == nil && string(off) == "0\n"
}

// linkLocal is nil when the link has a link-local address that is not tentative.
func (n *NS) linkLocal(l netlink.Link) error {
	addrs, err := n.link.AddrList(l, unix.AF_INET6)
	if err != nil {
		return fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addrs {
		if a.IP.IsLinkLocalUnicast() && a.Flags&unix.IFA_F_TENTATIVE == 0 {
			return nil
		}
	}
	return errors.New("has no link-local address yet")
}

// Bridge makes a bridge, sets it up and puts the ports, which must exist, into it.
func (n *NS) Bridge(name string, ports ...string) error {
	return n.add(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}, ports)
}

// Dummy makes a device that swallows what is sent to it, and sets it up. Not every kernel has it.
func (n *NS) Dummy(name string) error {
	return n.add(&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: name}}, nil)
}

func (n *NS) add(l netlink.Link, ports []string) error {
	name := l.Attrs().Name
	if err := n.link.LinkAdd(l); err != nil {
		return fmt.Errorf("namespace %s: add %s %s: %w", n.Name, l.Type(), name, err)
	}
	for _, p := range ports {
		port, err := n.dev(p)
		if err != nil {
			return err
		}
		if err := n.link.LinkSetMasterByIndex(port, l.Attrs().Index); err != nil {
			return fmt.Errorf("namespace %s: put %s into %s: %w", n.Name, p, name, err)
		}
	}
	return n.Up(name)
}

// Tun makes a tun device (no packet information header) whose hardware type is arphrd: ARPHRDPPP makes it look like
// a pppd's link. Packets are read from and written to the file; closing it removes the device. The device is down.
func (n *NS) Tun(name string, arphrd int) (*os.File, error) {
	var f *os.File
	err := n.Run(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		if err := setupTun(fd, name, arphrd); err != nil {
			_ = unix.Close(fd)
			return err
		}
		f = os.NewFile(uintptr(fd), "tun "+name) // only now: the poller takes no tun file without a device
		return nil
	})
	return f, err
}

func setupTun(fd int, name string, arphrd int) error {
	req, err := unix.NewIfreq(name)
	if err != nil {
		return fmt.Errorf("device name %q: %w", name, err)
	}
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, req); err != nil {
		return fmt.Errorf("TUNSETIFF %s: %w", name, err)
	}
	if err := unix.IoctlSetInt(fd, unix.TUNSETLINK, arphrd); err != nil {
		return fmt.Errorf("TUNSETLINK %s to %d: %w", name, arphrd, err)
	}
	return nil
}

// Up sets a device up.
func (n *NS) Up(dev string) error { return n.on(dev, "set up", n.link.LinkSetUp) }

// Down sets a device down; the other end of a veth pair loses its carrier.
func (n *NS) Down(dev string) error { return n.on(dev, "set down", n.link.LinkSetDown) }

// Delete removes a device.
func (n *NS) Delete(dev string) error { return n.on(dev, "delete", n.link.LinkDel) }

// Rename changes a device's name.
func (n *NS) Rename(dev, name string) error {
	return n.on(dev, "rename to "+name, func(l netlink.Link) error { return n.link.LinkSetName(l, name) })
}

// MTU sets a device's MTU.
func (n *NS) MTU(dev string, mtu int) error {
	return n.on(dev, fmt.Sprintf("set mtu %d", mtu), func(l netlink.Link) error { return n.link.LinkSetMTU(l, mtu) })
}

// Index is a device's ifindex.
func (n *NS) Index(dev string) (int, error) {
	l, err := n.dev(dev)
	if err != nil {
		return 0, err
	}
	return l.Attrs().Index, nil
}

// MAC is a device's hardware address.
func (n *NS) MAC(dev string) (net.HardwareAddr, error) {
	l, err := n.dev(dev)
	if err != nil {
		return nil, err
	}
	return l.Attrs().HardwareAddr, nil
}

// on finds a device and does something to it.
func (n *NS) on(dev, what string, do func(netlink.Link) error) error {
	l, err := n.dev(dev)
	if err != nil {
		return err
	}
	if err := do(l); err != nil {
		return fmt.Errorf("namespace %s: %s: %s: %w", n.Name, dev, what, err)
	}
	return nil
}
