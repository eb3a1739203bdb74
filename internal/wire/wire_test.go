package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/testnet"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// TestClientWithoutHook: what a client got is known without its doing; that it gives it back has the kernel looked at.
func TestClientWithoutHook(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	server, client := b.serve(), b.client()
	testnet.Must(t, client.Bind(t.Context()))
	b.eventually(bound)

	p := server.Params()
	p.Routers = []netip.Addr{netip.MustParseAddr("192.0.2.2")}
	server.Set(p)
	testnet.Must(t, client.Renew(t.Context()))
	other := strings.ReplaceAll(bound, "192.0.2.1]", "192.0.2.2]")
	b.eventually(bound, other)

	b.knowsRouter() // the client's address goes at once, and with it what waits for ARP
	testnet.Must(t, client.Release())
	b.eventually(bound, other, "resync wan0 []")
}

// knowsRouter tells the host the router's hardware address.
func (b *bench) knowsRouter() {
	b.t.Helper()
	mac, err := b.router.MAC(routerDev)
	testnet.Must(b.t, err)
	b.host.Do(b.t, func() {
		testnet.Must(b.t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: b.link(nil).Index, IP: net.IPv4(192, 0, 2, 1), HardwareAddr: mac, State: netlink.NUD_PERMANENT,
		}))
	})
}

// TestRefusedByTheServer: a NAK proves nothing about the address, which is the kernel's word.
func TestRefusedByTheServer(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	server, client := b.serve(), b.client()
	testnet.Must(t, client.Bind(t.Context()))
	p := server.Params()
	p.Address = netip.MustParsePrefix("192.0.2.11/24")
	server.Set(p)
	testnet.Must(t, client.Renew(t.Context()))
	b.eventually(bound, "resync wan0 []", strings.ReplaceAll(bound, "2.10/", "2.11/"))
}

// TestLinkDownAndUp: the socket works on when its link comes up again, and with its new name.
func TestLinkDownAndUp(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	b.serve()
	testnet.Must(t, b.host.Down(hostDev), b.host.Rename(hostDev, "wan7"), b.host.Up("wan7"), b.host.Ready("wan7"))
	renamed := b.link7()
	b.Watch([]uplink.Observed{renamed})
	client, err := lab.NewClient(b.host, "wan7", lab.NoRoute)
	testnet.Must(t, err)
	defer client.Close()
	testnet.Eventually(t, patience, func() error { return client.Bind(t.Context()) })
	b.eventually(strings.ReplaceAll(bound, hostDev, "wan7"))
}

func (b *bench) link7() uplink.Observed {
	b.t.Helper()
	index, err := b.host.Index("wan7")
	testnet.Must(b.t, err)
	mac, err := b.host.MAC("wan7")
	testnet.Must(b.t, err)
	return uplink.Observed{Index: index, Name: "wan7", MAC: mac.String()}
}

// TestOffIsOff: no link, no socket; and a link that goes takes its socket with it.
func TestOffIsOff(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run()
	b.Watch(nil)
	<-b.Ready()
	if n := b.sockets(); n != 0 {
		t.Fatalf("%d packet sockets with nothing to observe", n)
	}
	b.watch()
	b.Watch(nil) // a reload switches it off
	b.wantSockets(0)
	b.watch()
	testnet.Must(t, b.host.Delete(hostDev))
	b.wantSockets(0) // before anybody has told
	if got := b.complaints(); len(got) != 0 {
		t.Errorf("a link that went is a problem: %v", got)
	}
}

// TestLinkOfTheSameIndex: a link that takes a deleted one's index, with nothing else new about it, is observed.
func TestLinkOfTheSameIndex(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	old := b.link(nil)
	mac, err := net.ParseMAC(old.MAC)
	testnet.Must(t, err, b.host.Delete(hostDev))
	b.host.Do(t, func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Index, attrs.HardwareAddr = hostDev, old.Index, mac
		testnet.Must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: routerDev, PeerNamespace: netlink.NsFd(b.router.Fd())}))
	})
	testnet.Must(t, b.host.Up(hostDev), b.router.Up(routerDev), b.router.Addr(routerDev, "192.0.2.1/24"))
	if again := b.link(nil); !again.Equal(old) {
		t.Fatalf("the link is %+v, was %+v", again, old)
	}
	b.Watch([]uplink.Observed{old}) // the agent may say so, or nothing at all
	b.serve()
	testnet.Eventually(t, patience, func() error {
		c := b.client()
		return errors.Join(c.Bind(t.Context()), c.Release(), heard(b))
	})
}

func heard(b *bench) error {
	if got := b.said(); len(got) == 0 {
		return errors.New("nothing heard")
	}
	return nil
}

