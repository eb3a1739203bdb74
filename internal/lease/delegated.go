package lease

import (
	"errors"
	"net/netip"
	"strconv"
)

// delegated is what a lease of a delegated prefix has in common with others of its kind: who said it, and for how long. A
// DHCPv6 server names no gateway with it (RFC 8415 section 21.22): the prefix goes where the addresses of its link go.
func delegated(by Source, p netip.Prefix) Lease {
	return Lease{Source: by, Address: p.Addr(), Prefix: p, Delegated: true, Bits: p.Bits()}
}

// delegatedPrefix reads a delegated prefix, "2001:db8:100::/56". Bits after its length are no part of it (RFC 8415 section
// 21.22). Whether a prefix like this is one to be believed is not looked at here: that depends on what the host has.
func delegatedPrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("not a prefix")
	case !p.Addr().Is6() || p.Addr().Is4In6():
		return netip.Prefix{}, errors.New("not a prefix of the family")
	}
	p = p.Masked()
	if err := checkUnicast(p.Addr()); err != nil {
		return netip.Prefix{}, err
	}
	return p, nil
}

// isZero says whether a lifetime is 0, by which a server takes back what it gave (RFC 8415 sections 21.6, 21.22).
func isZero(life string) bool {
	n, err := strconv.ParseUint(life, 10, 32)
	return err == nil && n == 0
}
