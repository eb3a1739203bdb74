package wire

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/vishvananda/netlink"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/uplinkd/uplinkd/internal/lease"
	"github.com/uplinkd/uplinkd/internal/testnet"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

// TestFilterAgreesWithIsAbout: of what is DHCP the kernel lets pass what is about the link's client, as isAbout has it.
func TestFilterAgreesWithIsAbout(t *testing.T) {
	vm, err := bpf.NewVM(isDHCP(ownMAC))
	testnet.Must(t, err)
	passed, dropped := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		m, err := dhcpv4.New(dhcpv4.WithHwAddr(ownMAC))
		if err != nil {
			t.Fatal(err)
		}
		payload := m.ToBytes()
		for range rapid.IntRange(0, 2).Draw(t, "changes") {
			payload[rapid.IntRange(0, chaddrAt+chaddrLen).Draw(t, "at")] = rapid.Byte().Draw(t, "to")
		}
		b := encode(netip.IPv4Unspecified(), payload)
		n, err := vm.Run(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := isAbout(payload, ownMAC); (n > 0) != want {
			t.Fatalf("the filter passes %d octets, the decoder says %v: %x", n, want, payload)
		}
		if n > 0 {
			passed++
		} else {
			dropped++
		}
		if n, err := vm.Run(b[:ipHeader+udpHeader+chaddrAt+macLen-1]); n > 0 || err != nil {
			t.Fatalf("passes %d octets of a message that is cut, %v", n, err)
		}
	})
	if passed == 0 || dropped == 0 {
		t.Errorf("%d passed, %d dropped", passed, dropped)
	}
}

// TestBlink: a socket that does not look at one direction for a time sees the other, and later both.
func TestBlink(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	s := b.open()
	out, in := b.exchange(10)
	next := func() bool {
		b.sendAt(b.router, routerDev, fromServer(in), 0, false)
		b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), out), 0, false)
		p, err := s.receive(make([]byte, largest), make([]byte, 128))
		testnet.Must(t, err)
		return p.outgoing
	}
	testnet.Must(t, s.blink(false, time.Hour))
	for range 3 {
		if !next() {
			t.Error("what came was seen")
		}
	}
	testnet.Must(t, s.look(func(v *sight) { v.blindTo = false }), s.blink(true, time.Hour))
	for range 3 {
		if next() {
			t.Error("what was sent was seen")
		}
	}
	testnet.Must(t, s.look(func(v *sight) { v.blindToSent = false }), s.blink(true, time.Millisecond))
	testnet.Eventually(t, patience, func() error {
		if !next() {
			return errOther
		}
		return nil
	})
}

// open opens a socket on the host's link.
func (b *bench) open() *socket {
	b.t.Helper()
	l := b.link(nil)
	mac, _ := canAsk(l.MAC)
	var s *socket
	testnet.Must(b.t, b.host.Run(func() (err error) {
		s, err = openSocket(l.Index, mac)
		return err
	}))
	b.t.Cleanup(s.close)
	return s
}

// TestOwnRequestsInAFlood: what comes in, with the client's own hardware address and a number that nobody asked for, does not keep
// the host's own requests from being seen.
func TestOwnRequestsInAFlood(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil)
	s := newStation(b.link(nil), b.open())
	done := make(chan error, 1)
	go func() { done <- s.listen(func(lease.Event) {}) }()
	_, ack := b.exchange(66)
	flood := append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 2, 8, 0}, fromServer(ack)...)
	strangers, own := b.cable(b.router, routerDev), b.cable(b.host, hostDev)
	const asks = maxRequests - 1
	for range asks {
		ask, _ := b.exchange(10)
		frame := append([]byte{255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0}, encode(netip.IPv4Unspecified(), ask)...)
		for range 1000 {
			strangers(flood)
		}
		own(frame) // at once, while the buffer is as full as it gets
	}
	testnet.Eventually(t, patience, func() error {
		if n := s.ear.open(); n < asks/2 { // a reader that gets no CPU time misses one
			return fmt.Errorf("%d requests seen of %d", n, asks)
		}
		return nil
	})
	s.close()
	<-done
}

// cable opens a socket and gives what sends frames by it. To close it takes the kernel so long that a flood is over by then.
func (b *bench) cable(ns *testnet.NS, dev string) func(frame []byte) {
	b.t.Helper()
	index, err := ns.Index(dev)
	testnet.Must(b.t, err)
	var fd int
	testnet.Must(b.t, ns.Run(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		return err
	}))
	b.t.Cleanup(func() { unix.Close(fd) })
	return func(frame []byte) {
		testnet.Must(b.t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: index}))
	}
}

// open is how many requests have no answer.
func (e *ear) open() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.requests.open)
}

// TestNewHardwareAddress: the filter follows the link to a new one.
func TestNewHardwareAddress(t *testing.T) {
	t.Parallel()
	b := newBench(t, nil).run().watch()
	b.host.Do(t, func() {
		l, err := netlink.LinkByName(hostDev)
		testnet.Must(t, err, netlink.LinkSetHardwareAddr(l, net.HardwareAddr{2, 0, 0, 0, 0, 77}))
	})
	b.Watch([]uplink.Observed{b.link(nil)})
	ask, ack := b.exchange(10)
	testnet.Eventually(t, patience, func() error {
		b.sendAt(b.host, hostDev, encode(netip.IPv4Unspecified(), ask), 0, false)
		b.sendAt(b.router, routerDev, fromServer(ack), 0, false)
		return heard(b)
	})
}