// TestForged: answers that nobody on this host has asked for count for nothing, whoever they are for.
func TestForged(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	mac, err := b.host.MAC(hostDev)
	testnet.Must(t, err)
	stranger := net.HardwareAddr{2, 0, 0, 0, 0, 99}
	for i, to := range []net.HardwareAddr{mac, stranger} {
		ack, err := dhcpv4.New(dhcpv4.WithReply(must(t, func() (*dhcpv4.DHCPv4, error) { return dhcpv4.NewDiscovery(to) })),
			dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, byte(66+i))),
			dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 66))))
		testnet.Must(t, err)
		b.sendAt(b.router, routerDev, fromServer(ack.ToBytes()), 0, false)
	}
	b.serve()
	testnet.Must(t, b.client().Bind(t.Context())) // comes last, and alone is told
	b.eventually(bound)
}

func must[T any](t *testing.T, f func() (T, error)) T {
	t.Helper()
	v, err := f()
	testnet.Must(t, err)
	return v
}

// TestForeignClient: another host's lease on the same segment says nothing of ours, though its answers are broadcasts. So
// does that of a virtual machine's that sends by our link.
func TestForeignClient(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	b.host.Do(t, func() {
		parent, err := netlink.LinkByName(hostDev)
		testnet.Must(t, err)
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.ParentIndex = "guest0", parent.Attrs().Index
		testnet.Must(t, netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: attrs, Mode: netlink.MACVLAN_MODE_BRIDGE}))
	})
	testnet.Must(t, b.host.Up("guest0"), b.host.Ready("guest0"))
	b.serve()
	guest, err := lab.NewClient(b.host, "guest0", lab.NoRoute)
	testnet.Must(t, err)
	defer guest.Close()
	testnet.Must(t, guest.Bind(t.Context()), guest.Release())
	testnet.Must(t, b.client().Bind(t.Context()))
	b.eventually(bound)
}

// TestVLANIsAnotherLink: an answer with a VLAN tag is not this link's; the kernel takes the tag off before anybody sees it.
// A tag without a number has a priority only.
func TestVLANIsAnotherLink(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	for _, vlan := range []byte{7, 0} {
		ask, ack := b.exchange(10 + vlan)
		b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
		b.sendAt(b.router, routerDev, fromServer(ack), vlan, true)
	}
	b.eventually("bind wan0 192.0.2.10/24 by [192.0.2.1] for 0s")
}

// TestForAnotherHost: what a promiscuous card brings in of other hosts' packets is not ours, whatever it says.
func TestForAnotherHost(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	b.host.Do(t, func() {
		l, err := netlink.LinkByName(hostDev)
		testnet.Must(t, err, netlink.SetPromiscOn(l))
	})
	ask, ack := b.exchange(66)
	b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
	index, err := b.router.Index(routerDev)
	testnet.Must(t, err)
	b.transmit(b.router, index, append([]byte{2, 0, 0, 0, 0, 99, 2, 0, 0, 0, 0, 1, 8, 0}, fromServer(ack)...), 1)
	ask, ack = b.exchange(10)
	b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
	b.sendAt(b.router, routerDev, fromServer(ack), 0, false)
	b.eventually("bind wan0 192.0.2.10/24 by [192.0.2.1] for 0s")
}

// TestFragmentsAndOtherPorts: what the filter drops is not heard, though it answers an open request.
func TestFragmentsAndOtherPorts(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	ask, ack := b.exchange(66)
	b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
	for _, spoil := range []func(p []byte){
		func(p []byte) { p[6] = 0x20 }, // more fragments
		func(p []byte) { p[7] = 1 },    // an offset
		func(p []byte) { p[9] = 6 },    // TCP
		func(p []byte) { p[0] = 0x65 }, // version 6
		func(p []byte) { p[23]++ },     // to port 69
		func(p []byte) { p[21]++ },     // from port 68
	} {
		p := fromServer(ack)
		spoil(p)
		p[10], p[11] = 0, 0
		sum := checksum(0, p[:ipHeader])
		p[10], p[11], p[26], p[27] = byte(sum>>8), byte(sum), 0, 0
		b.sendAt(b.router, routerDev, p, 0, false)
	}
	ask, ack = b.exchange(10)
	b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
	b.sendAt(b.router, routerDev, fromServer(ack), 0, false)
	b.eventually("bind wan0 192.0.2.10/24 by [192.0.2.1] for 0s")
}

// TestFlood: what strangers send does not displace what the host's own client is told, once there is room again, and the
// rest is dropped at the socket.
func TestFlood(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	_, ack := b.exchange(66)
	b.sendAll(b.router, routerDev, fromServer(ack), 3000)
	ask, ack := b.exchange(10)
	testnet.Eventually(t, patience, func() error {
		b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
		b.sendAt(b.router, routerDev, fromServer(ack), 0, false)
		return heard(b)
	})
	if got := b.said(); got[0] != "bind wan0 192.0.2.10/24 by [192.0.2.1] for 0s" {
		t.Errorf("told %q", got)
	}
}

