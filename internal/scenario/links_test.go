package scenario

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// newHost is a real host with a daemon that has done all of some lines.
func newHost(t *testing.T, lines string) (*script, *realWorld) {
	t.Helper()
	w := newRealWorld(t).(*realWorld)
	s := &script{t: t, w: w, files: map[string]string{}, disk: &disk{}}
	t.Cleanup(s.stop)
	s.plays(lines)
	return s, w
}

func (s *script) plays(lines string) {
	s.t.Helper()
	for line := range strings.Lines(strings.TrimSpace(lines)) {
		if err := s.play(line); err != nil {
			s.t.Fatalf("%s: %v", line, err)
		}
	}
}

// sees ends the test unless the picture comes to be as wanted.
func (s *script) sees(want string) {
	s.t.Helper()
	s.files["wanted"] = want
	if err := s.expect("wanted", s.picture); err != nil {
		s.t.Fatal(err)
	}
}

// twoUplinks is a host whose own default route leads by eth0: what of eth1's address has no rules for a moment leaves there.
const twoUplinks = `
link eth0
link eth1
addr eth0 192.0.2.10/24
route add default via 192.0.2.1 dev eth0
start
addr eth1 198.51.100.20/24
lease eth1 dhclient 198.51.100.20 198.51.100.1
`

// TestRenameLosesNothing: a link gets other names while it is up, and of a stream from its address every packet leaves by it. The
// kernel renames what is up since Linux 6.2.
func TestRenameLosesNothing(t *testing.T) {
	s, w := newHost(t, twoUplinks)
	before, err := s.picture()
	testnet.Must(t, err, w.far.Addr("eth1", "198.51.100.1/24"), w.far.Addr("eth1", "203.0.113.1/32"))
	far, near := w.receiver(t, "203.0.113.1"), w.sender(t, "198.51.100.20", "203.0.113.1")
	stop, sent := make(chan struct{}), make(chan int)
	go near.run(stop, sent)
	name := "eth1"
	for i := range 20 {
		to := fmt.Sprintf("wan%d", i)
		s.plays("rename " + name + " " + to)
		name = to
		testnet.Must(t, s.settle())
	}
	after, err := s.picture()
	testnet.Must(t, err)
	if want := byTable(strings.ReplaceAll(before, "eth1", name)); after != want {
		t.Errorf("want:\n%s\ngot:\n%s", want, after)
	}
	close(stop)
	n := <-sent
	_ = testnet.Wait(time.Second, func() error { return far.has(n) })
	if err := far.has(n); err != nil || n < 20 || len(near.failed) > 0 {
		t.Errorf("%d packets: %v; not sent: %v", n, err, near.failed)
	}
	t.Logf("%d packets", n)
}

// sender sends numbered packets from an address of the host.
type sender struct {
	conn   *net.UDPConn
	failed []error
}

func (w *realWorld) sender(t *testing.T, from, to string) *sender {
	s := &sender{}
	testnet.Must(t, w.host.Run(func() (err error) {
		s.conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(from), 0)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(to), echoPort)))
		return err
	}))
	t.Cleanup(func() { _ = s.conn.Close() })
	return s
}

// echoPort is where the far end listens.
const echoPort = 7007

// run sends a packet a millisecond until it is told to stop, and then says how many there were.
func (s *sender) run(stop <-chan struct{}, sent chan<- int) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			sent <- n
			return
		case <-tick.C:
		}
		if _, err := fmt.Fprint(s.conn, n); err != nil {
			s.failed = append(s.failed, err)
		}
	}
}

// receiver counts what arrives at an address behind the host's links.
type receiver struct {
	conn *net.UDPConn
	got  map[string]bool
}

func (w *realWorld) receiver(t *testing.T, at string) *receiver {
	r := &receiver{got: map[string]bool{}}
	testnet.Must(t, w.far.Run(func() (err error) {
		r.conn, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(at), echoPort)))
		if err != nil {
			return err
		}
		return r.conn.SetReadBuffer(1 << 20)
	}))
	t.Cleanup(func() { _ = r.conn.Close() })
	return r
}

