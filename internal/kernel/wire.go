package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// errShort says that a message or an attribute is shorter than its kind wants.
var errShort = errors.New("message too short")

// header is struct nlmsghdr (linux/netlink.h).
type header struct {
	Type, Flags uint16
	Seq, Port   uint32
}

// nextMessage takes the first message off a datagram; ok is false where none is left or the rest is malformed.
func nextMessage(b []byte) (h header, payload, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlMsghdr {
		return header{}, nil, nil, false
	}
	n := binary.NativeEndian.Uint32(b)
	if n < unix.SizeofNlMsghdr || uint64(n) > uint64(len(b)) {
		return header{}, nil, nil, false
	}
	h = header{
		Type:  binary.NativeEndian.Uint16(b[4:]),
		Flags: binary.NativeEndian.Uint16(b[6:]),
		Seq:   binary.NativeEndian.Uint32(b[8:]),
		Port:  binary.NativeEndian.Uint32(b[12:]),
	}
	return h, b[unix.SizeofNlMsghdr:n], b[min(align(int(n)), len(b)):], true
}

// align rounds up to a multiple of 4: NLMSG_ALIGN, RTA_ALIGN and RTNH_ALIGN are all the same.
func align(n int) int { return (n + 3) &^ 3 }

// attributes walks a list of struct rtattr: for as.next() { as.typ, as.val }, then as.err.
type attributes struct {
	rest []byte
	typ  uint16 // without the NLA_F_NESTED and NLA_F_NET_BYTEORDER bits
	val  []byte
	err  error
}

// attributesAfter are the attributes behind a fixed header of n bytes.
func attributesAfter(b []byte, n int) attributes {
	if len(b) < n {
		return attributes{err: errShort}
	}
	return attributes{rest: b[min(align(n), len(b)):]}
}

func (a *attributes) next() bool {
	if a.err != nil || len(a.rest) < unix.SizeofRtAttr {
		return false
	}
	n := int(binary.NativeEndian.Uint16(a.rest))
	if n < unix.SizeofRtAttr || n > len(a.rest) {
		a.err = fmt.Errorf("attribute of %d bytes where %d are left", n, len(a.rest))
		return false
	}
	a.typ = binary.NativeEndian.Uint16(a.rest[2:]) & 0x3fff // NLA_TYPE_MASK
	a.val = a.rest[unix.SizeofRtAttr:n]
	a.rest = a.rest[min(align(n), len(a.rest)):]
	return true
}

// uint32 is the value as a number; a shorter one is an error of the walk.
func (a *attributes) uint32() uint32 {
	if len(a.val) < 4 {
		a.fail()
		return 0
	}
	return binary.NativeEndian.Uint32(a.val)
}

// uint8 is the value's first byte.
func (a *attributes) uint8() uint8 {
	if len(a.val) < 1 {
		a.fail()
		return 0
	}
	return a.val[0]
}

// text is the value up to its first NUL.
func (a *attributes) text() string { return cString(a.val) }

func (a *attributes) fail() {
	a.err = fmt.Errorf("attribute %d of %d bytes: %w", a.typ, len(a.val), errShort)
}

func cString(b []byte) string {
	for i, c := range b {
		if c == 0 {
			return string(b[:i])
		}
	}
	return string(b)
}

// appendAttr adds an attribute and its padding.
func appendAttr(b []byte, typ uint16, val []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(val)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	return pad(append(b, val...))
}

func appendUint32(b []byte, typ uint16, v uint32) []byte {
	return appendAttr(b, typ, binary.NativeEndian.AppendUint32(nil, v))
}

// appendText adds a string with the NUL that the kernel's own nla_put_string writes.
func appendText(b []byte, typ uint16, s string) []byte {
	return appendAttr(b, typ, append([]byte(s), 0))
}

func pad(b []byte) []byte {
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// appendMessage adds a whole request; its port id is 0, and the kernel puts the socket's own in.
func appendMessage(b []byte, r request, flags uint16, seq uint32) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(unix.SizeofNlMsghdr+len(r.body)))
	b = binary.NativeEndian.AppendUint16(b, r.typ)
	b = binary.NativeEndian.AppendUint16(b, r.flags|flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	return pad(append(b, r.body...))
}
