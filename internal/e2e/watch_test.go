package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/lab"
	"github.com/uplinkd/uplinkd/internal/rpdb"
	"github.com/uplinkd/uplinkd/internal/testnet"
)

// ruleEvents is what the kernel says of rules, from when it was made.
type ruleEvents struct {
	file *os.File
	done chan struct{}
	mu   sync.Mutex
	list []ruleEvent
}

// ruleEvent is one RTM_NEWRULE or RTM_DELRULE.
type ruleEvent struct {
	at   time.Time
	text string // "+4200 192.0.2.10": new or gone, priority, source
}

// watchRules listens in a namespace until the test ends. It reads the messages by itself, not with the code under test.
func watchRules(t *testing.T, ns *testnet.NS) *ruleEvents {
	t.Helper()
	w := &ruleEvents{done: make(chan struct{})}
	testnet.Must(t, ns.Run(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return fmt.Errorf("open a netlink socket: %w", err)
		}
		groups := uint32(1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1))
		if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
			return errors.Join(fmt.Errorf("bind a netlink socket: %w", err), unix.Close(fd))
		}
		w.file = os.NewFile(uintptr(fd), "rule events")
		return nil
	}))
	go w.run()
	t.Cleanup(func() {
		_ = w.file.Close() // ends run
		<-w.done
	})
	return w
}

func (w *ruleEvents) run() {
	defer close(w.done)
	for buf := make([]byte, 1<<16); ; {
		n, err := w.file.Read(buf)
		if err != nil {
			w.add("lost: " + err.Error())
			return
		}
		messages, err := syscall.ParseNetlinkMessage(buf[:n])
		if err != nil {
			w.add("unreadable: " + err.Error())
		}
		for _, m := range messages {
			sign := map[uint16]string{unix.RTM_NEWRULE: "+", unix.RTM_DELRULE: "-"}[m.Header.Type]
			w.add(sign + ruleText(m.Data))
		}
	}
}

func (w *ruleEvents) add(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, ruleEvent{time.Now(), text})
}

// ruleText is "PRIORITY SOURCE" of a fib_rule_hdr (12 bytes) and its attributes (linux/fib_rules.h).
func ruleText(m []byte) string {
	priority, src := uint32(0), "all"
	for b := m[unix.SizeofRtMsg:]; len(b) >= unix.SizeofRtAttr; {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			break
		}
		switch value := b[unix.SizeofRtAttr:size]; binary.NativeEndian.Uint16(b[2:]) {
		case unix.FRA_PRIORITY:
			priority = binary.NativeEndian.Uint32(value)
		case unix.FRA_SRC:
			if a, ok := netip.AddrFromSlice(value); ok {
				src = a.String()
			}
		}
		b = b[min(len(b), (size+3)&^3):]
	}
	return fmt.Sprintf("%d %s", priority, src)
}

// since gives the events from the n-th on, and how many there are now.
func (w *ruleEvents) since(n int) ([]ruleEvent, int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.list[n:len(w.list):len(w.list)], len(w.list)
}

// count is how many events there have been.
func (w *ruleEvents) count() int {
	_, n := w.since(0)
	return n
}

// last is when the last event came whose text begins with a sign, from the n-th on.
func (w *ruleEvents) last(n int, sign string) time.Time {
	var at time.Time
	list, _ := w.since(n)
	for _, e := range list {
		if strings.HasPrefix(e.text, sign) {
			at = e.at
		}
	}
	return at
}

// texts is the events from the n-th on, one a line.
func (w *ruleEvents) texts(n int) string {
	var b strings.Builder
	list, _ := w.since(n)
	for _, e := range list {
		b.WriteString(e.text + "\n")
	}
	return b.String()
}

// stream is UDP packets from an address of the host to the Internet, each of which wants its echo.
type stream struct {
	t        *testing.T
	conn     *net.UDPConn
	stop     chan struct{}
	done     sync.WaitGroup
	mu       sync.Mutex
	sent     []time.Time // packet n was sent at sent[n]
	answered map[uint32]bool
	failed   []error
}

// pace of a stream: at 500 packets a second, a gap of a few milliseconds costs one.
const pace = 2 * time.Millisecond

// stream starts to send; end it with lost.
func (l *dhcpLink) stream() *stream {
	t := l.h.t
	t.Helper()
	s := &stream{t: t, stop: make(chan struct{}), answered: map[uint32]bool{}}
	testnet.Must(t, l.h.lab.Host.Run(func() (err error) {
		s.conn, err = net.DialUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(l.addr(), 0)),
			net.UDPAddrFromAddrPort(netip.AddrPortFrom(lab.InetAddr(rpdb.IPv4), lab.EchoPort)))
		return err
	}))
	t.Cleanup(func() { _ = s.conn.Close() })
	s.done.Go(s.send)
	go s.receive()
	return s
}

func (s *stream) send() {
	tick := time.NewTicker(pace)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		packet := binary.BigEndian.AppendUint32(nil, uint32(len(s.sent)))
		s.sent = append(s.sent, time.Now())
		s.mu.Unlock()
		if _, err := s.conn.Write(packet); err != nil {
			s.mu.Lock()
			s.failed = append(s.failed, err)
			s.mu.Unlock()
		}
	}
}

func (s *stream) receive() {
	for buf := make([]byte, 64); ; {
		n, err := s.conn.Read(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n == 4 {
			s.mu.Lock()
			s.answered[binary.BigEndian.Uint32(buf)] = true
			s.mu.Unlock()
		}
	}
}

// flows waits until some more packets have come back.
func (s *stream) flows() {
	s.t.Helper()
	count := func() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.answered) }
	start := count()
	testnet.Eventually(s.t, patience, func() error {
		if n := count() - start; n < 20 {
			return fmt.Errorf("only %d packets came back", n)
		}
		return nil
	})
}

// end sends no more.
func (s *stream) end() {
	close(s.stop)
	s.done.Wait()
}

// lost ends the stream, and is how many packets were sent and how many of them did not come back.
func (s *stream) lost() (sent, lost int) {
	s.end()
	missing := func() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.sent) - len(s.answered) }
	_ = testnet.Wait(2*time.Second, func() error { // what is on its way arrives, and what is lost never does
		if n := missing(); n > 0 {
			return fmt.Errorf("%d missing", n)
		}
		return nil
	})
	if len(s.failed) > 0 {
		s.t.Logf("%d packets could not be sent: %v", len(s.failed), s.failed[0])
	}
	return len(s.sent), missing()
}

// lossless ends the stream and fails the test if a packet is missing.
func (s *stream) lossless(name string) {
	s.t.Helper()
	sent, lost := s.lost()
	s.t.Logf("%s: %d packets sent, %d lost", name, sent, lost)
	if lost > 0 || sent == 0 {
		s.t.Errorf("%s: %d of %d packets lost: %s", name, lost, sent, s.missing())
	}
}

// missing says which packets did not come back, and when they were sent.
func (s *stream) missing() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for n, at := range s.sent {
		if !s.answered[uint32(n)] {
			fmt.Fprintf(&b, "\n%d at %s", n, at.Format(time.StampMicro))
		}
	}
	return b.String()
}