// has is nil when the first n packets have arrived.
func (r *receiver) has(n int) error {
	buf := make([]byte, 64)
	_ = r.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	for {
		m, err := r.conn.Read(buf)
		if err != nil {
			break
		}
		r.got[string(buf[:m])] = true
	}
	if len(r.got) != n {
		return fmt.Errorf("%d of %d arrived", len(r.got), n)
	}
	return nil
}

// TestMoveToAnotherNamespace: a link that goes to another namespace is gone at once here, and there, where another daemon lives,
// it is one that was plugged in.
func TestMoveToAnotherNamespace(t *testing.T) {
	here, w := newHost(t, twoUplinks)
	there, v := newHost(t, "start")
	with, err := here.picture()
	testnet.Must(t, err, w.host.Move("eth1", v.host))
	without := only(with, func(l string) bool { return !strings.Contains(l, "eth1") && !strings.Contains(l, "198.51.100.20") })
	here.sees(without)
	there.sees("")
	there.plays("up eth1\naddr eth1 198.51.100.20/24\nlease eth1 dhclient 198.51.100.20 198.51.100.1")
	there.sees(only(with, func(l string) bool { return strings.Contains(l, "eth1") || strings.Contains(l, "198.51.100.20") }))
	testnet.Must(t, v.host.Move("eth1", w.host))
	there.sees("")
	here.plays("up eth1\naddr eth1 198.51.100.20/24\nlease eth1 dhclient 198.51.100.20 198.51.100.1")
	here.sees(with)
}

// only is the lines of a text that are wanted.
func only(text string, want func(string) bool) string {
	lines := slices.DeleteFunc(strings.Split(text, "\n"), func(l string) bool { return !want(l) })
	return strings.Join(lines, "\n")
}

// TestHundredLinks: a hundred links are plugged in at once, and unplugged, and everything follows.
func TestHundredLinks(t *testing.T) {
	const links = 100
	s, w := newHost(t, "start")
	begin := time.Now()
	for i := range links {
		dev := fmt.Sprintf("wan%d", i)
		testnet.Must(t, testnet.Veth(w.host, dev, w.far, dev), w.host.Addr(dev, fmt.Sprintf("10.%d.0.10/24", i)),
			w.host.Route(fmt.Sprintf("default via 10.%d.0.1 dev %s metric %d", i, dev, i)))
	}
	made := time.Since(begin)
	count := func(want int) func() error {
		return func() error {
			text, err := s.picture()
			rules := strings.Count(text, " rule ")
			if err == nil && rules != want {
				err = fmt.Errorf("%d rules, want %d", rules, want)
			}
			return errors.Join(err)
		}
	}
	begin = time.Now()
	testnet.Eventually(t, patience, count(7*links))
	t.Logf("made in %v, followed %v later", made, time.Since(begin))
	if text, err := s.complaints(); err != nil || text != "" {
		t.Errorf("problems: %v\n%s", err, text)
	}
	for i := range links {
		testnet.Must(t, w.host.Delete(fmt.Sprintf("wan%d", i)))
	}
	testnet.Eventually(t, patience, count(0))
}

// TestFlapOnKernel: a link that goes down and up a hundred times a second ends with all that it had, and the other uplink never
// loses anything.
func TestFlapOnKernel(t *testing.T) {
	s, w := newHost(t, twoUplinks)
	before, err := s.picture()
	testnet.Must(t, err)
	for range 150 {
		testnet.Must(t, w.host.Down("eth1"))
		if text, err := s.picture(); err != nil || !strings.Contains(text, "4400: from 192.0.2.10 lookup eth0") {
			t.Fatalf("eth0 suffers: %v\n%s", err, text)
		}
		testnet.Must(t, w.host.Up("eth1"))
	}
	s.sees(before)
	testnet.Must(t, w.host.Down("eth1"))
	s.sees(only(before, func(l string) bool {
		return !strings.Contains(l, "eth1") && !strings.Contains(l, "198.51.100.20") || strings.Contains(l, "198.51.100.20 unreachable")
	}))
}
