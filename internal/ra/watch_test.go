package ra

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
	"github.com/uplinkd/uplinkd/internal/uplink"
)

func withRaw() error    { return setRaw(1 << unix.CAP_NET_RAW) }
func withoutRaw() error { return setRaw(0) }

// setRaw gives this thread CAP_NET_RAW, or takes it away.
func setRaw(bit uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return err
	}
	data[0].Effective = data[0].Effective&^(1<<unix.CAP_NET_RAW) | bit
	return unix.Capset(&header, &data[0])
}

// deaf is a host whose kernel takes no advertisements, with its link.
func deaf(t *testing.T) (*ears, uplink.Observed) {
	e := listenAs(t, "accept_ra", withRaw)
	return e, e.link("eth0")
}

func (e *ears) link(dev string) uplink.Observed {
	e.t.Helper()
	index, err := e.host.Index(dev)
	testnet.Must(e.t, err)
	mac, err := e.host.MAC(dev)
	testnet.Must(e.t, err, e.host.Ready(dev))
	return uplink.Observed{Index: index, Name: dev, MAC: mac.String(), RA: true}
}

// rawSockets is how many raw ICMPv6 sockets the host has.
func (e *ears) rawSockets() int {
	e.t.Helper()
	var text []byte
	testnet.Must(e.t, e.host.Run(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/raw6")
		return err
	}))
	return strings.Count(string(text), "\n") - 1
}

func (e *ears) wantSockets(want int) {
	e.t.Helper()
	testnet.Eventually(e.t, patience, func() error {
		if n := e.rawSockets(); n != want {
			return fmt.Errorf("%d raw sockets, want %d", n, want)
		}
		return nil
	})
}

// observe has links read, and waits until that is so.
func (e *ears) observe(links ...uplink.Observed) {
	e.t.Helper()
	e.l.Watch(links)
	e.wantSockets(min(len(links), 1))
	testnet.Eventually(e.t, patience, func() error {
		e.l.mu.Lock()
		defer e.l.mu.Unlock()
		if e.l.want != nil || len(e.l.heard) != len(links) {
			return errors.New("the mail has not been read")
		}
		return nil
	})
}

// frame is one that the router sends to all nodes, with everything in it as it is told.
func (e *ears) frame(p packet, sum uint16) []byte {
	to := netip.MustParseAddr("ff02::1").As16()
	from := p.source.As16()
	b := slices.Concat([]byte{0x33, 0x33, 0, 0, 0, 1, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, byte(len(p.data) >> 8), byte(len(p.data)), 58, byte(p.hopLimit)},
		from[:], to[:], p.data)
	if len(p.data) < 4 {
		return b
	}
	total := uint32(len(p.data)) + 58 // RFC 8200 section 8.1
	for _, part := range [][]byte{from[:], to[:], p.data} {
		for i, v := range part {
			total += uint32(v) << (8 * (1 - i%2))
		}
	}
	total = total>>16 + total&0xffff
	total += total >> 16
	binary.BigEndian.PutUint16(b[14+40+2:], ^uint16(total)+sum)
	return b
}

// send puts frames onto the cable at the router's end.
func (e *ears) send(dev string, frames ...[]byte) {
	e.t.Helper()
	e.sendAfter(dev, nil, dev, frames...)
}

// sendAfter is send, right behind frames onto another cable.
func (e *ears) sendAfter(other string, before [][]byte, dev string, frames ...[]byte) {
	e.t.Helper()
	first, err := e.router.Index(other)
	testnet.Must(e.t, err)
	index, err := e.router.Index(dev)
	testnet.Must(e.t, err, e.router.Run(func() error {
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		for i, f := range slices.Concat(before, frames) {
			to := &unix.SockaddrLinklayer{Ifindex: first}
			if i >= len(before) {
				to.Ifindex = index
			}
			if err := unix.Sendto(fd, f, 0, to); err != nil {
				return fmt.Errorf("send a frame: %w", err)
			}
		}
		return nil
	}))
}

func announcing(prefix string) packet {
	return packet{data: advertisement(netip.MustParsePrefix(prefix), 600), source: netip.MustParseAddr(r1), hopLimit: 255}
}

// words waits for a number of words, and gives the prefixes.
func (e *ears) words(n int) (prefixes []string) {
	e.t.Helper()
	testnet.Eventually(e.t, patience, func() error {
		if evs := e.heard(); len(evs) < n {
			return fmt.Errorf("%d words, want %d", len(evs), n)
		}
		return nil
	})
	for _, ev := range e.heard() {
		prefixes = append(prefixes, fmt.Sprint(ev.Interface, " ", ev.Lease.Prefix, " ", ev.Lease.Routers))
	}
	return prefixes
}

