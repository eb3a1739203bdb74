package scenario

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// twoCards is a host with two cards in one network, in which one machine is the gateway and asks: far's bridge br0.
func twoCards(t *testing.T, files map[string]string) (*script, *realWorld) {
	t.Helper()
	w := newRealWorld(t).(*realWorld)
	s := &script{t: t, w: w, files: files, disk: &disk{}}
	t.Cleanup(s.stop)
	playAll(t, s, "link eth0", "link eth1")
	testnet.Must(t, w.far.Bridge("br0", "eth0", "eth1"), w.far.Addr("br0", "192.0.2.1/24"), w.far.Ready("br0"))
	playAll(t, s,
		"start",
		"addr eth0 192.0.2.10/24", "lease eth0 dhclient 192.0.2.10 192.0.2.1",
		"addr eth1 192.0.2.11/24", "lease eth1 dhclient 192.0.2.11 192.0.2.1")
	stop, err := lab.Echo(w.host)
	testnet.Must(t, err)
	t.Cleanup(stop)
	return s, w
}

func playAll(t *testing.T, s *script, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if err := s.play(line); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// arpSocket is a packet socket for ARP at a device (packet(7)), and the device's index and hardware address.
type arpSocket struct {
	fd, index int
	mac       net.HardwareAddr
}

const answerTime = 150 * time.Millisecond // far longer than an answer takes within one machine

func openARP(t *testing.T, ns *testnet.NS, dev string) arpSocket {
	t.Helper()
	index, err := ns.Index(dev)
	testnet.Must(t, err)
	mac, err := ns.MAC(dev)
	testnet.Must(t, err)
	s := arpSocket{index: index, mac: mac}
	proto := int(binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ARP)))
	ns.Do(t, func() {
		s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, proto)
		testnet.Must(t, err, unix.Bind(s.fd, &unix.SockaddrLinklayer{Protocol: uint16(proto), Ifindex: index}))
	})
	t.Cleanup(func() { _ = unix.Close(s.fd) })
	return s
}

// ask broadcasts "who has target, tell from" (RFC 826).
func (s arpSocket) ask(t *testing.T, target, from netip.Addr) {
	t.Helper()
	b := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	b = append(append(b, s.mac...), from.AsSlice()...)
	b = append(append(b, make([]byte, 6)...), target.AsSlice()...)
	to := &unix.SockaddrLinklayer{
		Protocol: binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ARP)), Ifindex: s.index, Halen: 6,
		Addr: [8]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
	}
	testnet.Must(t, unix.Sendto(s.fd, b, 0, to))
}

// hear gives what comes within answerTime: for each message that match takes, the hardware address of its sender.
func (s arpSocket) hear(t *testing.T, match func(op uint16, sender, target netip.Addr) bool) map[string]bool {
	t.Helper()
	heard := make(map[string]bool)
	for end := time.Now().Add(answerTime); time.Now().Before(end); {
		left := unix.NsecToTimeval(max(time.Until(end), time.Millisecond).Nanoseconds())
		testnet.Must(t, unix.SetsockoptTimeval(s.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &left))
		b := make([]byte, 64)
		n, _, err := unix.Recvfrom(s.fd, b, 0)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		testnet.Must(t, err)
		if n < 28 {
			continue
		}
		sender, target := netip.AddrFrom4([4]byte(b[14:18])), netip.AddrFrom4([4]byte(b[24:28]))
		if match(binary.BigEndian.Uint16(b[6:]), sender, target) {
			heard[net.HardwareAddr(b[8:14]).String()] = true
		}
	}
	return heard
}

// answers are the host's devices that answer for an address, by the hardware address in their answers.
func answers(t *testing.T, w *realWorld, asker arpSocket, target string) string {
	t.Helper()
	a := netip.MustParseAddr(target)
	asker.ask(t, a, netip.MustParseAddr("192.0.2.1"))
	return devices(t, w, asker.hear(t, func(op uint16, sender, _ netip.Addr) bool { return op == 2 && sender == a }))
}

func devices(t *testing.T, w *realWorld, heard map[string]bool) string {
	t.Helper()
	var devs []string
	for _, dev := range []string{"eth0", "eth1"} {
		mac, err := w.host.MAC(dev)
		testnet.Must(t, err)
		if heard[mac.String()] {
			devs = append(devs, dev)
			delete(heard, mac.String())
		}
	}
	for mac := range heard {
		devs = append(devs, mac)
	}
	slices.Sort(devs)
	return strings.Join(devs, " ")
}

