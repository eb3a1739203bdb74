package lab

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// EchoPort is where Echo listens (RFC 862).
const EchoPort = 7

// Echo starts echo servers for TCP and UDP on every address of a namespace, those that come later included. An answer has
// the address that the question was sent to. They run until stop is called.
func Echo(ns *testnet.NS) (stop func(), err error) {
	var open []io.Closer
	var wg sync.WaitGroup
	stop = func() {
		for _, c := range open {
			_ = c.Close() // what it carried is of no more use
		}
		wg.Wait()
	}
	err = ns.Run(func() error {
		tcp, err := net.ListenTCP("tcp", &net.TCPAddr{Port: EchoPort})
		if err != nil {
			return fmt.Errorf("listen: %w", err)
		}
		open = append(open, tcp)
		wg.Go(func() { echoTCP(tcp) })
		for _, family := range []string{"udp4", "udp6"} {
			udp, err := listenUDP(family)
			if err != nil {
				return fmt.Errorf("listen %s: %w", family, err)
			}
			open = append(open, udp)
			wg.Go(func() { echoUDP(udp) })
		}
		return nil
	})
	if err != nil {
		stop()
		return nil, fmt.Errorf("start echo: %w", err)
	}
	return stop, nil
}

func echoTCP(l *net.TCPListener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second)) // so that no lost peer keeps it
			_, _ = io.Copy(c, c)
		}()
	}
}

// listenUDP asks for the packets' destination address, which the answer is to be sent from (ip(7), ipv6(7)).
func listenUDP(family string) (*net.UDPConn, error) {
	c, err := net.ListenUDP(family, &net.UDPAddr{Port: EchoPort})
	if err != nil {
		return nil, err
	}
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if family == "udp6" {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	if err := control(c, func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) }); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func echoUDP(c *net.UDPConn) {
	data, oob := make([]byte, 2048), make([]byte, 128)
	for {
		n, oobn, _, peer, err := c.ReadMsgUDPAddrPort(data, oob)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			_, _, _ = c.WriteMsgUDPAddrPort(data[:n], answerFrom(oob[:oobn]), peer)
		}
	}
}

// answerFrom turns the control message of a question into that of its answer: the same local address, but any device,
// for routing is what is to be tried.
func answerFrom(oob []byte) []byte {
	messages, err := syscall.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return nil
	}
	switch data := messages[0].Data; {
	case messages[0].Header.Level == unix.IPPROTO_IP && len(data) >= 12:
		// struct in_pktinfo: ifindex, local address, destination address.
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte(data[8:12])})
	case messages[0].Header.Level == unix.IPPROTO_IPV6 && len(data) >= 20:
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte(data[:16])})
	}
	return nil
}

// control calls f with a socket's file descriptor.
func control(c syscall.Conn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := raw.Control(func(fd uintptr) { inner = f(int(fd)) }); err != nil {
		return err
	}
	return inner
}
