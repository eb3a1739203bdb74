package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// DefaultTimeout is how long Reach waits for an answer: far longer than a round trip in one machine takes, and shorter
// than the first retransmission of a SYN (1 s), so that a lost packet counts.
const DefaultTimeout = 300 * time.Millisecond

// Probe says how to ask. The zero value is TCP, unbound.
type Probe struct {
	UDP     bool
	Src     netip.Addr // bind(2) to this address
	Device  string     // SO_BINDTODEVICE, as "ping -I DEV"
	Mark    uint32     // SO_MARK
	Timeout time.Duration
}

// Reach is nil when an echo server answers at dst. It fails at once where the kernel says that there is no way.
func Reach(from *testnet.NS, dst netip.Addr, p Probe) error {
	return from.Run(func() error {
		timeout := p.Timeout
		if timeout == 0 {
			timeout = DefaultTimeout
		}
		c, err := p.dial(netip.AddrPortFrom(dst, EchoPort).String(), timeout)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		return roundTrip(c)
	})
}

func (p Probe) dial(dst string, timeout time.Duration) (net.Conn, error) {
	d := net.Dialer{Timeout: timeout, Control: func(_, _ string, c syscall.RawConn) error {
		var inner error
		if err := c.Control(func(fd uintptr) { inner = p.bind(int(fd)) }); err != nil {
			return err
		}
		return inner
	}}
	network := "tcp"
	if p.UDP {
		network = "udp"
	}
	if p.Src.IsValid() {
		d.LocalAddr = &net.TCPAddr{IP: p.Src.AsSlice()}
		if p.UDP {
			d.LocalAddr = &net.UDPAddr{IP: p.Src.AsSlice()}
		}
	}
	return d.Dial(network, dst)
}

func (p Probe) bind(fd int) error {
	if p.Device != "" {
		if err := unix.BindToDevice(fd, p.Device); err != nil {
			return fmt.Errorf("bind to device %s: %w", p.Device, err)
		}
	}
	if p.Mark != 0 {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(p.Mark))
	}
	return nil
}

func roundTrip(c net.Conn) error {
	question := []byte("is anybody there?")
	if _, err := c.Write(question); err != nil {
		return err
	}
	answer := make([]byte, len(question))
	if _, err := io.ReadFull(c, answer); err != nil {
		return err
	}
	if !bytes.Equal(question, answer) {
		return fmt.Errorf("asked %q, got %q", question, answer)
	}
	return nil
}

// Why is a word for people on why Reach failed: "lost" where no answer came, else what the kernel said.
func Why(err error) string {
	var refused syscall.Errno
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &refused):
		words := map[syscall.Errno]string{unix.ENETUNREACH: "no route", unix.EHOSTUNREACH: "no route", unix.EACCES: "forbidden",
			unix.EADDRNOTAVAIL: "no address", unix.ENODEV: "no device", unix.ECONNREFUSED: "refused"}
		if word, ok := words[refused]; ok {
			return word
		}
		return refused.Error()
	}
	return "lost"
}