// TestHostilePackets: of what a stranger sends, only what is a valid advertisement counts; the good one comes last, and alone is told.
func TestHostilePackets(t *testing.T) {
	e, l := deaf(t)
	e.observe(l)
	var frames [][]byte
	for i, change := range []func(*packet){
		func(p *packet) { p.hopLimit = 254 },
		func(p *packet) { p.hopLimit = 1 },
		func(p *packet) { p.source = netip.MustParseAddr("2001:db8::1") },
		func(p *packet) { p.source = netip.MustParseAddr("fec0::1") },
		func(p *packet) { p.data[1] = 1 },
		func(p *packet) { p.data[0] = 136 },
		func(p *packet) { p.data[17] = 0 },
		func(p *packet) { p.data[17] = 5 },
		func(p *packet) { p.data = p.data[:47] },
		func(p *packet) { p.data = append(p.data, 1) },
		func(p *packet) { p.data = p.data[:15] },
	} {
		p := announcing(fmt.Sprintf("2001:db8:bad:%x::/64", i))
		change(&p)
		frames = append(frames, e.frame(p, 0))
	}
	frames = append(frames, e.frame(announcing("2001:db8:bad:ff::/64"), 1)) // the checksum
	e.send("cust", append(frames, e.frame(announcing(p1), 0))...)
	if got, want := e.words(1), []string{"eth0 " + p1 + " [fe80::1]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if n := e.logs.Len(); n != 1 {
		t.Errorf("%d lines of what is refused", n)
	}
	e.end()
}

// TestOnlyWantedLinks: one socket reads all the links that are wanted and no other, for as long as any is.
func TestOnlyWantedLinks(t *testing.T) {
	e, l := deaf(t)
	testnet.Must(t, testnet.Veth(e.host, "eth1", e.router, "cust1"), e.host.Sysctl("net/ipv6/conf/eth1/accept_ra", "0"))
	other := e.link("eth1")
	if n := e.rawSockets(); n != 0 {
		t.Errorf("%d raw sockets with nothing to read", n)
	}
	e.observe(l)
	flood := make([][]byte, 500) // they would fill the buffer
	for i := range flood {
		flood[i] = e.frame(announcing(fmt.Sprintf("2001:db8:%x::/64", i)), 0)
	}
	e.sendAfter("cust1", flood, "cust", e.frame(announcing(p1), 0))
	e.words(1)
	e.observe(l, other)
	testnet.Eventually(t, patience, func() error { // the filter follows the mail
		e.send("cust1", e.frame(announcing(p2), 0))
		if n := len(e.heard()); n < 2 {
			return fmt.Errorf("%d words", n)
		}
		return nil
	})
	if got, want := e.words(2), []string{"eth0 " + p1 + " [fe80::1]", "eth1 " + p2 + " [fe80::1]"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	e.observe()
	e.observe(other) // once more
	e.observe()
}

// TestBeyondARouter: what a stranger in the Internet sends does not even reach the socket.
func TestBeyondARouter(t *testing.T) {
	e, l := deaf(t)
	e.observe(l)
	p := announcing(p2)
	p.hopLimit = 60
	far := make([][]byte, 500)
	for i := range far {
		far[i] = e.frame(p, 0)
	}
	e.send("cust", append(far, e.frame(announcing(p1), 0))...)
	e.words(1)
	if e.logs.Len() > 0 {
		t.Errorf("%d lines", e.logs.Len())
	}
}

// questions are the router solicitations that the router gets.
func (e *ears) questions() *socket {
	e.t.Helper()
	var s *socket
	testnet.Must(e.t, e.router.Run(func() error {
		fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
		if err != nil {
			return err
		}
		index, err := e.router.Index("cust")
		if err != nil {
			return err
		}
		var drop unix.ICMPv6Filter
		for i := range drop.Data {
			drop.Data[i] = ^uint32(0)
		}
		drop.Data[typeSolicitation/32] &^= 1 << (typeSolicitation % 32)
		s, err = newSocket(fd, "solicitations")
		return errors.Join(err, unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &drop),
			unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
				&unix.IPv6Mreq{Multiaddr: netip.MustParseAddr("ff02::2").As16(), Interface: uint32(index)}),
			unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1), unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1))
	}))
	e.t.Cleanup(s.close)
	return s
}

