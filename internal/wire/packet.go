package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

const (
	ipHeader  = 20 // without options
	udpHeader = 8
	maxHops   = 64
	protoUDP  = 17
)

var (
	errOther    = errors.New("not DHCP")
	errLength   = errors.New("a length that cannot be")
	errChecksum = errors.New("wrong checksum")
)

// ports reads the ports of an IPv4 packet in the way the filter does: it fails (errOther) for exactly what that drops.
func ports(b []byte) (src, dst uint16, err error) {
	if len(b) < ipHeader || b[0] < 0x45 || b[0] > 0x4f || b[9] != protoUDP || binary.BigEndian.Uint16(b[6:])&fragmentBits != 0 {
		return 0, 0, errOther
	}
	if len(b) < headerLen(b)+4 {
		return 0, 0, errOther
	}
	src, dst = binary.BigEndian.Uint16(b[headerLen(b):]), binary.BigEndian.Uint16(b[headerLen(b)+2:])
	if src != clientPort || dst != serverPort {
		if src != serverPort || dst != clientPort {
			return 0, 0, errOther
		}
	}
	return src, dst, nil
}

// headerLen is the length of an IPv4 header with its options.
func headerLen(b []byte) int { return int(b[0]&0xf) * 4 }

// decode reads an IPv4 packet down to the payload of its UDP datagram, and says to which port that went. What follows the
// packet is the link's padding. unsummed says that the checksum of UDP has not been computed: that is the card's work, and
// the packet was seen before it got there, or never gets to one.
func decode(b []byte, unsummed bool) (payload []byte, to uint16, err error) {
	if _, to, err = ports(b); err != nil {
		return nil, 0, err
	}
	header, total := headerLen(b), int(binary.BigEndian.Uint16(b[2:]))
	if total > len(b) || total < header+udpHeader {
		return nil, 0, errLength
	}
	datagram := b[header:total]
	length := int(binary.BigEndian.Uint16(datagram[4:]))
	if length > len(datagram) || length < udpHeader {
		return nil, 0, errLength
	}
	datagram = datagram[:length]
	if checksum(0, b[:header]) != 0 {
		return nil, 0, errChecksum
	}
	if sum := binary.BigEndian.Uint16(datagram[6:]); sum != 0 && !unsummed && checksum(pseudoHeader(b, length), datagram) != 0 {
		return nil, 0, errChecksum
	}
	return datagram[udpHeader:], to, nil
}

// addresses are those of an IPv4 header.
func addresses(b []byte) (from, to netip.Addr) { return addr4(b[12:16]), addr4(b[16:20]) }

// pseudoHeader is the sum over what UDP checks of an IPv4 header (RFC 768): addresses, protocol, length.
func pseudoHeader(b []byte, length int) uint32 {
	return sum(protoUDP+uint32(length), b[12:20])
}

// checksum is the Internet checksum (RFC 1071): 0 where it is right and is part of b.
func checksum(start uint32, b []byte) uint16 {
	s := sum(start, b)
	for s>>16 != 0 {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}

func sum(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) > 0 {
		s += uint32(b[0]) << 8
	}
	return s
}

// encode makes the packet that carries a client's message from an address to everybody on the link.
func encode(from netip.Addr, payload []byte) []byte {
	b := make([]byte, ipHeader+udpHeader, ipHeader+udpHeader+len(payload))
	b[0], b[8], b[9] = 0x45, maxHops, protoUDP
	length := udpHeader + len(payload)
	binary.BigEndian.PutUint16(b[2:], uint16(ipHeader+length))
	copy(b[12:16], from.AsSlice())
	copy(b[16:20], []byte{255, 255, 255, 255})
	binary.BigEndian.PutUint16(b[10:], checksum(0, b[:ipHeader]))
	binary.BigEndian.PutUint16(b[20:], clientPort)
	binary.BigEndian.PutUint16(b[22:], serverPort)
	binary.BigEndian.PutUint16(b[24:], uint16(length))
	b = append(b, payload...)
	sum := checksum(pseudoHeader(b, length), b[ipHeader:])
	if sum == 0 {
		sum = 0xffff // 0 would say that there is none
	}
	binary.BigEndian.PutUint16(b[26:], sum)
	return b
}

// The fixed part of a message (RFC 2131 section 2).
const (
	opRequest, opReply = 1, 2

	htypeAt  = 1
	hlenAt   = 2
	xidAt    = 4
	ciaddrAt = 12
	yiaddrAt = 16
	chaddrAt = 28
	snameAt  = 44
	fileAt   = 108
	cookieAt = 236

	ethernet  = 1  // htype (RFC 1700, hardware types)
	chaddrLen = 16 // of the field
)

// glance reads the two fields that tell a message of ours from all others; it costs next to nothing.
func glance(payload []byte) (op byte, xid dhcpv4.TransactionID, ok bool) {
	if len(payload) < cookieAt+4 {
		return 0, xid, false
	}
	return payload[0], dhcpv4.TransactionID(payload[xidAt:]), true
}

// chaddr is the client's hardware address in a message that glance has taken, as octets.
func chaddr(payload []byte) string {
	return string(payload[chaddrAt:][:min(payload[hlenAt], chaddrLen)])
}

// isAbout says whether a message that glance has taken is about the client with an Ethernet address.
func isAbout(payload []byte, mac net.HardwareAddr) bool {
	return payload[htypeAt] == ethernet && payload[hlenAt] == macLen && chaddr(payload) == string(mac)
}

// message decodes a whole message, with the options that stand in the fields "file" and "sname" (RFC 2131 section 4.1,
// option overload; they are joined in that order, RFC 3396 section 5).
func message(payload []byte) (*dhcpv4.DHCPv4, error) {
	m, err := dhcpv4.FromBytes(payload)
	if err != nil {
		return nil, fmt.Errorf("DHCP message: %w", err)
	}
	overload := m.Options.Get(dhcpv4.OptionOptionOverload)
	if len(overload) != 1 {
		return m, nil
	}
	for _, part := range []struct {
		bit   byte
		field []byte
	}{{1, payload[fileAt:cookieAt]}, {2, payload[snameAt:fileAt]}} {
		if overload[0]&part.bit == 0 {
			continue
		}
		if err := m.Options.FromBytes(part.field); err != nil {
			return nil, fmt.Errorf("DHCP message, overloaded options: %w", err)
		}
	}
	return m, nil
}
