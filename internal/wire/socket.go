package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// macLen is the length of an Ethernet address, which WLAN has too.
	macLen = 6
	// receiveBuffer is a few dozen messages (SO_RCVBUF, which the kernel doubles): what a flood can hold of memory.
	receiveBuffer = 32 << 10
	// largest is more than any server sends: RFC 2131 section 2 has 576 octets unless a client asks for more.
	largest = 4096
	// unsummedStatus is TP_STATUS_CSUMNOTREADY (linux/if_packet.h).
	unsummedStatus = 1 << 3
)

// When a link that went down is looked at for whether it is gone; doubling.
const (
	firstRecheck = 10 * time.Millisecond
	lastRecheck  = time.Minute
)

// errGone says that the link is not there any more.
var errGone = errors.New("the link is gone")

// socket is a packet socket on one link (packet(7)).
type socket struct {
	file    *os.File
	raw     syscall.RawConn
	index   int
	recheck time.Duration // see doubt

	mu    sync.Mutex
	sight sight
}

// openSocket opens a socket on a link. It is made for no protocol at all, and for all of them only when the filter is there:
// so that nothing comes in unfiltered. It has to be all, not IPv4 alone, for what this host sends to be seen.
func openSocket(index int, mac net.HardwareAddr) (*socket, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	s := sight{mac: mac}
	if err := setUp(fd, index, s); err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "packet socket")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("open a packet socket: %w", err)
	}
	return &socket{file: f, raw: raw, index: index, sight: s}, nil
}

func setUp(fd, index int, s sight) error {
	if err := attach(fd, s); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return fmt.Errorf("set PACKET_AUXDATA: %w", err)
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer); err != nil {
		return fmt.Errorf("set SO_RCVBUF: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		return fmt.Errorf("bind a packet socket to link %d: %w", index, err)
	}
	return nil
}

// follow takes the hardware address that the link has now.
func (s *socket) follow(mac net.HardwareAddr) error {
	return s.look(func(v *sight) { v.mac = mac })
}

// blink has the kernel drop what comes, or what this host sends, for a time: the other direction is not to wait for that, nor
// to find the socket's buffer full.
func (s *socket) blink(outgoing bool, d time.Duration) error {
	turn := func(blind bool) error {
		return s.look(func(v *sight) {
			if outgoing {
				v.blindToSent = blind
			} else {
				v.blindTo = blind
			}
		})
	}
	time.AfterFunc(d, func() {
		if turn(false) != nil {
			s.close() // as good as blind: the reader's end has a new one opened
		}
	})
	return turn(true)
}

// look changes what the filter lets pass.
func (s *socket) look(change func(*sight)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := s.sight
	change(&next)
	if next.blindTo == s.sight.blindTo && next.blindToSent == s.sight.blindToSent && bytes.Equal(next.mac, s.sight.mac) {
		return nil
	}
	var err error
	if control := s.raw.Control(func(fd uintptr) { err = attach(int(fd), next) }); control != nil {
		return fmt.Errorf("attach the filter: %w", control)
	}
	if err == nil {
		s.sight = next
	}
	return err
}

// bigEndian is a number as the network has it.
func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, n))
}

// receive waits for the next packet; its data is in buf. It ends when the socket is closed, and with errGone where its link
// is no more. While a link is down nothing comes, and when it is up again the socket works on.
func (s *socket) receive(buf, oob []byte) (packet, error) {
	for {
		p, err := s.next(buf, oob)
		switch {
		case err == nil:
			s.doubt(0)
			return p, nil
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.ENETDOWN) && !errors.Is(err, os.ErrDeadlineExceeded):
			return packet{}, fmt.Errorf("receive from link %d: %w", s.index, err)
		case !s.bound():
			return packet{}, errGone
		default:
			s.doubt(min(max(2*s.recheck, firstRecheck), lastRecheck))
		}
	}
}

// doubt has the socket looked at after a time: that its link is down is said before it is deleted, and that it is deleted is
// not said at all. Zero: no doubt.
func (s *socket) doubt(recheck time.Duration) {
	var at time.Time
	switch {
	case recheck > 0:
		at = time.Now().Add(recheck)
	case s.recheck == 0:
		return
	}
	s.recheck = recheck
	_ = s.file.SetReadDeadline(at) // fails where the socket is closed, which the next call says
}

// next is one packet, or the error of the attempt.
func (s *socket) next(buf, oob []byte) (p packet, err error) {
	wait := s.raw.Read(func(fd uintptr) bool {
		var n, noob int
		var from unix.Sockaddr
		n, noob, _, from, err = unix.Recvmsg(int(fd), buf, oob, 0)
		if err == nil {
			ll, ok := from.(*unix.SockaddrLinklayer)
			p = packet{data: buf[:n], unsummed: unsummed(oob[:noob]), outgoing: ok && ll.Pkttype == unix.PACKET_OUTGOING}
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	if wait != nil {
		return packet{}, wait
	}
	return p, err
}

// bound says whether the socket still has its link: the kernel takes that away when the link is deleted, or moved to another
// network namespace, and a link that comes later with the same index does not get it back.
func (s *socket) bound() bool {
	var ok bool
	err := s.raw.Control(func(fd uintptr) {
		sa, err := unix.Getsockname(int(fd))
		ll, is := sa.(*unix.SockaddrLinklayer)
		ok = err == nil && is && ll.Ifindex == s.index
	})
	return err == nil && ok
}

// unsummed reads struct tpacket_auxdata (linux/if_packet.h): does the checksum of UDP wait for a card to compute it?
func unsummed(oob []byte) bool {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 4 {
			return binary.NativeEndian.Uint32(m.Data)&unsummedStatus != 0
		}
	}
	return false
}

// broadcast sends an IPv4 packet to everybody on an Ethernet link.
func (s *socket) broadcast(b []byte) error {
	to := &unix.SockaddrLinklayer{
		Protocol: bigEndian(unix.ETH_P_IP), Ifindex: s.index, Halen: macLen, Addr: [8]byte{255, 255, 255, 255, 255, 255},
	}
	var err error
	if wait := s.raw.Write(func(fd uintptr) bool {
		err = unix.Sendto(int(fd), b, 0, to)
		return !errors.Is(err, unix.EAGAIN)
	}); wait != nil {
		err = wait
	}
	if err != nil {
		return fmt.Errorf("send on link %d: %w", s.index, err)
	}
	return nil
}

func (s *socket) close() { s.file.Close() }
