package lease

import (
	"encoding/binary"
	"errors"
	"math/bits"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits of what one lease may hold. A list over its limit is refused whole: a part of it would be another list.
const (
	MaxRouters = 8
	MaxDNS     = 8
	MaxRoutes  = 128
	MaxLeases  = 16 // of one Replace
)

// family says which addresses a value may hold.
type family uint8

const (
	inet  family = 4
	inet6 family = 6
)

// addr reads an address of the family, in its plain form: no zone, no IPv4 in IPv6.
func (f family) addr(s string) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	switch {
	case err != nil:
		return netip.Addr{}, errors.New("not an address")
	case f == inet && !a.Is4(), f == inet6 && (!a.Is6() || a.Is4In6() || a.Zone() != ""):
		return netip.Addr{}, errors.New("not an address of the family")
	}
	return a, nil
}

// unicast reads an address that a host in the wider network may have.
func (f family) unicast(s string) (netip.Addr, error) {
	a, err := f.addr(s)
	if err == nil {
		err = checkUnicast(a)
	}
	if err != nil {
		return netip.Addr{}, err
	}
	return a, nil
}

// checkUnicast says why an address can be no host's in the wider network (RFC 6890): every client passes all of these on.
func checkUnicast(a netip.Addr) error {
	switch {
	case a.IsUnspecified():
		return errors.New("unspecified")
	case a.IsLoopback():
		return errors.New("loopback")
	case a.IsMulticast():
		return errors.New("multicast")
	case a.IsLinkLocalUnicast():
		return errors.New("link-local")
	case a.Is4() && a.As4()[0] == 0:
		return errors.New("in 0.0.0.0/8")
	case a.Is4() && a.As4()[0] >= 240:
		return errors.New("in 240.0.0.0/4")
	}
	return nil
}

// checkRouter says why r can be no gateway of a host with this address and prefix length (-1: not known). A gateway off
// the subnet is not refused here: whether that will do is for those who know what the kernel has. An IPv6 router goes by
// its link-local address (RFC 4861 section 6.1.2).
func checkRouter(r netip.Addr, own netip.Prefix) error {
	if err := checkUnicast(r); err != nil && (r.Is4() || !r.IsLinkLocalUnicast()) {
		return err
	}
	if r == own.Addr() {
		return errors.New("the host's own address")
	}
	if !r.Is4() || !own.IsValid() || own.Bits() >= 31 || !own.Contains(r) {
		return nil // RFC 3021: a /31 has neither a network nor a broadcast address
	}
	host := binary.BigEndian.Uint32(r.AsSlice()) &^ (^uint32(0) << (32 - own.Bits()))
	switch host {
	case 0:
		return errors.New("the subnet's network address")
	case ^uint32(0) >> own.Bits():
		return errors.New("the subnet's broadcast address")
	}
	return nil
}

// addrs reads a list of addresses separated by white space. It drops what check refuses, with a problem each, and doubles;
// a list over the limit is refused whole, and whole is false.
func (f family) addrs(what, list string, limit int, check func(netip.Addr) error, p *problems) (as []netip.Addr, whole bool) {
	words := strings.Fields(list)
	if len(words) > limit {
		p.addf("%s: %d of them, at most %d are taken: all refused", what, len(words), limit)
		return nil, false
	}
	for _, w := range words {
		a, err := f.addr(w)
		if err == nil {
			err = check(a)
		}
		if err != nil {
			p.addf("%s %s: %v", what, quote(w), err)
		} else if !slices.Contains(as, a) {
			as = append(as, a)
		}
	}
	return as, true
}

// dns reads the list of name servers under a key into the event's lease.
func (f family) dns(in Input, key string, ev *Event, p *problems) {
	ev.Lease.DNS = f.servers(in, key, ev, p)
}

// servers reads the list of name servers under a key. Where it is refused whole, the event says so.
func (f family) servers(in Input, key string, ev *Event, p *problems) []netip.Addr {
	if in.refused(key) {
		p.addf("%s: too long", key)
		ev.Keep |= KeepDNS
		return nil
	}
	as, whole := f.addrs("name server", in.Env[key], MaxDNS, checkUnicast, p)
	if !whole {
		ev.Keep |= KeepDNS
	}
	return as
}

// maskBits is the prefix length of a subnet mask; -1 where there is none, or none that makes sense.
func maskBits(mask string, p *problems) int {
	if mask == "" {
		return -1
	}
	a, err := netip.ParseAddr(mask)
	if err != nil || !a.Is4() {
		p.addf("subnet mask %s: not one", quote(mask))
		return -1
	}
	m := binary.BigEndian.Uint32(a.AsSlice())
	n := bits.LeadingZeros32(^m)
	switch {
	case n == 0:
		p.addf("subnet mask %s: zero", quote(mask))
		return -1
	case m<<n != 0:
		p.addf("subnet mask %s: not contiguous", quote(mask))
		return -1
	}
	return n
}

// prefixLen reads a prefix length; -1 where there is none that makes sense. For DHCPv6 it is 128: that knows no subnets.
func (f family) prefixLen(s string, p *problems) int {
	if s == "" {
		return -1
	}
	most := 32
	if f == inet6 {
		most = 128
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		p.addf("prefix length %s: not from 1 to %d", quote(s), most)
		return -1
	}
	return n
}

// lifetime reads a number of seconds of 32 bits; 0 where there is none (RFC 2131 section 3.3, RFC 8415 section 7.7).
func lifetime(what, s string, p *problems) time.Duration {
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		p.addf("%s %s: not a number of seconds", what, quote(s))
		return 0
	}
	if n == 1<<32-1 {
		return Infinite
	}
	return time.Duration(n) * time.Second
}

// The MTUs that a lease may speak of: the least that every IPv4 host must take (RFC 791), and a usual jumbo frame.
const (
	minMTU = 576
	maxMTU = 9216
)

// mtu reads an MTU, which is information only; 0 where there is none that makes sense.
func mtu(s string, p *problems) int {
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < minMTU || n > maxMTU {
		p.addf("MTU %s: not from %d to %d", quote(s), minMTU, maxMTU)
		return 0
	}
	return n
}
