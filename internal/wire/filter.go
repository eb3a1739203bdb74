package wire

import (
	"encoding/binary"
	"fmt"
	"net"
	"slices"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// The UDP ports of DHCPv4 (RFC 2131 section 4.1).
const (
	serverPort = 67
	clientPort = 68
)

const (
	fragmentBits = 0x3fff // "more fragments" and the offset (RFC 791 section 3.1)
	vlanID       = 0x0fff // of a tag; 0 is a priority only (IEEE 802.1Q)
	whole        = 1 << 16
)

// sight is what a socket lets pass of DHCPv4.
type sight struct {
	mac                  net.HardwareAddr // the link's own clients only, by chaddr; nil: any
	blindTo, blindToSent bool             // what comes, and what this host sends, is not looked at for now
}

// filter is what the kernel runs on every packet of a link that is observed: DHCPv4 passes, all else costs no wakeup.
func filter(s sight) []bpf.Instruction {
	return slices.Concat(ofThisLink(), inDirection(s), isDHCP(s.mac))
}

// inDirection drops the packets of a direction that has used up its pace.
func inDirection(s sight) (is []bpf.Instruction) {
	drop := bpf.RetConstant{Val: 0}
	is = append(is, bpf.LoadExtension{Num: bpf.ExtType})
	if s.blindTo {
		is = append(is, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1}, drop)
	}
	if s.blindToSent {
		is = append(is, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OUTGOING, SkipTrue: 1}, drop)
	}
	return is
}

// ofThisLink lets IPv4 pass that is the link's own. A frame with a VLAN tag that the card has taken off is one of another
// link (eth0.7); one for another host is there only where something made the card promiscuous.
func ofThisLink() []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	return []bpf.Instruction{
		bpf.LoadExtension{Num: bpf.ExtProto},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.ETH_P_IP, SkipTrue: 1}, drop,
		bpf.LoadExtension{Num: bpf.ExtVLANTag},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: vlanID, SkipTrue: 1}, drop,
		bpf.LoadExtension{Num: bpf.ExtType},
		bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: unix.PACKET_OTHERHOST, SkipTrue: 1}, drop,
	}
}

// isDHCP lets whole IPv4 packets pass that are UDP between the ports 67 and 68, either way, and about the client with that
// hardware address, if one is given. Offsets count from the IP header (SOCK_DGRAM, packet(7)). The functions of the same
// purpose in Go are ports and isAbout; a test holds them together.
func isDHCP(mac net.HardwareAddr) []bpf.Instruction {
	drop := bpf.RetConstant{Val: 0}
	is := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 0, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: 0x45, SkipTrue: 1}, drop,
		bpf.JumpIf{Cond: bpf.JumpLessOrEqual, Val: 0x4f, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 9, Size: 1},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.IPPROTO_UDP, SkipTrue: 1}, drop,
		bpf.LoadAbsolute{Off: 6, Size: 2},
		bpf.JumpIf{Cond: bpf.JumpBitsNotSet, Val: fragmentBits, SkipTrue: 1}, drop,
		bpf.LoadMemShift{Off: 0},
		bpf.LoadIndirect{Off: 0, Size: 4}, // both ports at once
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: clientPort<<16 | serverPort, SkipTrue: 2},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: serverPort<<16 | clientPort, SkipTrue: 1}, drop,
	}
	if len(mac) == macLen {
		const payload = udpHeader // from the UDP header, where the index register is
		is = append(is,
			bpf.LoadIndirect{Off: payload + htypeAt, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: ethernet<<8 | macLen, SkipTrue: 1}, drop,
			bpf.LoadIndirect{Off: payload + chaddrAt, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: binary.BigEndian.Uint32(mac), SkipTrue: 1}, drop,
			bpf.LoadIndirect{Off: payload + chaddrAt + 4, Size: 2},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(binary.BigEndian.Uint16(mac[4:])), SkipTrue: 1}, drop)
	}
	return append(is, bpf.RetConstant{Val: whole})
}

// attach gives a filter to a socket, in place of the one it has.
func attach(fd int, s sight) error {
	raw, err := bpf.Assemble(filter(s))
	if err != nil {
		return fmt.Errorf("assemble the filter: %w", err)
	}
	program := make([]unix.SockFilter, len(raw))
	for i, ins := range raw {
		program[i] = unix.SockFilter{Code: ins.Op, Jt: ins.Jt, Jf: ins.Jf, K: ins.K}
	}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	if err != nil {
		return fmt.Errorf("attach the filter: %w", err)
	}
	return nil
}
