package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// The parts of a message about a neighbour discovery option (linux/rtnetlink.h: struct nduseroptmsg, NDUSEROPT_SRCADDR).
const (
	newNDUserOption = 68 // RTM_NEWNDUSEROPT
	sizeNDMessage   = 16
	attrSource      = 1
	typeRA          = 134 // ICMPv6 type of a router advertisement
)

// errCut says that a message ends too early.
var errCut = errors.New("cut short")

// decodeDatagram reads what the kernel sent on the group: usually one message. What is wrong ends it; the announcements before
// that count.
func decodeDatagram(b []byte) (as []announcement, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		n := uint64(binary.NativeEndian.Uint32(b))
		if n < unix.SizeofNlMsghdr || n > uint64(len(b)) {
			return as, fmt.Errorf("a netlink message of %d octets: %w", n, errCut)
		}
		if binary.NativeEndian.Uint16(b[4:]) == newNDUserOption {
			a, err := decodeMessage(b[unix.SizeofNlMsghdr:n])
			switch {
			case err == nil:
				as = append(as, a)
			case !errors.Is(err, errOther):
				return as, err
			}
		}
		b = b[min(align(n), uint64(len(b))):]
	}
	return as, nil
}

func align(n uint64) uint64 { return (n + 3) &^ 3 }

// decodeMessage reads struct nduseroptmsg and what is behind it: one option, then attributes.
func decodeMessage(b []byte) (announcement, error) {
	if len(b) < sizeNDMessage {
		return announcement{}, fmt.Errorf("a message about an option: %w", errCut)
	}
	size := int(binary.NativeEndian.Uint16(b[2:]))
	link := int(int32(binary.NativeEndian.Uint32(b[4:])))
	if b[0] != unix.AF_INET6 || b[8] != typeRA || b[9] != 0 {
		return announcement{}, errOther
	}
	rest := b[sizeNDMessage:]
	if size > len(rest) || link <= 0 {
		return announcement{}, fmt.Errorf("a message about an option of %d octets on link %d: %w", size, link, errCut)
	}
	prefix, valid, err := decodePrefixInfo(rest[:size])
	if err != nil {
		return announcement{}, err
	}
	router, err := sourceOf(rest[min(int(align(uint64(size))), len(rest)):])
	if err != nil {
		return announcement{}, err
	}
	return announcement{link: link, router: router, prefix: prefix, valid: valid}, nil
}

// sourceOf finds the attribute that names the router.
func sourceOf(attrs []byte) (netip.Addr, error) {
	for len(attrs) >= unix.SizeofNlAttr {
		n := uint64(binary.NativeEndian.Uint16(attrs))
		if n < unix.SizeofNlAttr || n > uint64(len(attrs)) {
			return netip.Addr{}, fmt.Errorf("an attribute of %d octets: %w", n, errCut)
		}
		if binary.NativeEndian.Uint16(attrs[2:]) == attrSource && n == unix.SizeofNlAttr+16 {
			router := netip.AddrFrom16([16]byte(attrs[unix.SizeofNlAttr:n]))
			return router, checkRouter(router)
		}
		attrs = attrs[min(align(n), uint64(len(attrs))):]
	}
	return netip.Addr{}, errors.New("a message about an option names no router")
}
