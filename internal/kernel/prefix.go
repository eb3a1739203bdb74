package kernel

import (
	"fmt"
	"net/netip"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// decodeAddr reads an address of a family from an attribute; it has to have the family's length exactly.
func decodeAddr(f rpdb.Family, b []byte) (netip.Addr, error) {
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.BitLen() != f.Bits() {
		return netip.Addr{}, fmt.Errorf("%s address of %d bytes", f, len(b))
	}
	return a, nil
}

// decodePrefix reads a prefix whose length stands in the fixed header and whose address is an attribute; length 0
// needs none. The address is not masked: rules and interface addresses keep their host bits.
func decodePrefix(f rpdb.Family, b []byte, bits uint8) (netip.Prefix, error) {
	if int(bits) > f.Bits() {
		return netip.Prefix{}, fmt.Errorf("%s prefix of length %d", f, bits)
	}
	if bits == 0 {
		return f.Any(), nil
	}
	a, err := decodeAddr(f, b)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(a, int(bits)), nil
}

// family reads a family from a header's first byte; others than the two have nothing to do with us.
func family(b byte) (rpdb.Family, error) {
	f := rpdb.Family(b)
	if f != rpdb.IPv4 && f != rpdb.IPv6 {
		return 0, fmt.Errorf("address family %d", b)
	}
	return f, nil
}
