package rpdb

import "net/netip"

// Family is an address family, with the kernel's own number (linux/socket.h).
type Family uint8

// The two families that have a routing policy database of their own.
const (
	IPv4 Family = 2  // AF_INET
	IPv6 Family = 10 // AF_INET6
)

// Families lists both families in the order in which everything here walks them.
func Families() [2]Family { return [2]Family{IPv4, IPv6} }

// FamilyOf gives the family of an address; an invalid address has family 0.
func FamilyOf(a netip.Addr) Family {
	switch {
	case a.Is4():
		return IPv4
	case a.Is6():
		return IPv6
	}
	return 0
}

// Bits is the length of an address of the family in bits, the length of a host prefix.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// Any is the prefix of length 0: the destination of a default route.
func (f Family) Any() netip.Prefix {
	if f == IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

// String is "inet" or "inet6", as in ip-address(8).
func (f Family) String() string {
	switch f {
	case IPv4:
		return "inet"
	case IPv6:
		return "inet6"
	}
	return "unspec"
}

// HostPrefix is the prefix that holds one address and no other.
func HostPrefix(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, a.BitLen()) }
