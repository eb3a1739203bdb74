package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// addressRequest asks for all addresses of a family.
func addressRequest(f rpdb.Family) request {
	body := make([]byte, unix.SizeofIfAddrmsg)
	body[0] = byte(f)
	return request{typ: unix.RTM_GETADDR, body: body}
}

// decodeAddress reads an RTM_NEWADDR message: struct ifaddrmsg and its attributes.
//
// IFA_ADDRESS is the other end where IFA_LOCAL names another address, and the prefix length is then the other end's
// (rtnetlink(7)): the address itself is a host prefix.
func decodeAddress(b []byte) (rpdb.Address, error) {
	if len(b) < unix.SizeofIfAddrmsg {
		return rpdb.Address{}, fmt.Errorf("address: %w", errShort)
	}
	f, err := family(b[0])
	if err != nil {
		return rpdb.Address{}, err
	}
	var local, address []byte
	flags := uint32(b[2])
	as := attributesAfter(b, unix.SizeofIfAddrmsg)
	for as.next() {
		switch as.typ {
		case unix.IFA_LOCAL:
			local = as.val
		case unix.IFA_ADDRESS:
			address = as.val
		case unix.IFA_FLAGS:
			flags = as.uint32()
		}
	}
	a := rpdb.Address{Link: int(binary.NativeEndian.Uint32(b[4:])), Scope: rpdb.Scope(b[3])}
	if as.err == nil {
		a.Prefix, a.Peer, as.err = addressPrefixes(f, local, address, int(b[1]))
	}
	if as.err != nil {
		return rpdb.Address{}, fmt.Errorf("address on link %d: %w", a.Link, as.err)
	}
	setAddressFlags(&a, f, flags)
	return a, nil
}

func addressPrefixes(f rpdb.Family, local, address []byte, bits int) (own, peer netip.Prefix, err error) {
	if bits > f.Bits() {
		return own, peer, fmt.Errorf("%s prefix of length %d", f, bits)
	}
	if local == nil { // IPv6 without a peer
		local = address
	}
	mine, err := decodeAddr(f, local)
	if err != nil {
		return own, peer, err
	}
	if address == nil { // IPv4 with a peer of 0.0.0.0
		return rpdb.HostPrefix(mine), peer, nil
	}
	other, err := decodeAddr(f, address)
	if err != nil {
		return own, peer, err
	}
	if other == mine {
		return netip.PrefixFrom(mine, bits), peer, nil
	}
	return rpdb.HostPrefix(mine), netip.PrefixFrom(other, bits), nil
}

func setAddressFlags(a *rpdb.Address, f rpdb.Family, flags uint32) {
	a.Tentative = flags&unix.IFA_F_TENTATIVE != 0 && flags&unix.IFA_F_OPTIMISTIC == 0
	a.DADFailed = flags&unix.IFA_F_DADFAILED != 0
	a.Deprecated = flags&unix.IFA_F_DEPRECATED != 0
	a.Permanent = flags&unix.IFA_F_PERMANENT != 0
	a.NoPrefixRoute = flags&unix.IFA_F_NOPREFIXROUTE != 0
	// The same bit is IFA_F_SECONDARY with IPv4, which says something else.
	a.Temporary = f == rpdb.IPv6 && flags&unix.IFA_F_TEMPORARY != 0
}