// exchange is a client's request, and the answer that gives it an address in 192.0.2.0/24.
func (b *bench) exchange(host byte) (ask, ack []byte) {
	b.t.Helper()
	mac, err := b.host.MAC(hostDev)
	testnet.Must(b.t, err)
	m, err := dhcpv4.New(dhcpv4.WithHwAddr(mac), dhcpv4.WithMessageType(dhcpv4.MessageTypeRequest))
	testnet.Must(b.t, err)
	r, err := dhcpv4.NewReplyFromRequest(m, dhcpv4.WithMessageType(dhcpv4.MessageTypeAck), dhcpv4.WithYourIP(net.IPv4(192, 0, 2, host)),
		dhcpv4.WithNetmask(net.CIDRMask(24, 32)), dhcpv4.WithOption(dhcpv4.OptRouter(net.IPv4(192, 0, 2, 1))))
	testnet.Must(b.t, err)
	return m.ToBytes(), r.ToBytes()
}

// TestWithoutCapability: the problem says what is missing, and goes when nothing is wanted any more.
func TestWithoutCapability(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).runAs(withoutRaw, withRaw)
	l := b.link(nil)
	b.Watch([]uplink.Observed{l})
	<-b.Ready()
	want := "observe_dhcp of wan0 needs CAP_NET_RAW: "
	if got := b.complaints(); len(got) != 1 || !strings.HasPrefix(got[l.Index], want) {
		t.Errorf("problems %v, want %q", got, want)
	}
	b.Watch(nil)
	b.noComplaints()
}

// TestRetry: what could not be opened is tried again without anything new being told.
func TestRetry(t *testing.T) {
	t.Parallel()
	b := newBench(t, func(c *Config) { c.Retry = 10 * time.Millisecond })
	complained := 0
	complain := b.cfg.Complain
	b.cfg.Complain = func(ctx context.Context, problems map[int]string) { // on the observer's own thread
		if complained++; complained == 3 {
			testnet.Must(t, withRaw())
		}
		complain(ctx, problems)
	}
	b.runAs(withoutRaw, withRaw)
	b.Watch([]uplink.Observed{b.link(nil)})
	b.noComplaints()
	if b.sockets() != 1 || complained != 4 {
		t.Errorf("%d sockets after %d complaints, want 1 after 4", b.sockets(), complained)
	}
}

func (b *bench) complaints() map[int]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.problems
}

// noComplaints waits until there were complaints, and are none.
func (b *bench) noComplaints() {
	b.t.Helper()
	testnet.Eventually(b.t, patience, func() error {
		if got := b.complaints(); got == nil || len(got) > 0 {
			return fmt.Errorf("problems %v", got)
		}
		return nil
	})
}

// withRaw and withoutRaw give CAP_NET_RAW to the calling thread, or take it away.
func withRaw() error    { return setRaw(1 << unix.CAP_NET_RAW) }
func withoutRaw() error { return setRaw(0) }

func setRaw(bit uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective = data[0].Effective&^(1<<unix.CAP_NET_RAW) | bit
	return unix.Capset(&header, &data[0])
}

// sendAt puts an IPv4 packet onto the cable by a device, as a broadcast, with a VLAN tag or without.
func (b *bench) sendAt(ns *testnet.NS, dev string, ip []byte, vlan byte, tagged bool) {
	b.t.Helper()
	index, err := ns.Index(dev)
	testnet.Must(b.t, err)
	mac, err := ns.MAC(dev)
	testnet.Must(b.t, err)
	frame := append([]byte{255, 255, 255, 255, 255, 255}, mac...)
	if tagged {
		frame = append(frame, 0x81, 0, 0x20, vlan) // of priority 1
	}
	b.transmit(ns, index, append(append(frame, 8, 0), ip...), 1)
}

// sendAll is sendAt without a tag, many times.
func (b *bench) sendAll(ns *testnet.NS, dev string, ip []byte, times int) {
	b.t.Helper()
	index, err := ns.Index(dev)
	testnet.Must(b.t, err)
	b.transmit(ns, index, append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0}, ip...), times)
}

func (b *bench) transmit(ns *testnet.NS, index int, frame []byte, times int) {
	b.t.Helper()
	testnet.Must(b.t, ns.Run(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for range times {
			if err := unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}); err != nil {
				return err
			}
		}
		return nil
	}))
}

// fromServer is an IPv4 packet with a payload from port 67 to port 68.
func fromServer(payload []byte) []byte {
	p := encode(netip.MustParseAddr("192.0.2.1"), payload)
	p[21], p[23] = serverPort, clientPort // the sum stays the same
	return p
}