// wantAnswers asks for both addresses.
func wantAnswers(t *testing.T, w *realWorld, asker arpSocket, when, ten, eleven string) {
	t.Helper()
	for target, want := range map[string]string{"192.0.2.10": ten, "192.0.2.11": eleven} {
		if got := answers(t, w, asker, target); got != want {
			t.Errorf("%s: who has %s: %q answer, want %q", when, target, got, want)
		}
	}
}

// reach tries an address of the host from the other side; nil within the tests' patience where it is to work, for the other
// side may have to ask anew.
func wantReach(t *testing.T, from *testnet.NS, when, target string, works bool) {
	t.Helper()
	try := func() error { return lab.Reach(from, netip.MustParseAddr(target), lab.Probe{}) }
	err := try()
	if works && err != nil {
		err = testnet.Wait(patience, try)
	}
	if works != (err == nil) {
		t.Errorf("%s: reach %s: %v, want success %v", when, target, err, works)
	}
}

// TestARPStrict: two cards in one network. By default each answers ARP for both addresses; with arp = "strict" each for its own,
// and when one is down nobody answers for it.
func TestARPStrict(t *testing.T) {
	s, w := twoCards(t, map[string]string{"strict": `arp = "strict"`, "plain": "", "open": "fence = false"})
	asker := openARP(t, w.far, "br0")
	wantAnswers(t, w, asker, "by default", "eth0 eth1", "eth0 eth1")
	playAll(t, s, "reload strict")
	wantAnswers(t, w, asker, "strict", "eth0", "eth1")
	wantReach(t, w.far, "strict", "192.0.2.10", true)
	wantReach(t, w.far, "strict", "192.0.2.11", true)

	// What the host asks itself has the address and the card of the socket that wants to know.
	for dev, src := range map[string]string{"eth0": "192.0.2.10", "eth1": "192.0.2.11"} {
		nobody := netip.MustParseAddr("192.0.2.99")
		own := netip.MustParseAddr(src)
		_ = lab.Reach(w.host, nobody, lab.Probe{Src: own, Timeout: 50 * time.Millisecond})
		got := devices(t, w, asker.hear(t, func(op uint16, _, target netip.Addr) bool { return op == 1 && target == nobody }))
		if got != dev {
			t.Errorf("a socket of %s has %q ask, want %s", src, got, dev)
		}
	}

	playAll(t, s, "down eth0")
	testnet.Must(t, s.settle())
	wantAnswers(t, w, asker, "strict and down", "", "eth1")
	wantReach(t, w.far, "strict and down", "192.0.2.10", false)
	wantReach(t, w.far, "strict and down", "192.0.2.11", true)
	playAll(t, s, "up eth0")
	testnet.Must(t, w.host.Ready("eth0"), s.settle())
	wantAnswers(t, w, asker, "strict and up again", "eth0", "eth1")
	wantReach(t, w.far, "strict and up again", "192.0.2.10", true)

	// Without the key the other card answers ARP for the one that is down, but the fence lets nothing out: unless it is not wanted.
	playAll(t, s, "reload plain", "down eth0")
	testnet.Must(t, s.settle())
	wantAnswers(t, w, asker, "down", "eth1", "eth1")
	wantReach(t, w.far, "down", "192.0.2.10", false)
	playAll(t, s, "reload open")
	wantReach(t, w.far, "down, without a fence", "192.0.2.10", true)
}

// TestWrongCard: what comes in by the card that does not have the address is lost where the reverse path filter is strict, and
// only there.
func TestWrongCard(t *testing.T) {
	s, w := twoCards(t, map[string]string{"strict": `arp = "strict"`})
	mac, err := w.host.MAC("eth1")
	testnet.Must(t, err)
	index, err := w.far.Index("br0")
	testnet.Must(t, err)
	w.far.Do(t, func() {
		testnet.Must(t, netlink.NeighSet(&netlink.Neigh{
			LinkIndex: index, Family: unix.AF_INET, State: netlink.NUD_PERMANENT, IP: net.IPv4(192, 0, 2, 10), HardwareAddr: mac,
		}))
	})
	for _, c := range []struct {
		filter int
		works  bool
	}{{0, true}, {1, false}, {2, true}} {
		testnet.Must(t, w.Sysctl("all", "rp_filter", c.filter))
		wantReach(t, w.far, fmt.Sprintf("rp_filter %d", c.filter), "192.0.2.10", c.works)
	}
	testnet.Must(t, w.Sysctl("all", "rp_filter", 1))
	playAll(t, s, "reload strict")
	wantReach(t, w.far, "rp_filter 1 and strict", "192.0.2.10", true)
}
