package kernel

import (
	"encoding/binary"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// skipStats asks for links without their counters, most of what a link's message holds (RTEXT_FILTER_SKIP_STATS in
// linux/rtnetlink.h).
const skipStats = 1 << 3

// linkRequest asks for all links.
func linkRequest() request {
	body := appendUint32(make([]byte, unix.SizeofIfInfomsg), unix.IFLA_EXT_MASK, skipStats)
	return request{typ: unix.RTM_GETLINK, body: body}
}

// decodeLink reads an RTM_NEWLINK message: struct ifinfomsg and its attributes.
func decodeLink(b []byte) (rpdb.Link, error) {
	if len(b) < unix.SizeofIfInfomsg {
		return rpdb.Link{}, fmt.Errorf("link: %w", errShort)
	}
	flags := binary.NativeEndian.Uint32(b[8:])
	l := rpdb.Link{
		Index:        int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Type:         binary.NativeEndian.Uint16(b[2:]),
		Up:           flags&unix.IFF_UP != 0,
		Carrier:      flags&unix.IFF_LOWER_UP != 0,
		Loopback:     flags&unix.IFF_LOOPBACK != 0,
		PointToPoint: flags&unix.IFF_POINTOPOINT != 0,
	}
	as := attributesAfter(b, unix.SizeofIfInfomsg)
	for as.next() {
		switch as.typ {
		case unix.IFLA_IFNAME:
			l.Name = as.text()
		case unix.IFLA_ADDRESS:
			l.MAC = macText(as.val)
		case unix.IFLA_MTU:
			l.MTU = int(as.uint32())
		case unix.IFLA_MASTER:
			l.Master = int(as.uint32())
		case unix.IFLA_LINKINFO:
			l.Kind = linkKind(as.val)
		}
	}
	if as.err != nil {
		return rpdb.Link{}, fmt.Errorf("link %d: %w", l.Index, as.err)
	}
	return l, nil
}

// linkKind finds IFLA_INFO_KIND in IFLA_LINKINFO.
func linkKind(b []byte) string {
	as := attributes{rest: b}
	for as.next() {
		if as.typ == unix.IFLA_INFO_KIND {
			return as.text()
		}
	}
	return ""
}

// macText is a hardware address as text, or empty where it is none: tunnels keep their IP address (4 or 16 bytes) in
// this place, loopback keeps zeros. What is left is Ethernet and its like (6), EUI-64 (8) and InfiniBand (20).
func macText(b []byte) string {
	if len(b) != 6 && len(b) != 8 && len(b) != 20 {
		return ""
	}
	for _, c := range b {
		if c != 0 {
			return net.HardwareAddr(b).String()
		}
	}
	return ""
}
