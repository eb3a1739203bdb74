package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/testnet"
)

// Capture counts the IP packets that arrive at a device, by source address: the proof of what left a host by a link,
// whether or not the provider lets it through.
type Capture struct {
	file *os.File
	done sync.WaitGroup
	mu   sync.Mutex
	from map[netip.Addr]int
}

// Watch starts to count at the provider's end of the host's uplink.
func (isp *ISP) Watch() (*Capture, error) { return NewCapture(isp.Router, customer) }

// NewCapture starts to count what arrives at a device of a namespace. Close it.
func NewCapture(ns *testnet.NS, dev string) (*Capture, error) {
	index, err := ns.Index(dev)
	if err != nil {
		return nil, err
	}
	c := &Capture{from: map[netip.Addr]int{}}
	err = ns.Run(func() error {
		// SOCK_DGRAM: without the link layer's header, whatever the link is (packet(7)).
		all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(all))
		if err != nil {
			return fmt.Errorf("open a packet socket: %w", err)
		}
		if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: index}); err != nil {
			_ = unix.Close(fd)
			return fmt.Errorf("bind a packet socket to %s: %w", dev, err)
		}
		c.file = os.NewFile(uintptr(fd), "capture "+dev)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("capture at %s: %w", dev, err)
	}
	c.done.Go(c.run)
	return c, nil
}

func (c *Capture) run() {
	raw, err := c.file.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, 1<<16)
	for {
		var n int
		var incoming bool
		err := raw.Read(func(fd uintptr) bool {
			var from unix.Sockaddr
			n, from, err = unix.Recvfrom(int(fd), buf, 0)
			if ll, ok := from.(*unix.SockaddrLinklayer); ok {
				incoming = ll.Pkttype != unix.PACKET_OUTGOING
			}
			return !errors.Is(err, unix.EAGAIN)
		})
		if err != nil {
			return
		}
		if src := source(buf[:max(n, 0)]); incoming && src.IsValid() {
			c.mu.Lock()
			c.from[src]++
			c.mu.Unlock()
		}
	}
}

// source is the source address of an IP packet (RFC 791 section 3.1, RFC 8200 section 3); invalid if it is none.
func source(packet []byte) netip.Addr {
	switch {
	case len(packet) >= 20 && packet[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(packet[12:16]))
	case len(packet) >= 40 && packet[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(packet[8:24]))
	}
	return netip.Addr{}
}

// Seen is how many packets of a source address have come so far.
func (c *Capture) Seen(src netip.Addr) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.from[src]
}

// Close ends the count; Seen still answers.
func (c *Capture) Close() {
	_ = c.file.Close()
	c.done.Wait()
}
