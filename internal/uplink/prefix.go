package uplink

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/uplinkd/uplinkd/internal/rpdb"
)

// Source is what the rules of an uplink know its packets by: a single address, or a whole prefix where all that this host has
// in it is the uplink's. Each rule costs every packet's lookup some nanoseconds, and temporary addresses (RFC 8981) come and
// go: by the prefix, rules are few and stay.
type Source struct {
	Prefix netip.Prefix // masked; of full length for a single address
	// Local says that only what this host itself sends is meant ("iif lo"). Neighbours live in the prefix too, and what is
	// forwarded for them, or checked by the reverse path filter on its way through, has the way that it had without us.
	Local     bool
	Addresses []netip.Addr // those that it serves, in order
}

// minShared is how many IPv4 addresses a prefix has to serve. A single one keeps the rules that everybody knows ("from A
// lookup T"); for IPv6 one is enough, since its temporary addresses are still to come.
const minShared = 2

// setSources finds the sources of each uplink. They depend on the addresses of all links, whether these are uplinks or not.
func setSources(us []Uplink, s *rpdb.Snapshot) {
	owned := make(map[heldKey]bool)
	for _, u := range us {
		for _, a := range u.Addresses {
			owned[heldKey{u.Link.Index, a.Addr}] = true
		}
	}
	for i := range us {
		us[i].Sources = sourcesOf(us[i], owned, s)
	}
}

// sourcesOf gives each address of an uplink that has rules to one source, IPv4 before IPv6, then by number. An address belongs
// to the innermost of the uplink's prefixes that it is in: where that one has to be left, the wider ones have to be as well.
func sourcesOf(u Uplink, owned map[heldKey]bool, s *rpdb.Snapshot) []Source {
	inner := prefixesOf(u)
	groups := make(map[netip.Prefix][]netip.Addr)
	mine := make(map[netip.Addr]bool)
	for _, a := range u.Addresses {
		if !a.Left && !mine[a.Addr] {
			mine[a.Addr] = true
			p := innermost(a.Addr, inner)
			groups[p] = append(groups[p], a.Addr)
		}
	}
	var out []Source
	for p, as := range groups {
		enough := !p.IsSingleIP() && (p.Addr().Is6() || len(as) >= minShared)
		if enough && alone(p, u.Link.Index, mine, owned, s) {
			out = append(out, Source{Prefix: p, Local: true, Addresses: as})
			continue
		}
		for _, a := range as {
			out = append(out, Source{Prefix: rpdb.HostPrefix(a), Addresses: []netip.Addr{a}})
		}
	}
	slices.SortFunc(out, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.Prefix.Addr().BitLen(), b.Prefix.Addr().BitLen()), a.Prefix.Addr().Compare(b.Prefix.Addr()),
			cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	return out
}

// prefixesOf are the prefixes that an uplink's addresses are in, the longest first: the subnet on the link, or else the one
// that the address was given with. A router may say that a prefix is not on-link (RFC 4861 section 4.6.2), and while a link is
// down its routes are away; the addresses in it are the uplink's all the same.
func prefixesOf(u Uplink) []netip.Prefix {
	var ps []netip.Prefix
	for _, a := range u.Addresses {
		p := a.Subnet
		if !p.IsValid() && !a.Peer.IsValid() {
			p = netip.PrefixFrom(a.Addr, a.Bits).Masked()
		}
		if p.IsValid() && !p.IsSingleIP() && !slices.Contains(ps, p) {
			ps = append(ps, p)
		}
	}
	slices.SortFunc(ps, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	return ps
}

// innermost is the first of the prefixes, which are in order, that holds an address; else the address alone.
func innermost(a netip.Addr, ps []netip.Prefix) netip.Prefix {
	for _, p := range ps {
		if p.Contains(a) {
			return p
		}
	}
	return rpdb.HostPrefix(a)
}

// alone says whether all that the host has of a prefix is the uplink's own. Any other link's address counts, whatever its
// state: a tentative one works in a second. On the uplink's link those count that packets can come from: another uplink's,
// with another gateway, and what is left to others. A temporary one that nobody routes yet has come by itself beside an address
// whose router went silent, and goes where that one's packets go: to the fence.
func alone(p netip.Prefix, link int, mine map[netip.Addr]bool, owned map[heldKey]bool, s *rpdb.Snapshot) bool {
	return !slices.ContainsFunc(s.Addresses, func(a rpdb.Address) bool {
		ip := a.Prefix.Addr()
		switch {
		case !p.Contains(ip) || a.Link == link && mine[ip]:
			return false
		case a.Link != link:
			return true
		}
		return usable(a) && (!a.Temporary || owned[heldKey{link, ip}])
	})
}