// next is the next question, or an error when there is none in time.
func next(s *socket, in time.Duration) (packet, error) {
	if err := s.file.SetReadDeadline(time.Now().Add(in)); err != nil {
		return packet{}, err
	}
	return s.advertisement(make([]byte, largest))
}

// TestSolicitation: a link's routers are asked when they can be: from its link-local address, with its hardware address.
func TestSolicitation(t *testing.T) {
	e, l := deaf(t)
	testnet.Must(t, e.host.Sysctl("net/ipv6/conf/eth0/router_solicitations", "0"), e.host.Addr("eth0", "2001:db8::10/64"))
	questions := e.questions()
	e.observe(l) // it has no address to ask from yet
	if p, err := next(questions, 100*time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("asked too early: %+v, %v", p, err)
	}
	l.Solicit = true
	e.observe(l)
	p, err := next(questions, patience)
	testnet.Must(t, err)
	mac, err := e.host.MAC("eth0")
	testnet.Must(t, err)
	if !p.source.IsLinkLocalUnicast() || p.hopLimit != 255 || len(p.data) != 16 || p.data[1] != 0 || !slices.Equal(p.data[4:], append([]byte{0, 0, 0, 0, 1, 1}, mac...)) {
		t.Errorf("asked %+v", p)
	}
	e.send("cust", e.frame(announcing(p1), 0)) // the answer
	e.words(1)
	e.observe(l)
	if p, err := next(questions, solicitEvery+time.Second); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("asked again: %+v, %v", p, err)
	}
}

// TestPaceOfQuestions: three to a link, four seconds apart, and not more than a few at once however often links come and go.
func TestPaceOfQuestions(t *testing.T) {
	e, l := deaf(t)
	l.Solicit = true
	questions := e.questions()
	w := newWatcher(e.l, nil)
	testnet.Must(t, e.host.Run(func() (err error) {
		w.raw, err = openRaw()
		return err
	}))
	defer w.raw.close()
	asked := func() (n int) {
		for {
			if _, err := next(questions, 50*time.Millisecond); err != nil {
				return n
			}
			n++
		}
	}
	asked() // the kernel's own
	start := time.Now()
	w.links = []uplink.Observed{l}
	for i, c := range []struct {
		after time.Duration
		want  int
	}{{0, 1}, {0, 0}, {3 * time.Second, 0}, {4 * time.Second, 1}, {8 * time.Second, 1}, {12 * time.Second, 0}, {time.Hour, 0}} {
		due := w.solicit(start.Add(c.after))
		if n := asked(); n != c.want {
			t.Errorf("step %d: asked %d times, want %d", i+1, n, c.want)
		}
		if c.after == 3*time.Second && !due.Equal(start.Add(solicitEvery)) {
			t.Errorf("the next is due after %v", due.Sub(start))
		}
	}
	n := 0
	for i := range 100 {
		clear(w.asked) // it went and came
		w.solicit(start.Add(2*time.Hour + time.Duration(i)*time.Millisecond))
		n += asked()
		if i > 2*solicitationsAtOnce {
			break
		}
	}
	if n != solicitationsAtOnce {
		t.Errorf("asked %d times at once, want %d", n, solicitationsAtOnce)
	}
}

// TestWithoutCapability: what is missing is said of each link, and goes when it is there, or when nothing is wanted any more.
func TestWithoutCapability(t *testing.T) {
	e := listenAs(t, "accept_ra", withoutRaw)
	l := e.link("eth0")
	e.l.cfg.Complain = func(ctx context.Context, problems map[int]string) { // on the listener's own thread
		e.complain(ctx, problems)
		if len(e.problems) == 3 {
			testnet.Must(t, withRaw())
		}
	}
	e.l.Watch([]uplink.Observed{l})
	said := func() (all []map[int]string) {
		e.mu.Lock()
		defer e.mu.Unlock()
		return slices.Clone(e.problems)
	}
	testnet.Eventually(t, patience, func() error {
		if n := len(said()); n != 4 {
			return fmt.Errorf("said %d times", n)
		}
		return nil
	})
	for i, p := range said() {
		want := "observe_ra of eth0 needs CAP_NET_RAW: "
		if i < 3 && (len(p) != 1 || !strings.HasPrefix(p[l.Index], want)) || i == 3 && len(p) > 0 {
			t.Errorf("problems %d: %v", i+1, p)
		}
	}
	e.wantSockets(1)
	if s := problem(uplink.Observed{Name: "eth\x1b"}, unix.EAFNOSUPPORT); strings.Contains(s, "\x1b") || strings.Contains(s, "CAP_NET_RAW") {
		t.Errorf("another error: %q", s)
	}
}
