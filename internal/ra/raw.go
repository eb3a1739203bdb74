package ra

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	// receiveBuffer is a few dozen advertisements (SO_RCVBUF, which the kernel doubles): what a flood can hold of memory.
	receiveBuffer = 32 << 10
	// offsetHopLimit is where the IPv6 header has it (RFC 8200 section 3).
	offsetHopLimit = 7
	// typeSolicitation and typeSourceAddress are those of a router solicitation and its option (RFC 4861 sections 4.1, 4.6.1).
	typeSolicitation  = 133
	typeSourceAddress = 1
)

// What a filter can load beside the packet's own octets (linux/filter.h), as two's complements: SKF_NET_OFF is where the network
// header begins, and SKF_AD_OFF + SKF_AD_IFINDEX is the link's index.
const (
	atNetworkHeader = 1<<32 - 0x100000
	atLinkIndex     = 1<<32 - 0x1000 + 8
)

// openRaw opens a raw ICMPv6 socket for router advertisements, of all links at once (raw(7), RFC 3542). It needs CAP_NET_RAW.
// The kernel drops what has a wrong checksum before it gets there (rawv6_rcv_skb in net/ipv6/raw.c). Nobody has to join
// anything: every node is in ff02::1, and a raw socket is given what comes to any group of the host's.
func openRaw() (*socket, error) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.IPPROTO_ICMPV6)
	if err != nil {
		return nil, fmt.Errorf("open a raw ICMPv6 socket: %w", err)
	}
	if err := setUpRaw(fd); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return newSocket(fd, "raw ICMPv6 socket")
}

func setUpRaw(fd int) error {
	var drop unix.ICMPv6Filter // a set bit drops its type
	for i := range drop.Data {
		drop.Data[i] = ^uint32(0)
	}
	drop.Data[typeRA/32] &^= 1 << (typeRA % 32)
	if err := unix.SetsockoptICMPv6Filter(fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &drop); err != nil {
		return fmt.Errorf("set ICMPV6_FILTER: %w", err)
	}
	if err := follow(fd, nil); err != nil {
		return err
	}
	for _, o := range []struct {
		name                 string
		level, option, value int
	}{
		{"SO_RCVBUF", unix.SOL_SOCKET, unix.SO_RCVBUF, receiveBuffer},
		{"IPV6_RECVPKTINFO", unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1},
		{"IPV6_RECVHOPLIMIT", unix.IPPROTO_IPV6, unix.IPV6_RECVHOPLIMIT, 1},
		{"IPV6_MULTICAST_HOPS", unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS, hopLimit},
	} {
		if err := unix.SetsockoptInt(fd, o.level, o.option, o.value); err != nil {
			return fmt.Errorf("set %s of a raw ICMPv6 socket: %w", o.name, err)
		}
	}
	return nil
}

// follow has the kernel drop what comes by other links than these, and what somebody beyond a router has sent: neither is to
// use up the pace and the buffer of the links that are wanted. All is checked again when it is read.
func follow(fd int, links []int) error {
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: atNetworkHeader + offsetHopLimit},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: hopLimit, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: atLinkIndex},
	}
	for _, index := range links {
		filter = append(filter,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(index), Jf: 1},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0xffffffff})
	}
	filter = append(filter, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 0})
	prog := &unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, prog); err != nil {
		return fmt.Errorf("attach a filter to a raw ICMPv6 socket: %w", err)
	}
	return nil
}

// follow is for the socket of openRaw.
func (s *socket) follow(links []int) (err error) {
	if control := s.raw.Control(func(fd uintptr) { err = follow(int(fd), links) }); control != nil {
		return control
	}
	return err
}

// advertisement waits for the next packet, whose data is in buf.
func (s *socket) advertisement(buf []byte) (packet, error) {
	oob := make([]byte, unix.CmsgSpace(unix.SizeofInet6Pktinfo)+unix.CmsgSpace(4))
	r, err := s.receive(buf, oob)
	if err != nil {
		return packet{}, fmt.Errorf("read router advertisements: %w", err)
	}
	p := packet{data: r.data}
	if from, ok := r.from.(*unix.SockaddrInet6); ok {
		p.source = netip.AddrFrom16(from.Addr)
	}
	messages, err := unix.ParseSocketControlMessage(r.oob)
	if err != nil {
		return packet{}, fmt.Errorf("read the control message of a router advertisement: %w", err)
	}
	for _, m := range messages {
		switch {
		case m.Header.Level != unix.IPPROTO_IPV6:
		case m.Header.Type == unix.IPV6_PKTINFO && len(m.Data) >= unix.SizeofInet6Pktinfo: // struct in6_pktinfo
			p.link = int(int32(binary.NativeEndian.Uint32(m.Data[16:])))
		case m.Header.Type == unix.IPV6_HOPLIMIT && len(m.Data) >= 4:
			p.hopLimit = int(int32(binary.NativeEndian.Uint32(m.Data)))
		}
	}
	return p, nil
}

// solicitation is a router solicitation (RFC 4861 section 4.1), the kernel's checksum left out. With the link's Ethernet address
// in it, where it has one, a router need not ask for that first.
func solicitation(mac string) []byte {
	b := []byte{typeSolicitation, 0, 0, 0, 0, 0, 0, 0}
	if hw, err := net.ParseMAC(mac); err == nil && len(hw) == 6 {
		b = append(append(b, typeSourceAddress, 1), hw...)
	}
	return b
}

// solicit asks all routers of a link. The kernel takes the link-local address for it, as for every group of a link.
func (s *socket) solicit(index int, mac string) error {
	allRouters := &unix.SockaddrInet6{Addr: netip.MustParseAddr("ff02::2").As16(), ZoneId: uint32(index)}
	var err error
	if control := s.raw.Control(func(fd uintptr) {
		err = unix.Sendto(int(fd), solicitation(mac), unix.MSG_DONTWAIT, allRouters)
	}); control != nil {
		err = control
	}
	if err != nil {
		return fmt.Errorf("send a router solicitation on link %d: %w", index, err)
	}
	return nil
}
