package ra

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// announcement is what one router said of one prefix, on one link.
type announcement struct {
	link   int          // ifindex
	router netip.Addr   // link-local
	prefix netip.Prefix // masked, as RFC 4861 section 4.6.2 has it
	valid  time.Duration
}

const (
	// typePrefixInfo is the type of a prefix information option, and sizePrefixInfo the only size that it has.
	typePrefixInfo = 3
	sizePrefixInfo = 32
	// infinity is the valid lifetime 0xffffffff (RFC 4861 section 4.6.2), taken as the 136 years that it would be.
	infinity = (1<<32 - 1) * time.Second
)

// errOther says that an option is no prefix information.
var errOther = errors.New("not a prefix information option")

// decodePrefixInfo reads a prefix information option (RFC 4861 section 4.6.2). Its flags do not matter: a router that says
// neither "on-link" nor "autonomous" of a prefix has announced it all the same (RFC 8028 section 2.1).
func decodePrefixInfo(b []byte) (prefix netip.Prefix, valid time.Duration, err error) {
	if len(b) < 2 || b[0] != typePrefixInfo {
		return prefix, 0, errOther
	}
	if len(b) != sizePrefixInfo || b[1] != sizePrefixInfo/8 {
		return prefix, 0, fmt.Errorf("a prefix information option of %d octets, length %d", len(b), b[1])
	}
	valid = time.Duration(binary.BigEndian.Uint32(b[4:])) * time.Second
	preferred := time.Duration(binary.BigEndian.Uint32(b[8:])) * time.Second
	if preferred > valid {
		return prefix, 0, fmt.Errorf("preferred for %s, valid for %s", preferred, valid) // RFC 4862 section 5.5.3 (c)
	}
	prefix, err = checkPrefix(netip.AddrFrom16([16]byte(b[16:32])), int(b[2]))
	return prefix, valid, err
}

// checkPrefix takes what can be the prefix of a host's addresses, in the form in which two that are the same are equal.
func checkPrefix(a netip.Addr, bits int) (netip.Prefix, error) {
	if bits == 0 || bits > a.BitLen() {
		return netip.Prefix{}, fmt.Errorf("a prefix of length %d", bits)
	}
	p := netip.PrefixFrom(a, bits).Masked() // the rest is to be ignored
	if a := p.Addr(); a.IsUnspecified() || a.IsLoopback() || a.IsLinkLocalUnicast() || a.IsMulticast() || a.Is4In6() {
		return netip.Prefix{}, fmt.Errorf("prefix %s", p)
	}
	return p, nil
}

// checkRouter takes the source address of an advertisement, which must be link-local (RFC 4861 section 6.1.2).
func checkRouter(a netip.Addr) error {
	if !a.Is6() || a.Is4In6() || !a.IsLinkLocalUnicast() {
		return fmt.Errorf("an advertisement from %s", a)
	}
	return nil
}
